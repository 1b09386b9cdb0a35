"""Low-resolution slices and their finer ones lie where they should, whatever the volume's grid."""

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.grid import NetworkGrid
from MSLFusionLib.recon.two_grids import TwoGrids

OBLIQUE = sitk.VersorTransform((0.3, -0.2, 0.9), 0.7).GetMatrix()


def geometry(size, spacing, direction=OBLIQUE):
    return VolumeGeometry(size, spacing, (-31.0, 12.5, 80.0), direction)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize(
    "fine",
    [geometry((37, 42, 5), (1.1, 0.8, 4.0)), geometry((41, 6, 30), (1.0, 5.0, 0.9), (0, 0, 1, 1, 0, 0, 0, 1, 0))],
)
def test_a_low_resolution_voxel_lies_on_the_middle_of_its_block(fine, scale):
    grids = TwoGrids.below(fine, scale)
    assert grids.fine == fine
    for axis, more in zip(grids.axes[1:], grids.padding, strict=True):
        assert (fine.shape[axis] + more) == scale * grids.low.shape[axis]
        assert 0 <= more < scale
    assert grids.low.shape[grids.axes[0]] == fine.shape[grids.axes[0]]
    index = np.array([2.0, 1.0, 3.0])
    block = index.copy()
    for axis in grids.axes[1:]:
        block[2 - axis] = scale * index[2 - axis] + (scale - 1) / 2
    assert np.allclose(grids.low.to_mm(index[None]), fine.to_mm(block[None]))


def test_padding_is_taken_off_where_it_was_put_on():
    random = np.random.default_rng(0)
    for direction in (OBLIQUE, (-1, 0, 0, 0, -1, 0, 0, 0, 1), (1, 0, 0, 0, 1, 0, 0, 0, 1)):
        fine = geometry((37, 42, 5), (1.0, 1.0, 3.0), direction)
        grids = TwoGrids.below(fine, 4)
        volume = random.normal(size=fine.shape).astype(np.float32)
        planes = grids.padded(grids.turned(volume))
        assert planes.shape[1:] == (4 * grids.low_size[0], 4 * grids.low_size[1])
        assert np.array_equal(grids.cropped(planes), grids.turned(volume))
        # Blocks of the padded slices are those of the volume's grid: the first voxel begins the first block.
        low = np.zeros(grids.low.shape)
        rows, columns = grids.low_size
        grids.turned(low)[:] = planes.reshape(5, rows, 4, columns, 4)[:, :, 0, :, 0]
        first = [0 if not flip else 3 for flip in grids.flipped]
        row, column = (first[grids.axes[1:].index(axis)] for axis in (1, 2))
        assert np.isclose(low[2, 3, 4], volume[2, 12 + row, 16 + column])


def test_below_and_above_are_each_others_inverse():
    fine = geometry((40, 44, 6), (0.7, 0.9, 3.0))
    below = TwoGrids.below(fine, 2)
    above = TwoGrids.above(below.low, 2, below.axes)
    assert above.fine.same_as(fine)


def test_slices_of_a_network_grid_lie_where_that_grid_says():
    volume = geometry((50, 60, 7), (1.0, 1.2, 4.0)).grid_only()
    grid = NetworkGrid.for_volume(volume, size=48, pixel_mm=1.5)
    grids = TwoGrids.of_network(grid, 2)
    low = np.zeros((*grids.low.shape, 3))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grids.low.shape), indexing="ij"), axis=-1)[..., ::-1]
    low[:] = grids.low.to_mm(index.reshape(-1, 3).astype(float)).reshape(low.shape)
    for number, row, column in ((0, 0, 0), (3, 10, 40), (6, 47, 5)):
        x, y = (column - 23.5) * 1.5, (23.5 - row) * 1.5
        place = [grids.turned(low[..., axis])[number, row, column] for axis in range(3)]
        assert np.allclose(place, grid.to_mm(number, np.array([x]), np.array([y]))[0], atol=1e-6)
