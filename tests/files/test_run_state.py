"""A run goes on from its own state only, and says where another one differs."""

from pathlib import Path

import pytest

from core_torch.files.run_state import as_stored, check_same_run
from core_torch.spec.errors import CheckpointError

RUN = as_stored({"model": "deep", "recipe": {"seed": 1, "epochs": 3}, "widths": (784, 10)})


def test_the_same_run_goes_on():
    check_same_run(Path("run"), as_stored(RUN), RUN)
    check_same_run(Path("run"), RUN | {"more": 1}, RUN)
    assert RUN["widths"] == [784, 10]


@pytest.mark.parametrize(
    ("stored", "difference"),
    [
        (RUN | {"model": "shallow"}, "model: found shallow, expected deep"),
        (RUN | {"recipe": {"seed": 2, "epochs": 3}}, "recipe.seed: found 2, expected 1"),
        (RUN | {"recipe": {"epochs": 3}}, "recipe.seed: found nothing, expected 1"),
        ({}, "model: found None, expected deep"),
        ("no table", "model: found None, expected deep"),
    ],
)
def test_another_run_is_refused_by_what_differs(stored, difference):
    with pytest.raises(CheckpointError, match=f"^run: is of another run, {difference}$"):
        check_same_run(Path("run"), stored, RUN)
