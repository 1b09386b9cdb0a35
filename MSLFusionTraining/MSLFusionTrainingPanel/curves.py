"""The curves of a training in the scene: a table, its series and a chart each for the loss and for the validation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from MSLFusionPanel import axes
from MSLFusionTrainingLib.history import Course

_COLORS = ((0.10, 0.30, 0.60), (0.80, 0.33, 0.02), (0.30, 0.55, 0.25), (0.45, 0.30, 0.60), (0.55, 0.45, 0.10))
_FEW = 12
"""Points that are marked each; more are a line."""
_MEASURED = ("fbp", "zero_filled", "image")
"""What the network starts from."""
_KINDS = {
    "network": _("network"),
    "fbp": "FBP",
    "zero_filled": _("zero-filled"),
    "image": _("as measured"),
    "corrected": _("data-consistent"),
}


class Curves:
    """Both charts of a run. They are nodes of the scene that are not saved with it."""

    def __init__(self) -> None:
        self._loss = _Plot(_("Training: loss"), _("loss"), log=True)
        self._score = _Plot(_("Training: validation"), _("PSNR in dB"), log=False)

    @property
    def present(self) -> bool:
        """Whether the charts are in the scene."""
        return self._loss.present and self._score.present

    def show(self, course: Course, title: str) -> list[Any]:
        """Bring the charts up to date, making what is not there; returns those that have something to show."""
        names = [name.replace("_", " ") for name in course.loss_names]
        loss = self._loss.show(names, course.losses, _("{run}: loss").format(run=title), _loss_style)
        scores = [_score_name(name) for name in course.score_names]
        score = self._score.show(scores, course.scores, _("{run}: validation").format(run=title), _score_style)
        return [chart for chart, rows in ((loss, course.losses), (score, course.scores)) if rows]

    def fit(self) -> None:
        """Show all of the curves again, wherever the user has moved to."""
        self._loss.range = self._score.range = None

    def remove(self) -> None:
        """Take everything out of the scene."""
        self._loss.remove()
        self._score.remove()


class _Plot:
    """One chart. `name`: of its nodes; y: title of the axis, which is logarithmic with `log`."""

    def __init__(self, name: str, y: str, log: bool) -> None:
        self._name, self._y, self._log = name, y, log
        self._chart: Any = None
        self._table: Any = None
        self._series: dict[str, Any] = {}
        self._shown: Any = None
        self.range: tuple[float, ...] | None = None
        """Of both axes, as it was set last."""

    @property
    def present(self) -> bool:
        return _there(self._chart) and _there(self._table)

    def show(
        self, names: Sequence[str], rows: Sequence[tuple[float, ...]], title: str, style: Callable[..., None]
    ) -> Any:
        if not self.present:
            self.remove()
            self._make()
        if self._chart.GetTitle() != title:
            self._chart.SetTitle(title)
        shown = (tuple(names), tuple(rows))
        if shown == self._shown:
            return self._chart
        self._shown = shown
        values = {name: [self._drawn(row[i]) for row in rows] for i, name in enumerate(names, 1)}
        # A term that the training does not use is no curve.
        values = {name: ys for name, ys in values.items() if any(not math.isnan(y) and y != 0 for y in ys)}
        table = vtk.vtkTable()
        for name, ys in {"iteration": [row[0] for row in rows], **values}.items():
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            for y in ys:
                column.InsertNextValue(y)
            table.AddColumn(column)
        for name in [name for name in self._series if name not in values]:
            self._drop(name)
        self._table.SetAndObserveTable(table)
        for name in values:
            if not _there(self._series.get(name)):
                self._add(name, list(names), style)
            self._series[name].SetMarkerStyle(
                self._series[name].MarkerStyleCircle if len(rows) <= _FEW else self._series[name].MarkerStyleNone
            )
        drawn = [y for ys in values.values() for y in ys if not math.isnan(y)]
        self.range = axes.fit(self._chart, [row[0] for row in rows], drawn, self.range)
        return self._chart

    def remove(self) -> None:
        for name in list(self._series):
            self._drop(name)
        for node in (self._chart, self._table):
            if _there(node):
                _remove(node)
        self._chart = self._table = self._shown = self.range = None

    def _drawn(self, value: float) -> float:
        """What cannot be drawn is left out."""
        return math.nan if not math.isfinite(value) or (self._log and value <= 0) else value

    def _make(self) -> None:
        self._table = _new("vtkMRMLTableNode", self._name)
        self._table.SetLocked(True)
        self._chart = _new("vtkMRMLPlotChartNode", self._name)
        self._chart.SetXAxisTitle(_("iteration"))
        self._chart.SetYAxisTitle(self._y)
        self._chart.SetYAxisLogScale(self._log)
        self._chart.SetTitleFontSize(14)
        self._chart.SetLegendFontSize(11)
        self._chart.SetAxisTitleFontSize(12)
        self._chart.SetAxisLabelFontSize(11)

    def _add(self, name: str, names: list[str], style: Callable[..., None]) -> None:
        series = _new("vtkMRMLPlotSeriesNode", name)
        series.SetAndObserveTableNodeID(self._table.GetID())
        series.SetPlotType(series.PlotTypeScatter)
        series.SetXColumnName("iteration")
        series.SetYColumnName(name)
        style(series, name, names)
        self._series[name] = series
        self._chart.AddAndObservePlotSeriesNodeID(series.GetID())

    def _drop(self, name: str) -> None:
        series = self._series.pop(name)
        if _there(series):
            if _there(self._chart):
                self._chart.RemovePlotSeriesNodeID(series.GetID())
            _remove(series)


def _loss_style(series: Any, name: str, names: list[str]) -> None:
    """The whole loss strong, its terms thin."""
    place = names.index(name)
    series.SetColor(*((0.0, 0.0, 0.0) if place == 0 else _COLORS[(place - 1) % len(_COLORS)]))
    series.SetLineWidth(2 if place == 0 else 1)


def _score_style(series: Any, name: str, names: list[str]) -> None:
    """A colour for each modality; what the network starts from is dashed."""
    role, _blank, kind = name.partition(" ")
    roles = list(dict.fromkeys(one.partition(" ")[0] for one in names))
    series.SetColor(*_COLORS[roles.index(role) % len(_COLORS)])
    if kind in [_KINDS[one] for one in _MEASURED]:
        series.SetLineStyle(series.LineStyleDash)
        series.SetLineWidth(1)
    elif kind != _KINDS["network"]:
        series.SetLineStyle(series.LineStyleDot)


def _score_name(name: str) -> str:
    """ "CT fbp" and the like as people say it."""
    role, _blank, kind = name.partition(" ")
    return f"{role} {_KINDS.get(kind, kind)}"


def _new(cls: str, name: str) -> Any:
    """A new node that is not saved with the scene."""
    node = slicer.mrmlScene.CreateNodeByClass(cls)
    node.UnRegister(None)
    node.SetName(name)
    node.SetSaveWithScene(False)
    return slicer.mrmlScene.AddNode(node)


def _there(node: Any) -> bool:
    return node is not None and slicer.mrmlScene.IsNodePresent(node)


def _remove(node: Any) -> None:
    from MSLFusionLib.scene import hierarchy

    hierarchy.remove_node(slicer.mrmlScene, node)
