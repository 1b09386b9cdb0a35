"""Fusion methods: what each must give where the answer is known, in 2-D and 3-D, on any grid."""

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion import blend, guided, registry, scales
from MSLFusionLib.fusion.interface import Pair
from MSLFusionLib.fusion.prepare import check_values, guessed_modality, prepare
from MSLFusionLib.fusion.run import FIRST, fuse, measure, volume_of
from MSLFusionLib.progress import NO_JOB

GREY = [name for name, method in registry.METHODS.items() if not method.colour and method.needs != registry.MODEL]
SHAPES = (((33, 21), (1.0, 1.0)), ((9, 34, 21), (4.0, 1.0, 1.2)), ((8, 8), (1.0, 3.0)))


def images(shape, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.random(shape, dtype=np.float32) for _ in range(2)]


@pytest.mark.parametrize("name", GREY)
@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_two_equal_images_fuse_to_themselves(name, shape, spacing):
    image = images(shape)[0]
    fused = registry.find(name).fuse(Pair(image, image, spacing))
    assert fused.dtype == np.float32
    assert fused.shape == shape
    assert np.abs(fused - image).max() < 2e-5


@pytest.mark.parametrize("name", GREY)
def test_results_stay_in_range(name):
    a, b = images((9, 34, 21))
    fused = registry.find(name).fuse(Pair(a, 1 - b, (4.0, 1.0, 1.2)))
    assert fused.min() >= 0.0
    assert fused.max() <= 1.0
    assert np.ptp(fused) > 0.1


def test_alpha_and_maximum():
    a, b = images((16, 16))
    pair = Pair(a, b, (1.0, 1.0))
    assert np.allclose(registry.find("alpha").fuse(pair, {"weight": "0.25"}), 0.75 * a + 0.25 * b)
    assert np.array_equal(registry.find("maximum").fuse(pair), np.maximum(a, b))


def test_pca_weights_follow_the_spread_in_the_body():
    a, _ = images((32, 32))
    body = np.zeros(a.shape, bool)
    body[4:28, 4:28] = True
    b = np.where(body, 0.5 * a, 7.0).astype(np.float32)
    first, second = blend.pca_weights(Pair(a, b, (1.0, 1.0), body))
    # (a, a/2) lies along the axis (2, 1)
    assert (first, second) == pytest.approx((2 / 3, 1 / 3), abs=1e-6)
    assert blend.pca_weights(Pair(a, 1 - 0.5 * a, (1.0, 1.0))) == pytest.approx((2 / 3, 1 / 3), abs=1e-6)
    flat = np.full((32, 32), 0.5, np.float32)
    assert blend.pca_weights(Pair(flat, flat, (1.0, 1.0))) == (0.5, 0.5)


def test_a_detail_of_one_image_survives_whole_in_the_scales():
    """A fine pattern on grey fused with plain grey keeps its contrast; alpha blending halves it."""
    y, x = np.mgrid[:64, :64]
    pattern = (0.5 + 0.2 * ((x + y) % 2 * 2 - 1)).astype(np.float32)
    pair = Pair(pattern, np.full((64, 64), 0.5, np.float32), (1.0, 1.0))
    inner = (slice(16, -16),) * 2
    for name, kept in (("laplacian", 1.0), ("wavelet", 1.0), ("guided", 1.0), ("alpha", 0.5)):
        contrast = registry.find(name).fuse(pair)[inner].std() / pattern[inner].std()
        assert contrast == pytest.approx(kept, abs=0.02)


def test_the_pyramid_halves_fine_axes_first():
    assert scales.halved_axes((20, 256, 256), (4.0, 1.0, 1.0)) == (1, 2)
    assert scales.halved_axes((20, 64, 64), (4.0, 4.0, 4.0)) == (0, 1, 2)
    assert scales.halved_axes((5, 64, 64), (1.0, 4.0, 4.0)) == (1, 2)
    assert scales.halved_axes((4, 7, 7), (1.0, 1.0, 1.0)) == ()


def test_a_level_of_a_ramp_and_back():
    ramp = np.broadcast_to(np.arange(33, dtype=np.float32)[:, None], (33, 9))
    small = scales.reduced(ramp, (0,))
    assert np.allclose(small[2:-2, 0], np.arange(0, 33, 2)[2:-2])
    assert np.allclose(scales.expanded(small, (33, 9), (0,))[4:-4], ramp[4:-4], atol=1e-5)


