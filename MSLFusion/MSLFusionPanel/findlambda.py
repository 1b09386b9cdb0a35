"""Section 5, "Find lambda": the worker looks for the map that an objective is largest for; its curve in a plot."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import slicer
import vtk
from slicer.i18n import tr as _

from MSLFusionPanel import axes, install, layouts, slices
from MSLFusionPanel.inputs import Inputs, collect
from MSLFusionPanel.parameters import LambdaMode
from MSLFusionPanel.run import image_of, place
from MSLFusionPanel.session import OpenSession, open_session
from MSLFusionPanel.task import ask
from MSLFusionPanel.words import as_sentence

if TYPE_CHECKING:
    import numpy as np

    from MSLFusionLib.wire import Message
    from MSLFusionPanel.lambdas import LambdaSection

OBJECTIVE_ATTRIBUTE = "MSLFusion.Objective"
"""Of a map that was found: the objective that it is largest for."""
_ROLE, _TABLE, _CHART = "MSLFusion.Role", "LambdaCurve", "LambdaChart"
_COLUMNS = ("evaluation", "map", "best constant")
_COLORS = {"map": (0.10, 0.30, 0.60), "best constant": (0.80, 0.33, 0.02)}
_OTHERS = ("lambdaMessage", "hybridMessage", "findLambdaMessage")
"""Messages about what a search does not need."""


class Found:
    """What a search has found until now: the planes of slices, each the best until then."""

    def __init__(self, session: OpenSession, objective: str) -> None:
        self.session, self.objective = session, objective
        self.planes: dict[int, np.ndarray] = {}
        self.constants: dict[int, float] = {}
        self.gains: dict[int, float] = {}

    def add(self, message: "Message") -> None:
        """A part of the worker's answer."""
        (number,) = message.header["slices"]
        lam, value = message.header["best_constant"]
        self.planes[number] = message.arrays["planes"][0]
        self.constants[number], self.gains[number] = float(lam), float(message.header["value"]) - float(value)

    def volume(self) -> "np.ndarray":
        """The map (z, y, x); slices that were not reached have the best constant of the nearest one that was."""
        import numpy as np

        volume = np.empty(self.session.shape, np.float32)
        known = np.array(sorted(self.planes))
        for number, plane in enumerate(np.moveaxis(volume, self.session.slice_axis, 0)):
            nearest = int(known[np.argmin(np.abs(known - number))])
            plane[...] = self.planes.get(number, self.constants[nearest])
        return volume


