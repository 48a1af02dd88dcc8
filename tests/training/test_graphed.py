"""Recorded steps do what the readable loop does; on a processor the same steps run unrecorded."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core_torch.data.corruption import Corruption
from core_torch.data.resident import ResidentDataset
from core_torch.data.streaming import StreamedDataset
from core_torch.files.splits import load_split
from core_torch.models.autoencoder import Autoencoder, build_autoencoder
from core_torch.objectives.contractive import ContractiveLoss
from core_torch.spec.architecture import architecture_named
from core_torch.spec.batch_order import epoch_order
from core_torch.spec.errors import ConfigError, DivergenceError
from core_torch.spec.recipe import Recipe
from core_torch.training import graphed as graphed_module
from core_torch.training.graphed import GraphedSteps, fused_optimizer
from core_torch.training.loop import Corrupt, build_criterion, build_optimizer, train_epoch

DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))
BATCH_SIZE = 300  # does not divide the digits: a short batch ends each epoch
EPOCHS, STEPS = 20, 5  # steps an epoch
RECIPES = {
    "sgd": Recipe(optimizer="sgd", learning_rate=0.5),
    "nesterov": Recipe(optimizer="sgd", learning_rate=0.5, momentum=0.9, nesterov=True),
    "adam": Recipe(optimizer="adam"),
    "adamw": Recipe(optimizer="adamw", weight_decay=0.1),
    "contractive": Recipe(objective="contractive", contraction=0.01),
    "denoising": Recipe(objective="denoising"),
}


@pytest.fixture(params=DEVICES)
def digits(request) -> ResidentDataset:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return ResidentDataset(load_split("digits"), device=request.param)


def noise(digits: ResidentDataset, recipe: Recipe) -> tuple[Corrupt | None, tuple[torch.Generator, ...]]:
    """What the denoising objective corrupts by, and the generator it draws from."""
    if recipe.objective != "denoising":
        return None, ()
    generator = torch.Generator(digits.device).manual_seed(recipe.seed)
    corruption = Corruption(recipe.corruption, recipe.corruption_level)
    return lambda inputs: corruption(inputs, generator), (generator,)


def by_the_loop(digits: ResidentDataset, recipe: Recipe) -> tuple[Autoencoder, list[float]]:
    model = build_autoencoder(architecture_named("shallow"), seed=0).to(digits.device)
    optimizer, criterion = fused_optimizer(build_optimizer(model, recipe)), build_criterion(model, recipe)
    (corrupt, _), losses = noise(digits, recipe), []
    for epoch in range(EPOCHS):
        drop_rate(optimizer, epoch)
        batches = digits.batches(BATCH_SIZE, epoch=epoch)
        losses.append(train_epoch(model, batches, criterion=criterion, optimizer=optimizer, corrupt=corrupt))
    return model, losses


def by_graphs(
    digits: ResidentDataset,
    recipe: Recipe,
    *,
    steps: int = 1,
    compiled: bool = False,
    damage: Callable[[GraphedSteps], None] | None = None,
) -> tuple[Autoencoder, list[float]]:
    model = build_autoencoder(architecture_named("shallow"), seed=0).to(digits.device)
    optimizer, criterion = fused_optimizer(build_optimizer(model, recipe)), build_criterion(model, recipe)
    corrupt, generators = noise(digits, recipe)
    trained = torch.compile(model) if compiled else model
    graphs = GraphedSteps(
        trained, digits, criterion=criterion, optimizer=optimizer, corrupt=corrupt, generators=generators
    )
    if damage:
        damage(graphs)
    losses = []
    for epoch in range(EPOCHS):
        drop_rate(optimizer, epoch)
        order = torch.from_numpy(epoch_order(len(digits), seed=0, epoch=epoch))
        losses.append(graphs.run(order, batch_size=BATCH_SIZE, steps=steps))
    return model, losses


def drop_rate(optimizer: torch.optim.Optimizer, epoch: int) -> None:
    """Half-way: a rate that was recorded as a number would not change."""
    if epoch == EPOCHS // 2:
        optimizer.param_groups[0]["lr"] *= 0.1  # of a tensor in place


def equal(one: Autoencoder, other: Autoencoder) -> bool:
    return all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", RECIPES)
def test_a_hundred_steps_end_at_the_weights_of_the_loop(digits, name):
    looped, loop_losses = by_the_loop(digits, RECIPES[name])
    graphed, losses = by_graphs(digits, RECIPES[name])
    for (what, expected), found in zip(looped.named_parameters(), graphed.parameters()):
        assert torch.equal(found, expected), what
    assert losses == pytest.approx(loop_losses, rel=1e-6)


@pytest.mark.parametrize("steps", [2, STEPS, 100])
@pytest.mark.parametrize("name", ("nesterov", "denoising", "contractive"))
def test_several_steps_in_a_graph_or_all_of_an_epoch_end_there_too(digits, name, steps):
    looped, _ = by_the_loop(digits, RECIPES[name])
    graphed, _ = by_graphs(digits, RECIPES[name], steps=steps)
    for (what, expected), found in zip(looped.named_parameters(), graphed.parameters()):
        assert torch.equal(found, expected), what


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_steps_in_a_graph_end_there_to_rounding(digits):
    looped, losses = by_the_loop(digits, RECIPES["sgd"])
    graphed, found = by_graphs(digits, RECIPES["sgd"], steps=2, compiled=True)
    assert found == pytest.approx(losses, rel=1e-5)
    before = build_autoencoder(architecture_named("shallow"), seed=0).state_dict()
    for name, start in before.items():
        update, own = (model.state_dict()[name].cpu() - start for model in (looped, graphed))
        assert (own - update).norm() < 1e-4 * update.norm(), name


def test_a_graph_is_kept_for_each_number_of_images(digits):
    model = build_autoencoder(architecture_named("shallow"), seed=0).to(digits.device)
    optimizer = fused_optimizer(build_optimizer(model, RECIPES["sgd"]))
    graphs = GraphedSteps(model, digits, criterion=torch.nn.MSELoss(), optimizer=optimizer)
    graphs.run(torch.arange(len(digits)), batch_size=BATCH_SIZE, steps=2)
    short = len(digits) % (2 * BATCH_SIZE)
    kept = {(2 * BATCH_SIZE, BATCH_SIZE), (short, min(short, BATCH_SIZE))}
    assert set(graphs.graphs) == (kept if digits.device.type == "cuda" else set())
    with pytest.raises(ConfigError, match="steps"):
        graphs.run(torch.arange(4), batch_size=2, steps=0)


def test_the_comparison_can_fail(digits):
    looped, _ = by_the_loop(digits, RECIPES["nesterov"])
    graphed, _ = by_graphs(digits, RECIPES["nesterov"].with_changes(learning_rate=0.5000001))
    assert not equal(looped, graphed)


class Tape(TorchDispatchMode):
    """Stands for a CUDA graph on a processor: operators with their arguments, which a replay computes anew in place.

    What recording changes is put back at its end, since a capture computes nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[Callable[..., Any], tuple, dict[str, Any], Any]] = []
        self.known: set[int] = set()  # generators, by their addresses: PyTorch hands out a new object each time
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.drawn: dict[int, tuple[torch.Generator, torch.Generator]] = {}

    def register_generator_state(self, generator: torch.Generator) -> None:
        self.known.add(generator._cdata)

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        for storage in storages((arguments, options)):
            self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        if generator := options.get("generator"):
            self.drawn.setdefault(generator._cdata, (generator, generator.clone_state()))
        found = function(*arguments, **options)
        self.lines.append((function, arguments, options, found))
        return found

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        for storage, old in self.before.values():
            storage.copy_(old)
        for generator, old in self.drawn.values():
            generator.set_state(old.get_state())

    @torch.no_grad()
    def replay(self) -> None:
        """A generator that was not registered draws what it drew."""
        sources = {
            key: generator if key in self.known else old.clone_state() for key, (generator, old) in self.drawn.items()
        }
        for function, arguments, options, found in self.lines:
            if generator := options.get("generator"):
                options = options | {"generator": sources[generator._cdata]}
            again = function(*arguments, **options)
            for old, new in zip(tree_leaves(found), tree_leaves(again), strict=True):
                if torch.is_tensor(old) and old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


