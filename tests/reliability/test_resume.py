"""A run that is cut short and goes on ends with the very bits of one that was not, from whichever step."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from core_torch.data.resident import ResidentDataset
from core_torch.data.streaming import StreamedDataset
from core_torch.files.splits import load_split
from core_torch.files.weights import load_arrays, save_arrays
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.spec.architecture import ARCHITECTURES, FullyConnected
from core_torch.spec.errors import CheckpointError, ConfigError
from core_torch.spec.recipe import OBJECTIVES, Recipe
from core_torch.training import loop
from core_torch.training.checkpoints import Checkpoints
from core_torch.training.loop import History, train

IMAGES = ResidentDataset(load_split("digits").take(np.arange(50)))
OTHERS = ResidentDataset(load_split("digits").take(np.arange(50, 100)))
RECIPE = Recipe(epochs=2, batch_size=16)  # 45 images: 3 steps an epoch
STEPS = 6
SEEDS = 5  # under stress
SHALLOW = FullyConnected(widths=(784, 8))
PROBED = FullyConnected(widths=(784, 70, 66))  # a code so wide that the penalty is estimated by random probes
CASES = {
    **{objective: {"objective": objective} for objective in OBJECTIVES},
    "probes": {"objective": "contractive", "architecture": PROBED, "contraction": 10.0},
    "one-cycle": {"schedule": "one-cycle"},
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.5},
    "weight decay": {"optimizer": "adamw", "weight_decay": 0.1, "objective": "denoising"},
    "plain descent": {"optimizer": "sgd", "validation_fraction": 0.0, "batch_size": 20},
    "tied": {"architecture": FullyConnected(widths=(784, 20, 8), tied=True)},
    "convolutional": {"architecture": ARCHITECTURES["conv-shallow"], "batch_size": 15},
}


class Stopped(Exception):
    """Training ends in the middle of a step."""


def run(
    folder: Path | None = None, *, stop_after: int | None = None, dataset=IMAGES, architecture=SHALLOW, **options
) -> tuple[History, Autoencoder]:
    """Train, with checkpoints at each step where there is a folder; the model as `load` would find it."""
    recipe = RECIPE.with_changes(**options)
    model = build_autoencoder(architecture, seed=recipe.seed)
    taken = 0

    def count(module, given) -> None:
        nonlocal taken
        taken += module.training
        if stop_after is not None and taken > stop_after:
            raise Stopped

    model.register_forward_pre_hook(count)
    checkpoints = None if folder is None else Checkpoints(folder, every=1)
    return train(model, dataset, recipe=recipe, progress=False, checkpoints=checkpoints), model


def cut_short(folder: Path, after: int, **options) -> Path:
    with pytest.raises(Stopped):
        run(folder, stop_after=after, **options)
    return folder


def bits(result: tuple[History, Autoencoder]) -> tuple:
    history, model = result
    return history.curves(), history.best_epoch, [value.numpy().tobytes() for value in model.state_dict().values()]


@pytest.mark.parametrize("case", CASES)
def test_from_every_step_the_rest_is_the_same_to_the_last_bit(case, tmp_path):
    whole = bits(run(**CASES[case]))
    assert bits(run(tmp_path / "whole", **CASES[case])) == whole
    for after in range(1, STEPS):
        folder = cut_short(tmp_path / str(after), after, **CASES[case])
        assert load_arrays(folder)[1]["epoch"] == (after - 1) // 3
        assert bits(run(folder, **CASES[case])) == whole, after


STREAMED = StreamedDataset(load_split("digits").take(np.arange(50)), chunk_bytes=20 * 784)


def test_batches_that_are_streamed_go_on_as_those_that_are_resident(tmp_path):
    whole = bits(run(objective="denoising", dataset=STREAMED))
    assert whole == bits(run(objective="denoising"))
    for after in range(1, STEPS):
        folder = cut_short(tmp_path / str(after), after, objective="denoising", dataset=STREAMED)
        assert bits(run(folder, objective="denoising", dataset=STREAMED)) == whole, after


def differs_without_checkpoint(model: Autoencoder, seed: int) -> bool:
    """Whether training that is started anew from the weights alone, as from a `state_dict`, ends elsewhere."""
    recipe = RECIPE.with_changes(epochs=1, seed=seed)
    again = build_autoencoder(SHALLOW, seed=seed)
    train(again, IMAGES, recipe=recipe, progress=False)
    train(again, IMAGES, recipe=recipe, progress=False)
    return bits((History(), again)) != bits((History(), model))


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_every_case_by_both_routes_from_every_step_with_many_seeds(tmp_path, tally):
    tried = failed = elsewhere = 0
    for seed in range(SEEDS):
        for case, options in CASES.items():
            for route, dataset in {"resident": IMAGES, "streamed": STREAMED}.items():
                whole = bits(run(dataset=dataset, seed=seed, **options))
                for after in range(1, STEPS):
                    folder = tmp_path / f"{seed} {case} {route} {after}"
                    cut_short(folder, after, dataset=dataset, seed=seed, **options)
                    tried += 1
                    failed += bits(run(folder, dataset=dataset, seed=seed, **options)) != whole
        elsewhere += differs_without_checkpoint(run(seed=seed)[1], seed)
    others = f"from the weights alone: {elsewhere} of {SEEDS} end elsewhere"
    tally.add("runs that are cut short and go on", tried=tried, failed=failed, baseline=others)
    assert failed == 0


def test_a_run_may_be_cut_short_at_each_of_its_steps_in_turn(tmp_path):
    whole = bits(run(objective="denoising"))
    for _ in range(1, STEPS):
        cut_short(tmp_path, 1, objective="denoising")
    assert bits(run(tmp_path, objective="denoising")) == whole


def test_a_finished_run_that_goes_on_is_finished_at_once(tmp_path):
    whole = bits(run(tmp_path))
    assert bits(run(tmp_path, stop_after=0)) == whole


# Trained on light images, the output passes the darker validation images on its way, and patience ends the run.
def patient(folder: Path | None = None, *, stop_after: int | None = None) -> tuple[History, Autoencoder]:
    grey = [ResidentDataset(load_split("digits").take(np.arange(20))) for _ in range(2)]
    for dataset, value in zip(grey, (190, 150)):
        dataset.data.fill_(value / 255)
    recipe = Recipe(learning_rate=2e-2, patience=3, epochs=40, batch_size=20)
    model, taken = build_autoencoder(SHALLOW), []

    def count(module, given) -> None:
        taken.extend([1] * module.training)
        if stop_after is not None and len(taken) > stop_after:
            raise Stopped

    model.register_forward_pre_hook(count)
    checkpoints = None if folder is None else Checkpoints(folder, every=1)
    return train(model, grey[0], recipe=recipe, validation=grey[1], progress=False, checkpoints=checkpoints), model


def test_patience_and_the_best_weights_are_remembered(tmp_path):
    whole = patient()
    best, epochs = whole[0].best_epoch, len(whole[0].train_loss)
    assert 0 < best < epochs - 1 < 39
    for after in (1, best, best + 1, best + 2, epochs - 1):
        folder = tmp_path / str(after)
        with pytest.raises(Stopped):
            patient(folder, stop_after=after)
        assert bits(patient(folder)) == bits(whole), after
        assert bits(patient(folder)) == bits(whole), "finished already"


def change(folder: Path, **arrays_or_numbers) -> None:
    """Save a checkpoint anew with something else in it."""
    arrays, manifest = load_arrays(folder)
    for name, value in arrays_or_numbers.items():
        name = name.replace("__", "/")
        if name in manifest:
            manifest[name] = value
        else:
            arrays |= {found: np.full_like(array, value) for found, array in arrays.items() if found.startswith(name)}
    save_arrays(folder, arrays, metadata={name: manifest[name] for name in manifest if "sha256" not in name})


SEED_1 = torch.Generator().manual_seed(1).get_state().numpy()
FORGOTTEN = {
    "nothing": ({}, {}),
    "first moments": ({}, {"optimizer__exp_avg/": 0.0}),
    "second moments": ({}, {"optimizer__exp_avg_sq": 1e-6}),
    "steps of Adam": ({}, {"optimizer__step": 0.0}),
    "noise": ({"objective": "denoising"}, {"generator__noise": SEED_1}),
    "probes": (CASES["probes"], {"generator__probes": SEED_1}),
    "place in the epoch": ({}, {"steps": 0}),
    "sum of the losses": ({}, {"total": 0.0}),
    "images seen": ({}, {"images": 1}),
    "weights": ({}, {"weight__decoder.0.bias": 0.1}),
    "history": ({}, {"history": {"train_loss": [0.5], "validation_mse": [0.5], "seconds": [1.0], "best_epoch": 0}}),
    "place in the cycle": (
        CASES["one-cycle"],
        {"schedule": {"last_epoch": 0, "_step_count": 1, "_last_lr": [1e-3]}},
    ),
    "rate": (CASES["one-cycle"], {"rates": [1e-3]}),
}


@pytest.mark.parametrize("forgotten", FORGOTTEN)
def test_whatever_is_not_remembered_shows(tmp_path, forgotten):
    options, changes = FORGOTTEN[forgotten]
    change(cut_short(tmp_path, 4, **options), **changes)
    same = bits(run(tmp_path, **options)) == bits(run(**options))
    assert same == (forgotten == "nothing")


OTHER_RUNS = {
    "recipe.learning_rate: found 0.001, expected 0.002": {"learning_rate": 0.002},
    "recipe.objective: found standard, expected denoising": {"objective": "denoising"},
    "recipe.epochs: found 2, expected 3": {"epochs": 3},
    "architecture.widths: found [784, 8], expected [784, 9]": {"architecture": FullyConnected(widths=(784, 9))},
    "dataset: found ": {"dataset": OTHERS},
}


@pytest.mark.parametrize("difference", OTHER_RUNS)
def test_the_checkpoint_of_another_run_is_refused_in_one_line(tmp_path, difference):
    cut_short(tmp_path, 1)
    with pytest.raises(CheckpointError) as caught:
        run(tmp_path, **OTHER_RUNS[difference])
    assert f"{tmp_path}: is of another run, {difference}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    run(tmp_path)


def test_a_checkpoint_of_other_validation_images_is_refused(tmp_path):
    model = build_autoencoder(SHALLOW)
    for part, fits in ((IMAGES, True), (OTHERS, False)):
        checkpoints = Checkpoints(tmp_path, every=1)
        if fits:
            train(model, IMAGES, recipe=RECIPE, validation=part, progress=False, checkpoints=checkpoints)
            continue
        with pytest.raises(CheckpointError, match="validation: found"):
            train(model, IMAGES, recipe=RECIPE, validation=part, progress=False, checkpoints=checkpoints)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weight__encoder.0.bias", None),
        ("generator__noise", np.zeros(3, np.uint8)),
        ("history", [1]),
        ("history", {"unknown": []}),
        ("rates", []),
        ("steps", None),
        ("run", 3),
    ],
    ids=str,
)
def test_a_sealed_checkpoint_that_does_not_fit_is_refused(tmp_path, name, content):
    arrays, manifest = load_arrays(cut_short(tmp_path, 1))
    metadata = {key: manifest[key] for key in manifest if "sha256" not in key}
    if "__" not in name:
        metadata[name] = content
    elif content is None:
        arrays.pop(name.replace("__", "/"))
    else:
        arrays[name.replace("__", "/")] = content
    save_arrays(tmp_path, arrays, metadata=metadata)
    with pytest.raises(CheckpointError) as caught:
        run(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["weight/decoder.0.bias", "optimizer/exp_avg/encoder.0.weight", "total"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_checkpoint_with_a_value_that_is_not_finite_is_neither_written_nor_read(tmp_path, monkeypatch, name, value):
    cut_short(tmp_path, 1)
    with pytest.raises(CheckpointError, match=f"{name} holds a value that is not finite"):
        change(tmp_path, **{name.replace("/", "__"): value})
    with monkeypatch.context() as patch:
        patch.setattr("core_torch.spec.weight_names.np.isfinite", np.ones_like)
        change(tmp_path, **{name.replace("/", "__"): value})
    with pytest.raises(CheckpointError, match=f"{name} holds a value that is not finite"):
        run(tmp_path)


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_steps_between_checkpoints_are_at_least_one(tmp_path, every):
    with pytest.raises(ConfigError, match="checkpoint_every"):
        Checkpoints(tmp_path, every=every)


def test_it_saves_every_so_many_steps_and_at_the_end(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "core_torch.training.checkpoints.save_arrays",
        lambda folder, arrays, *, metadata: saved.append((metadata["epoch"], metadata["steps"])),
    )
    train(build_autoencoder(SHALLOW), IMAGES, recipe=RECIPE, progress=False, checkpoints=Checkpoints(tmp_path, every=2))
    assert saved == [(0, 2), (1, 1), (1, 3), (2, 0)]


def test_what_is_removed_in_the_end_is_what_was_saved(tmp_path):
    run(tmp_path / "alone")
    (tmp_path / "alone" / f"..weights.safetensors-{'0' * 16}-{'1' * 16}").touch()  # of a save that was killed
    (tmp_path / "alone" / f".manifest.json-{'1' * 16}").touch()
    Checkpoints(tmp_path / "alone", every=1).remove()
    assert not (tmp_path / "alone").exists()
    run(tmp_path)
    (tmp_path / ".env").touch()
    Checkpoints(tmp_path, every=1).remove()
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def interrupting(monkeypatch, numbers: list[int], *, at_step: int) -> None:
    """The criterion of that step sends signals to its own process, in the middle of the step."""
    calls = []

    def criterion(output, target):
        calls.append(1)
        if len(calls) == at_step:
            for number in numbers:
                signal.raise_signal(number)
        return mse_loss(output, target)

    monkeypatch.setattr(loop, "build_criterion", lambda *given: criterion)


class Ended(Exception):
    """What SIGTERM's own handler raises here."""


