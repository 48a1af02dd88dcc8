"""What would make measurements on this machine unreliable. Imports no framework."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from benchmarks.ports.versions import package_version
from benchmarks.timing.environment import BUSY_SHARE, output_of
from core_torch.parity.external import SINGLE_THREAD
from core_torch.spec.extras import DISTRIBUTION

LEAST_MEMORY = 4e9  # bytes available; two dozen processes of frameworks are alive at once
LARGEST_SPREAD = 0.2  # relative, of the same work repeated; above it, intervals will be too wide to tell much
REPETITIONS = 15
CPU = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
QUOTA = Path("/sys/fs/cgroup/cpu.max")
MEMORY = Path("/proc/meminfo")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and what to do about it; nothing to do means that it is in order."""

    name: str
    found: str
    advice: str = ""


def findings() -> list[Finding]:
    """Everything that can be known without measuring a contender."""
    return [check() for check in CHECKS]


def load() -> Finding:
    """Processes that want to run, per core."""
    cores = os.cpu_count() or 1
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    advice = "wait until the machine is idle: wall times are not to be trusted" if busy > BUSY_SHARE * cores else ""
    return Finding("load", f"{busy:.2f} on {cores} cores", advice)


def cores() -> Finding:
    """Those that this process may use, and whether a container is throttled below them."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _text(QUOTA).split()
    allowed = count if not quota or quota[0] == "max" else min(count, int(quota[0]) / int(quota[1]))
    return Finding("cores", f"{allowed:g}", "give it 2 or more: the harness runs beside the contender" * (allowed < 2))


def governor() -> Finding:
    """Whether the processor changes its clock as it likes."""
    found = _text(CPU) or "not told"
    return Finding("frequency", found, "set the governor to performance" * (found not in ("performance", "not told")))


def memory() -> Finding:
    """What is free."""
    told = re.search(r"MemAvailable:\s+(\d+) kB", _text(MEMORY))
    if not told:
        return Finding("memory", "not told")
    free = 1024 * int(told[1])
    return Finding("memory", f"{free / 1e9:.1f} GB available", "free some: 4 GB are needed" * (free < LEAST_MEMORY))


def threads() -> Finding:
    """Variables that the harness overrides; whoever reads its times should not expect them to count."""
    others = {name: value for name in SINGLE_THREAD if (value := os.environ.get(name)) not in (None, "1")}
    found = ", ".join(f"{name}={value}" for name, value in others.items()) or "one per contender"
    return Finding("threads", found, "unset them: contenders run with one thread whatever they say" * bool(others))


def versions() -> Finding:
    """Packages older than this distribution asks for."""
    try:
        asked = dict(re.findall(r"^([\w-]+)[^;]*?>=([\d.]+)", "\n".join(requires(DISTRIBUTION) or ()), re.MULTILINE))
    except PackageNotFoundError:
        return Finding("versions", "not installed as a package, so not judged")
    old = [
        f"{name} {found} < {least}"
        for name, least in asked.items()
        if (found := package_version(name)) and _numbers(found) < _numbers(least)
    ]
    return Finding("versions", ", ".join(old) or "as asked for", "install as the Makefile does" * bool(old))


def accelerator() -> Finding:
    """Whether a GPU is there, and whether somebody else uses it."""
    if not NVIDIA_DRIVER.exists():
        return Finding("accelerator", "none: times are of the processor")
    query = "--query-gpu=name,utilization.gpu,memory.used,clocks.sm"
    told = output_of(["nvidia-smi", query, "--format=csv,noheader,nounits"])
    if not told:
        return Finding("accelerator", "an NVIDIA driver that does not answer", "run nvidia-smi, or use --device cpu")
    shares = [line.split(", ")[1] for line in told.splitlines()]
    used = any(share.isdecimal() and int(share) > 0 for share in shares)  # a GPU cut in parts says [N/A]
    return Finding("accelerator", told.replace("\n", "; "), "wait until nobody else uses it" * used)


def repeatability() -> Finding:
    """The same work again and again by the processor clock, on one core: its spread is what every contender sees."""
    times = []
    for _ in range(REPETITIONS):
        started = time.process_time()
        sum(number * number for number in range(50_000))
        times.append(time.process_time() - started)
    ordered = sorted(times)
    spread = (ordered[-1 - REPETITIONS // 4] - ordered[REPETITIONS // 4]) / ordered[REPETITIONS // 2]
    advice = "something else slows this machine: expect wide intervals" if spread > LARGEST_SPREAD else ""
    return Finding("repeatability", f"the middle half within {100 * spread:.0f} %", advice)


CHECKS: tuple[Callable[[], Finding], ...] = (
    load,
    cores,
    governor,
    memory,
    threads,
    versions,
    accelerator,
    repeatability,
)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))