def storages(arguments: object) -> Iterator[torch.UntypedStorage]:
    """Of all tensors in there."""
    return (leaf.untyped_storage() for leaf in tree_leaves(arguments) if torch.is_tensor(leaf))


@pytest.fixture
def recorded(digits, monkeypatch) -> ResidentDataset:
    """Digits on which steps are recorded: by CUDA, or on tape."""
    if digits.device.type == "cpu":
        monkeypatch.setattr(graphed_module, "can_record", lambda device: True)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Tape)
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side", []))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("current", []))
        monkeypatch.setattr(torch.cuda, "stream", nullcontext)
        monkeypatch.setattr(torch.cuda, "graph", lambda tape, *, stream: tape)
    return digits


@pytest.mark.parametrize("digits", ["cpu"], indirect=True)
@pytest.mark.parametrize(("name", "steps"), [*((name, 1) for name in RECIPES), ("denoising", 2)])
def test_steps_on_tape_end_at_the_weights_of_the_loop(recorded, name, steps):
    looped, loop_losses = by_the_loop(recorded, RECIPES[name])
    replayed, losses = by_graphs(recorded, RECIPES[name], steps=steps)
    assert equal(replayed, looped)
    assert losses == pytest.approx(loop_losses, rel=1e-6)


def rate_as_a_number(graphs: GraphedSteps) -> None:
    for group in graphs.optimizer.param_groups:
        group["lr"] = float(group["lr"])


