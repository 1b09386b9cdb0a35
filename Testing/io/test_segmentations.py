"""Slicer segmentation files: segments, colours, tags, layers; plain label maps too."""

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.volumes import read_segmentation


def write(path, layers, metadata):
    image = sitk.Compose(layers) if len(layers) > 1 else layers[0]
    image.SetOrigin((1, 2, 3))
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path))
    return path


def layer(*boxes):
    values = np.zeros((6, 8, 10), dtype=np.uint8)
    for label, start, stop in boxes:
        values[start:stop, start:stop, start:stop] = label
    return sitk.GetImageFromArray(values)


def segment(number, **values):
    return {f"Segment{number}_{key}": str(value) for key, value in {"ID": f"S{number}", **values}.items()}


TAGS = "Segmentation.Status:inprogress|MSLFusion.Lambda:0.7|Terminology:a~b:c|"


def test_segments_of_two_overlapping_layers(tmp_path):
    header = {
        **segment(0, Name="Bone", Color="1 0.5 0.25", LabelValue=1, Layer=0, Tags=TAGS),
        **segment(1, Name="Tumour", Color="0 2 0", LabelValue=2, Layer=1),
    }
    path = write(tmp_path / "a.seg.nrrd", [layer((1, 0, 4)), layer((2, 2, 6), (3, 0, 1))], header)
    found = read_segmentation(path)
    bone, tumour = found.segments
    assert (bone.name, bone.colour, bone.lam) == ("Bone", (1.0, 0.5, 0.25), 0.7)
    assert bone.tags["Terminology"] == "a~b:c"
    assert (tumour.name, tumour.colour, tumour.lam) == ("Tumour", (0.0, 1.0, 0.0), None)
    masks = [sitk.GetArrayFromImage(found.mask(item)) for item in found.segments]
    assert [int(mask.sum()) for mask in masks] == [64, 64]
    assert (masks[0] & masks[1]).sum() == 8
    assert found.mask(bone).GetOrigin() == (1, 2, 3)


def test_files_of_old_slicer_versions_hold_one_segment_per_layer(tmp_path):
    header = {**segment(0, Name="a"), **segment(1, Name="b")}
    found = read_segmentation(write(tmp_path / "a.seg.nrrd", [layer((1, 0, 2)), layer((1, 2, 5))], header))
    assert [int(sitk.GetArrayFromImage(found.mask(item)).sum()) for item in found.segments] == [8, 27]


def test_a_plain_label_map_has_one_segment_per_label(tmp_path):
    found = read_segmentation(write(tmp_path / "a.nii.gz", [layer((2, 0, 2), (5, 3, 5))], {}))
    assert [(item.name, item.label) for item in found.segments] == [("label 2", 2), ("label 5", 5)]
    whole_numbers = sitk.Cast(layer((2, 0, 2)), sitk.sitkFloat32)
    assert len(read_segmentation(write(tmp_path / "f.nrrd", [whole_numbers], {})).segments) == 1


@pytest.mark.parametrize("text", ["1.5", "-0.1", "bone", "nan", ""])
def test_a_lambda_tag_outside_its_range_is_refused(tmp_path, text):
    header = segment(0, Name="Bone", LabelValue=1, Layer=0, Tags=f"MSLFusion.Lambda:{text}|")
    found = read_segmentation(write(tmp_path / "a.seg.nrrd", [layer((1, 0, 2))], header))
    with pytest.raises(InputError, match="'Bone'"):
        _ = found.segments[0].lam


@pytest.mark.parametrize(
    "damage",
    [{"LabelValue": "one"}, {"LabelValue": 0}, {"Layer": 3}, {"Layer": -1}, {"Color": "red"}, {"Color": "1 2"}],
)
def test_a_damaged_header_is_refused(tmp_path, damage):
    header = segment(0, **{"LabelValue": 1, "Layer": 0, **damage})
    with pytest.raises(InputError, match="damaged header"):
        read_segmentation(write(tmp_path / "a.seg.nrrd", [layer((1, 0, 2))], header))


def test_what_is_no_segmentation_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_segmentation(tmp_path / "no.seg.nrrd")
    with pytest.raises(InputError, match="no segments"):
        read_segmentation(write(tmp_path / "empty.nrrd", [layer()], {}))
    grey = sitk.Cast(layer((2, 0, 2)), sitk.sitkFloat32) * 0.3
    with pytest.raises(InputError, match="whole numbers"):
        read_segmentation(write(tmp_path / "grey.nrrd", [grey], {}))
    many = sitk.GetImageFromArray(np.arange(4096, dtype=np.int16).reshape(16, 16, 16))
    with pytest.raises(InputError, match="labels"):
        read_segmentation(write(tmp_path / "many.nrrd", [many], {}))
