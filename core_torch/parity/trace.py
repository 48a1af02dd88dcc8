"""Trace: what an implementation did with a problem, as a flat dictionary of NumPy arrays.

    weight/encoder.0.weight@0     as handed back right after loading
    activation/encoder.1@1        the output of a layer at the first batch; also activation/input, activation/output
    loss@3                        before the third step; objective@1 is the first by way of the gradients
    gradient/encoder.0.weight@1   at the first batch
    update/encoder.0.weight@10    the change since step 0
    state/momentum/encoder.0.weight@10
    batch/rows@3                  the row numbers of the third batch

Names and layouts are the reference's; steps count from 1.
"""

import hashlib
import io
import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from core_torch.files.atomic import write_atomically
from core_torch.files.idx import FREE_EXPANSION_BYTES, LARGEST_EXPANSION
from core_torch.files.safe_reading import open_regular
from core_torch.parity.candidate import Arrays, Candidate
from core_torch.parity.problem import Problem, Step
from core_torch.spec.errors import DataFormatError, ParityError

Trace = dict[str, np.ndarray]
ENTRY = re.compile(r"(loss|objective)@\d+|(weight|activation|gradient|update|state|batch)/.+@\d+")
KEPT_STEPS = (1, 10, 100)  # after which updates are kept, besides the last
DIGEST = "sha256"  # the entry of a trace file that guards the others
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others inflate in one go, however little is asked for


def record_trace(
    candidate: Candidate, problem: Problem, *, dtype: str = "float32", steps: Iterable[Step] | None = None
) -> Trace:
    """Take a candidate through a problem, or through `steps` of it.

    Raises:
        ParityError: it returned something that is not an array of numbers.
    """
    kind = np.dtype(dtype)
    start = {name: value.astype(kind) for name, value in problem.weights.items()}
    trace: Trace = {}
    number = 0
    candidate.load(_copies(start))
    for number, rows, exact_inputs, exact_targets in steps or problem.steps():
        inputs, targets = exact_inputs.astype(kind), exact_targets.astype(kind)
        trace[f"batch/rows@{number}"] = rows
        if number == 1:
            candidate.step(inputs.copy(), targets.copy())
            candidate.load(_copies(start))  # which has to undo that step, momentum and all
            _add(trace, "weight", candidate.weights(), step=0)
            _add(trace, "activation", candidate.activations(inputs.copy()), step=1)
            loss, gradients = candidate.loss_and_gradients(inputs.copy(), targets.copy())
            trace["objective@1"] = _numbers("objective@1", loss)
            _add(trace, "gradient", gradients, step=1)
        if number in problem.rates:
            candidate.set_learning_rate(problem.rates[number])
        trace[f"loss@{number}"] = _numbers(f"loss@{number}", candidate.step(inputs.copy(), targets.copy()))
        if number in KEPT_STEPS:
            _add_progress(trace, candidate, start, step=number)
    if number and number not in KEPT_STEPS:
        _add_progress(trace, candidate, start, step=number)
    return trace


def _copies(arrays: Arrays) -> Arrays:
    """A candidate may change what it is given."""
    return {name: value.copy() for name, value in arrays.items()}


def _add_progress(trace: Trace, candidate: Candidate, start: Arrays, *, step: int) -> None:
    _add(trace, "update", _change(candidate.weights(), start), step=step)
    _add(trace, "state", candidate.optimizer_state(), step=step)


def _change(after: Mapping[str, np.ndarray], before: Arrays) -> Arrays:
    """After minus before, in float64; an array that does not fit is handed on as it is, to be named later."""
    return {
        name: value - before[name].astype(np.float64)
        if name in before and np.shape(value) == before[name].shape
        else value
        for name, value in after.items()
    }


def _add(trace: Trace, kind: str, arrays: object, *, step: int) -> None:
    if not isinstance(arrays, Mapping):
        raise ParityError(f"{kind}@{step}: found {type(arrays).__name__}, expected a dictionary of arrays")
    for name, value in arrays.items():
        key = f"{kind}/{name}@{step}"
        trace[key] = _numbers(key, value)


def _numbers(key: str, value: object) -> np.ndarray:
    """A copy, because a candidate may go on to change what it handed out."""
    try:
        array = np.array(value)
    except ValueError as error:
        raise ParityError(f"{key}: is not an array ({error})") from error
    if array.dtype.kind not in "fiu":
        raise ParityError(f"{key}: holds {array.dtype}, expected real numbers")
    return array


def save_trace(path: Path, trace: Mapping[str, np.ndarray]) -> None:
    """As .npz, sealed by the sha256 of its arrays."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **{**trace, DIGEST: np.array(_digest(trace))})  # type: ignore[arg-type]
    write_atomically(path, stream.getvalue())


def load_trace(path: Path) -> Trace:
    """A trace written by `save_trace`.

    What it claims to hold is judged before it is unpacked, so a small file cannot make the reader inflate a large one.

    Raises:
        DataFormatError: it cannot be read, holds objects, or is not what was written.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            trace = dict(_unpacked(archive, stored=path.stat().st_size))
    except OSError as error:
        raise DataFormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # zipfile, zlib and NumPy each raise their own
        line = " ".join(str(error).split())
        raise DataFormatError(f"{path}: is not a trace ({type(error).__name__}: {line})") from error
    found = trace.pop(DIGEST, None)
    if found is None or str(found) != _digest(trace):
        raise DataFormatError(f"{path}: is not the trace that was written")
    return trace


def _unpacked(archive: zipfile.ZipFile, *, stored: int) -> Iterator[tuple[str, np.ndarray]]:
    """Name and array of each member; `ValueError` for what NumPy does not write."""
    members = archive.infolist()
    claimed = sum(member.file_size for member in members)
    allowed = max(FREE_EXPANSION_BYTES, stored * LARGEST_EXPANSION)
    if claimed > allowed or sum(member.compress_size for member in members) > stored:
        raise ValueError(f"{stored:,} bytes that claim {claimed:,}, allowed: {allowed:,}")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("a name is given twice")
    for member in members:
        if member.compress_type not in PACKED:
            raise ValueError(f"{member.filename} is packed in another way")
        yield member.filename.removesuffix(".npy"), _array(archive.read(member))


def _array(content: bytes) -> np.ndarray:
    """What NumPy's format 1.0 holds, once its header and its length agree."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of another format than 1.0")
    shape, is_fortran, kind = np.lib.format.read_array_header_1_0(stream)
    start = stream.tell()
    if kind.hasobject or math.prod(shape) * kind.itemsize != len(content) - start:
        raise ValueError(f"{len(content) - start:,} bytes that claim to be {shape} of {kind}")
    return np.ndarray(shape, kind, content, offset=start, order="F" if is_fortran else "C").copy()


def check_trace(trace: Mapping[str, np.ndarray]) -> Trace:
    """The entries as arrays; `DataFormatError` for a name or a value that no trace has."""
    for key, value in trace.items():
        if not isinstance(key, str) or not ENTRY.fullmatch(key):
            raise DataFormatError(f"trace: found the entry {key!r}, allowed: KIND@STEP or KIND/NAME@STEP")
        if np.asarray(value).dtype.kind not in "fiu":
            raise DataFormatError(f"trace: {key} does not hold real numbers")
    return {key: np.asarray(value) for key, value in trace.items()}


def _digest(trace: Mapping[str, np.ndarray]) -> str:
    sha256 = hashlib.sha256()
    for key in sorted(trace):
        array = np.ascontiguousarray(trace[key])
        sha256.update(f"{key} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return sha256.hexdigest()
