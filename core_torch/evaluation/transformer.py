"""An autoencoder as a scikit-learn transformer: codes out of any table of numbers."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import Split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.spec.architecture import FullyConnected
from core_torch.spec.errors import ConfigError, check_choice, check_widths
from core_torch.spec.recipe import LARGEST_SEED, Recipe
from core_torch.training.loop import train

OBJECTIVES = ("standard", "contractive")  # corruption is defined for pixels only
TYPES = ["float64", "float32"]  # kept as they come; anything else becomes float64


class AutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A dense autoencoder whose `transform` encodes and whose `inverse_transform` decodes.

    Input is (N, features) of finite numbers in any range: each feature is standardised by the mean and standard
    deviation of the rows it is fitted to, and the output is linear. Trained in float32, applied in float64.

    Args:
        code_width: columns of the result.
        hidden_widths: of the encoder's layers before the code, mirrored in the decoder; none: a shallow model.
        hidden_activation, code_activation: as those of `FullyConnected`.
        objective: `standard` or `contractive`.
        epochs, batch_size, learning_rate: as those of `Recipe`.
        random_state: int, RandomState or None, of weights, shuffle and noise.

    Attributes:
        model_: the trained `Autoencoder`.
        scaler_: the fitted `StandardScaler`.
        history_: {name: value per epoch}.

    `fit` raises `ConfigError`, a ValueError, for an argument out of range or a feature too large to standardise, and
    `DivergenceError`, an ArithmeticError, where training leads to a value that is not finite.
    """

    def __init__(
        self,
        code_width: int = 32,
        *,
        hidden_widths: Sequence[int] = (),
        hidden_activation: str = "silu",
        code_activation: str = "linear",
        objective: str = "standard",
        epochs: int = 20,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        random_state: Any = None,
    ) -> None:
        self.code_width = code_width
        self.hidden_widths = hidden_widths
        self.hidden_activation = hidden_activation
        self.code_activation = code_activation
        self.objective = objective
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Standardise, build, train. `y` is ignored."""
        X = validate_data(self, X, dtype=TYPES)
        check_choice("objective", self.objective, OBJECTIVES)
        recipe = Recipe(
            objective=self.objective,
            epochs=plain(self.epochs),
            batch_size=plain(self.batch_size),
            learning_rate=plain(self.learning_rate),
            validation_fraction=0.0,
            seed=int(check_random_state(self.random_state).randint(LARGEST_SEED, dtype=np.uint32)),
        )
        hidden_widths, code_width = plain(self.hidden_widths), plain(self.code_width)
        check_widths("hidden_widths", hidden_widths, least=0)
        architecture = FullyConnected(
            widths=(X.shape[1], *hidden_widths, code_width),
            hidden_activation=self.hidden_activation,
            code_activation=self.code_activation,
            output_activation="linear",
        )
        with np.errstate(over="ignore", invalid="ignore"):
            self.scaler_ = StandardScaler().fit(X.astype(np.float64))
            rows = self.scaler_.transform(X.astype(np.float64)).astype(np.float32)
        if not (np.isfinite(rows).all() and np.isfinite(self.scaler_.var_).all()):
            largest = np.abs(X).max()
            raise ConfigError(f"X: found numbers up to {largest:g}, too large to standardise, allowed: smaller ones")
        dataset = ResidentDataset(Split(rows, np.zeros(len(rows), dtype=np.int64), "X"))
        model = build_autoencoder(architecture, seed=recipe.seed)
        self.history_ = train(model, dataset, recipe=recipe, progress=False).curves()
        self.model_: Autoencoder = model.double().eval()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Encode rows (N, features) -> codes (N, code_width), of the type of X."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=TYPES, reset=False)
        standard = torch.from_numpy(self.scaler_.transform(X.astype(np.float64)))
        with torch.no_grad():
            return self.model_.encode(standard).numpy().astype(X.dtype)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Decode codes (N, code_width) -> rows (N, features), of the type of X."""
        check_is_fitted(self)
        X = check_array(X, dtype=TYPES)
        if X.shape[1] != self._n_features_out:
            raise ValueError(f"X: found {X.shape[1]} columns, allowed: {self._n_features_out}, the width of a code")
        with torch.no_grad():
            standard = self.model_.decode(torch.from_numpy(X.astype(np.float64))).numpy()
        values: np.ndarray = self.scaler_.inverse_transform(standard)
        return values.astype(X.dtype)

    @property
    def _n_features_out(self) -> int:
        """What `get_feature_names_out` counts: the width that was fitted."""
        return self.model_.architecture.code_width

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = TYPES
        return tags


def plain(value: Any) -> Any:
    """Convert NumPy's and other libraries' numbers to Python's; also inside an array or a sequence."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else value
