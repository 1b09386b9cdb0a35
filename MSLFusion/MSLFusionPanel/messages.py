"""Sentences at the fields they are about."""

from typing import Any

import qt

_BLUE, _RED = ("#3b5f8a", "#9cc4f0"), ("#b3261e", "#ff8a80")
_COLORS = {  # for light and dark backgrounds
    "needed": _BLUE,
    "error": _RED,
    "failure": _RED,
    "warning": ("#8a5a00", "#ffcc66"),
    "info": _BLUE,
}
_MARKS = {"needed": "ℹ", "error": "✖", "failure": "✖", "warning": "⚠", "info": "ℹ"}


class Messages:
    """The message labels of the panel: which sentence each shows, and whether it keeps Apply from being pressed.

    The kinds are told at section.Section.message.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._shown: dict[str, tuple[str, str]] = {}
        self._looks: dict[str, tuple[str, str, bool]] = {}

    def show(self, label: str, sentence: str = "", kind: str = "error") -> None:
        """Show `sentence` in the label of that name, or hide the label when there is none."""
        self._shown.pop(label, None)
        if sentence:
            self._shown[label] = (sentence, kind)  # at the end: in the order in which the sections speak
        widget = getattr(self._ui, label)
        # Not the label's own palette: its style sheet holds on to the one that it had.
        dark = widget.parentWidget().palette.color(qt.QPalette.Window).lightness() < 128
        look = (sentence, kind if sentence else "", dark)
        if self._looks.get(label) == look:
            return
        self._looks[label] = look
        if sentence:
            widget.setTextFormat(qt.Qt.PlainText)
            widget.styleSheet = f"color: {_COLORS[kind][dark]};"
            widget.text = f"{_MARKS[kind]} {sentence}"
        else:
            widget.text = ""
        widget.setVisible(bool(sentence))

    def text(self, label: str) -> str:
        """The sentence that a label shows."""
        return self._shown.get(label, ("", ""))[0]

    def kind(self, label: str) -> str:
        """The kind of the sentence that a label shows; empty when it shows none."""
        return self._shown.get(label, ("", ""))[1]

    def blocks(self, label: str) -> bool:
        """Whether what a label shows keeps Apply disabled."""
        return self.kind(label) in ("error", "needed")

    def failures(self) -> list[str]:
        """The sentences about what was tried and failed."""
        return [sentence for sentence, kind in self._shown.values() if kind == "failure"]

    def errors(self) -> list[str]:
        """The sentences that keep Apply disabled, in the order of the panel."""
        return [sentence for label, (sentence, _kind) in self._shown.items() if self.blocks(label)]
