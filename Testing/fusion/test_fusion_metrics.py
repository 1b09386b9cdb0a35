"""The ten measures against values that are known from their definitions."""

import math

import numpy as np
import pytest
from scipy import ndimage

from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion import metrics

PERFECT = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-4.4))
"""Qabf where strength and direction are kept: G = O = 1."""


@pytest.fixture(scope="module")
def texture():
    """Smooth random images in [0, 1], 64 x 64."""
    generator = np.random.default_rng(1)
    images = [ndimage.gaussian_filter(generator.random((64, 64)), 1.5) for _ in range(2)]
    return [((image - image.min()) / np.ptp(image)).astype(np.float32) for image in images]


def test_entropy_of_equally_frequent_values():
    image = np.repeat(np.arange(16) / 16.0, 4).reshape(8, 8)
    assert metrics.entropy(image) == pytest.approx(4.0)
    assert metrics.entropy(np.full((8, 8), 0.3)) == 0.0


def test_information_of_independent_and_of_equal_images():
    # All four pairs of two values are equally frequent: nothing is shared. The copy shares ln 2 with itself.
    a, b = np.meshgrid([0.1, 0.1, 0.9, 0.9], [0.1, 0.1, 0.9, 0.9])
    assert metrics.shared_information(a, b, a) == pytest.approx((math.log(2), 1.0))
    assert metrics.shared_information(a, a, 1 - a) == pytest.approx((2 * math.log(2), 2.0))
    assert metrics.shared_information(a, b, np.full_like(a, 0.5)) == (0.0, 0.0)


def test_feature_information_knows_a_copy_and_a_stranger(texture):
    a, b = texture
    assert metrics.feature_information(a, a, a, (1, 1)) == pytest.approx(1.0, abs=1e-4)
    copy, stranger = (metrics.feature_information(a, a, image, (1, 1)) for image in (0.5 * a + 0.2, b))
    assert copy == pytest.approx(1.0, abs=0.02)
    assert stranger < 0.25
    assert metrics.feature_information(a, b, np.zeros_like(a), (1, 1)) == pytest.approx(0.0, abs=1e-9)
    flat = np.zeros_like(a)
    assert metrics.feature_information(flat, flat, flat, (1, 1)) is None


def test_edge_preservation_of_a_perfect_copy_and_of_nothing(texture):
    a, b = texture
    assert metrics.edge_preservation(a, a, a, (1, 1)) == pytest.approx(PERFECT, abs=1e-4)
    # Without an edge in F: G = 0, and no direction, O = 0 where arccos is 90 degrees.
    nothing = 0.9994 / (1 + math.exp(7.5)) * 0.9879 / (1 + math.exp(17.6))
    assert metrics.edge_preservation(a, b, np.zeros_like(a), (1, 1)) == pytest.approx(nothing, abs=1e-9)
    flat = np.zeros_like(a)
    assert metrics.edge_preservation(flat, flat, a, (1, 1)) is None


def test_edge_preservation_of_ramps_at_an_angle():
    y, x = np.mgrid[:32, :32] / 64.0
    inside = np.zeros((32, 32), bool)
    inside[2:-2, 2:-2] = True
    for degrees in (0.0, 30.0, 60.0, 180.0):
        turned = np.cos(np.radians(degrees)) * x + np.sin(np.radians(degrees)) * y
        line = min(degrees % 180, 180 - degrees % 180)
        expected = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-22 * (1 - line / 90 - 0.8)))
        assert metrics.edge_preservation(x, x, turned, (1, 1), inside) == pytest.approx(expected, rel=1e-3)


def test_edges_are_weighed_by_length_not_by_voxels():
    x = np.broadcast_to(np.arange(16)[:, None, None] / 16.0, (16, 16, 16))
    strength, parts = metrics.gradient(x, (4.0, 1.0, 1.0))
    assert np.allclose(strength[8, 8, 8], 32 * 2 / 16 / 2 / 4 * 1.0)
    assert np.count_nonzero(parts[1]) == 0


