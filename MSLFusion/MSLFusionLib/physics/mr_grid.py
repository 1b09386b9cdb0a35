"""Cartesian MR between k-space as it was acquired and an image on any other grid: the network's.

The image of a scan is a trigonometric polynomial over its field of view; here it is evaluated at the pixels of another
grid with the same axes, instead of at its own. Nothing that was measured is resampled. Along each axis the transform
is a small dense matrix.
"""

import math

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.masks import PointMask, SamplingMask
from MSLFusionLib.physics.mr import CartesianMR


class GridMR(CartesianMR):
    """CartesianMR (which see) whose image lies on a grid of its own.

    matrix: rows and columns (ky, kx) of k-space. rows, columns: for each row and column of the image its position
    along ky and kx, in pixels of the acquisition (field of view / matrix), whose pixel 0 is the first of its own
    image; what lies outside the field of view is zero. transposed: image rows run along kx. coil_maps: on the image's
    grid (coils, H, W). Where the grids coincide this is CartesianMR.
    """

    def __init__(
        self,
        mask: SamplingMask | PointMask,
        matrix: tuple[int, int],
        rows: np.ndarray,
        columns: np.ndarray,
        coil_maps: Tensor | None = None,
        convention: str = "centred-ortho",
        transposed: bool = False,
    ) -> None:
        self.matrix = matrix
        self.transposed = transposed
        self.image_shape = (len(rows), len(columns))
        along = (columns, rows) if transposed else (rows, columns)
        self._phases = [_phase(positions, n, convention) for positions, n in zip(along, matrix, strict=True)]
        self._inside = [_inside(positions, n) for positions, n in zip(along, matrix, strict=True)]
        self._spacing = [_step(positions) for positions in along]
        self._scale = 1.0 if convention == "official" else 1 / math.sqrt(matrix[0] * matrix[1])
        self._matrices: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}
        super().__init__(mask, coil_maps, convention)
        if mask.width != matrix[1]:
            raise InputError(f"A mask of {mask.width} columns does not fit k-space of {matrix[1]} columns.")

    def _to_kspace(self, image: Tensor) -> Tensor:
        if tuple(image.shape[-2:]) != self.image_shape:
            raise InputError(f"Images of shape {tuple(image.shape)} do not fit this grid of {self.image_shape}.")
        image = image.mT if self.transposed else image
        image = image.to(torch.complex128 if image.dtype in (torch.float64, torch.complex128) else torch.complex64)
        down, across = self._evaluation(image)
        area = self._spacing[0] * self._spacing[1]
        return (down.conj().mT @ image @ across.conj()) * (self._scale * area)

    def _transpose(self, kspace: Tensor) -> Tensor:
        area = self._spacing[0] * self._spacing[1]
        return self._evaluated(kspace) * (self._scale * area)

    def _to_image(self, kspace: Tensor) -> Tensor:
        return self._evaluated(kspace) / (self._scale * self.matrix[0] * self.matrix[1])

    def _evaluated(self, kspace: Tensor) -> Tensor:
        if tuple(kspace.shape[-2:]) != self.matrix:
            raise InputError(f"k-space of shape {tuple(kspace.shape)} does not fit a matrix of {self.matrix}.")
        down, across = self._evaluation(kspace)
        image = down @ kspace.to(down.dtype) @ across.mT
        return image.mT if self.transposed else image

    def _evaluation(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Matrices (positions, k) that evaluate the polynomial along each axis, zero outside the field of view."""
        dtype = torch.complex128 if like.dtype in (torch.float64, torch.complex128) else torch.complex64
        key = like.device, dtype
        if key not in self._matrices:
            pair = [
                torch.from_numpy(phase * inside[:, None]).to(like.device, dtype)
                for phase, inside in zip(self._phases, self._inside, strict=True)
            ]
            self._matrices[key] = pair[0], pair[1]
        return self._matrices[key]

    def _checked_maps(self, maps: Tensor) -> Tensor:
        if maps.ndim not in (3, 4) or tuple(maps.shape[-2:]) != self.image_shape:
            raise InputError(f"Coil maps of shape {tuple(maps.shape)} do not fit a grid of {self.image_shape}.")
        return maps if maps.ndim == 4 else maps.unsqueeze(0)


def _phase(positions: np.ndarray, n: int, convention: str) -> np.ndarray:
    origin = 0 if convention == "official" else n // 2
    return np.exp(2j * np.pi / n * np.outer(np.asarray(positions, float) - origin, np.arange(n) - n // 2))


def _inside(positions: np.ndarray, n: int) -> np.ndarray:
    return (np.asarray(positions) >= -0.5 - 1e-6) & (np.asarray(positions) < n - 0.5 + 1e-6)


def _step(positions: np.ndarray) -> float:
    """The image's pixel in pixels of the acquisition."""
    if len(positions) < 2:
        return 1.0
    return float(abs(positions[-1] - positions[0]) / (len(positions) - 1))
