"""Sensors simulated on network slices."""

import numpy as np
import pytest
import torch
from fake_model import ellipsoids

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.units import MU_MAX
from MSLFusionLib.recon.simulate import SamplingPlan, Scanners
from MSLFusionLib.recon.sources import VolumeOptions, VolumeSource

NOISY = SamplingPlan(views=24, acceleration=3, photons=2e4, kspace_sigma=0.02, seed=5)


def slices(count: int = 5, size: int = 48) -> torch.Tensor:
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, size),) * 2, indexing="ij")
    return torch.stack([(((x / 0.7) ** 2 + (y / (0.5 + 0.05 * k)) ** 2) < 1) * 0.32 for k in range(count)])[:, None]


def test_line_integrals_are_of_attenuation_in_mm():
    """Through the middle of a disc of radius 40 mm of water the line integral is 80 mm * 0.0192 / mm."""
    y, x = np.mgrid[:64, :64] - 31.5
    disc = torch.from_numpy(((x**2 + y**2) < 20**2) * np.float32(0.0192 / MU_MAX))[None, None].float()
    scanners = Scanners.of_plan(SamplingPlan(views=8), (64, 64), 2.0, modalities=["ct"])
    sinogram = scanners.measure(disc, None, [0]).sinogram
    assert sinogram.max().item() == pytest.approx(80 * 0.0192, rel=0.02)


def test_noise_does_not_depend_on_the_batches():
    scanners = Scanners.of_plan(NOISY, (48, 48), 4.0)
    image = slices()
    whole = scanners.measure(image, image, range(5))
    parts = [scanners.measure(image[k : k + 2], image[k : k + 2], range(k, min(k + 2, 5))) for k in (0, 2, 4)]
    assert torch.cat([p.sinogram for p in parts]) == pytest.approx(whole.sinogram, abs=1e-5)
    assert torch.cat([p.kspace for p in parts]).numpy() == pytest.approx(whole.kspace.numpy(), abs=1e-6)


def test_noise_differs_between_slices_and_seeds_and_repeats():
    image = slices(1).expand(2, -1, -1, -1)
    measure = Scanners.of_plan(NOISY, (48, 48), 4.0).measure
    batch, again = measure(image, image, [3, 4]), measure(image, image, [3, 4])
    assert torch.equal(batch.sinogram, again.sinogram)
    assert torch.equal(batch.kspace, again.kspace)
    assert not torch.equal(batch.sinogram[0], batch.sinogram[1])
    assert not torch.equal(batch.kspace[0], batch.kspace[1])
    plan = SamplingPlan.from_dict(NOISY.to_dict() | {"seed": 6})
    other = Scanners.of_plan(plan, (48, 48), 4.0).measure(image, image, [3, 4])
    assert not torch.equal(batch.sinogram, other.sinogram)


def test_sensor_images_lie_in_the_unit_interval_and_resemble_the_slices():
    scanners = Scanners.of_plan(SamplingPlan(views=120, acceleration=2), (48, 48), 4.0)
    image = slices()
    fbp, zero_filled = scanners.images(scanners.measure(image, image, range(5)))
    for seen in (fbp, zero_filled):
        assert seen.shape == image.shape
        assert 0 <= float(seen.min()) <= float(seen.max()) <= 1
    assert float((fbp - image).abs().mean()) < 0.02
    assert float((zero_filled - image).abs().mean()) < 0.03


def test_achieved_sampling_is_told():
    achieved = Scanners.of_plan(SamplingPlan(views=30, acceleration=4), (48, 48), 4.0).achieved()
    assert achieved["ct"]["views"] == 30
    assert (achieved["mr"]["columns"], achieved["mr"]["of"]) == (12, 48)
    assert achieved["mr"]["acceleration"] == 4.0
    assert "ct" not in Scanners.of_plan(SamplingPlan(), (48, 48), 4.0, modalities=["mr"]).achieved()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("views", 0, "number of views"), ("views", 2.5, "number of views"), ("scan", "half", "Unknown scan"),
     ("acceleration", 0.5, "Acceleration 0.5 is impossible"), ("acceleration", float("nan"), "impossible"),
     ("mask", "spiral", "Unknown k-space mask"), ("centre_fraction", 0.0, "centre fraction"),
     ("photons", 0.0, "photon count"), ("kspace_sigma", -1.0, "k-space noise"), ("seed", -1, "seed")],
)  # fmt: skip
def test_impossible_plans_are_refused(field, value, words):
    with pytest.raises(InputError, match=words):
        SamplingPlan(**{field: value})


def test_acceleration_beyond_the_columns_is_refused():
    with pytest.raises(InputError, match="impossible"):
        Scanners.of_plan(SamplingPlan(acceleration=100), (48, 48), 4.0)


def test_plan_survives_a_dictionary():
    assert SamplingPlan.from_dict(NOISY.to_dict()) == NOISY
    with pytest.raises(InputError, match="damaged"):
        SamplingPlan.from_dict({"view": 3})


def test_truth_is_scaled_masked_and_oriented():
    ct, mr = ellipsoids()
    source = VolumeSource(ct, mr, SamplingPlan(), VolumeOptions((48, 48), 4.0))
    seen_ct, seen_mr = source.truth(np.arange(6))
    assert seen_ct.shape == seen_mr.shape == (6, 48, 48)
    assert seen_ct[3, 24, 24] == pytest.approx(0.32 * 1.04, abs=1e-3)
    assert seen_ct[:, 0].max() == seen_mr[:, 0].max() == 0
    assert source.report()["outside_body"] == "set to air"


def test_what_lies_outside_the_body_is_air_unless_kept():
    ct, _ = ellipsoids()
    # A wire beside the head, too thin to be body.
    ct[1, 5, 2] = 1000.0
    masked = VolumeSource(ct, None, SamplingPlan(), VolumeOptions((48, 48), 4.0)).truth(np.arange(6))[0]
    kept = VolumeSource(ct, None, SamplingPlan(), VolumeOptions((48, 48), 4.0, mask_outside=False)).truth(np.arange(6))[
        0
    ]
    assert masked[2, 7, 5] == 0
    assert kept[2, 7, 5] > 0.5


def test_slices_without_body_are_not_occupied():
    ct, mr = ellipsoids()
    ct[:, :, 0:2] = -1000.0
    mr[:, :, 0:1] = 2.0
    options = VolumeOptions((48, 48), 4.0)
    assert VolumeSource(ct, mr, SamplingPlan(), options).occupied.tolist() == [1, 2, 3, 4, 5]
    assert VolumeSource(ct, None, SamplingPlan(), options).occupied.tolist() == [2, 3, 4, 5]


def test_volumes_on_different_grids_are_refused():
    ct, mr = ellipsoids()
    mr.SetOrigin((0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="not on the CT's grid"):
        VolumeSource(ct, mr, SamplingPlan())
    with pytest.raises(InputError, match="Give a CT"):
        VolumeSource(None, None, SamplingPlan())
