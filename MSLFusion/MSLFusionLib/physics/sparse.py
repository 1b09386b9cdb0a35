"""Sparse matrices between image and sinogram, stored or made block by block, with exact transposes for autograd.

torch's own backward of a sparse product is 30 times slower than a product with a stored transpose, and 64-bit indices
cost three times the time of 32-bit ones: hence the explicit transpose and the CSR matrices made by hand here.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

_TILE = 16
"""Slices multiplied at once: fewer waste the reading of the matrix, more fall out of the cache."""


def csr_matrix(counts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A CSR tensor with 32-bit indices from the number of entries of each row and the entries in order."""
    offsets = torch.zeros(len(counts) + 1, dtype=torch.int32, device=counts.device)
    offsets[1:] = torch.cumsum(counts, 0)
    return _csr(offsets, columns, values, shape)


def transposed(matrix: Tensor) -> Tensor:
    """The transpose of a CSR tensor, as a CSR tensor with 32-bit indices."""
    rows, columns = matrix.shape
    if matrix.device.type == "cpu":
        # A counting sort, which torch does not offer.
        parts = (matrix.values().numpy(), matrix.col_indices().numpy(), matrix.crow_indices().numpy())
        flipped = scipy.sparse.csr_matrix(parts, shape=(rows, columns)).tocsc()
        flipped_parts = (flipped.indptr, flipped.indices, flipped.data)
        offsets, indices, values = (torch.from_numpy(np.ascontiguousarray(part)) for part in flipped_parts)
        return _csr(offsets.int(), indices.int(), values, (columns, rows))
    lengths = matrix.crow_indices().diff().long()
    row = torch.repeat_interleave(torch.arange(rows, dtype=torch.int32, device=matrix.device), lengths)
    column, order = torch.sort(matrix.col_indices(), stable=True)
    counts = torch.bincount(column, minlength=columns)
    return csr_matrix(counts, row[order], matrix.values()[order], (columns, rows))


def matrix_bytes(matrix: Tensor) -> int:
    """The memory of a CSR tensor."""
    parts = (matrix.crow_indices(), matrix.col_indices(), matrix.values())
    return sum(part.numel() * part.element_size() for part in parts)


class ViewBlocks:
    """A linear map from images (N, pixels) to view data (N, views * bins) and its transpose, in blocks of views.

    build(first, last): the matrix of the views first .. last - 1; it has the view data along its rows when
    `rows_are_views`, the pixels otherwise. stored: keep the matrices (then one block of all views is best), or make
    them at every use.
    """

    def __init__(
        self,
        build: Callable[[int, int], Tensor],
        rows_are_views: bool,
        views: int,
        views_per_block: int,
        stored: bool,
    ) -> None:
        self._build = build
        self._rows_are_views = rows_are_views
        self._blocks = [(first, min(first + views_per_block, views)) for first in range(0, views, views_per_block)]
        self._views = views
        self._stored: dict[tuple[int, bool], Tensor] | None = {} if stored else None

    @property
    def stored_bytes(self) -> int:
        """The memory of the matrices kept so far."""
        return sum(matrix_bytes(matrix) for matrix in (self._stored or {}).values())

    def to_views(self, pixels: Tensor) -> Tensor:
        """(N, pixels) -> (N, views * bins), differentiable."""
        return _ToViews.apply(pixels, self)

    def to_pixels(self, data: Tensor) -> Tensor:
        """(N, views * bins) -> (N, pixels): the transpose of `to_views`, differentiable."""
        return _ToPixels.apply(data, self)

    def multiply_views(self, pixels: Tensor) -> Tensor:
        parts = [_product(self._matrix(first, last, True), pixels) for first, last in self._blocks]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def multiply_pixels(self, data: Tensor) -> Tensor:
        bins = data.shape[1] // self._views
        first, last = self._blocks[0]
        total = _product(self._matrix(first, last, False), data[:, first * bins : last * bins])
        for first, last in self._blocks[1:]:
            total += _product(self._matrix(first, last, False), data[:, first * bins : last * bins])
        return total

    def _matrix(self, first: int, last: int, rows_are_views: bool) -> Tensor:
        if self._stored is None:
            matrix = self._build(first, last)
            return matrix if rows_are_views == self._rows_are_views else transposed(matrix)
        key = (first, rows_are_views)
        if key not in self._stored:
            if rows_are_views == self._rows_are_views:
                self._stored[key] = self._build(first, last)
            else:
                self._stored[key] = transposed(self._matrix(first, last, self._rows_are_views))
        return self._stored[key]


class _ToViews(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, blocks: ViewBlocks) -> Tensor:
        ctx.blocks = blocks
        return blocks.multiply_views(pixels)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _ToPixels.apply(gradient, ctx.blocks), None


class _ToPixels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, data: Tensor, blocks: ViewBlocks) -> Tensor:
        ctx.blocks = blocks
        return blocks.multiply_pixels(data)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _ToViews.apply(gradient, ctx.blocks), None


def _product(matrix: Tensor, data: Tensor) -> Tensor:
    """(N, columns) -> (N, rows), in tiles of slices of about equal size."""
    out = torch.empty((data.shape[0], matrix.shape[0]), dtype=data.dtype, device=data.device)
    tiles = max(1, math.ceil(data.shape[0] / _TILE))
    for part, target in zip(data.tensor_split(tiles), out.tensor_split(tiles), strict=True):
        target.copy_((matrix @ part.t().contiguous()).t())
    return out


def _csr(offsets: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
        return torch.sparse_csr_tensor(offsets, columns, values, size=shape, check_invariants=False)
