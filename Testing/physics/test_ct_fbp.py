"""Filtered backprojection: the right mu from full and short scans, and a clear refusal otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.analytic import Ellipse, ellipse_image, ellipse_sinogram, shepp_logan
from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.fbp import backprojection_matrix, parker_weights
from MSLFusionLib.physics.geometry import FanBeamGeometry


def disc_reading(geometry: FanBeamGeometry, disc: Ellipse, official: bool = False) -> float:
    """The mean of the reconstruction inside nine tenths of the disc, over the disc's value."""
    image = ct_operator(geometry).fbp(ellipse_sinogram(geometry, [disc]), official)
    height, width = geometry.image_shape
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(
        (x - (width - 1) / 2) * geometry.pixel_mm - disc.x, ((height - 1) / 2 - y) * geometry.pixel_mm - disc.y
    )
    return float(image[0, 0][torch.from_numpy(radius < 0.9 * disc.a)].mean()) / disc.value


@pytest.mark.parametrize("scan", ["full", "short"])
@pytest.mark.parametrize("disc", [Ellipse(0.0192, 40, 40), Ellipse(1.0, 50, 50, 6, -9)], ids=["centred", "aside"])
def test_a_disc_reads_true_at_64_views(scan: str, disc: Ellipse) -> None:
    assert disc_reading(FanBeamGeometry.covering((384, 384), 0.36923, 64, scan), disc) == (pytest.approx(1.0, abs=1e-4))


def test_a_disc_reads_true_with_a_detector_offset_and_a_rectangular_grid() -> None:
    disc = Ellipse(1.0, 45, 45, 5, -8)
    for scan in ("full", "short"):
        geometry = FanBeamGeometry.covering((160, 224), 1.0, 90, scan, offset_mm=0.6)
        assert disc_reading(geometry, disc) == pytest.approx(1.0, abs=1e-3)


def test_a_short_scan_may_start_anywhere_and_turn_backwards() -> None:
    disc = Ellipse(1.0, 45, 45, 5, -8)
    geometry = FanBeamGeometry.covering((160, 160), 1.0, 90, "short")
    backwards = replace(geometry, angles=tuple(2.0 - angle for angle in geometry.angles))
    assert disc_reading(backwards, disc) == pytest.approx(1.0, abs=1e-3)


def test_a_short_scan_may_be_longer_than_needed() -> None:
    geometry = FanBeamGeometry.covering((160, 160), 1.0, 90, "short")
    longer = replace(geometry, angles=tuple(1.15 * angle for angle in geometry.angles))
    assert disc_reading(longer, Ellipse(1.0, 45, 45, 5, -8)) == pytest.approx(1.0, abs=1e-3)


def test_parker_weights_count_every_ray_once() -> None:
    """A ray (b, g) is measured again at (b + pi + 2g, -g): the two weights add up to one."""
    geometry = FanBeamGeometry.covering((64, 64), 1.0, 4000, "short")
    weights = parker_weights(geometry).numpy()
    assert weights.min() >= 0
    assert weights.max() <= 1
    angles = np.array(geometry.angles)
    u = (np.arange(geometry.bins) - (geometry.bins - 1) / 2) * geometry.pitch_mm / geometry.magnification
    gamma = -np.arctan(u / geometry.source_origin_mm)
    # Not the outermost rays, whose weights rise within a few of these views.
    for k in (5, 20, geometry.bins // 2, geometry.bins - 10):
        again = angles + np.pi + 2 * gamma[k]
        inside = again < angles[-1]
        partner = np.interp(again[inside], angles, weights[:, geometry.bins - 1 - k])
        np.testing.assert_allclose(weights[inside, k] + partner, 1.0, atol=2e-3)


@pytest.mark.parametrize(("views", "decibel"), [(64, 22.0), (360, 35.5), (720, 39.5)])
def test_shepp_logan(views: int, decibel: float) -> None:
    geometry = FanBeamGeometry.paper(views)
    phantom = shepp_logan(192 * geometry.pixel_mm)
    image = ct_operator(geometry).fbp(ellipse_sinogram(geometry, phantom, samples=4)).clamp(min=0)
    error = (image - ellipse_image(geometry, phantom)).square().mean()
    assert float(-10 * torch.log10(error)) >= decibel


def test_the_official_variant_lacks_the_weights() -> None:
    geometry = FanBeamGeometry.paper(64)
    disc = Ellipse(1.0, 55, 55, 3, -4)
    reading = disc_reading(geometry, disc, official=True)
    assert abs(reading - 1) > 5e-3
    assert reading == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("official", [False, True])
def test_a_limited_scan_is_refused(official: bool) -> None:
    geometry = FanBeamGeometry.covering((32, 32), 1.0, 16)
    limited = replace(geometry, angles=geometry.angles[:6], scan="limited")
    operator = ct_operator(limited)
    sinogram = operator.forward(torch.ones(1, 1, 32, 32))
    with pytest.raises(InputError, match="iterative"):
        operator.fbp(sinogram, official)


@pytest.mark.parametrize(("scan", "views"), [("full", 1), ("full", 2), ("short", 2)])
def test_very_few_views_still_reconstruct(scan: str, views: int) -> None:
    geometry = FanBeamGeometry.covering((32, 32), 1.0, views, scan)
    operator = ct_operator(geometry)
    assert torch.isfinite(operator.fbp(operator.forward(torch.ones(1, 1, 32, 32)))).all()


def test_points_beyond_a_small_detector_get_nothing_from_it() -> None:
    """Interior scans: the pixels outside the fan must not see weights continued beyond the last bin."""
    geometry = replace(FanBeamGeometry.covering((32, 32), 1.0, 8), bins=12, offset_mm=3.0)
    matrix = backprojection_matrix(geometry, range(8), range(32), torch.device("cpu"))
    assert matrix.values().min() >= 0
    rows = matrix.to_dense().reshape(32, 32, 8 * 12).sum(-1)
    assert rows[0, 0] < 0.5 * rows[16, 16]
