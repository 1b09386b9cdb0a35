"""A checkerboard of two volumes, as a volume, made in small portions."""

from collections.abc import Generator
from typing import Any

import numpy as np
import vtk

_TILES = 8
_VOXELS_A_TURN = 2_000_000


def window_of(node: Any) -> tuple[float, float]:
    """The grey values that are shown black and white."""
    display = node.GetDisplayNode()
    if display is not None and display.GetWindow() > 0:
        return display.GetWindowLevelMin(), display.GetWindowLevelMax()
    low, high = node.GetImageData().GetScalarRange()
    return low, max(high, low + 1.0)


def voxels_to_voxels(first: Any, second: Any) -> vtk.vtkMatrix4x4 | None:
    """The matrix from voxels of one volume node to those of another that show the same place; None when a transform
    above them is not linear."""
    result = vtk.vtkMatrix4x4()
    to_world = _to_world(first)
    from_world = _to_world(second)
    if to_world is None or from_world is None:
        return None
    from_world.Invert()
    vtk.vtkMatrix4x4.Multiply4x4(from_world, to_world, result)
    return result


def checkerboard_steps(first: Any, second: Any) -> Generator[None, None, np.ndarray]:
    """The voxels (z, y, x) of a board on the grid of `first`, uint8, both volumes scaled by their windows.

    first, second: volume nodes under no or linear transforms. A portion is done between two `yield`s. Tiles are cubes
    with an eighth of the volume's width.
    """
    shape = first.GetImageData().GetDimensions()[::-1]
    board = np.empty(shape, np.uint8)
    spacing = first.GetSpacing()
    tile_mm = shape[2] * spacing[0] / _TILES
    z, y, x = (
        (np.arange(count) * mm // tile_mm).astype(np.int64) for count, mm in zip(shape, spacing[::-1], strict=True)
    )
    even = ((y[:, None] + x[None, :]) % 2).astype(bool)
    slabs = [_Slabs(node, first) for node in (first, second)]
    portion = max(1, _VOXELS_A_TURN // (shape[1] * shape[2]))
    for start in range(0, shape[0], portion):
        stop = min(start + portion, shape[0])
        ours, theirs = (slab.grey(start, stop) for slab in slabs)
        second_shown = even[None] ^ (z[start:stop, None, None] % 2).astype(bool)
        board[start:stop] = np.where(second_shown, theirs, ours)
        yield
    return board


class _Slabs:
    """Portions of a volume node on the grid of another, as grey values."""

    def __init__(self, node: Any, grid: Any) -> None:
        self._low, self._high = window_of(node)
        self._size = grid.GetImageData().GetDimensions()
        self._reslice = vtk.vtkImageReslice()
        self._reslice.SetInputData(node.GetImageData())
        self._reslice.SetResliceAxes(voxels_to_voxels(grid, node))
        self._reslice.SetOutputOrigin(0.0, 0.0, 0.0)
        self._reslice.SetOutputSpacing(1.0, 1.0, 1.0)
        self._reslice.SetInterpolationModeToLinear()
        self._reslice.SetOutputScalarType(vtk.VTK_FLOAT)
        self._reslice.SetBackgroundLevel(self._low)

    def grey(self, start: int, stop: int) -> np.ndarray:
        """Slices [start, stop) as uint8 (z, y, x)."""
        from vtk.util.numpy_support import vtk_to_numpy

        width, height, _depth = self._size
        self._reslice.SetOutputExtent(0, width - 1, 0, height - 1, start, stop - 1)
        self._reslice.Update()
        values = vtk_to_numpy(self._reslice.GetOutput().GetPointData().GetScalars())
        scaled = (values.reshape(stop - start, height, width) - self._low) * (255.0 / (self._high - self._low))
        return np.clip(scaled, 0.0, 255.0).astype(np.uint8)


def _to_world(node: Any) -> vtk.vtkMatrix4x4 | None:
    """From voxels to RAS in the world; None under a transform that is not linear."""
    matrix, above, whole = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    parent = node.GetParentTransformNode()
    if parent is None:
        return matrix
    if not parent.IsTransformToWorldLinear():
        return None
    parent.GetMatrixTransformToWorld(above)
    vtk.vtkMatrix4x4.Multiply4x4(above, matrix, whole)
    return whole
