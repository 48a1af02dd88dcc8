"""Say with which extra of this distribution pip installs a package that is not there."""

from importlib.util import find_spec

from core_torch.spec.errors import ConfigError

DISTRIBUTION = "autoencoder-reference"
EXTRA_OF = {  # {package as it is imported: extra of pyproject.toml}
    "torch": "torch",
    "torchvision": "torch",
    "tqdm": "torch",
    "lightning": "lightning",
    "jsonargparse": "lightning",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "jax": "jax",
    "numba": "compiled",
    "matplotlib": "figures",
    "PIL": "figures",
    "jinja2": "figures",
    "requests": "downloads",
    "jsonschema": "benchmark",
    "scipy": "benchmark",
    "sklearn": "evaluation",
    "tensorboardX": "tensorboard",
}


def check_installed(*packages: str) -> None:
    """Raise `ConfigError` for the first package that is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise not_installed(package)


def not_installed(package: str) -> ConfigError:
    """Build the error that names the package and its extra."""
    return ConfigError(f"{package}: not installed, allowed: pip install {DISTRIBUTION}[{EXTRA_OF[package]}]")
