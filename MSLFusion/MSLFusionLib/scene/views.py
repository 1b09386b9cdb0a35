"""What the views show when a saved scene is opened: CT | MR | hybrid side by side above the plots."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from MSLFusionLib.scene.view_names import LOWER_VIEWS, PLOT_VIEWS, SLICE_VIEWS, TABLE_VIEW
from MSLFusionLib.scene.volumes import matrix_array, slice_plane

_TILTED_DEG = 0.1


def show_side_by_side(
    scene: Any, volumes: Sequence[Any], charts: Sequence[Any] = (), below: Sequence[Any] = ()
) -> None:
    """Show up to three volume nodes side by side in linked slices, and up to three charts, or volumes, below.

    Inside the application the views change at once; in a headless scene the view nodes are made, and the
    application takes their content over when it opens the saved scene.
    """
    shown = dict(zip(SLICE_VIEWS, volumes, strict=False)) | dict(zip(LOWER_VIEWS, below, strict=False))
    show_volumes(scene, shown)
    show_charts(scene, charts)
    _arrange(scene, with_plots=bool(charts))


def show_volumes(scene: Any, volumes: Mapping[str, Any], tilted: bool = False) -> None:
    """Show volume nodes alone in the slice views of those names (SLICE_VIEWS, LOWER_VIEWS), linked, each as a whole.

    All views show the anatomical plane nearest to the first volume's slices; `tilted`: those slices as they lie. (A
    scene that is saved with tilted views logs an error of Slicer when it is opened.)
    """
    for name, volume in volumes.items():
        label, color = (SLICE_VIEWS | LOWER_VIEWS)[name]
        slice_node = _singleton(scene, "vtkMRMLSliceNode", name)
        slice_node.SetLayoutLabel(label)
        slice_node.SetLayoutColor(*(int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)))
        _turn(slice_node, next(iter(volumes.values())), tilted)
        composite = _singleton(scene, "vtkMRMLSliceCompositeNode", name)
        composite.SetBackgroundVolumeID(volume.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
        composite.SetLinkedControl(True)
    fit(scene, volumes)


def fit(scene: Any, volumes: Mapping[str, Any]) -> None:
    """Centre the slice views of those names on their volume nodes and make them hold all of it."""
    for name, volume in volumes.items():
        _fit(_singleton(scene, "vtkMRMLSliceNode", name), volume)


def show_charts(scene: Any, charts: Sequence[Any]) -> None:
    """Show up to four chart nodes in the plot views, as many as the arrangement has."""
    for (name, label), chart in zip(PLOT_VIEWS.items(), charts, strict=False):
        plot_view = _singleton(scene, "vtkMRMLPlotViewNode", name)
        plot_view.SetLayoutLabel(label)
        plot_view.SetPlotChartNodeID(chart.GetID())


def show_table(scene: Any, table: Any) -> None:
    """Show a table node in the table view TABLE_VIEW."""
    _singleton(scene, "vtkMRMLTableViewNode", TABLE_VIEW).SetTableNodeID(table.GetID())


def _arrange(scene: Any, with_plots: bool) -> None:
    layout = _singleton(scene, "vtkMRMLLayoutNode", "vtkMRMLLayoutNode")
    wanted = layout.SlicerLayoutThreeOverThreePlotView if with_plots else layout.SlicerLayoutThreeOverThreeView
    # Only the application knows what the layouts look like; elsewhere the number alone is kept and saved.
    layout.AddLayoutDescription(wanted, "")
    layout.SetViewArrangement(wanted)


def _singleton(scene: Any, cls: str, tag: str) -> Any:
    """The scene's singleton node of that class and tag, made when it is not there."""
    node = scene.GetSingletonNode(tag, cls)
    if node is None:
        node = scene.CreateNodeByClass(cls)
        node.UnRegister(None)
        node.SetSingletonTag(tag)
        node.SetName(tag)
        node = scene.AddNode(node)
    return node


def _turn(slice_node: Any, volume: Any, tilted: bool) -> None:
    plane, tilt = slice_plane(volume)
    slice_node.SetOrientation(plane)
    parent = volume.GetParentTransformNode()
    if tilted and tilt > _TILTED_DEG and (parent is None or parent.IsTransformToWorldLinear()):
        slice_node.RotateToVolumePlane(volume)


def _fit(slice_node: Any, volume: Any) -> None:
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    slice_node.JumpSliceByCentering(*(low + high) / 2)
    axes = np.abs(matrix_array(slice_node.GetSliceToRAS())[:3, :2])
    across, upwards = axes.T @ (high - low)
    width, height, depth = slice_node.GetFieldOfView()
    scale = 1.05 * max(across / width, upwards / height)
    slice_node.SetFieldOfView(width * scale, height * scale, depth)
