"""Painting tissues onto points in space, one over the other, with soft edges."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from MSLFusionLib.phantom.shapes import Array, Point
from MSLFusionLib.phantom.tissues import TissueTable

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Patch:
    """Some points of a canvas: their indices and coordinates; `side` is |x|."""

    index: Index
    x: Array
    y: Array
    z: Array

    @property
    def side(self) -> Array:
        """Distance from the midline, so that a paired structure is painted once."""
        return np.abs(self.x)

    def take(self, chosen: NDArray[np.bool_]) -> "Patch":
        """The points where `chosen` holds."""
        return Patch(self.index[chosen], self.x[chosen], self.y[chosen], self.z[chosen])

    def near(self, low: Point, high: Point, paired: bool = False) -> "Patch":
        """The points within a box; paired: the box lies on both sides of the midline."""
        if not len(self.z) or self.z.max() < low[2] or self.z.min() > high[2]:
            return self.take(np.zeros(len(self.z), bool))
        x = self.side if paired else self.x
        chosen = (self.z > low[2]) & (self.z < high[2]) & (self.y > low[1]) & (self.y < high[1])
        return self.take(chosen & (x > low[0]) & (x < high[0]))

    def __len__(self) -> int:
        return len(self.index)


class Canvas:
    """Values of n points in four channels (CT, T1, T2, PET) and their tissue.

    edge_mm: width of the soft edge, about one voxel, which stands for the partial-volume effect.
    """

    def __init__(self, n: int, table: TissueTable, edge_mm: float) -> None:
        self.table = table
        self.edge_mm = edge_mm
        self.values = np.repeat(table.values[table.index("air")][:, None], n, axis=1)
        self.tissue = np.full(n, table.index("air"), np.uint8)

    def paint(self, patch: Patch, name: str, distance: Array, softness: float = 1.0, cover: float = 1.0) -> None:
        """Cover the points of `patch` where `distance` < 0 with tissue `name`.

        softness multiplies the edge's width; cover < 1 lets what is beneath shine through (mixtures).
        """
        if not len(patch):
            return
        alpha = np.clip(0.5 - distance * (1.0 / (self.edge_mm * softness)), 0.0, 1.0)
        touched = np.flatnonzero(alpha)
        if not len(touched):
            return
        alpha = alpha[touched]
        where = patch.index[touched]
        row = self.table.index(name)
        old = self.values[:, where]
        self.values[:, where] = old + (alpha * cover) * (self.table.values[row][:, None] - old)
        if cover >= 0.5:
            self.tissue[where[alpha >= 0.5]] = row

    def is_any(self, patch: Patch, names: tuple[str, ...]) -> NDArray[np.bool_]:
        """Which points of `patch` are covered by one of the tissues `names`."""
        rows = np.array([self.table.index(name) for name in names], np.uint8)
        return np.isin(self.tissue[patch.index], rows)
