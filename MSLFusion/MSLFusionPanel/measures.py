"""Results of fusion: the ten measures of every method applied so far, side by side, and which result is shown."""

from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionPanel import layouts
from MSLFusionPanel.devices import fill
from MSLFusionPanel.fused import FUSED, Fused
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.pairresults import refer, table_of
from MSLFusionPanel.section import Section
from MSLFusionPanel.valuetable import ValueTable, rows_with

_IMAGE = "image"
_DIGITS = 4
_SAME = 1.5 * 10**-_DIGITS


class MeasuresSection(Section):
    """The table of a pair."""

    def setup(self) -> None:
        """Connect the widgets."""
        self._values = ValueTable(self.ui.measuresTable, _IMAGE)
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
        self._values.show(rows, _meanings())
        foreign = _("This table holds no measures of a fusion.") if table is not None and not rows else ""
        self.message("fusionResultsMessage", foreign, "info")
        waiting = _("Apply measures the result against the two volumes.") if table is None else ""
        self.message("fusionResultsInfo", COPYING if rows else waiting, "info")
        self.ui.showMeasuresButton.enabled = bool(rows)
        titles = {name: str(node.GetName()) for name, node in FUSED.of(data.ct, data.mr).items()}
        fill(self.ui.fusedSelector, list(titles.items()), self.parameters.fusion.shown)
        self.ui.fusedSelector.enabled = bool(titles)

    def show(self, fused: Sequence[Fused], first: Any, second: Any) -> None:
        """New results of a pair: their rows come into its table, in place of those that the methods had."""
        from MSLFusionLib.scene import tables

        table = table_of(self.parameters.fusion.table, first, second)
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
            FUSED.place(first, second, [table])
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


def measured(table: Any) -> list[dict[str, Any]]:
    """The rows of a table of ours; [] for none and for others."""
    return rows_with(table, (_IMAGE, next(iter(_meanings()))))


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
            if key == _IMAGE:
                continue
            old = other.get(key)
            if not (isinstance(value, float) and isinstance(old, float)):
                if value is not old:
                    return False
            elif abs(value - old) > _SAME:
                return False
    return True
