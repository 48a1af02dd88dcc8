"""Two nodes, as torchrun starts them and as SLURM does, end where one process does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
ROUNDING = 1e-6  # relative, of float32 weights after an epoch
CPU = "--trainer.max_epochs 1 --trainer.accelerator cpu"
FIT = f"-m lightning_impl fit --config lightning_impl/configs/shallow.yaml {CPU}"
NODES = "--trainer.strategy ddp --trainer.devices 1 --trainer.num_nodes 2"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def start(command: list[str], **variables: str) -> subprocess.Popen[str]:
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    environment |= variables
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **quiet)


def torchrun(rank: int, port: int, fit: list[str]) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    place = ["--node-rank", str(rank), "--master-addr", "127.0.0.1", "--master-port", str(port)]
    return start([*launcher, *place, *fit])


def slurm(rank: int, port: int, fit: list[str]) -> subprocess.Popen[str]:
    """With the variables that srun sets for each of two tasks on two nodes."""
    tasks = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "2", "SLURM_NODELIST": "127.0.0.1"}
    own = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "fit", "SLURM_LOCALID": "0", "SLURM_PROCID": str(rank)}
    node = {"SLURM_NODEID": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return start([sys.executable, *fit], **tasks, **own, **node)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The weights of one process that has each batch whole."""
    folder = tmp_path_factory.mktemp("alone")
    process = start([sys.executable, *FIT.split(), "--output", str(folder)])
    assert process.wait(240) == 0, process.stderr
    return load_file(folder / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("launch", [torchrun, slurm])
def test_two_nodes_end_where_one_process_does(launch, alone, tmp_path):
    port = free_port()
    processes = [launch(rank, port, [*FIT.split(), *NODES.split(), "--output", str(tmp_path)]) for rank in (0, 1)]
    for process in processes:
        told = process.communicate(timeout=240)[1]
        assert process.returncode == 0, told[-2000:]
    both = load_file(tmp_path / "weights.safetensors")
    assert both.keys() == alone.keys()
    assert max(np.linalg.norm(both[name] - alone[name]) / np.linalg.norm(alone[name]) for name in alone) < ROUNDING


@pytest.mark.slow
def test_half_of_each_batch_alone_would_be_seen(alone, tmp_path):
    half = ["--model.batch_size", "64", "--output", str(tmp_path)]
    assert start([sys.executable, *FIT.split(), *half]).wait(240) == 0
    other = load_file(tmp_path / "weights.safetensors")
    assert max(np.linalg.norm(other[name] - alone[name]) / np.linalg.norm(alone[name]) for name in alone) > ROUNDING
