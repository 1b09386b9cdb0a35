"""Lambda, the dial between CT (0) and MR (1): numbers, a volume, or painted segments with feathered edges."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import KDTree

from MSLFusionLib.errors import InputError
from MSLFusionLib.recon.geometry import VolumeGeometry

FEATHER_TAG = "MSLFusion.Feather"
_ROUNDING = 1e-5
_UNEVEN = np.array([1.0, 1.0 + 1e-6, 1.0 + 2.3e-6])
"""Decides which of two voxels equally far away counts as the nearest, so that parts of a map fit together."""


@dataclass(frozen=True, eq=False)
class LambdaSpec:
    """One hybrid to decode: a number for all of the volume, or a map on the CT's grid.

    label: its name in results and file names. value: lambda in [0, 1], or None when `volume`, float32 (z, y, x) in
    [0, 1], holds lambda voxel by voxel.
    """

    label: str
    value: float | None
    volume: np.ndarray | None = None


class PaintedSegment(Protocol):
    """What a segment tells about itself (io.segmentations.Segment); `lam` comes from its tag MSLFusion.Lambda."""

    @property
    def name(self) -> str: ...

    @property
    def tags(self) -> Mapping[str, str]: ...

    @property
    def lam(self) -> float | None: ...


@dataclass(frozen=True, eq=False)
class LambdaSegment:
    """One painted region: its mask (an image, or a bool array on the reference grid), lambda and feather in mm."""

    mask: "sitk.Image | np.ndarray"
    lam: float
    feather_mm: float = 0.0
    name: str = "segment"


def check_lambda(value: float, what: str = "Lambda") -> float:
    """`value` as float; raises InputError unless it is a number in [0, 1] (NaN is not)."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{what} must be a number from 0 (CT) to 1 (MR), not {value!r}.") from None
    if not 0.0 <= number <= 1.0:
        raise InputError(f"{what} must lie between 0 (CT) and 1 (MR), not {number:g}.")
    return number


def scalar_lambda(value: float) -> LambdaSpec:
    """One lambda for all of the volume, labelled by its value; raises InputError outside [0, 1]."""
    number = check_lambda(value)
    return LambdaSpec(f"{number:g}", number)


def lambda_volume(image: sitk.Image, reference: VolumeGeometry, label: str = "map") -> LambdaSpec:
    """A lambda map from a scalar volume, on the grid of `reference`.

    A volume on another grid is resampled (linear) when it covers every voxel of `reference`. Raises InputError
    when it does not, and for values that are not numbers in [0, 1].
    """
    grid = VolumeGeometry.of(image)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"The lambda volume '{label}' has colours or vectors: a scalar volume is needed.")
    values = sitk.GetArrayViewFromImage(image)
    _check_values(values, f"The lambda volume '{label}'")
    if not grid.same_as(reference):
        check_covers(grid, reference, label)
        image = _resampled(sitk.Cast(image, sitk.sitkFloat32), reference, sitk.sitkLinear)
        values = sitk.GetArrayViewFromImage(image)
    return LambdaSpec(label, None, np.clip(values.astype(np.float32), 0.0, 1.0))


def check_covers(grid: VolumeGeometry, reference: VolumeGeometry, label: str = "map") -> None:
    """Raises InputError unless every voxel centre of `reference` lies inside a voxel of `grid`."""
    index = grid.to_index(reference.corners_mm())
    if (index < -0.5 - 1e-3).any() or (index > np.array(grid.size) - 0.5 + 1e-3).any():
        raise InputError(
            f"The lambda volume '{label}' does not cover the CT volume: draw it on the CT, or resample it first."
        )


def lambda_array(values: np.ndarray, shape: tuple[int, ...], what: str = "The lambda map") -> np.ndarray:
    """A lambda map float32 of the given shape from an array; raises InputError for another shape or no lambdas."""
    if values.shape != shape:
        raise InputError(f"{what} has the shape {values.shape}; {shape} is needed.")
    _check_values(values, what)
    return np.clip(values.astype(np.float32), 0.0, 1.0)