def test_box_radii_are_lengths():
    point = np.zeros((9, 41, 41), np.float32)
    point[4, 20, 20] = 1.0
    spread = guided.box_mean(point, (5.0, 1.0, 2.0), 10.0) > 0
    reach = [np.ptp(np.flatnonzero(spread.any(axis=tuple(a for a in range(3) if a != axis)))) // 2 for axis in range(3)]
    assert reach == [2, 10, 5]


def test_the_guided_filter_follows_its_guide():
    """Smoothing a noisy edge with the clean edge as guide keeps the edge and removes the noise."""
    edge = np.zeros((40, 40), np.float32)
    edge[:, 20:] = 1.0
    noisy = edge + 0.1 * np.random.default_rng(0).standard_normal(edge.shape).astype(np.float32)
    result = guided.guided_filter(edge, noisy, (1.0, 1.0), 6.0, 1e-4)
    assert np.abs(result - edge).max() < 0.08


def test_the_overlay_shows_grey_alone_where_the_second_is_dark():
    a, b = images((16, 16))
    b[:8] = 0.0
    method = registry.find("overlay")
    colour = method.fuse(Pair(a, b, (1.0, 1.0)))
    assert colour.shape == (16, 16, 3)
    assert np.allclose(colour[:8], a[:8, :, None], atol=1e-6)
    assert np.ptp(colour[8:], axis=-1).max() > 0.3
    assert np.allclose(method.fuse(Pair(a, b, (1.0, 1.0)), {"opacity": 0}), a[..., None], atol=1e-6)


def test_wrong_settings_are_refused_in_one_sentence():
    method = registry.find("laplacian")
    for given, words in (
        ({"levels": "many"}, "whole number"),
        ({"levels": 0}, "from 1 to 8"),
        ({"level": 2}, "no setting 'level'"),
    ):
        with pytest.raises(InputError, match=words):
            method.settings(given)
    with pytest.raises(InputError, match="There is no wavelet 'nonsense'"):
        registry.find("wavelet").fuse(Pair(*images((16, 16)), (1.0, 1.0)), {"wavelet": "nonsense"})
    with pytest.raises(InputError, match="one of heat, ice"):
        registry.find("overlay").settings({"colours": "green"})
    with pytest.raises(InputError, match="no fusion method 'best'"):
        registry.find("best")


def test_without_pywavelets_the_method_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pywt", None)
    with pytest.raises(InputError, match="pip install PyWavelets"):
        registry.find("wavelet").fuse(Pair(*images((16, 16)), (1.0, 1.0)))


def test_pairs_must_fit_and_be_large_enough():
    a, b = images((16, 16))
    with pytest.raises(InputError, match="one grid"):
        Pair(a, b[:12], (1.0, 1.0))
    with pytest.raises(InputError, match="too few"):
        Pair(a[:7, :7], b[:7, :7], (1.0, 1.0))


def ball(values, size=24, spacing=(2.0, 2.0, 3.0), seed=0):
    """A ball of two values with some noise, background 0 or air."""
    inside, outside = values
    z, y, x = np.mgrid[:size, :size, :size] - (size - 1) / 2
    radius = np.sqrt(x * x + y * y + z * z)
    array = np.where(radius < 0.4 * size, np.where(x < 0, inside, 0.6 * inside), outside).astype(np.float32)
    array += np.random.default_rng(seed).random(array.shape, dtype=np.float32) * abs(inside) * 0.05
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((10.0, -20.0, 5.0))
    return image


def test_volumes_are_scaled_and_results_lie_on_the_first_grid():
    ct, mr = ball((60.0, -1000.0)), ball((900.0, 0.0), seed=1)
    assert (guessed_modality(ct), guessed_modality(mr)) == ("ct", "mr")
    prepared = prepare(ct, mr, ("ct", "mr"))
    middle = prepared.pair.first[12, 12, 6]
    assert middle == pytest.approx((1060 * 0.0192 / 1000) / 0.06, abs=0.01)
    assert (prepared.pair.second.min(), prepared.pair.second.max()) == (0.0, 1.0)
    assert prepared.pair.spacing == (3.0, 2.0, 2.0)
    for name in ("laplacian", "overlay"):
        fused = fuse(prepared, registry.find(name))
        volume = volume_of(fused, prepared.geometry)
        assert volume.GetSize() == ct.GetSize()
        assert volume.GetOrigin() == ct.GetOrigin()
        assert volume.GetSpacing() == ct.GetSpacing()
        assert volume.GetNumberOfComponentsPerPixel() == (3 if name == "overlay" else 1)
    rows = measure(prepared, [fused])
    assert [row["image"] for row in rows][:2] == ["Colour overlay", FIRST]
    assert rows[1]["ssim"] > rows[0]["ssim"]


def test_slices_may_be_fused_one_by_one():
    prepared = prepare(ball((700.0, 0.0)), ball((900.0, 0.0), seed=1), ("mr", "mr"))
    result = fuse(prepared, registry.find("laplacian"), slicewise=True).image
    pair = prepared.pair
    alone = registry.find("laplacian").fuse(Pair(pair.first[5], pair.second[5], pair.spacing[1:]), None, NO_JOB)
    assert np.array_equal(result[5], alone)


def test_what_cannot_be_fused_is_refused():
    mr = ball((900.0, 0.0))
    moved = ball((900.0, 0.0))
    moved.SetOrigin((0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="different grids"):
        prepare(mr, moved, ("mr", "mr"))
    with pytest.raises(InputError, match="PET volume has negative values"):
        check_values(mr - 50.0, "pet", "second")
    with pytest.raises(InputError, match="constant"):
        check_values(mr * 0.0, "mr", "second")
    with pytest.raises(InputError, match="'xray'"):
        check_values(mr, "xray", "first")
    check_values(mr - 0.5, "pet", "second")  # what interpolation leaves below zero is no reason to stop
