"""Ellipses with known line integrals: the yardstick for projectors and reconstructions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.physics.geometry import FanBeamGeometry


@dataclass(frozen=True)
class Ellipse:
    """An ellipse of constant `value`: half axes a, b and centre x, y in mm, turned by `angle` radians."""

    value: float
    a: float
    b: float
    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0


_SHEPP_LOGAN = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0.0),
    (0.1, 0.046, 0.023, -0.08, -0.605, 0.0),
    (0.1, 0.023, 0.023, 0.0, -0.606, 0.0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0.0),
)


def shepp_logan(half_width_mm: float) -> list[Ellipse]:
    """The head phantom of Shepp & Logan (1974) with Toft's contrast, values 0 .. 1, in a square of that half width."""
    scale = half_width_mm
    return [
        Ellipse(value, a * scale, b * scale, x * scale, y * scale, math.radians(degrees))
        for value, a, b, x, y, degrees in _SHEPP_LOGAN
    ]


def ellipse_sinogram(geometry: FanBeamGeometry, ellipses: Sequence[Ellipse], samples: int = 8) -> Tensor:
    """The exact line integrals, each bin the mean of `samples` rays across its width, float32 (1, 1, views, bins)."""
    fine = (np.arange(samples) + 0.5) / samples - 0.5
    u = (np.arange(geometry.bins)[:, None] + fine - (geometry.bins - 1) / 2) * geometry.pitch_mm
    rows = [_integrals(geometry, ellipses, angle, u.ravel() + geometry.offset_mm) for angle in geometry.angles]
    total = np.stack(rows).reshape(geometry.views, geometry.bins, samples).mean(-1)
    return torch.from_numpy(total.astype(np.float32))[None, None]


def _integrals(geometry: FanBeamGeometry, ellipses: Sequence[Ellipse], angle: float, u: np.ndarray) -> np.ndarray:
    start = np.zeros_like(u)  # along the detector, where the ray begins
    distance = geometry.source_origin_mm + geometry.origin_detector_mm
    if geometry.detector == "parallel":
        start, across, away = u, np.zeros_like(u), np.ones_like(u)
    elif geometry.detector == "arc":
        across, away = np.sin(u / distance), np.cos(u / distance)
    else:
        across, away = u, np.full_like(u, distance)
    source_x = geometry.source_origin_mm * math.sin(angle) + start * math.cos(angle)
    source_y = -geometry.source_origin_mm * math.cos(angle) + start * math.sin(angle)
    ray_x = across * math.cos(angle) - away * math.sin(angle)
    ray_y = across * math.sin(angle) + away * math.cos(angle)
    length = np.hypot(ray_x, ray_y)
    total = np.zeros_like(length)
    for ellipse in ellipses:
        cosine, sine = math.cos(ellipse.angle), math.sin(ellipse.angle)
        from_x, from_y = source_x - ellipse.x, source_y - ellipse.y
        # In the frame where the ellipse is the unit circle.
        px, py = (from_x * cosine + from_y * sine) / ellipse.a, (from_y * cosine - from_x * sine) / ellipse.b
        dx, dy = (ray_x * cosine + ray_y * sine) / ellipse.a, (ray_y * cosine - ray_x * sine) / ellipse.b
        speed = dx**2 + dy**2
        chord = np.sqrt(np.maximum(speed - (px * dy - py * dx) ** 2, 0)) * 2 / speed
        total += ellipse.value * chord * length
    return total


def ellipse_image(geometry: FanBeamGeometry, ellipses: Sequence[Ellipse], samples: int = 8) -> Tensor:
    """The image of the ellipses, each pixel the mean of samples x samples points, float32 (1, 1, H, W)."""
    height, width = geometry.image_shape
    fine = (np.arange(samples) + 0.5) / samples - 0.5
    x = ((np.arange(width) - (width - 1) / 2)[:, None] + fine).ravel() * geometry.pixel_mm
    y = (((height - 1) / 2 - np.arange(height))[:, None] - fine).ravel() * geometry.pixel_mm
    total = np.zeros((height * samples, width * samples), dtype=np.float32)
    for ellipse in ellipses:
        reach = max(ellipse.a, ellipse.b)
        columns = slice(*np.searchsorted(x, (ellipse.x - reach, ellipse.x + reach)))
        rows = slice(*np.searchsorted(-y, (-ellipse.y - reach, -ellipse.y + reach)))
        cosine, sine = math.cos(ellipse.angle), math.sin(ellipse.angle)
        dx, dy = (x[columns] - ellipse.x)[None, :], (y[rows] - ellipse.y)[:, None]
        along, across = (dx * cosine + dy * sine) / ellipse.a, (dy * cosine - dx * sine) / ellipse.b
        total[rows, columns] += ellipse.value * (along**2 + across**2 <= 1)
    return torch.from_numpy(total.reshape(height, samples, width, samples).mean((1, 3)))[None, None]