class FindLambda:
    """The button, its settings, and what becomes of a search."""

    def __init__(self, section: "LambdaSection") -> None:
        self._section = section
        self._panel, self._ui, self._logic = section.panel, section.ui, section.logic
        self._found: Found | None = None
        self._curve: tuple[int, list[list[float]]] | None = None
        self._limits: axes.Limits | None = None

    def setup(self) -> None:
        """Connect the widgets."""
        self._section.on(self._ui.findLambdaButton, "clicked()", self.find)
        self._section.on(self._ui.lambdaCurveButton, "clicked()", self.show_curve)

    def update(self) -> None:
        """What can be pressed, and why not."""
        button, runs = self._ui.findLambdaButton, self._panel.runs(self._ui.findLambdaButton)
        self._ui.lambdaCurveButton.enabled = _node(_CHART) is not None
        if runs:
            button.text, button.enabled = self._panel.cancel_text(), True
            button.toolTip = _("Stop, and keep the best map until then.")
            return
        button.text = _("Find lambda")
        messages = self._panel.messages
        others = [messages.text(label) for label in _OTHERS]
        errors = [sentence for sentence in messages.errors() if sentence not in others]
        reason = _("Another job is running: wait for it or cancel it.") if self._panel.task is not None else ""
        reason = reason or (errors[0] if errors else "")
        button.enabled = not reason
        button.toolTip = reason or _(
            "Look for the lambda map that says most about CT and MR, from the slice in view on."
        )

    def scene_closed(self) -> None:
        """The nodes are gone."""
        self._found = self._curve = None

    def find(self) -> None:
        """Search, or stop and keep what was found."""
        if self._panel.runs(self._ui.findLambdaButton):
            self._panel.cancel()
            return
        self._say("")
        problem = install.ready(self._panel.tell) if self._logic.worker.where == "local" else ""
        if problem or self._panel.parameters is None or self._panel.task is not None:
            self._say(problem)
            return
        self._found = self._curve = None
        inputs = collect(self._section.parameters)
        self._panel.run(
            self._ui.findLambdaButton,
            self._steps(inputs),
            lambda _value: self._keep(complete=True),
            self._failed,
            _("Finding lambda"),
            lambda: self._keep(complete=False),
        )

    def show_curve(self) -> None:
        """The objective's curve below the slices; it grows while the search runs."""
        chart = _node(_CHART)
        if chart is not None:
            layouts.show_plots([chart])

    def _steps(self, inputs: Inputs) -> Generator[Any, Any, None]:
        lam = self._section.parameters.lam
        wanted = {"objective": lam.objective.value, "alpha": lam.alpha, "steps": lam.steps}
        one_slice = lam.oneSlice  # as it was when the button was pressed
        session = yield from open_session(self._logic, inputs)
        self._found = Found(session, wanted["objective"])
        start = self._in_view(session)
        if one_slice and start is not None:
            wanted["slices"] = (start, start)
        yield ask("optimize_lambda", **wanted, start=start, session=session.number, on_part=self._part)

    def _in_view(self, session: OpenSession) -> int | None:
        """The number of the slice that a view shows, None where none shows one of the session's slices."""
        shown = collect(self._section.parameters).reference or self._section.parameters.output.hybrid
        if shown is None:
            return None
        planes = [view.plane(shown) for view in slices.views()]
        return next((plane[1] for plane in planes if plane is not None and plane[0] == session.slice_axis), None)

    def _part(self, message: "Message") -> None:
        assert self._found is not None
        self._found.add(message)
        (number,) = message.header["slices"]
        if self._curve is None or self._curve[0] != number:
            self._curve, self._limits = (number, []), None
        self._curve[1].extend(message.header["curve"])
        constant = float(message.header["best_constant"][1])
        self._limits = _draw(number, self._curve[1], constant, self._limits)
        self._ui.lambdaCurveButton.enabled = _node(_CHART) is not None  # one point makes none yet
        self._say(self._told(), "info")

    def _keep(self, complete: bool) -> None:
        """Make the map the lambda that is used; the one before can be chosen again."""
        from MSLFusionLib.scene.colors import Display, show_as
        from MSLFusionLib.scene.volumes import node_from_image

        found = self._found
        if self._panel.parameters is None or found is None or not found.planes:
            return
        lam = self._section.parameters.lam
        node = node_from_image(slicer.mrmlScene, image_of(found.session, found.volume()), _("Found lambda map"))
        show_as(node, Display.LAMBDA)
        node.SetAttribute(OBJECTIVE_ATTRIBUTE, found.objective)
        hybrid = self._section.parameters.output.hybrid
        if hybrid is not None:
            place(hybrid, [node])
        lam.volume = node
        lam.mode = LambdaMode.VOLUME
        told = self._told()
        self._say(told if complete else _("Stopped. {told}").format(told=told), "info")
        self._panel.tell(told)

    def _told(self) -> str:
        assert self._found is not None
        gains = list(self._found.gains.values())
        text = _("{n} slices: {gain} above the best constant lambda (mean).")
        if len(gains) == 1:
            text = _("One slice: {gain} above the best constant lambda.")
        return text.format(n=len(gains), gain=f"{sum(gains) / len(gains):.4f}")

    def _failed(self, sentence: str) -> None:
        self._say(as_sentence(sentence), "failure")

    def _say(self, sentence: str, kind: str = "failure") -> None:
        self._section.message("findLambdaMessage", sentence, kind)


def _node(role: str) -> Any:
    """The node of ours with this role, None when there is none."""
    scene = slicer.mrmlScene
    kind = "vtkMRMLTableNode" if role == _TABLE else "vtkMRMLPlotChartNode"
    nodes = (scene.GetNthNodeByClass(i, kind) for i in range(scene.GetNumberOfNodesByClass(kind)))
    return next((node for node in nodes if node.GetAttribute(_ROLE) == role), None)


def _draw(number: int, points: list[list[float]], constant: float, before: axes.Limits | None) -> axes.Limits | None:
    """Bring the curve's table up to date; the first time, with its chart. One point makes no line.

    before: the limits of its axes that the last call for this slice gave.
    """
    if len(points) < 2:
        return before
    node = _node(_TABLE)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", _("Find lambda: curve"))
        node.SetAttribute(_ROLE, _TABLE)
        node.SetLocked(True)
    table = vtk.vtkTable()
    columns = []
    for name in _COLUMNS:
        column = vtk.vtkDoubleArray()
        column.SetName(name)
        table.AddColumn(column)
        columns.append(column)
    for step, value in points:
        # Above the best constant: the values themselves would hide the gain on the axis.
        for column, entry in zip(columns, (step, value - constant, 0.0), strict=True):
            column.InsertNextValue(entry)
    node.SetAndObserveTable(table)
    chart = _node(_CHART) or _new_chart(node)
    chart.SetTitle(_("Slice {n}").format(n=number))
    steps, gains = zip(*((step, value - constant) for step, value in points), strict=True)
    return axes.fit(chart, steps, (0.0, *gains), before, start=min(steps))


def _new_chart(table: Any) -> Any:
    scene = slicer.mrmlScene
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", _("Find lambda: objective"))
    chart.SetAttribute(_ROLE, _CHART)
    chart.SetXAxisTitle(_("evaluations"))
    chart.SetYAxisTitle(_("gain"))
    for name in _COLUMNS[1:]:
        series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(series.PlotTypeScatter)
        series.SetXColumnName(_COLUMNS[0])
        series.SetYColumnName(name)
        series.SetMarkerStyle(series.MarkerStyleNone)
        series.SetColor(_COLORS[name])
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart
