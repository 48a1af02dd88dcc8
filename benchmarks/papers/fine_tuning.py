"""Supervised fine-tuning: an encoder and a softmax layer on its code, trained together on labels."""

import math
from copy import copy

import torch
from torch import nn

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import CLASSES, Split
from core_torch.models.autoencoder import Autoencoder
from core_torch.models.evaluating import evaluating
from core_torch.objectives.reconstruction import EVALUATION_BATCH
from core_torch.spec.recipe import Recipe
from core_torch.training.loop import build_optimizer, build_scheduler, train_epoch


def fine_tuned_error(
    model: Autoencoder, train: Split, test: Split, *, recipe: Recipe, device: torch.device | str = "cpu"
) -> float:
    """% of the test images that are misread after the last epoch; the encoder is trained in place.

    The softmax layer starts at zero, so that nothing but the encoder's start is random.

    Args:
        recipe: optimizer, rate, schedule, batch size, epochs and seed; the loss is the cross-entropy of the classes.
    """
    head = nn.Linear(model.architecture.code_width, CLASSES)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    shaped = nn.Unflatten(1, model.architecture.input_shape)
    classifier = nn.Sequential(nn.Flatten(), shaped, model.encoder, head).to(device)
    _train(classifier, ResidentDataset(train, device=device), recipe)
    return 100 * _share_misread(classifier, ResidentDataset(test, device=device))


def _train(classifier: nn.Module, dataset: ResidentDataset, recipe: Recipe) -> None:
    labelled = copy(dataset)
    labelled.targets = dataset.labels
    optimizer = build_optimizer(classifier, recipe)
    steps = recipe.epochs * math.ceil(len(labelled) / recipe.batch_size)
    scheduler = build_scheduler(optimizer, recipe, steps=steps)
    for epoch in range(recipe.epochs):
        batches = labelled.batches(recipe.batch_size, seed=recipe.seed, epoch=epoch)
        train_epoch(classifier, batches, criterion=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=scheduler)


def _share_misread(classifier: nn.Module, dataset: ResidentDataset) -> float:
    with evaluating(classifier):
        batches = dataset.batches(EVALUATION_BATCH, shuffle=False)
        read = torch.cat([classifier(images).argmax(1) for images, _ in batches])
    return float((read != dataset.labels).double().mean())
