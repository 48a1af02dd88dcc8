"""The protocol for workers in other languages: the page, the schema, and two workers written from the page."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from core_torch.parity import GOLDEN, assert_parity, golden, record_trace
from core_torch.parity.external import ExternalWorker, WorkerError
from core_torch.parity.right_ports.kinds import SCRIPT_KINDS, SCRIPTS
from core_torch.spec.architecture import ARCHITECTURES, FullyConnected, architecture_from, describe, describe_layers
from core_torch.spec.errors import ConfigError, ParityError
from core_torch.spec.recipe import Recipe

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "parity-protocol.md").read_text()
SCHEMA = json.loads((ROOT / "core_torch" / "parity" / "protocol.schema.json").read_text())
NUMPY_WORKER = [sys.executable, "-m", "core_torch.parity.worker", "core_torch.parity.right_ports.port"]
MISBEHAVING = [sys.executable, str(SCRIPTS / "misbehaving.py")]
OPTIMIZERS = {
    "adam": Recipe(optimizer="adam", learning_rate=1e-3, epsilon=1e-6),
    "adamw": Recipe(optimizer="adamw", learning_rate=1e-3, epsilon=1e-6, weight_decay=0.01),
    "nesterov": Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.9, nesterov=True),
    "plain": Recipe(optimizer="sgd", learning_rate=0.1),
}


def faults(message: object, kind: str) -> list[str]:
    """What the schema has against a message."""
    validator = Draft202012Validator({"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{kind}"})
    return [error.message for error in validator.iter_errors(message)]


def command(language: str, dtype: str) -> list[str]:
    """A worker's; the test is skipped where its compiler or interpreter is missing."""
    kind = SCRIPT_KINDS[language]
    if kind.missing:
        pytest.skip(f"{language}: {kind.missing}")
    return [word.replace("{dtype}", dtype) for word in kind.process.command]


def fitting(language: str) -> list[str]:
    return [name for name in GOLDEN if SCRIPT_KINDS[language].fits(golden(name).problem)]


CASES = [(language, name) for language in SCRIPT_KINDS for name in fitting(language)]


# ---- Workers in other languages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("language", "name"), CASES)
def test_a_worker_in_another_language_passes_every_golden_it_fits(language, name, dtype):
    assert_parity(name, command(language, dtype), steps=10, dtype=dtype)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("language", SCRIPT_KINDS)
def test_a_worker_in_another_language_has_every_optimizer(language, optimizer):
    problem = replace(golden("shallow-standard").problem.first(10), recipe=OPTIMIZERS[optimizer])
    assert_parity(problem, command(language, "float32"), steps=10)


def test_the_workers_fit_what_they_should():
    without_penalty = {name for name in GOLDEN if golden(name).problem.recipe.objective != "contractive"}
    dense = {name for name in without_penalty if not name.startswith("conv")}
    assert set(fitting("C")) == dense
    assert set(fitting("JavaScript")) == without_penalty
    assert len(dense) >= 8


@pytest.mark.parametrize("language", SCRIPT_KINDS)
def test_a_worker_refuses_what_it_does_not_compute(language):
    with pytest.raises(ParityError, match="not supported"):
        assert_parity("shallow-contractive", command(language, "float32"))


@pytest.mark.parametrize("file", ["worker.c", "worker.js"])
def test_a_worker_is_short(file):
    assert len((SCRIPTS / file).read_text().splitlines()) < 150


# ---- Schema and page ----------------------------------------------------------------------------------------------


