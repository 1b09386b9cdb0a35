"""What the slice views show: the volume's own slices, as a whole, whatever way they run."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import vtk

from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.grid import slice_axis_of
from MSLFusionLib.scene import views, volumes

AXES = {
    "Axial": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "Coronal": (1, 0, 0, 0, 0, 1, 0, -1, 0),
    "Sagittal": (0, 0, 1, 1, 0, 0, 0, -1, 0),
}


def node(scene: Any, direction: tuple[float, ...], spacing: tuple[float, ...] = (1.0, 1.0, 2.0)) -> Any:
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((9, 30, 40), dtype=np.float32))
    image.SetSpacing(spacing)
    image.SetOrigin((12.0, -7.0, 30.0))
    image.SetDirection(direction)
    return volumes.node_from_image(scene, image, "CT")


def turned(degrees: float) -> tuple[float, ...]:
    turn = sitk.Euler3DTransform()
    turn.SetRotation(np.radians(degrees), 0, 0)
    return turn.GetMatrix()


@pytest.mark.parametrize("plane", AXES)
def test_the_views_show_the_plane_of_the_slices_as_a_whole(scene: Any, plane: str) -> None:
    volume = node(scene, AXES[plane])
    other = node(scene, AXES["Axial"])
    assert volumes.slice_plane(volume) == (plane, pytest.approx(0, abs=1e-4))
    views.show_volumes(scene, {"Red": volume, "Yellow": other})
    for name, shown in (("Red", volume), ("Yellow", other)):
        slice_node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        assert slice_node.GetOrientation() == plane
        composite = scene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode")
        assert composite.GetBackgroundVolumeID() == shown.GetID()
        assert composite.GetLinkedControl()
    assert scene.GetSingletonNode("Green", "vtkMRMLSliceNode") is None
    slice_node = scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    width, height, _ = slice_node.GetFieldOfView()
    assert width >= 40
    assert height >= 30
    assert min(width / 40, height / 30) == pytest.approx(1.05)


def test_slices_run_along_the_coarsest_axis_as_in_the_reconstruction(scene: Any) -> None:
    for spacing in ((1.0, 1.0, 2.0), (1.0, 3.0, 1.0), (3.0, 1.0, 1.0), (1.0, 1.4, 1.0)):
        volume = node(scene, AXES["Axial"], spacing)
        geometry = VolumeGeometry.of(volumes.image_from_node(volume))
        plane, _tilt = volumes.slice_plane(volume)
        assert plane == volumes.PLANES[2 - slice_axis_of(geometry)]


def test_tilted_slices_are_shown_as_they_lie_when_asked_for(scene: Any) -> None:
    volume = node(scene, turned(12.0))
    assert volumes.slice_plane(volume) == ("Axial", pytest.approx(12))
    views.show_volumes(scene, {"Red": volume})
    slice_node = scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    assert slice_node.GetOrientation() == "Axial"
    views.show_volumes(scene, {"Red": volume}, tilted=True)
    normal = volumes.matrix_array(slice_node.GetSliceToRAS())[:3, 2]
    slices = volumes.matrix_array(ras_matrix(volume))[:3, 2]
    assert abs(normal @ slices) / np.linalg.norm(slices) == pytest.approx(1)


def test_transforms_above_a_volume_count(scene: Any) -> None:
    volume = node(scene, AXES["Axial"])
    assert volumes.has_geometry(volume)
    above = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    turn = vtk.vtkTransform()
    turn.RotateX(90)
    above.SetMatrixTransformToParent(turn.GetMatrix())
    volume.SetAndObserveTransformNodeID(above.GetID())
    assert volumes.slice_plane(volume) == ("Coronal", pytest.approx(0, abs=1e-4))
    assert volumes.has_geometry(volume)
    shear = turn.GetMatrix()
    shear.SetElement(0, 1, 0.3)
    above.SetMatrixTransformToParent(shear)
    assert not volumes.has_geometry(volume)
    warp = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    warp.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    volume.SetAndObserveTransformNodeID(warp.GetID())
    assert not volumes.has_geometry(volume)
    views.show_volumes(scene, {"Red": volume}, tilted=True)


def test_a_table_is_shown_in_its_view(scene: Any) -> None:
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    views.show_table(scene, table)
    assert scene.GetSingletonNode(views.TABLE_VIEW, "vtkMRMLTableViewNode").GetTableNode() is table


def ras_matrix(volume: Any) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix
