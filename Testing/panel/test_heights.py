"""The panel has the height that it needs, in Slicer's module panel."""

from typing import Any

import bare_qt  # noqa: F401 - first
from opened import Opened
from PySide6 import QtWidgets
from standins.slicer_panel.pythonqt import unwrap, wrap
from turns import settle


def test_the_panel_is_high_enough_after_another_module_was_shown(slicer_app: Any) -> None:
    # qSlicerModulePanel: the item that takeAt gives is never deleted, and the widget gets a second one.
    area, contents, widget = QtWidgets.QScrollArea(), QtWidgets.QWidget(), QtWidgets.QWidget()
    around, within = QtWidgets.QVBoxLayout(contents), QtWidgets.QVBoxLayout(widget)
    around.setContentsMargins(0, 0, 0, 0)
    within.setContentsMargins(0, 0, 0, 0)
    around.insertWidget(0, widget, 1)
    area.setWidgetResizable(True)
    area.setWidget(contents)
    area.resize(420, 500)
    opened = Opened(into=wrap(widget))
    root = unwrap(opened.root)
    area.show()
    settle()
    leaked = around.takeAt(0)
    widget.setVisible(False)
    widget.setParent(None)
    around.insertWidget(0, widget, 1)
    widget.setVisible(True)
    settle()
    assert leaked is not None

    def needed() -> bool:
        return root.height() >= root.heightForWidth(root.width())

    assert needed()
    for name in ("ctInfo", "mrInfo", "lambdaMessage", "applyMessage"):
        before = root.height()
        opened.panel.messages.show(name, "A long sentence that does not fit into one line of the panel. " * 3)
        settle()
        assert needed()
        assert root.height() > before
    opened.ui.modelCardBox.collapsed = False
    opened.ui.modelSection.collapsed = False
    settle()
    assert needed()
    opened.close()
    area.deleteLater()
    settle()
