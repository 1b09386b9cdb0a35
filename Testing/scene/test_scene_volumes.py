"""Volume nodes and SimpleITK images: voxels, geometry, transforms above the node, refusals."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import vtk
from scene_images import oblique_image, on_oblique_grid, positions_ras

from MSLFusionLib.errors import InputError
from MSLFusionLib.scene import volumes


def _transform_node(scene: Any, matrix: np.ndarray, name: str = "T") -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    vtk_matrix = vtk.vtkMatrix4x4()
    vtk_matrix.DeepCopy(matrix.ravel())
    node.SetMatrixTransformToParent(vtk_matrix)
    return node


def _rigid(angles: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*angles)
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(turn.GetMatrix(), (3, 3))
    matrix[:3, 3] = shift
    return matrix


def _assert_same(a: sitk.Image, b: sitk.Image) -> None:
    np.testing.assert_allclose(a.GetSpacing(), b.GetSpacing(), atol=1e-12)
    np.testing.assert_allclose(a.GetOrigin(), b.GetOrigin(), atol=1e-12)
    np.testing.assert_allclose(a.GetDirection(), b.GetDirection(), atol=1e-12)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(a), sitk.GetArrayFromImage(b))


@pytest.mark.parametrize("left_handed", [False, True])
def test_image_comes_back_from_its_node_exactly(scene: Any, left_handed: bool) -> None:
    image = oblique_image(left_handed=left_handed)
    node = volumes.node_from_image(scene, image, "CT")
    assert node.GetName() == "CT"
    assert node.GetDisplayNode() is not None
    _assert_same(volumes.image_from_node(node), image)


def test_voxels_lie_where_slicer_says(scene: Any) -> None:
    image = oblique_image()
    node = volumes.node_from_image(scene, image, "CT")
    to_ras = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(to_ras)
    np.testing.assert_allclose(to_ras.MultiplyPoint((9, 3, 2, 1))[:3], positions_ras(image)[2, 3, 9], atol=1e-9)


def test_integer_volumes_are_read_as_float32(scene: Any) -> None:
    image = sitk.Cast(oblique_image() * 1000, sitk.sitkInt16)
    back = volumes.image_from_node(volumes.node_from_image(scene, image, "CT"))
    assert back.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(image))


def test_rigid_transforms_change_only_the_geometry(scene: Any) -> None:
    image = oblique_image()
    node = volumes.node_from_image(scene, image, "MR")
    inner = _rigid((0.2, 0.1, -0.3), (5.0, -7.0, 3.0))
    outer = _rigid((-0.1, 0.4, 0.2), (1.0, 2.0, 30.0))
    parent, grandparent = _transform_node(scene, inner), _transform_node(scene, outer)
    parent.SetAndObserveTransformNodeID(grandparent.GetID())
    node.SetAndObserveTransformNodeID(parent.GetID())
    before = node.GetImageData().GetMTime()

    moved = volumes.image_from_node(node)

    np.testing.assert_array_equal(sitk.GetArrayFromImage(moved), sitk.GetArrayFromImage(image))
    whole = outer @ inner
    expected = positions_ras(image) @ whole[:3, :3].T + whole[:3, 3]
    np.testing.assert_allclose(positions_ras(moved), expected, atol=1e-9)
    assert node.GetParentTransformNode() is parent
    assert node.GetImageData().GetMTime() == before
    _assert_same(volumes.image_from_node(node, in_world=False), image)


def _ramp(image: sitk.Image) -> np.ndarray:
    return positions_ras(image) @ np.array([1.0, 2.0, -0.5])


def test_a_shearing_transform_resamples(scene: Any) -> None:
    grid = oblique_image((24, 20, 12))
    image = on_oblique_grid(_ramp(grid).astype(np.float32))
    node = volumes.node_from_image(scene, image, "MR")
    matrix = np.eye(4)
    matrix[0, 1] = 0.2
    node.SetAndObserveTransformNodeID(_transform_node(scene, matrix).GetID())

    moved = volumes.image_from_node(node)

    direction = np.reshape(moved.GetDirection(), (3, 3))
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-9)
    source = positions_ras(moved) @ np.linalg.inv(matrix)[:3, :3].T
    _assert_ramp_inside(moved, source, image)


def test_a_warping_transform_resamples(scene: Any) -> None:
    grid = oblique_image((24, 20, 12))
    image = on_oblique_grid(_ramp(grid).astype(np.float32))
    node = volumes.node_from_image(scene, image, "MR")
    displacement = vtk.vtkImageData()
    displacement.SetDimensions(3, 3, 3)
    displacement.SetOrigin(-100, -100, -100)
    displacement.SetSpacing(100, 100, 100)
    displacement.AllocateScalars(vtk.VTK_DOUBLE, 3)
    for component, shift in enumerate((1.5, -2.0, 0.7)):
        displacement.GetPointData().GetScalars().FillComponent(component, shift)
    warp = vtk.vtkGridTransform()
    warp.SetDisplacementGridData(displacement)
    warp.SetInterpolationModeToLinear()
    parent = scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    parent.SetAndObserveTransformToParent(warp)
    node.SetAndObserveTransformNodeID(parent.GetID())
    assert not parent.IsTransformToWorldLinear()

    moved = volumes.image_from_node(node)

    _assert_ramp_inside(moved, positions_ras(moved) - np.array([1.5, -2.0, 0.7]), image)
    _assert_same(volumes.image_from_node(node, in_world=False), image)


def _assert_ramp_inside(moved: sitk.Image, source_ras: np.ndarray, image: sitk.Image) -> None:
    """Voxels of `moved` whose source lies well inside `image` hold the ramp's value there."""
    to_lps = np.array([-1.0, -1.0, 1.0])
    axes = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    index = (source_ras * to_lps - np.asarray(image.GetOrigin())) @ np.linalg.inv(axes).T
    inside = np.all((index > 0.5) & (index < np.asarray(image.GetSize()) - 1.5), axis=-1)
    assert inside.sum() > 1000
    values = sitk.GetArrayFromImage(moved)
    np.testing.assert_allclose(values[inside], (source_ras @ np.array([1.0, 2.0, -0.5]))[inside], atol=5e-3)


def test_update_keeps_display_and_transform(scene: Any) -> None:
    node = volumes.node_from_image(scene, oblique_image(seed=1), "hybrid")
    display = node.GetDisplayNode()
    parent = _transform_node(scene, np.eye(4))
    node.SetAndObserveTransformNodeID(parent.GetID())
    new = oblique_image((4, 5, 6), seed=2)
    volumes.update_node(node, new)
    assert node.GetDisplayNode() is display
    assert node.GetParentTransformNode() is parent
    _assert_same(volumes.image_from_node(node, in_world=False), new)


def test_names_are_unique(scene: Any) -> None:
    names = {volumes.node_from_image(scene, oblique_image(), "CT").GetName() for _ in range(3)}
    assert len(names) == 3


def test_what_is_no_scalar_volume_is_refused(scene: Any) -> None:
    labels = volumes.node_from_image(scene, sitk.Cast(oblique_image() > 0.5, sitk.sitkUInt8), "labels", label=True)
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    vector = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colours")
    data = vtk.vtkImageData()
    data.SetDimensions(3, 3, 3)
    data.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    vector.SetAndObserveImageData(data)
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "model")
    for node, reason in (
        (labels, "label map"),
        (empty, "is empty"),
        (vector, "several values per voxel"),
        (model, "vtkMRMLModelNode"),
        (None, "nothing"),
    ):
        with pytest.raises(InputError, match=reason):
            volumes.image_from_node(node)
