"""The network's grid in volumes of any size, spacing and direction."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import Job
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.grid import NetworkGrid

IDENTITY = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)


def volume(size=(20, 24, 4), spacing=(1.0, 1.0, 3.0), direction=IDENTITY, array=None) -> sitk.Image:
    if array is None:
        array = np.random.default_rng(1).random(size[::-1], dtype=np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((-5.0, 7.0, 11.0))
    image.SetDirection(direction)
    return image


def smooth(size, spacing, wave_mm=30.0) -> np.ndarray:
    """A pattern of long waves about the volume's centre, fading to zero at the edges."""
    z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(size[::-1], spacing[::-1], strict=True)),
                          indexing="ij")  # fmt: skip
    extent = min(n * mm for n, mm in zip(size[:2], spacing[:2], strict=True))
    window = np.exp(-((x**2 + y**2) / (0.2 * extent) ** 2))
    return (window * (0.5 + 0.4 * np.cos(2 * np.pi * x / wave_mm) * np.sin(2 * np.pi * y / wave_mm + z))).astype(
        np.float32
    )


def round_trip(grid: NetworkGrid, array: np.ndarray) -> np.ndarray:
    back = np.zeros_like(array)
    grid.turned(back)[:] = grid.from_network(grid.to_network(grid.turned(array)))
    return back


def test_coinciding_grids_copy_exactly():
    image = volume((32, 32, 5))
    array = sitk.GetArrayFromImage(image)
    grid = NetworkGrid.for_volume(image, None, size=32, pixel_mm=1.0)
    assert grid.coincides
    assert np.array_equal(grid.to_network(grid.turned(array)), array)
    assert np.array_equal(round_trip(grid, array), array)


@pytest.mark.parametrize("size", [(21, 30, 3), (45, 33, 2), (40, 31, 1)])
def test_equal_pixels_are_cropped_and_padded_without_interpolation(size):
    image = volume(size)
    body = np.zeros(size[::-1], bool)
    body[:, 4:28, 3:20] = True
    grid = NetworkGrid.for_volume(image, body, size=32, pixel_mm=1.0)
    assert grid.coincides
    array = np.where(body, sitk.GetArrayFromImage(image), 0)
    assert np.array_equal(round_trip(grid, array), array)
    assert grid.report(body)["body_fraction_outside"] == 0


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 3.0), (0.9, 1.4, 3.0), (2.0, 2.0, 2.5)])
def test_round_trip_of_smooth_content(spacing):
    size = (*(int(60 / mm) for mm in spacing[:2]), 3)
    array = smooth(size, spacing)
    grid = NetworkGrid.for_volume(volume(size, spacing, array=array), None, size=64, pixel_mm=1.0)
    assert not grid.coincides
    assert np.abs(round_trip(grid, array) - array).max() < 0.03 * array.max()


def test_network_pixels_lie_where_the_geometry_says():
    """A linear ramp in mm is reproduced at the pixels' positions, whatever the spacing."""
    spacing = (0.7, 1.3, 3.0)
    size = (80, 50, 2)
    array = np.zeros(size[::-1], np.float32)
    array += (np.arange(size[0]) * spacing[0])[None, None, :] + 100 * (np.arange(size[1]) * spacing[1])[None, :, None]
    grid = NetworkGrid.for_volume(volume(size, spacing, array=array), None, size=40, pixel_mm=1.0, fixed_pixel=True)
    seen = grid.to_network(grid.turned(array))[0]
    offset = np.arange(40) - 19.5
    x = (size[0] - 1) / 2 * spacing[0] + offset
    y = (size[1] - 1) / 2 * spacing[1] + offset
    assert seen == pytest.approx(x[None, :] + 100 * y[:, None], rel=2e-4)


def test_downsampling_averages_what_the_network_cannot_hold():
    """A checkerboard of single voxels becomes its mean on pixels four times as large: no aliasing."""
    size = (256, 256, 1)
    board = (np.indices(size[::-1]).sum(axis=0) % 2).astype(np.float32)
    grid = NetworkGrid.for_volume(volume(size, (0.25, 0.25, 1), array=board), None, size=64, pixel_mm=1.0)
    inner = grid.to_network(grid.turned(board))[0, 4:-4, 4:-4]
    assert np.abs(inner - 0.5).max() < 0.01


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_run_along_the_clearly_coarser_axis(axis):
    spacing = [1.0, 1.0, 1.0]
    spacing[2 - axis] = 4.0
    grid = NetworkGrid.for_volume(volume((20, 22, 24), tuple(spacing)), None, size=32, pixel_mm=1.0)
    assert grid.slice_axis == axis
    spacing[2 - axis] = 1.4
    assert NetworkGrid.for_volume(volume((20, 22, 24), tuple(spacing)), None, 32, 1.0).slice_axis == 0


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, 1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1)])
def test_the_network_sees_one_orientation_whatever_the_file_stores(order, flips):
    """The same anatomy stored in another axis order and direction gives the same slices, and returns in place."""
    anatomy = sitk.DICOMOrient(volume((18, 20, 5), (1.0, 1.0, 3.0)), "LPS")
    stored = sitk.Flip(sitk.PermuteAxes(anatomy, order), [f < 0 for f in flips])
    expected = NetworkGrid.for_volume(anatomy, None, 24, 1.0)
    grid = NetworkGrid.for_volume(stored, None, 24, 1.0)
    array = sitk.GetArrayFromImage(stored)
    slices = grid.to_network(grid.turned(array))
    reference = expected.to_network(expected.turned(sitk.GetArrayFromImage(anatomy)))
    assert sorted(s.tobytes() for s in slices) == sorted(s.tobytes() for s in reference)
    assert np.array_equal(round_trip(grid, array), array)


