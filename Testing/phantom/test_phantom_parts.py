"""The pieces the head is made of: shapes, noise, canvas."""

import numpy as np
import pytest

from MSLFusionLib.phantom import shapes
from MSLFusionLib.phantom.canvas import Canvas, Patch
from MSLFusionLib.phantom.noise import NoiseField, WaveField
from MSLFusionLib.phantom.tissues import LABELS, TISSUES, TissueTable


def _points(n: int = 4000, reach: float = 40.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(seed).uniform(-reach, reach, (3, n)).astype(np.float32))


def test_capsule_is_the_exact_distance_to_a_thick_segment() -> None:
    x, y, z = _points()
    distance = shapes.capsule(x, y, z, (-10.0, 0.0, 0.0), (10.0, 0.0, 0.0), 3.0, 3.0)
    along = np.clip(x, -10.0, 10.0)
    expected = np.sqrt((x - along) ** 2 + y**2 + z**2) - 3.0
    np.testing.assert_allclose(distance, expected, atol=1e-4)


@pytest.mark.parametrize("power", [2.0, 2.6])
def test_superellipsoid_is_zero_on_its_surface_with_unit_slope(power: float) -> None:
    centre, radii = (1.0, -2.0, 3.0), (20.0, 30.0, 25.0)
    direction = np.random.default_rng(1).standard_normal((3, 500)).astype(np.float32)
    scale = (np.abs(direction / np.array(radii)[:, None]) ** power).sum(0) ** (-1.0 / power)
    surface = (direction * scale + np.array(centre)[:, None]).astype(np.float32)
    on = shapes.superellipsoid(*surface, centre, radii, power)
    np.testing.assert_allclose(on, 0.0, atol=1e-3)
    step = 0.05
    gradient = [
        (
            shapes.superellipsoid(*(surface + step * e[:, None]), centre, radii, power)
            - shapes.superellipsoid(*(surface - step * e[:, None]), centre, radii, power)
        )
        / (2 * step)
        for e in np.eye(3, dtype=np.float32)
    ]
    np.testing.assert_allclose(np.sqrt(np.sum(np.square(gradient), axis=0)), 1.0, atol=0.05)


def test_ellipsoid_of_equal_radii_is_a_sphere() -> None:
    x, y, z = _points()
    distance = shapes.ellipsoid(x, y, z, (0.0, 0.0, 0.0), (12.0, 12.0, 12.0))
    np.testing.assert_allclose(distance, np.sqrt(x**2 + y**2 + z**2) - 12.0, atol=1e-3)


def test_smooth_extremes_equal_the_sharp_ones_away_from_the_joint() -> None:
    a, b, _ = _points()
    far = np.abs(a - b) > 5.0
    np.testing.assert_array_equal(shapes.smooth_min(a, b, 5.0)[far], np.minimum(a, b)[far])
    np.testing.assert_array_equal(shapes.smooth_max(a, b, 5.0)[far], np.maximum(a, b)[far])
    assert np.all(shapes.smooth_min(a, b, 5.0) <= np.minimum(a, b))


@pytest.mark.parametrize("order", [1, 3])
def test_noise_has_unit_variance_and_its_wavelength(order: int) -> None:
    field = NoiseField(np.random.default_rng(0), 14.0, spacing=2.0, n=64, order=order)
    axis = np.arange(0.0, 128.0, 2.0, dtype=np.float32)
    x, y, z = (a.ravel() for a in np.meshgrid(axis, axis, axis, indexing="ij"))
    values = field(x, y, z).reshape(64, 64, 64)
    assert abs(float(values.mean())) < 1e-3
    assert float(values.std()) == pytest.approx(1.0, abs=0.02)
    power = np.abs(np.fft.fftn(values)) ** 2
    f = np.fft.fftfreq(64, 2.0)
    radius = np.sqrt(f[:, None, None] ** 2 + f[None, :, None] ** 2 + f[None, None, :] ** 2)
    assert 1.0 / float((radius * power).sum() / power.sum()) == pytest.approx(14.0, rel=0.15)


def test_noise_repeats_after_its_period_and_its_slope_is_its_gradient() -> None:
    field = NoiseField(np.random.default_rng(3), 18.0, spacing=2.0, n=48, order=3, gradient=True)
    x, y, z = _points(2000)
    period = np.float32(96.0)
    np.testing.assert_allclose(field(x, y, z), field(x + period, y, z - period), atol=2e-3)
    h = np.float32(0.25)
    numeric = np.sqrt(
        ((field(x + h, y, z) - field(x - h, y, z)) / (2 * h)) ** 2
        + ((field(x, y + h, z) - field(x, y - h, z)) / (2 * h)) ** 2
        + ((field(x, y, z + h) - field(x, y, z - h)) / (2 * h)) ** 2
    )
    assert np.corrcoef(numeric, field.slope(x, y, z))[0, 1] > 0.97
    assert float(np.median(field.slope(x, y, z) / numeric)) == pytest.approx(1.0, abs=0.05)


def test_waves_have_unit_variance() -> None:
    values = WaveField(np.random.default_rng(4), 30.0, 12)(*_points(20000, 300.0))
    assert float(values.std()) == pytest.approx(1.0, abs=0.08)


def test_canvas_covers_with_a_soft_edge() -> None:
    table = TissueTable(np.random.default_rng(0))
    x = np.linspace(-3.0, 3.0, 61, dtype=np.float32)
    patch = Patch(np.arange(61), x, np.zeros_like(x), np.zeros_like(x))
    canvas = Canvas(61, table, edge_mm=1.0)
    canvas.paint(patch, "white", x)
    ct, air, white = canvas.values[0], table.values[table.index("air"), 0], table.values[table.index("white"), 0]
    np.testing.assert_allclose(ct[x < -0.51], white, rtol=1e-5)
    np.testing.assert_allclose(ct[x > 0.51], air, rtol=1e-5)
    assert ct[30] == pytest.approx((air + white) / 2, abs=1.0)
    assert np.all(table.labels[canvas.tissue[x < -0.05]] == LABELS["white_matter"])
    assert np.all(table.labels[canvas.tissue[x > 0.05]] == LABELS["background"])


def test_patch_finds_the_points_of_a_paired_box() -> None:
    x, y, z = _points()
    patch = Patch(np.arange(len(x)), x, y, z)
    box = patch.near((10.0, -5.0, 0.0), (20.0, 5.0, 8.0), paired=True)
    expected = (np.abs(x) > 10) & (np.abs(x) < 20) & (np.abs(y) < 5) & (z > 0) & (z < 8)
    np.testing.assert_array_equal(box.index, np.flatnonzero(expected))
    assert len(patch.near((0.0, 0.0, 100.0), (1.0, 1.0, 101.0))) == 0


def test_every_tissue_has_a_label_and_heads_differ_little_from_the_mean() -> None:
    assert {t.label for t in TISSUES.values()} == set(LABELS)
    table = TissueTable(np.random.default_rng(5))
    for name, tissue in TISSUES.items():
        assert abs(table.values[table.index(name), 0] - tissue.ct) <= 2.0 * tissue.ct_spread + 1e-3
