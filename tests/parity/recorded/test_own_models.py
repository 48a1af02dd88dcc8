"""A reference recorded from somebody's own model: right ports pass, every known bug is rejected under its own name."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core_torch.parity import Reference, assert_agreement, compare, parity_levels, record
from core_torch.parity.adapters.recording.bugs import BUGS
from core_torch.parity.adapters.recording.setup import Setup
from core_torch.parity.adapters.recording.variants import ShuffledCandidate
from core_torch.parity.adapters.torch import TorchCandidate
from core_torch.parity.recorded.diagnosis import explain, fitting_bugs
from core_torch.spec.errors import ConfigError, DataFormatError, ParityError
from tests.parity.recorded.models import NAMES, Model, build


@cache
def recorded(name: str) -> tuple[Setup, Reference]:
    own = build(name)
    setup = Setup(own.model, own.loss, own.optimizer)
    return setup, record(own.model, loss=own.loss, optimizer=own.optimizer, batches=own.batches, name=name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [101, 102, 103])
def test_a_right_port_passes_every_level(name, seed):
    setup, reference = recorded(name)
    port = setup.candidate("float32", kind=ShuffledCandidate)
    port.seed = seed
    verdict = compare(reference, port)
    assert verdict.passed, explain(verdict)
    assert compare(reference, setup.candidate("float64"), dtype="float64").passed


@pytest.mark.parametrize("name", NAMES)
def test_every_bug_is_rejected_and_its_name_is_among_those_that_fit(name):
    setup, reference = recorded(name)
    known = {fingerprint.name for fingerprint in reference.fingerprints}
    asked = 0
    for bug in BUGS:
        for label, make in bug(setup):
            if label not in known:  # a program that computes the same as the right one
                continue
            verdict = compare(reference, make("float32"))
            assert not verdict.passed, label
            assert label in fitting_bugs(verdict), (label, explain(verdict))
            asked += 1
    assert asked >= 15


def test_a_bug_that_the_batches_cannot_show_is_listed():
    own = build("encoder", steps=4)
    adam = lambda parameters: torch.optim.Adam(parameters, 1e-3, weight_decay=1e-12)  # noqa: E731
    reference = record(own.model, loss=own.loss, optimizer=adam, batches=own.batches, name="encoder")
    assert "no weight decay" in reference.description["unseen"]


def test_a_bug_that_is_not_known_is_given_no_name():
    setup, reference = recorded("convolution")

    class Strange(TorchCandidate):
        def loss(self, inputs, targets):
            return super().loss(inputs, targets) * 1.07 + 0.01 * sum(p.abs().sum() for p in self.model.parameters())

    verdict = compare(reference, setup.candidate("float32", kind=Strange))
    assert not verdict.passed
    assert explain(verdict)[-1] == "no known bug answers as this candidate does"


def test_the_message_names_level_tensor_first_layer_and_bug():
    setup, reference = recorded("convolution")
    wrong = setup.with_model(lambda model: setattr(model.norm, "eps", 1e-3) or 1)
    with pytest.raises(ParityError) as caught:
        assert_agreement(reference, wrong.candidate("float32"), name="my port")
    lines = str(caught.value).splitlines()
    assert lines[0] == "convolution: my port disagrees at the level outputs"
    assert "first layer that parts: norm" in lines[2]
    assert "epsilon of norms 0.001" in lines[-1]


def test_a_bias_before_a_norm_and_the_key_bias_of_attention_are_left_out_by_name():
    assert "gradient/conv.bias" in recorded("convolution")[1].left_out
    assert "gradient/layer.self_attn.in_proj_bias[key]" in recorded("encoder")[1].left_out


def test_token_ids_stay_whole_numbers():
    setup, reference = recorded("tagger")
    assert reference.questions.batches[0][0].dtype == np.int64

    class Peek(TorchCandidate):
        def to_tensor(self, tree):
            assert tree.dtype.kind == "i"
            return super().to_tensor(tree)

    assert compare(reference, setup.candidate("float32", kind=Peek)).passed


def test_a_file_is_read_again_without_torch(tmp_path):
    reference = recorded("variational")[1]
    reference.save(tmp_path / "vae.safetensors")
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from core_torch.parity import Reference\n"
        f"reference = Reference.load({str(tmp_path / 'vae.safetensors')!r})\n"
        "print(reference.name, len(reference.fingerprints), len(reference.truth))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["variational", str(len(reference.fingerprints)), str(len(reference.truth))]
    again = Reference.load(tmp_path / "vae.safetensors")
    assert again.budget == reference.budget and again.left_out == reference.left_out
    assert all(np.array_equal(again.truth[key], reference.truth[key]) for key in reference.truth)


@pytest.mark.parametrize("damage", ["byte", "cut", "other"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "reference.safetensors"
    recorded("variational")[1].save(path)
    content = bytearray(path.read_bytes())
    if damage == "byte":
        content[-100] ^= 1
    path.write_bytes({"byte": bytes(content), "cut": bytes(content[:-50]), "other": b"hello"}[damage])
    with pytest.raises(DataFormatError) as caught:
        Reference.load(path)
    assert "\n" not in str(caught.value)


def _changed(**changes) -> Model:
    return build("convolution", steps=3)._replace(**changes)


class Constant(nn.Linear):
    def forward(self, x):
        return super().forward(x).detach()


BAD = {
    "no gradient": _changed(model=Constant(162, 3)),
    "frozen": _changed(model=nn.Sequential(nn.Flatten(), nn.Linear(162, 3)).requires_grad_(False)),
    "dropout": _changed(model=nn.Sequential(nn.Flatten(), nn.Linear(162, 3), nn.Dropout(0.5))),
    "a loss that is no scalar": _changed(loss=lambda o, t: F.cross_entropy(o, t, reduction="none")),
    "a loss that is no tensor": _changed(loss=lambda o, t: 3.0),
    "a loss that raises": _changed(loss=lambda o, t: o @ t),
    "NaN": _changed(loss=lambda o, t: F.cross_entropy(o, t) * float("nan")),
    "no batches": _changed(batches=[]),
    "a batch without targets": _changed(batches=[np.zeros((6, 2, 9, 9), np.float32)]),
    "no samples": _changed(batches=[(np.zeros((0, 2, 9, 9), np.float32), np.zeros(0, np.int64))]),
    "text": _changed(batches=[(np.array(["a"]), np.zeros(1, np.int64))]),
    "only rounding": _changed(optimizer=lambda p: torch.optim.SGD(p, 1e-9)),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_checked_is_refused_in_one_line(kind):
    own = BAD[kind]
    with pytest.raises(ConfigError) as caught:
        record(own.model, loss=own.loss, optimizer=own.optimizer, batches=own.batches, name="bad")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("bad: ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda port: setattr(port, "weights", lambda: None), "found NoneType"),
        (lambda port: setattr(port, "step", lambda x, y: None), "found None"),
        (lambda port: setattr(port, "loss_and_gradients", lambda x, y: 1.0), "allowed: (loss, gradients)"),
        (lambda port: setattr(port, "activations", lambda x: {"output": None}), "found None"),
    ],
)
def test_a_port_that_answers_nothing_is_named(change, words):
    setup, reference = recorded("convolution")
    port = setup.candidate("float32")
    change(port)
    with pytest.raises(ParityError, match=words.replace("(", r"\(").replace(")", r"\)")):
        compare(reference, port)


def test_missing_and_unexpected_names_are_told_apart():
    setup, reference = recorded("convolution")

    class Renamed(TorchCandidate):
        def loss_and_gradients(self, inputs, targets):
            loss, gradients = super().loss_and_gradients(inputs, targets)
            gradients["head.w"] = gradients.pop("head.weight")
            return loss, gradients

    text = "\n".join(explain(compare(reference, setup.candidate("float32", kind=Renamed))))
    assert "missing: head.weight" in text and "unexpected: head.w" in text


def test_one_test_per_level(tmp_path, pytester_project):
    output = pytester_project(
        """
        from core_torch.parity import parity_levels
        from tests.parity.recorded.test_own_models import recorded

        setup, reference = recorded("convolution")
        wrong = setup.with_model(lambda model: setattr(model.norm, "momentum", 0.01) or 1)

        @parity_levels(reference, lambda: wrong.candidate("float32"), expected_failures={"buffers": "momentum of 0.99"})
        def test_my_port(check_level):
            check_level()
        """
    )
    assert "test_my_port[gradients] PASSED" in output
    assert "test_my_port[buffers] XFAIL" in output
    assert "test_my_port[outputs after training] FAILED" in output


@pytest.fixture
def pytester_project(tmp_path):
    def run(source: str) -> str:
        import textwrap

        (tmp_path / "test_port.py").write_text(textwrap.dedent(source))
        root = Path(__file__).parents[3]
        command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-o", "addopts=", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, cwd=root).stdout

    return run


def test_levels_that_are_expected_to_fail_need_a_reason():
    reference = recorded("convolution")[1]
    with pytest.raises(ConfigError, match="no reason"):
        parity_levels(reference, lambda: None, expected_failures={"buffers": " "})
    with pytest.raises(ConfigError, match="bufers"):
        parity_levels(reference, lambda: None, expected_failures={"bufers": "a typing mistake"})
