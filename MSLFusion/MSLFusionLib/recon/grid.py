"""From a CT volume of any size, spacing and direction to the network's slices, and back.

Slices are taken along the acquisition axis (the array's first axis, unless another one is clearly coarser) and
turned so that the network always sees the same orientation: axial rows run to posterior and columns to the
patient's left; coronal and sagittal rows run to inferior. In the plane the network has square pixels of a fixed
number; where the body does not fit, the pixel is enlarged, and what a fixed pixel leaves outside is reported.
Everything works on blocks of slices, so that memory does not depend on the number of slices.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy import sparse

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.resampling import axis_matrix, resample_planes

_COARSER = 1.5
_SAME_PIXEL = 1e-4
_PREFERENCE = {2: 0, 1: 1, 0: 2}
"""Rows prefer the patient axis S (2), then P (1), then L (0)."""


@dataclass(frozen=True)
class NetworkGrid:
    """How network slices lie in a volume.

    volume: the grid of the volume. slice_axis, row_axis, column_axis: axes of the (z, y, x) array that the slice
    number, the network's rows and its columns run along; row_flipped, column_flipped: they run against it.
    size: rows and columns of a network slice. pixel_mm: its isotropic pixel. centre: the network slice's centre
    as continuous (row, column) index in the turned volume.
    """

    volume: VolumeGeometry
    slice_axis: int
    row_axis: int
    column_axis: int
    row_flipped: bool
    column_flipped: bool
    size: tuple[int, int]
    pixel_mm: float
    centre: tuple[float, float]

    @classmethod
    def for_volume(
        cls,
        ct: sitk.Image,
        body: np.ndarray | None = None,
        size: tuple[int, int] | int = 384,
        pixel_mm: float = 256.0 / 384.0,
        fixed_pixel: bool = False,
        job: Job = NO_JOB,
    ) -> "NetworkGrid":
        """The grid for a volume whose body mask (z, y, x) must be seen (None: all of the volume).

        The pixel is enlarged, with a warning, when the body is larger than the field of view, unless
        `fixed_pixel`; then a warning tells the share of the body that is left out. Raises InputError for a pixel
        or size that is not possible.
        """
        if not (np.isfinite(pixel_mm) and pixel_mm > 0):
            raise InputError(f"The network's pixel must be a positive number of mm, not {pixel_mm}.")
        shape = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        if min(shape) < 1:
            raise InputError(f"The network's slice size {shape} is not possible.")
        volume = VolumeGeometry.of(ct)
        slice_axis = slice_axis_of(volume)
        axes, flips = orientation(volume, slice_axis)
        spans = [_span(body, axis, flip, volume) for axis, flip in zip(axes, flips, strict=True)]
        spacings = [volume.spacing[2 - axis] for axis in axes]
        extents = [(last - first + 1) * mm for (first, last), mm in zip(spans, spacings, strict=True)]
        needed = max(extent / n for extent, n in zip(extents, shape, strict=True))
        pixel = pixel_mm
        if needed > pixel_mm * (1 + _SAME_PIXEL) and not fixed_pixel:
            pixel = needed
            job.warning(
                f"In-plane pixel enlarged from {pixel_mm:.2f} to {pixel:.2f} mm so that the "
                f"{max(extents):.0f} mm wide body fits the model's {shape[0]} x {shape[1]} slice."
            )
        centre = [
            _centre(volume.shape[axis], span, n, pixel / mm)
            for axis, span, n, mm in zip(axes, spans, shape, spacings, strict=True)
        ]
        grid = cls(volume, slice_axis, axes[0], axes[1], flips[0], flips[1], shape, pixel, (centre[0], centre[1]))
        outside = grid.fraction_outside(body)
        if outside > 0:
            job.warning(
                f"{100 * outside:.1f} % of the body lies outside the {shape[0] * pixel:.0f} mm field of view that "
                f"{pixel:.2f} mm pixels give and is filled with background."
            )
        return grid

    @classmethod
    def of_slices(cls, volume: VolumeGeometry) -> "NetworkGrid":
        """The grid whose slices are the volume's own, across its array's first axis, turned to the network's
        orientation: nothing is interpolated. Raises InputError when its pixels are not square."""
        if abs(volume.spacing[0] / volume.spacing[1] - 1) > _SAME_PIXEL:
            raise InputError(f"Network slices need square pixels, not {volume.spacing[0]} x {volume.spacing[1]} mm.")
        axes, flips = orientation(volume, 0)
        size = volume.shape[axes[0]], volume.shape[axes[1]]
        centre = (size[0] - 1) / 2, (size[1] - 1) / 2
        return cls(volume, 0, axes[0], axes[1], flips[0], flips[1], size, volume.spacing[0], centre)

    @property
    def slices(self) -> int:
        """Number of slices."""
        return self.volume.shape[self.slice_axis]

    @property
    def spacing(self) -> tuple[float, float]:
        """The volume's spacing in mm along the network's rows' and columns' axes."""
        return self.volume.spacing[2 - self.row_axis], self.volume.spacing[2 - self.column_axis]

    @property
    def coincides(self) -> bool:
        """True when every network pixel is one voxel of the volume: nothing is interpolated."""
        offsets = [c - (n - 1) / 2 for c, n in zip(self.centre, self.size, strict=True)]
        same = all(abs(mm / self.pixel_mm - 1) < 1e-6 for mm in self.spacing)
        return same and all(abs(offset - round(offset)) < 1e-6 for offset in offsets)

    def turned(self, array: np.ndarray) -> np.ndarray:
        """View of a volume's array (z, y, x) as (slice, row, column) in the network's orientation."""
        view = array.transpose(self.slice_axis, self.row_axis, self.column_axis)
        return view[:, :: -1 if self.row_flipped else 1, :: -1 if self.column_flipped else 1]

    def to_network(self, block: np.ndarray, fill: float = 0.0, extend: bool = False) -> np.ndarray:
        """Network slices float32 (n, H, W) of `turned(volume)[k0:k1]`.

        Outside the volume they hold `fill`, or with `extend` the value at the volume's edge.
        """
        rows, columns = self._extended if extend else self._to
        return resample_planes(block, rows, columns, 0.0 if extend else fill)

    def from_network(self, slices: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """The inverse way: float32 (n, rows, columns) to be written into `turned(volume)[k0:k1]`.

        slices: (n, H, W). Voxels outside the network's field of view hold `fill`.
        """
        rows, columns = self._from
        return resample_planes(slices, rows, columns, fill)

    def fraction_outside(self, body: np.ndarray | None) -> float:
        """Share of the body's voxels (all voxels for None) outside the network's field of view."""
        seen = [np.diff(matrix.indptr) > 0 for matrix in self._from]
        if seen[0].all() and seen[1].all():
            return 0.0
        if body is None:
            return float(1.0 - seen[0].mean() * seen[1].mean())
        per_pixel = np.count_nonzero(self.turned(body), axis=0)
        total = int(per_pixel.sum())
        inside = int(per_pixel[np.ix_(seen[0], seen[1])].sum())
        return 1.0 - inside / total if total else 0.0

    def to_mm(self, number: float, x_mm: np.ndarray, y_mm: np.ndarray) -> np.ndarray:
        """Physical points (n, 3) in LPS of points in the plane of slice `number`: mm from the network slice's centre,
        x along its columns, y against its rows, as the scans of physics.geometry have them."""
        index = np.empty((len(x_mm), 3))
        index[:, 2 - self.slice_axis] = number
        turned = ((self.row_axis, self.row_flipped, -np.asarray(y_mm)), (self.column_axis, self.column_flipped, x_mm))
        for (axis, flipped, along), centre, mm in zip(turned, self.centre, self.spacing, strict=True):
            place = centre + np.asarray(along) / mm
            index[:, 2 - axis] = self.volume.shape[axis] - 1 - place if flipped else place
        return self.volume.to_mm(index)

    def report(self, body: np.ndarray | None = None) -> dict[str, Any]:
        """What a run record keeps about the grid: axis, pixel, field of view, share of the body outside."""
        return {
            "slice_axis": "zyx"[self.slice_axis],
            "slices": self.slices,
            "size": list(self.size),
            "pixel_mm": self.pixel_mm,
            "field_of_view_mm": [n * self.pixel_mm for n in self.size],
            "interpolated": not self.coincides,
            "body_fraction_outside": self.fraction_outside(body),
        }

    @cached_property
    def _to(self) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        return self._matrices(extend=False)

    @cached_property
    def _extended(self) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        return self._matrices(extend=True)

    def _matrices(self, extend: bool) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """Matrices from the volume's rows and columns to the network's."""
        pair = []
        for axis, centre, n, mm in self.axes():
            ratio = self.pixel_mm / mm
            positions = centre + (np.arange(n) - (n - 1) / 2) * ratio
            pair.append(axis_matrix(positions, self.volume.shape[axis], ratio, extend))
        return pair[0], pair[1]

    @cached_property
    def _from(self) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """Matrices from the network's rows and columns to the volume's."""
        pair = []
        for axis, centre, n, mm in self.axes():
            ratio = mm / self.pixel_mm
            positions = (np.arange(self.volume.shape[axis]) - centre) * ratio + (n - 1) / 2
            pair.append(axis_matrix(positions, n, ratio))
        return pair[0], pair[1]

    def axes(self) -> list[tuple[int, float, int, float]]:
        """Of the network's rows and columns: array axis, centre as in `centre`, network pixels, voxel in mm."""
        return list(zip((self.row_axis, self.column_axis), self.centre, self.size, self.spacing, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, read back by `from_dict`."""
        return {
            "volume": self.volume.to_dict(),
            "slice_axis": self.slice_axis,
            "row_axis": self.row_axis,
            "column_axis": self.column_axis,
            "row_flipped": self.row_flipped,
            "column_flipped": self.column_flipped,
            "size": list(self.size),
            "pixel_mm": self.pixel_mm,
            "centre": list(self.centre),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "NetworkGrid":
        """The grid described by `to_dict`; raises InputError when the description is not usable."""
        try:
            volume = VolumeGeometry.from_dict(data["volume"])
            axes = [int(data[key]) for key in ("slice_axis", "row_axis", "column_axis")]
            flips = [bool(data[key]) for key in ("row_flipped", "column_flipped")]
            rows, columns = (int(n) for n in data["size"])
            centre_row, centre_column = (float(c) for c in data["centre"])
            pixel = float(data["pixel_mm"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"The description of the network's grid is damaged: {error!r}.") from error
        possible = sorted(axes) == [0, 1, 2] and min(rows, columns) >= 1 and max(rows, columns) <= 8192
        if not possible or not np.isfinite([pixel, centre_row, centre_column]).all() or pixel <= 0:
            raise InputError("The description of the network's grid holds values that are not possible.")
        return cls(
            volume, axes[0], axes[1], axes[2], flips[0], flips[1], (rows, columns), pixel,
            (centre_row, centre_column),
        )  # fmt: skip


def slice_axis_of(volume: VolumeGeometry) -> int:
    """The acquisition axis: the array's first axis, or the one whose spacing is more than 1.5 times both others."""
    spacing = volume.spacing[::-1]
    coarsest = int(np.argmax(spacing))
    others = [mm for axis, mm in enumerate(spacing) if axis != coarsest]
    return coarsest if spacing[coarsest] > _COARSER * max(others) else 0


def orientation(volume: VolumeGeometry, slice_axis: int) -> tuple[list[int], list[bool]]:
    """Row and column axes of the array and whether the network runs against them."""
    first, second = (axis for axis in range(3) if axis != slice_axis)
    cosines = np.array(volume.direction).reshape(3, 3)
    along = {axis: cosines[:, 2 - axis] for axis in (first, second)}
    patient = {axis: int(np.argmax(np.abs(vector))) for axis, vector in along.items()}
    if patient[first] == patient[second]:
        return [first, second], [False, False]
    rows, columns = sorted((first, second), key=lambda axis: _PREFERENCE[patient[axis]])
    flips = []
    for axis in (rows, columns):
        towards = along[axis][patient[axis]]
        # Rows and columns run to L and P; along the body's axis they run from head to foot.
        flips.append(bool(towards > 0) if patient[axis] == 2 else bool(towards < 0))
    return [rows, columns], flips


def _span(body: np.ndarray | None, axis: int, flipped: bool, volume: VolumeGeometry) -> tuple[int, int]:
    """First and last index of the body along an axis, counted in the network's direction."""
    n = volume.shape[axis]
    if body is None:
        return 0, n - 1
    if body.shape != volume.shape:
        raise InputError(f"The body mask has shape {body.shape}, the volume {volume.shape}.")
    hit = np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis)))
    if not len(hit):
        raise InputError("The body mask is empty: there is nothing to reconstruct.")
    first, last = int(hit[0]), int(hit[-1])
    return (n - 1 - last, n - 1 - first) if flipped else (first, last)


def _centre(n: int, span: tuple[int, int], pixels: int, ratio: float) -> float:
    """Index on which the network's slice is centred: `n` voxels, `pixels` pixels of `ratio` voxels each.

    A volume that fits is centred itself; otherwise the slice is centred on the body's bounding box and kept
    inside the volume. With equal pixels the centre is moved so that pixels and voxels coincide.
    """
    centre = (n - 1) / 2
    spare = n - pixels * ratio
    if spare > 1e-6:
        centre = float(np.clip((span[0] + span[1]) / 2, centre - spare / 2, centre + spare / 2))
    if abs(ratio - 1) < _SAME_PIXEL:
        offset = (pixels - 1) / 2
        centre = float(np.floor(centre - offset + 0.5) + offset)
    return centre
