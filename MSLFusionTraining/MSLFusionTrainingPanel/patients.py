"""The table of patients: what was found in the scans, or what became of them."""

from collections.abc import Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from MSLFusionPanel.words import as_sentence
from MSLFusionTrainingPanel.datawords import modalities_in_words

_SHOWN = 8
"""Rows that are seen without scrolling."""


class PatientsTable:
    """Shows the answer of `mslfusion prepare --list`; nothing is shown without one."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._shown: Any = None
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Patient"), _("Split"), _("Slices"), _("Remarks")])
        table.verticalHeader().setVisible(False)
        header = table.horizontalHeader()
        for column in range(3):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(3, qt.QHeaderView.Stretch)
        table.setVisible(False)

    def show(self, found: Mapping[str, Any] | None) -> None:
        """Fill the table, only where something changed."""
        if found is self._shown:
            return
        self._shown = found
        rows = [] if found is None else _rows(found)
        self._table.setVisible(bool(rows))
        self._table.setRowCount(len(rows))
        for column in (1, 2):  # nothing to tell before the scans are prepared
            self._table.setColumnHidden(column, not any(row[column] for row in rows))
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                self._table.setItem(number, column, item)
        height = self._table.verticalHeader().defaultSectionSize
        self._table.minimumHeight = height * (min(len(rows), _SHOWN) + 1) + 8
        self._table.maximumHeight = self._table.minimumHeight


def _rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    if found["kind"] == "scans":
        return [
            (one["id"], "", str(one["slices"] or ""), as_sentence(one["problem"]) or modalities_in_words(one["scans"]))
            for one in found["patients"]
        ]
    splits = {"train": _("training"), "validation": _("validation"), "test": _("test")}
    rows = []
    for one in found["patients"]:
        reasons = [_("{n} left out: {reason}").format(n=count, reason=reason) for reason, count in one["left_out"]]
        remarks = " ".join(as_sentence(text) for text in (*reasons, *one["warnings"]))
        rows.append((one["id"], splits[one["split"]], str(one["slices"]), remarks))
    rows += [(one["id"], _("rejected"), "0", as_sentence(one["problem"])) for one in found["failed"]]
    return rows
