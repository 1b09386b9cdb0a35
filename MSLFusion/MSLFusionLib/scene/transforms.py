"""SimpleITK transforms <-> transform nodes."""

from typing import Any

import numpy as np
import SimpleITK as sitk
import vtk

from MSLFusionLib.errors import InputError
from MSLFusionLib.scene.names import free_name
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
    matrix.DeepCopy(to_parent(matrix_of(transform)).ravel())
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", free_name(scene, name))
    node.SetMatrixTransformToParent(matrix)
    return node


def to_parent(matrix: np.ndarray) -> np.ndarray:
    """From a 4x4 matrix of fixed points to moving points (LPS) to what a node must hold to move objects (RAS)."""
    return _FLIP @ np.linalg.inv(matrix) @ _FLIP


def linear_fit(node: Any, points: np.ndarray) -> tuple[np.ndarray, float]:
    """The 4x4 matrix of fixed points to moving points (LPS) of any transform node, as registrations make it.

    points: (n, 3) in LPS, not in one plane, where the transform is looked at. The second value is how far it is from
    linear there, in mm.
    """
    moving = node.GetTransformFromParent()
    ras = points @ RAS_TO_LPS
    moved = np.array([moving.TransformPoint(tuple(point)) for point in ras.tolist()]) @ RAS_TO_LPS
    known = np.column_stack([points, np.ones(len(points))])
    solution = np.linalg.lstsq(known, moved, rcond=None)[0]
    matrix = np.eye(4)
    matrix[:3] = solution.T
    return matrix, float(np.abs(known @ solution - moved).max())


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
