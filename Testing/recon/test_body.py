"""Body masks, CT values that are not HU, MR scaling."""

import numpy as np
import pytest
import SimpleITK as sitk
from fake_model import ellipsoids

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import Job
from MSLFusionLib.recon.body import HounsfieldScale, body_mask, hounsfield_scale
from MSLFusionLib.recon.scaling import IntensityScale, mr_scale


def patient(padding: float = -1000.0) -> tuple[sitk.Image, np.ndarray]:
    """A body with an airway and a lung, on a table with a cushion, and the mask that it should give."""
    y, x = np.mgrid[:128, :128]
    inside = ((x - 64) / 45) ** 2 + ((y - 55) / 35) ** 2 < 1
    plane = np.where(inside, 40.0, -1000.0)
    plane[(x - 45) ** 2 + (y - 50) ** 2 < 10**2] = -850.0
    plane[(x - 70) ** 2 + (y - 50) ** 2 < 4**2] = -1000.0
    plane[(y >= 92) & (y < 97)] = -900.0
    plane[(y >= 97) & (y < 99)] = 300.0
    plane[(x - 64) ** 2 + (y - 64) ** 2 > 64**2] = padding
    array = np.repeat(plane[None], 4, axis=0).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.5, 1.5, 3.0))
    return image, np.repeat(inside[None], 4, axis=0)


def linear(image: sitk.Image, slope: float, offset: float) -> sitk.Image:
    return sitk.ShiftScale(image, offset / slope, slope)


@pytest.mark.parametrize("padding", [-1000.0, -2050.0, -3024.0])
def test_ct_body_has_no_table_and_no_holes(padding):
    image, expected = patient(padding)
    said: list[str] = []
    mask = body_mask(image, "ct", job=Job(warn=said.append))
    assert np.array_equal(mask, expected)
    assert said == []
    assert hounsfield_scale(image).to_hu(np.array([padding]))[0] >= -1024


def test_body_of_two_legs_and_not_of_a_speck():
    array = np.full((3, 60, 100), -1000.0, np.float32)
    array[:, 20:50, 5:35] = 30
    array[:, 20:50, 60:90] = 30
    array[:, 2:6, 45:49] = 30
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((2.0, 2.0, 5.0))
    mask = body_mask(image, "ct")
    assert mask[:, :, 5:35].any()
    assert mask[:, :, 60:90].any()
    assert not mask[:, :10].any()


def test_mask_follows_another_slice_axis():
    image, expected = patient()
    turned = sitk.PermuteAxes(image, (2, 0, 1))
    mask = body_mask(turned, "ct", slice_axis=2)
    assert np.array_equal(mask.transpose(2, 0, 1), expected)


def test_ct_in_hu_is_left_alone():
    image, _ = patient()
    scale = hounsfield_scale(image)
    assert scale == HounsfieldScale()
    values = np.array([-3024.0, -1024.0, 0.0, 2500.0])
    assert scale.to_hu(values).tolist() == [-1024.0, -1024.0, 0.0, 2500.0]


def test_ct_in_hu_cut_from_inside_the_body_is_left_alone():
    rng = np.random.default_rng(4)
    tissue = rng.normal(40, 15, (6, 40, 40))
    tissue[:, :10] = rng.normal(-100, 10, (6, 10, 40))
    tissue[:, 30:34] = rng.normal(900, 150, (6, 4, 40))
    said: list[str] = []
    image = sitk.GetImageFromArray(tissue.astype(np.float32))
    assert hounsfield_scale(image, Job(warn=said.append)) == HounsfieldScale()
    assert said == []


def test_ct_clipped_to_a_window_is_stretched():
    image, _ = patient()
    clipped = sitk.Clamp(image, sitk.sitkFloat32, -200.0, 300.0)
    scale = hounsfield_scale(clipped)
    assert scale.to_hu(np.array([-200.0, 40.0])) == pytest.approx([-1000.0, 40.0], abs=1.0)


def test_ct_stored_with_an_offset_is_shifted_with_one_warning():
    image, expected = patient()
    said: list[str] = []
    job = Job(warn=said.append)
    shifted = linear(image, 1.0, 1024.0)
    scale = hounsfield_scale(shifted, job)
    assert len(said) == 1
    assert "not in HU" in said[0]
    assert scale.to_hu(np.array([24.0, 1064.0])) == pytest.approx([-1000.0, 40.0], abs=1e-3)
    assert np.array_equal(body_mask(shifted, "ct", scale), expected)