def test_similarity_is_the_mean_of_both(texture):
    a, b = texture
    assert metrics.similarity(a, a, a) == pytest.approx(1.0)
    one = metrics.metrics.ssim(a, b)
    assert metrics.similarity(a, b, a) == pytest.approx((1 + one) / 2)
    assert metrics.similarity(a[:9], b[:9], a[:9]) is None
    thin = [np.stack([image] * 3) for image in texture]
    assert metrics.similarity(thin[0], thin[1], thin[0]) == pytest.approx((1 + one) / 2, abs=1e-6)


def test_differences_of_a_sum_belong_to_the_other_source(texture):
    a, b = texture
    assert metrics.correlations_of_differences(a, b, a + b) == pytest.approx(2.0)
    r = float(np.corrcoef((a - b).ravel(), a.ravel())[0, 1])
    assert metrics.correlations_of_differences(a, b, a) == pytest.approx(r, abs=1e-5)
    assert metrics.correlations_of_differences(a, a, a) == 0.0


def test_visual_information_of_a_gain(texture):
    a = texture[0]
    assert metrics.visual_information(a, a) == pytest.approx(1.0, abs=1e-5)
    # With F = g A and no noise the ratio is that of logarithms of 1 + g^2 v / s and 1 + v / s: more for g above 1.
    assert metrics.visual_information(a, 2 * a) > 1.0
    assert metrics.visual_information(a, np.zeros_like(a)) == pytest.approx(0.0, abs=1e-6)
    assert metrics.visual_information(np.zeros_like(a), a) is None
    assert metrics.fidelity(a[:40], a[:40], a[:40]) is None


def test_visual_information_agrees_with_torchmetrics(texture):
    functional = pytest.importorskip("torchmetrics.functional.image")
    torch = pytest.importorskip("torch")
    a, b = (torch.from_numpy(image.astype(np.float64))[None, None] * 255 for image in texture)
    expected = float(functional.visual_information_fidelity(0.5 * a + 0.5 * b, a))
    mixed = 0.5 * texture[0].astype(np.float64) + 0.5 * texture[1]
    assert metrics.visual_information(texture[0], mixed) == pytest.approx(expected, rel=1e-4)


def test_frequency_and_gradient_of_a_ramp():
    image = np.broadcast_to(np.arange(10) * 0.1, (8, 6, 10))
    assert metrics.spatial_frequency(image) == pytest.approx(0.1)
    # nine of ten elements have a neighbour 0.1 larger, on one of three axes
    assert metrics.average_gradient(image) == pytest.approx(0.9 * 0.1 / math.sqrt(3))
    both = image + np.broadcast_to(np.arange(6)[:, None] * 0.2, (8, 6, 10))
    assert metrics.spatial_frequency(both) == pytest.approx(math.hypot(0.1, 0.2))


def test_all_ten_are_reported_together_within_the_body(texture):
    a, b = (np.stack([image] * 12) for image in texture)
    body = np.zeros(a.shape, bool)
    body[:, 8:56, 8:56] = True
    found = metrics.evaluate(a, b, (a + b) / 2, (3.0, 1.0, 1.0), body)
    assert list(found) == [metric.key for metric in metrics.METRICS]
    assert all(value is not None and math.isfinite(value) for value in found.values())
    outside = np.where(body, (a + b) / 2, 0.0)
    changed = metrics.evaluate(a, b, outside, (3.0, 1.0, 1.0), body)
    for key in ("mi", "nmi", "scd", "en", "sf"):
        assert changed[key] == pytest.approx(found[key], rel=1e-6)


def test_images_of_different_shape_and_an_empty_body_are_refused(texture):
    a, b = texture
    with pytest.raises(InputError, match="one shape"):
        metrics.evaluate(a, b[:32], a)
    with pytest.raises(InputError, match="empty"):
        metrics.evaluate(a, b, a, body=np.zeros(a.shape, bool))
