"""Lambda as numbers, volumes and painted segments."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from MSLFusionLib.errors import InputError
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.lambdas import (
    LambdaSegment,
    check_lambda,
    feather_reach,
    lambda_map_from_segments,
    lambda_segments,
    lambda_volume,
    scalar_lambda,
)

REFERENCE = VolumeGeometry((30, 20, 10), (1.0, 2.0, 3.0), (5.0, -3.0, 8.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


@dataclass
class Painted:
    name: str
    lam: float | None = None
    tags: dict[str, str] = field(default_factory=dict)


def on_reference(array: np.ndarray) -> sitk.Image:
    return REFERENCE.image(array.astype(np.float32))


def box(*bounds: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(REFERENCE.shape, bool)
    mask[tuple(slice(a, b) for a, b in bounds)] = True
    return mask


@pytest.mark.parametrize("value", [0, 1, 0.25, "0.5", np.float32(0.75)])
def test_numbers_are_taken(value):
    spec = scalar_lambda(value)
    assert spec.value == float(value)
    assert spec.label == f"{float(value):g}"


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf"), "half", None])
def test_numbers_outside_are_refused(value):
    with pytest.raises(InputError, match=r"between 0|from 0"):
        check_lambda(value)


def test_volume_on_the_grid_is_taken_as_it_is():
    values = np.random.default_rng(0).random(REFERENCE.shape, dtype=np.float32)
    spec = lambda_volume(on_reference(values), REFERENCE, "mine")
    assert spec.label == "mine"
    assert spec.value is None
    assert np.array_equal(spec.volume, values)


def test_covering_volume_on_another_grid_is_resampled():
    """lambda grows linearly along x in mm: the same positions hold the same lambda."""
    size, spacing, origin = (50, 40, 30), (1.7, 1.7, 1.7), (-10.0, -10.0, 0.0)
    x = origin[0] + np.arange(size[0]) * spacing[0]
    array = np.broadcast_to((x + 20) / 120, size[::-1]).astype(np.float32)
    image = VolumeGeometry(size, spacing, origin, REFERENCE.direction).image(array)
    spec = lambda_volume(image, REFERENCE)
    expected = (5.0 + np.arange(30) * 1.0 + 20) / 120
    assert spec.volume == pytest.approx(np.broadcast_to(expected, REFERENCE.shape), abs=1e-5)


def test_coarser_volume_of_the_same_extent_covers():
    """Two voxels along x instead of thirty: the outer voxel centres lie inside its voxels, and are extended."""
    geometry = VolumeGeometry((2, 20, 10), (15.0, 2.0, 3.0), (12.0, -3.0, 8.0), REFERENCE.direction)
    array = np.zeros((10, 20, 2), np.float32)
    array[..., 1] = 1.0
    spec = lambda_volume(geometry.image(array), REFERENCE)
    assert spec.volume[0, 0, 0] == 0
    assert spec.volume[0, 0, 29] == 1
    assert spec.volume[0, 0, 15] == pytest.approx(8 / 15, abs=1e-6)


@pytest.mark.parametrize("shift", [(3.0, 0, 0), (0, -30.0, 0), (0, 0, 500.0)])
def test_volume_that_does_not_cover_is_refused(shift):
    origin = tuple(o + s for o, s in zip(REFERENCE.origin, shift, strict=True))
    image = VolumeGeometry(REFERENCE.size, REFERENCE.spacing, origin, REFERENCE.direction).image(
        np.zeros(REFERENCE.shape, np.float32)
    )
    with pytest.raises(InputError, match="does not cover the CT"):
        lambda_volume(image, REFERENCE)


@pytest.mark.parametrize(
    ("value", "words"), [(1.2, "between 0 and 1"), (-0.1, "between 0 and 1"), (np.nan, "not numbers")]
)
def test_volume_with_impossible_values_is_refused(value, words):
    values = np.full(REFERENCE.shape, 0.5)
    values[3, 4, 5] = value
    with pytest.raises(InputError, match=words):
        lambda_volume(on_reference(values), REFERENCE)


def test_vector_volume_is_refused():
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.float32), isVector=True)
    with pytest.raises(InputError, match="scalar volume"):
        lambda_volume(image, REFERENCE)


def test_later_segments_win():
    first, second = box((2, 8), (3, 15), (4, 20)), box((4, 9), (10, 18), (15, 25))
    spec = lambda_map_from_segments([LambdaSegment(first, 1.0), LambdaSegment(second, 0.4)], 0.1, REFERENCE)
    expected = np.full(REFERENCE.shape, 0.1, np.float32)
    expected[first] = 1.0
    expected[second] = 0.4
    assert np.allclose(spec.volume, expected)


@pytest.mark.parametrize(("axis", "mm"), [(0, 3.0), (1, 2.0), (2, 1.0)])
def test_feather_is_a_linear_band_in_mm_about_the_edge(axis, mm):
    """Half a volume painted: lambda rises linearly over 6 mm centred on the plane between the two halves."""
    shape = list(REFERENCE.shape)
    bounds = [(0, n) for n in shape]
    edge = shape[axis] // 2
    bounds[axis] = (edge, shape[axis])
    spec = lambda_map_from_segments([LambdaSegment(box(*bounds), 1.0, 6.0)], 0.0, REFERENCE)
    line = np.moveaxis(spec.volume, axis, 0).reshape(shape[axis], -1)
    distance = (np.arange(shape[axis]) - (edge - 0.5)) * mm
    expected = np.clip(0.5 + distance / 6.0, 0, 1)
    assert line == pytest.approx(np.broadcast_to(expected[:, None], line.shape), abs=1e-5)


def test_feathered_segment_over_another_blends_into_what_lies_below():
    below, above = box((0, 10), (0, 20), (0, 15)), box((0, 10), (0, 20), (10, 30))
    spec = lambda_map_from_segments([LambdaSegment(below, 1.0), LambdaSegment(above, 0.5, 4.0)], 0.0, REFERENCE)
    row = spec.volume[5, 10]
    assert row[7] == 1.0
    assert row[9] == pytest.approx(1.0 + (0.5 - 1.0) * (0.5 - 0.5 / 4))
    assert row[20] == 0.5


def test_segment_of_the_whole_volume_has_no_edge():
    everything = np.ones(REFERENCE.shape, bool)
    assert np.all(
        lambda_map_from_segments([LambdaSegment(everything, 0.7, 5.0)], 0.0, REFERENCE).volume == np.float32(0.7)
    )


def test_feather_is_that_of_the_distance_transform():
    """Ragged regions, unequal voxels: the definition, with a distance transform of everything."""
    mask = np.random.default_rng(0).random(REFERENCE.shape) < 0.03
    mask = ndimage.binary_dilation(mask, iterations=2)
    # Of several voxels equally near, either may count: here there are none in different directions.
    grid = VolumeGeometry(REFERENCE.size, (1.03, 1.71, 2.57), REFERENCE.origin, REFERENCE.direction)
    spacing = np.array(grid.spacing[::-1])

    def to_edge(inside):
        distance, nearest = ndimage.distance_transform_edt(inside, sampling=spacing, return_indices=True)
        squares = ((nearest - np.indices(inside.shape)) * spacing[:, None, None, None]) ** 2
        half = np.einsum("a...,a->...", squares, spacing) / np.where(inside, distance, 1) ** 2 / 2
        return distance - half

    expected = np.clip(0.5 + (to_edge(mask) - to_edge(~mask)) / 7.0, 0, 1)
    lam = lambda_map_from_segments([LambdaSegment(mask, 1.0, 7.0)], 0.0, grid).volume
    assert ((expected > 0) & (expected < 1)).mean() > 0.3
    assert lam == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("feather_mm", [0.0, 1.0, 5.0, 9.0])
def test_parts_of_a_map_are_those_of_the_whole(axis, feather_mm):
    """Slab by slab, each seeing no more of the masks than `feather_reach` says."""
    random = np.random.default_rng(1)
    masks = [ndimage.binary_dilation(random.random(REFERENCE.shape) < 0.004, iterations=3) for _ in range(2)]
    values = [(masks[0], 0.9), (masks[1], 0.4)]
    whole = lambda_map_from_segments([LambdaSegment(m, v, feather_mm) for m, v in values], 0.1, REFERENCE).volume
    spacing = REFERENCE.spacing[::-1]
    reach = feather_reach(feather_mm, spacing, axis)
    parts = []
    for first in range(0, REFERENCE.shape[axis], 3):
        last = min(first + 3, REFERENCE.shape[axis])
        start, stop = max(0, first - reach), min(REFERENCE.shape[axis], last + reach)
        cut = tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))
        seen = masks[0][cut].shape
        geometry = VolumeGeometry(seen[::-1], REFERENCE.spacing, REFERENCE.origin, REFERENCE.direction)
        within = tuple(slice(first - start, last - start) if a == axis else slice(0, n) for a, n in enumerate(seen))
        segments = [LambdaSegment(m[cut], v, feather_mm) for m, v in values if m[cut].any()]
        parts.append(lambda_map_from_segments(segments, 0.1, geometry, within=within).volume)
    assert np.array_equal(np.concatenate(parts, axis), whole)


def test_mask_image_on_another_grid_is_resampled():
    geometry = VolumeGeometry((60, 40, 10), (0.5, 1.0, 3.0), (4.8, -3.4, 8.0), REFERENCE.direction)
    array = np.zeros((10, 40, 60), np.uint8)
    array[:, 10:30, 20:40] = 1
    spec = lambda_map_from_segments([LambdaSegment(geometry.image(array), 1.0)], 0.0, REFERENCE)
    assert np.array_equal(spec.volume > 0, box((0, 10), (5, 15), (10, 20)))


def test_unusable_segments_are_refused_by_name():
    good = box((2, 4), (2, 4), (2, 4))
    for segment, words in (
        (LambdaSegment(good, 1.5, 0, "tumour"), "lambda of segment 'tumour'"),
        (LambdaSegment(good, 0.5, -1.0, "tumour"), "feather of segment 'tumour'"),
        (LambdaSegment(good, 0.5, float("nan"), "tumour"), "feather of segment 'tumour'"),
        (LambdaSegment(np.zeros_like(good), 0.5, 0, "tumour"), "'tumour' is empty"),
        (LambdaSegment(good[1:], 0.5, 0, "tumour"), "shape"),
    ):
        with pytest.raises(InputError, match=words):
            lambda_map_from_segments([segment], 0.0, REFERENCE)
    with pytest.raises(InputError, match="background"):
        lambda_map_from_segments([LambdaSegment(good, 0.5)], 2.0, REFERENCE)


def test_tags_and_overrides():
    mask = box((0, 1), (0, 1), (0, 1))
    painted = [(Painted("skull", 0.0), mask), (Painted("brain", 0.9, {"MSLFusion.Feather": "2.5"}), mask)]
    segments = lambda_segments(painted, {"skull": 0.2}, feather_mm=1.0)
    assert [(s.name, s.lam, s.feather_mm) for s in segments] == [("skull", 0.2, 1.0), ("brain", 0.9, 2.5)]


def test_missing_lambda_and_unknown_names_are_refused():
    mask = box((0, 1), (0, 1), (0, 1))
    painted = [(Painted("skull", 0.0), mask), (Painted("eye"), mask), (Painted("nose"), mask)]
    with pytest.raises(InputError, match="No lambda for segment 'eye', 'nose'"):
        lambda_segments(painted)
    with pytest.raises(InputError, match="no segment 'ear': the segmentation has 'skull', 'eye', 'nose'"):
        lambda_segments(painted, {"ear": 0.5})
    with pytest.raises(InputError, match="given for segment 'eye'"):
        lambda_segments(painted, {"eye": 7})
    with pytest.raises(InputError, match=r"MSLFusion\.Feather"):
        lambda_segments([(Painted("skull", 0.5, {"MSLFusion.Feather": "wide"}), mask)])
