"""Resampling onto the other grid."""

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.registration import grids_overlap, resample


def ramp(size=(10, 12, 8), spacing=(1.0, 1.0, 2.0), origin=(0.0, 0.0, 0.0)):
    """A volume whose values are x + 100 y + 10000 z in mm."""
    points = sitk.PhysicalPointSource(sitk.sitkVectorFloat64, size, origin, spacing)
    result = sitk.GetImageFromArray(np.rint(sitk.GetArrayFromImage(points) @ (1, 100, 10000)).astype(np.int32))
    result.CopyInformation(points)
    return result


def test_values_follow_the_transform_onto_the_fixed_grid():
    fixed = ramp((6, 5, 4), (1.0, 2.0, 2.0), (1.0, 2.0, 2.0))
    fixed.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, 1))
    moved = resample(ramp(), fixed, sitk.TranslationTransform(3, (1, 0, 2)))
    assert moved.GetPixelID() == sitk.sitkFloat32
    assert (moved.GetSize(), moved.GetSpacing()) == (fixed.GetSize(), fixed.GetSpacing())
    assert (moved.GetOrigin(), moved.GetDirection()) == (fixed.GetOrigin(), fixed.GetDirection())
    for index in ((0, 0, 0), (5, 2, 1)):
        x, y, z = fixed.TransformIndexToPhysicalPoint(index)
        assert moved[index] == pytest.approx(x + 1 + 100 * y + 10000 * (z + 2))


def test_outside_the_field_of_view_is_filled():
    fixed = ramp((30, 12, 8))
    assert sitk.GetArrayFromImage(resample(ramp(), fixed))[0, 0, 20] == 0
    assert sitk.GetArrayFromImage(resample(ramp(), fixed, fill=-7))[0, 0, 20] == -7


def test_grids_without_a_common_point_are_refused():
    far = ramp(origin=(0, 0, 500))
    with pytest.raises(InputError, match="do not overlap"):
        resample(ramp(), far)
    assert sitk.GetArrayFromImage(resample(ramp(), far, must_overlap=False)).max() == 0
    assert resample(ramp(), far, sitk.TranslationTransform(3, (0, 0, -500)))[0, 0, 0] == 0


def test_a_small_grid_inside_a_large_one_overlaps():
    small = ramp((2, 2, 2), (0.1, 0.1, 0.1), (4.4, 5.3, 6.2))
    large = ramp((100, 100, 100), (3.0, 3.0, 3.0), (-100.0, -100.0, -100.0))
    identity = sitk.Transform(3, sitk.sitkIdentity)
    assert grids_overlap(small, large, identity)
    assert grids_overlap(large, small, identity)
