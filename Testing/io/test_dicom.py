"""DICOM folders: one series becomes one volume, several are listed, broken stacks are refused."""

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.volumes import read_volume, source_files


def write_series(folder, uid, count=5, modality="CT", positions=None, prefix="s", size=18):
    """An axial series of slices 3 mm apart whose values are the slice number; file names in scrambled order."""
    folder.mkdir(exist_ok=True)
    if positions is None:
        positions = [(10.0, 20.0, -7.0 + 3.0 * k) for k in range(count)]
    for k, position in enumerate(positions):
        values = np.full((1, size, size), k, dtype=np.int16)
        values[0, 0, 0] = -1000
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((0.5, 0.5, 3.0))
        tags = {
            "0008|0060": modality,
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{uid}.{k + 1}",
            "0010|0010": "Nobody^Nowhere",
            "0018|0050": "3",
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0020|0013": str(k),
            "0020|0032": "\\".join(map(str, position)),
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{prefix}{(k * 7 + 3) % 11:02d}.dcm"))
        writer.Execute(image)


def test_a_series_becomes_a_volume_without_tags(tmp_path):
    write_series(tmp_path, "1.2.3.4")
    image = read_volume(tmp_path)
    assert image.GetSize() == (18, 18, 5)
    assert image.GetOrigin() == pytest.approx((10, 20, -7))
    assert image.GetSpacing() == pytest.approx((0.5, 0.5, 3.0))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image)[:, 5, 5], np.arange(5))
    assert image.GetMetaDataKeys() == ()


def test_several_series_are_listed_and_one_file_chooses(tmp_path):
    write_series(tmp_path, "1.2.3.4", count=5, prefix="ct")
    write_series(tmp_path, "1.2.3.5", count=4, prefix="mr", modality="MR")
    with pytest.raises(InputError, match=r"2 DICOM series.*ct03.dcm \(CT, 5 files\); mr03.dcm \(MR, 4 files\)"):
        read_volume(tmp_path)
    assert read_volume(tmp_path / "mr03.dcm", "MR").GetSize() == (18, 18, 4)
    assert {file.name[:2] for file in source_files(tmp_path / "ct03.dcm")} == {"ct"}


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        ([(0, 0, z) for z in (0, 3, 6, 12, 15)], "missing or unevenly"),
        ([(0, 0, z) for z in (0, 3, 3, 6, 9)], "at one position|missing"),
        ([(0, z * 0.3, z) for z in (0, 3, 6, 9, 12)], "tilted gantry"),
    ],
)
def test_broken_stacks_are_refused(tmp_path, positions, words):
    write_series(tmp_path, "1.2.3.4", positions=positions)
    with pytest.raises(InputError, match=words):
        read_volume(tmp_path)


def test_one_dicom_slice_is_a_single_slice(shared_data):
    with pytest.raises(InputError, match="single slice"):
        read_volume(shared_data / "dicom_ct_mr_slices" / "ct.dcm")
    with pytest.raises(InputError, match="2 DICOM series"):
        read_volume(shared_data / "dicom_ct_mr_slices")
