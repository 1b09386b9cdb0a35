"""How much each voxel counts, from a segmentation: a weight for each segment, one for the rest."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.lambdas import PaintedSegment

WEIGHT_TAG = "MSLFusion.Weight"


def weight_volume(
    painted: Iterable[tuple[PaintedSegment, sitk.Image]],
    reference: VolumeGeometry,
    overrides: Mapping[str, float] | None = None,
    background: float = 1.0,
) -> np.ndarray:
    """Weights float32 (z, y, x) on the grid of `reference`; later segments win where they overlap.

    painted: segments and their masks, on any grid. A segment's weight is that in `overrides` by its name, else that of
    its tag MSLFusion.Weight; segments with neither are background. Raises InputError for a name that no segment has,
    when no segment has a weight, and for weights below 0.
    """
    pairs, overrides = list(painted), dict(overrides or {})
    names = [segment.name for segment, _ in pairs]
    unknown = [name for name in overrides if name not in names]
    if unknown:
        listed = ", ".join(f"'{name}'" for name in names)
        raise InputError(f"There is no segment '{unknown[0]}': the segmentation has {listed}.")
    weights = np.full(reference.shape, _checked(background, "The background's weight"), np.float32)
    found = False
    for segment, mask in pairs:
        given = overrides.get(segment.name, segment.tags.get(WEIGHT_TAG))
        if given is None:
            continue
        value = _checked(given, f"The weight of segment '{segment.name}'")
        found = True
        inside = sitk.Resample(
            mask, reference.grid_only(), sitk.Transform(), sitk.sitkNearestNeighbor, 0.0, sitk.sitkUInt8
        )
        weights[sitk.GetArrayViewFromImage(inside) != 0] = value
    if not found:
        raise InputError(f"No segment has a weight: set the tag {WEIGHT_TAG} or give NAME=WEIGHT for one.")
    return weights


def _checked(value: "float | str", what: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise InputError(f"{what} must be a number of 0 or more, not '{value}'.")
    return number