class Recorded(ExternalWorker):
    """Keeps every request and every reply."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.requests, self.answers = [], []

    def ask(self, **request):
        self.requests.append(json.loads(json.dumps(request)))
        self.answers.append(super().ask(**request))
        return self.answers[-1]


def test_all_requests_and_replies_fit_the_schema():
    assert not list(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(SCHEMA))
    with Recorded("numpy", command=NUMPY_WORKER) as worker:
        for name in GOLDEN:
            problem = golden(name).problem.first(1)
            worker.prepare(problem)
            record_trace(worker, replace(problem, rates={1: 0.5}))
    assert {request.get("method", "prepare") for request in worker.requests} == {
        *("prepare", "load", "weights", "activations"),
        *("loss_and_gradients", "step", "set_learning_rate", "optimizer_state"),
    }
    assert [faults(request, "request") for request in worker.requests if faults(request, "request")] == []
    assert [faults(answer, "reply") for answer in worker.answers if faults(answer, "reply")] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"do": "call", "method": "steps", "arrays": ["inputs", "targets"], "number": None},
        {"do": "call", "method": "step", "arrays": ["targets", "inputs"], "number": None},
        {"do": "call", "method": "set_learning_rate", "arrays": None, "number": None},
        {"do": "call", "method": "weights", "arrays": None},
        {"do": "prepare", "case": {"model": describe(FullyConnected()), "dtype": "float32"}, "recipe": {}},
    ],
)
def test_the_schema_refuses_wrong_requests(wrong):
    assert faults(wrong, "request")


@pytest.mark.parametrize("wrong", [[], {"number": "nan"}, {"number": [1]}, {"error": None}])
def test_the_schema_refuses_wrong_replies(wrong):
    assert faults(wrong, "reply")


def test_the_page_names_every_field_of_the_schema():
    named = {name for part in SCHEMA["$defs"].values() for name in part.get("properties", {})}
    named |= {name for part in SCHEMA["$defs"].values() for name in part.get("required", [])}
    for part in SCHEMA["$defs"].values():
        for value in part.get("properties", {}).values():
            named |= set(value.get("enum", []))
    absent = {name for name in named if not re.search(rf"\b{name}\b", PAGE)}
    assert absent == set()
    assert "method" in named and "silu" in named and "crop" in named


def test_the_page_names_every_field_of_the_recipe():
    assert [name for name in Recipe().to_dict() if f"`{name}`" not in PAGE] == []


# ---- Layers in the architecture's JSON ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layers_come_with_the_architecture(name):
    architecture = ARCHITECTURES[name]
    described = json.loads(json.dumps(describe(architecture, layers=True)))
    assert architecture_from(described) == architecture
    assert faults(described, "model") == []
    for layer in described["layers"]:
        if layer["kind"] in ("Convolution", "TransposedConvolution"):
            border = layer.get("padding") or layer["crop"]
            assert border[1] - border[0] in (0, 1)
    changed = described | {"layers": described["layers"][1:]}
    with pytest.raises(ConfigError, match="layers"):
        architecture_from(changed)


def test_a_tied_decoder_names_the_encoders_weights():
    layers = describe_layers(FullyConnected(widths=(9, 5, 3), tied=True))
    dense = [layer for layer in layers if layer["kind"] == "Dense"]
    assert [layer["weight"] for layer in dense] == [f"encoder.{index}.weight" for index in (0, 2, 2, 0)]
    assert [layer["transposed"] for layer in dense] == [False, False, True, True]


# ---- Bad workers ----------------------------------------------------------------------------------------------------


def test_a_worker_that_does_not_flush_is_asked_whether_it_did():
    with pytest.raises(ParityError, match="no answer within 3 s; did it flush"):
        assert_parity("shallow-standard", [*MISBEHAVING, "without flushing"], timeout=3)


@pytest.mark.parametrize("mode", ["null", "another text"])
def test_a_loss_that_is_no_number_is_named(mode):
    with pytest.raises(WorkerError, match="step answered the number .*, allowed: a number, or NaN"):
        ask_for_a_step(mode)


@pytest.mark.parametrize("mode", ["NaN as a text", "bare NaN"])
def test_a_loss_may_be_nan(mode):
    assert np.isnan(ask_for_a_step(mode))


def ask_for_a_step(mode: str) -> float:
    with ExternalWorker(mode, command=[*MISBEHAVING, mode]) as worker:
        return worker.step(np.zeros((1, 1)), np.zeros((1, 1)))


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf"), 0.5])
def test_a_worker_in_python_sends_any_loss(loss, tmp_path):
    from core_torch.parity.worker import Server

    server = Server(tmp_path, "")
    server.candidate = type("Diverged", (), {"optimizer_state": lambda self: loss})()
    reply = server.call({"method": "optimizer_state", "arrays": None})
    assert faults(json.loads(json.dumps(reply, allow_nan=False)), "reply") == []
