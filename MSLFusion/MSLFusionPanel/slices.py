"""Which planes of a volume the slice views show, and writing single planes of a volume node."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer
import vtk

if TYPE_CHECKING:
    import numpy as np

_ALONG = 0.996
"""Cosine, 5 degrees: a view turned further away from the planes of a volume shows no single plane of it."""


@dataclass(frozen=True)
class View:
    """A slice view of the present layout: its name ("Red"), what it shows, where it looks."""

    name: str
    node: Any
    composite: Any

    def shows(self, volume: Any) -> bool:
        """Whether the volume node is its background or foreground."""
        layers = (self.composite.GetBackgroundVolumeID(), self.composite.GetForegroundVolumeID())
        return volume.GetID() in layers

    def plane(self, volume: Any) -> tuple[int, int] | None:
        """The plane of the volume in the middle of the view, as axis of its array (z, y, x) and index.

        None where the view is not parallel to the volume's planes, or looks beside it.
        """
        import numpy as np

        from MSLFusionLib.scene.volumes import matrix_array

        to_world = _ijk_to_world(volume)
        if to_world is None or volume.GetImageData() is None:
            return None
        pose = matrix_array(self.node.GetSliceToRAS())
        axes = to_world[:3, :3] / np.linalg.norm(to_world[:3, :3], axis=0)
        # Planes i = const have the normal that both other axes are at right angles to.
        normals = np.array([np.cross(axes[:, (i + 1) % 3], axes[:, (i + 2) % 3]) for i in range(3)])
        along = np.abs(normals @ pose[:3, 2]) / np.linalg.norm(pose[:3, 2])
        axis = int(along.argmax())
        index = round(float(np.linalg.solve(to_world, pose[:, 3])[axis]))
        if along[axis] < _ALONG or not 0 <= index < volume.GetImageData().GetDimensions()[axis]:
            return None
        return 2 - axis, index


def slice_nodes() -> list[Any]:
    """All slice nodes of the scene with their composite nodes, one after the other."""
    nodes = []
    for name in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
        nodes += [slicer.mrmlScene.GetNthNodeByClass(i, name) for i in range(_count(name))]
    return nodes


def views() -> list[View]:
    """The slice views of the present layout."""
    scene, found = slicer.mrmlScene, []
    for i in range(_count("vtkMRMLSliceNode")):
        node = scene.GetNthNodeByClass(i, "vtkMRMLSliceNode")
        composite = slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(node)
        if node.IsMappedInLayout() and composite is not None:
            found.append(View(node.GetLayoutName(), node, composite))
    return found


def write_plane(volume: Any, axis: int, index: int, plane: "float | np.ndarray") -> None:
    """Put one plane into the voxels of a volume node, which are announced as modified once."""
    import numpy as np

    np.moveaxis(slicer.util.arrayFromVolume(volume), axis, 0)[index] = plane
    slicer.util.arrayFromVolumeModified(volume)


def write_volume(volume: Any, array: "float | np.ndarray") -> None:
    """Put all voxels into a volume node of the same shape, which are announced as modified once."""
    slicer.util.arrayFromVolume(volume)[...] = array
    slicer.util.arrayFromVolumeModified(volume)


def shape_of(volume: Any) -> tuple[int, ...]:
    """The shape (z, y, x) of a volume node's voxels."""
    data = volume.GetImageData()
    return () if data is None else tuple(data.GetDimensions()[::-1])


def _count(name: str) -> int:
    return int(slicer.mrmlScene.GetNumberOfNodesByClass(name))


def _ijk_to_world(volume: Any) -> "np.ndarray | None":
    """4x4 from voxel indices (i, j, k) to the world; None under a transform that is not linear."""
    from MSLFusionLib.scene.volumes import matrix_array

    own, above = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(own)
    parent = volume.GetParentTransformNode()
    if parent is None:
        return matrix_array(own)
    if not parent.GetMatrixTransformToWorld(above):
        return None
    return matrix_array(above) @ matrix_array(own)
