"""Painted lambda: masks, tags and order, on any grid, under transforms, with overlaps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import vtk
from scene_images import oblique_image

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.segmentations import LAMBDA_TAG, read_segmentation
from MSLFusionLib.recon import lambdas
from MSLFusionLib.scene import segmentations, volumes


def _box(reference: sitk.Image, start: tuple[int, int, int], stop: tuple[int, int, int]) -> sitk.Image:
    """A uint8 mask on the grid of `reference`: 1 from `start` to below `stop` (i, j, k)."""
    array = np.zeros(reference.GetSize()[::-1], np.uint8)
    array[start[2] : stop[2], start[1] : stop[1], start[0] : stop[0]] = 1
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(reference)
    return mask


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def test_overlapping_segments_come_back_whole_and_in_order(scene: Any) -> None:
    ct = oblique_image((20, 16, 10))
    first, second = _box(ct, (2, 2, 2), (12, 12, 8)), _box(ct, (6, 6, 4), (18, 14, 9))
    node = segmentations.segmentation_from_masks(
        scene, "Painted", [(first, 0.25, 3.0), (second, 1.0, 0.0)], volumes.node_from_image(scene, ct, "CT")
    )
    painted = segmentations.painted_segments(node, ct)
    assert [(one.lam, one.feather_mm, one.name) for one in painted] == [
        (0.25, 3.0, "lambda 0.25"),
        (1.0, 0.0, "lambda 1"),
    ]
    for one, mask in zip(painted, (first, second), strict=True):
        np.testing.assert_array_equal(_array(one.mask), _array(mask))
        assert one.mask.GetOrigin() == ct.GetOrigin()
        assert one.mask.GetDirection() == ct.GetDirection()


def test_painted_with_the_segment_editors_functions(scene: Any) -> None:
    import slicer

    ct = oblique_image((20, 16, 10))
    ct_node = volumes.node_from_image(scene, ct, "CT")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Painted")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct_node)
    mask = _array(_box(ct, (3, 4, 5), (9, 9, 9)))
    plain = node.GetSegmentation().AddEmptySegment("", "no lambda")
    tagged = node.GetSegmentation().AddEmptySegment("", "tumour")
    for segment_id in (plain, tagged):
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_id, ct_node)
    segmentations.tag_segment(node, tagged, 0.6, 1.5)
    assert segmentations.segment_lambda(node, plain) is None
    assert segmentations.segment_lambda(node, tagged) == 0.6
    assert segmentations.segment_feather(node, tagged) == 1.5
    (only,) = segmentations.painted_segments(node, ct)
    assert (only.name, only.lam, only.feather_mm) == ("tumour", 0.6, 1.5)
    np.testing.assert_array_equal(_array(only.mask), mask)


def test_segments_of_another_grid_are_brought_onto_the_ct(scene: Any) -> None:
    ct = oblique_image((20, 16, 10))
    fine = sitk.Resample(ct, [40, 32, 20], sitk.Transform(), sitk.sitkLinear, *_half_spacing(ct))
    mask = _box(fine, (8, 8, 6), (28, 24, 14))
    node = segmentations.segmentation_from_masks(scene, "Painted", [(mask, 0.5, 0.0)])
    (only,) = segmentations.painted_segments(node, ct)
    expected = sitk.Resample(mask, ct, sitk.Transform(), sitk.sitkNearestNeighbor)
    # Each CT voxel's centre lies on an edge of the fine grid, so that one layer may fall to either side.
    inner = sitk.BinaryErode(expected, [1, 1, 1])
    outer = sitk.BinaryDilate(expected, [1, 1, 1])
    assert np.all(_array(only.mask)[_array(inner) == 1] == 1)
    assert np.all(_array(only.mask)[_array(outer) == 0] == 0)


def _half_spacing(image: sitk.Image) -> tuple[Any, Any, Any]:
    spacing = [value / 2 for value in image.GetSpacing()]
    return image.TransformContinuousIndexToPhysicalPoint([-0.25] * 3), spacing, image.GetDirection()


def test_a_transform_above_the_segmentation_moves_it(scene: Any) -> None:
    ct = oblique_image((20, 16, 10))
    node = segmentations.segmentation_from_masks(scene, "P", [(_box(ct, (4, 4, 3), (10, 10, 7)), 0.5, 0.0)])
    axes = np.reshape(ct.GetDirection(), (3, 3)) @ np.diag(ct.GetSpacing())
    shift = volumes.RAS_TO_LPS @ axes @ np.array([3.0, 2.0, -1.0])
    matrix = vtk.vtkMatrix4x4()
    for row in range(3):
        matrix.SetElement(row, 3, shift[row])
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "T")
    parent.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(parent.GetID())
    (only,) = segmentations.painted_segments(node, ct)
    np.testing.assert_array_equal(_array(only.mask), _array(_box(ct, (7, 6, 2), (13, 12, 6))))
    assert node.GetParentTransformNode() is parent


def test_a_surface_is_turned_into_a_mask_on_a_copy(scene: Any) -> None:
    import slicer

    ct = sitk.Image([40, 40, 40], sitk.sitkFloat32)
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(10.0)
    sphere.SetCenter(-20.0, -20.0, 20.0)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Surface")
    node.CreateDefaultDisplayNodes()
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    node.GetSegmentation().SetSourceRepresentationName(surface)
    segment_id = node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", [1.0, 0.0, 0.0])
    segmentations.tag_segment(node, segment_id, 0.5)
    (only,) = segmentations.painted_segments(node, ct)
    assert _array(only.mask).sum() == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.03)
    assert _array(only.mask)[20, 20, 20] == 1
    binary = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    assert not node.GetSegmentation().ContainsRepresentation(binary)


def test_segments_outside_the_ct_are_left_out(scene: Any) -> None:
    ct = oblique_image((20, 16, 10))
    far = _box(ct, (1, 1, 1), (5, 5, 5))
    far.SetOrigin((500.0, 500.0, 500.0))
    near = _box(ct, (1, 1, 1), (5, 5, 5))
    node = segmentations.segmentation_from_masks(scene, "P", [(far, 0.2, 0.0), (near, 0.7, 0.0)])
    assert [one.lam for one in segmentations.painted_segments(node, ct)] == [0.7]


def test_masks_feed_the_lambda_map(scene: Any) -> None:
    ct = oblique_image((20, 16, 10))
    mask = _box(ct, (4, 4, 3), (10, 10, 7))
    node = segmentations.segmentation_from_masks(scene, "P", [(mask, 0.75, 0.0)])
    segments = [lambdas.LambdaSegment(*one) for one in segmentations.painted_segments(node, ct)]
    spec = lambdas.lambda_map_from_segments(segments, 0.25, lambdas.VolumeGeometry.of(ct))
    np.testing.assert_allclose(spec.volume, np.where(_array(mask) == 1, 0.75, 0.25))


def test_tags_survive_in_a_seg_nrrd_that_the_library_reads(scene: Any, tmp_path: Path) -> None:
    ct = oblique_image((20, 16, 10))
    first, second = _box(ct, (2, 2, 2), (12, 12, 8)), _box(ct, (6, 6, 4), (18, 14, 9))
    node = segmentations.segmentation_from_masks(
        scene, "Painted", [(first, 0.25, 3.0), (second, 0.8, 0.5)], volumes.node_from_image(scene, ct, "CT")
    )
    storage = node.CreateDefaultStorageNode()
    storage.UnRegister(None)
    scene.AddNode(storage)
    node.SetAndObserveStorageNodeID(storage.GetID())
    storage.SetFileName(str(tmp_path / "painted.seg.nrrd"))
    assert storage.WriteData(node)
    file = read_segmentation(tmp_path / "painted.seg.nrrd")
    tags = [(one.lam, one.tags["MSLFusion.Feather"]) for one in file.segments]
    assert tags == [(0.25, "3"), (0.8, "0.5")]
    # Slicer saves no more than the box around the segments.
    for segment, mask in zip(file.segments, (first, second), strict=True):
        whole = sitk.Resample(file.mask(segment), ct, sitk.Transform(), sitk.sitkNearestNeighbor)
        np.testing.assert_array_equal(_array(whole), _array(mask))


def test_library_and_scene_agree_on_the_tags() -> None:
    assert segmentations.LAMBDA_TAG == LAMBDA_TAG
    assert segmentations.FEATHER_TAG == lambdas.FEATHER_TAG


def test_wrong_tags_and_nodes_are_refused(scene: Any) -> None:
    ct = oblique_image((20, 16, 10))
    ct_node = volumes.node_from_image(scene, ct, "CT")
    node = segmentations.segmentation_from_masks(scene, "P", [(_box(ct, (1, 1, 1), (5, 5, 5)), 0.5, 0.0)])
    (segment_id,) = segmentations.segment_ids(node)
    segment = node.GetSegmentation().GetSegment(segment_id)
    for lam, feather in ((1.5, 0.0), (-0.1, 0.0), (float("nan"), 0.0), (0.5, -1.0), (0.5, float("inf"))):
        with pytest.raises(InputError):
            segmentations.tag_segment(node, segment_id, lam, feather)
    for tag, text in (
        (segmentations.LAMBDA_TAG, "2"),
        (segmentations.LAMBDA_TAG, "much"),
        (segmentations.FEATHER_TAG, "-3"),
        (segmentations.FEATHER_TAG, "wide"),
    ):
        segmentations.tag_segment(node, segment_id, 0.5, 0.0)
        segment.SetTag(tag, text)
        with pytest.raises(InputError, match="segment 'lambda"):
            segmentations.painted_segments(node, ct)
    segment.RemoveTag(segmentations.LAMBDA_TAG)
    with pytest.raises(InputError, match="no segment"):
        segmentations.painted_segments(node, ct)
    with pytest.raises(InputError, match="no segment 'nowhere'"):
        segmentations.tag_segment(node, "nowhere", 0.5)
    with pytest.raises(InputError, match="another node"):
        segmentations.painted_segments(ct_node, ct)
