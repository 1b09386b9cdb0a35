"""Separable in-plane resampling of one axis as a sparse matrix: cubic, anti-aliased, exact where grids coincide.

The kernel is Keys' cubic convolution with a = -1/2 (IEEE Trans ASSP 29:1153, 1981), stretched by the ratio of
the two spacings when the target is the coarser grid, so that what the target cannot hold is averaged away.
"""

import numpy as np
from scipy import sparse

_ON_SAMPLE = 1e-5


def _keys(x: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel, support 2 on either side."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))


def axis_matrix(positions: np.ndarray, source: int, ratio: float, extend: bool = False) -> sparse.csr_matrix:
    """Float32 matrix (targets, source) that reads a line of `source` samples at `positions`.

    positions: continuous source indices of the targets. ratio: target spacing over source spacing; above 1 the
    kernel is widened. Rows of targets more than half a sample outside the source are zero, or, with `extend`,
    take the edge sample. All other rows sum to 1.
    """
    positions = np.asarray(positions, np.float64)
    inside = (positions >= -0.5 - _ON_SAMPLE) & (positions <= source - 0.5 + _ON_SAMPLE)
    if extend:
        inside = np.ones_like(inside)
    positions = np.clip(positions, 0.0, source - 1.0)
    nearest = np.round(positions)
    positions = np.where(np.abs(positions - nearest) < _ON_SAMPLE, nearest, positions)
    width = max(1.0, ratio)
    reach = int(np.ceil(2.0 * width))
    columns = np.floor(positions).astype(int)[:, None] + np.arange(-reach, reach + 2)[None, :]
    weights = _keys((columns - positions[:, None]) / width)
    weights[(columns < 0) | (columns >= source) | ~inside[:, None]] = 0.0
    total = weights.sum(axis=1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total != 0)
    rows = np.broadcast_to(np.arange(len(positions))[:, None], weights.shape)
    keep = weights != 0.0
    return sparse.csr_matrix(
        (weights[keep].astype(np.float32), (rows[keep], columns[keep])), shape=(len(positions), source)
    )


def resample_planes(planes: np.ndarray, rows: sparse.csr_matrix, columns: sparse.csr_matrix, fill: float) -> np.ndarray:
    """Planes (n, r, c) read on another grid, float32 (n, R, C); what lies outside the source becomes `fill`.

    rows (R, r) and columns (C, c) come from `axis_matrix`. The cubic kernel's overshoot is clipped to the range
    of each plane and `fill`.
    """
    result = np.empty((len(planes), rows.shape[0], columns.shape[0]), np.float32)
    for out, plane in zip(result, planes, strict=True):
        shifted = plane.astype(np.float32) - np.float32(fill) if fill else plane.astype(np.float32)
        out[...] = (columns @ np.ascontiguousarray((rows @ shifted).T)).T
        np.clip(out, min(float(shifted.min()), 0.0), max(float(shifted.max()), 0.0), out=out)
        if fill:
            out += np.float32(fill)
    return result
