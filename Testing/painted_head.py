"""A CT painted on a real head: HU from the masks that come with an MR of the whole head.

    python Testing/painted_head.py ../shared/data/head_mr_skull ct.nrrd

Air -1000 HU, the head 40, its brain 30 to 40 by the brightness of the MR, its skull 1000; edges softened by a Gaussian
of 0.6 mm. The anatomy is a patient's, the attenuation is not.
"""

import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.io.volumes import read_volume, write_volume
from MSLFusionLib.recon.body import body_mask

AIR, HEAD, SKULL = -1000.0, 40.0, 1000.0
BRAIN = (30.0, 40.0)
_EDGE_MM = 0.6


def painted_ct(folder: Path) -> sitk.Image:
    """The CT in HU on the grid of MR.nii.gz in the folder, from its masks Brain.nrrd and Skull.nrrd."""
    mr = read_volume(folder / "MR.nii.gz", "MR")

    def mask(name: str) -> np.ndarray:
        image = sitk.ReadImage(str(folder / f"{name}.nrrd"))
        placed = sitk.Resample(image, mr, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
        return sitk.GetArrayFromImage(placed) > 0

    brain = mask("Brain")
    bright = sitk.GetArrayFromImage(mr)[brain]
    low, high = np.percentile(bright, (5, 95))
    values = np.where(body_mask(mr, "mr"), HEAD, AIR).astype(np.float32)
    values[mask("Skull")] = SKULL
    values[brain] = BRAIN[0] + (BRAIN[1] - BRAIN[0]) * np.clip((bright - low) / (high - low), 0, 1)
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(mr)
    return sitk.Cast(sitk.DiscreteGaussian(image, _EDGE_MM**2), sitk.sitkFloat32)


if __name__ == "__main__":
    write_volume(painted_ct(Path(sys.argv[1])), Path(sys.argv[2]))
