"""Small scans of invented patients, which the tests of `mslfusion prepare` share."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from tiny import SIZE, image, oval_head

from MSLFusionTrainingLib.prepare.settings import Patient, PrepareSettings

SETTINGS = PrepareSettings(("ct", "t1"), size=64, pixel_mm=4.0, register=False)


def arrays(number: int) -> tuple[np.ndarray, np.ndarray]:
    """CT and MR (z, y, x) of a patient, each a little different."""
    ct, mr = oval_head(SIZE[::-1])
    ct[:, 20 + number : 24 + number, 15:22] += 40 + 5 * number
    return ct, mr * (1 + 0.1 * number)


def write_scans(
    folder: Path, number: int = 0, modalities: tuple[str, str] = ("ct", "t1"), ending: str = "nrrd"
) -> Path:
    """A patient's folder with both scans."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(modalities, arrays(number), strict=True):
        sitk.WriteImage(image(array), str(folder / f"{name}.{ending}"))
    return folder


def patients(root: Path, count: int) -> list[Patient]:
    """Patients a, b, ... with scans in folders of their own."""
    found = []
    for number in range(count):
        name = "abcdefgh"[number]
        folder = write_scans(root / name, number)
        found.append(Patient(name, {"ct": folder / "ct.nrrd", "t1": folder / "t1.nrrd"}))
    return found