@pytest.fixture
def term():
    """SIGTERM raises, and does not end the test."""

    def end(*_):
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    yield end
    assert signal.getsignal(signal.SIGTERM) is end
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Ended)])
def test_a_signal_waits_for_the_step_and_its_checkpoint(tmp_path, monkeypatch, term, number, error):
    whole = bits(run())
    with monkeypatch.context() as patch, pytest.raises(error):
        interrupting(patch, [number], at_step=4)
        train(
            build_autoencoder(SHALLOW),
            IMAGES,
            recipe=RECIPE,
            progress=False,
            checkpoints=Checkpoints(tmp_path, every=1000),
        )
    assert (load_arrays(tmp_path)[1]["epoch"], load_arrays(tmp_path)[1]["steps"]) == (1, 1)
    assert bits(run(tmp_path)) == whole


def test_a_second_signal_does_not_wait(tmp_path, monkeypatch):
    interrupting(monkeypatch, [signal.SIGINT, signal.SIGINT], at_step=4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert (load_arrays(tmp_path)[1]["epoch"], load_arrays(tmp_path)[1]["steps"]) == (0, 3)


def test_without_checkpoints_a_signal_has_its_usual_effect(monkeypatch, term):
    interrupting(monkeypatch, [signal.SIGTERM], at_step=1)
    with pytest.raises(Ended):
        run()
