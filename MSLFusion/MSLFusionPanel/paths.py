"""Path fields: a text in the parameters, a ctkPathLineEdit in the panel.

An empty field is an empty text, never ".". The widget's own signals tell neither of a text that was emptied nor of one
that does not pass its name filters, so its combo box is listened to.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from MSLFusionPanel.panel import Panel
    from MSLFusionPanel.section import Section


def listen(section: "Section", widget: Any, take: Callable[[str], None]) -> None:
    """Call `take(text)` whenever the user changes the text of the field."""
    section.on(widget.comboBox(), "editTextChanged(QString)", lambda *_arguments: take(widget.currentPath))


def show(widget: Any, path: str) -> None:
    """Make the field show a path; what is typed is left alone."""
    if widget.currentPath != path:
        widget.currentPath = path


def remember(panel: "Panel", widget: Any) -> None:
    """Put the path first in the field's history; the other paths that it shows meanwhile are not the user's."""
    box = widget.comboBox()
    if box.count and box.itemText(0) == widget.currentPath:
        return
    updating, panel.updating = panel.updating, True
    try:
        widget.addCurrentPathToHistory()
    finally:
        panel.updating = updating
