"""Arrangements of views for a training: its pictures in views of their own, its curves below."""

from collections.abc import Sequence
from typing import Any

import qt
import slicer

_FIRST = 82500
"""Arrangements of ours: this, plus twice the rows of pictures, plus one with curves."""
_MOST_ROWS = 4
_GROUP = 82
"""View group: linked views follow each other's zoom, and no others."""
_COLOR = "#6F7F8F"
PLOTS = {"TrainingLoss": "L", "TrainingValidation": "V"}
KINDS = ("Sensor", "Network", "Truth")


def arrange(rows: Sequence[Sequence[Any]], charts: Sequence[Any]) -> None:
    """Show rows of three volumes, and two charts below; both may be empty, but not at once."""
    from MSLFusionLib.scene import views

    rows = rows[:_MOST_ROWS]
    manager = slicer.app.layoutManager()
    if manager is None:
        return
    number = _FIRST + 2 * len(rows) + bool(charts)
    layout = manager.layoutLogic().GetLayoutNode()
    if not layout.IsLayoutDescription(number):
        layout.AddLayoutDescription(number, _description(len(rows), bool(charts)))
    manager.setLayout(number)
    scene = slicer.mrmlScene
    for tag, chart in zip(PLOTS, charts, strict=False):
        scene.GetSingletonNode(tag, "vtkMRMLPlotViewNode").SetPlotChartNodeID(chart.GetID())
    shown = {_tag(r, kind): volume for r, row in enumerate(rows) for kind, volume in zip(KINDS, row, strict=True)}
    for tag, volume in shown.items():
        scene.GetSingletonNode(tag, "vtkMRMLSliceNode").SetOrientation("Axial")
        composite = scene.GetSingletonNode(tag, "vtkMRMLSliceCompositeNode")
        composite.SetBackgroundVolumeID(volume.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
        composite.SetLinkedControl(True)

    def fit() -> None:  # once the views have their sizes
        views.fit(scene, {tag: volume for tag, volume in shown.items() if scene.IsNodePresent(volume)})

    qt.QTimer.singleShot(0, fit)


def _tag(row: int, kind: str) -> str:
    return f"Training{kind}{row + 1}"


def _description(rows: int, curves: bool) -> str:
    pictures = [_side_by_side([_slice(row, kind) for kind in KINDS]) for row in range(rows)]
    plots = _side_by_side([_view("vtkMRMLPlotViewNode", tag, label) for tag, label in PLOTS.items()])
    if not pictures:
        return plots
    above = _stacked(pictures)
    if not curves:
        return above
    items = f'<item splitSize="650">{above}</item><item splitSize="350">{plots}</item>'
    return f'<layout type="vertical" split="true">{items}</layout>'


def _slice(row: int, kind: str) -> str:
    more = _property("orientation", "Axial") + _property("viewcolor", _COLOR) + _property("viewgroup", str(_GROUP))
    return _view("vtkMRMLSliceNode", _tag(row, kind), f"{kind[0]}{row + 1}", more)


def _stacked(parts: Sequence[str]) -> str:
    return f'<layout type="vertical">{"".join(f"<item>{part}</item>" for part in parts)}</layout>'


def _side_by_side(parts: Sequence[str]) -> str:
    return f'<layout type="horizontal">{"".join(f"<item>{part}</item>" for part in parts)}</layout>'


def _view(cls: str, tag: str, label: str, more: str = "") -> str:
    return f'<view class="{cls}" singletontag="{tag}">{_property("viewlabel", label)}{more}</view>'


def _property(name: str, value: str) -> str:
    return f'<property name="{name}" action="default">{value}</property>'
