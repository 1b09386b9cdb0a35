"""Sentences at the fields they are about."""

from typing import Any

import qt

_COLORS = {  # for light and dark backgrounds
    "error": ("#b3261e", "#ff8a80"),
    "failure": ("#b3261e", "#ff8a80"),
    "warning": ("#8a5a00", "#ffcc66"),
    "info": ("#3b5f8a", "#9cc4f0"),
}
_MARKS = {"error": "✖", "failure": "✖", "warning": "⚠", "info": "ℹ"}


class Messages:
    """The message labels of the panel: which sentence each shows, and whether it keeps Apply from being pressed."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._shown: dict[str, tuple[str, str]] = {}

    def show(self, label: str, sentence: str = "", kind: str = "error") -> None:
        """Show `sentence` in the label of that name, or hide the label when there is none."""
        if self._shown.get(label, ("", "")) == (sentence, kind if sentence else ""):
            return
        self._shown[label] = (sentence, kind if sentence else "")
        widget = getattr(self._ui, label)
        if sentence:
            dark = widget.palette.color(qt.QPalette.Window).lightness() < 128
            widget.setTextFormat(qt.Qt.PlainText)
            widget.styleSheet = f"color: {_COLORS[kind][dark]};"
            widget.text = f"{_MARKS[kind]} {sentence}"
        else:
            widget.text = ""
        widget.setVisible(bool(sentence))

    def text(self, label: str) -> str:
        """The sentence that a label shows."""
        return self._shown.get(label, ("", ""))[0]

    def failures(self) -> list[str]:
        """The sentences about what was tried and failed."""
        return [sentence for sentence, kind in self._shown.values() if kind == "failure"]

    def kind(self, label: str) -> str:
        """The kind of the sentence that a label shows; empty when it shows none."""
        return self._shown.get(label, ("", ""))[1]

    def errors(self) -> list[str]:
        """The sentences that keep Apply disabled, in the order of the panel."""
        return [sentence for sentence, kind in self._shown.values() if kind == "error"]
