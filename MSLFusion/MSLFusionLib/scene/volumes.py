"""Scalar volume nodes <-> SimpleITK images, with exact geometry."""

from typing import Any

import numpy as np
import SimpleITK as sitk
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from MSLFusionLib.errors import InputError
from MSLFusionLib.scene.names import free_name

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_ORTHOGONAL_WITHIN = 1e-5
_COARSER = 1.5
PLANES = ("Sagittal", "Coronal", "Axial")
"""Names of the planes across R, A and S, as slice views have them."""


def node_from_image(scene: Any, image: sitk.Image, name: str, label: bool = False) -> Any:
    """Add a vtkMRMLScalarVolumeNode (a vtkMRMLLabelMapVolumeNode when `label`) holding `image`.

    An image of several values per pixel, such as colours, becomes a vtkMRMLVectorVolumeNode.

    The node gets its display node; see `colors.show_as` for window and level. Floating-point images are
    stored as float32, labels in their own integer type.
    """
    cls = "vtkMRMLLabelMapVolumeNode" if label else "vtkMRMLScalarVolumeNode"
    if image.GetNumberOfComponentsPerPixel() > 1:
        cls = "vtkMRMLVectorVolumeNode"
    node = scene.AddNewNodeByClass(cls, free_name(scene, name))
    update_node(node, image)
    node.CreateDefaultDisplayNodes()
    return node


def update_node(node: Any, image: sitk.Image) -> None:
    """Replace voxels and geometry of `node` by those of the 3-D `image`; display and transform stay.

    One modification event at the end, so that views redraw once.
    """
    array = sitk.GetArrayFromImage(image)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    modifying = node.StartModify()
    try:
        node.SetIJKToRASMatrix(ijk_to_ras(image))
        node.SetAndObserveImageData(vtk_image(array))
    finally:
        node.EndModify(modifying)


def image_from_node(node: Any, in_world: bool = True) -> sitk.Image:
    """The voxels of a scalar volume node as a float32 image in LPS; the node is left as it is.

    in_world: under a parent transform, the image as it appears in the world, that is hardened. A transform
    that keeps the axes at right angles changes only the geometry; one with shear, or a warping one, makes
    a resampled image (linear) on a grid parallel to the node's own and large enough for all of it.
    With False the parent transform is ignored.

    Raises:
        InputError: not a scalar volume (label map, vector, tensor volume), or an empty one.
    """
    _require_scalar(node)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    data = node.GetImageData()
    parent = node.GetParentTransformNode() if in_world else None
    if parent is not None:
        hardened = _hardened_matrix(parent, matrix)
        if hardened is not None:
            matrix = hardened
        else:
            data, matrix = _resampled_in_world(node, parent)
    return _image(data, matrix)


def keeps_its_grid(node: Any) -> bool:
    """Whether the voxels of `node` lie on a grid in the world: there is no parent transform, or a linear one that
    keeps the axes at right angles."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    parent = node.GetParentTransformNode()
    return parent is None or _hardened_matrix(parent, matrix) is not None


def geometry_from_node(node: Any) -> dict[str, Any]:
    """The grid of `image_from_node(node)` as size [x, y, z], spacing_mm, origin_mm and direction (LPS, row by row).

    Made without its voxels, but where a shearing or warping transform lies above the node.

    Raises:
        InputError: as image_from_node.
    """
    _require_scalar(node)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    parent = node.GetParentTransformNode()
    if parent is not None:
        hardened = _hardened_matrix(parent, matrix)
        if hardened is None:
            image = image_from_node(node)
            return _description(image.GetSize(), image)
        matrix = hardened
    data = node.GetImageData()
    image = sitk.Image([1, 1, 1], sitk.sitkUInt8)
    set_geometry(image, _at_extent(data, matrix))
    return _description(data.GetDimensions(), image)


def has_geometry(node: Any) -> bool:
    """Whether the node's axes stay at right angles in the world: no shear, no warping transform above it."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    parent = node.GetParentTransformNode()
    return _hardened_matrix(parent, matrix) is not None


