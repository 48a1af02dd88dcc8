"""A resident split gives every image once, in the contract's order; what an image costs: `test_image_cost`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from core_torch.data import resident
from core_torch.data.resident import ResidentDataset
from core_torch.files.splits import Split, to_unit_range
from core_torch.spec.batch_order import batch_order
from core_torch.spec.errors import ConfigError


def numbered(count: int, *, residency: str = "float32") -> ResidentDataset:
    """Image i has every pixel i (below 256), so that a batch tells which images it holds."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, 28, 28))
    return ResidentDataset(Split(images, np.arange(count) % 10, "numbered"), residency=residency)


def numbers(pixels: torch.Tensor) -> list[int]:
    """Which images these are."""
    return pixels.flatten(1)[:, 0].mul(255).round().int().tolist()


def noisy(count: int) -> ResidentDataset:
    """Numbered images whose data are the negatives of their clean targets."""
    dataset = numbered(count)
    dataset.data = 1 - dataset.data
    return dataset


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 9),
    drop_last=st.booleans(),
)
def test_batches_follow_the_contracts_order(count, batch_size, seed, epoch, drop_last):
    batches = numbered(count).batches(batch_size, seed=seed, epoch=epoch, drop_last=drop_last)
    expected = batch_order(count, batch_size, seed=seed, epoch=epoch, drop_last=drop_last)
    assert [numbers(inputs) for inputs, _ in batches] == [index.tolist() for index in expected]


@pytest.mark.parametrize("residency", ["float32", "uint8"])
def test_a_batch_holds_images_and_their_pixels(residency):
    dataset = numbered(50, residency=residency)
    images = torch.from_numpy(to_unit_range(np.arange(50, dtype=np.uint8)))
    for (inputs, targets), index in zip(dataset.batches(8), batch_order(50, 8), strict=True):
        expected = images[index][:, None].expand(-1, 784)
        assert inputs.shape == (len(index), 1, 28, 28)
        assert inputs.dtype == targets.dtype == torch.float32
        assert torch.equal(inputs.flatten(1), expected)
        assert torch.equal(targets, expected)


def test_the_targets_of_corrupted_images_are_their_own_clean_pixels():
    for inputs, targets in noisy(50).batches(8):
        assert torch.equal(inputs.flatten(1), 1 - targets)


def test_each_epoch_and_seed_has_another_order():
    def order(**options):
        return [number for inputs, _ in numbered(50).batches(8, **options) for number in numbers(inputs)]

    assert order(seed=1, epoch=1) == order(seed=1, epoch=1)
    assert len({tuple(order(seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    assert order(shuffle=False, seed=1) == list(range(50))


def test_a_generator_draws_the_order_where_one_is_given():
    def order(seed):
        generator = torch.Generator().manual_seed(seed)
        return [numbers(inputs) for inputs, _ in numbered(50).batches(8, generator=generator)]

    drawn = torch.randperm(50, generator=torch.Generator().manual_seed(4))
    assert order(4) == [index.tolist() for index in drawn.split(8)]
    assert order(4) != order(5)


def test_a_generator_is_moved_on_by_each_epoch():
    generator = torch.Generator().manual_seed(0)
    first, second = ([numbers(x) for x, _ in numbered(50).batches(50, generator=generator)] for _ in range(2))
    assert first != second
    assert sorted(first[0]) == sorted(second[0]) == list(range(50))


@pytest.mark.parametrize(
    ("count", "batch_size", "drop_last", "sizes"),
    [
        (10, 4, False, [4, 4, 2]),
        (10, 4, True, [4, 4]),
        (10, 5, True, [5, 5]),
        (10, 100, False, [10]),
        (10, 100, True, []),
        (10, 10**30, False, [10]),
        (1, 1, False, [1]),
    ],
)
def test_the_last_batch_is_short_or_dropped(count, batch_size, drop_last, sizes):
    assert [len(inputs) for inputs, _ in numbered(count).batches(batch_size, drop_last=drop_last)] == sizes


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "8", True, None])
def test_a_batch_size_outside_its_range_is_refused_at_once(batch_size):
    with pytest.raises(ConfigError, match=f"^batch_size: found {batch_size!r}, allowed: an integer >= 1$"):
        numbered(10).batches(batch_size)


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("seed", 0.5), ("epoch", -1)])
def test_a_seed_or_epoch_outside_its_range_is_refused_at_once(name, value):
    with pytest.raises(ConfigError, match=f"^{name}: found {value!r}, allowed: an integer >= 0$"):
        numbered(10).batches(4, **{name: value})


