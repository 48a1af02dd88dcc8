"""Recipe: every number of a training run, validated once, each with its unit and allowed range."""

from dataclasses import asdict, dataclass, fields, replace

from core_torch.spec.errors import ConfigError, check_boolean, check_choice, check_integer, check_number

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
    """How a model is trained. Raises `ConfigError` for a value outside the range given beside it.

    The loss is the squared error averaged over images and pixels; `contractive` adds
    `contraction` times the mean squared Frobenius norm of the encoder's Jacobian.
    """

    objective: str = "standard"  # one of OBJECTIVES
    optimizer: str = "adam"  # one of OPTIMIZERS
    learning_rate: float = 1e-3  # per step, the peak under one-cycle; in [2^-126, 1e30]
    momentum: float = 0.0  # of SGD, unitless; in [0, 1)
    nesterov: bool = False  # look ahead by the momentum (Sutskever et al. 2013); needs momentum > 0
    epsilon: float = 1e-8  # of Adam, added to the bias-corrected root of the second moment; in [2^-126, 1]
    weight_decay: float = 0.0  # of AdamW, decoupled: w <- w - learning_rate weight_decay w; in [0, 1]
    schedule: str = "constant"  # one of SCHEDULES
    batch_size: int = 128  # images per step; in [1, 2^31)
    epochs: int = 20  # passes over the training split; in [1, 2^31)
    corruption: str = "gaussian"  # of the input, when denoising; one of CORRUPTIONS
    corruption_level: float = 0.2  # gaussian: standard deviation in pixel units [0, 1]; else the fraction hit
    contraction: float = 0.01  # weight of the contractive penalty, in units of the per-pixel error; >= 0
    validation_fraction: float = 0.1  # of the training split, held out; in [0, 0.5]
    patience: int = 0  # epochs without a better validation error before stopping; 0: never stop; < 2^31
    seed: int = 0  # of weights, shuffle and noise; in [0, 2^32)

    def __post_init__(self) -> None:
        check_choice("objective", self.objective, OBJECTIVES)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("corruption", self.corruption, CORRUPTIONS)
        rate = self.learning_rate
        check_number("learning_rate", rate, minimum=SMALLEST, maximum=LARGEST_LEARNING_RATE)
        check_number("momentum", self.momentum, minimum=0, maximum=1)
        check_boolean("nesterov", self.nesterov)
        check_number("epsilon", self.epsilon, minimum=SMALLEST, maximum=1)
        check_number("weight_decay", self.weight_decay, minimum=0, maximum=1)
        check_number("corruption_level", self.corruption_level, minimum=0, maximum=1)
        check_number("contraction", self.contraction, minimum=0)
        check_number("validation_fraction", self.validation_fraction, minimum=0, maximum=0.5)
        check_integer("batch_size", self.batch_size, minimum=1, maximum=LARGEST_COUNT)
        check_integer("epochs", self.epochs, minimum=1, maximum=LARGEST_COUNT)
        check_integer("patience", self.patience, minimum=0, maximum=LARGEST_COUNT)
        check_integer("seed", self.seed, minimum=0, maximum=LARGEST_SEED)
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
        """Plain values, as written to JSON."""
        return asdict(self)

    def with_changes(self, **changes: object) -> "Recipe":
        """A copy with the given fields replaced; None leaves a field as it is. Validates anew."""
        given = {name: value for name, value in changes.items() if value is not None}
        for name in given:
            check_choice("recipe field", name, [field.name for field in fields(self)])
        return replace(self, **given)  # type: ignore[arg-type]
