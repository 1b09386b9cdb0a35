"""Arrangements of views for a training: its pictures in views of their own, its curves below."""

from collections.abc import Sequence
from typing import Any

import qt
import slicer

_FIRST = 82500
"""Arrangements of ours: this, plus three times the rows of pictures, plus the charts."""
_MOST_ROWS = 4
_COLOR = "#6F7F8F"
PLOTS = {"TrainingLoss": "L", "TrainingValidation": "V"}
KINDS = ("Sensor", "Network", "Truth")


def shown() -> bool:
    """Whether the views are in one of these arrangements."""
    manager = slicer.app.layoutManager()
    return manager is not None and _FIRST < manager.layout < _FIRST + 3 * (_MOST_ROWS + 1)


def leave(arrangement: int) -> None:
    """Show another arrangement where one of ours is shown, once a scene that is being closed is closed."""

    def change() -> None:
        if shown():
            slicer.app.layoutManager().setLayout(arrangement)

    if arrangement:
        qt.QTimer.singleShot(0, change)


def arrange(rows: Sequence[Sequence[Any]], charts: Sequence[Any]) -> int:
    """Show rows of three volumes, and up to two charts below; one of both may be empty.

    Returns the arrangement before, 0 where that was one of ours.
    """
    from MSLFusionLib.scene import views

    rows = rows[:_MOST_ROWS]
    manager = slicer.app.layoutManager()
    if manager is None:
        return 0
    # Slicer begins with the arrangement 0, which looks like this one but cannot be set again.
    before = 0 if shown() else int(manager.layout) or slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    number = _FIRST + 3 * len(rows) + len(charts)
    layout = manager.layoutLogic().GetLayoutNode()
    if not layout.IsLayoutDescription(number):
        layout.AddLayoutDescription(number, _description(len(rows), len(charts)))
    manager.setLayout(number)
    scene = slicer.mrmlScene
    for tag, chart in zip(PLOTS, charts, strict=False):
        scene.GetSingletonNode(tag, "vtkMRMLPlotViewNode").SetPlotChartNodeID(chart.GetID())
    volumes = {_tag(r, kind): volume for r, row in enumerate(rows) for kind, volume in zip(KINDS, row, strict=True)}
    for tag, volume in volumes.items():
        scene.GetSingletonNode(tag, "vtkMRMLSliceNode").SetOrientation("Axial")
        composite = scene.GetSingletonNode(tag, "vtkMRMLSliceCompositeNode")
        composite.SetBackgroundVolumeID(volume.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
        # Not linked: a view's list of volumes would give all linked views its volume whenever that is renamed.

    def fit() -> None:  # once the views have their sizes
        views.fit(scene, {tag: volume for tag, volume in volumes.items() if scene.IsNodePresent(volume)})

    qt.QTimer.singleShot(0, fit)
    return before


def _tag(row: int, kind: str) -> str:
    return f"Training{kind}{row + 1}"


def _description(rows: int, charts: int) -> str:
    pictures = [_side_by_side([_slice(row, kind) for kind in KINDS]) for row in range(rows)]
    labels = list(PLOTS.items())[:charts]
    plots = _side_by_side([_view("vtkMRMLPlotViewNode", tag, label) for tag, label in labels])
    if not pictures:
        return plots
    above = _stacked(pictures)
    if not charts:
        return above
    items = f'<item splitSize="650">{above}</item><item splitSize="350">{plots}</item>'
    return f'<layout type="vertical" split="true">{items}</layout>'


def _slice(row: int, kind: str) -> str:
    more = _property("orientation", "Axial") + _property("viewcolor", _COLOR)
    return _view("vtkMRMLSliceNode", _tag(row, kind), f"{kind[0]}{row + 1}", more)


def _stacked(parts: Sequence[str]) -> str:
    return f'<layout type="vertical">{"".join(f"<item>{part}</item>" for part in parts)}</layout>'


def _side_by_side(parts: Sequence[str]) -> str:
    return f'<layout type="horizontal">{"".join(f"<item>{part}</item>" for part in parts)}</layout>'


def _view(cls: str, tag: str, label: str, more: str = "") -> str:
    return f'<view class="{cls}" singletontag="{tag}">{_property("viewlabel", label)}{more}</view>'


def _property(name: str, value: str) -> str:
    return f'<property name="{name}" action="default">{value}</property>'
