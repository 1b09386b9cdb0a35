"""Smallest and largest value of volumes, found in small portions between the events of the application."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import qt
from vtk.util.numpy_support import vtk_to_numpy

_PORTION = 2**21
"""Voxels in one turn of the event loop: a few milliseconds."""
_KEPT = 8

Key = tuple[str, int]
"""A node's ID and the modification time of its image."""


@dataclass(frozen=True)
class Values:
    """Range of all voxels; not finite when any voxel is NaN or infinite."""

    low: float
    high: float

    @property
    def finite(self) -> bool:
        """Whether all voxels are numbers."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(eq=False)
class _Scan:
    key: Key
    data: Any
    voxels: np.ndarray
    done: int = 0
    low: float = math.inf
    high: float = -math.inf


class VoxelValues:
    """Looks at each image once. changed: called when one became known."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._known: dict[Key, Values] = {}
        self._scans: list[_Scan] = []

    def of(self, node: Any) -> Values | None:
        """The values of a scalar volume node with voxels; None while they are not known yet."""
        data = node.GetImageData()
        key = (node.GetID(), data.GetMTime())
        if key not in self._known and all(scan.key != key for scan in self._scans):
            self._scans = [scan for scan in self._scans if scan.key[0] != key[0]]
            self._scans.append(_Scan(key, data, vtk_to_numpy(data.GetPointData().GetScalars()).ravel()))
            if len(self._scans) == 1:
                qt.QTimer.singleShot(0, self._turn)
        return self._known.get(key)

    def forget(self) -> None:
        """Look at nothing any more."""
        self._known.clear()
        self._scans.clear()

    def _turn(self) -> None:
        """One portion of the first image that waits."""
        if not self._scans:
            return
        scan = self._scans[0]
        if scan.data.GetMTime() == scan.key[1] and scan.done < len(scan.voxels):
            portion = scan.voxels[scan.done : scan.done + _PORTION]
            # A NaN is the smallest and the largest value of a portion; so it must be of all.
            scan.low = float(np.minimum(scan.low, portion.min()))
            scan.high = float(np.maximum(scan.high, portion.max()))
            scan.done += len(portion)
        else:
            self._scans.remove(scan)
            if scan.done == len(scan.voxels):
                while len(self._known) >= _KEPT:
                    self._known.pop(next(iter(self._known)))
                self._known[scan.key] = Values(scan.low, scan.high)
            self._changed()
        if self._scans:
            qt.QTimer.singleShot(0, self._turn)
