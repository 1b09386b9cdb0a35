"""Arc, parallel and offset detectors and uneven views: exact line integrals in, the right attenuation out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.transform import radon

from MSLFusionLib.physics.analytic import Ellipse, ellipse_image, ellipse_sinogram
from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry, even_angles, scan_kind

DISC = Ellipse(1.0, 45, 45, 5, -8)
SHAPE = (128, 160)
FAN = FanBeamGeometry.covering(SHAPE, 1.25, 180)
PARALLEL = FanBeamGeometry.parallel(SHAPE, 1.25, 180)


def around(geometry: FanBeamGeometry) -> FanBeamGeometry:
    return replace(geometry, angles=tuple(2 * angle for angle in geometry.angles))


def one_sided(geometry: FanBeamGeometry, sign: int = 1) -> FanBeamGeometry:
    """Half the detector and a little more, moved aside."""
    bins = geometry.bins // 2 + 24
    return replace(geometry, bins=bins, offset_mm=sign * (bins / 2 - 24) * geometry.pitch_mm)


def short_arc() -> FanBeamGeometry:
    arc = replace(FAN, detector="arc")
    return replace(arc, angles=even_angles(180, "short", arc.half_fan), scan="short")


CASES = {
    "arc": replace(FAN, detector="arc"),
    "short arc": short_arc(),
    "arc, moved": replace(FAN, detector="arc", offset_mm=3.7),
    "parallel": PARALLEL,
    "parallel, moved": replace(PARALLEL, offset_mm=0.4),
    "one side": one_sided(FAN),
    "other side": one_sided(FAN, -1),
    "one side of an arc": one_sided(replace(FAN, detector="arc")),
    "one side, parallel": one_sided(around(PARALLEL)),
    "both ends measured": replace(FAN, angles=tuple(np.linspace(0, 2 * math.pi, 181))),
}


@pytest.mark.parametrize("name", CASES)
def test_a_disc_reads_true(name: str) -> None:
    geometry = CASES[name]
    image = ct_operator(geometry).fbp(ellipse_sinogram(geometry, [DISC]))[0, 0].numpy()
    inside = ellipse_image(geometry, [replace(DISC, a=40, b=40)])[0, 0].numpy() == 1
    assert image[inside].mean() == pytest.approx(1.0, abs=1e-4)
    assert image[inside].std() < 5e-4


def test_uneven_views_count_for_the_arc_they_stand_for() -> None:
    shaken = np.random.default_rng(0).uniform(-0.2, 0.2, 360)
    angles = tuple((np.arange(360) + shaken) * 2 * math.pi / 360)
    geometry = replace(FAN, angles=angles)
    image = ct_operator(geometry).fbp(ellipse_sinogram(geometry, [DISC]))[0, 0].numpy()
    inside = ellipse_image(geometry, [replace(DISC, a=40, b=40)])[0, 0].numpy() == 1
    assert image[inside].mean() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_line_integrals_and_the_transpose(name: str) -> None:
    geometry = CASES[name]
    geometry = replace(geometry, angles=geometry.angles[::9], scan="limited")
    operator = ct_operator(geometry)
    ellipses = [DISC, Ellipse(-0.5, 12, 20, -10, 15, 0.4)]
    exact = ellipse_sinogram(geometry, ellipses)
    image = ellipse_image(geometry, ellipses)
    assert float((operator.forward(image) - exact).norm() / exact.norm()) < 6e-3
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(image.shape, generator=generator), torch.randn(exact.shape, generator=generator)
    left, right = (operator.forward(x) * y).double().sum(), (x * operator.adjoint(y)).double().sum()
    assert float(left) == pytest.approx(float(right), rel=1e-3)


def test_parallel_beams_agree_with_scikit_image() -> None:
    size = 95  # odd: an even image it would turn about a point half a pixel from ours
    degrees = np.arange(0, 180, 12.0)
    angles = tuple(np.deg2rad(degrees))
    geometry = FanBeamGeometry((size, size), 1.0, 0.0, 0.0, size, 1.0, angles, detector="parallel", scan="limited")
    image = ellipse_image(geometry, [Ellipse(1.0, 20, 30, 6, -9, 0.5)])
    ours = ct_operator(geometry).forward(image)[0, 0].numpy()
    theirs = radon(image[0, 0].numpy(), degrees, circle=True).T
    assert np.linalg.norm(theirs - ours) / np.linalg.norm(ours) < 0.01


def test_how_much_of_the_circle_is_covered() -> None:
    assert FAN.covered_degrees == pytest.approx(360)
    assert PARALLEL.covered_degrees == pytest.approx(180)
    wedge = replace(FAN, angles=tuple(np.deg2rad(np.arange(299, 329.1, 0.5))), scan="limited")
    assert wedge.covered_degrees == pytest.approx(30.5)
    assert scan_kind(PARALLEL.angles, 0.0, parallel=True) == "full"
    assert scan_kind(PARALLEL.angles[:150], 0.0, parallel=True) == "limited"


def test_geometry_survives_json() -> None:
    for geometry in CASES.values():
        assert FanBeamGeometry.from_dict(geometry.to_dict()) == geometry
        assert geometry.on_grid((32, 32), 2.0).image_shape == (32, 32)
