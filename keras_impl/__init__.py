"""The Keras 3 port: one program for TensorFlow, JAX and torch. KERAS_BACKEND chooses."""
