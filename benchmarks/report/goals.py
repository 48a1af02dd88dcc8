"""What a run is held to: a table of ratios with the number each should reach, and whether a run's intervals do."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.loaders.loading import BASELINE, LOADERS, WORKERS
from benchmarks.ports.frameworks import CLOSED_FORM, ENSEMBLE, ENSEMBLE_SIZE, GRADIENT_DESCENT
from benchmarks.report.results_file import Results
from benchmarks.suites import SCALINGS
from benchmarks.timing.floors import GEMMS, OWN_GEMM
from benchmarks.timing.intervals import Interval, interval
from benchmarks.timing.quality import ORIGINALS, QUALITY, TIME_BUDGET

STOCK_LOADERS = tuple(
    variant for variant in LOADERS if not variant.startswith(("fast-mnist", "permuted"))
)  # without FastMNIST
LEAST_SCALING = 0.95  # of the speed on the smallest dataset, on every larger one
START = "epoch start"
OWN_LIBRARY = OWN_GEMM["core_torch"]
OTHER_LIBRARIES = tuple(floor for floor in GEMMS if floor != OWN_LIBRARY)
MET, MISSED, UNSURE = "met", "not met", "not distinguishable"  # a goal


@dataclass(frozen=True)
class Goal:
    """Of the cases whose name matches, and of a contender in them.

    Exactly one of: `at_least` so many times as fast as `beside`; `at_most` so many times the time of `beside`, or,
    where that is empty, so many nanoseconds an image; `check`, a row of the agreement table, passed.
    """

    case: str  # a regular expression
    contender: str
    beside: tuple[str, ...] = ()  # a contender or a floor; of several, the fastest
    at_least: float | None = None
    at_most: float | None = None
    check: str = ""
    device: str = "cpu"
    reason: str = ""  # why it is missed, where it is


@dataclass(frozen=True)
class Outcome:
    """What became of a goal in one case."""

    case: str
    goal: str
    found: Interval
    said: str  # MET, MISSED or UNSURE
    reason: str = ""  # why the median falls short, where it does


def _loading(batch_size: int) -> str:
    return rf"loading, batch {batch_size}, (?!.* cut to ).*"  # of a whole dataset, or one repeated to MNIST's size


def _training(model: str, batch_size: int) -> str:
    return rf"training {model}, batch {batch_size}, .*"


LEAN, BY_HAND = "core_torch/lean", "core_torch/by-hand"
TUTORIAL, GRAPHED = "core_torch/tutorial", "core_torch/graphed"
FASTEST = "fast-mnist-compiled"
RESIDENT = {  # {loader: (why it is slower than hoped in large batches, and in small ones)}
    FASTEST: ("", "an epoch's start and the parting of batches, which are Python's, count for more"),
    "fast-mnist-uint8": ("three passes: gather, widen, divide", "three calls of PyTorch take as long as 32 images"),
    "fast-mnist-float32": ("four times the bytes to gather", "a call of PyTorch, and four times the bytes to gather"),
}

# Why a goal is missed, on the machine whose results are published.
STOCK_GATHERS = "one that is handed tensors of indices gathers by one call too; a pass over memory is all it can lose"
LIBRARY = "another library multiplies faster than PyTorch's, to which the ratio is another row"
UNFOLDED = "pooling and activations count, and convolutions are not products of matrices everywhere"
BESIDE = "the batch's delivery, biases, activations and updates, which count for more the smaller the batch"
SAME_PRODUCTS = "both compute the same products, which bound what can be gained"
ORDER = "the order that every framework follows is NumPy's permutation, which takes nearly all of it"
TOO_SOON = "its time is set beforehand, by that of one epoch, and it was through sooner"

GOALS = (
    # The gather reads 784 bytes of an image and writes 3,136: at the speed of a copy, 200 to 300 times.
    *(Goal(_loading(512), loader, (BASELINE,), at_least=150, reason=why) for loader, (why, _) in RESIDENT.items()),
    *(Goal(_loading(32), loader, (BASELINE,), at_least=85, reason=why) for loader, (_, why) in RESIDENT.items()),
    Goal(_loading(512), FASTEST, STOCK_LOADERS, at_least=6, reason=STOCK_GATHERS),
    Goal(_loading(512), "fast-mnist-streamed", ("fast-mnist-uint8",), at_least=0.9),
    # Of an epoch, the delivery of its batches included. The tutorial's loop computes the same products, which bound
    # what can be gained on it: by (its data + products) / products.
    *(
        Goal(_training("shallow", size), BY_HAND, floors, at_most=limit, reason=why)
        for size, limit in ((512, 1.12), (32, 1.35))
        for floors, why in ((OTHER_LIBRARIES, LIBRARY), ((OWN_LIBRARY,), BESIDE))
    ),
    Goal(_training("shallow", 512), BY_HAND, (TUTORIAL,), at_least=4.5, reason=SAME_PRODUCTS),
    Goal(_training("conv-shallow", 512), LEAN, GEMMS, at_most=3, reason=UNFOLDED),
    Goal(rf"{CLOSED_FORM}, .*", CLOSED_FORM, (GRADIENT_DESCENT,), at_least=TIME_BUDGET, reason=TOO_SOON),
    *(Goal(rf"{original}, .*", original.contender, check=original.check) for original in ORIGINALS),
    *(
        Goal(rf"{scaling}, .*", size, (scaling.labels[0],), at_least=LEAST_SCALING)
        for scaling in SCALINGS
        if scaling.variant != START
        for size in scaling.labels[1:]
    ),
    *(
        Goal(rf"{scaling}, .*", scaling.labels[-1], at_most=5, reason=ORDER)
        for scaling in SCALINGS
        if scaling.variant == START
    ),
    # A step is a dozen kernels that take longer to launch than to run; recorded, only the products should count.
    # What is timed is an epoch, its shuffle and gathers included.
    Goal(_training("shallow", 512), GRAPHED, GEMMS, at_most=1.35, device="cuda"),
    Goal(_training("shallow", 32), GRAPHED, GEMMS, at_most=1.6, device="cuda"),
    Goal(
        _training("shallow", 32),
        f"core_torch/{ENSEMBLE}",
        (GRAPHED,),
        at_most=ENSEMBLE_SIZE / 10,
        device="cuda",
    ),
    Goal(_training("shallow", 512), GRAPHED, at_most=83.3, device="cuda"),  # 60,000 images in 5 ms
    Goal(_loading(512), "fast-mnist-uint8", (BASELINE,), at_least=500, device="cuda"),
    Goal(_loading(512), "fast-mnist-uint8", WORKERS, at_least=60, device="cuda"),
)


def outcomes(results: Results) -> list[Outcome]:
    """Of every goal that the run measured, in the table's order."""
    device = str(results.environment.get("device", "cpu")).partition(":")[0]
    return [found for goal in GOALS if goal.device == device for found in _of(goal, results)]


