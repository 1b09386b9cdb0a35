"""Slices at a low resolution, and the same slices `scale` times finer: how both lie in space.

Both fill the same field of view: low-resolution voxel 0 lies (scale - 1) / 2 fine voxels from fine voxel 0
(physics.lowres). Slices are not made thinner. Fine slices whose sides are no multiples of the scale are continued by
their last pixels, which are taken off again afterwards: what is written has the volume's own grid.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.grid import NetworkGrid, orientation, slice_axis_of


@dataclass(frozen=True)
class TwoGrids:
    """The two grids.

    low, fine: of the volumes. axes: of their arrays (z, y, x) that slice number, rows and columns of k-space run along;
    flipped: rows and columns run against them. turned_over: whether the network sees rows and columns in the other
    sense, so that it always sees patients the same way round. padding: fine pixels that are continued beyond `fine`
    at the high end of the row and of the column axis.
    """

    low: VolumeGeometry
    fine: VolumeGeometry
    scale: int
    axes: tuple[int, int, int]
    flipped: tuple[bool, bool] = (False, False)
    turned_over: tuple[bool, bool] = (False, False)
    padding: tuple[int, int] = (0, 0)

    @classmethod
    def below(cls, fine: VolumeGeometry, scale: int, corner: bool = False) -> "TwoGrids":
        """The low-resolution grid of a volume, whose slices lie across its acquisition axis.

        corner: low-resolution voxels lie on the first fine voxel of their block (LowResolution's published way).
        """
        slice_axis = slice_axis_of(fine)
        (row, column), flips = orientation(fine, slice_axis)
        padding = tuple(-fine.shape[axis] % scale for axis in (row, column))
        size, spacing, start = list(fine.size), list(fine.spacing), [0.0, 0.0, 0.0]
        for axis, flip, more in zip((row, column), flips, padding, strict=True):
            along = 2 - axis
            size[along] = (size[along] + more) // scale
            spacing[along] *= scale
            start[along] = float((scale - 1) * flip) if corner else (scale - 1) / 2
        origin = fine.to_mm(np.array([start]))[0]
        low = VolumeGeometry(_three(size), _three(spacing), _three(origin.tolist()), fine.direction)
        return cls(low, fine, scale, (slice_axis, row, column), (flips[0], flips[1]), padding=(padding[0], padding[1]))

    @classmethod
    def above(cls, low: VolumeGeometry, scale: int, axes: tuple[int, int, int], **more: Any) -> "TwoGrids":
        """The finer grid of low-resolution slices across axes[0]; more: further fields."""
        size, spacing, start = list(low.size), list(low.spacing), [0.0, 0.0, 0.0]
        for axis in axes[1:]:
            along = 2 - axis
            size[along] *= scale
            spacing[along] /= scale
            start[along] = -(scale - 1) / (2 * scale)
        origin = low.to_mm(np.array([start]))[0]
        fine = VolumeGeometry(_three(size), _three(spacing), _three(origin.tolist()), low.direction)
        return cls(low, fine, scale, axes, **more)

    @classmethod
    def of_network(cls, grid: NetworkGrid, scale: int) -> "TwoGrids":
        """The finer grid of slices that were simulated on a network's pixels."""
        axes = grid.slice_axis, grid.row_axis, grid.column_axis
        size, spacing, start = list(grid.volume.size), list(grid.volume.spacing), [0.0, 0.0, 0.0]
        flips = grid.row_flipped, grid.column_flipped
        for (axis, centre, n, mm), flip in zip(grid.axes(), flips, strict=True):
            along = 2 - axis
            # `centre` counts in the turned volume; its middle pixel is the same from either end.
            first = (grid.volume.shape[axis] - 1 - centre if flip else centre) - (n - 1) / 2 * grid.pixel_mm / mm
            size[along], spacing[along], start[along] = n, grid.pixel_mm, first
        origin = grid.volume.to_mm(np.array([start]))[0]
        low = VolumeGeometry(_three(size), _three(spacing), _three(origin.tolist()), grid.volume.direction)
        return cls.above(low, scale, axes, flipped=flips)

    @classmethod
    def of_matrix(
        cls, grid: NetworkGrid, matrix: tuple[int, int], fov_mm: tuple[float, float], scale: int
    ) -> "TwoGrids":
        """The finer grid of slices (ky, kx) that a scanner measured, see recon.acquired: pixel n // 2 of either grid
        lies in the middle of the field of view."""
        own = grid.volume
        spacing = (fov_mm[1] / matrix[1], fov_mm[0] / matrix[0], own.spacing[2])
        middle = own.to_mm(np.array([[own.size[0] // 2, own.size[1] // 2, 0.0]]))[0]
        cosines = np.array(own.direction).reshape(3, 3)
        origin = middle - cosines @ np.array([matrix[1] // 2 * spacing[0], matrix[0] // 2 * spacing[1], 0.0])
        low = VolumeGeometry((matrix[1], matrix[0], own.size[2]), spacing, _three(origin.tolist()), own.direction)
        (first, _), flips = orientation(low, 0)
        over = flips if first == 1 else flips[::-1]
        return cls.above(low, scale, (0, 1, 2), turned_over=(over[0], over[1]))

    @property
    def slices(self) -> int:
        """Number of slices."""
        return self.low.shape[self.axes[0]]

    @property
    def low_size(self) -> tuple[int, int]:
        """Rows and columns at the low resolution."""
        return self.low.shape[self.axes[1]], self.low.shape[self.axes[2]]

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Fine pixels along rows' and columns' axes."""
        return self.fine.spacing[2 - self.axes[1]], self.fine.spacing[2 - self.axes[2]]

    def turned(self, array: np.ndarray) -> np.ndarray:
        """View of a low or fine volume's array (z, y, x) as (slice, row, column) of k-space."""
        view = array.transpose(self.axes)
        return view[:, :: -1 if self.flipped[0] else 1, :: -1 if self.flipped[1] else 1]

    def padded(self, planes: np.ndarray) -> np.ndarray:
        """Fine planes (n, rows, columns) of `turned`, continued to multiples of the scale."""
        return np.pad(planes, ((0, 0), *self._ends()), mode="edge") if any(self.padding) else planes

    def cropped(self, planes: np.ndarray) -> np.ndarray:
        """The inverse of `padded`."""
        (top, bottom), (left, right) = self._ends()
        rows, columns = planes.shape[-2:]
        return planes[..., top : rows - bottom, left : columns - right]

    def report(self) -> dict[str, Any]:
        """What a run record keeps."""
        return {
            "slice_axis": "zyx"[self.axes[0]],
            "phase_encoding_axis": "zyx"[self.axes[2]],
            "slices": self.slices,
            "scale": self.scale,
            "low": self.low.to_dict(),
            "fine": self.fine.to_dict(),
            "continued_pixels": list(self.padding),
        }

    def _ends(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Continued pixels before and after the rows and the columns of `turned`."""
        ends = [(more, 0) if flip else (0, more) for more, flip in zip(self.padding, self.flipped, strict=True)]
        return ends[0], ends[1]


def _three(values: Any) -> Any:
    return cast(tuple[Any, Any, Any], tuple(values))
