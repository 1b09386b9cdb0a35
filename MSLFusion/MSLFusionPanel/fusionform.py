"""The fields of a fusion method's settings, made from what the worker tells of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from MSLFusionPanel.section import Section
from MSLFusionPanel.words import as_sentence

ELSEWHERE = ("model", "device")
"""Settings that the panel has fields of its own for."""
_STEPS = 20


class SettingsForm:
    """Labels and fields in a frame; `changed(name, value)` is called when the user changes one."""

    def __init__(self, section: Section, frame: Any, changed: Callable[[str, Any], None]) -> None:
        self._section, self._frame, self._changed = section, frame, changed
        self._layout = qt.QGridLayout(frame)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setColumnStretch(1, 1)
        self._rows: Sequence[Mapping[str, Any]] = ()
        self._fields: dict[str, Any] = {}
        self._labels: list[Any] = []

    def show(self, rows: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> None:
        """Have a field for each row (methods.Method.settings) with its value, by default the row's own."""
        rows = [row for row in rows if row["name"] not in ELSEWHERE]
        if rows != self._rows:
            self._clear()
            self._rows = rows
            for place, row in enumerate(rows):
                self._add(place, row)
            self._order()
        self._frame.setVisible(bool(rows))
        for row in rows:
            _put(self._fields[row["name"]], _value(row, values))

    def field(self, name: str) -> Any:
        """The widget of a setting."""
        return self._fields[name]

    def _add(self, place: int, row: Mapping[str, Any]) -> None:
        name = str(row["name"])
        field, signal, read = _field(row)
        meaning = as_sentence(str(row["meaning"]))
        field.toolTip = f"{meaning} {as_sentence(_possible(row))}".strip()
        label = qt.QLabel(f"{in_words(name)}:")
        label.minimumWidth = self._section.ui.methodSelectorLabel.minimumWidth
        label.setBuddy(field)
        self._layout.addWidget(label, place, 0)
        self._layout.addWidget(field, place, 1)
        self._fields[name] = field
        self._labels.append(label)
        self._section.on(field, signal, lambda *_arguments: self._changed(name, read(field)))

    def _clear(self) -> None:
        for widget in (*self._labels, *self._fields.values()):
            self._layout.removeWidget(widget)
            widget.hide()
            widget.deleteLater()
        self._labels, self._fields = [], {}

    def _order(self) -> None:
        """The keyboard goes through the fields where they are seen, not where they were made."""
        before = self._section.ui.fusionSection
        for field in self._fields.values():
            qt.QWidget.setTabOrder(before, field)
            before = field


def in_words(name: str) -> str:
    """A setting's name as a label: weight_mm becomes Weight (mm)."""
    words = name.removesuffix("_mm").replace("_", " ")
    text = words[:1].upper() + words[1:]
    return f"{text} (mm)" if name.endswith("_mm") else text


def _value(row: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """What is to be shown; a scene may hold anything."""
    value = values.get(row["name"], row["default"])
    right = isinstance(value, str) if row["kind"] == "text" else isinstance(value, int | float)
    return value if right else row["default"]


def _possible(row: Mapping[str, Any]) -> str:
    if row["kind"] == "text":
        return ""
    return _("from {low:g} to {high:g}").format(low=row["low"], high=row["high"])


def _field(row: Mapping[str, Any]) -> tuple[Any, str, Callable[[Any], Any]]:
    """A widget, the signal of its change, and what reads its value."""
    kind = row["kind"]
    if kind == "text" and row["choices"]:
        box = qt.QComboBox()
        for choice in row["choices"]:
            box.addItem(str(choice))
        return box, "currentIndexChanged(int)", lambda field: field.currentText
    if kind == "text":
        return qt.QLineEdit(), "textChanged(QString)", lambda field: field.text
    if kind == "whole number":
        whole = qt.QSpinBox()
        whole.setRange(int(row["low"]), int(row["high"]))
        return whole, "valueChanged(int)", lambda field: field.value
    number = qt.QDoubleSpinBox()
    low, high = float(row["low"]), float(row["high"])
    number.setDecimals(2)
    number.setRange(low, high)
    number.setSingleStep(1.0 if high - low > _STEPS else (high - low) / _STEPS)
    return number, "valueChanged(double)", lambda field: field.value


def _put(field: Any, value: Any) -> None:
    """Show a value; a field that shows it already is left alone, so that typing goes on."""
    blocked = field.blockSignals(True)
    if field.inherits("QComboBox"):
        index = field.findText(str(value))
        if index >= 0 and field.currentIndex != index:
            field.setCurrentIndex(index)
    elif field.inherits("QLineEdit"):
        if field.text != str(value):
            field.text = str(value)
    elif field.value != value:
        field.value = value
    field.blockSignals(blocked)
