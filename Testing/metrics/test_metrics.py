"""Metrics against closed forms and against scikit-image."""

import math

import numpy as np
import pytest

from MSLFusionLib.errors import InputError
from MSLFusionLib.metrics import mae, mutual_information, psnr, ssim

skimage = pytest.importorskip("skimage.metrics")


def noisy_pair(*shape, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.random(shape).cumsum(axis=-1)
    a /= a.max()
    return a, (a + 0.1 * rng.standard_normal(shape)).clip(0, 1)


def test_mae_and_psnr_of_a_constant_offset():
    a = np.zeros((4, 5))
    assert mae(a, a + 0.25) == 0.25
    assert psnr(a, a + 0.1) == pytest.approx(20.0)
    assert psnr(a, a + 10.0, data_range=1000.0) == pytest.approx(40.0)
    assert psnr(a, a) == math.inf


def test_psnr_equals_scikit_image():
    a, b = noisy_pair(40, 50)
    assert psnr(a, b) == pytest.approx(skimage.peak_signal_noise_ratio(a, b, data_range=1.0), abs=1e-9)


@pytest.mark.parametrize("shape", [(40, 51), (20, 30, 25)])
@pytest.mark.parametrize("data_range", [1.0, 3.0])
def test_ssim_equals_scikit_image(shape, data_range):
    a, b = noisy_pair(*shape)
    expected = skimage.structural_similarity(
        a, b, data_range=data_range, gaussian_weights=True, use_sample_covariance=False
    )
    assert ssim(a, b, data_range) == pytest.approx(expected, abs=1e-6)
    single = ssim(a.astype(np.float32), b.astype(np.float32), data_range)
    assert single == pytest.approx(expected, abs=1e-6)


def test_ssim_by_slices_is_the_mean_over_slices():
    a, b = noisy_pair(5, 30, 25)
    assert ssim(a, b, slice_axis=0) == pytest.approx(np.mean([ssim(a[k], b[k]) for k in range(5)]))
    turned = [np.moveaxis(values, 0, 2) for values in (a, b)]
    assert ssim(*turned, slice_axis=2) == pytest.approx(ssim(a, b, slice_axis=0))


def test_ssim_of_equal_and_of_opposite_images():
    a, _ = noisy_pair(40, 40)
    assert ssim(a, a) == pytest.approx(1.0)
    assert ssim(a, 1 - a) < 0.2


def test_a_mask_hides_everything_outside():
    a, b = noisy_pair(40, 40)
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:20, 10:30] = True
    spoiled = np.where(mask, b, 7.0)
    assert mae(a, spoiled, mask) == pytest.approx(np.abs(a - b)[mask].mean())
    assert psnr(a, spoiled, mask=mask) == psnr(a, b, mask=mask)
    assert mutual_information(a, spoiled, mask=mask) == mutual_information(a, b, mask=mask)
    _, full = skimage.structural_similarity(
        a, b, data_range=1.0, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    assert ssim(a, b, mask=mask) == pytest.approx(full[mask].mean(), abs=1e-6)


def test_mutual_information_of_an_image_with_itself_is_its_entropy():
    levels = np.repeat(np.arange(4.0), 25)
    assert mutual_information(levels, levels, bins=4) == pytest.approx(math.log(4))
    assert mutual_information(levels, -levels, bins=4, base=2) == pytest.approx(2.0)
    assert mutual_information(levels, levels, bins=256) == pytest.approx(math.log(4))


def test_mutual_information_of_independent_and_of_constant_images_is_zero():
    a, b = np.meshgrid(np.arange(8.0), np.arange(8.0))
    assert mutual_information(a, b, bins=8) == pytest.approx(0.0, abs=1e-12)
    assert mutual_information(a, np.ones_like(a)) == 0.0


def test_mutual_information_of_a_noisy_binary_channel():
    """A channel that flips a quarter of the bits carries 1 - H(1/4) bits."""
    a = np.repeat([0.0, 1.0], 400)
    b = np.where(np.tile(np.arange(4) == 0, 200), 1 - a, a)
    entropy = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert mutual_information(a, b, bins=2, base=2) == pytest.approx(1 - entropy)


def test_mutual_information_with_stated_limits():
    a = np.array([0.1, 0.2, 0.6, 0.7])
    assert mutual_information(a, a, bins=2, limits=(0.0, 1.0)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("metric", [mae, psnr, ssim, mutual_information])
def test_what_cannot_be_compared_is_refused(metric):
    a = np.ones((20, 20))
    with pytest.raises(InputError, match="different shapes"):
        metric(a, np.ones((20, 21)))
    with pytest.raises(InputError, match="different shapes"):
        metric(a, a, mask=np.ones((20, 21), dtype=bool))
    with pytest.raises(InputError, match="nothing to compare"):
        metric(a, a, mask=np.zeros((20, 20), dtype=bool))


def test_images_smaller_than_the_window_have_no_ssim():
    with pytest.raises(InputError, match="window"):
        ssim(np.ones((8, 40)), np.ones((8, 40)))
