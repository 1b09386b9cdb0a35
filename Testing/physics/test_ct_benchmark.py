"""The benchmark of the operators: its shape, with and without ASTRA, and the figures it must reach."""

import json
import sys

import pytest
import torch
from ct_standins import astra

from MSLFusionLib.benchmarks import operators
from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.progress import Job


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark takes all threads, which tests running beside each other must not."""
    monkeypatch.setattr(operators, "available_threads", lambda: 1)


def test_ours_and_astra_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "astra", astra([]))
    monkeypatch.setattr(operators, "SHEPP_LOGAN_VIEWS", (16, 48))
    threads = torch.get_num_threads()
    result = json.loads(json.dumps(operators.run(views=12, size=48, batch=2, repeats=2)))
    assert torch.get_num_threads() == threads
    rows = {row["method"]: row for row in result["rows"]}
    names = {f"MSLFusion {path}" for path in ("sparse, CPU", "sparse, CPU, 1 thread", "on the fly, CPU")}
    assert names | {"ASTRA CPU line", "ASTRA CPU strip"} <= set(rows)
    line, ours = rows["ASTRA CPU line"], rows["MSLFusion sparse, CPU"]
    assert line["forward_times_faster"] == 1.0
    assert line["fbp_ms"] is None
    for operation in ("forward", "adjoint"):
        assert ours[f"{operation}_times_faster"] == pytest.approx(line[f"{operation}_ms"] / ours[f"{operation}_ms"])
    assert ours["memory_mb"] > 0
    assert rows["MSLFusion on the fly, CPU"]["memory_mb"] == 0
    decibels = result["accuracy"]["shepp_logan_db"]
    assert decibels["48"] > decibels["16"] > 10
    assert result["setting"]["views"] == 12


def test_without_astra_the_comparison_is_left_out_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "astra", None)
    monkeypatch.setattr(operators, "SHEPP_LOGAN_VIEWS", ())
    result = operators.run(views=6, size=32, batch=1, repeats=1)
    assert any("astra-toolbox" in note for note in result["notes"])
    assert all(row["forward_times_faster"] is None for row in result["rows"])


def test_the_accuracy_asked_for_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "SHEPP_LOGAN_VIEWS", ())
    accuracy = operators.measure_accuracy(64, 384)
    assert accuracy["disc_error"] < 1e-4
    assert accuracy["disc_error_short"] < 1e-4
    assert accuracy["forward_error"] < 5e-3
    assert accuracy["adjoint_mismatch"] < 1e-5
    assert accuracy["gradient_mismatch"] < 1e-5


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"repeats": 0}, {"views": 0}, {"size": 0}])
def test_impossible_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        operators.run(**({"views": 4, "size": 16, "batch": 1, "repeats": 1} | wrong))


def test_cancel() -> None:
    with pytest.raises(Cancelled):
        operators.run(views=4, size=16, batch=1, repeats=1, job=Job(cancelled=lambda: True))
