"""What this port offers, judged before any framework is imported."""

from core_torch.contract.errors import ConfigError, check_choice, check_integer
from core_torch.contract.recipe import Recipe

BACKENDS = ("tensorflow", "jax", "torch")  # values of KERAS_BACKEND
ROUTES = ("arrays", "tf.data", "pydataset", "resident")  # how images reach the model; see `batches`


def check_options(
    recipe: Recipe,
    *,
    backend: str,
    route: str = "arrays",
    jit_compile: bool | str = "auto",
    steps_per_execution: int = 1,
) -> None:
    """Raise `ConfigError` for what Keras, or this port, cannot do with that backend or route."""
    check_choice("KERAS_BACKEND", backend, BACKENDS)
    check_choice("route", route, ROUTES)
    check_integer("steps_per_execution", steps_per_execution, minimum=1)
    if recipe.schedule != "constant":
        raise ConfigError(f"schedule: found {recipe.schedule}, allowed in the Keras port: constant")
    if route == "tf.data" and backend != "tensorflow":
        raise ConfigError(f"route: found tf.data with KERAS_BACKEND={backend}, allowed: tensorflow")
    if steps_per_execution > 1 and (backend == "torch" or route == "resident"):
        where = "the torch backend" if backend == "torch" else "the resident route"
        raise ConfigError(f"steps_per_execution: found {steps_per_execution}, allowed with {where}: 1")
    if jit_compile is False and (backend, route) == ("jax", "resident"):
        raise ConfigError("jit_compile: found False, allowed with the resident route on JAX: True or auto")
