"""The reconstruction benchmark measures what it says, in a process of its own."""

import sys

import pytest
from fake_model import FakeLoaded

from MSLFusionLib.benchmarks.reconstruct import run
from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionLib.io.checkpoints import save_checkpoint
from MSLFusionLib.nets.presets import preset_config
from MSLFusionLib.nets.registry import build
from MSLFusionLib.progress import Job


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny network for slices of 48 x 48 pixels."""
    config = preset_config("msl-lite", width=4, token_dim=32, heads=2, head_dim=8, mlp_dim=32, token_grid=(3, 3))
    path = tmp_path / "tiny.safetensors"
    card = FakeLoaded().card | {"name": "tiny", "architecture": "msl", "config": config.to_dict()}
    save_checkpoint(path, build("msl", config.to_dict()), card)
    return path


def test_time_and_memory_of_a_small_volume(checkpoint):
    result = run((48, 48, 1), lambdas=(2,), model=checkpoint, device="cpu")
    assert result["ratio"] == 1
    (measured,) = result["runs"]
    assert (measured["lambdas"], measured["slices"], measured["model"]) == (2, 1, "tiny")
    assert measured["seconds"] > 0
    assert measured["volumes_mb"] == pytest.approx(4 * 48 * 48 * 4 / 1e6)
    assert measured["beyond_volumes_mb"] == pytest.approx(measured["peak_mb"] - measured["volumes_mb"])
    assert 50 < measured["peak_mb"] < 4000


def test_failures_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="at least 32 x 32 x 1"):
        run((16, 512, 4))
    with pytest.raises(InputError, match="at least one lambda"):
        run((32, 32, 1), lambdas=())
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho first >&2\necho no room >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(JobError, match="process failed: no room"):
        run((32, 32, 1), lambdas=(1,))


def test_cancel_ends_the_measurement():
    with pytest.raises(Cancelled):
        run((512, 512, 50), lambdas=(1,), job=Job(cancelled=lambda: True))
