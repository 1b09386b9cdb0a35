"""Data consistency and its comparison on volumes that do not lie as the network would have them."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from fake_model import FakeLoaded, ellipsoids

from MSLFusionLib import metrics
from MSLFusionLib.benchmarks.consistency import run
from MSLFusionLib.recon.body import body_mask
from MSLFusionLib.recon.reconstructor import Reconstructor
from MSLFusionLib.recon.simulate import SamplingPlan

PLAN = SamplingPlan(views=24, acceleration=4)
_TILT = math.radians(20)
OBLIQUE = (1, 0, 0, 0, math.cos(_TILT), -math.sin(_TILT), 0, math.sin(_TILT), math.cos(_TILT))
CORONAL = (1, 0, 0, 0, 0, 1, 0, -1, 0)


@pytest.mark.parametrize(
    ("size", "spacing", "direction", "pixel_mm"),
    [
        ((40, 44, 4), (4.0, 4.0, 5.0), OBLIQUE, None),
        ((52, 36, 4), (3.0, 5.0, 11.0), OBLIQUE, None),
        ((40, 44, 4), (4.0, 4.0, 5.0), CORONAL, None),
        ((4, 44, 40), (9.0, 4.0, 4.0), (1, 0, 0, 0, 1, 0, 0, 0, 1), None),
        # 2.5 mm pixels show 120 mm of a 240 mm wide volume.
        ((60, 60, 4), (4.0, 4.0, 5.0), OBLIQUE, 2.5),
    ],
)
def test_corrected_volumes_are_nearer_on_every_grid(size, spacing, direction, pixel_mm):
    ct, mr = ellipsoids(size, spacing, direction)
    engine = Reconstructor(FakeLoaded(), "cpu")
    inside = body_mask(ct, "ct")
    found = {}
    for wanted in (False, True):
        result = engine.reconstruct(
            (0.0, 1.0), ct=ct, mr=mr, plan=PLAN, pixel_mm=pixel_mm, consistency=wanted, ground_truth=True
        )
        images = [sitk.GetArrayFromImage(image) for _, image in result.hybrids]
        truths = [sitk.GetArrayFromImage(result.others[kind]) for kind in ("truth-ct", "truth-mr")]
        assert result.hybrids[0][1].GetDirection() == pytest.approx(ct.GetDirection())
        found[wanted] = [metrics.psnr(a, b, mask=inside) for a, b in zip(images, truths, strict=True)]
    if pixel_mm is None:
        assert found[True][0] > found[False][0] + 1.0
    assert found[True][1] > found[False][1] + 1.0
    assert np.isfinite(found[True]).all()


def test_the_comparison_takes_oblique_and_anisotropic_volumes():
    figures = run(Reconstructor(FakeLoaded(), "cpu"), [ellipsoids((52, 36, 4), (3.0, 5.0, 11.0), OBLIQUE)], PLAN, 2)
    rows = {row["image"]: row for row in figures["images"]}
    assert rows["CT consistent"]["worst_db"] > 1.0
    assert rows["MR consistent"]["worst_db"] > 1.0