def test_cormack_units_are_recognised():
    """Templates of the Clinical Toolbox: -100..100 HU take 2200 units instead of 200."""
    image, _ = patient()
    hu = sitk.GetArrayFromImage(image)
    stretched = hu + 1000 + 10 * np.clip(hu + 100, 0, 200)
    scale = hounsfield_scale(sitk.GetImageFromArray(stretched.astype(np.float32)))
    assert scale.to_hu(stretched) == pytest.approx(hu, abs=0.01)
    assert scale.to_hu(np.array([4600.0]))[0] == pytest.approx(1600.0)


def test_other_units_are_stretched_from_air_to_soft_tissue():
    image, expected = patient()
    eight_bit = linear(image, 0.05, 50.0)
    said: list[str] = []
    scale = hounsfield_scale(eight_bit, Job(warn=said.append))
    assert "0 as air and 52 as soft tissue" in said[0]
    assert scale.to_hu(np.array([0.0, 52.0])) == pytest.approx([-1000.0, 40.0], abs=1.0)
    assert np.array_equal(body_mask(eight_bit, "ct", scale), expected)


def test_template_of_the_shared_data(shared_data):
    ct = sitk.ReadImage(str(shared_data / "templates_mni" / "scct.nii"), sitk.sitkFloat32)
    scale = hounsfield_scale(ct)
    hu = scale.to_hu(sitk.GetArrayViewFromImage(ct))
    brain = hu[45, 45:60, 30:60]
    assert 20 < np.median(brain) < 70
    assert 400 < hu.max() < 1200
    mask = body_mask(ct, "ct", scale)
    assert 0.4 < mask.mean() < 0.7
    assert mask[45, 54, 45]


@pytest.mark.parametrize("factor", [1.0, 1e-3, 50.0])
def test_mr_body_is_filled_and_ignores_noise_and_units(factor):
    _, mr = ellipsoids()
    array = sitk.GetArrayFromImage(mr)
    noisy = (array + np.random.default_rng(0).rayleigh(8, array.shape)) * factor
    image = sitk.GetImageFromArray(noisy.astype(np.float32))
    image.CopyInformation(mr)
    assert (body_mask(image, "mr") == (array > 2)).mean() > 0.99


def test_empty_ct_uses_all_of_it_and_says_so():
    array = np.full((2, 20, 20), -1000.0, np.float32)
    array[0, 0, 0] = -990.0
    said: list[str] = []
    assert body_mask(sitk.GetImageFromArray(array), "ct", job=Job(warn=said.append)).all()
    assert said == ["No body was found in the CT volume; all of the volume is used."]


def test_unusable_volumes_are_refused():
    constant = sitk.GetImageFromArray(np.full((2, 8, 8), 5.0, np.float32))
    with pytest.raises(InputError, match="constant"):
        body_mask(constant, "ct")
    with pytest.raises(InputError, match="constant"):
        body_mask(constant, "mr")
    with pytest.raises(InputError, match="constant"):
        mr_scale(constant, None)
    with pytest.raises(InputError, match="modality"):
        body_mask(patient()[0], "pet")
    with pytest.raises(InputError, match="Unknown MR scaling"):
        mr_scale(patient()[0], None, "median")


def test_mr_percentiles_of_the_body_ignore_outliers():
    values = np.linspace(100, 300, 10_001, dtype=np.float32).reshape(1, 73, 137)
    values[0, 0, 0] = 1e6
    body = np.ones(values.shape, bool)
    body[0, -1] = False
    scale = mr_scale(sitk.GetImageFromArray(values), body)
    assert (scale.low, scale.high) == pytest.approx(tuple(np.percentile(values[body], (0.5, 99.5))))
    assert mr_scale(sitk.GetImageFromArray(values), body, "minmax").high == 1e6


def test_mr_scale_is_undone_and_described():
    scale = IntensityScale(20.0, 220.0)
    values = np.array([20.0, 120.0, 220.0])
    assert scale.to_network(values).tolist() == [0.0, 0.5, 1.0]
    assert scale.to_network(np.array([-5.0, 900.0])).tolist() == [0.0, 1.0]
    assert scale.from_network(scale.to_network(values)) == pytest.approx(values)
    assert IntensityScale.from_dict(scale.to_dict()) == scale
    for changes in ({"high": 20.0}, {"low": "a"}, {"high": float("nan")}):
        with pytest.raises(InputError):
            IntensityScale.from_dict(scale.to_dict() | changes)


def test_a_plate_across_the_slices_is_no_body():
    """The wall of a container fills one slice, wider than the body that stands beside it."""
    array = np.full((30, 80, 80), -1000.0, np.float32)
    array[4:22, 20:60, 20:60] = 40.0
    array[26, 5:75, 5:75] = 100.0
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.5, 1.5, 1.5))
    mask = body_mask(image, "ct")
    assert np.array_equal(mask, array == 40.0)
