"""SimpleITK transforms <-> transform nodes."""

from typing import Any

import numpy as np
import SimpleITK as sitk
import vtk

from MSLFusionLib.errors import InputError
from MSLFusionLib.scene.volumes import RAS_TO_LPS

_FLIP = np.diag([*np.diag(RAS_TO_LPS), 1.0])


def node_from_transform(scene: Any, transform: sitk.Transform, name: str) -> Any:
    """Add a vtkMRMLLinearTransformNode that moves the moving volume onto the fixed one.

    transform: what registration gives, a linear transform of points from fixed to moving space in LPS.
    MRML transforms move objects, so the node holds its inverse in RAS: put the moving volume under it.

    Raises:
        InputError: the transform is not linear.
    """
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((_FLIP @ np.linalg.inv(matrix_of(transform)) @ _FLIP).ravel())
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", scene.GenerateUniqueName(name))
    node.SetMatrixTransformToParent(matrix)
    return node


def matrix_of(transform: sitk.Transform) -> np.ndarray:
    """The 4x4 matrix (LPS) of a linear SimpleITK transform, composite or not.

    Raises:
        InputError: the transform is not linear.
    """
    if not transform.IsLinear():
        raise InputError("the transform is not linear; give a rigid or an affine one")
    origin = np.asarray(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis in range(3):
        point = [0.0, 0.0, 0.0]
        point[axis] = 1.0
        matrix[:3, axis] = np.asarray(transform.TransformPoint(point)) - origin
    matrix[:3, 3] = origin
    return matrix