def lambda_map_from_segments(
    segments: Sequence[LambdaSegment],
    background_lambda: float,
    reference: VolumeGeometry,
    label: str = "painted",
    within: tuple[slice, slice, slice] | None = None,
) -> LambdaSpec:
    """A lambda map painted from segments over a background, later segments over earlier ones.

    Across the edge of a segment lambda changes linearly with the signed Euclidean distance in mm over a band of
    width `feather_mm` centred on the edge. Masks on another grid are resampled by nearest neighbour; what they do
    not cover is not painted. within: make only this part (z, y, x) of the map; it is that part of the whole map,
    however far `reference` goes beyond it, as long as that is `feather_reach` or more. Raises InputError for lambda
    outside [0, 1], a negative feather, a mask of another shape, and a segment with no voxel on the reference grid.
    """
    whole = tuple(slice(0, n) for n in reference.shape)
    wanted = whole if within is None else within
    lam = np.full(
        [part.stop - part.start for part in wanted],
        check_lambda(background_lambda, "The background's lambda"),
        np.float32,
    )
    for segment in segments:
        value = check_lambda(segment.lam, f"The lambda of segment '{segment.name}'")
        if not (math.isfinite(segment.feather_mm) and segment.feather_mm >= 0):
            raise InputError(f"The feather of segment '{segment.name}' must be 0 mm or more.")
        mask = _mask_on(segment, reference)
        box = _padded_box(mask, segment.feather_mm, reference.spacing[::-1])
        if box is None:
            raise InputError(f"Segment '{segment.name}' is empty on the CT's grid: paint inside the CT volume.")
        common = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, wanted, strict=True)]
        if any(part.start >= part.stop for part in common):
            continue
        part = lam[_moved(common, wanted)]
        share = _feathered(mask[box], segment.feather_mm, reference.spacing[::-1], _moved(common, box))
        part += share * (np.float32(value) - part)
    return LambdaSpec(label, None, lam)


def feather_reach(feather_mm: float, spacing: Sequence[float], axis: int) -> int:
    """How many voxels beyond a part of a map, along an axis, the painted masks matter for that part."""
    return math.ceil((feather_mm + max(spacing)) / 2 / spacing[axis]) + 1


def segment_feather(segment: PaintedSegment, default_mm: float = 0.0) -> float:
    """The feather of a segment in mm from its tag, else `default_mm`; raises InputError when it is no length."""
    text = segment.tags.get(FEATHER_TAG)
    if text is None or not text.strip():
        return default_mm
    try:
        feather = float(text)
    except ValueError:
        feather = math.nan
    if not (math.isfinite(feather) and feather >= 0):
        raise InputError(
            f"The tag {FEATHER_TAG} of segment '{segment.name}' must be a length in mm, 0 or more, not '{text}'."
        )
    return feather


def lambda_segments(
    painted: Iterable[tuple[PaintedSegment, "sitk.Image | np.ndarray"]],
    overrides: Mapping[str, float] | None = None,
    feather_mm: float = 0.0,
) -> list[LambdaSegment]:
    """Segments and their masks as painted regions; their order is kept.

    overrides: lambda by segment name, before the tags. feather_mm: for segments without their own. Raises
    InputError naming the segments without lambda, and names in `overrides` that no segment has.
    """
    pairs = list(painted)
    names = [segment.name for segment, _ in pairs]
    given = {
        name: check_lambda(value, f"The lambda given for segment '{name}'") for name, value in (overrides or {}).items()
    }
    unknown = [name for name in given if name not in names]
    if unknown:
        raise InputError(f"There is no segment '{unknown[0]}': the segmentation has {_listed(names)}.")
    # A tag that is not usable does not matter where a value was given.
    values = [
        given.get(name) if name in given else segment.lam for name, (segment, _) in zip(names, pairs, strict=True)
    ]
    without = [name for name, value in zip(names, values, strict=True) if value is None]
    if without:
        raise InputError(
            f"No lambda for segment {_listed(without)}: set the tag MSLFusion.Lambda or give NAME=LAMBDA for it."
        )
    return [
        LambdaSegment(mask, value, segment_feather(segment, feather_mm), segment.name)
        for (segment, mask), value in zip(pairs, values, strict=True)
        if value is not None
    ]


