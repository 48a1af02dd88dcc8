"""The loop does what the recipe says, to the last bit; it stops, restores and fails as promised."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import Split, load_split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.spec.architecture import FullyConnected
from core_torch.spec.batch_order import batch_order
from core_torch.spec.errors import ConfigError, DivergenceError
from core_torch.spec.recipe import OBJECTIVES, Recipe
from core_torch.training import loop
from core_torch.training.loop import History, train
from core_torch.training.monitor import TrainingMonitor

SMALL = FullyConnected(widths=(784, 8))
RECIPE = Recipe(epochs=2, batch_size=16)
IMAGES = 50  # 45 of which are trained on: two batches of 16 and one of 13


def digits(count: int = IMAGES) -> ResidentDataset:
    return ResidentDataset(load_split("digits").take(np.arange(count)))


def grey(code: int, count: int = IMAGES) -> ResidentDataset:
    images = np.full((count, 28, 28), code, dtype=np.uint8)
    return ResidentDataset(Split(images, np.zeros(count, np.int64), "grey"))


def numbered(count: int) -> ResidentDataset:
    """Image i has every pixel i / 255."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, 28, 28))
    return ResidentDataset(Split(images, np.zeros(count, np.int64), "numbered"))


def numbers(pixels: torch.Tensor) -> list[int]:
    return pixels.flatten(1)[:, 0].mul(255).round().int().tolist()


def trained(dataset: ResidentDataset | None = None, **options) -> tuple[History, Autoencoder]:
    """The history and the model of a quiet run; fields of the recipe are given by name."""
    fields = {name: options.pop(name) for name in list(options) if name in RECIPE.to_dict()}
    recipe = RECIPE.with_changes(**fields)
    model = build_autoencoder(options.pop("architecture", SMALL), seed=recipe.seed)
    return train(model, dataset or digits(), recipe=recipe, progress=False, **options), model


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def same(one: tuple[History, Autoencoder], other: tuple[History, Autoencoder]) -> bool:
    """Equal curves and weights, bit for bit."""
    return one[0].curves() == other[0].curves() and torch.equal(weights(one[1]), weights(other[1]))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_two_runs_are_equal_to_the_last_bit(objective, optimizer):
    first = trained(objective=objective, optimizer=optimizer)
    torch.manual_seed(99)  # the global generator plays no part
    assert same(first, trained(objective=objective, optimizer=optimizer))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"learning_rate": 1.0001e-3},
        {"batch_size": 15},
        {"objective": "denoising"},
        {"optimizer": "sgd"},
    ],
)
def test_another_recipe_is_another_run(change):
    assert not same(trained(), trained(**change))


