"""All known bugs by name, in the order of the levels that find them."""

from core_torch.parity.bugs.activations import ACTIVATION_BUGS
from core_torch.parity.bugs.adam import ADAM_BUGS
from core_torch.parity.bugs.bug import Bug
from core_torch.parity.bugs.computing import COMPUTING_BUGS
from core_torch.parity.bugs.edges import EDGE_BUGS, EVALUATION_BUGS
from core_torch.parity.bugs.gradients import GRADIENT_BUGS
from core_torch.parity.bugs.interface import LAYOUT_BUGS, PIXEL_BUGS, WEIGHT_BUGS
from core_torch.parity.bugs.losses import LOSS_BUGS, PENALTY_BUGS
from core_torch.parity.bugs.momentum import MOMENTUM_BUGS
from core_torch.parity.bugs.steps import STEP_BUGS
from core_torch.parity.bugs.training import TRAINING_BUGS

__all__ = ["BUGS", "Bug"]

BUGS: dict[str, Bug] = {
    **WEIGHT_BUGS,
    **PIXEL_BUGS,
    **LAYOUT_BUGS,
    **ACTIVATION_BUGS,
    **COMPUTING_BUGS,
    **LOSS_BUGS,
    **PENALTY_BUGS,
    **GRADIENT_BUGS,
    **EDGE_BUGS,
    **STEP_BUGS,
    **MOMENTUM_BUGS,
    **ADAM_BUGS,
    **TRAINING_BUGS,
    **EVALUATION_BUGS,
}
