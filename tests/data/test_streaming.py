"""A streamed split gives what a resident one gives, from two chunks of memory."""

import sys
import time
import weakref
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core_torch.data import residency
from core_torch.data.residency import resident_or_streamed
from core_torch.data.resident import ResidentDataset
from core_torch.data.staging_buffer import StagingBuffer
from core_torch.data.streaming import PAGE, StreamedDataset, quasi_random_order
from core_torch.files.idx import map_idx
from core_torch.files.splits import Split, load_split, synthetic
from core_torch.models.autoencoder import build_autoencoder
from core_torch.models.fully_connected import DeepAutoencoder
from core_torch.models.randomized import RandomizedAutoencoder
from core_torch.objectives.reconstruction import mean_squared_error
from core_torch.spec.architecture import architecture_named
from core_torch.spec.batch_order import epoch_order
from core_torch.spec.errors import ConfigError
from core_torch.spec.recipe import Recipe
from core_torch.training.checkpoints import dataset_hash
from core_torch.training.layer_by_layer.pretraining import pretrain
from core_torch.training.layer_by_layer.randomized import train_randomized
from core_torch.training.loop import train

IMAGE_BYTES = 28 * 28


def random(count: int) -> Split:
    return synthetic(count)


def streamed(split: Split, *, chunk: int, in_background: bool = True, **options) -> StreamedDataset:
    """In chunks of so many images; with a thread, as on an accelerator."""
    dataset = StreamedDataset(split, chunk_bytes=chunk * IMAGE_BYTES, **options)
    dataset.in_background = in_background
    return dataset


def same(one, two) -> bool:
    """Whether two iterables of batches are equal, bit for bit."""
    pairs = zip(one, two, strict=True)
    return all(torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in pairs)


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 90),
    batch_size=st.integers(1, 20),
    chunk=st.integers(20, 100),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    in_background=st.booleans(),
)
def test_batches_are_those_of_the_resident_split_whatever_the_chunks(
    count, batch_size, chunk, in_background, **options
):
    resident = ResidentDataset(random(count))
    other = streamed(random(count), chunk=chunk, in_background=in_background)
    assert same(resident.batches(batch_size, **options), other.batches(batch_size, **options))


def test_another_seed_would_be_seen():
    resident, other = ResidentDataset(random(90)), streamed(random(90), chunk=20)
    assert not same(resident.batches(8, seed=0), other.batches(8, seed=1))


def test_a_generator_draws_the_order_where_one_is_given():
    pairs = [ResidentDataset(random(90)), streamed(random(90), chunk=20)]
    assert same(*(dataset.batches(8, generator=torch.Generator().manual_seed(3)) for dataset in pairs))


def test_batches_that_are_kept_never_change_and_are_nobody_elses():
    dataset = streamed(random(90), chunk=20)
    kept = list(dataset.batches(8))
    assert same(kept, dataset.batches(8))
    for inputs, _ in dataset.batches(8):
        inputs.fill_(0.5)
    assert same(kept, dataset.batches(8))


@pytest.mark.parametrize("slow", ["fill", "take"])
def test_neither_side_overtakes_the_other(slow, monkeypatch):
    dataset, quick = streamed(random(90), chunk=20), getattr(StagingBuffer, slow)

    def late(slot, argument):
        time.sleep(0.02)
        return quick(slot, argument)

    expected = list(dataset.batches(10))
    monkeypatch.setattr(StagingBuffer, slow, late)
    assert same(dataset.batches(10), expected)


def test_two_epochs_can_be_read_side_by_side():
    dataset = streamed(random(90), chunk=20)
    one, two = list(dataset.batches(10, epoch=1)), list(dataset.batches(10, epoch=2))
    for (inputs, _), (others, _), (x, _), (y, _) in zip(
        dataset.batches(10, epoch=1), dataset.batches(10, epoch=2), one, two, strict=True
    ):
        assert torch.equal(inputs, x) and torch.equal(others, y)


def test_an_epoch_can_be_left_in_the_middle_and_read_without_gradients():
    dataset = streamed(random(90), chunk=20)
    batches = dataset.batches(10)
    next(batches)
    batches.close()
    with torch.inference_mode():
        assert same(dataset.batches(10), ResidentDataset(random(90)).batches(10))


