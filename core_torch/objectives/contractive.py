"""ContractiveLoss: reconstruction error plus the squared norm of the encoder's Jacobian.

Rifai, Vincent, Muller, Glorot, Bengio, Contractive Auto-Encoders, ICML 2011:
J_CAE = sum_x L(x, g(f(x))) + lambda ||J_f(x)||_F^2. Here both terms are averages over the batch and L is
the squared error per pixel, so `weight` is lambda / 784 of a loss summed over pixels.
"""

import torch
from torch import nn
from torch.nn import functional as F

from core_torch.models.autoencoder import Autoencoder
from core_torch.objectives.jacobian import ESTIMATORS, jacobian_norm_squared, slope
from core_torch.objectives.last_input import LastInput
from core_torch.spec.errors import ConfigError, check_choice, check_number


class ContractiveLoss:
    """A criterion, called as `criterion(output, target)` right after `model(input)`.

    The Jacobian is taken at the input that the model was last fed.

    Args:
        model: any autoencoder of this repository; only its `encode` is asked.
        weight: of the penalty, >= 0.
        estimator: `exact`, `hutchinson` (one random probe, unbiased), or `auto`: exact where that is cheap.
        hessian_weight: gamma of CAE+H (Rifai et al., ECML 2011), which adds
            gamma E ||J(x) - J(x + e)||_F^2, e ~ N(0, hessian_noise^2); 0 leaves it out. Needs a
            dense encoder with one layer.
        hessian_noise: standard deviation of e, in pixel units.
        seed: of the probes.

    Attributes:
        reconstruction, penalty, total: the parts of the last loss, detached, so that each is reported apart.
    """

    def __init__(
        self,
        model: Autoencoder,
        *,
        weight: float = 0.01,
        estimator: str = "auto",
        hessian_weight: float = 0.0,
        hessian_noise: float = 0.1,
        seed: int = 0,
    ) -> None:
        check_number("weight", weight, minimum=0)
        check_number("hessian_weight", hessian_weight, minimum=0)
        check_number("hessian_noise", hessian_noise, minimum=0, above=True)
        check_choice("estimator", estimator, ESTIMATORS)
        self.model, self.weight, self.estimator = model, weight, estimator
        self.hessian_weight, self.hessian_noise, self.seed = hessian_weight, hessian_noise, seed
        self.generator: torch.Generator | None = None
        self.fed = LastInput(model)

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute the scalar to minimise, for output and target (N, 784)."""
        x = self.fed.matching(output)
        if self.generator is None or self.generator.device != output.device:
            self.generator = torch.Generator(output.device).manual_seed(self.seed)
        reconstruction = F.mse_loss(output, target)
        penalty = jacobian_norm_squared(self.model, x, estimator=self.estimator, generator=self.generator).mean()
        total = reconstruction + self.weight * penalty
        if self.hessian_weight:
            total = total + self.hessian_weight * self._hessian_penalty(x)
        self.reconstruction, self.penalty = reconstruction.detach(), penalty.detach()
        self.total = total.detach()
        return total

    def _hessian_penalty(self, x: torch.Tensor) -> torch.Tensor:
        """E ||J(x) - J(x + e)||_F^2, one e per image; of one layer the difference is (s'(a) - s'(a_e)) W."""
        linear, activation = self.model.encoder[0], self.model.encoder[1]
        if not isinstance(linear, nn.Linear) or len(self.model.encoder) != 2:
            raise ConfigError("hessian_weight: needs a dense encoder with one layer")
        noise = torch.empty_like(x).normal_(0, self.hessian_noise, generator=self.generator)
        here, there = (slope(activation, linear(at.flatten(1))) for at in (x, x + noise))
        return ((here - there).square() * linear.weight.square().sum(1)).sum(1).mean()
