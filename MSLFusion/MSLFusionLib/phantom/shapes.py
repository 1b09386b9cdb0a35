"""Signed distances (negative inside, mm) of simple shapes, evaluated on flat coordinate arrays.

Distances are exact for spheres and capsules and first-order close to the surface for the rest, which is
what soft edges of about a voxel need. All inputs are float32 arrays of one shape; outputs have that shape.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Point = tuple[float, float, float]


def ellipsoid(x: Array, y: Array, z: Array, centre: Point, radii: Point) -> Array:
    """Ellipsoid with semi-axes `radii`: d = k0 (k0 - 1) / k1 with k0 = |p/r|, k1 = |p/r^2|."""
    u, v, w = (x - centre[0]) / radii[0], (y - centre[1]) / radii[1], (z - centre[2]) / radii[2]
    k0 = np.sqrt(u * u + v * v + w * w)
    k1 = np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2 + (w / radii[2]) ** 2)
    return k0 * (k0 - 1.0) / np.maximum(k1, 1e-6)


def superellipsoid(x: Array, y: Array, z: Array, centre: Point, radii: Point, power: float) -> Array:
    """Rounded box |x/a|^p + |y/b|^p + |z/c|^p = 1; the value is divided by its gradient length."""
    u = np.abs(x - centre[0]) / radii[0]
    v = np.abs(y - centre[1]) / radii[1]
    w = np.abs(z - centre[2]) / radii[2]
    up, vp, wp = u ** (power - 1), v ** (power - 1), w ** (power - 1)
    total = np.maximum(up * u + vp * v + wp * w, 1e-6)
    root = total ** (1.0 / power)
    slope = np.sqrt((up / radii[0]) ** 2 + (vp / radii[1]) ** 2 + (wp / radii[2]) ** 2) * root / total
    return (root - 1.0) / np.maximum(slope, 1e-4)


def capsule(x: Array, y: Array, z: Array, a: Point, b: Point, ra: float, rb: float) -> Array:
    """Round cone from `a` (radius ra) to `b` (radius rb)."""
    d = (b[0] - a[0], b[1] - a[1], b[2] - a[2])
    length2 = max(d[0] ** 2 + d[1] ** 2 + d[2] ** 2, 1e-9)
    px, py, pz = x - a[0], y - a[1], z - a[2]
    t = np.clip((px * d[0] + py * d[1] + pz * d[2]) / length2, 0.0, 1.0)
    px -= t * d[0]
    py -= t * d[1]
    pz -= t * d[2]
    return np.sqrt(px * px + py * py + pz * pz) - (ra + t * (rb - ra))


def tube(x: Array, y: Array, z: Array, points: Sequence[Point], radii: Sequence[float]) -> Array:
    """Union of round cones along a polyline."""
    result = capsule(x, y, z, points[0], points[1], radii[0], radii[1])
    for i in range(1, len(points) - 1):
        np.minimum(result, capsule(x, y, z, points[i], points[i + 1], radii[i], radii[i + 1]), out=result)
    return result


def smooth_min(a: Array, b: Array, k: float) -> Array:
    """Minimum with a rounding of about `k` mm where both are equal (polynomial smooth minimum)."""
    h = np.maximum(k - np.abs(a - b), 0.0) / k
    return np.minimum(a, b) - h * h * (k * 0.25)


def smooth_max(a: Array, b: Array, k: float) -> Array:
    """Maximum with a rounding of about `k` mm where both are equal."""
    return -smooth_min(-a, -b, k)


def step(value: Array, width: float) -> Array:
    """Smooth step from 0 to 1 over about `width` around value = 0 (smoothstep polynomial)."""
    t = np.clip(value * (0.5 / width) + 0.5, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def rotate(u: Array, v: Array, degrees: float) -> tuple[Array, Array]:
    """Coordinates (u, v) seen in axes turned by `degrees`."""
    c, s = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    return c * u + s * v, c * v - s * u
