"""Joseph's method (Joseph, IEEE Trans Med Imaging 1:192, 1982) for fan and parallel beams, as a sparse matrix.

A ray is followed along the axis it is closer to, column by column or row by row; at each step the image is interpolated
linearly between the two pixels that the ray passes, and weighted with the length of the step.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.sparse import csr_matrix, entries_at_once, floor_index

_RAYS_AT_ONCE = 2**13


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

    def split(self, most: int) -> Iterator["_Rays"]:
        """The same rays in groups of at most `most`."""
        parts = [getattr(self, field.name).split(most) for field in fields(self)]
        return (_Rays(*group) for group in zip(*parts, strict=True))


def joseph_matrix(geometry: FanBeamGeometry, views: range, rows: range, device: torch.device) -> Tensor:
    """The share of the image rows `rows` in the projections `views`: a float32 CSR matrix with 32-bit indices.

    Shape (len(views) * bins, len(rows) * W), in mm: with all rows, its product with an image is the line integrals.
    """
    views_at_once = max(1, _RAYS_AT_ONCE // geometry.bins)
    starts = range(0, len(views), views_at_once)
    groups = [_rays(geometry, views[start : start + views_at_once], rows, device) for start in starts]
    counts = torch.cat([group.count for group in groups])
    entries = int(counts.sum())
    columns = torch.empty((entries, 2), dtype=torch.int32, device=device)
    values = torch.empty((entries, 2), dtype=torch.float32, device=device)
    rays_at_once = max(1, entries_at_once(device) // max(1, int(counts.max())))
    first = 0
    for group in groups:
        for part in group.split(rays_at_once):
            last = first + int(part.count.sum())
            _fill(part, columns[first:last], values[first:last])
            first = last
    shape = (len(views) * geometry.bins, len(rows) * geometry.image_shape[1])
    return csr_matrix(2 * counts, columns.flatten(), values.flatten(), shape)


def _rays(geometry: FanBeamGeometry, views: range, rows: range, device: torch.device) -> _Rays:
    width, height = geometry.image_shape[1], len(rows)
    angles = torch.tensor(geometry.angles[views.start : views.stop], dtype=torch.float64, device=device)[:, None]
    u = torch.arange(geometry.bins, dtype=torch.float64, device=device) - (geometry.bins - 1) / 2
    u = (u * geometry.pitch_mm + geometry.offset_mm)[None, :] / geometry.pixel_mm
    source = geometry.source_origin_mm / geometry.pixel_mm
    detector = geometry.origin_detector_mm / geometry.pixel_mm
    sine, cosine = torch.sin(angles), torch.cos(angles)
    # In pixel indices: the column grows with x, the row falls with y and counts from the first of `rows`.
    column0 = source * sine + (width - 1) / 2
    row0 = source * cosine + (geometry.image_shape[0] - 1) / 2 - rows.start
    if geometry.detector == "parallel":
        column0, row0 = column0 + u * cosine, row0 - u * sine
        across, away = torch.zeros_like(u), torch.ones_like(u)
    elif geometry.detector == "arc":
        fan = u / (source + detector)
        across, away = torch.sin(fan), torch.cos(fan)
    else:
        across, away = u, torch.full_like(u, source + detector)
    d_column = (across * cosine - away * sine).flatten()
    d_row = (-across * sine - away * cosine).flatten()
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
    most = width + height
    begin = -(floor_index(most - torch.minimum(enter, leave).clamp(0, most)) - most)
    end = floor_index(torch.maximum(enter, leave).clamp(-1, most)) + 1
    return _Rays(
        intercept=intercept.float(),
        slope=slope.float(),
        length_mm=(geometry.pixel_mm * torch.hypot(slope, torch.ones_like(slope))).float(),
        first=begin,
        count=(torch.minimum(end, steps) - begin).clamp(min=0).int(),
        step_stride=torch.where(along_row, 1, width).int(),
        cross_stride=torch.where(along_row, width, 1).int(),
        cross_size=cross_size.int(),
    )


def _fill(rays: _Rays, column: Tensor, value: Tensor) -> None:
    """Write the pixel indices and weights of all rays in order: (entries, 2), the two neighbours at each step."""
    count = rays.count.long()
    total = len(column)
    ends = torch.cumsum(count, 0)
    # The ray of each entry is the number of rays that end before it.
    ray = torch.cumsum(torch.bincount(ends, minlength=total + 1)[:total], 0)
    each = [
        values.index_select(0, ray)
        for values in (
            (ends - count - rays.first).int(),
            rays.intercept,
            rays.slope,
            rays.length_mm,
            rays.cross_size - 1,
            rays.cross_stride,
            rays.step_stride,
        )
    ]
    begin, intercept, slope, length, last, stride, step_stride = each
    step = torch.arange(total, dtype=torch.int32, device=count.device) - begin
    # By rounding a position may come to lie a little outside; on the border its weight is zero.
    position = torch.addcmul(intercept, slope, step.float()).clamp(min=-1).minimum(last + 1)
    low = floor_index(position)
    upper = (position - low) * length
    lower = length - upper
    base = step * step_stride
    # A neighbour outside the image keeps its place in the matrix with weight zero.
    column[:, 0] = base + low.clamp(min=0).minimum(last) * stride
    column[:, 1] = base + (low + 1).clamp(min=0).minimum(last) * stride
    value[:, 0] = lower * ((low >= 0) & (low <= last))
    value[:, 1] = upper * ((low >= -1) & (low < last))
