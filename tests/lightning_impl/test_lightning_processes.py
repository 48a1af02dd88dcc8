"""Two processes that share each batch against one that has it whole: equal up to rounding."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from core_torch.data.resident import Batch, ResidentDataset
from core_torch.files.splits import load_split
from core_torch.spec.errors import ConfigError
from lightning_impl.checkpoint import read_checkpoint
from lightning_impl.data import LoadedBatches, MNISTDataModule, ResidentBatches
from tests.lightning_impl.lightning_processes import fit

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
ROUNDING = 1e-6  # relative, of float32 weights after two epochs


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).norm() / other[name].norm()) for name in other)


def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    script = [sys.executable, str(Path(__file__).with_name("lightning_processes.py")), str(tmp_path), "resident"]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]

    fitter, alone = fit(devices=1)
    assert len(fitter.datamodule.training) % 215 == 3  # so that the last batch is shared two to one
    both = torch.load(tmp_path / "weighed.pt", weights_only=True)
    assert distance(both["weights"], alone.model.state_dict()) < ROUNDING
    for name, value in fitter.callback_metrics.items():
        assert both["metrics"][name] == pytest.approx(float(value), rel=ROUNDING)
    unweighed = torch.load(tmp_path / "unweighed.pt", weights_only=True)
    assert distance(unweighed["weights"], alone.model.state_dict()) > 100 * ROUNDING
    states = [process["generator"] for process in read_checkpoint(tmp_path / "weighed.ckpt")["processes"]]
    assert list((tmp_path / "pictures").glob("validation-*.png"))  # by one of them, and neither waits for the other
    assert len(states) == 2
    assert not torch.equal(*states)


@pytest.mark.parametrize("kind", [ResidentBatches, LoadedBatches])
def test_shares_make_up_the_batch(kind: type[ResidentBatches]) -> None:
    dataset = ResidentDataset(load_split("digits"))
    whole = list(ResidentBatches(dataset, 101))
    shares = [list(kind(dataset, 101, rank=rank, world_size=3)) for rank in range(3)]
    for number, (inputs, targets) in enumerate(whole):
        for rank in range(3):
            assert torch.equal(shares[rank][number][0], inputs[rank::3])
            assert torch.equal(shares[rank][number][1], targets[rank::3])


def test_each_process_gathers_no_more_than_its_share(monkeypatch) -> None:
    dataset, gather, gathered = ResidentDataset(load_split("digits")), ResidentDataset.gather, list[int]()

    def counting(self: ResidentDataset, index: torch.Tensor) -> Batch:
        gathered[-1] += len(index)
        return gather(self, index)

    monkeypatch.setattr(ResidentDataset, "gather", counting)
    for rank in range(3):
        gathered.append(0)
        list(ResidentBatches(dataset, 101, rank=rank, world_size=3))
    assert sum(gathered) == len(dataset)
    assert max(gathered) - min(gathered) <= -(-len(dataset) // 101)


@pytest.mark.parametrize("count", [999, 1000, 1001, 2003, 3])
def test_images_that_are_judged_can_always_be_shared(count: int) -> None:
    dataset = ResidentDataset(load_split("digits").at_least(count).take(np.arange(count)))
    data = MNISTDataModule()
    for world_size in (1, 2, 3):
        shares = []
        for rank in range(world_size):
            data.trainer = SimpleNamespace(world_size=world_size, global_rank=rank)
            shares.append([len(inputs) for inputs, _ in data._judging(dataset)])
        assert min(map(min, shares)) >= 1
        assert len({*map(len, shares)}) == 1
        assert sum(map(sum, shares)) == count


def test_a_batch_too_small_to_share_is_refused() -> None:
    dataset = ResidentDataset(load_split("digits"))
    for batch_size in (1, len(dataset) - 1):
        with pytest.raises(ConfigError, match="batch_size"):
            ResidentBatches(dataset, batch_size, world_size=2)
        ResidentBatches(dataset, batch_size)
