"""Transform nodes as registrations leave them, and which volumes lie on a grid."""

from typing import Any

import numpy as np
import SimpleITK as sitk
import vtk
from scene_images import oblique_image

from MSLFusionLib.scene import transforms, volumes

POINTS = np.stack(np.meshgrid(*3 * [np.linspace(-40.0, 60.0, 3)]), axis=-1).reshape(-1, 3)


def affine() -> sitk.AffineTransform:
    """Fixed points to moving points."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((1.1, 0.1, 0.0, -0.2, 0.9, 0.05, 0.0, 0.1, 1.0))
    transform.SetTranslation((5.0, -7.0, 9.0))
    return transform


def test_a_linear_node_gives_its_matrix_back(scene: Any) -> None:
    node = transforms.node_from_transform(scene, affine(), "T")
    matrix, off = transforms.linear_fit(node, POINTS)
    np.testing.assert_allclose(matrix, transforms.matrix_of(affine()), atol=1e-9)
    assert off < 1e-9


def test_a_chain_of_linear_transforms_is_linear(scene: Any) -> None:
    """As files with several transforms are read: no linear node, and yet a matrix."""
    first, second = vtk.vtkTransform(), vtk.vtkTransform()
    first.RotateX(30)
    second.Translate(1, 2, 3)
    chain = vtk.vtkGeneralTransform()
    chain.Concatenate(first)
    chain.Concatenate(second)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Chain")
    node.SetAndObserveTransformFromParent(chain)
    matrix, off = transforms.linear_fit(node, POINTS)
    first.Concatenate(second)
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    np.testing.assert_allclose(matrix, flip @ volumes.matrix_array(first.GetMatrix()) @ flip, atol=1e-9)
    assert off < 1e-9


def test_a_warp_is_far_from_linear(scene: Any) -> None:
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in POINTS:
        source.InsertNextPoint(point)
        target.InsertNextPoint(point + 5 * np.sin(point / 20))
    warp = vtk.vtkThinPlateSplineTransform()
    warp.SetBasisToR()
    warp.SetSourceLandmarks(source)
    warp.SetTargetLandmarks(target)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
    node.SetAndObserveTransformFromParent(warp)
    assert transforms.linear_fit(node, POINTS)[1] > 0.1


def test_which_volumes_keep_their_grid(scene: Any) -> None:
    node = volumes.node_from_image(scene, oblique_image(), "V")
    assert volumes.keeps_its_grid(node)
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "P")
    node.SetAndObserveTransformNodeID(parent.GetID())
    turn = vtk.vtkTransform()
    turn.RotateX(30)
    parent.SetMatrixTransformToParent(turn.GetMatrix())
    assert volumes.keeps_its_grid(node)
    shear = vtk.vtkMatrix4x4()
    shear.SetElement(0, 1, 0.3)
    parent.SetMatrixTransformToParent(shear)
    assert not volumes.keeps_its_grid(node)
