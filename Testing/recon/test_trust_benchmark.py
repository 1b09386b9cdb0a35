"""The shipped model: a tumour that only the MR shows, and whether uncertainty finds its errors."""

import numpy as np
import pytest
from tiny import image

from MSLFusionLib.benchmarks import trust
from MSLFusionLib.benchmarks.trust import area_under_curve, contrast, reconstructed, tumour_slice
from MSLFusionLib.io.checkpoints import find_model, load_checkpoint
from MSLFusionLib.phantom import head_slices
from MSLFusionLib.recon.reconstructor import Reconstructor
from MSLFusionLib.recon.simulate import SamplingPlan
from MSLFusionLib.recon.trust import TrustPlan

SEED = 900012


@pytest.fixture(scope="module")
def shipped() -> Reconstructor:
    return Reconstructor(load_checkpoint(find_model("msl-ct-t1")), "cpu")


def test_a_tumour_of_the_mr_alone_shows_only_where_the_mr_was_measured(shipped):
    options = shipped.options()
    one = tumour_slice(SEED, options.size, options.pixel_mm)
    assert contrast(one.mr, one) < -0.1
    share = {}
    for seen in (("ct", "mr"), ("ct",)):
        images, maps, calibrated = reconstructed(
            shipped, (one.ct, one.mr), SamplingPlan(), TrustPlan(2), seen, options.pixel_mm
        )
        assert calibrated
        share[seen] = contrast(images["mr"], one) / contrast(one.mr, one)
        for kind, truth in (("ct", one.ct), ("mr", one.mr)):
            error = np.abs(images[kind] - truth)
            found = area_under_curve(maps[f"uncertainty-{kind}"], error > np.percentile(error, 90))
            assert found > 0.7, (seen, kind, found)
    assert share["ct", "mr"] > 0.7
    assert abs(share["ct",]) < 0.3


def test_generated_heads_are_familiar_and_noise_is_not(shipped):
    head = head_slices(SEED, [-20.0, 10.0, 40.0], (256, 256), 1.0)
    ct, mr = (image(head[name].astype(np.float32), (1.0, 1.0, 8.0)) for name in ("ct", "t1"))
    volumes = [("head", ct, mr), ("noise", *trust.noise_like(ct, mr))]
    familiar, noise = trust.familiarity(shipped, volumes, SamplingPlan(), slices=3)
    assert familiar["score"] < 1
    assert noise["score"] > 2


def test_area_under_the_curve_of_known_scores():
    positive = np.array([False, False, True, True])
    assert area_under_curve(np.array([1.0, 2.0, 3.0, 4.0]), positive) == 1.0
    assert area_under_curve(np.array([4.0, 3.0, 2.0, 1.0]), positive) == 0.0
    assert area_under_curve(np.ones(4), positive) == 0.5
    assert area_under_curve(np.arange(4.0), np.ones(4, bool)) == 0.5
    assert area_under_curve(np.array([1.0, 3.0, 2.0, 4.0]), positive) == 0.75
