"""Recipe: every number of a training run, validated once, each with its unit and allowed range."""

from dataclasses import asdict, dataclass, fields, replace

from core_torch.spec.errors import ConfigError, check_choice
from core_torch.spec.fields import check_fields, choice, integer, number, switch

OBJECTIVES = ("standard", "contractive", "denoising")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "one-cycle")
SOLVERS = ("ridge", "gradient-descent")  # of the randomized models
CORRUPTIONS = ("gaussian", "masking", "salt-and-pepper", "patch")

ADAM_BETAS = (0.9, 0.999)  # decay of the two moments per step (Kingma and Ba 2015)
LARGEST_SEED = 2**32 - 1  # what every framework's seeding accepts
LARGEST_COUNT = 2**31 - 1  # of epochs, or of images in a batch: what every framework counts with
SMALLEST = 2.0**-126  # normal float32; below it, a device may compute with 0
LARGEST_LEARNING_RATE = 1e30  # Adam's first step is ten times the rate, and must be a float32


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained. Raises `ConfigError` for a value outside the range of its field.

    The loss is the squared error averaged over images and pixels; `contractive` adds
    `contraction` times the mean squared Frobenius norm of the encoder's Jacobian.
    """

    objective: str = choice("standard", "what the loss adds to the error", allowed=OBJECTIVES)
    optimizer: str = choice("adam", "how gradients become steps", allowed=OPTIMIZERS)
    learning_rate: float = number(
        1e-3, "step size, the peak under one-cycle", minimum=SMALLEST, maximum=LARGEST_LEARNING_RATE
    )
    momentum: float = number(0.0, "of SGD, less than 1", minimum=0, maximum=1)
    nesterov: bool = switch(False, "look ahead by the momentum (Sutskever et al. 2013)")
    epsilon: float = number(
        1e-8, "of Adam, added to the bias-corrected root of the second moment", minimum=SMALLEST, maximum=1
    )
    weight_decay: float = number(
        0.0, "of AdamW, decoupled: w <- w - learning_rate weight_decay w", minimum=0, maximum=1
    )
    schedule: str = choice("constant", "of the learning rate", allowed=SCHEDULES)
    batch_size: int = integer(128, "images per step", minimum=1, maximum=LARGEST_COUNT)
    epochs: int = integer(20, "passes over the training split", minimum=1, maximum=LARGEST_COUNT)
    corruption: str = choice("gaussian", "of the input, when denoising", allowed=CORRUPTIONS)
    corruption_level: float = number(
        0.2, "gaussian: standard deviation in pixel units; else the fraction of pixels hit", minimum=0, maximum=1
    )
    contraction: float = number(0.01, "weight of the contractive penalty, in units of the per-pixel error", minimum=0)
    validation_fraction: float = number(0.1, "of the training split, held out", minimum=0, maximum=0.5)
    patience: int = integer(
        0, "epochs without a better validation error before stopping, 0: never stop", minimum=0, maximum=LARGEST_COUNT
    )
    seed: int = integer(0, "of weights, shuffle and noise", minimum=0, maximum=LARGEST_SEED)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.momentum == 1:
            raise ConfigError("momentum: found 1, allowed: >= 0 and < 1")
        if self.momentum and self.optimizer != "sgd":
            raise ConfigError(f"momentum: found {self.momentum} with {self.optimizer}, allowed: 0")
        if self.nesterov and not self.momentum:
            raise ConfigError("nesterov: found True, allowed: only with momentum > 0")
        if self.weight_decay and self.optimizer != "adamw":
            raise ConfigError(f"weight_decay: found {self.weight_decay} with {self.optimizer}, allowed: 0")
        if self.patience and not self.validation_fraction:
            raise ConfigError("patience: needs a validation_fraction > 0 to judge epochs by")

    def to_dict(self) -> dict[str, object]:
        """Return plain values, as written to JSON."""
        return asdict(self)

    def with_changes(self, **changes: object) -> "Recipe":
        """Return a copy with the given fields replaced; None leaves a field as it is. It is checked again."""
        given = {name: value for name, value in changes.items() if value is not None}
        for name in given:
            check_choice("recipe field", name, [field.name for field in fields(self)])
        return replace(self, **given)  # type: ignore[arg-type]
