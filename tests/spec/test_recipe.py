"""Every number of a recipe has a range, and a value outside it is answered with the field's name."""

from dataclasses import FrozenInstanceError, fields

import pytest

from core_torch.spec.errors import ConfigError, UserError
from core_torch.spec.recipe import LARGEST_SEED, Recipe

NAN, INFINITY = float("nan"), float("inf")
NO_NUMBER = (NAN, INFINITY, -INFINITY, True, "1e-3", None, [1])
NO_INTEGER = (*NO_NUMBER, 1.0, 2.5)

# {field: (values accepted, values refused)}
RANGES = {
    "objective": (("standard", "contractive", "denoising"), ("standart", "", None, 0, True, ["standard"])),
    "optimizer": (("sgd", "adam", "adamw"), ("adamax", "SGD", "", None, 1)),
    "learning_rate": ((1e-37, 1e-3, 1, 10.0), (0, 0.0, 1e-320, -1, -1e-9, *NO_NUMBER)),
    "momentum": ((0, 0.0), (1, -1, -0.1, 1.5, *NO_NUMBER)),
    "nesterov": ((False,), (0, 1, "yes", None)),
    "epsilon": ((1e-37, 1e-8, 1), (0, 1e-300, -1e-8, 1.5, *NO_NUMBER)),
    "weight_decay": ((0, 0.0), (-0.1, 1.5, *NO_NUMBER)),
    "schedule": (("constant", "one-cycle"), ("one_cycle", "", None, 2)),
    "batch_size": ((1, 128, 60_000), (0, -1, *NO_INTEGER)),
    "epochs": ((1, 1000), (0, -1, *NO_INTEGER)),
    "corruption": (("gaussian", "masking", "salt-and-pepper", "patch"), ("gausian", "", None, 3)),
    "corruption_level": ((0, 0.5, 1, 1.0), (-0.1, -1, 1.001, 2, *NO_NUMBER)),
    "contraction": ((0, 0.01, 1e6), (-1, -1e-9, *NO_NUMBER)),
    "validation_fraction": ((0, 0.1, 0.5), (-0.1, 0.51, 1, *NO_NUMBER)),
    "patience": ((0, 1, 50), (-1, *NO_INTEGER)),
    "seed": ((0, 1, LARGEST_SEED), (-1, LARGEST_SEED + 1, *NO_INTEGER)),
}


def test_every_field_has_its_range_tested_here():
    assert RANGES.keys() == {field.name for field in fields(Recipe)}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in RANGES for value in RANGES[name][0]])
def test_a_value_inside_its_range_is_kept(name, value):
    assert getattr(Recipe(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in RANGES for value in RANGES[name][1]])
def test_a_value_outside_its_range_is_named_with_what_is_allowed(name, value):
    with pytest.raises(ConfigError, match=f"^{name}: found .*allowed: ") as caught:
        Recipe(**{name: value})
    assert len(str(caught.value).splitlines()) == 1
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "typed", "meant"),
    [
        ("objective", "denoisng", "denoising"),
        ("optimizer", "adan", "adam"),
        ("schedule", "one_cycle", "one-cycle"),
        ("corruption", "salt-and-peper", "salt-and-pepper"),
    ],
)
def test_a_misspelt_choice_gets_a_suggestion(name, typed, meant):
    with pytest.raises(ConfigError, match=rf"^{name}: found '{typed}' \(did you mean {meant}\?\), allowed: .*{meant}"):
        Recipe(**{name: typed})


def test_a_choice_like_no_other_gets_no_suggestion():
    with pytest.raises(ConfigError) as caught:
        Recipe(optimizer="zzz")
    assert str(caught.value) == "optimizer: found 'zzz', allowed: sgd, adam, adamw"


def test_momentum_belongs_to_sgd():
    assert Recipe(optimizer="sgd", momentum=0.9).momentum == 0.9
    with pytest.raises(ConfigError, match="^momentum: found 0.9 with adam"):
        Recipe(momentum=0.9)
    with pytest.raises(ConfigError, match="^momentum: found 1, allowed: >= 0 and < 1"):
        Recipe(optimizer="sgd", momentum=1.0)


def test_nesterov_belongs_to_momentum():
    assert Recipe(optimizer="sgd", momentum=0.9, nesterov=True).nesterov is True
    for other in ({"optimizer": "sgd"}, {"optimizer": "adam"}, {"optimizer": "adamw"}):
        with pytest.raises(ConfigError, match="^nesterov: found True, allowed: only with momentum > 0$"):
            Recipe(nesterov=True, **other)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weight_decay_belongs_to_adamw(optimizer):
    assert Recipe(optimizer="adamw", weight_decay=0.5).weight_decay == 0.5
    with pytest.raises(ConfigError, match=f"^weight_decay: found 0.5 with {optimizer}, allowed: 0$"):
        Recipe(optimizer=optimizer, weight_decay=0.5)


def test_patience_needs_a_validation_split():
    assert Recipe(patience=3).patience == 3
    with pytest.raises(ConfigError, match="^patience: needs a validation_fraction > 0"):
        Recipe(patience=3, validation_fraction=0)


def test_changes_are_validated_anew_and_none_changes_nothing():
    recipe = Recipe(epochs=3)
    changed = recipe.with_changes(learning_rate=0.5, epochs=None, seed=7)
    assert (changed.learning_rate, changed.epochs, changed.seed) == (0.5, 3, 7)
    assert recipe == Recipe(epochs=3)
    assert recipe.with_changes() == recipe
    with pytest.raises(ConfigError, match="^epochs: found 0"):
        recipe.with_changes(epochs=0)


def test_a_change_of_an_unknown_field_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"recipe field: found 'learning_rat' \(did you mean learning_rate\?\)"):
        Recipe().with_changes(learning_rat=0.1)


def test_a_recipe_is_a_frozen_value():
    with pytest.raises(FrozenInstanceError):
        Recipe().epochs = 3
    assert hash(Recipe()) == hash(Recipe(epochs=20))


def test_a_recipe_survives_its_plain_values():
    recipe = Recipe(optimizer="sgd", momentum=0.5, nesterov=True, epochs=2)
    assert Recipe(**recipe.to_dict()) == recipe
    recipe = Recipe(optimizer="adamw", weight_decay=0.1, epsilon=1e-3)
    assert Recipe(**recipe.to_dict()) == recipe
    assert list(recipe.to_dict()) == list(RANGES)


def test_a_users_mistake_is_also_a_value_error():
    assert issubclass(ConfigError, UserError) and issubclass(ConfigError, ValueError)
