"""Which models can be trained at once: judged from architectures and recipes alone, before a framework is imported."""

from collections.abc import Sequence
from dataclasses import replace

from core_torch.spec.architecture import Architecture
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import Recipe

MEMBER_FIELDS = (
    "seed",
    "learning_rate",
    "corruption",
    "corruption_level",
)  # what the recipes of an ensemble may differ in


def check_alike(architectures: Sequence[Architecture], recipes: Sequence[Recipe]) -> None:
    """Raise `ConfigError` unless models of these, one or more, can be trained as one ensemble."""
    own = {name: getattr(Recipe, name) for name in MEMBER_FIELDS}
    if any(architecture != architectures[0] for architecture in architectures):
        raise ConfigError("models: found different architectures, allowed: one")
    if any(replace(recipe, **own) != replace(recipes[0], **own) for recipe in recipes):
        raise ConfigError(f"recipes: found ones that differ elsewhere, allowed to differ: {', '.join(MEMBER_FIELDS)}")
    if recipes[0].objective == "contractive":
        raise ConfigError("objective: found contractive, allowed in an ensemble: standard, denoising")
    if recipes[0].patience:
        raise ConfigError(f"patience: found {recipes[0].patience}, allowed in an ensemble: 0")
