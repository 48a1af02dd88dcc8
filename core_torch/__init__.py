"""The PyTorch reference. Public names load on first use: `import core_torch.spec` never loads torch."""

from importlib import import_module
from typing import Any

_HOME = {
    "FastMNIST": "data.mnist",
    "FastFashionMNIST": "data.mnist",
    "FastKMNIST": "data.mnist",
    "FastEMNIST": "data.mnist",
    "FastQMNIST": "data.mnist",
    "NoisyMNIST": "data.mnist",
    "ResidentDataset": "data.resident",
    "CompiledDataset": "data.compiled",
    "StreamedDataset": "data.streaming",
    "resident_or_streamed": "data.residency",
    "Corruption": "data.corruption",
    "Autoencoder": "models.autoencoder",
    "build_autoencoder": "models.autoencoder",
    "ShallowAutoencoder": "models.fully_connected",
    "DeepAutoencoder": "models.fully_connected",
    "RandomizedAutoencoder": "models.randomized",
    "ShallowConvAutoencoder": "models.convolutional",
    "DeepConvAutoencoder": "models.convolutional",
    "ContractiveLoss": "objectives.contractive",
    "EmphasizedError": "objectives.emphasis",
    "train": "training.loop",
    "StepsByHand": "training.by_hand",
    "choose_products": "data.device",
    "pretrain": "training.layerwise",
    "train_randomized": "training.randomized",
    "refit_decoder": "training.randomized",
    "train_extreme_learning": "training.extreme_learning",
    "train_receptive_fields": "training.extreme_learning",
    "marginalised_denoiser": "training.closed_form",
    "plot_reconstructions": "evaluation.figures",
    "plot_damages": "evaluation.figures",
    "plot_losses": "evaluation.charts",
    "plot_latent_map": "evaluation.charts",
    "plot_filters": "evaluation.figures",
    "plot_walk": "evaluation.figures",
    "AutoencoderTransformer": "evaluation.transformer",
    "Recipe": "spec.recipe",
    "load_split": "files.splits",
    "save_checkpoint": "models.checkpoint",
    "load_checkpoint": "models.checkpoint",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'core_torch' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"core_torch.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
