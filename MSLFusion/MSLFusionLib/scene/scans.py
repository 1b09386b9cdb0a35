"""Measured data in the scene: lines that show where a scan lies, and pictures of sinograms and k-space."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from MSLFusionLib.scene.colors import lambda_rgb
from MSLFusionLib.scene.names import free_name
from MSLFusionLib.scene.volumes import node_from_image, update_node

AXES_ATTRIBUTE = "MSLFusion.Axes"
"""On a picture: what its columns, rows and slices are, a millimetre each. It lies nowhere in the patient."""
PICTURES = {
    "sinogram": ("bins, views, slices", "line integrals of the attenuation, no unit"),
    "k-space": ("kx, ky, slices", "decibels below the largest value of the slice"),
}
"""Kind of picture to what its axes are, and what its values are."""
_WINDOW_DB = (-80.0, 0.0)
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1]
_LAMBDA = {"ct": 0.0, "mr": 1.0}


def outline_nodes(scene: Any, outline: Mapping[str, Any], names: Mapping[str, str], before: Mapping[str, Any]) -> dict:
    """Models that show where scans lie, by modality: the box of the images, and of a CT the way of the source, the
    detector and the rays between the two at the first and the last view.

    outline: as recon.describe.outline gives it, LPS. names: of new nodes, by modality. before: nodes to be used again.
    """
    found = {}
    for kind, corners in outline["boxes"].items():
        lines: list[Sequence[Any]] = [[corners[a], corners[b]] for a, b in _EDGES]
        if kind == "ct" and len(outline["arc"]):
            arc, detector = outline["arc"], outline["detector"]
            lines += [arc, detector, [detector[0], arc[0], detector[1]]]
        node = before.get(kind)
        if node is None:
            node = scene.AddNewNodeByClass("vtkMRMLModelNode", free_name(scene, names[kind]))
        node.SetAndObservePolyData(_lines(lines))
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetColor(*lambda_rgb(_LAMBDA[kind]))
        display.SetLineWidth(2)
        display.SetLighting(False)
        node.SetSelectable(False)  # clicks in views are for what lies behind
        found[kind] = node
    return found


def picture_node(scene: Any, kind: str, planes: np.ndarray, name: str, node: Any = None) -> Any:
    """A volume node that shows a sinogram or k-space, planes (slices, rows, columns), as it is: columns to the right,
    rows downwards, one millimetre each. kind: of PICTURES. node: to be filled again, None for a new one."""
    image = sitk.GetImageFromArray(planes)
    if node is None:
        node = node_from_image(scene, image, name)
    else:
        node.SetAndObserveTransformNodeID(None)
        update_node(node, image)
        node.CreateDefaultDisplayNodes()
    axes, values = PICTURES[kind]
    node.SetAttribute(AXES_ATTRIBUTE, axes)
    node.SetAttribute("MSLFusion.Values", values)
    node.SetDescription(f"{axes}; {values}; no position in the patient")
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    low, high = _WINDOW_DB if kind == "k-space" else (float(planes.min()), float(planes.max()))
    display.SetWindowLevelMinMax(low, high if high > low else low + 1.0)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetInterpolate(False)
    return node


def _lines(lines: Sequence[Sequence[Any]]) -> vtk.vtkPolyData:
    """Lines of LPS points as polydata in RAS."""
    data, points, cells = vtk.vtkPolyData(), vtk.vtkPoints(), vtk.vtkCellArray()
    placed = np.concatenate([np.asarray(line, float) for line in lines]) * (-1.0, -1.0, 1.0)
    points.SetData(numpy_to_vtk(placed, deep=True))
    first = 0
    for line in lines:
        cells.InsertNextCell(len(line))
        for number in range(first, first + len(line)):
            cells.InsertCellPoint(number)
        first += len(line)
    data.SetPoints(points)
    data.SetLines(cells)
    return data