def generator_unknown(graphs: GraphedSteps) -> None:
    graphs._sources = list


def warm_up_kept(graphs: GraphedSteps) -> None:
    graphs._preserve_state = nullcontext


def short_batch_at_full_length(graphs: GraphedSteps) -> None:
    sound = graphs.step

    def step(index: torch.Tensor, *, batch_size: int) -> None:
        if not graphs.graphs:
            sound(index, batch_size=batch_size)
            return
        (full, graph), *_ = graphs.graphs.items()
        graphs.indices[full][: len(index)].copy_(index)
        graph.replay()

    graphs.step = step


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (rate_as_a_number, "sgd"),
        (rate_as_a_number, "adam"),
        (generator_unknown, "denoising"),
        (warm_up_kept, "sgd"),
        (warm_up_kept, "adam"),
        (short_batch_at_full_length, "sgd"),
    ],
)
def test_what_a_recording_can_get_wrong_is_seen(recorded, damage, name):
    _, losses = by_the_loop(recorded, RECIPES[name])
    try:
        _, damaged = by_graphs(recorded, RECIPES[name], damage=damage)
    except RuntimeError as error:  # where PyTorch does not register what draws by itself
        assert damage is generator_unknown and "generator" in str(error)
    else:
        assert damaged != pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize("name", ("sgd", "nesterov", "adam", "adamw"))
def test_the_fused_optimizer_takes_the_step_of_the_plain_one(digits, name):
    models = [build_autoencoder(architecture_named("shallow"), seed=0).to(digits.device) for _ in range(2)]
    plain, other = (build_optimizer(model, RECIPES[name]) for model in models)
    for model, optimizer in zip(models, (plain, fused_optimizer(other))):
        for epoch in range(3):
            batches = digits.batches(BATCH_SIZE, epoch=epoch)
            train_epoch(model, batches, criterion=torch.nn.MSELoss(), optimizer=optimizer)
    for one, two in zip(*(model.parameters() for model in models)):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_the_fused_optimizer_keeps_what_it_was_told():
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": weights[:1], "lr": 0.5}, {"params": weights[1:], "lr": 0.1}]
    plain = torch.optim.SGD(groups, momentum=0.9, dampening=0.5, maximize=True)
    plain.param_groups[0]["lr"] = 0.25  # as a scheduler would
    fused = fused_optimizer(plain)
    assert [float(group["lr"]) for group in fused.param_groups] == [0.25, pytest.approx(0.1)]
    for name in ("momentum", "dampening", "maximize"):
        assert [group[name] for group in fused.param_groups] == [group[name] for group in plain.param_groups]
    assert all(group["fused"] for group in fused.param_groups)


def test_dampening_is_refused(digits):
    """Of the first step's gradient it takes nothing off, unless that step finds momentum, be it zero."""
    model = build_autoencoder(architecture_named("shallow"), seed=0).to(digits.device)
    for dampening in (0.0, 0.1):
        plain = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=dampening)
        options = {"criterion": torch.nn.MSELoss(), "optimizer": fused_optimizer(plain)}
        said = pytest.raises(ConfigError, match="^dampening: found 0.1, allowed with graphs: 0$")
        with said if dampening else nullcontext():
            GraphedSteps(model, digits, **options)


def test_what_cannot_be_carried_over_is_refused(digits):
    weight = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ConfigError, match="RMSprop"):
        fused_optimizer(torch.optim.RMSprop([weight]))
    used = torch.optim.Adam([weight])
    weight.grad = torch.ones(2)
    used.step()
    with pytest.raises(ConfigError, match="taken steps"):
        fused_optimizer(used)


