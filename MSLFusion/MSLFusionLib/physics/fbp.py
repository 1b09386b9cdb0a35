"""Filtered backprojection of flat-detector fan beams.

Kak & Slaney, Principles of Computerized Tomographic Imaging, ch. 3; short-scan weights of Parker, Med Phys 9:254
(1982), generalised to ranges longer than pi plus the fan angle by using half of the excess over pi for the fan angle.
"""

import math

import scipy.fft
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.sparse import csr_matrix, entries_at_once, floor_index


def check_fbp(geometry: FanBeamGeometry) -> None:
    """Raises InputError when the scan does not see every point from enough directions."""
    if geometry.scan == "limited":
        raise InputError(
            "Filtered backprojection needs evenly spaced views over the full circle or over at least "
            f"{math.degrees(math.pi + 2 * geometry.half_fan):.1f} degrees: use an iterative method for this scan."
        )


def filter_sinogram(geometry: FanBeamGeometry, sinogram: Tensor, official: bool = False) -> Tensor:
    """The filtered projections Q of a sinogram (N, 1, views, bins), same shape, ready to be backprojected.

    official: without cosine weights, as the authors' toolbox does. Parker weights apply to short scans either way.
    """
    weights = _data_weights(geometry, official).to(sinogram)
    response, length = _ramp_response(geometry)
    spectrum = torch.fft.rfft(sinogram * weights, n=length) * response.to(sinogram)
    return torch.fft.irfft(spectrum, n=length)[..., : geometry.bins]


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
    step = 2 * math.pi / geometry.views * 0.5 if geometry.scan == "full" else _step(geometry)
    bins_per_mm = geometry.magnification * source / geometry.pitch_mm
    centre = (bins - 1) / 2 - geometry.offset_mm / geometry.pitch_mm
    first_bin = torch.arange(count, dtype=torch.int32, device=device) * bins

    pixels = len(rows) * width
    columns = torch.empty((pixels, count, 2), dtype=torch.int32, device=device)
    values = torch.empty((pixels, count, 2), dtype=torch.float32, device=device)
    pixels_at_once = max(1, entries_at_once(device) // count)
    for start in range(0, pixels, pixels_at_once):
        part = slice(start, start + pixels_at_once)
        across, down = x[part], y[part]
        inverse = 1 / torch.addcmul(source - across * sine, down, cosine)
        position = torch.addcmul(across * cosine, down, sine).mul_(inverse).mul_(bins_per_mm)
        position = position.add_(centre).clamp_(-1, bins)
        weight = torch.full_like(inverse, step) if official else inverse.square().mul_(source**2 * step)
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
    gamma = -torch.atan(_isocentre_bins(geometry) / geometry.source_origin_mm)[None, :]
    rising = torch.sin(math.pi / 4 * beta / (fan - gamma)) ** 2
    falling = torch.sin(math.pi / 4 * (math.pi + 2 * fan - beta) / (fan + gamma)) ** 2
    weights = torch.ones_like(rising)
    weights = torch.where(beta < 2 * (fan - gamma), rising, weights)
    return torch.where(beta > math.pi - 2 * gamma, falling, weights)


def _data_weights(geometry: FanBeamGeometry, official: bool) -> Tensor:
    source = geometry.source_origin_mm
    if official:
        weights = torch.ones((1, geometry.bins), dtype=torch.float64)
    else:
        weights = (source / torch.sqrt(source**2 + _isocentre_bins(geometry) ** 2))[None, :]
    return weights * parker_weights(geometry) if geometry.scan == "short" else weights


def _ramp_response(geometry: FanBeamGeometry) -> tuple[Tensor, int]:
    """The band-limited ramp, made in the spatial domain so that its mean is exact, and its FFT length."""
    pitch = geometry.pitch_mm / geometry.magnification
    length = int(scipy.fft.next_fast_len(2 * geometry.bins, real=True))
    n = torch.arange(length, dtype=torch.float64)
    n = torch.minimum(n, length - n)
    kernel = torch.where(n % 2 == 1, -1 / (math.pi * pitch * n.clamp(min=1)) ** 2, 0.0)
    kernel[0] = 1 / (4 * pitch**2)
    return pitch * torch.fft.rfft(kernel).real, length


def _isocentre_bins(geometry: FanBeamGeometry) -> Tensor:
    """The bins' coordinates rescaled to the isocentre, float64, mm."""
    n = torch.arange(geometry.bins, dtype=torch.float64) - (geometry.bins - 1) / 2
    return (n * geometry.pitch_mm + geometry.offset_mm) / geometry.magnification


def _step(geometry: FanBeamGeometry) -> float:
    return (max(geometry.angles) - min(geometry.angles)) / (geometry.views - 1)
