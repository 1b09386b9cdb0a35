"""Measures of several images in the panel: one line for each measure, one column for each image."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import qt

_MOST_ROWS = 100
"""A table node with more is none of ours."""
_ANY_HEIGHT = 2**24 - 1


class ValueTable:
    """A QTableWidget with measures downwards, so that it can be read in a narrow panel.

    meanings: tooltips of measures. image: the column of a row that says which image it is about.
    """

    def __init__(self, widget: Any, image: str) -> None:
        self._widget, self._image = widget, image
        self._shown: Any = None

    def show(self, rows: Sequence[Mapping[str, Any]], meanings: Mapping[str, str]) -> None:
        """Show these rows; nothing is shown where there are none."""
        widget = self._widget
        widget.setVisible(bool(rows))
        if rows == self._shown:
            return
        self._shown = rows
        keys = [key for key in rows[0] if key != self._image] if rows else []
        widget.setRowCount(len(keys))
        widget.setColumnCount(len(rows))
        widget.setHorizontalHeaderLabels([str(row[self._image]).replace(" ", "\n") for row in rows])
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
        widget.setMaximumHeight(height if rows else _ANY_HEIGHT)


def rows_with(table: Any, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a table node that has these columns, where nothing was measured None; [] for no node and others."""
    from MSLFusionLib.scene import tables

    data = None if table is None else table.GetTable()
    if data is None or data.GetNumberOfRows() > _MOST_ROWS:
        return []
    if any(data.GetColumnByName(name) is None for name in columns):
        return []
    return [{key: _plain(value) for key, value in row.items()} for row in tables.rows_of(table)]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "–" if value is None else str(value)
