"""Joseph's method (Joseph, IEEE Trans Med Imaging 1:192, 1982) for fan beams, as a sparse matrix.

A ray is followed along the axis it is closer to, column by column or row by row; at each step the image is interpolated
linearly between the two pixels that the ray passes, and weighted with the length of the step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.sparse import csr_matrix

_VIEWS_AT_ONCE = 8
"""Few enough views that the intermediate arrays stay in the processor's cache."""


@dataclass(frozen=True)
class _Rays:
    """Per ray: the position across at step s is `intercept + slope * s`; the steps first .. first + count - 1 count.

    step_stride and cross_stride lead from a pixel to its neighbour along and across the ray's axis.
    """

    intercept: Tensor
    slope: Tensor
    length_mm: Tensor
    first: Tensor
    count: Tensor
    step_stride: Tensor
    cross_stride: Tensor
    cross_size: Tensor


def joseph_matrix(geometry: FanBeamGeometry, views: range, rows: range, device: torch.device) -> Tensor:
    """The share of the image rows `rows` in the projections `views`: a float32 CSR matrix with 32-bit indices.

    Shape (len(views) * bins, len(rows) * W), in mm: with all rows, its product with an image is the line integrals.
    """
    counts, columns, values = [], [], []
    for start in range(0, len(views), _VIEWS_AT_ONCE):
        rays = _rays(geometry, views[start : start + _VIEWS_AT_ONCE], rows, device)
        column, value = _entries(rays)
        counts.append(2 * rays.count)
        columns.append(column)
        values.append(value)
    shape = (len(views) * geometry.bins, len(rows) * geometry.image_shape[1])
    return csr_matrix(torch.cat(counts), torch.cat(columns), torch.cat(values), shape)


def _rays(geometry: FanBeamGeometry, views: range, rows: range, device: torch.device) -> _Rays:
    width, height = geometry.image_shape[1], len(rows)
    exact = {"dtype": torch.float64, "device": device}
    angles = torch.tensor(geometry.angles[views.start : views.stop], **exact)[:, None]
    u = torch.arange(geometry.bins, **exact) - (geometry.bins - 1) / 2
    u = (u * geometry.pitch_mm + geometry.offset_mm)[None, :] / geometry.pixel_mm
    source = geometry.source_origin_mm / geometry.pixel_mm
    detector = geometry.origin_detector_mm / geometry.pixel_mm
    sine, cosine = torch.sin(angles), torch.cos(angles)
    # In pixel indices: the column grows with x, the row falls with y and counts from the first of `rows`.
    column0 = source * sine + (width - 1) / 2
    row0 = source * cosine + (geometry.image_shape[0] - 1) / 2 - rows.start
    d_column = (u * cosine - (source + detector) * sine).flatten()
    d_row = (-u * sine - (source + detector) * cosine).flatten()
    column0, row0 = (start.expand(-1, geometry.bins).flatten() for start in (column0, row0))

    along_row = d_column.abs() >= d_row.abs()
    run = torch.where(along_row, d_column, d_row)
    slope = torch.where(along_row, d_row, d_column) / run
    step0 = torch.where(along_row, column0, row0)
    intercept = torch.where(along_row, row0, column0) - slope * step0
    steps = torch.where(along_row, width, height)
    cross_size = torch.where(along_row, height, width)
    # The steps at which the position across lies in (-1, size): there at least one of the two pixels exists.
    steep = torch.where(slope.abs() < 1e-12, torch.full_like(slope, 1e-12), slope)
    enter, leave = (-1 - intercept) / steep, (cross_size - intercept) / steep
    begin = torch.minimum(enter, leave).clamp(min=0).ceil()
    end = torch.minimum(torch.maximum(enter, leave).floor() + 1, steps)
    return _Rays(
        intercept=intercept.float(),
        slope=slope.float(),
        length_mm=(geometry.pixel_mm * torch.sqrt(1 + slope**2)).float(),
        first=begin.clamp(max=max(height, width)).int(),
        count=(end - begin).clamp(min=0).int(),
        step_stride=torch.where(along_row, 1, width).int(),
        cross_stride=torch.where(along_row, width, 1).int(),
        cross_size=cross_size.int(),
    )


def _entries(rays: _Rays) -> tuple[Tensor, Tensor]:
    """Pixel indices (int32) and weights (float32) of all rays in order, two for each step."""
    count = rays.count.long()
    total = int(count.sum())
    ray = torch.repeat_interleave(torch.arange(len(count), device=count.device), count, output_size=total)
    begin = (torch.cumsum(count, 0) - count - rays.first).int()
    step = torch.arange(total, dtype=torch.int32, device=count.device) - begin[ray]
    position = torch.addcmul(rays.intercept[ray], rays.slope[ray], step.float())
    floor = position.floor()
    length = rays.length_mm[ray]
    upper = (position - floor) * length
    lower = length - upper
    low = floor.int()
    last = (rays.cross_size - 1)[ray]
    stride = rays.cross_stride[ray]
    base = step * rays.step_stride[ray]
    # A neighbour outside the image keeps its place in the matrix with weight zero.
    column = torch.empty((total, 2), dtype=torch.int32, device=count.device)
    value = torch.empty((total, 2), dtype=torch.float32, device=count.device)
    column[:, 0] = base + low.clamp(min=0).minimum(last) * stride
    column[:, 1] = base + (low + 1).clamp(min=0).minimum(last) * stride
    value[:, 0] = lower * ((low >= 0) & (low <= last))
    value[:, 1] = upper * ((low >= -1) & (low < last))
    return column.flatten(), value.flatten()
