"""Arrangements of Slicer's views for CT, MR and hybrid; only when the user asks for one."""

from collections.abc import Iterable
from typing import Any

import qt
import slicer

from MSLFusionLib.scene.view_names import PLOT_VIEWS, SLICE_VIEWS, TABLE_VIEW

_BITS = dict(zip(SLICE_VIEWS, (1, 2, 4), strict=True))
"""Where CT, MR and hybrid are shown, and the bit of each view in the number of an arrangement."""
_FIRST = 82400
"""Arrangements of ours: this plus the bits of the views in a row; all three above a table or plots, see below."""
_TABLE, _PLOTS, _PLOT = _FIRST + 8, _FIRST + 9, _FIRST + 10


def register() -> None:
    """Tell Slicer what our arrangements look like; needed once before a scene that was saved with one is opened."""
    node = _layout_node()
    if node is None:
        return
    descriptions = {_FIRST + bits: _row(_views(bits)) for bits in range(1, 8)}
    descriptions[_TABLE] = _above(_row(_BITS), _view("vtkMRMLTableViewNode", TABLE_VIEW, "T"))
    plots = [_view("vtkMRMLPlotViewNode", name, label) for name, label in PLOT_VIEWS.items()]
    descriptions[_PLOTS] = _above(_row(_BITS), _side_by_side(plots))
    descriptions[_PLOT] = _above(_row(_BITS), plots[0])
    for number, description in descriptions.items():
        if not node.IsLayoutDescription(number):
            node.AddLayoutDescription(number, description)


def side_by_side(ct: Any, mr: Any, hybrid: Any) -> None:
    """CT | MR | hybrid in linked slice views, each seen as a whole; those that are None are left out."""
    _show(dict(zip(_BITS, (ct, mr, hybrid), strict=True)))


def hybrid_large(hybrid: Any) -> None:
    """The hybrid alone, in the view that has it beside the others too."""
    _show({"Yellow": hybrid})


def show_table(table: Any) -> None:
    """A table below the slices, which stay as they are."""
    from MSLFusionLib.scene import views

    views.show_table(slicer.mrmlScene, table)
    _arrange(_TABLE)
    _fit_when_arranged(_shown())


def show_plots(charts: Iterable[Any]) -> None:
    """Up to four charts below the slices, which stay as they are."""
    from MSLFusionLib.scene import views

    charts = list(charts)
    _arrange(_PLOT if len(charts) == 1 else _PLOTS)
    views.show_charts(slicer.mrmlScene, charts)
    _fit_when_arranged(_shown())


def _show(volumes: dict[str, Any]) -> None:
    from MSLFusionLib.scene import views

    shown = {name: volume for name, volume in volumes.items() if volume is not None}
    if not shown:
        return
    _arrange(_FIRST + sum(_BITS[name] for name in shown))

    views.show_volumes(slicer.mrmlScene, shown, tilted=True)
    _fit_when_arranged(shown)


def _shown() -> dict[str, Any]:
    """What our slice views show."""
    scene = slicer.mrmlScene
    composites = {name: scene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode") for name in _BITS}
    ids = {name: composite.GetBackgroundVolumeID() for name, composite in composites.items() if composite is not None}
    volumes = {name: scene.GetNodeByID(volume) for name, volume in ids.items() if volume}
    return {name: volume for name, volume in volumes.items() if volume is not None}


def _fit_when_arranged(shown: dict[str, Any]) -> None:
    """Let each view hold all of its volume, once the views have their new sizes."""
    from MSLFusionLib.scene import views

    def fit() -> None:
        views.fit(slicer.mrmlScene, {n: v for n, v in shown.items() if slicer.mrmlScene.IsNodePresent(v)})

    qt.QTimer.singleShot(0, fit)


def _arrange(number: int) -> None:
    register()
    manager = slicer.app.layoutManager()
    if manager is not None:
        manager.setLayout(number)


def _layout_node() -> Any:
    """The node with all arrangements; None without a window."""
    manager = slicer.app.layoutManager()
    logic = None if manager is None else manager.layoutLogic()
    return None if logic is None else logic.GetLayoutNode()


def _views(bits: int) -> list[str]:
    return [name for name, bit in _BITS.items() if bits & bit]


def _row(names: Iterable[str]) -> str:
    views = []
    for name in names:
        label, color = SLICE_VIEWS[name]
        more = f"{_property('orientation', 'Axial')}{_property('viewcolor', color)}"
        views.append(_view("vtkMRMLSliceNode", name, label, more))
    return _side_by_side(views)


def _side_by_side(views: Iterable[str]) -> str:
    return f'<layout type="horizontal">{"".join(f"<item>{view}</item>" for view in views)}</layout>'


def _above(upper: str, lower: str) -> str:
    """The upper part larger than the lower one; the user can move the line between them."""
    items = f'<item splitSize="600">{upper}</item><item splitSize="400">{lower}</item>'
    return f'<layout type="vertical" split="true">{items}</layout>'


def _view(cls: str, tag: str, label: str, more: str = "") -> str:
    return f'<view class="{cls}" singletontag="{tag}">{_property("viewlabel", label)}{more}</view>'


def _property(name: str, value: str) -> str:
    return f'<property name="{name}" action="default">{value}</property>'
