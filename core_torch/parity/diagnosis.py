"""What is wrong with a port that was rejected: where it begins to differ, and which known bug computes the same."""

import math
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from core_torch.parity.distance import entries, steps
from core_torch.parity.hypotheses import Evidence
from core_torch.parity.judge import Check, Judge
from core_torch.parity.name_faults import name_faults
from core_torch.parity.norms import relative_difference, relative_distance
from core_torch.parity.oracle_candidate import OracleCandidate
from core_torch.parity.tolerances import tolerances
from core_torch.parity.trace import Trace
from core_torch.spec.channels_last import from_channels_last
from core_torch.spec.errors import CheckpointError

DIFFERS = 1e-4  # relatively, of a layer that is named as the first to differ
PROPORTIONAL = 1e-3  # relative residue of a tensor that is called a multiple of the right one
LONG_LEVELS = ("trajectory", "losses")  # which need more than the first step
WEIGHT_ORDERS = {"(2, 3, 1, 0)": (2, 3, 1, 0), "(3, 2, 0, 1)": (3, 2, 0, 1), "(1, 0, 2, 3)": (1, 0, 2, 3)}


def explain(judge: Judge, found: Trace, check: Check, *, dtype: str = "float32") -> list[str]:
    """Findings about a check that failed, the most telling last; each was tried on the numbers."""
    findings = [*_first_layer(judge, found), *_first_step(judge, found, check, dtype)]
    findings += _largest_error(judge.truth, found, check.where)
    findings += [*_multiples(judge, found, check), *_layouts(judge, found), *_rounding(judge, check, dtype)]
    return [*findings, *_names(judge, found), *_known_bugs(judge, found, dtype)]


def _first_layer(judge: Judge, found: Trace) -> Iterator[str]:
    """The first of the layers that the candidate shows which is not the oracle's."""
    inputs = judge.problem.inputs[judge.problem.batches[0]]
    for name, expected in OracleCandidate(judge.problem).activations(inputs).items():
        shown = found.get(f"activation/{name}@1")
        if shown is None or name in ("input", "output"):
            continue
        if shown.shape != expected.shape:
            yield f"the first layer that differs is {name}: shape {shown.shape}, expected {expected.shape}"
            return
        if not relative_distance({name: shown}, {name: expected}) <= DIFFERS:
            yield f"the first layer that differs is {name}"
            return


def _first_step(judge: Judge, found: Trace, check: Check, dtype: str) -> Iterator[str]:
    """Of a trajectory: the first step whose loss is not right, and the tensor that is farthest off at the end."""
    if check.level not in LONG_LEVELS:
        return
    end = max(steps("loss", found), default=0)
    if end < len(judge.problem.batches):
        yield f"the trace ends at step {end} of {len(judge.problem.batches)}; fewer can be asked for by `steps`"
        return
    limit = tolerances(judge.budget, dtype=dtype)["losses"]
    for step in range(1, len(judge.problem.batches) + 1):
        if not relative_difference(found.get(f"loss@{step}"), judge.truth[f"loss@{step}"]) <= limit:
            yield f"the first loss that differs is that before step {step}"
            break
    last = max(steps("update", judge.truth))
    apart = {
        name: relative_distance({name: found[key]}, {name: judge.truth[key]})
        for name in judge.problem.weights
        if (key := f"update/{name}@{last}") in found
    }
    if apart:
        worst = max(apart, key=lambda name: apart[name])
        yield f"the update that differs most is that of {worst}: by {apart[worst]:.2g} of its own"


def _largest_error(truth: Trace, found: Trace, where: str) -> Iterator[str]:
    """The pair of values that is farthest apart."""
    if where not in found or where not in truth or found[where].shape != truth[where].shape:
        return
    mine, right = found[where].astype(np.float64), truth[where]
    place = np.unravel_index(np.argmax(np.nan_to_num(np.abs(mine - right), nan=np.inf)), right.shape)
    at = f"[{', '.join(map(str, place))}]" if right.ndim else ""
    yield f"{where}{at}: found {float(mine[place]):.9g}, expected {float(right[place]):.9g}"


