"""A tiny pair of volumes and a tiny random network, made once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

SIZE, SPACING, ORIGIN = (40, 44, 6), (4.0, 4.0, 5.0), (-70.0, 12.5, 31.0)


def image(array, spacing=SPACING, origin=ORIGIN):
    """A volume from an array (z, y, x)."""
    volume = sitk.GetImageFromArray(array)
    volume.SetSpacing(spacing)
    volume.SetOrigin(origin)
    return volume


@dataclass(frozen=True)
class Files:
    """Paths of the tiny inputs, all on one grid."""

    folder: Path
    ct: Path
    mr: Path
    model: Path
    sensors: Path

    def reconstruct(self, output, *more):
        """Words of a reconstruction of the two volumes."""
        words = ["reconstruct", "--ct", self.ct, "--mr", self.mr, "--model", self.model, "--output", output]
        return [str(word) for word in [*words, "--no-register", *more]]


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Files:
    """An oval head with a ring of bone and two insets as CT and MR, a random network, and their sensor data."""
    import torch

    from MSLFusionLib import cli
    from MSLFusionLib.io.checkpoints import save_checkpoint
    from MSLFusionLib.nets.presets import preset_config
    from MSLFusionLib.nets.registry import build

    folder = tmp_path_factory.mktemp("inputs")
    z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * 4.0 for n in SIZE[::-1]), indexing="ij")
    radius = np.hypot(x / 65, y / 75)
    ct = np.where(radius < 1, 40.0, -1000.0)
    ct[(radius > 0.8) & (radius < 0.92)] = 900.0
    ct[(x - 20) ** 2 + (y + 20) ** 2 < 15**2] = 200.0
    mr = np.where(radius < 1, 300.0, 2.0) + z
    mr[(radius > 0.8) & (radius < 0.92)] = 30.0
    mr[(x + 20) ** 2 + (y - 10) ** 2 < 15**2] = 600.0
    for name, array in (("ct", ct), ("mr", mr)):
        sitk.WriteImage(image(array.astype(np.float32)), str(folder / f"{name}.nrrd"))
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
    save_checkpoint(folder / "tiny.safetensors", build("msl", config.to_dict()), card)
    made = Files(folder, folder / "ct.nrrd", folder / "mr.nrrd", folder / "tiny.safetensors", folder / "sensors.h5")
    words = ["simulate", "--ct", made.ct, "--mr", made.mr, "--no-register", "--size", "64", "--output", made.sensors]
    assert cli.main([str(word) for word in words]) == 0
    return made