def _of(goal: Goal, results: Results) -> Iterator[Outcome]:
    if goal.check:
        rows = [row for row in results.agreement if (row["framework"], row["check"]) == (goal.contender, goal.check)]
        for row in rows:
            if re.fullmatch(goal.case, row["case"]):
                found, told = float(row["value"]), f"{goal.contender} <= {float(row['tolerance']):g}, {goal.check}"
                said = MET if row["passed"] else MISSED
                yield Outcome(row["case"], told, Interval(found, found, found), said, goal.reason)
        return
    for case, samples in _samples(results).items():
        if re.fullmatch(goal.case, case) and goal.contender in samples:
            beside = [name for name in goal.beside if name in samples]
            if beside or not goal.beside:
                yield _judged(goal, case, samples, beside)


def _judged(goal: Goal, case: str, samples: dict[str, list[float]], beside: list[str]) -> Outcome:
    """By the interval: all of it has to be on the right side, or on the wrong one."""
    own, rises = samples[goal.contender], goal.at_least is not None
    if not beside:
        found, named = interval([1e9 * value for value in own]), "ns an image"
    else:
        fastest = min(beside, key=lambda name: interval(samples[name]).median)
        found = interval([b / a if rises else a / b for a, b in zip(own, samples[fastest])])
        named = f"x {fastest}"
    limit = goal.at_least or goal.at_most or 0.0
    sign, (worst, best) = (1, (found.low, found.high)) if rises else (-1, (found.high, found.low))
    said = MET if sign * worst >= sign * limit else MISSED if sign * best < sign * limit else UNSURE
    reason = goal.reason if sign * found.median < sign * limit else ""
    return Outcome(case, f"{goal.contender} {'>=' if rises else '<='} {limit:g} {named}", found, said, reason)


def _samples(results: Results) -> dict[str, dict[str, list[float]]]:
    """{case: {contender or floor: seconds an image, block by block}} by the clock that the run is judged by."""
    found: dict[str, dict[str, list[float]]] = {}
    rows: list[tuple[str, dict[str, Any]]] = [(row["contender"], row) for row in results.measurements]
    for name, row in [*rows, *((row["floor"], row) for row in results.floors)]:
        if row["unit"].startswith(results.clock):
            found.setdefault(row["case"], {})[name] = row["samples"]
    return found


def goal_rows(results: Results) -> list[list[str]]:
    """[case, goal, found, interval if there is one, what became of it and, unless it was met, why] as text."""
    return [
        [
            each.case,
            each.goal,
            f"{each.found.median:.4g}",
            "" if each.case.startswith(QUALITY) else f"{each.found.low:.4g} to {each.found.high:.4g}",  # one training
            f"{each.said}: {each.reason}" if each.reason and each.said != MET else each.said,
        ]
        for each in outcomes(results)
    ]


GOAL_COLUMNS = ["case", "goal", "found", "95 % interval", ""]
