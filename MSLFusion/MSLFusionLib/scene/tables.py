"""Metrics as a table node, and as plots over lambda."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import vtk

from MSLFusionLib.scene.names import free_name

X_COLUMN = "lambda"
_SERIES_COLORS = ((0.10, 0.30, 0.60), (0.80, 0.33, 0.02), (0.30, 0.55, 0.25), (0.45, 0.30, 0.60))
_DIGITS = {"mae": 4, "psnr": 2, "ssim": 4, "mi": 3}
"""Decimals of the metrics in a table; run.json has them in full."""
_UPPER_CASE = {"mae", "psnr", "ssim", "mi", "ct", "mr"}


def metrics_table(scene: Any, rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    """Add a vtkMRMLTableNode with one row per mapping and one column per key, in order of appearance.

    A column whose values are all numbers (or missing: NaN) is numeric; any other is text. Metrics are rounded to the
    digits that mean something. The types of the columns are kept when the scene is saved.
    """
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", free_name(scene, name))
    fill_table(node, rows)
    node.SetLocked(True)
    node.SetUseColumnTitleAsColumnHeader(True)
    return node


def fill_table(node: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Let a table node hold these rows in place of what it held; columns as in `metrics_table`."""
    table = vtk.vtkTable()
    for key in dict.fromkeys(key for row in rows for key in row):
        table.AddColumn(_column(key, [row.get(key) for row in rows]))
    node.SetAndObserveTable(table)


def rows_of(node: Any) -> list[dict[str, Any]]:
    """The rows of a table node as mappings: texts and, where a column is numeric, floats."""
    data = node.GetTable()
    columns = [] if data is None else [data.GetColumn(i) for i in range(data.GetNumberOfColumns())]
    count = data.GetNumberOfRows() if columns else 0
    return [{column.GetName(): column.GetValue(row) for column in columns} for row in range(count)]


def plots_over_lambda(scene: Any, table_node: Any, name: str) -> list[Any]:
    """Add one vtkMRMLPlotChartNode per metric of `table_node`, over its column "lambda".

    Columns named "<metric>_<target>" (psnr_ct, psnr_mr) share a chart, one series per target. Rows should
    be sorted by lambda. Without a numeric column "lambda" there is nothing to plot and the list is empty.
    """
    table = table_node.GetTable()
    x = table.GetColumnByName(X_COLUMN)
    if x is None or not x.IsNumeric():
        return []
    charts: dict[str, Any] = {}
    for index in range(table.GetNumberOfColumns()):
        column = table.GetColumn(index)
        key = column.GetName()
        if key == X_COLUMN or not column.IsNumeric():
            continue
        metric, _, target = key.partition("_")
        if metric not in charts:
            charts[metric] = _chart(scene, metric, name)
        used = charts[metric].GetNumberOfPlotSeriesNodes()
        series = _series(scene, table_node, key, _title(target) or _title(metric), used)
        charts[metric].AddAndObservePlotSeriesNodeID(series.GetID())
    return list(charts.values())


def series_of(chart: Any) -> list[Any]:
    """The plot series nodes of a chart."""
    return [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]


def _column(key: str, values: list[Any]) -> vtk.vtkAbstractArray:
    numeric = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values)
    column = vtk.vtkDoubleArray() if numeric else vtk.vtkStringArray()
    column.SetName(key)
    for value in values:
        if numeric:
            column.InsertNextValue(math.nan if value is None else _rounded(key, float(value)))
        else:
            column.InsertNextValue("" if value is None else str(value))
    return column


def _rounded(key: str, value: float) -> float:
    digits = _DIGITS.get(key.partition("_")[0])
    return value if digits is None else round(value, digits)


def _chart(scene: Any, metric: str, name: str) -> Any:
    title = f"{_title(metric)} over lambda"
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", free_name(scene, f"{name}: {title}"))
    chart.SetTitle(title)
    chart.SetXAxisTitle("lambda (0 CT ... 1 MR)")
    chart.SetYAxisTitle(_title(metric))
    return chart


def _series(scene: Any, table_node: Any, key: str, title: str, used: int) -> Any:
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", title)
    series.SetAndObserveTableNodeID(table_node.GetID())
    series.SetPlotType(series.PlotTypeScatter)
    series.SetXColumnName(X_COLUMN)
    series.SetYColumnName(key)
    series.SetMarkerStyle(series.MarkerStyleCircle)
    series.SetColor(_SERIES_COLORS[used % len(_SERIES_COLORS)])
    return series


def _title(word: str) -> str:
    return " ".join(part.upper() if part in _UPPER_CASE else part for part in word.split("_"))