def by_hand(learning_rate: float = RECIPE.learning_rate) -> tuple[list[float], torch.Tensor]:
    """The losses and weights of the default recipe's loop, written out."""
    model, kept = build_autoencoder(SMALL), digits().hold_out(0.1, seed=0)[0]
    optimizer, losses = torch.optim.Adam(model.parameters(), learning_rate), []
    for epoch in range(RECIPE.epochs):
        total = 0.0
        for index in batch_order(len(kept), RECIPE.batch_size, seed=0, epoch=epoch):
            images = kept.data[index]
            loss = mse_loss(model(images), images.flatten(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total = total + loss.detach() * len(index)
        losses.append(float(total) / len(kept))
    return losses, weights(model)


def test_a_loop_written_by_hand_gives_the_same_bits():
    history, model = trained()
    losses, final = by_hand()
    assert history.train_loss == losses
    assert torch.equal(weights(model), final)


def test_a_loop_written_by_hand_with_another_rate_does_not():
    history, model = trained()
    losses, final = by_hand(learning_rate=1.001e-3)
    assert history.train_loss != losses
    assert not torch.equal(weights(model), final)


def test_the_history_has_one_value_per_epoch():
    history, model = trained(epochs=3)
    assert len(history.train_loss) == len(history.validation_mse) == len(history.seconds) == 3
    assert history.curves() == {"train_loss": history.train_loss, "validation_mse": history.validation_mse}
    assert history.validation_mse[-1] == mean_squared_error(model, digits().hold_out(0.1, seed=0)[1])
    assert history.train_loss[2] < history.train_loss[0]


def test_without_a_validation_split_the_last_epoch_is_the_best():
    history, _ = trained(epochs=3, validation_fraction=0)
    assert history.validation_mse == []
    assert history.curves() == {"train_loss": history.train_loss}
    assert history.best_epoch == 2


def test_the_objective_decides_what_is_minimised():
    histories = {objective: trained(objective=objective)[0] for objective in OBJECTIVES}
    assert histories["contractive"].train_loss[0] > histories["standard"].train_loss[0]
    assert histories["denoising"].train_loss[0] != histories["standard"].train_loss[0]


def seen_in_training(dataset: ResidentDataset, **options) -> list[int]:
    seen = []

    def criterion(output, target):
        seen.extend(numbers(target))
        return mse_loss(output, target)

    trained(dataset, criterion=criterion, **options)
    return seen


def test_validation_images_are_never_trained_on():
    dataset = numbered(100)
    kept, held = (set(numbers(part.data)) for part in dataset.hold_out(0.2, seed=3))
    seen = seen_in_training(dataset, validation_fraction=0.2, seed=3)
    assert sorted(seen) == sorted([*kept] * RECIPE.epochs)
    assert len(held) == 20 and not held & set(seen)
    assert set(seen_in_training(dataset, validation_fraction=0)) == kept | held


def test_a_validation_split_that_is_given_replaces_the_one_held_out():
    assert set(seen_in_training(numbered(100), validation=grey(0))) == set(range(100))


def test_a_short_last_batch_weighs_as_much_as_its_images():
    def criterion(output, target):
        return target.mean() + 0 * output.sum()

    dataset, mean = numbered(45), pytest.approx(22 / 255, rel=1e-6)
    history, _ = trained(dataset, criterion=criterion, validation_fraction=0, epochs=1, batch_size=44)
    large, small = (float(target.mean()) for _, target in dataset.batches(44))
    assert history.train_loss[0] == mean
    assert (44 * large + small) / 45 == mean != (large + small) / 2


@pytest.fixture
def optimizers(monkeypatch) -> list[torch.optim.Optimizer]:
    """Those that the loop has built, in order."""
    built, build = [], loop.build_optimizer
    monkeypatch.setattr(loop, "build_optimizer", lambda *given: built.append(build(*given)) or built[-1])
    return built


def rates(optimizers: list[torch.optim.Optimizer], **options) -> list[float]:
    """The learning rate of each step."""
    used = []

    def criterion(output, target):
        used.append(optimizers[-1].param_groups[0]["lr"])
        return mse_loss(output, target)

    trained(criterion=criterion, **options)
    return used


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_one_cycle_rises_to_the_recipes_rate_and_falls_to_almost_nothing(optimizers, optimizer):
    used = rates(optimizers, schedule="one-cycle", epochs=10, learning_rate=0.01, optimizer=optimizer)
    peak = used.index(max(used))
    assert len(used) == 30
    assert max(used) == pytest.approx(0.01, rel=1e-2)
    assert 0 < peak < 15
    assert used[: peak + 1] == sorted(used[: peak + 1]) and used[peak:] == sorted(used[peak:], reverse=True)
    assert used[0] < 0.01 / 10 and used[-1] < 0.01 / 1000


def test_a_constant_schedule_is_constant(optimizers):
    assert set(rates(optimizers, learning_rate=0.01)) == {0.01}


def test_momentum_stays_the_recipes_under_one_cycle(optimizers):
    trained(schedule="one-cycle", optimizer="sgd", momentum=0.5)
    assert optimizers[0].param_groups[0]["momentum"] == 0.5


# Trained on a light grey, the output passes the darker grey of the validation split on its way.
PASSING = {"dataset": grey(190), "validation": grey(150), "learning_rate": 2e-2}


def test_early_stopping_restores_the_weights_of_the_best_epoch():
    history, model = trained(**PASSING, epochs=40, patience=3)
    best = history.best_epoch
    assert 0 < best < len(history.train_loss) - 1 < 39
    assert len(history.train_loss) == best + 1 + 3
    assert history.validation_mse[best] == min(history.validation_mse)
    assert mean_squared_error(model, PASSING["validation"]) == history.validation_mse[best]
    assert torch.equal(weights(model), weights(trained(**PASSING, epochs=best + 1)[1]))


def test_without_patience_the_last_weights_stay():
    history, model = trained(**PASSING, epochs=40)
    assert len(history.train_loss) == 40
    assert history.best_epoch < 39
    assert mean_squared_error(model, PASSING["validation"]) == history.validation_mse[-1]


def test_patience_that_is_not_used_up_restores_the_best_weights_too():
    stopped = trained(**PASSING, epochs=40, patience=3)
    best = stopped[0].best_epoch
    assert torch.equal(weights(trained(**PASSING, epochs=best + 2, patience=30)[1]), weights(stopped[1]))


def test_an_error_that_stays_the_same_is_no_better():
    """Steps too small to move any weight: the first epoch is the best, and patience ends the run."""
    history, _ = trained(epochs=10, patience=2, learning_rate=1e-30)
    assert len(set(history.validation_mse)) == 1
    assert history.best_epoch == 0
    assert len(history.train_loss) == 3


SYNCHRONISING = ("item", "tolist", "cpu", "numpy", "__float__", "__int__", "__bool__", "__index__")


class OffHost(TrainingMonitor):
    """As on an accelerator: a CPU is asked at every step."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__(model)
        self.on_host = False


@pytest.fixture
def waits(monkeypatch) -> list[str]:
    """Grows by one for each value that the host asks a tensor for, where it does not ask at every step on purpose."""
    monkeypatch.setattr("core_torch.training.loop.TrainingMonitor", OffHost)
    asked = []

    def counted(name):
        original = getattr(torch.Tensor, name)
        return lambda self, *arguments, **options: asked.append(name) or original(self, *arguments, **options)

    for name in SYNCHRONISING:
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    return asked


# SGD, because on a CPU Adam reads its step count, which lives on the host, at every step.
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_host_waits_as_often_however_many_steps_an_epoch_has(waits, objective):
    counts = []
    for batch_size in (45, 15, 5, 1):
        waits.clear()
        trained(batch_size=batch_size, optimizer="sgd", objective=objective)
        counts.append(len(waits))
    assert len(set(counts)) == 1
    assert 0 < counts[0] <= 4 * RECIPE.epochs


def test_the_count_sees_a_criterion_that_reads_its_loss(waits):
    def criterion(output, target):
        loss = mse_loss(output, target)
        loss.item()
        return loss

    trained(batch_size=5, optimizer="sgd", criterion=criterion)
    assert waits.count("item") == 9 * RECIPE.epochs


def inputs_in_training(**options) -> list[torch.Tensor]:
    """What the model was fed, step by step; every image is the same grey, so that only the noise differs."""
    fed = []
    model = build_autoencoder(SMALL)
    model.register_forward_pre_hook(lambda module, given: fed.append(given[0]) if module.training else None)
    train(model, grey(127), recipe=RECIPE.with_changes(batch_size=45, **options), progress=False)
    return fed


def test_denoising_draws_fresh_noise_for_every_presentation():
    first, second = inputs_in_training(objective="denoising")
    assert not torch.equal(first, second)
    assert len(first.flatten(1).unique(dim=0)) == len(first) == 45
    again = inputs_in_training(objective="denoising")
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])
    other = inputs_in_training(objective="denoising", seed=1)
    assert not torch.equal(first, other[0])


def test_other_objectives_feed_the_images_as_they_are():
    for objective in ("standard", "contractive"):
        assert all((fed == 127 / 255).all() for fed in inputs_in_training(objective=objective))


def test_denoising_is_judged_against_clean_images():
    targets = []

    def criterion(output, target):
        targets.append(target)
        return mse_loss(output, target)

    trained(grey(127), objective="denoising", criterion=criterion)
    assert all((target == 127 / 255).all() for target in targets)


LINEAR = replace(SMALL, output_activation="linear")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_loss_that_is_not_finite_ends_the_run(optimizer):
    with pytest.raises(DivergenceError, match=r"epoch \d: .* lower the learning_rate") as caught:
        trained(learning_rate=1e20, optimizer=optimizer, architecture=LINEAR, epochs=5)
    assert len(str(caught.value).splitlines()) == 1


def test_the_last_step_of_a_run_cannot_diverge_unseen():
    """The loss of the only batch is taken before the step that ruins the weights."""
    with pytest.raises(DivergenceError):
        trained(learning_rate=1e20, architecture=LINEAR, epochs=1, batch_size=IMAGES)


def test_a_rate_beyond_float32_is_refused_before_it_overflows():
    with pytest.raises(ConfigError, match="learning_rate: found 1e\\+300"):
        trained(learning_rate=1e300)


def test_a_single_image_needs_no_validation_split():
    assert len(trained(digits(1), validation_fraction=0)[0].train_loss) == RECIPE.epochs
    with pytest.raises(ConfigError, match="fraction"):
        trained(digits(1))


def test_the_progress_bar_can_be_silenced(capsys):
    trained()
    assert capsys.readouterr() == ("", "")
    train(build_autoencoder(SMALL), digits(), recipe=RECIPE)
    assert "2/2" in capsys.readouterr().err
