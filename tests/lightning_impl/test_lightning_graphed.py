"""GraphedAutoencoder against LitAutoencoder with the same optimizer: the same weights, bit for bit."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import load_split
from core_torch.models.autoencoder import build_autoencoder
from core_torch.spec.architecture import architecture_named
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import Recipe
from core_torch.training.graphed import fused_optimizer
from core_torch.training.loop import build_optimizer
from lightning_impl.checkpoint import AtomicCheckpointIO
from lightning_impl.data import EpochOrder, ResidentBatches
from lightning_impl.graphed import GraphedAutoencoder, IndexChunks
from lightning_impl.model import LitAutoencoder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))
RECIPES = {
    "momentum": Recipe(optimizer="sgd", learning_rate=0.5, momentum=0.9, batch_size=100),
    "adam": Recipe(batch_size=100),
    "denoising": Recipe(batch_size=100, objective="denoising"),
    "contractive": Recipe(batch_size=100, objective="contractive"),
}
EACH_TIME = 4  # batches that Lightning's step replays


class FusedAutoencoder(LitAutoencoder):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return fused_optimizer(build_optimizer(self.model, self.recipe))


@pytest.fixture(params=DEVICES)
def device(request) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return request.param


def fit(
    kind: type[LitAutoencoder], recipe: Recipe, device: str, *, ckpt_path: Path | None = None, **options: Any
) -> Any:
    """The module after two epochs, the value it logged, and its Trainer."""
    dataset = ResidentDataset(load_split("digits"), device=device)
    lit = kind.wrap(build_autoencoder(architecture_named("shallow")), recipe)
    times, batches = (EACH_TIME, IndexChunks) if kind is GraphedAutoencoder else (1, ResidentBatches)
    loader = batches(dataset, times * recipe.batch_size, sampler=EpochOrder(len(dataset), seed=recipe.seed))
    names = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    accelerator = "gpu" if device == "cuda" else "cpu"
    chosen = {"accelerator": accelerator, "devices": 1, "max_epochs": 2, "plugins": AtomicCheckpointIO()} | options
    fitter = L.Trainer(**dict.fromkeys(names, False) | chosen)
    fitter.fit(lit, loader, ckpt_path=ckpt_path)
    return lit, float(fitter.callback_metrics["train_loss"]), fitter


def equal(one: LitAutoencoder, other: LitAutoencoder) -> bool:
    return all(torch.equal(*pair) for pair in zip(one.model.parameters(), other.model.parameters(), strict=True))


@pytest.mark.parametrize("name", RECIPES)
def test_replayed_steps_end_at_the_weights_of_lightning_s_own(name: str, device: str) -> None:
    recipe = RECIPES[name]
    plain, loss, plain_trainer = fit(FusedAutoencoder, recipe, device)
    graphed, graphed_loss, trainer = fit(GraphedAutoencoder, recipe, device)
    assert equal(graphed, plain)
    assert graphed_loss == pytest.approx(loss, rel=1e-6)
    assert trainer.global_step == plain_trainer.global_step > trainer.num_training_batches
    assert bool(graphed.steps.graphs) is (device == "cuda")
    other, *_ = fit(GraphedAutoencoder, recipe.with_changes(seed=1), device)
    assert not equal(other, plain)


def test_a_run_goes_on_from_the_end_of_an_epoch(device: str, tmp_path: Path) -> None:
    whole, _, _ = fit(GraphedAutoencoder, RECIPES["denoising"], device)
    _, _, trainer = fit(GraphedAutoencoder, RECIPES["denoising"], device, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    resumed, _, _ = fit(GraphedAutoencoder, RECIPES["denoising"], device, ckpt_path=tmp_path / "a.ckpt")
    assert equal(resumed, whole)


@pytest.mark.parametrize(
    ("changes", "options", "named"),
    [({"schedule": "one-cycle"}, {}, "schedule"), ({}, {"precision": "bf16-mixed"}, "trainer.precision: .* graphs")],
)
def test_what_is_not_recorded_is_refused(changes: dict[str, Any], options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        fit(GraphedAutoencoder, RECIPES["adam"].with_changes(**changes), "cpu", **options)


def test_chunks_that_part_a_batch_are_refused(monkeypatch) -> None:
    class OddChunks(IndexChunks):
        def __init__(self, dataset: ResidentDataset, batch_size: int, **options: Any) -> None:
            super().__init__(dataset, batch_size + 50, **options)

    monkeypatch.setattr(f"{__name__}.IndexChunks", OddChunks)
    with pytest.raises(ConfigError, match="batch_size: found chunks of 450, .* multiple of the recipe's 100"):
        fit(GraphedAutoencoder, RECIPES["adam"], "cpu")


def test_batches_of_images_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(f"{__name__}.IndexChunks", ResidentBatches)
    with pytest.raises(ConfigError, match="found ResidentBatches, allowed with graphs: IndexChunks"):
        fit(GraphedAutoencoder, RECIPES["adam"], "cpu")
