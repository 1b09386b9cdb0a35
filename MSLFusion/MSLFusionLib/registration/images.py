"""What the registration looks at: intensities cut to what matters, body masks, coarser grids."""

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.body import body_mask

FINEST_MM = 1.0
AIR_HU = -1000.0
BONE_HU = 1500.0
_COARSE_MM = 4.0
_MARGIN_MM = 10.0
_TAIL = 0.5  # percent of the brightest MR values that are cut


@dataclass(frozen=True)
class Scan:
    """One side of the registration.

    image: intensities, cut and box-averaged to about FINEST_MM, cropped to the body and a margin.
    body, region: uint8 masks on a 4 mm grid, of the body and of the body widened by the margin.
    centre: centre of mass of the body. extent: edges of its bounding box, both in physical mm.
    """

    image: sitk.Image
    body: sitk.Image
    region: sitk.Image
    centre: np.ndarray
    extent: np.ndarray


def prepare(image: sitk.Image, modality: str, job: Job = NO_JOB) -> Scan:
    """Make a Scan of a "ct" or "mr" volume (3-D, any grid); raises InputError when it is constant."""
    factors = [max(1, math.floor(FINEST_MM / spacing)) for spacing in image.GetSpacing()]
    factors = [min(factor, max(1, size // 16)) for factor, size in zip(factors, image.GetSize(), strict=True)]
    image = sitk.Cast(image, sitk.sitkFloat32)
    if max(factors) > 1:
        image = sitk.BinShrink(image, factors)
    job.check()
    image = _cut(image, modality)
    coarse = on_grid(image, _COARSE_MM, job=job)
    job.check()
    # slices for filling holes: the axis nearest to the patient's long axis
    long_axis = int(np.argmax(np.abs(np.array(coarse.GetDirection()).reshape(3, 3)[2])))
    found = body_mask(coarse, modality, slice_axis=2 - long_axis, job=Job(cancelled=job.cancelled))
    job.check()
    body = _like(found, coarse)
    reach = [_MARGIN_MM / spacing for spacing in coarse.GetSpacing()[::-1]]
    region = _like(ndimage.distance_transform_edt(~found, sampling=[1 / r for r in reach]) <= 1.0, coarse)
    job.check()
    points = mask_points(body)
    return Scan(_cropped(image, region), body, region, points.mean(axis=0), np.ptp(points, axis=0))


def on_grid(image: sitk.Image, grid_mm: float, sigma_mm: float | None = None, job: Job = NO_JOB) -> sitk.Image:
    """The image smoothed by `sigma_mm` (default half a voxel of the new grid) on a grid of about `grid_mm`.

    Axes that are coarser already stay as they are. May be cancelled between axes.
    """
    spacing = image.GetSpacing()
    sigma = grid_mm / 2 if sigma_mm is None else sigma_mm
    if sigma > 0:
        for axis in range(3):
            job.check()
            if image.GetSize()[axis] >= 4 and sigma > 0.3 * spacing[axis]:
                image = sitk.RecursiveGaussian(image, sigma, direction=axis)
    new = [max(grid_mm, mm) for mm in spacing]
    extent = [(n - 1) * mm for n, mm in zip(image.GetSize(), spacing, strict=True)]
    size = [max(1, int(length / mm) + 1) for length, mm in zip(extent, new, strict=True)]
    rest = [(length - (n - 1) * mm) / 2 for length, n, mm in zip(extent, size, new, strict=True)]
    origin = image.TransformContinuousIndexToPhysicalPoint([r / mm for r, mm in zip(rest, spacing, strict=True)])
    return sitk.Resample(
        image, size, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear, origin, new, image.GetDirection()
    )


def mask_points(mask: sitk.Image) -> np.ndarray:
    """Physical points (n, 3) of the voxels that are not zero."""
    indices = np.argwhere(sitk.GetArrayViewFromImage(mask))[:, ::-1]
    return indices @ index_matrix(mask).T + np.array(mask.GetOrigin())


def index_matrix(image: sitk.Image) -> np.ndarray:
    """The 3 x 3 matrix that turns index steps (i, j, k) into mm."""
    return np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())


def _cut(image: sitk.Image, modality: str) -> sitk.Image:
    """Values beyond what tells tissues apart would only widen the bins of the joint histogram."""
    values = sitk.GetArrayViewFromImage(image)
    low, high = float(values.min()), float(values.max())
    if not high > low:
        raise InputError(f"The {modality.upper()} volume is constant: there is nothing to register.")
    if modality == "ct":
        # a CT that is not in HU has no values at or below air and keeps its whole range
        limits = (AIR_HU, BONE_HU) if low < -700.0 else (low, high)
    else:
        limits = (low, float(np.percentile(values.ravel()[:: max(1, values.size // 1_000_000)], 100.0 - _TAIL)))
    return sitk.Clamp(image, sitk.sitkFloat32, *limits) if limits[1] > limits[0] else image


def _like(mask: np.ndarray, image: sitk.Image) -> sitk.Image:
    result = sitk.GetImageFromArray(mask.astype(np.uint8))
    result.CopyInformation(image)
    return result


def _cropped(image: sitk.Image, region: sitk.Image) -> sitk.Image:
    """The image cut to the bounding box of the region, plus a voxel of the region's grid."""
    points = mask_points(region)
    corners = np.linalg.solve(index_matrix(image), (points - np.array(image.GetOrigin())).T).T
    edge = _COARSE_MM / np.array(image.GetSpacing())
    size = np.array(image.GetSize())
    low = np.clip(np.floor(corners.min(axis=0) - edge), 0, size - 1).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0) + edge), 0, size - 1).astype(int)
    return sitk.RegionOfInterest(image, [int(n) for n in high - low + 1], [int(n) for n in low])
