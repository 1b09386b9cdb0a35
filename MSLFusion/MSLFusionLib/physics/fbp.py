"""Filtered backprojection of parallel beams and of fan beams on flat and arc detectors.

Kak & Slaney, Principles of Computerized Tomographic Imaging, ch. 3; short-scan weights of Parker, Med Phys 9:254
(1982), generalised to ranges longer than pi plus the fan angle by using half of the excess over pi for the fan angle;
weights for a detector that sees one side only of Wang, Med Phys 29:1634 (2002). Each view of a full scan counts for
the arc it stands for, so that views need not be evenly spaced.
"""

import math
from dataclasses import replace

import scipy.fft
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.geometry import FanBeamGeometry, view_weights
from MSLFusionLib.physics.sparse import csr_matrix, entries_at_once, floor_index


def check_fbp(geometry: FanBeamGeometry) -> None:
    """Raises InputError when the scan does not see every point from enough directions."""
    if geometry.scan == "limited":
        raise InputError(
            "Filtered backprojection needs views all around without a gap, or evenly spaced ones over at least "
            f"{math.degrees(math.pi + 2 * geometry.half_fan):.1f} degrees: use an iterative method for this scan."
        )


def filter_sinogram(geometry: FanBeamGeometry, sinogram: Tensor, official: bool = False) -> Tensor:
    """The filtered projections Q of a sinogram (N, 1, views, bins), on the bins of `widened`, to be backprojected.

    official: without cosine weights, as the authors' toolbox does. Parker weights apply to short scans either way.
    """
    wide = widened(geometry)
    weighted = sinogram * _data_weights(geometry, official).to(sinogram)
    before = wide.bins - geometry.bins if geometry.offset_mm > 0 else 0
    weighted = torch.nn.functional.pad(weighted, (before, wide.bins - geometry.bins - before))
    response, length = _ramp_response(wide)
    spectrum = torch.fft.rfft(weighted, n=length) * response.to(sinogram)
    return torch.fft.irfft(spectrum, n=length)[..., : wide.bins]


def widened(geometry: FanBeamGeometry) -> FanBeamGeometry:
    """The scan with a detector that reaches as far on both sides, where `one_sided_weights` apply.

    What is filtered reaches beyond the measured bins, and pixels there need it.
    """
    if not _one_sided(geometry):
        return geometry
    more = math.ceil(2 * abs(geometry.offset_mm) / geometry.pitch_mm)
    shift = math.copysign(more * geometry.pitch_mm / 2, geometry.offset_mm)
    return replace(geometry, bins=geometry.bins + more, offset_mm=geometry.offset_mm - shift)


