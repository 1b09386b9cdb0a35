"""Parts of one measurement: some of its CT views and of its k-space samples left out at random, the rest as it was.

A reconstruction that hangs on single views or samples changes when they are left out; what it has of its own accord,
or from many of them together, does not. The centre of k-space is never touched, and of views and columns that lie
beside each other only one in a group is left out, so that each part is a measurement of the same kind.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.physics.ct import CTOperator
from MSLFusionLib.physics.masks import PointMask, SamplingMask
from MSLFusionLib.recon.simulate import Scanners, SensorBatch

GROUP = 4
"""Of so many neighbours one is left out."""


class SomeViews:
    """A CT operator of which only the views `kept` (bool, one each) were measured; sinograms keep their shape.

    It works with the whole scan's matrices: making those of each part anew would take longer than using them.
    """

    def __init__(self, operator: CTOperator, kept: np.ndarray, device: torch.device) -> None:
        self.geometry = operator.geometry
        self.name = operator.name
        self.device = getattr(operator, "device", device)
        self._operator = operator
        self._views = torch.from_numpy(kept.astype(np.float32))[:, None].to(device)
        self._share = float(kept.mean())

    def forward(self, image: Tensor) -> Tensor:
        """Line integrals (N, 1, views, bins); 0 where a view was left out."""
        return self._operator.forward(image) * self._views

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose of `forward`."""
        return self._operator.adjoint(sinogram * self._views)

    def fbp(self, sinogram: Tensor, official: bool = False) -> Tensor:
        """Filtered backprojection of the views that are left, each counting for a little more."""
        return self._operator.fbp(sinogram * self._views, official) / self._share


def some_views(angles: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Which views (bool) to keep: in the order of their angles, one of GROUP neighbours is left out."""
    order = np.argsort(np.mod(angles, 2 * np.pi), kind="stable")
    kept = np.ones(len(angles), bool)
    kept[order[_one_of_each(len(order), random)]] = False
    return kept


def some_samples(mask: SamplingMask | PointMask, random: np.random.Generator) -> SamplingMask | PointMask:
    """The mask without one of GROUP neighbouring columns, or points, outside of the measured centre."""
    if isinstance(mask, PointMask):
        pattern = mask.pattern.copy()
        outer = np.flatnonzero(pattern & ~_inner_square(pattern))
        pattern.flat[outer[_one_of_each(len(outer), random)]] = False
        return PointMask(pattern)
    columns = mask.columns.copy()
    outer = np.flatnonzero(columns & ~_inner_columns(columns))
    columns[outer[_one_of_each(len(outer), random)]] = False
    return replace(mask, columns=columns)


def part_of(scanners: Scanners, data: SensorBatch, random: np.random.Generator) -> tuple[Scanners, SensorBatch]:
    """Scanners that measured a random part of `data`, and that part."""
    ct, mr, sinogram, kspace = scanners.ct, scanners.mr, data.sinogram, data.kspace
    if ct is not None and sinogram is not None:
        kept = some_views(np.array(ct.geometry.angles), random)
        ct = SomeViews(ct, kept, sinogram.device)
        sinogram = sinogram * torch.from_numpy(kept).to(sinogram.device)[:, None]
    if mr is not None and kspace is not None:
        mask = some_samples(mr.mask, random)
        mr = mr.with_mask(mask)
        kspace = kspace * torch.tensor(mask.pattern, device=kspace.device)
    return replace(scanners, ct=ct, mr=mr), replace(data, sinogram=sinogram, kspace=kspace)


def _one_of_each(count: int, random: np.random.Generator) -> np.ndarray:
    """Of places 0 to count - 1, one in each full group of GROUP, chosen at random; groups begin anywhere."""
    groups = count // GROUP
    places = random.integers(GROUP, size=groups) + GROUP * np.arange(groups)
    return (places + random.integers(count)) % count if groups else places


def _inner_columns(columns: np.ndarray) -> np.ndarray:
    """The columns around zero frequency that were measured without a gap."""
    gaps = np.flatnonzero(~columns)
    middle = len(columns) // 2
    low = max((gap for gap in gaps if gap <= middle), default=-1)
    high = min((gap for gap in gaps if gap > middle), default=len(columns))
    inner = np.zeros(len(columns), bool)
    inner[low + 1 : high] = True
    return inner


def _inner_square(pattern: np.ndarray) -> np.ndarray:
    """The square around zero frequency that was measured without a gap."""
    row, column = (size // 2 for size in pattern.shape)
    inner = np.zeros(pattern.shape, bool)
    for radius in range(min(row, column)):
        square = slice(row - radius, row + radius + 1), slice(column - radius, column + radius + 1)
        if not pattern[square].all():
            break
        inner[square] = True
    return inner
