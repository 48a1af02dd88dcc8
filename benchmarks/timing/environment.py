"""What a result depends on besides the code: machine, versions, settings, load."""

import os
import platform
import subprocess
import sys
from pathlib import Path

from benchmarks.ports.versions import PACKAGES, package_version

BUSY_SHARE = 0.5  # load average per core above which wall times are not to be trusted


def describe_environment(*, seed: int, device: str) -> dict[str, object]:
    """The `environment` table of results.json."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    cores = os.cpu_count() or 1
    return {
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "cores": cores,
        "memory_bytes": _memory_bytes(),
        "gpu": _gpu_name() if device.startswith("cuda") else None,
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := package_version(name))},
        "threads": 1,
        "precision": "float32, TF32 off",
        "commit": commit(),
        "load": load,
        "busy": load is not None and load > BUSY_SHARE * cores,
        "seed": seed,
        "device": device,
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _memory_bytes() -> int | None:
    if not hasattr(os, "sysconf") or sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpu_name() -> str | None:
    return output_of(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])


def commit() -> str | None:
    """Of the code that runs, `-dirty` if it was changed since; None outside a repository."""
    return output_of(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"])


def output_of(command: list[str]) -> str | None:
    """What a command prints; None if it cannot be run or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
