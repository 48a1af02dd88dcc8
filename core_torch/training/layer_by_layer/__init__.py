"""Training one layer at a time. The files stand in the order in which it happens:

1. pairs: a layer and its mirror become a shallow autoencoder, with the data that the deep model feeds them.
2. pretraining: the training loop finds the weights of a pair. Nothing else is needed for the dense models.
3. ridge: ridge regression finds the decoder of a pair in closed form. marginalised is its limit for masked images.
4. randomized: random encoders, decoders by 2 or 3, transposes back into the deep model, and a refit.
5. extreme_learning: classifiers by ridge regression on the codes of 4.
"""
