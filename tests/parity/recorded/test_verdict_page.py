"""The page of a comparison names the level, the layer and the bug; the JSON holds every tensor."""

import json

from core_torch.parity import compare
from core_torch.parity.recorded.page import write_verdict
from tests.parity.recorded.test_own_models import recorded


def test_a_wrong_port_s_page_says_where_and_why(tmp_path):
    setup, reference = recorded("convolution")
    wrong = setup.with_model(lambda model: setattr(model.norm, "eps", 1e-3) or 1)
    verdict = compare(reference, wrong.candidate("float32"), name="my <port>")
    write_verdict(verdict, tmp_path / "check.html")
    page = (tmp_path / "check.html").read_text()
    assert "my &lt;port&gt;" in page and "<port>" not in page
    assert "<b>norm</b> (first that parts)" in page
    assert "epsilon of norms 0.001" in page
    content = json.loads((tmp_path / "check.json").read_text())
    assert not content["passed"] and content["first_parted_layer"] == "norm"
    levels = {level["level"]: level for level in content["levels"]}
    assert not levels["outputs"]["passed"] and levels["shapes"]["passed"]
    names = {entry["name"] for entry in levels["gradients"]["entries"]}
    assert names == {f"gradient/{name}" for name in reference.weights if "running" not in name} - {"gradient/conv.bias"}


def test_a_right_port_s_page_says_so(tmp_path):
    setup, reference = recorded("tagger")
    write_verdict(compare(reference, setup.candidate("float32")), tmp_path / "check.html")
    page = (tmp_path / "check.html").read_text()
    assert "agrees at every level" in page and "class='length fails'" not in page
