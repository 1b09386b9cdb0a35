"""What the views show when a saved scene is opened: CT | MR | hybrid side by side above the plots."""

from collections.abc import Sequence
from typing import Any

# In the order of Slicer's layout "Three over three plot"; label and colour as Slicer gives them to new views.
_SLICE_VIEWS = {
    "Red": ("R", (0.953, 0.290, 0.200)),
    "Green": ("G", (0.431, 0.690, 0.294)),
    "Yellow": ("Y", (0.929, 0.835, 0.298)),
}
_PLOT_VIEWS = {"PlotView1": "P", "PlotView2": "P2", "PlotView3": "P3"}


def show_side_by_side(scene: Any, volumes: Sequence[Any], charts: Sequence[Any] = ()) -> None:
    """Show up to three volume nodes side by side in linked axial slices, and up to three charts below.

    Inside the application the views change at once; in a headless scene the view nodes are made, and the
    application takes their content over when it opens the saved scene.
    """
    for (name, (label, color)), volume in zip(_SLICE_VIEWS.items(), volumes, strict=False):
        slice_node = _singleton(scene, "vtkMRMLSliceNode", name)
        slice_node.SetLayoutLabel(label)
        slice_node.SetLayoutColor(*color)
        slice_node.SetOrientationToAxial()
        _fit(slice_node, volume)
        composite = _singleton(scene, "vtkMRMLSliceCompositeNode", name)
        composite.SetBackgroundVolumeID(volume.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
        composite.SetLinkedControl(True)
    for (name, label), chart in zip(_PLOT_VIEWS.items(), charts, strict=False):
        plot_view = _singleton(scene, "vtkMRMLPlotViewNode", name)
        plot_view.SetLayoutLabel(label)
        plot_view.SetPlotChartNodeID(chart.GetID())
    _arrange(scene, with_plots=bool(charts))


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


def _fit(slice_node: Any, volume: Any) -> None:
    """Centre the slice on the volume and make its shorter side hold the volume in the plane."""
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    centre = [(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)]
    slice_node.JumpSliceByCentering(*centre)
    width, height, depth = slice_node.GetFieldOfView()
    needed = 1.05 * max(bounds[1] - bounds[0], bounds[3] - bounds[2])
    scale = needed / min(width, height)
    slice_node.SetFieldOfView(width * scale, height * scale, depth)
