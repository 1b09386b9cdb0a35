"""Volumes in and out: geometry kept, everything that is no usable volume refused in one clear line."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.volumes import read_volume, source_files, write_volume


def volume(size=(20, 18, 6), seed=0, dtype=np.float32):
    values = np.random.default_rng(seed).normal(scale=100, size=size[::-1]).astype(dtype)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.75, 2.5))
    image.SetOrigin((-12.5, 33.0, 7.25))
    image.SetDirection((0, -1, 0, 0.6, 0, -0.8, 0.8, 0, 0.6))
    return image


def header(sizes="20 20 20", kind="float", data="", spacing="(1,0,0) (0,1,0) (0,0,1)", encoding="raw"):
    return (
        f"NRRD0004\ntype: {kind}\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n"
        f"space directions: {spacing}\nencoding: {encoding}\nendian: little\nspace origin: (0,0,0)\n{data}\n"
    ).encode()


@pytest.mark.parametrize("suffix", ["nrrd", "nii", "nii.gz", "mha"])
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_round_trip_keeps_voxels_and_geometry(tmp_path, suffix, dtype):
    image = volume(dtype=dtype)
    back = read_volume(write_volume(image, tmp_path / "sub" / f"a b.{suffix}"))
    assert back.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(back.GetSpacing(), image.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(back.GetOrigin(), image.GetOrigin(), rtol=1e-6)
    np.testing.assert_allclose(back.GetDirection(), image.GetDirection(), atol=1e-6)
    assert [item.name for item in (tmp_path / "sub").iterdir()] == [f"a b.{suffix}"]


def test_header_comments_are_not_kept(tmp_path):
    image = volume()
    image.SetMetaData("PatientName", "Nobody")
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert b"Nobody" in (tmp_path / "a.nrrd").read_bytes()
    assert read_volume(tmp_path / "a.nrrd").GetMetaDataKeys() == ()


def test_a_fourth_axis_of_one_is_dropped(tmp_path):
    sitk.WriteImage(sitk.JoinSeries([volume()]), str(tmp_path / "a.nii"))
    assert read_volume(tmp_path / "a.nii").GetSize() == (20, 18, 6)


def test_rescaled_integers_are_read(tmp_path):
    """A NIfTI file may store int16 with a slope; ITK then reports a wider type than the file holds."""
    path = tmp_path / "a.nii"
    sitk.WriteImage(volume(dtype=np.int16), str(path))
    data = bytearray(path.read_bytes())
    data[112:116] = np.float32(0.5).tobytes()
    path.write_bytes(data)
    expected = sitk.GetArrayFromImage(volume(dtype=np.int16)) * 0.5
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_volume(path)), expected)


def written(name, image):
    return lambda folder: sitk.WriteImage(image, str(folder / name), useCompression=True)


def text(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def with_value(value):
    image = volume()
    image[3, 4, 5] = value
    return image


BAD = {
    "missing": ("no.nrrd", lambda folder: None, "does not exist"),
    "empty": ("a.nii", text("a.nii", b""), "is empty"),
    "text": ("a.nrrd", text("a.nrrd", b"hello"), "not an image"),
    "packed text": ("a.nii.gz", text("a.nii.gz", gzip.compress(b"hello")), "not an image"),
    "rgb": ("a.nrrd", written("a.nrrd", sitk.Compose([volume()] * 3)), "3 values per voxel"),
    "complex": ("a.nrrd", written("a.nrrd", sitk.RealAndImaginaryToComplex(volume(), volume())), "complex"),
    "4-D": ("a.nii.gz", written("a.nii.gz", sitk.JoinSeries([volume()] * 2)), "4-D"),
    "2-D": ("a.mha", written("a.mha", volume()[:, :, 2]), "single slice"),
    "one slice": ("a.mha", written("a.mha", volume((20, 20, 1))), "single slice"),
    "tiny": ("a.mha", written("a.mha", volume((20, 4, 4))), "at least 16 x 16"),
    "nan": ("a.nrrd", written("a.nrrd", with_value(float("nan"))), "1 voxels that are NaN"),
    "infinite": ("a.nrrd", written("a.nrrd", with_value(float("inf"))), "NaN or infinite"),
    "constant": ("a.nrrd", written("a.nrrd", sitk.Image(20, 20, 5, sitk.sitkInt16)), "constant"),
    "absurd size": ("a.nrrd", text("a.nrrd", header("2000000 2000000 2000000")), "too large"),
    "size beyond file": ("a.nrrd", text("a.nrrd", header("900 900 900")), "claims more data"),
    "packed beyond file": ("a.nrrd", text("a.nrrd", header("900 900 900", encoding="gzip")), "claims more data"),
    "flat axes": ("a.nrrd", text("a.nrrd", header(spacing="(1,0,0) (1,0,0) (0,0,1)")), "cannot|damaged|not an"),
    "segmentation": ("a.seg.nrrd", written("a.seg.nrrd", volume(dtype=np.uint8)), "segmentation"),
    "folder without images": ("", lambda folder: None, "no DICOM"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_usable_volume_is_refused(tmp_path, case):
    name, make, words = BAD[case]
    make(tmp_path)
    with pytest.raises(InputError, match=words) as caught:
        read_volume(tmp_path / name, "MR")
    assert str(tmp_path / name) in str(caught.value)
    assert "The MR f" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absurd_voxel_size_is_refused(tmp_path):
    image = volume()
    image.SetSpacing((1e-6, 1e-6, 1e-6))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(InputError, match="voxel size"):
        read_volume(tmp_path / "a.mha")


@pytest.mark.parametrize("suffix", ["nrrd", "nii", "nii.gz", "mha"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_torn_file_is_refused(tmp_path, suffix, packed):
    path = tmp_path / f"a.{suffix}"
    sitk.WriteImage(volume(), str(path), useCompression=packed)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(InputError, match="damaged"):
        read_volume(path)


def test_a_flipped_bit_in_a_packed_nifti_is_noticed(tmp_path):
    path = tmp_path / "a.nii.gz"
    sitk.WriteImage(volume((64, 64, 30)), str(path))
    data = bytearray(path.read_bytes())
    data[-1000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        read_volume(path)


def test_a_detached_header_names_its_data(tmp_path):
    sitk.WriteImage(volume(), str(tmp_path / "a.mhd"))
    assert [file.name for file in source_files(tmp_path / "a.mhd")] == ["a.mhd", "a.raw"]
    assert read_volume(tmp_path / "a.mhd").GetSize() == (20, 18, 6)


@pytest.mark.parametrize("name", ["a.png", "a.mhd", "a"])
def test_only_formats_that_hold_a_volume_in_one_file_are_written(tmp_path, name):
    with pytest.raises(InputError, match="name the volume"):
        write_volume(volume(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["mridir/mridir_ct_resampled.nii.gz", "templates_mni/scct.nii", "rire_001_t1/training_001_mr_T1.mha"],
)
def test_real_volumes_are_read(shared_data, name):
    image = read_volume(shared_data / name)
    plain = sitk.ReadImage(str(shared_data / name))
    assert (image.GetSize(), image.GetDirection()) == (plain.GetSize(), plain.GetDirection())