def test_an_epoch_without_images_or_with_infinite_loss_is_refused(digits):
    model = build_autoencoder(architecture_named("shallow"), seed=0).to(digits.device)
    optimizer = fused_optimizer(build_optimizer(model, RECIPES["sgd"]))
    infinite = lambda output, target: (output - target).square().sum() * torch.inf  # noqa: E731
    steps = GraphedSteps(model, digits, criterion=infinite, optimizer=optimizer)
    with pytest.raises(ConfigError, match="images"):
        steps.run(torch.arange(0), batch_size=2)
    with pytest.raises(ConfigError, match="batch_size"):
        steps.run(torch.arange(4), batch_size=0)
    with pytest.raises(DivergenceError):
        steps.run(torch.arange(4), batch_size=2)


def test_a_warm_up_leaves_no_trace(digits):
    model = build_autoencoder(architecture_named("shallow"), seed=0).to(digits.device)
    optimizer = fused_optimizer(build_optimizer(model, RECIPES["adam"]))
    steps = GraphedSteps(model, digits, criterion=torch.nn.MSELoss(), optimizer=optimizer)
    before = [parameter.clone() for parameter in model.parameters()]
    with steps._preserve_state():
        steps._step(torch.arange(10, device=digits.device))
        assert not torch.equal(before[0], model.encoder[0].weight)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters()))
    assert all(not value.any() for state in optimizer.state.values() for value in state.values())
    assert not steps.total


def test_nor_does_it_leave_one_on_the_probes_that_the_criterion_draws(digits):
    model = build_autoencoder(architecture_named("shallow"), seed=0).to(digits.device)
    criterion = ContractiveLoss(model, estimator="hutchinson", seed=5)
    optimizer = fused_optimizer(build_optimizer(model, RECIPES["sgd"]))
    steps = GraphedSteps(model, digits, criterion=criterion, optimizer=optimizer)
    index = torch.arange(10, device=digits.device)
    for drawn in (0, 1):  # made by the warm-up, and there before it
        expected = torch.Generator(digits.device).manual_seed(5)
        for _ in range(drawn):
            steps._step(index)
            expected = criterion.generator.clone_state()
        with steps._preserve_state():
            steps._step(index)
            assert not torch.equal(criterion.generator.get_state(), expected.get_state())
        assert torch.equal(criterion.generator.get_state(), expected.get_state())


def test_a_streamed_split_is_refused():
    split, model = load_split("digits"), build_autoencoder(architecture_named("shallow"), seed=0)
    optimizer = fused_optimizer(build_optimizer(model, RECIPES["sgd"]))
    with pytest.raises(ConfigError, match="residency: found streamed, allowed with graphs: float32, uint8"):
        GraphedSteps(model, StreamedDataset(split), criterion=torch.nn.MSELoss(), optimizer=optimizer)


class Stream:
    """Stands for a CUDA stream, and writes down who waits for it."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: "Stream") -> None:
        self.log.append(f"{self.name} waits for {other.name}")


def test_a_recording_is_made_on_the_device_of_the_tensors_after_all_generators_are_known(monkeypatch):
    """What would be asked of a device, as far as a processor can tell."""
    log: list[str] = []
    graph = SimpleNamespace(register_generator_state=lambda generator: log.append(f"seed {generator.initial_seed()}"))

    @contextmanager
    def on(stream: Stream):
        log.append(f"on {stream.name}")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(f"side of {device}", log))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream(f"current of {device}", log))
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "graph", lambda found, *, stream: on(stream))
    digits = ResidentDataset(load_split("digits"))
    model = build_autoencoder(architecture_named("shallow"), seed=0)
    optimizer = fused_optimizer(build_optimizer(model, RECIPES["sgd"]))
    criterion, noise = ContractiveLoss(model, estimator="hutchinson", seed=5), torch.Generator().manual_seed(4)
    steps = GraphedSteps(model, digits, criterion=criterion, optimizer=optimizer, generators=(noise,))
    steps._record(torch.arange(10), 5)
    assert log == [
        "side of cpu waits for current of cpu",
        "on side of cpu",
        "current of cpu waits for side of cpu",
        "seed 4",
        "seed 5",
        "on side of cpu",
    ]
    assert steps.graphs == {(10, 5): graph}
