"""Which packages are installed, and in which version; none of them is imported."""

from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("numpy", "torch", "torchvision", "lightning", "keras", "tensorflow", "jax")


def package_version(package: str) -> str | None:
    """Return the installed version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
