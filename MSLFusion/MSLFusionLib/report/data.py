"""What a report is made of, and its volumes as pictures the way a reader expects them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk


@dataclass(frozen=True)
class ReportData:
    """Everything `write_report` draws. All volumes lie on one grid and are in [0, 1] (CT in network units).

    record: the content of run.json (inputs, parameters, sampling, versions, device, times).
    ct, mr: the two images that the sensors were simulated from, None where there is none.
    mr_unregistered: the MR on the CT's grid as its file places it, to show what registration did.
    trust_maps: by kind, see recon.trust: "residual-ct", "uncertainty-mr", ...
    sensor_images: by sensor_names: what the network saw, where it saw them.
    hybrids: volumes by lambda; hybrid_map: the volume with lambda from `lambda_map`.
    metrics: rows as `pipeline.measure` gives them.
    slice_axis: array axis (0 is z) across which the network's slices lie.
    focus: a point in voxel indices (i, j, k) that the pictures should cut, None for the middle of the body.
    sinogram, kspace: of the slice that `focus` lies in: line integrals (views, bins), and k-space (ky, kx).
    model_card: the checkpoint's card.
    notes: sentences that belong to this run, such as what lay outside the field of view.
    """

    title: str
    record: Mapping[str, Any]
    hybrids: Mapping[float, sitk.Image]
    ct: sitk.Image | None = None
    mr: sitk.Image | None = None
    mr_unregistered: sitk.Image | None = None
    sensor_images: Mapping[str, sitk.Image] = field(default_factory=dict)
    hybrid_map: sitk.Image | None = None
    lambda_map: sitk.Image | None = None
    metrics: Sequence[Mapping[str, Any]] = ()
    slice_axis: int = 0
    focus: tuple[int, int, int] | None = None
    sinogram: np.ndarray | None = None
    kspace: np.ndarray | None = None
    model_card: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    trust_maps: Mapping[str, sitk.Image] = field(default_factory=dict)


class Viewer:
    """Slices of volumes on one grid, turned as radiologists look at them.

    Axial: front up, the patient's left at the right. Coronal and sagittal: head up; sagittal looks left.

    grid: any volume of that grid. slice_axis, focus: as in `ReportData`.
    """

    def __init__(self, grid: sitk.Image, slice_axis: int, focus: tuple[int, int, int] | None) -> None:
        size = grid.GetSize()
        point = grid.TransformContinuousIndexToPhysicalPoint([float(f) for f in (focus or [(n - 1) / 2 for n in size])])
        direction = np.array(grid.GetDirection()).reshape(3, 3)
        turning = sitk.DICOMOrientImageFilter()
        turning.SetDesiredCoordinateOrientation("LPS")
        turned = turning.Execute(grid)
        self._order = [2 - axis for axis in reversed(turning.GetPermuteOrder())]
        self._steps = tuple(slice(None, None, -1 if flip else 1) for flip in reversed(turning.GetFlipAxes()))
        index = turned.TransformPhysicalPointToContinuousIndex(point)
        self._focus = [int(np.clip(round(i), 0, n - 1)) for i, n in zip(index, turned.GetSize(), strict=True)]
        self._spacing = turned.GetSpacing()
        self.size = turned.GetSize()
        self.axis = int(np.argmax(np.abs(direction[:, 2 - slice_axis])))
        """The patient axis across which the network's slices lie: 0 left-right, 1 front-back, 2 head-feet."""

    @property
    def plane_name(self) -> str:
        """What the network's slices are called."""
        return ("sagittal", "coronal", "axial")[self.axis]

    @property
    def position(self) -> int:
        """The number of the slice that the pictures show, counted from 0 along `axis`."""
        return self._focus[self.axis]

    def positions(self, count: int) -> list[int]:
        """At most `count` evenly spaced slice numbers, `position` among them, the outermost tenth left out."""
        n = self.size[self.axis]
        first, last = round(0.1 * (n - 1)), round(0.9 * (n - 1))
        spread = np.linspace(first, last, min(count, last - first + 1)).round().astype(int)
        spread[np.argmin(np.abs(spread - self.position))] = self.position
        return sorted(set(spread.tolist()))

    def cut(self, volume: sitk.Image, position: int | None = None, axis: int | None = None) -> np.ndarray:
        """A 2-D picture (rows from the top) of `volume` across patient axis `axis`, at `position`."""
        axis = self.axis if axis is None else axis
        position = self._focus[axis] if position is None else position
        array = sitk.GetArrayViewFromImage(volume).transpose(self._order)[self._steps]
        picture = np.take(array, position, axis=2 - axis).astype(np.float32)
        return picture if axis == 2 else picture[::-1]

    def extent(self, axis: int | None = None) -> tuple[float, float]:
        """Width and height in mm of what `cut` returns."""
        axis = self.axis if axis is None else axis
        across, down = [k for k in range(3) if k != axis]
        return (
            self.size[across] * self._spacing[across],
            self.size[down] * self._spacing[down],
        )


def focus_of(mask: sitk.Image) -> tuple[int, int, int] | None:
    """The voxel (i, j, k) where the pictures should cut: the centre of gravity of a mask, None if it is empty."""
    places = np.argwhere(sitk.GetArrayViewFromImage(mask) > 0)
    if len(places) == 0:
        return None
    k, j, i = places.mean(axis=0).round().astype(int).tolist()
    return i, j, k
