"""The reconstruction benchmark measures what it says, in a process of its own."""

import pytest
from MSLFusionLib.benchmarks.reconstruct import run
from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionLib.progress import Job


def test_time_and_memory_of_a_small_volume():
    result = run((48, 48, 1), lambdas=(1, 2), device="cpu")
    assert [r["lambdas"] for r in result["runs"]] == [1, 2]
    assert result["ratio"] == result["runs"][1]["seconds"] / result["runs"][0]["seconds"] > 0
    for measured in result["runs"]:
        assert measured["slices"] == 1
        assert measured["volumes_mb"] == pytest.approx((2 + measured["lambdas"]) * 48 * 48 * 4 / 1e6)
        assert measured["beyond_volumes_mb"] == pytest.approx(measured["peak_mb"] - measured["volumes_mb"])


def test_failures_are_one_line():
    with pytest.raises(InputError, match="at least 32 x 32 x 1"):
        run((16, 512, 4))
    with pytest.raises(InputError, match="at least one lambda"):
        run((32, 32, 1), lambdas=())
    with pytest.raises(JobError, match=r"process failed: .*Unknown device"):
        run((32, 32, 1), lambdas=(1,), device="gpu")


def test_cancel_ends_the_measurement():
    with pytest.raises(Cancelled):
        run((512, 512, 50), lambdas=(1,), job=Job(cancelled=lambda: True))