@pytest.mark.parametrize("residency", ["float32", "uint8"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_that_are_kept_never_change(residency, shuffle):
    dataset = numbered(50, residency=residency)
    kept = list(dataset.batches(8, shuffle=shuffle))
    copies = [(inputs.clone(), targets.clone()) for inputs, targets in dataset.batches(8, shuffle=shuffle)]
    for (inputs, targets), copy in zip(kept, copies, strict=True):
        assert torch.equal(inputs, copy[0]) and torch.equal(targets, copy[1])


@pytest.mark.parametrize("residency", ["float32", "uint8"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_changing_a_batch_in_place_leaves_the_dataset_alone(residency, shuffle):
    dataset = numbered(50, residency=residency)
    for inputs, _ in dataset.batches(8, shuffle=shuffle):
        inputs.fill_(0.5)
    assert torch.equal(dataset.data, numbered(50, residency=residency).data)


def test_what_is_learnt_of_one_batch_does_not_reach_the_next():
    """Small batches are slices of one gather, but to autograd they are tensors of their own."""
    weight = torch.ones(28, requires_grad=True)
    (first, _), (second, _) = numbered(8).batches(4)
    kept = second.clone()
    first *= weight
    assert first.requires_grad and not second.requires_grad
    second *= 2
    first.sum().backward()
    assert torch.equal(second, 2 * kept)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("residency", ["float32", "uint8"])
def test_every_pixel_code_is_divided_as_to_tensor_divides_it(residency, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    codes = np.arange(256, dtype=np.uint8)
    images = np.broadcast_to(codes[:, None, None], (256, 28, 28))
    dataset = ResidentDataset(Split(images, codes % 10, "codes"), residency=residency, device=device)
    ((inputs, _),) = dataset.batches(256, shuffle=False)
    found = inputs[:, 0, 0, 0].cpu()
    assert torch.equal(found, torch.from_numpy(codes).to(torch.get_default_dtype()).div(255))
    assert not torch.equal(found, torch.from_numpy(codes).float() * (1 / 255))


class Divisors(TorchDispatchMode):
    """Writes down what is divided by."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if "div" in function.name():
            self.seen.append(arguments[1])
        return function(*arguments, **(options or {}))


def test_off_the_processor_it_is_divided_by_a_tensor_for_a_number_would_be_made_its_reciprocal():
    """What CUDA's kernel does for a number: pytorch issue 191495."""
    codes = torch.empty(3, dtype=torch.uint8, device="meta")
    with Divisors() as divisors:
        assert resident.to_unit_range(codes).dtype == torch.float32
        codes.div(255)
    by_us, by_a_number = divisors.seen
    assert torch.is_tensor(by_us) and by_us.device == codes.device
    assert not (torch.is_tensor(by_a_number) and by_a_number.device == codes.device)


@settings(deadline=None, max_examples=20)
@given(count=st.integers(2, 100), fraction=st.floats(0.01, 0.5), seed=st.integers(0, 9))
def test_holding_out_parts_the_images_once_with_their_labels(count, fraction, seed):
    kept, held = numbered(count).hold_out(fraction, seed=seed)
    assert sorted(numbers(kept.data) + numbers(held.data)) == list(range(count))
    assert len(held) >= 1 and len(kept) >= 1
    for part in (kept, held):
        assert part.labels.tolist() == [number % 10 for number in numbers(part.data)]
        assert torch.equal(part.targets, part.data.flatten(1))


def test_a_part_of_a_corrupted_dataset_keeps_its_clean_targets():
    dataset = noisy(50)
    for part in (*dataset.hold_out(0.2), dataset.subset(np.array([3, 1, 4]))):
        assert torch.equal(part.data.flatten(1), 1 - part.targets)
        for inputs, targets in part.batches(8):
            assert torch.equal(inputs.flatten(1), 1 - targets)
    assert numbers(dataset.subset(np.array([3, 1, 4])).targets) == [3, 1, 4]


def test_a_part_leaves_the_whole_alone():
    dataset = numbered(50)
    part = dataset.subset(np.array([3, 1, 4]))
    part.data.zero_()
    assert numbers(dataset.data) == list(range(50))


def test_one_image_cannot_be_held_out_from_itself():
    with pytest.raises(ConfigError, match="fraction"):
        numbered(1).hold_out(0.1)


@pytest.mark.parametrize("key", [3, -1, slice(2, 9, 3), [5, 0], torch.tensor([5, 0])])
def test_indexing_gives_images_in_the_unit_range_and_labels(key):
    images = to_unit_range(np.arange(50, dtype=np.uint8))
    for residency in ("float32", "uint8"):
        image, label = numbered(50, residency=residency)[key]
        expected = torch.from_numpy(np.asarray(images[key]))
        assert torch.equal(image, expected[..., None, None, None].expand(*expected.shape, 1, 28, 28))
        assert torch.equal(torch.as_tensor(label), torch.from_numpy(np.asarray(np.arange(50)[key] % 10)))


def test_an_index_past_the_end_is_an_index_error_so_that_loops_end():
    dataset = numbered(5)
    with pytest.raises(IndexError):
        dataset[5]
    assert len(list(dataset)) == len(dataset) == 5