def slice_plane(node: Any) -> tuple[str, float]:
    """The plane (of PLANES) nearest to the node's slices as they lie in the world, and the degrees between the two.

    Slices run along k, or along the axis whose voxels are more than 1.5 times longer than both others
    (recon.grid.slice_axis_of). A warping transform above the node is left out.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    parent = node.GetParentTransformNode()
    if parent is not None and parent.IsTransformToWorldLinear():
        to_world = vtk.vtkMatrix4x4()
        parent.GetMatrixTransformToWorld(to_world)
        vtk.vtkMatrix4x4.Multiply4x4(to_world, matrix, matrix)
    axes = matrix_array(matrix)[:3, :3]
    spacing = node.GetSpacing()
    coarsest = int(np.argmax(spacing))
    others = [mm for axis, mm in enumerate(spacing) if axis != coarsest]
    along = coarsest if spacing[coarsest] > _COARSER * max(others) else 2
    normal = np.abs(np.cross(axes[:, along - 2], axes[:, along - 1]))
    nearest = int(np.argmax(normal))
    cosine = min(normal[nearest] / np.linalg.norm(normal), 1.0)
    return PLANES[nearest], float(np.degrees(np.arccos(cosine)))


def ijk_to_ras(image: sitk.Image) -> vtk.vtkMatrix4x4:
    """The matrix from voxel indices (i, j, k) to RAS in mm."""
    matrix = np.eye(4)
    direction = np.reshape(image.GetDirection(), (3, 3))
    matrix[:3, :3] = RAS_TO_LPS @ direction @ np.diag(image.GetSpacing())
    matrix[:3, 3] = RAS_TO_LPS @ np.asarray(image.GetOrigin())
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(matrix.ravel())
    return result


def vtk_image(array: np.ndarray) -> vtk.vtkImageData:
    """A vtkImageData (spacing 1, origin 0: MRML keeps geometry in the node) with its own copy of (k, j, i).

    A fourth axis is that of the values of each voxel.
    """
    data = vtk.vtkImageData()
    data.SetDimensions(*array.shape[2::-1])
    flat = np.ascontiguousarray(array).reshape(-1, *array.shape[3:])
    data.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    return data


def array_from_vtk(data: vtk.vtkImageData) -> np.ndarray:
    """A view (k, j, i) of the voxels of a one-component vtkImageData; valid while `data` lives."""
    return vtk_to_numpy(data.GetPointData().GetScalars()).reshape(data.GetDimensions()[::-1])


def set_geometry(image: sitk.Image, matrix: np.ndarray) -> None:
    """Give `image` the geometry of a 4x4 (i, j, k) -> RAS matrix with columns at right angles."""
    axes = RAS_TO_LPS @ matrix[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((axes / spacing).ravel().tolist())
    image.SetOrigin((RAS_TO_LPS @ matrix[:3, 3]).tolist())


def matrix_array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """A vtkMatrix4x4 as a numpy array (4, 4)."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _require_scalar(node: Any) -> None:
    if node is None or not node.IsA("vtkMRMLScalarVolumeNode"):
        kind = "nothing" if node is None else f"'{node.GetName()}' ({node.GetClassName()})"
        raise InputError(f"a scalar volume is needed, but {kind} was chosen")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"'{node.GetName()}' is a label map; choose the scalar CT or MR volume itself")
    data = node.GetImageData()
    if data is None or data.GetNumberOfPoints() == 0 or data.GetPointData().GetScalars() is None:
        raise InputError(f"volume '{node.GetName()}' is empty; load an image into it first")
    if node.IsA("vtkMRMLTensorVolumeNode") or data.GetNumberOfScalarComponents() != 1:
        raise InputError(
            f"'{node.GetName()}' has several values per voxel (colour, vector or tensor); "
            "choose a scalar volume, or convert it with the Vector to Scalar Volume module"
        )


def _hardened_matrix(parent: Any, matrix: vtk.vtkMatrix4x4) -> vtk.vtkMatrix4x4 | None:
    """`matrix` followed by the linear `parent` transform, if any; None where that is no image geometry."""
    to_world = vtk.vtkMatrix4x4()
    if parent is not None:
        if not parent.IsTransformToWorldLinear():
            return None
        parent.GetMatrixTransformToWorld(to_world)
    hardened = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Multiply4x4(to_world, matrix, hardened)
    axes = matrix_array(hardened)[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > _ORTHOGONAL_WITHIN:
        return None
    return hardened


def _resampled_in_world(node: Any, parent: Any) -> tuple[vtk.vtkImageData, vtk.vtkMatrix4x4]:
    """The node's voxels carried through a shearing or warping transform, as Slicer itself hardens them."""
    to_world = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(to_world)
    data, matrix = vtk.vtkImageData(), vtk.vtkMatrix4x4()
    if not node.GetTransformedImageData(node, to_world, data, matrix):
        raise InputError(f"the transform '{parent.GetName()}' above '{node.GetName()}' cannot be applied")
    return data, matrix


def _image(data: vtk.vtkImageData, matrix: vtk.vtkMatrix4x4) -> sitk.Image:
    image = sitk.GetImageFromArray(array_from_vtk(data).astype(np.float32))
    set_geometry(image, _at_extent(data, matrix))
    return image


def _at_extent(data: vtk.vtkImageData, matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """`matrix` counted from the first voxel of `data`, whose extent may start anywhere."""
    array = matrix_array(matrix)
    array[:, 3] = array @ np.array([*data.GetExtent()[::2], 1.0])
    return array


def _description(size: tuple[int, ...], image: sitk.Image) -> dict[str, Any]:
    return {
        "size": list(size),
        "spacing_mm": list(image.GetSpacing()),
        "origin_mm": list(image.GetOrigin()),
        "direction": list(image.GetDirection()),
    }
