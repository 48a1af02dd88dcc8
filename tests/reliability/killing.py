"""Processes that are killed while they save, and what the file says then. Imports no framework."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Writer:
    """Something that saves a number: how, how it is read back, and the files that there are then."""

    save: Callable[[Path, int], None]
    load: Callable[[Path], int]
    names: list[str]


@dataclass
class Killed:
    """What kills came to: how often the file could not be read, and how often it was older than acknowledged."""

    unreadable: int = 0
    lost: int = 0


def kill_while_saving(writer: Writer, folder: Path, *, times: int, seconds: float = 0.015) -> Killed:
    """Kill -9 a process that saves 1, 2, 3, ... and says so after each, within `seconds` of the first."""
    found, chance = Killed(), random.Random(0)
    writer.save(folder, 0)
    for _ in range(times):
        listen, say = os.pipe()
        if (child := os.fork()) == 0:
            for number in range(1, 1 << 30):
                writer.save(folder, number)
                os.write(say, b".")
        os.close(say)
        os.read(listen, 1)
        time.sleep(chance.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said = 1
        while part := os.read(listen, 1 << 16):
            said += len(part)
        os.close(listen)
        try:
            found.lost += writer.load(folder) not in (said, said + 1)
        except Exception:
            found.unreadable += 1
            writer.save(folder, 0)
    return found
