"""Section 7: the metrics of a run as table and plots."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionLib.sensor_names import ENDS
from MSLFusionPanel import layouts
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.parameters import SensorSource
from MSLFusionPanel.run import Run, place
from MSLFusionPanel.section import Section
from MSLFusionPanel.session import OpenSession

METRICS_ROLE = "MSLFusion.Metrics"
"""Node reference from a hybrid to the table of its run."""
CHART_ROLE = "MSLFusion.Chart"
"""Node references from a table to its plot charts."""
_MOST_ROWS = 500
"""A table with more is none of ours."""


class ResultsSection(Section):
    """Table, plots, and their main figures in a sentence."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._measured: tuple[OpenSession, tuple[float, ...], Any] | None = None
        """What was measured last: session, lambdas, table. A table of another session is out of date."""

    def setup(self) -> None:
        """Connect the widgets."""
        self.on(self.ui.showTableButton, "clicked()", self.show_table)
        self.on(self.ui.showPlotsButton, "clicked()", self.show_plots)

    def applies(self) -> bool:
        """It is MSL's."""
        return self.parameters.choice.method is Method.MSL

    def update(self) -> None:
        """Show what the chosen table says."""
        table = self.parameters.output.table
        told = "" if table is None else summary(rows_of(table))
        self.ui.resultsInfo.text = told or (self._why_none() if table is None else "")
        self.ui.resultsInfo.setVisible(bool(self.ui.resultsInfo.text))
        foreign = _("This table holds no metrics of a run.") if table is not None and not told else ""
        self.message("resultsMessage", foreign, "info")
        self._enable("showTableButton", table is not None, _("Show the table of metrics below the slices."))
        self._enable("showPlotsButton", bool(charts_of(table)), _("Plot the metrics over lambda below the slices."))

    def scene_closed(self) -> None:
        """The tables are gone."""
        self._measured = None

    def measured(self, run: Run, lambdas: tuple[float, ...], hybrid: Any) -> bool:
        """Whether the hybrid has a table that says what measuring at these lambdas would say again."""
        if self._measured is None:
            return False
        session, done, table = self._measured
        return (session, done) == (run.session, lambdas) and table is hybrid.GetNodeReference(METRICS_ROLE)

    def replaced(self, run: Run, hybrid: Any) -> None:
        """A run has been put into `hybrid`: metrics of another reconstruction, which lay in it before, are removed."""
        table = hybrid.GetNodeReference(METRICS_ROLE)
        if table is not None and (self._measured is None or self._measured[0] is not run.session):
            remove_table(table)

    def show(self, run: Run, hybrid: Any, lambdas: tuple[float, ...], rows: Sequence[Mapping[str, Any]]) -> None:
        """New metrics of the run in `hybrid`, in place of those that it had."""
        from MSLFusionLib.scene import hierarchy, tables

        if self.panel.parameters is None or not rows:
            return
        if not slicer.mrmlScene.IsNodePresent(hybrid):
            self.panel.tell(_("The hybrid was removed: its metrics are not shown."))
            return
        before = hybrid.GetNodeReference(METRICS_ROLE)
        if before is not None:
            remove_table(before)
        scene = slicer.mrmlScene
        table = tables.metrics_table(scene, rows, _("Metrics"))
        charts = tables.plots_over_lambda(scene, table, _("Metrics"))
        for chart in charts:
            table.AddNodeReferenceID(CHART_ROLE, chart.GetID())
        hybrid.SetNodeReferenceID(METRICS_ROLE, table.GetID())
        place(hybrid, [table, *charts])
        for chart in charts:
            hierarchy.move_below(scene, chart, tables.series_of(chart))
        self._measured = (run.session, lambdas, table)
        self.parameters.output.table = table
        self.panel.tell(summary(rows))

    def show_table(self) -> None:
        """The table below the slices."""
        if self.parameters.output.table is not None:
            layouts.show_table(self.parameters.output.table)

    def show_plots(self) -> None:
        """The charts below the slices."""
        charts = charts_of(self.parameters.output.table)
        if charts:
            layouts.show_plots(charts)

    def _why_none(self) -> str:
        parameters = self.parameters
        if parameters.sensors.source is not SensorSource.SIMULATE:
            return _("Measured data hold no ground truth: there is nothing to measure against.")
        if not parameters.output.metrics:
            return _("Metrics are switched off in section 6.")
        return _("Apply measures the hybrids against the volumes.")

    def _enable(self, name: str, enabled: bool, tip: str) -> None:
        button = getattr(self.ui, name)
        button.enabled = enabled
        button.toolTip = tip if enabled else _("There are no metrics to show.")


def charts_of(table: Any) -> list[Any]:
    """The chart nodes of a table of ours."""
    if table is None:
        return []
    charts = [table.GetNthNodeReference(CHART_ROLE, i) for i in range(table.GetNumberOfNodeReferences(CHART_ROLE))]
    return [chart for chart in charts if chart is not None]


def remove_table(table: Any) -> None:
    """Remove a table with its charts and series from the scene."""
    from MSLFusionLib.scene import hierarchy, tables

    charts = charts_of(table)
    series = [one for chart in charts for one in tables.series_of(chart)]
    for node in (*series, *charts, table):
        hierarchy.remove_node(slicer.mrmlScene, node)


def rows_of(table: Any) -> list[dict[str, Any]]:
    """The rows of a table node of ours as mappings of texts and, where a column is numeric, floats; [] for others."""
    from MSLFusionLib.scene import tables

    data = table.GetTable()
    if data is None or data.GetColumnByName("lambda") is None or data.GetNumberOfRows() > _MOST_ROWS:
        return []
    return tables.rows_of(table)


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """The main figures: each modality at its own end of lambda, beside its sensor image."""
    sentences = []
    for target, lam, plain in ENDS:
        ends = [row for row in rows if row.get("kind") == "hybrid" and _number(row.get("lambda")) == lam]
        sensor = [row for row in rows if row.get("image") in plain]
        reached = _number(ends[0].get(f"psnr_{target}")) if ends else None
        before = _number(sensor[0].get(f"psnr_{target}")) if sensor else None
        if reached is not None:
            text = _("lambda {lam:g}: {name} {psnr:.1f} dB").format(lam=lam, name=target.upper(), psnr=reached)
            if before is not None:
                text += _(" ({plain} {psnr:.1f} dB)").format(plain=sensor[0]["image"], psnr=before)
            sentences.append(text)
    return _("PSNR at {figures}.").format(figures="; ".join(sentences)) if sentences else ""


def _number(value: Any) -> float | None:
    """A finite number of a cell, else None; a scene's file may give it back as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
