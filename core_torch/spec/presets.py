"""Presets: named changes to the architectures and the recipe, by model and objective.

`default` is the original's shapes with the recipe's own numbers. `best` is for MNIST's 60,000 images on a
CPU: SiLU units and linear codes where ReLU units would die, and one cycle of Adam (Smith and Topin 2019)
instead of hundreds of epochs. `dcec` is the network of Guo et al., Deep Clustering with Convolutional
Autoencoders, ICONIP 2017.
"""

from core_torch.spec.architecture import ARCHITECTURES, Architecture, architecture_named
from core_torch.spec.errors import ConfigError, check_choice
from core_torch.spec.recipe import OBJECTIVES, Recipe

Changes = dict[str, object]

_CYCLE: Changes = {"schedule": "one-cycle", "validation_fraction": 0.05}
_SHALLOW_CYCLE: Changes = _CYCLE | {"learning_rate": 0.01, "epochs": 20}
_SMOOTH: Changes = {"hidden_activation": "silu", "code_activation": "linear"}
_LINEAR_CODE: Changes = {"code_activation": "linear"}
# Strides instead of pooling, to 64 x 7 x 7 and no further: pooled to 50 x 3 x 3, the error was twice as large.
_STRIDED: Changes = _SMOOTH | {"filters": (16, 32, 64), "strides": (2, 2, 1), "pool_every": 0}

# {preset: {(model, objective): (architecture changes, recipe changes)}}; what an objective has no entry for,
# it takes from `standard`.
PRESETS: dict[str, dict[tuple[str, str], tuple[Changes, Changes]]] = {
    "default": {(model, "standard"): ({}, {}) for model in ARCHITECTURES},
    "best": {
        # Held-out error 0.00080 with a linear code, 0.00108 with ReLU, which the denoiser keeps.
        ("shallow", "standard"): (_LINEAR_CODE, _SHALLOW_CYCLE),
        ("shallow", "denoising"): ({}, _SHALLOW_CYCLE),
        # Tied, so that the penalty cannot be scaled away; 300 sigmoid units, which contract by saturating.
        ("shallow", "contractive"): (
            {"widths": (784, 300), "code_activation": "sigmoid", "tied": True},
            _SHALLOW_CYCLE | {"contraction": 2e-5},
        ),
        ("deep", "standard"): (_SMOOTH, _CYCLE | {"learning_rate": 0.003, "epochs": 15}),
        # A step with a Jacobian costs two to four times one without: fewer epochs take as long.
        # Held-out error 0.0130 with E||J||^2 9.7, which is 151 without the penalty.
        ("deep", "contractive"): (
            _SMOOTH,
            _CYCLE | {"learning_rate": 0.003, "epochs": 10, "contraction": 1e-5},
        ),
        ("randomized-shallow", "standard"): ({}, _CYCLE | {"learning_rate": 0.003, "epochs": 20}),
        ("randomized-deep", "standard"): ({}, _CYCLE | {"learning_rate": 0.003, "epochs": 10}),
        ("conv-shallow", "standard"): (_LINEAR_CODE, _CYCLE | {"learning_rate": 0.005, "epochs": 8}),
        ("conv-shallow", "contractive"): (
            _LINEAR_CODE,
            _CYCLE | {"learning_rate": 0.005, "epochs": 4, "contraction": 1e-5},
        ),
        ("conv-deep", "standard"): (_STRIDED, _CYCLE | {"learning_rate": 0.005, "epochs": 8}),
        ("conv-deep", "contractive"): (
            _STRIDED,
            _CYCLE | {"learning_rate": 0.005, "epochs": 2, "contraction": 1e-5},
        ),
    },
    "dcec": {
        ("conv-deep", "standard"): (
            {
                "filters": (32, 64, 128),
                "kernel_sizes": (5, 5, 3),
                "strides": (2, 2, 2),
                "pool_every": 0,
                "code_width": 10,
                "code_activation": "linear",
                "output_activation": "linear",
            },
            {"batch_size": 256, "epochs": 200},
        ),
    },
}


def preset(name: str, model: str, objective: str) -> tuple[Architecture, Recipe]:
    """Return the architecture and the recipe of a preset.

    Raises:
        ConfigError: no such preset, model or objective, or the preset is not for that model.
    """
    check_choice("preset", name, PRESETS)
    check_choice("model", model, ARCHITECTURES)
    check_choice("objective", objective, OBJECTIVES)
    entries = PRESETS[name]
    if (model, "standard") not in entries:
        allowed = ", ".join(sorted({of for of, _ in entries}))
        raise ConfigError(f"model: found {model}, allowed with preset {name}: {allowed}")
    shape, numbers = entries.get((model, objective), entries[model, "standard"])
    return architecture_named(model, **shape), Recipe(objective=objective).with_changes(**numbers)
