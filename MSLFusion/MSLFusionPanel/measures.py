"""Results of fusion: the ten measures of every method applied so far, side by side, and which result is shown."""

import math
from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionPanel import layouts
from MSLFusionPanel.devices import fill
from MSLFusionPanel.fused import Fused, folder_of, made_of, refer, results_of
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.section import Section

_IMAGE = "image"
_DIGITS = 4
_SAME = 1.5 * 10**-_DIGITS
_MOST_ROWS = 100
"""A table with more is none of ours."""


class MeasuresSection(Section):
    """The table of a pair."""

    def setup(self) -> None:
        """Connect the widgets."""
        self._shown: Any = None
        self.on(self.ui.showMeasuresButton, "clicked()", self.show_table)
        self.on(self.ui.fusedSelector, "currentIndexChanged(int)", self._choose)

    def applies(self) -> bool:
        """It is fusion's."""
        return self.parameters.choice.method is Method.FUSION

    def update(self) -> None:
        """Show what the chosen table says, and which results there are."""
        from MSLFusionLib.fusion.metrics import COPYING

        table, data = self.parameters.fusion.table, self.parameters.data
        rows = measured(table)
        self._fill(rows)
        self.ui.measuresTable.setVisible(bool(rows))
        foreign = _("This table holds no measures of a fusion.") if table is not None and not rows else ""
        self.message("fusionResultsMessage", foreign, "info")
        waiting = _("Apply measures the result against the two volumes.") if table is None else ""
        self.message("fusionResultsInfo", COPYING if rows else waiting, "info")
        self.ui.showMeasuresButton.enabled = bool(rows)
        titles = {name: str(node.GetName()) for name, node in results_of(data.ct, data.mr).items()}
        fill(self.ui.fusedSelector, list(titles.items()), self.parameters.fusion.shown)
        self.ui.fusedSelector.enabled = bool(titles)

    def scene_closed(self) -> None:
        """The tables are gone."""
        self._shown = None

    def show(self, fused: Sequence[Fused], first: Any, second: Any) -> None:
        """New results of a pair: their rows come into its table, in place of those that the methods had."""
        from MSLFusionLib.scene import hierarchy, tables

        table = self._table_of(first, second)
        rows = [] if table is None else measured(table)
        sources = [_rounded(row) for row in fused[-1].rows if row["method"] is None]
        if sources and rows and not _same(sources, rows):
            rows = []
            self.panel.tell(_("The volumes are not what they were: the measures of earlier results were removed."))
        titles = {one.title for one in fused}
        names = {one[_IMAGE] for one in sources}
        old = [row for row in rows if row[_IMAGE] not in titles | names]
        before = [row for row in rows if row[_IMAGE] in names]
        new = [_rounded(row) for one in fused for row in one.rows if row["method"] is not None]
        rows = old + new + (sources or before)
        if not old and not new:
            return
        if table is None:
            table = tables.metrics_table(slicer.mrmlScene, rows, _("Measures of fusion"))
            refer(table, first, second)
            hierarchy.move_into(slicer.mrmlScene, folder_of(first, second), [table])
        else:
            tables.fill_table(table, rows)
        self.parameters.fusion.table = table

    def show_table(self) -> None:
        """The table below the slices."""
        if self.parameters.fusion.table is not None:
            layouts.show_table(self.parameters.fusion.table)

    def _choose(self, index: int) -> None:
        name = self.ui.fusedSelector.itemData(index)
        if name and name != self.parameters.fusion.shown:
            self.panel.jobs[Method.FUSION].show_method(name)

    def _table_of(self, first: Any, second: Any) -> Any:
        """The pair's table: the chosen one, or any other in the scene."""
        scene, name = slicer.mrmlScene, "vtkMRMLTableNode"
        nodes = [scene.GetNthNodeByClass(i, name) for i in range(scene.GetNumberOfNodesByClass(name))]
        return next(
            (node for node in (self.parameters.fusion.table, *nodes) if node and made_of(node, first, second)), None
        )

    def _fill(self, rows: list[dict[str, Any]]) -> None:
        """One line for each measure, one column for each method: so it can be read in a narrow panel."""
        import qt

        if rows == self._shown:
            return
        self._shown = rows
        widget = self.ui.measuresTable
        keys = [key for key in rows[0] if key != _IMAGE] if rows else []
        meanings = _meanings()
        widget.setRowCount(len(keys))
        widget.setColumnCount(len(rows))
        widget.setHorizontalHeaderLabels([str(row[_IMAGE]).replace(" ", "\n") for row in rows])
        widget.setVerticalHeaderLabels(keys)
        widget.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        for line, key in enumerate(keys):
            widget.verticalHeaderItem(line).setToolTip(meanings.get(key, key))
            for column, row in enumerate(rows):
                item = qt.QTableWidgetItem(_text(row.get(key)))
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                widget.setItem(line, column, item)
        widget.resizeColumnsToContents()
        widget.resizeRowsToContents()
        height = widget.horizontalHeader().sizeHint.height() + widget.verticalHeader().length() + 24
        widget.setMinimumHeight(height if rows else 0)


def measured(table: Any) -> list[dict[str, Any]]:
    """The rows of a table of ours; [] for none and for others."""
    from MSLFusionLib.scene import tables

    data = None if table is None else table.GetTable()
    if data is None or data.GetColumnByName(_IMAGE) is None or data.GetNumberOfRows() > _MOST_ROWS:
        return []
    if data.GetColumnByName(next(iter(_meanings()))) is None:
        return []
    return tables.rows_of(table)


def _meanings() -> dict[str, str]:
    from MSLFusionLib.fusion.metrics import METRICS

    return {one.name: one.meaning for one in METRICS}


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the worker under the names of its measures, with the digits that mean something."""
    from MSLFusionLib.fusion.metrics import METRICS

    values = {one.name: row[one.key] for one in METRICS}
    return {_IMAGE: row[_IMAGE]} | {name: None if v is None else round(v, _DIGITS) for name, v in values.items()}


def _same(sources: list[dict[str, Any]], rows: list[dict[str, Any]]) -> bool:
    """Whether the table's rows of the two sources say what the new ones do: else it is about other voxels."""
    before = {row[_IMAGE]: row for row in rows}
    for source in sources:
        other = before.get(source[_IMAGE], {})
        for key, value in source.items():
            if key != _IMAGE and abs(_number(value) - _number(other.get(key))) > _SAME:
                return False
    return True


def _number(value: Any) -> float:
    """A value of a cell; nothing is -1."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return -1.0
    return number if math.isfinite(number) else -1.0


def _text(value: Any) -> str:
    number = _number(value)
    return "–" if number == -1.0 else f"{number:.3f}"
