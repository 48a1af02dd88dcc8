"""A worker answers, or says why it cannot; and whatever it does, it leaves no process and no file behind."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ports.process import LEAST_SECONDS, Worker
from benchmarks.ports.timed_port import Case
from core_torch.files.splits import Split
from core_torch.parity.external import SINGLE_THREAD, WorkerError
from core_torch.spec.recipe import Recipe

# What its `epoch` does is the case's variant.
PORT = """
    import os, subprocess, sys, time
    import numpy as np

    print("garbage, printed while importing")
    os.write(1, b"\\xff\\xfe more of it\\n")

    class Trial:
        def __init__(self, case, split, recipe):
            self.case, self.split, self.recipe = case, split, recipe

        def load(self, weights):
            self.kept = weights

        def weights(self):
            return self.kept

        def activations(self, inputs):
            return {"output": inputs * 2}

        def set_learning_rate(self, learning_rate):
            self.rate = learning_rate

        def optimizer_state(self):
            return {"rate": np.array([self.rate])}

        def loss_and_gradients(self, inputs, targets):
            return 0.25, {"encoder.0.weight": inputs, "encoder.0.bias": targets}

        def step(self, inputs, targets):
            return float(inputs.sum() - targets.sum())

        def checksums(self, epoch):
            return np.array([int(epoch), len(self.split)], np.uint32)

        def epoch(self, epoch):
            print('{"wall": 0, "cpu": 0, "images": 0}')
            return getattr(self, self.case.variant)(epoch)

        def works(self, epoch):
            sum(range(10_000))
            return len(self.split) + epoch

        def raises(self, epoch):
            raise RuntimeError(f"no epoch {epoch}")

        def exits(self, epoch):
            os._exit(3)

        def leaves(self, epoch):
            sys.exit("cannot go on")

        def complains_and_dies(self, epoch):
            os.write(2, b"first\\n\\n\\xff last words\\n\\n")
            os._exit(1)

        def hangs(self, epoch):
            time.sleep(1000)

        def is_late(self, epoch):
            time.sleep(0.5)
            return epoch

        def has_children(self, epoch):
            command = ["sh", "-c", "sleep 1000 & echo $!; wait"]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            np.save("PIDS", [os.getpid(), child.pid, int(child.stdout.readline())])
            return 0

    def prepare(case, split, recipe):
        if case.variant == "tells its environment":
            about = ("THREADS", "CUDA", "JAX", "KERAS")
            raise LookupError(str({key: os.environ[key] for key in os.environ if any(part in key for part in about)}))
        return Trial(case, split, recipe)
