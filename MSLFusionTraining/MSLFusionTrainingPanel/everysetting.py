"""The table of every setting: its name, its value, what it does; found by name or meaning, changed in place."""

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError
from MSLFusionPanel.words import as_sentence
from MSLFusionTrainingLib.configfile import SETTINGS, parsed, shown
from MSLFusionTrainingLib.explained import SENTENCES
from MSLFusionTrainingPanel.settings import OF_THE_DATA

if TYPE_CHECKING:
    from MSLFusionPanel.section import Section
    from MSLFusionTrainingPanel.settings import Settings

_NAMES = tuple(name for name in SETTINGS if name != "preset")
_SHOWN = 10
_FIXED = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled


class EverySetting:
    """Shows all settings; take(name, value) changes one, or raises InputError."""

    def __init__(self, section: "Section", take: Callable[[str, Any], None]) -> None:
        self._section = section
        self._take = take
        self._failure = ""
        self._texts: dict[str, tuple[str, bool, bool]] = {}
        self._filling = False
        table = self._table = section.ui.settingsTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Setting"), _("Value")])
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(1, qt.QHeaderView.Stretch)
        table.setRowCount(len(_NAMES))
        table.minimumHeight = table.verticalHeader().defaultSectionSize * (_SHOWN + 1)
        for row, name in enumerate(_NAMES):
            for column, text in enumerate((name, "")):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(SENTENCES[name])
                item.setFlags(_FIXED)
                table.setItem(row, column, item)
        section.on(table, "cellChanged(int,int)", self._changed)
        section.on(section.ui.findLineEdit, "textChanged(QString)", lambda _text: section.panel.changed())

    def update(self, settings: "Settings") -> None:
        """Show the values and the rows that are looked for."""
        self._filling = True
        try:
            for row, name in enumerate(_NAMES):
                chosen_here = name not in OF_THE_DATA or name not in settings.decided
                state = (shown(settings.value(name)), settings.changed(name), chosen_here)
                if self._texts.get(name) != state:
                    self._texts[name] = state
                    self._show(row, *state)
        finally:
            self._filling = False
        self._section.message("settingsMessage", self._failure, "failure")
        self._find(self._section.ui.findLineEdit.text.strip().lower())

    def forget(self) -> None:
        """What was tried and failed is over."""
        self._failure = ""

    def _find(self, text: str) -> None:
        wanted = [name for name in _NAMES if not text or text in name or text in SENTENCES[name].lower()]
        for row, name in enumerate(_NAMES):
            self._table.setRowHidden(row, name not in wanted)
        sentence = ""
        if not wanted:
            near = difflib.get_close_matches(text, _NAMES, 1)
            sentence = _("There is no setting “{text}”.").format(text=text)
            if near:
                sentence += " " + _("Did you mean “{near}”?").format(near=near[0])
        self._section.message("findMessage", sentence, "info")

    def _show(self, row: int, text: str, changed: bool, chosen_here: bool) -> None:
        for column in range(2):
            item = self._table.item(row, column)
            font = item.font()
            font.setBold(changed)
            item.setFont(font)
        value = self._table.item(row, 1)
        value.setFlags(_FIXED | qt.Qt.ItemIsEditable if chosen_here else _FIXED)
        value.setToolTip(SENTENCES[_NAMES[row]] if chosen_here else _("The data decide this: see section 1."))
        if value.text() != text:
            value.setText(text)

    def _changed(self, row: int, column: int) -> None:
        if self._filling or column != 1:
            return
        name, text = _NAMES[row], self._table.item(row, 1).text()
        if (text,) == self._texts.get(name, ())[:1]:
            return
        self._texts.pop(name, None)  # the cell shows the setting again, whatever becomes of this
        try:
            self._take(name, parsed(name, text))
        except InputError as error:
            self._failure = as_sentence(str(error))
        else:
            self._failure = ""
        self._section.panel.changed()
