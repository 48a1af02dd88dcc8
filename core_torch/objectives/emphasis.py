"""EmphasizedError: a denoising error that weighs the damaged pixels differently from the rest."""

import torch

from core_torch.models.autoencoder import Autoencoder
from core_torch.objectives.last_input import LastInput
from core_torch.spec.errors import check_number


class EmphasizedError:
    """alpha sum_damaged (y - x)^2 + beta sum_rest (y - x)^2, over the number of pixels; `criterion(output, target)`.

    Vincent et al., JMLR 11 (2010), "putting an emphasis on corrupted dimensions"; meant for masking and
    salt-and-pepper noise. A pixel counts as damaged where the input last fed differs from the target.

    Args:
        model: whose input is watched.
        damaged: alpha, >= 0. With `rest` = 0 it is full emphasis.
        rest: beta, >= 0.
    """

    def __init__(self, model: Autoencoder, *, damaged: float = 1.0, rest: float = 0.5) -> None:
        check_number("damaged", damaged, minimum=0)
        check_number("rest", rest, minimum=0)
        self.fed, self.damaged, self.rest = LastInput(model), damaged, rest

    def __call__(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute the scalar to minimise, for output and target (N, 784)."""
        intact = self.fed.matching(output).flatten(1) == target
        return (torch.where(intact, self.rest, self.damaged) * (output - target).square()).mean()
