"""Baselines: tuned where the truth is known, kept in a folder, and computed once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_model import ellipsoids

from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.experiments import classical as module
from MSLFusionLib.experiments.classical import (
    NAMES,
    TV_CT,
    TV_MR,
    WAVELET_MR,
    Classical,
    Effort,
    pixel_blend,
    reconstructed,
    tuned,
)
from MSLFusionLib.physics.units import MU_MAX
from MSLFusionLib.progress import Job
from MSLFusionLib.recon.simulate import SamplingPlan, SensorBatch
from MSLFusionLib.recon.slices import VolumeOptions
from MSLFusionLib.recon.sources import VolumeSource

OPTIONS = VolumeOptions(size=(48, 48), pixel_mm=4.0)
PLAN = SamplingPlan(views=24, acceleration=4)
NOISY = SamplingPlan(views=24, acceleration=4, photons=1e3, kspace_sigma=0.2)
QUICK = Effort(30, 30, 30)
SOME = np.array([1, 3])


@pytest.fixture
def small_tuning(monkeypatch):
    """The head that weights are tuned on, with few voxels."""
    monkeypatch.setattr(module, "_TUNING_SIZE", (40, 40, 5))
    monkeypatch.setattr(module, "_TUNING_SPACING", (6.0, 6.0, 28.0))


def measured(plan: SamplingPlan) -> tuple[VolumeSource, SensorBatch, list[torch.Tensor]]:
    source = VolumeSource(*ellipsoids(), plan, OPTIONS)
    truths = [torch.from_numpy(part)[:, None] for part in source.truth(SOME)]
    return source, source.measure(SOME, torch.device("cpu")), truths


def psnr(images: torch.Tensor, truth: torch.Tensor) -> float:
    return float(-10 * (images - truth).square().mean(dim=(1, 2, 3)).log10().mean())


@pytest.mark.parametrize("name", NAMES)
def test_the_tuned_weight_is_the_best_and_noise_asks_for_more(name):
    found = {}
    for plan in (PLAN, NOISY):
        source, data, (ct, mr) = measured(plan)
        data = replace(data, kspace=None) if name == TV_CT else replace(data, sinogram=None)
        truth = ct if name == TV_CT else mr
        weight = tuned(name, source.scanners, data, truth, 40)
        around = [reconstructed(name, source.scanners, data, weight * f, 40) for f in (1 / 4, 1, 4)]
        best = [psnr(images, truth) for images in around]
        assert best[1] >= max(best) - 0.05
        found[plan] = weight
        sensor = source.scanners.images(data)[0 if name == TV_CT else 1]
        assert best[1] > psnr(sensor, truth) + 1.0
    assert found[NOISY] > 1.5 * found[PLAN]


def test_images_are_kept_and_shared_by_plans_that_differ_in_the_other_modality(small_tuning, tmp_path, monkeypatch):
    source = measured(PLAN)[0]
    first = Classical(OPTIONS, QUICK, tmp_path / "store")
    images = {name: first.images(name, source, SOME, PLAN) for name in NAMES}
    weights = {name: first.weight(name, PLAN) for name in NAMES}
    # The two slices of this head are equal, and so is what was measured of them: one image serves both.
    assert sorted(path.suffix for path in (tmp_path / "store").iterdir()) == [".json"] * 3 + [".npy"] * 3

    def never(*_args, **_more):
        raise AssertionError("computed again")

    monkeypatch.setattr(module, "reconstructed", never)
    again = Classical(OPTIONS, QUICK, tmp_path / "store")
    for name in NAMES:
        assert again.weight(name, PLAN) == weights[name]
        np.testing.assert_allclose(again.images(name, source, SOME[::-1], PLAN), images[name][::-1], atol=1e-5)
    other = replace(PLAN, acceleration=8.0, kspace_sigma=0.1)
    assert again.images(TV_CT, source, SOME, other).shape == (2, 48, 48)
    with pytest.raises(AssertionError, match="computed again"):
        again.images(TV_MR, source, SOME, other)
    with pytest.raises(AssertionError, match="computed again"):
        again.images(WAVELET_MR, source, SOME, replace(PLAN, kspace_sigma=0.1))
    with pytest.raises(AssertionError, match="computed again"):
        again.images(TV_CT, source, SOME, replace(PLAN, views=12))
    for path in (tmp_path / "store").iterdir():
        path.write_bytes(b"?")
    with pytest.raises(InputError, match="remove it"):
        Classical(OPTIONS, QUICK, tmp_path / "store").weight(TV_CT, PLAN)


def test_a_batch_is_as_good_as_slices_one_by_one_and_nothing_needs_to_be_kept(small_tuning):
    source, data, (ct, _) = measured(PLAN)
    engine = Classical(OPTIONS, QUICK)
    images = engine.images(TV_CT, source, SOME, PLAN)
    weight = float(f"{engine.weight(TV_CT, PLAN):.4g}")
    alone = reconstructed(TV_CT, source.scanners, SensorBatch(data.sinogram[1:], None), weight, 30)
    np.testing.assert_allclose(images[1], alone[0, 0].numpy(), atol=1e-4)
    assert psnr(torch.from_numpy(images)[:, None], ct) > psnr(source.scanners.ct.fbp(data.sinogram) / MU_MAX, ct)


def test_what_cannot_be_done_is_refused():
    source, data, (ct, _) = measured(PLAN)
    with pytest.raises(InputError, match="Unknown reconstruction"):
        reconstructed("magic", source.scanners, data, 1.0, 1)
    with pytest.raises(InputError, match="sinogram"):
        reconstructed(TV_CT, source.scanners, replace(data, sinogram=None), 1.0, 1)
    with pytest.raises(InputError, match="k-space"):
        reconstructed(TV_MR, source.scanners, replace(data, kspace=None), 1.0, 1)
    with pytest.raises(Cancelled):
        tuned(TV_CT, source.scanners, replace(data, kspace=None), ct, 5, Job(cancelled=lambda: True))


def test_blending_pixels():
    ct, mr = np.zeros((2, 3, 3), np.float32), np.ones((2, 3, 3), np.float32)
    assert pixel_blend(ct, mr, 0.25) == pytest.approx(0.25)
    with pytest.raises(InputError, match="between 0 and 1"):
        pixel_blend(ct, mr, 1.5)
    with pytest.raises(InputError, match="shapes"):
        pixel_blend(ct, mr[:1], 0.5)