def test_pixel_is_enlarged_for_a_wide_body_and_said():
    image = volume((300, 200, 2), (1.5, 1.5, 3.0))
    body = np.zeros((2, 200, 300), bool)
    body[:, 50:150] = True
    said: list[str] = []
    grid = NetworkGrid.for_volume(image, body, 384, 2 / 3, job=Job(warn=said.append))
    assert grid.pixel_mm == pytest.approx(450 / 384)
    assert said == [
        "In-plane pixel enlarged from 0.67 to 1.17 mm so that the 450 mm wide body fits the model's 384 x 384 slice."
    ]
    assert grid.fraction_outside(body) == 0


def test_fixed_pixel_reports_what_lies_outside():
    image = volume((100, 40, 2), (1.0, 1.0, 3.0))
    body = np.zeros((2, 40, 100), bool)
    body[:, 10:30, :] = True
    said: list[str] = []
    grid = NetworkGrid.for_volume(image, body, 50, 1.0, fixed_pixel=True, job=Job(warn=said.append))
    assert grid.fraction_outside(body) == pytest.approx(0.5)
    assert len(said) == 1
    assert said[0].startswith("50.0 % of the body lies outside the 50 mm field of view")
    back = np.zeros((2, 40, 100), np.float32)
    grid.turned(back)[:] = grid.from_network(np.ones((2, 50, 50), np.float32))
    assert back[:, :, 25:75].min() == 1
    assert back[:, :, :25].max() == 0 == back[:, :, 75:].max()


def test_slice_is_centred_on_a_body_off_centre():
    body = np.zeros((2, 200, 200), bool)
    body[:, 120:180, 10:60] = True
    grid = NetworkGrid.for_volume(volume((200, 200, 2)), body, 64, 1.0)
    assert grid.fraction_outside(body) == 0
    assert grid.centre == (149.5, 34.5)


def test_fill_and_extension_outside_the_volume():
    image = volume((8, 8, 1), array=np.full((1, 8, 8), 3.0, np.float32))
    grid = NetworkGrid.for_volume(image, None, 16, 1.0)
    block = grid.turned(sitk.GetArrayFromImage(image))
    filled = grid.to_network(block, fill=-7.0)
    assert set(np.unique(filled)) == {-7.0, 3.0}
    assert np.unique(grid.to_network(block, extend=True)).tolist() == [3.0]


def test_blocks_equal_the_whole():
    image = volume((37, 41, 9), (0.8, 0.8, 2.0))
    grid = NetworkGrid.for_volume(image, None, 32, 1.1)
    array = grid.turned(sitk.GetArrayFromImage(image))
    whole = grid.to_network(array)
    assert np.array_equal(np.concatenate([grid.to_network(array[k : k + 2]) for k in range(0, 9, 2)]), whole)


def test_description_survives_json():
    image = volume((30, 20, 7), (0.9, 1.1, 2.5), (0, 1.0, 0, -1.0, 0, 0, 0, 0, 1.0))
    grid = NetworkGrid.for_volume(image, None, 32, 1.0)
    again = NetworkGrid.from_dict(json.loads(json.dumps(grid.to_dict())))
    assert again == grid
    assert again.volume.same_as(VolumeGeometry.of(image))


def volume_entry(**changes) -> dict:
    return VolumeGeometry.of(volume()).to_dict() | changes


@pytest.mark.parametrize(
    ("key", "value"),
    [("slice_axis", 1), ("size", [0, 4]), ("size", "ab"), ("pixel_mm", -1), ("pixel_mm", float("nan")), ("centre", [1]),
     ("volume", {}), ("volume", volume_entry(size=[1, 1, 10**6])), ("volume", volume_entry(size=[4096, 4096, 4096])),
     ("volume", volume_entry(spacing_mm=[1, 0, 1])), ("volume", volume_entry(direction=[1.0] * 9)),
     ("volume", volume_entry(origin_mm=[0, 0]))],
)  # fmt: skip
def test_damaged_descriptions_are_refused(key, value):
    data = NetworkGrid.for_volume(volume(), None, 32, 1.0).to_dict() | {key: value}
    with pytest.raises(InputError):
        NetworkGrid.from_dict(data)


def test_impossible_requests_are_refused():
    with pytest.raises(InputError, match="positive number of mm"):
        NetworkGrid.for_volume(volume(), None, 32, 0.0)
    with pytest.raises(InputError, match="body mask is empty"):
        NetworkGrid.for_volume(volume(), np.zeros((4, 24, 20), bool), 32, 1.0)
    with pytest.raises(InputError, match="shape"):
        NetworkGrid.for_volume(volume(), np.ones((4, 24, 21), bool), 32, 1.0)


def test_geometry_converts_between_index_and_mm():
    image = volume((10, 11, 12), (1.0, 2.0, 3.0), (0, -1.0, 0, 1.0, 0, 0, 0, 0, 1.0))
    geometry = VolumeGeometry.of(image)
    index = np.array([[1.0, 2.0, 3.0], [9.0, 0.0, 5.5]])
    expected = [image.TransformContinuousIndexToPhysicalPoint(row.tolist()) for row in index]
    assert geometry.to_mm(index) == pytest.approx(np.array(expected))
    assert geometry.to_index(geometry.to_mm(index)) == pytest.approx(index)