def backprojection_matrix(
    geometry: FanBeamGeometry, views: range, rows: range, device: torch.device, official: bool = False
) -> Tensor:
    """The weighted backprojection of the views `views` into the image rows `rows`, interpolating between bins.

    A float32 CSR matrix of shape (len(rows) * W, len(views) * bins). official: without the distance weight (DSO/L)^2.
    """
    width, bins, count = geometry.image_shape[1], geometry.bins, len(views)
    source = geometry.source_origin_mm
    angles = torch.tensor(geometry.angles[views.start : views.stop], dtype=torch.float64, device=device)
    sine, cosine = torch.sin(angles).float(), torch.cos(angles).float()
    column = torch.arange(width, device=device, dtype=torch.float32)
    row = torch.arange(rows.start, rows.stop, device=device, dtype=torch.float32)
    x = ((column - (width - 1) / 2) * geometry.pixel_mm).repeat(len(rows))[:, None]
    y = (((geometry.image_shape[0] - 1) / 2 - row) * geometry.pixel_mm).repeat_interleave(width)[:, None]
    bins_per_mm = geometry.magnification / geometry.pitch_mm
    centre = (bins - 1) / 2 - geometry.offset_mm / geometry.pitch_mm
    first_bin = torch.arange(count, dtype=torch.int32, device=device) * bins

    pixels = len(rows) * width
    columns = torch.empty((pixels, count, 2), dtype=torch.int32, device=device)
    values = torch.empty((pixels, count, 2), dtype=torch.float32, device=device)
    pixels_at_once = max(1, entries_at_once(device) // count)
    for start in range(0, pixels, pixels_at_once):
        part = slice(start, start + pixels_at_once)
        across, down = x[part], y[part]
        position = torch.addcmul(across * cosine, down, sine)
        weight = torch.ones_like(position)
        if geometry.detector != "parallel":
            away = torch.addcmul(source - across * sine, down, cosine)
            if geometry.detector == "arc":
                # The detector in lengths at the isocentre; an arc's weight is of the distance from the source itself.
                inverse = 1 / torch.hypot(position, away)
                position = torch.atan2(position, away).mul_(source)
            else:
                inverse = 1 / away
                position = position.mul_(inverse).mul_(source)
            if not official:
                weight = inverse.square_().mul_(source**2)
        position = position.mul_(bins_per_mm).add_(centre).clamp_(-1, bins)
        low = floor_index(position)
        upper = weight * (position - low)
        # A bin outside the detector keeps its place in the matrix with weight zero.
        values[part, :, 0] = (weight - upper) * ((low >= 0) & (low < bins))
        values[part, :, 1] = upper * ((low >= -1) & (low < bins - 1))
        columns[part, :, 0] = low.clamp(0, bins - 1) + first_bin
        columns[part, :, 1] = (low + 1).clamp_(0, bins - 1) + first_bin
    counts = torch.full((pixels,), 2 * count, dtype=torch.int32, device=device)
    return csr_matrix(counts, columns.flatten(), values.flatten(), (pixels, count * bins))


def parker_weights(geometry: FanBeamGeometry) -> Tensor:
    """Parker's weights (views, bins), float64, for a short scan whose angles are evenly spaced."""
    order = torch.tensor(geometry.angles, dtype=torch.float64)
    step = _step(geometry)
    beta = (order - order.min() + step / 2)[:, None]
    fan = (geometry.views * step - math.pi) / 2
    gamma = -_fan_angles(geometry)[None, :]
    rising = torch.sin(math.pi / 4 * beta / (fan - gamma)) ** 2
    falling = torch.sin(math.pi / 4 * (math.pi + 2 * fan - beta) / (fan + gamma)) ** 2
    weights = torch.ones_like(rising)
    weights = torch.where(beta < 2 * (fan - gamma), rising, weights)
    return torch.where(beta > math.pi - 2 * gamma, falling, weights)


def _data_weights(geometry: FanBeamGeometry, official: bool) -> Tensor:
    """What each measured value counts for (views, bins): the ray's slant, its views' arc, and how often it is seen."""
    weights = torch.ones((1, geometry.bins), dtype=torch.float64)
    if not official:
        weights = torch.cos(_fan_angles(geometry))[None, :]
    if geometry.scan == "short":
        return weights * parker_weights(geometry) * _step(geometry)
    parallel = geometry.detector == "parallel"
    arcs = torch.tensor(view_weights(geometry.angles, math.pi if parallel else 2 * math.pi), dtype=torch.float64)
    # A fan's full circle sees every ray twice; the half circle that parallel views are folded onto, once.
    return weights * one_sided_weights(geometry) * (arcs[:, None] * (1.0 if parallel else 0.5))


def one_sided_weights(geometry: FanBeamGeometry) -> Tensor:
    """Wang's weights (bins,), float64, of a full scan whose offset detector does not see all of one side.

    Rays on the far side, which are seen once, count twice; where both sides are seen the two weights of a ray, at
    u and -u, add up to 2. All ones where both sides reach as far as the image does.
    """
    if not _one_sided(geometry):
        return torch.ones(geometry.bins, dtype=torch.float64)
    side = math.copysign(1.0, geometry.offset_mm) * _isocentre_bins(geometry) / _nearer_edge(geometry)
    return 1 + torch.sin(math.pi / 2 * side.clamp(-1, 1))


def _one_sided(geometry: FanBeamGeometry) -> bool:
    """Whether an offset detector sees less than the image on its nearer side, and each ray is measured twice."""
    near = _nearer_edge(geometry)
    needed = min(geometry.image_shape) * geometry.pixel_mm / 2
    twice = geometry.detector != "parallel" or geometry.covered_degrees > 360 - 1e-6
    offset = abs(geometry.offset_mm) > geometry.pitch_mm
    return geometry.scan == "full" and twice and offset and 0 < near < needed


def _nearer_edge(geometry: FanBeamGeometry) -> float:
    """How far the detector reaches on its nearer side, in mm at the isocentre."""
    return (geometry.bins * geometry.pitch_mm / 2 - abs(geometry.offset_mm)) / geometry.magnification


def _ramp_response(geometry: FanBeamGeometry) -> tuple[Tensor, int]:
    """The band-limited ramp, made in the spatial domain so that its mean is exact, and its FFT length."""
    pitch = geometry.pitch_mm / geometry.magnification
    if geometry.detector == "arc":
        turn = pitch / geometry.source_origin_mm
    length = int(scipy.fft.next_fast_len(2 * geometry.bins, real=True))
    n = torch.arange(length, dtype=torch.float64)
    n = torch.minimum(n, length - n)
    kernel = torch.where(n % 2 == 1, -1 / (math.pi * pitch * n.clamp(min=1)) ** 2, 0.0)
    if geometry.detector == "arc":
        turned = (n * turn).clamp(max=math.pi / 2)  # beyond the fan nothing is measured
        kernel = kernel * torch.where(n > 0, turned / torch.sin(turned.clamp(min=turn)), 1.0) ** 2
    kernel[0] = 1 / (4 * pitch**2)
    return pitch * torch.fft.rfft(kernel).real, length


def _fan_angles(geometry: FanBeamGeometry) -> Tensor:
    """The angle of each bin's ray from the central one, float64, zero for parallel beams."""
    if geometry.detector == "parallel":
        return torch.zeros(geometry.bins, dtype=torch.float64)
    slope = _isocentre_bins(geometry) / geometry.source_origin_mm
    return slope if geometry.detector == "arc" else torch.atan(slope)


def _isocentre_bins(geometry: FanBeamGeometry) -> Tensor:
    """The bins' coordinates rescaled to the isocentre, float64, mm."""
    n = torch.arange(geometry.bins, dtype=torch.float64) - (geometry.bins - 1) / 2
    return (n * geometry.pitch_mm + geometry.offset_mm) / geometry.magnification


def _step(geometry: FanBeamGeometry) -> float:
    return (max(geometry.angles) - min(geometry.angles)) / (geometry.views - 1)
