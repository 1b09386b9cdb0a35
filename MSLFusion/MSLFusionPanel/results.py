"""Section 7: the metrics of a run as table and plots."""

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionPanel import layouts
from MSLFusionPanel.parameters import SensorSource
from MSLFusionPanel.run import Run, place
from MSLFusionPanel.section import Section

CHART_ROLE = "MSLFusion.Chart"
"""Node references from a table to its plot charts."""


class ResultsSection(Section):
    """Table, plots, and their main figures in a sentence."""

    def setup(self) -> None:
        """Connect the widgets."""
        self.on(self.ui.showTableButton, "clicked()", self.show_table)
        self.on(self.ui.showPlotsButton, "clicked()", self.show_plots)

    def update(self) -> None:
        """Show what the chosen table says."""
        table = self.parameters.output.table
        rows = [] if table is None else rows_of(table)
        self.ui.resultsInfo.text = summary(rows) if rows else self._why_none()
        self.ui.showTableButton.enabled = table is not None
        self.ui.showPlotsButton.enabled = table is not None and table.GetNodeReference(CHART_ROLE) is not None

    def show(self, run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
        """New metrics: replace those of the run before, in the run's folder."""
        from MSLFusionLib.scene import tables

        output = self.parameters.output
        if output.hybrid is None or not rows:
            return
        if output.table is not None:
            remove_table(output.table)
        scene = slicer.mrmlScene
        table = tables.metrics_table(scene, rows, _("Metrics"))
        charts = tables.plots_over_lambda(scene, table, _("Metrics"))
        for chart in charts:
            table.AddNodeReferenceID(CHART_ROLE, chart.GetID())
        series = [one for chart in charts for one in tables.series_of(chart)]
        place(run, output.hybrid, [table, *charts, *series])
        output.table = table
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
        if parameters.sensors.source is SensorSource.FILE:
            return _("A sensors file holds no ground truth: there is nothing to measure against.")
        if not parameters.output.metrics:
            return _("Metrics are switched off in section 6.")
        return _("Apply measures the hybrids against the volumes.")


def charts_of(table: Any) -> list[Any]:
    """The chart nodes of a table of ours."""
    if table is None:
        return []
    return [table.GetNthNodeReference(CHART_ROLE, i) for i in range(table.GetNumberOfNodeReferences(CHART_ROLE))]


def remove_table(table: Any) -> None:
    """Remove a table with its charts and series from the scene."""
    from MSLFusionLib.scene import tables

    for chart in charts_of(table):
        for series in tables.series_of(chart):
            slicer.mrmlScene.RemoveNode(series)
        slicer.mrmlScene.RemoveNode(chart)
    slicer.mrmlScene.RemoveNode(table)


def rows_of(table: Any) -> list[dict[str, Any]]:
    """The rows of a table node as mappings, numbers as float."""
    data = table.GetTable()
    columns = [data.GetColumn(i) for i in range(data.GetNumberOfColumns())]
    return [
        {column.GetName(): column.GetVariantValue(row) for column in columns} for row in range(data.GetNumberOfRows())
    ]


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """The main figures: each modality at its own end of lambda, beside its sensor image."""
    sentences = []
    for lam, target, plain in ((0.0, "ct", "FBP"), (1.0, "mr", "zero-filled")):
        ends = [row for row in rows if _is(row, "kind", "hybrid") and _number(row.get("lambda")) == lam]
        sensor = [row for row in rows if _is(row, "image", plain)]
        reached = _number(ends[0].get(f"psnr_{target}")) if ends else None
        before = _number(sensor[0].get(f"psnr_{target}")) if sensor else None
        if reached is not None:
            text = _("lambda {lam:g}: {name} {psnr:.1f} dB").format(lam=lam, name=target.upper(), psnr=reached)
            if before is not None:
                text += _(" ({plain} {psnr:.1f} dB)").format(plain=plain, psnr=before)
            sentences.append(text)
    return "; ".join(sentences)


def _is(row: Mapping[str, Any], key: str, text: str) -> bool:
    return str(row.get(key)) == text


def _number(value: Any) -> float | None:
    """A finite number of a cell (a number or a vtkVariant), else None."""
    if hasattr(value, "ToDouble"):
        value = value.ToDouble()
    return float(value) if isinstance(value, int | float) and value == value else None
