"""Lambda maps on a coarse grid of cells, as they become planes on the CT's grid and what the network then sees."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from MSLFusionLib.recon.resampling import axis_matrix

if TYPE_CHECKING:
    from MSLFusionLib.recon.grid import NetworkGrid

CELL = 4
"""Pixels of the network along a side of a cell: those of its deepest features."""


class MapGrid:
    """Maps of cells (h, w), each CELL x CELL pixels of the network, under the planes of a volume.

    The network sees a map the way it sees one from a file: drawn on the CT's grid, beyond whose border its values go
    on. What is found with this in between is exactly what the user gets. Matrices, since they have exact gradients
    that are the same each time on a GPU, too.
    """

    def __init__(self, grid: "NetworkGrid", device: torch.device) -> None:
        self.shape = (-(-grid.size[0] // CELL), -(-grid.size[1] // CELL))
        pairs = [
            _along(centre, n, mm, grid.pixel_mm, grid.volume.shape[axis], cells)
            for (axis, centre, n, mm), cells in zip(grid.axes(), self.shape, strict=True)
        ]
        self._planes = [plane for plane, _ in pairs]
        rows, columns = (torch.from_numpy(network).to(device) for _, network in pairs)
        self._rows, self._columns = rows, columns

    def network(self, lam: Tensor) -> Tensor:
        """The map (h, w) as the network sees it, (1, 1, H, W), with gradients."""
        seen = (self._rows @ lam @ self._columns.T).clamp(0.0, 1.0)
        return seen[None, None]

    def plane(self, lam: Tensor) -> np.ndarray:
        """The map (h, w) on a slice of the turned volume, float32 (rows, columns) in [0, 1]."""
        rows, columns = self._planes
        return np.clip(rows @ lam.detach().cpu().numpy() @ columns.T, 0.0, 1.0).astype(np.float32)


def _along(
    centre: float, pixels: int, voxel_mm: float, pixel_mm: float, voxels: int, cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """Matrices along one axis: from cells to voxels, and by these to the network's pixels; rows sum to 1."""
    to_network = axis_matrix(
        centre + (np.arange(pixels) - (pixels - 1) / 2) * (pixel_mm / voxel_mm), voxels, pixel_mm / voxel_mm, True
    )
    at = ((np.arange(voxels) - centre) * (voxel_mm / pixel_mm) + (pixels - 1) / 2 + 0.5) / CELL - 0.5
    at = np.clip(at, 0.0, cells - 1.0)
    low = np.minimum(np.floor(at).astype(int), max(cells - 2, 0))
    share = at - low
    planes = np.zeros((voxels, cells), np.float32)
    planes[np.arange(voxels), low] = 1.0 - share
    planes[np.arange(voxels), np.minimum(low + 1, cells - 1)] += share
    network = sparse.csr_matrix(to_network) @ planes
    return planes, np.ascontiguousarray(network, dtype=np.float32)
