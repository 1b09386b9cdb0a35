"""Bringing a registered volume onto the other's grid."""

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError

_PROBES = 16


def resample(
    moving: sitk.Image,
    fixed: sitk.Image,
    transform: sitk.Transform | None = None,
    fill: float | None = None,
    must_overlap: bool = True,
) -> sitk.Image:
    """`moving` as float32 on the grid of `fixed` (size, spacing, origin, direction), interpolated linearly.

    transform: fixed points to moving points, as `register` finds it; None for the files' own positions.
    fill: value outside the moving field of view, default its smallest value.
    Raises InputError when `must_overlap` and the grids have no point in common.
    """
    transform = transform or sitk.Transform(3, sitk.sitkIdentity)
    if must_overlap and not grids_overlap(fixed, moving, transform):
        raise InputError(
            "The CT and the MR do not overlap where their files place them: register them (without --no-register)."
        )
    if fill is None:
        fill = float(sitk.GetArrayViewFromImage(moving).min())
    result = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, float(fill), sitk.sitkFloat32)
    for key in result.GetMetaDataKeys():
        result.EraseMetaData(key)
    return result


def grids_overlap(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform) -> bool:
    """True when a point of the fixed grid falls inside the moving one, or the other way round."""
    return _any_inside(fixed, moving, transform) or _any_inside(moving, fixed, transform.GetInverse())


def _any_inside(source: sitk.Image, target: sitk.Image, transform: sitk.Transform) -> bool:
    axes = [np.linspace(0, n - 1, min(n, _PROBES)) for n in source.GetSize()]
    size = np.array(target.GetSize())
    for index in np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3):
        point = transform.TransformPoint(source.TransformContinuousIndexToPhysicalPoint(index.tolist()))
        found = np.array(target.TransformPhysicalPointToContinuousIndex(point))
        if np.all((found >= -0.5) & (found <= size - 0.5)):
            return True
    return False
