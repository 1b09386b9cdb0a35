"""Sparse matrices between image and sinogram, stored or made block by block, with exact transposes for autograd.

torch's own backward of a sparse product is 30 times slower than a product with a stored transpose, and 64-bit indices
cost three times the time of 32-bit ones: hence the explicit transpose and the CSR matrices made by hand here.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

_TILE = 16
"""Slices multiplied at once: fewer waste the reading of the matrix, more fall out of the cache."""


def entries_at_once(device: torch.device) -> int:
    """How many matrix entries to make in one go.

    On the processor as many as torch handles in one thread: they stay in the cache, and the many short steps do not
    wait for a second thread, which takes ten times as long as the work itself where other programs use the processor.
    """
    return 2**15 if device.type == "cpu" else 2**24


def floor_index(position: Tensor) -> Tensor:
    """The integer below each position, int32, for positions of -1 or more.

    torch's own floor, like its sqrt and its indexing, asks for all threads even where there is little to do.
    """
    return (position + 1).int() - 1


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


class Blocks:
    """A linear map from images (N, H * W) to view data (N, views * bins) and its transpose, as a grid of matrices.

    The grid divides the views, so that a matrix made on the fly stays small, and the rows of the image, so that the
    pixels under one matrix stay in the processor's cache.

    build(views, rows): the matrix of a range of views and a range of image rows; it has the view data along its rows
    when `rows_are_views`, the pixels otherwise. stored: keep the matrices, or make them at every use.
    """

    def __init__(
        self,
        build: Callable[[range, range], Tensor],
        rows_are_views: bool,
        view_ranges: Sequence[range],
        row_ranges: Sequence[range],
        width: int,
        bins: int,
        stored: bool,
    ) -> None:
        self._build = build
        self._rows_are_views = rows_are_views
        self._view_ranges = view_ranges
        self._row_ranges = row_ranges
        self._width = width
        self._bins = bins
        self._stored: dict[tuple[range, range, bool], Tensor] | None = {} if stored else None

    @property
    def stored_bytes(self) -> int:
        """The memory of the matrices kept so far."""
        return sum(matrix_bytes(matrix) for matrix in (self._stored or {}).values())

    def to_views(self, pixels: Tensor) -> Tensor:
        """(N, H * W) -> (N, views * bins), differentiable."""
        return _ToViews.apply(pixels, self)

    def to_pixels(self, data: Tensor) -> Tensor:
        """(N, views * bins) -> (N, H * W): the transpose of `to_views`, differentiable."""
        return _ToPixels.apply(data, self)

    def multiply(self, source: Tensor, to_views: bool) -> Tensor:
        """`to_views` or `to_pixels` outside autograd."""
        size = self._size(self._view_ranges, self._bins) if to_views else self._size(self._row_ranges, self._width)
        # Slices side by side: every matrix entry serves all slices of a tile.
        tiles = [part.t().contiguous() for part in source.tensor_split(max(1, math.ceil(len(source) / _TILE)))]
        results = [tile.new_zeros((size, tile.shape[1])) for tile in tiles]
        for views in self._view_ranges:
            for rows in self._row_ranges:
                data, pixels = self._part(views, self._bins), self._part(rows, self._width)
                here, there = (pixels, data) if to_views else (data, pixels)
                matrix = self._matrix(views, rows, to_views)
                for tile, result in zip(tiles, results, strict=True):
                    result[there].addmm_(matrix, tile[here])
        return torch.cat([result.t() for result in results])

    @staticmethod
    def _size(ranges: Sequence[range], each: int) -> int:
        return ranges[-1].stop * each

    @staticmethod
    def _part(chosen: range, each: int) -> slice:
        return slice(chosen.start * each, chosen.stop * each)

    def _matrix(self, views: range, rows: range, rows_are_views: bool) -> Tensor:
        if self._stored is None:
            matrix = self._build(views, rows)
            return matrix if rows_are_views == self._rows_are_views else transposed(matrix)
        key = (views, rows, rows_are_views)
        if key not in self._stored:
            if rows_are_views == self._rows_are_views:
                self._stored[key] = self._build(views, rows)
            else:
                self._stored[key] = transposed(self._matrix(views, rows, self._rows_are_views))
        return self._stored[key]


def ranges(total: int, most: int) -> list[range]:
    """0 .. total - 1 in consecutive ranges of about equal length, at most `most`."""
    count = math.ceil(total / most)
    bounds = [total * k // count for k in range(count + 1)]
    return [range(first, last) for first, last in itertools.pairwise(bounds)]


class _ToViews(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, blocks: Blocks) -> Tensor:
        ctx.blocks = blocks
        return blocks.multiply(pixels, to_views=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _ToPixels.apply(gradient, ctx.blocks), None


class _ToPixels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, data: Tensor, blocks: Blocks) -> Tensor:
        ctx.blocks = blocks
        return blocks.multiply(data, to_views=False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _ToViews.apply(gradient, ctx.blocks), None


def _csr(offsets: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
        return torch.sparse_csr_tensor(offsets, columns, values, size=shape, check_invariants=False)