"""
SPLIT = Split(np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28), np.array([3, 1, 4]), "three images")
Start = Callable[..., Worker]


@pytest.fixture
def start(write_port, tmp_path, monkeypatch) -> Iterator[Start]:
    """Starts a worker on a variant, prepared."""
    module = write_port("misbehaving", PORT.replace("PIDS", str(tmp_path / "pids.npy")))
    workers = []

    def start(variant: str = "works", **options: object) -> Worker:
        workers.append(Worker(f"misbehaving/{variant}", module=module, **options))
        workers[-1].prepare(Case(framework="misbehaving", variant=variant), SPLIT, Recipe())
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


def is_running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_method_of_a_trial_takes_and_returns_arrays(start):
    worker = start()
    rows = np.random.default_rng(0).random((5, 4), dtype=np.float32)
    weights = {"encoder.0.weight": rows.T, "encoder.0.bias": rows[0], "a scalar": np.float32(3)}
    worker.load(weights)
    found = worker.weights()
    assert set(found) == set(weights)
    assert all(np.array_equal(found[name], weights[name]) for name in weights)
    assert all(array.dtype == np.float32 for array in found.values())
    assert np.array_equal(worker.activations(rows)["output"], 2 * rows)
    worker.set_learning_rate(0.125)
    assert worker.optimizer_state()["rate"].tolist() == [0.125]
    loss, gradients = worker.loss_and_gradients(rows, rows + 1)
    assert loss == 0.25
    assert np.array_equal(gradients["encoder.0.weight"], rows)
    assert np.array_equal(gradients["encoder.0.bias"], rows + 1)
    assert worker.step(rows, rows - 1) == pytest.approx(20, rel=1e-5)
    assert worker.epoch(4) == 7
    assert worker.checksums(5).tolist() == [5, 3]


def test_not_even_nan_is_lost_on_the_way(start):
    strange = np.array([[np.nan, np.inf, -np.inf, -0.0, 1e-45]], np.float32)
    assert start().activations(strange)["output"].tobytes() == (strange * 2).tobytes()


def test_a_worker_can_be_prepared_anew(start):
    worker = start("raises")
    worker.prepare(Case(framework="misbehaving", variant="works"), SPLIT.take(np.array([0])), Recipe())
    assert worker.epoch(0) == 1


def test_a_few_microseconds_of_work_are_seen_by_both_clocks(start):
    worker = start()
    samples = [worker.time(epoch) for epoch in range(5)]
    assert all(sample.wall > 0 and sample.cpu > 0 for sample in samples)
    assert samples[0].images == 3  # the first is of one epoch; the others last
    assert all(sample.wall >= LEAST_SECONDS and sample.images > 3 for sample in samples[1:])


def test_a_worker_tells_where_its_time_goes_and_what_it_takes(start):
    worker = start()
    assert worker.profile(batch_size=2).get("first_epoch_seconds") is None
    first = worker.time(0)
    worker.time(1)
    row = worker.profile(batch_size=2)
    assert row["first_epoch_seconds"] == first.wall
    assert 0 < row["step_seconds_p50"] <= row["step_seconds_p95"]
    assert row["step"].keys() == {"wall", "cpu"}
    assert "data" not in row
    assert 1e6 < row["peak_host_bytes"] < 1e10
    assert row["settings"]["variables"]["OMP_NUM_THREADS"] == "1"
    worker.prepare(Case(framework="misbehaving", variant="works"), SPLIT, Recipe())
    assert worker.first is None


def test_an_exception_is_named_and_the_worker_goes_on(start):
    worker = start("raises")
    with pytest.raises(WorkerError, match="^misbehaving/raises: RuntimeError: no epoch 4$"):
        worker.epoch(4)
    assert worker.checksums(5).tolist() == [5, 3]
    assert worker.is_alive


def test_a_module_that_is_not_there_is_named():
    with Worker("none", module="benchmarks.no_such_route") as worker, pytest.raises(WorkerError) as caught:
        worker.prepare(Case(framework="none", variant="lean"), SPLIT, Recipe())
    assert str(caught.value) == "none: ModuleNotFoundError: No module named 'benchmarks.no_such_route'"


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ("exits", "(exit code 3, last words: "),
        ("leaves", "(exit code 1, last words: cannot go on)"),
        ("complains_and_dies", "(exit code 1, last words: \N{REPLACEMENT CHARACTER} last words)"),
    ],
)
def test_a_process_that_dies_is_noticed_and_its_last_words_are_told(start, variant, reason):
    worker = start(variant)
    with pytest.raises(WorkerError) as caught:
        worker.epoch(0)
    assert str(caught.value).startswith(f"misbehaving/{variant}: the process died {reason}")
    assert not worker.is_alive


def test_a_process_that_died_in_silence_tells_its_exit_code(write_port):
    module = write_port("silent", "import os\nos._exit(7)")
    with Worker("silent", module=module) as worker, pytest.raises(WorkerError) as caught:
        worker.prepare(Case(framework="silent", variant="lean"), SPLIT, Recipe())
    assert str(caught.value) == "silent: the process died (exit code 7)"


def test_a_dead_worker_can_be_asked_and_closed(start):
    worker = start("exits")
    for _ in range(3):
        with pytest.raises(WorkerError, match="died"):
            worker.epoch(0)
    worker.close()


def test_a_process_that_hangs_is_given_up_and_ended(start):
    worker = start("hangs")
    worker.timeout = 0.2
    with pytest.raises(
        WorkerError, match=r"^misbehaving/hangs: no answer within 0.2 s; did it flush its output after the line\?$"
    ):
        worker.epoch(0)
    assert not worker.is_alive
    assert not is_running(worker.process.pid)


def test_a_reply_that_comes_too_late_is_not_taken_for_the_next(start):
    worker = start("is_late")
    worker.timeout = 0.1
    with pytest.raises(WorkerError, match="no answer"):
        worker.epoch(1)
    time.sleep(0.7)
    with pytest.raises(WorkerError, match="died"):
        worker.epoch(2)


def come_to_an_end(pids: list[int]) -> bool:
    for _ in range(200):
        if not any(map(is_running, pids)):
            return True
        time.sleep(0.05)
    return False


def test_children_and_their_children_end_with_the_worker(start, tmp_path):
    worker = start("has_children")
    worker.epoch(0)
    pids = np.load(tmp_path / "pids.npy").tolist()
    assert len(set(pids)) == 3
    assert all(map(is_running, pids))
    worker.close()
    assert come_to_an_end(pids)


def test_they_end_even_if_it_died_before_them(start, tmp_path):
    worker = start("has_children")
    worker.epoch(0)
    parent, *children = np.load(tmp_path / "pids.npy").tolist()
    os.kill(parent, 9)
    with pytest.raises(WorkerError, match="died"):
        worker.epoch(1)
    worker.close()
    assert come_to_an_end(children)


def test_nothing_is_left_behind_after_an_exception(write_port):
    with pytest.raises(KeyboardInterrupt), Worker("any", module="any") as worker:
        folder = Path(worker.folder.name)
        assert folder.is_dir()
        raise KeyboardInterrupt
    assert not folder.exists()
    assert not is_running(worker.process.pid)


def test_a_worker_ends_by_itself_when_nobody_is_left_to_ask(start):
    worker = start()
    worker.process.stdin.close()
    assert worker.process.wait(timeout=60) == 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_a_worker_runs_on_one_core_unless_it_is_not_pinned(start):
    assert start().ask(do="describe")["cores"] == 1
    assert start(pinned=False).ask(do="describe")["cores"] == len(os.sched_getaffinity(0))


def environment_of(start: Start, **options: object) -> dict[str, str]:
    with pytest.raises(WorkerError, match="LookupError: ") as caught:
        start("tells its environment", **options)
    return eval(str(caught.value).partition("LookupError: ")[2])  # noqa: S307


def test_on_a_cpu_every_accelerator_is_hidden(start, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    found = environment_of(start)
    assert (found["CUDA_VISIBLE_DEVICES"], found["JAX_PLATFORMS"]) == ("", "cpu")
    found = environment_of(start, device="cuda:0")
    assert found["CUDA_VISIBLE_DEVICES"] == "0"
    assert "JAX_PLATFORMS" not in found


def test_every_framework_gets_one_thread_and_its_own_variables(start, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    found = environment_of(start, environment={"KERAS_BACKEND": "torch"})
    assert found["KERAS_BACKEND"] == "torch"
    assert {name: found[name] for name in SINGLE_THREAD} == dict.fromkeys(SINGLE_THREAD, "1")
