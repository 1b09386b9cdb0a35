"""A tiny pair of volumes and a tiny random network, made once."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import SimpleITK as sitk
from tiny import SIZE, image, oval_head, write_model


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
    from MSLFusionLib import cli

    folder = tmp_path_factory.mktemp("inputs")
    for name, array in zip(("ct", "mr"), oval_head(SIZE[::-1]), strict=True):
        sitk.WriteImage(image(array), str(folder / f"{name}.nrrd"))
    write_model(folder / "tiny.safetensors")
    made = Files(folder, folder / "ct.nrrd", folder / "mr.nrrd", folder / "tiny.safetensors", folder / "sensors.h5")
    words = ["simulate", "--ct", made.ct, "--mr", made.mr, "--no-register", "--size", "64", "--output", made.sensors]
    assert cli.main([str(word) for word in words]) == 0
    return made