@pytest.mark.parametrize("window", [1, 100, 1000])
def test_a_quasi_random_order_is_reported_and_has_every_image_once(window):
    count = 1000 - 7
    dataset = streamed(random(count), chunk=200, window=window)
    order = dataset.order(seed=1, epoch=2)
    assert sorted(order) == list(range(count))
    assert np.array_equal(order, epoch_order(count, seed=1, epoch=2)) == (window >= count)
    delivered = torch.cat([targets for _, targets in dataset.batches(30, seed=1, epoch=2)])
    assert torch.equal(delivered, ResidentDataset(random(count)).targets[torch.from_numpy(order)])
    assert len({tuple(dataset.order(seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_a_window_is_read_from_few_places_and_shuffled_whole():
    count, window = 100 * PAGE, 10 * PAGE
    order = quasi_random_order(count, window=window, seed=0, epoch=0)
    for start in range(0, count, window):
        rows = order[start : start + window]
        assert len(set(rows // PAGE)) == window // PAGE
        assert len(set(rows[: window // 4] // PAGE)) == window // PAGE  # all pages in any quarter of it
    full = epoch_order(count, seed=0, epoch=0)
    assert len(set(full[:window] // PAGE)) > 5 * window // PAGE


def test_a_split_that_is_sorted_by_class_is_mixed():
    """A window of 32 pages holds every class; without pages, two neighbouring windows would hold one or two."""
    labels = np.repeat(np.arange(10), 10 * PAGE)
    order = quasi_random_order(len(labels), window=32 * PAGE, seed=0, epoch=0)
    batches = np.array_split(labels[order], 25)
    assert np.mean([len(Counter(batch)) for batch in batches]) > 9
    assert max(max(Counter(batch).values()) / len(batch) for batch in batches) < 0.35


class Peak(TorchDispatchMode):
    """Counts the bytes of tensors made inside that are alive at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        tensors = filter(torch.is_tensor, tree_leaves((arguments, options)))
        given = {tensor.untyped_storage()._cdata for tensor in tensors}
        found = function(*arguments, **(options or {}))
        for tensor in filter(torch.is_tensor, tree_leaves(found)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.known | given:
                self.known.add(storage._cdata)
                self.alive += storage.nbytes()
                self.most = max(self.most, self.alive)
                weakref.finalize(tensor, self._gone, storage._cdata, storage.nbytes())
        return found

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.alive -= size


def peak_of(make) -> int:
    """The most bytes alive while a dataset is made and an epoch of it is read in batches of 10."""
    with Peak() as peak:
        for _ in make().batches(10):
            pass
    return peak.most


def test_no_more_is_held_than_two_chunks_and_what_is_given_out():
    split, chunk = random(4000), 50
    in_use = 2 * chunk * 4 * IMAGE_BYTES  # the batches made at once, and those before while they are made
    indices = 5 * 8 * len(split)  # the order and what it is made of
    limit = 2 * chunk * IMAGE_BYTES
    found = peak_of(lambda: resident_or_streamed(split, limit_bytes=limit))
    assert limit < found < limit + in_use + indices < len(split) * IMAGE_BYTES / 4


def test_a_split_that_is_resident_is_seen_to_be_held():
    split = random(4000)
    assert peak_of(lambda: ResidentDataset(split, residency="uint8")) > len(split) * IMAGE_BYTES


@pytest.mark.parametrize("objective", ["standard", "denoising"])
def test_training_ends_with_the_weights_of_a_resident_split(objective):
    recipe = Recipe(objective=objective, epochs=2)
    ends = []
    for dataset in (ResidentDataset(load_split("digits")), streamed(load_split("digits"), chunk=1000)):
        model = build_autoencoder(architecture_named("shallow"), seed=0)
        history = train(model, dataset, recipe=recipe, progress=False)
        ends.append((history.train_loss, history.validation_mse, mean_squared_error(model, dataset), model))
    assert ends[0][:3] == ends[1][:3]
    assert all(torch.equal(*pair) for pair in zip(*(end[3].parameters() for end in ends)))


def test_a_single_layer_is_found_in_a_streamed_split_and_more_are_refused():
    digits, errors = load_split("digits"), []
    for dataset in (ResidentDataset(digits), streamed(digits, chunk=2000)):
        model = RandomizedAutoencoder((784, 20))
        train_randomized(model, dataset)
        errors.append(mean_squared_error(model, dataset))
    assert errors[0] == pytest.approx(errors[1], rel=1e-5)
    for learn, model in ((pretrain, DeepAutoencoder), (train_randomized, RandomizedAutoencoder)):
        with pytest.raises(ConfigError, match="^residency: found streamed, allowed for two layers or more: float32"):
            learn(model((784, 20, 10)), dataset)


def test_parts_are_those_of_a_resident_split_and_share_its_memory():
    resident, whole = ResidentDataset(random(90), residency="uint8"), streamed(random(90), chunk=20)
    for part, expected in zip(whole.hold_out(0.2, seed=1), resident.hold_out(0.2, seed=1)):
        assert part.storage.whole.data_ptr() == whole.storage.whole.data_ptr()
        assert same(part.batches(8), expected.batches(8))
        assert torch.equal(part.data, expected.data) and torch.equal(part.targets, expected.targets)
        assert torch.equal(part.labels, expected.labels)
        assert dataset_hash(part) == dataset_hash(expected) != dataset_hash(resident)
    turned = whole.subset(np.arange(90)[::-1].copy())
    assert torch.equal(turned.data, resident.data.flip(0))
    assert same([turned.gather(torch.arange(5))], [resident.gather(torch.arange(85, 90).flip(0))])


@pytest.mark.parametrize("key", [3, -1, slice(2, 9, 3), [5, 0], torch.tensor([5, 0])])
def test_indexing_is_that_of_a_resident_split(key):
    (one, label), (two, other) = ResidentDataset(random(90))[key], streamed(random(90), chunk=20)[key]
    assert torch.equal(one, two) and torch.equal(torch.as_tensor(label), torch.as_tensor(other))


def test_a_batch_beyond_a_chunk_and_arguments_out_of_range_are_refused_at_once():
    with pytest.raises(ConfigError, match=r"^batch_size: found 21, allowed at most a chunk: 20$"):
        streamed(random(90), chunk=20).batches(21)
    with pytest.raises(ConfigError, match=r"^chunk_bytes: found 783, allowed: an integer >= 784$"):
        StreamedDataset(random(90), chunk_bytes=783)
    with pytest.raises(ConfigError, match=r"^window: found 0"):
        StreamedDataset(random(90), window=0)
    rows = random(90)
    with pytest.raises(ConfigError, match=r"^images: found float32, allowed when streamed: uint8$"):
        StreamedDataset(Split(rows.images.astype(np.float32), rows.labels, "floats"))


@pytest.mark.parametrize("limit", [-1, 0, 2 * IMAGE_BYTES - 1])
def test_a_limit_below_two_images_is_refused(limit):
    with pytest.raises(ConfigError, match=rf"^limit_bytes: found {limit}, allowed: an integer >= {2 * IMAGE_BYTES}$"):
        resident_or_streamed(random(90), limit_bytes=limit)
    with pytest.warns(UserWarning, match="it is streamed"):
        least = resident_or_streamed(random(90), limit_bytes=2 * IMAGE_BYTES)
    assert same(least.batches(1), ResidentDataset(random(90)).batches(1))


def test_a_split_without_images_is_streamed_too():
    empty = StreamedDataset(random(90).take(np.arange(0)))
    assert (len(empty), list(empty.batches(8))) == (0, [])


def test_a_memory_map_is_streamed_from_its_file(tmp_path: Path):
    split = random(3 * PAGE)
    path = tmp_path / "images"
    path.write_bytes(bytes([0, 0, 8, 3]) + np.array(split.images.shape, ">u4").tobytes() + split.images.tobytes())
    mapped = Split(map_idx(path, item_shape=(28, 28)), split.labels, "mapped")
    assert StreamedDataset(mapped).window < 10**6 < sys.maxsize
    dataset = streamed(mapped, chunk=100, window=2 * PAGE)
    assert same(dataset.batches(30, shuffle=False), ResidentDataset(split).batches(30, shuffle=False))
    assert same(dataset.batches(30), streamed(split, chunk=100, window=2 * PAGE).batches(30))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(5 * 90 * IMAGE_BYTES, "float32"), (5 * 90 * IMAGE_BYTES - 1, "uint8"), (90 * IMAGE_BYTES - 1, "streamed")],
)
def test_the_residency_follows_from_the_memory_there_is(limit, expected, recwarn):
    dataset = resident_or_streamed(random(90), limit_bytes=limit)
    assert dataset.residency == expected
    assert [str(warning.message) for warning in recwarn] == [
        f"synthetic: does not fit on cpu as float32, it is {name}" for name in [expected] if name != "float32"
    ]
    assert same(dataset.batches(8), ResidentDataset(random(90)).batches(8))


def test_a_run_that_goes_on_where_less_memory_is_free_is_of_the_same_images():
    held = [ResidentDataset(random(90)), ResidentDataset(random(90), residency="uint8"), streamed(random(90), chunk=20)]
    assert len({dataset_hash(dataset) for dataset in held}) == 1


def test_by_default_a_small_split_is_resident():
    assert resident_or_streamed(random(90)).residency == "float32"


def test_memory_that_runs_out_is_met_once(monkeypatch):
    asked = []

    def full(split, *, device, residency):
        asked.append(residency)
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(residency, "ResidentDataset", full)
    with pytest.raises(torch.OutOfMemoryError):
        resident_or_streamed(random(90))
    assert asked == ["float32", "uint8"]
    with pytest.warns(UserWarning, match="it is streamed"):
        assert resident_or_streamed(random(90), limit_bytes=90 * IMAGE_BYTES).residency == "streamed"


def test_memory_of_the_host_that_runs_out_is_met_too(monkeypatch):
    """By torch's own error, which is a `RuntimeError` like any other."""
    sound = residency.ResidentDataset

    def failing(split, *, device, residency):
        if residency == "float32":
            torch.empty(1 << 60, dtype=torch.uint8)
        return sound(split, device=device, residency=residency)

    monkeypatch.setattr(residency, "ResidentDataset", failing)
    with pytest.warns(UserWarning, match="it is uint8"):
        assert same(resident_or_streamed(random(90)).batches(8), ResidentDataset(random(90)).batches(8))
    monkeypatch.setattr(residency, "ResidentDataset", lambda *given, **options: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        resident_or_streamed(random(90))


def test_what_did_not_fit_is_gone_before_the_next_is_tried(monkeypatch):
    sound, made = residency.ResidentDataset, []

    def full(split, *, device, residency):
        if residency == "float32":
            half = torch.zeros(90)  # as the bytes that float32 was to be made of
            made.append(weakref.ref(half))
            raise torch.OutOfMemoryError("full")
        assert made[0]() is None
        return sound(split, device=device, residency=residency)

    monkeypatch.setattr(residency, "ResidentDataset", full)
    with pytest.warns(UserWarning, match="it is uint8"):
        resident_or_streamed(random(90))
    assert made


class Recorder:
    """Stands for a stream or an event, and writes down what is done with it."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def __getattr__(self, action: str):
        return lambda *others: self.log.append(" ".join([self.name, action, *(other.name for other in others)]))


def test_events_stand_between_the_copy_and_the_reader(monkeypatch):
    """What would be asked of a device, as far as a processor can tell."""
    log: list[str] = []
    side, reader = Recorder("side", log), Recorder("reader", log)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: reader)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    images = torch.arange(10 * 784, dtype=torch.uint8).reshape(10, 1, 28, 28)
    slot = StagingBuffer(images, 4, torch.device("cpu"))
    slot.host, slot.stream = torch.empty_like(slot.codes), side
    slot.copied, slot.read = Recorder("copied", log), Recorder("read", log)
    for rows in (torch.tensor([3, 1, 4, 1]), torch.tensor([5, 9])):
        slot.fill(rows)
        assert torch.equal(slot.take(len(rows)), images[rows])
        slot.release()
    assert log == 2 * [
        "copied synchronize",  # before the pinned memory is written again
        "side wait_event read",  # before the device's is
        "copied record",
        "reader wait_event copied",
        "read record reader",
    ]


@pytest.mark.gpu
def test_on_an_accelerator_it_is_the_same_and_the_cap_is_held():
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    split, chunk = random(50_000), 1000
    expected = ResidentDataset(split, device="cuda", residency="uint8").batches(100, epoch=1)
    assert same(streamed(split, chunk=chunk, device="cuda").batches(100, epoch=1), expected)
    del expected
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for _ in streamed(split, chunk=chunk, device="cuda").batches(100):
        pass
    held = torch.cuda.max_memory_allocated() - before
    assert held < 2 * chunk * IMAGE_BYTES + 2 * 500 * 4 * IMAGE_BYTES + (2 << 20)