def _multiples(judge: Judge, found: Trace, check: Check) -> Iterator[str]:
    """Whether what is compared is a constant times what it should be."""
    compared = {key: value for key, value in judge.truth.items() if key in found and _belongs(key, check)}
    if not compared or any(found[key].shape != value.shape for key, value in compared.items()):
        return
    mine = np.concatenate([found[key].astype(np.float64).ravel() for key in compared])
    right = np.concatenate([np.asarray(value, np.float64).ravel() for value in compared.values()])
    scale = float(mine @ right) / (float(right @ right) or 1.0)
    if abs(scale - 1) > PROPORTIONAL and np.linalg.norm(mine - scale * right) <= PROPORTIONAL * np.linalg.norm(mine):
        yield f"{check.level}: {scale:.6g} times what was expected{_named(scale, judge)}"


def _named(scale: float, judge: Judge) -> str:
    batch, pixels = len(judge.problem.batches[0]), judge.problem.inputs.shape[1]
    names = {pixels: "the number of pixels", batch: "the batch size", pixels * batch: "pixels times batch size"}
    for value, name in {**names, judge.problem.recipe.learning_rate: "the learning rate"}.items():
        if value != 1 and math.isclose(scale, value, rel_tol=PROPORTIONAL):
            return f", {name}"
        if value != 1 and math.isclose(scale, 1 / value, rel_tol=PROPORTIONAL):
            return f", 1 over {name}"
    return ""


def _belongs(key: str, check: Check) -> bool:
    """Whether the check compared that entry: the one it names, or all of its kind at its step."""
    kind, _, step = check.where.rpartition("@")
    prefix = "gradient/" if check.level == "gradients" else f"{kind}/"
    return key == check.where or (key.startswith(prefix) and key.endswith(f"@{step}"))


def _names(judge: Judge, found: Trace) -> Iterator[str]:
    """Gradients and updates that are missing, or that nobody asked for."""
    for kind in ("gradient", "update"):
        mine, right = (_by_name(entries(f"{kind}/", 1, trace)) for trace in (found, judge.truth))
        faults = name_faults(mine, right) if mine else []
        if faults:
            yield f"{kind}s: {'; '.join(faults)}"
            return


def _by_name(entries: Trace) -> Trace:
    return {key.rpartition("@")[0].partition("/")[2]: value for key, value in entries.items()}


def _layouts(judge: Judge, found: Trace) -> Iterator[str]:
    """Parameters that come back in another order of axes."""
    architecture, weights = judge.problem.architecture, judge.problem.weights
    handed_back = entries("weight/", 0, found)
    mine = {key.removeprefix("weight/").removesuffix("@0"): value for key, value in handed_back.items()}
    with suppress(CheckpointError):
        turned = from_channels_last(mine, architecture)
        if all(np.array_equal(turned[name], right) for name, right in weights.items()):
            yield "the parameters are in the layout of frameworks that keep channels last; see to_canonical"
    for name, right in weights.items():
        if name not in mine or np.array_equal(mine[name], right):
            continue
        if right.ndim == 2 and np.array_equal(mine[name], right.T):
            yield f"{name} is equal after transposing"
        for axes, order in WEIGHT_ORDERS.items():
            if right.ndim == 4 and np.array_equal(mine[name], right.transpose(order)):
                yield f"{name} is the reference's after transpose{axes}"
        if right.ndim == 4 and np.array_equal(mine[name], right[..., ::-1, ::-1]):
            yield f"{name} is equal after flipping the kernel"


def _rounding(judge: Judge, check: Check, dtype: str) -> Iterator[str]:
    budget = judge.budget.get(check.level, 0.0)
    if dtype == "float64" and budget / 10 <= check.value <= budget * 10:
        yield f"the difference is as large as float32 makes it ({budget:.0e}): something computes in float32"


def _known_bugs(judge: Judge, found: Trace, dtype: str) -> Iterator[str]:
    """Every bug that computes all entries of the port, or none and the entry where it begins to differ."""
    evidence = Evidence(judge.problem, judge.truth, found, judge.budget, dtype)
    ruling = evidence.ruling()
    if len(ruling.named) == 1:
        yield f"the numbers are those of this bug: {ruling.named[0].says}"
    elif ruling.named:
        yield f"the numbers are those of one of these bugs: {'; '.join(bug.says for bug in ruling.named)}"
    elif not ruling.untried:
        first = evidence.first_difference
        yield "no known bug computes this" + (f"; the first entry that differs is {first[0]}" if first else "")
    if ruling.untried:
        yield f"{ruling.untried} known bugs were not tried for lack of time"
