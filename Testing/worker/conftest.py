"""A tiny random network in a file, a tiny pair of volumes, and workers in processes of their own."""

import sys
from pathlib import Path

import numpy as np
import pytest

from MSLFusionLib.client import Volume
from MSLFusionLib.transport import SubprocessTransport

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "MSLFusionLib.cli", "worker"]
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "MSLFusion"), "OMP_NUM_THREADS": "1"}
TIMEOUT = 120.0
PLAN = {"views": 32, "acceleration": 4.0, "seed": 3}


@pytest.fixture(scope="session")
def model_file(tmp_path_factory) -> Path:
    """A checkpoint with random weights for slices of 64 x 64."""
    import torch

    from MSLFusionLib.io.checkpoints import save_checkpoint
    from MSLFusionLib.nets.presets import preset_config
    from MSLFusionLib.nets.registry import build

    torch.manual_seed(0)
    config = preset_config("msl-lite", width=8, token_dim=32, heads=2, head_dim=8, mlp_dim=32, embedding=16)
    card = {
        "name": "tiny",
        "architecture": "msl",
        "config": config.to_dict(),
        "preset": "msl-lite",
        "modalities": ["ct", "mr"],
        "normalisation": {"mr": "percentile"},
        "grid": {"size": [64, 64], "pixel_mm": 4.0},
        "sensors": {"views": [16, 128], "acceleration": [2, 16]},
    }
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_checkpoint(path, build("msl", config.to_dict()), card)
    return path


def head(slices: int = 4, spacing: float = 4.0, across: tuple[int, int] = (44, 40)) -> tuple[Volume, Volume]:
    """CT and MR of an oval with a ring of bone and two insets, on one grid, its corner at an odd place."""
    axes = ((np.arange(n) - (n - 1) / 2) * spacing for n in (slices, *across))
    z, y, x = np.meshgrid(*axes, indexing="ij")
    radius = np.hypot(x / 65, y / 75)
    ring = (radius > 0.8) & (radius < 0.92)
    ct = np.where(radius < 1, 40.0, -1000.0)
    ct[ring] = 900.0
    ct[(x - 20) ** 2 + (y + 20) ** 2 < 15**2] = 200.0
    mr = np.where(radius < 1, 300.0, 2.0) + z
    mr[ring] = 30.0
    mr[(x + 20) ** 2 + (y - 10) ** 2 < 15**2] = 600.0
    place = {"spacing": (spacing, spacing, 5.0), "origin": (-70.0, 12.5, 31.0)}
    return Volume(ct.astype(np.float32), **place), Volume(mr.astype(np.float32), **place)


@pytest.fixture(scope="module")
def worker(model_file):
    """A worker with the tiny model, shared by the tests of a module: each begins with what it needs."""
    with SubprocessTransport(COMMAND, ENVIRONMENT) as transport:
        transport.wait(transport.client.open_model(str(model_file), "cpu"), TIMEOUT)
        yield transport
