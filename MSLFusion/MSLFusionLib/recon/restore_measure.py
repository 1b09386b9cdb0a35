"""How near restored images came to the truth, as fastMRI measures it: whole volumes, all voxels of them."""

from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib import metrics
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.restore import FINE, LOW, TRUTH, TRUTH_LOW, Restored

CONVENTION = (
    "Figures compare whole volumes in the target's own values with the truth of the same resolution: NMSE is the "
    "squared difference by the squared truth; PSNR and SSIM have the truth's largest value as their range, SSIM a "
    "Gaussian window of sigma 1.5 within slices (the conventions of fastMRI)."
)


def measure(restored: Restored, job: Job = NO_JOB) -> list[dict[str, Any]]:
    """One row for each image: "image", "resolution" ("low" or "fine"), "nmse", "psnr" in dB, "ssim".

    Empty where the truth is not known. Raises Cancelled.
    """
    pairs = [
        (kind, resolution, truth)
        for resolution, kinds, truth in (("low", LOW, TRUTH_LOW), ("fine", FINE, TRUTH))
        for kind in kinds
        if kind != truth and kind in restored.images and truth in restored.images
    ]
    if not pairs:
        return []
    rows = []
    for done, (kind, resolution, truth) in enumerate(pairs):
        job.step("compare", done, len(pairs))
        found, right = (sitk.GetArrayViewFromImage(restored.images[name]) for name in (kind, truth))
        rows.append({"image": kind, "resolution": resolution, **_compared(found, right, restored.grids.axes[0], job)})
    job.step("compare", len(pairs), len(pairs))
    return rows


def _compared(image: np.ndarray, truth: np.ndarray, slice_axis: int, job: Job) -> dict[str, float]:
    largest = float(np.abs(truth).max())
    quiet = Job(cancelled=job.cancelled)
    return {
        "nmse": metrics.nmse(image, truth),
        "psnr": metrics.psnr(image, truth, largest),
        "ssim": metrics.ssim(image, truth, largest, slice_axis=slice_axis, job=quiet),
    }