def _check_values(values: np.ndarray, what: str) -> None:
    """Raises InputError unless all values are numbers in [0, 1], rounding aside."""
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{what} holds values that are not numbers.")
    if low < -_ROUNDING or high > 1.0 + _ROUNDING:
        raise InputError(f"{what} holds values from {low:g} to {high:g}: lambda must lie between 0 and 1.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "no segments"


def _resampled(image: sitk.Image, reference: VolumeGeometry, interpolator: int) -> sitk.Image:
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(reference.size)
    resampler.SetOutputSpacing(reference.spacing)
    resampler.SetOutputOrigin(reference.origin)
    resampler.SetOutputDirection(reference.direction)
    resampler.SetInterpolator(interpolator)
    # Voxel centres up to half a voxel beyond the last sample take the edge's value.
    resampler.SetUseNearestNeighborExtrapolator(interpolator == sitk.sitkLinear)
    return resampler.Execute(image)


def _mask_on(segment: LambdaSegment, reference: VolumeGeometry) -> np.ndarray:
    image = segment.mask
    if isinstance(image, np.ndarray):
        array = image
    else:
        if not VolumeGeometry.of(image).same_as(reference):
            image = _resampled(image, reference, sitk.sitkNearestNeighbor)
        # A copy: a view would not keep the resampled image alive.
        array = sitk.GetArrayFromImage(image)
    if array.shape != reference.shape:
        raise InputError(f"The mask of segment '{segment.name}' has shape {array.shape}, the CT {reference.shape}.")
    return array != 0


def _padded_box(mask: np.ndarray, feather_mm: float, spacing: Sequence[float]) -> tuple[slice, ...] | None:
    """Bounding box of a mask grown by what its feather reaches; None for an empty mask."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(hit):
            return None
        margin = feather_reach(feather_mm, spacing, axis)
        box.append(slice(max(0, int(hit[0]) - margin), min(mask.shape[axis], int(hit[-1]) + 1 + margin)))
    return tuple(box)


def _moved(part: Sequence[slice], origin: Sequence[slice]) -> tuple[slice, ...]:
    """`part` counted from where `origin` starts."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, origin, strict=True))


def _feathered(mask: np.ndarray, feather_mm: float, spacing: Sequence[float], part: tuple[slice, ...]) -> np.ndarray:
    """Share of a segment in [0, 1], float32, in a part of its mask, from the signed distance in mm to its edge.

    The edge lies half-way between a voxel and the nearest one on the other side of it: half of that one's extent
    towards the voxel is taken off their distance. Only voxels near the edge are looked at, which makes one slice of a
    large segment several times faster than a distance transform of all the slices around it.
    """
    share = mask[part].astype(np.float32)
    edge = _edge(mask)
    if feather_mm == 0 or not edge.any():
        return share
    near = edge.view(np.uint8)
    for axis in range(mask.ndim):
        reach = feather_reach(feather_mm, spacing, axis)
        near = ndimage.maximum_filter1d(near, 2 * reach + 1, axis=axis, mode="constant")
    near = near[part].view(bool)
    start = np.array([one.start for one in part])
    for inside in (False, True):
        across = np.argwhere(edge & (mask != inside))
        tree = KDTree(across * (np.array(spacing) * _UNEVEN))
        for plane in range(len(share)):
            found = np.argwhere(near[plane] & (mask[part][plane] == inside))
            index = np.insert(found, 0, plane, axis=1) + start
            distance = _to_edge(index, across, tree, spacing, (feather_mm + max(spacing)) / 2)
            signed = distance if inside else -distance
            share[plane, found[:, 0], found[:, 1]] = np.clip(0.5 + signed / feather_mm, 0.0, 1.0)
    return share


def _edge(mask: np.ndarray) -> np.ndarray:
    """The voxels with a neighbour on the other side of the edge of the mask."""
    edge = np.zeros(mask.shape, bool)
    for axis in range(mask.ndim):
        ahead, behind = [slice(None)] * mask.ndim, [slice(None)] * mask.ndim
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        differs = mask[tuple(ahead)] != mask[tuple(behind)]
        edge[tuple(ahead)] |= differs
        edge[tuple(behind)] |= differs
    return edge


def _to_edge(
    index: np.ndarray, across: np.ndarray, tree: KDTree, spacing: Sequence[float], reach_mm: float
) -> np.ndarray:
    """Distance in mm to the edge from the voxels `index` (n, 3); infinite beyond the reach.

    tree: of the voxels `across` (m, 3) on the other side.
    """
    distance, nearest = tree.query(index * (np.array(spacing) * _UNEVEN), distance_upper_bound=reach_mm * 1.001)
    found = np.isfinite(distance)
    squares = ((across[nearest[found]] - index[found]) * np.array(spacing)) ** 2
    square = squares.sum(axis=1)
    distance[found] = np.sqrt(square) - squares @ np.array(spacing) / square / 2
    return distance
