"""Training without Python between kernels: steps are recorded once as a CUDA graph, and replayed for every batch.

Opt-in, for small models on a fast GPU, where the host takes longer to launch a step than the device to run it. What
is recorded is the readable loop's step: gather, corrupt, forward, backward, update; one, several, or those of an epoch.
On a CPU they run unrecorded.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from core_torch.data.resident import ResidentDataset
from core_torch.spec.errors import ConfigError, DivergenceError, check_integer
from core_torch.training.loop import Corrupt, Criterion

WARM_UP_STEPS = 3  # before a capture, on a side stream: libraries choose their kernels and allocate
Lengths = tuple[int, int]  # images of a graph, and of each of its batches but perhaps the last
FUSED_OPTIMIZERS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)


def fused_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Build the same optimizer with one kernel for its update. Its rates are tensors: a recorded number never changes.

    Raises:
        ConfigError: it has taken steps already, or is none of SGD, Adam and AdamW.
    """
    kind = type(optimizer)
    if kind not in FUSED_OPTIMIZERS:
        allowed = ", ".join(each.__name__ for each in FUSED_OPTIMIZERS)
        raise ConfigError(f"optimizer: found {kind.__name__}, allowed: {allowed}")
    if optimizer.state:
        raise ConfigError("optimizer: found one that has taken steps, allowed: a fresh one")
    groups = []
    for group in optimizer.param_groups:
        device = group["params"][0].device
        changes = {"lr": torch.tensor(float(group["lr"]), device=device), "fused": True}
        if "capturable" in group:  # of Adam, which else counts its steps on the host
            changes["capturable"] = device.type == "cuda"
        groups.append(group | changes)
    return kind(groups, fused=True)


def can_record(device: torch.device) -> bool:
    """Say whether its kernels can be a CUDA graph."""
    return device.type == "cuda"


class GraphedSteps:
    """Runs epochs over a resident dataset; one graph for each number of images, so a short last batch has its own.

    Args:
        model: on the dataset's device; so is all the criterion holds. One that `torch.compile` made is compiled first,
            and its kernels are recorded.
        optimizer: of `fused_optimizer`; a scheduler may fill its learning rate between calls of `step`.
        generators: that `corrupt` draws from, or a criterion which has none as its attribute `generator`.

    Raises:
        ConfigError: the dataset is streamed, which no graph can do; or SGD has dampening, which is not applied to a
            first step, while one that is replayed finds the momentum that the warm-up has left at zero.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: ResidentDataset,
        *,
        criterion: Criterion,
        optimizer: torch.optim.Optimizer,
        corrupt: Corrupt | None = None,
        generators: tuple[torch.Generator, ...] = (),
    ) -> None:
        if dataset.residency == "streamed":
            raise ConfigError("residency: found streamed, allowed with graphs: float32, uint8")
        for dampening in (group.get("dampening", 0) for group in optimizer.param_groups):
            if dampening:
                raise ConfigError(f"dampening: found {dampening}, allowed with graphs: 0")
        self.model, self.dataset, self.criterion, self.optimizer = model, dataset, criterion, optimizer
        self.corrupt, self.generators = corrupt, generators
        self.total = torch.zeros((), device=dataset.device)
        self.indices: dict[Lengths, torch.Tensor] = {}  # what a graph reads
        self.graphs: dict[Lengths, torch.cuda.CUDAGraph] = {}

    def run(self, order: torch.Tensor, *, batch_size: int, steps: int = 1) -> float:
        """Train on the images of `order` (N,) int64, batch by batch; the criterion averaged over them.

        Args:
            order: made on the device by `torch.randperm`, it never leaves it.
            steps: in one graph; as many as an epoch has make it one launch. Recording takes as long as running them.

        Raises:
            ConfigError: there is no image, or batch_size or steps is below 1.
            DivergenceError: the loss is not finite.
        """
        check_integer("batch_size", batch_size, minimum=1)
        check_integer("steps", steps, minimum=1)
        check_integer("images", len(order), minimum=1)
        self.total.zero_()
        for index in order.to(self.dataset.device).split(batch_size * steps):
            self.step(index, batch_size=batch_size)
        mean = float(self.total) / len(order)
        if not math.isfinite(mean):
            raise DivergenceError(f"the training loss is {mean}; lower the learning_rate")
        return mean

    def step(self, index: torch.Tensor, *, batch_size: int | None = None) -> None:
        """Step on the images of `index` (B,) int64, or once for each `batch_size` of them; `total` adds up losses."""
        size = min(batch_size or len(index), len(index))
        if not can_record(index.device):
            self._steps(index, size)
            return
        lengths = len(index), size
        if lengths not in self.graphs:
            self._record(index, size)
        self.indices[lengths].copy_(index)
        self.graphs[lengths].replay()

    def _steps(self, index: torch.Tensor, size: int) -> None:
        for batch in index.split(size):
            self._step(batch)

    def _step(self, index: torch.Tensor) -> None:
        inputs, targets = self.dataset.gather(index)
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(self.corrupt(inputs) if self.corrupt else inputs), targets)
        loss.backward()
        self.optimizer.step()
        self.total += loss.detach() * len(index)

    def _record(self, index: torch.Tensor, size: int) -> None:
        static, graph = index.clone(), torch.cuda.CUDAGraph()
        # Of the tensors' device, which need not be the current one.
        stream, current = torch.cuda.Stream(index.device), torch.cuda.current_stream(index.device)
        with self._preserve_state():
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_STEPS):
                    self._steps(static, size)
            current.wait_stream(stream)
        for generator in self._sources():
            graph.register_generator_state(generator)
        self.optimizer.zero_grad()  # so that the recorded backward pass writes gradients, and does not add to them
        with torch.cuda.graph(graph, stream=stream):
            self._steps(static, size)
        self.indices[len(index), size], self.graphs[len(index), size] = static, graph

    @contextmanager
    def _preserve_state(self) -> Iterator[None]:
        """Put weights, optimizer, generators and total back, in place, to what they were before."""
        before = [(tensor, tensor.detach().clone()) for tensor in self._tensors()]
        states = {generator: generator.get_state() for generator in self._sources()}
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor in self._tensors():  # what the optimizer has created since begins at zero
                    old = next((old for found, old in before if found is tensor), None)
                    tensor.zero_() if old is None else tensor.copy_(old)
            for generator in self._sources():  # one that the criterion has made since begins at its seed
                if generator in states:
                    generator.set_state(states[generator])
                else:
                    generator.manual_seed(generator.initial_seed())

    def _sources(self) -> list[torch.Generator]:
        probes = getattr(self.criterion, "generator", None)
        return [*self.generators, *filter(None, [probes])]

    def _tensors(self) -> list[torch.Tensor]:
        state = [value for each in self.optimizer.state.values() for value in each.values()]
        return [*self.model.parameters(), *self.model.buffers(), *filter(torch.is_tensor, state), self.total]
