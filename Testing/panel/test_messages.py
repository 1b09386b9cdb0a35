"""The sentences at the fields: their kinds, their order, their colours."""

from collections.abc import Iterator
from typing import Any

import pytest
from opened import Opened
from PySide6 import QtGui
from turns import settle


@pytest.fixture
def opened(slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    from MSLFusionPanel import install

    monkeypatch.setattr(install, "missing_packages", lambda: [])
    panel = Opened()
    yield panel
    panel.close()


@pytest.mark.parametrize(
    ("kind", "mark", "blocks", "failed"),
    [
        ("needed", "ℹ", True, False),
        ("error", "✖", True, False),
        ("failure", "✖", False, True),
        ("warning", "⚠", False, False),
        ("info", "ℹ", False, False),
    ],
)
def test_kinds(opened: Opened, kind: str, mark: str, blocks: bool, failed: bool) -> None:
    opened.load_volumes()
    messages = opened.panel.messages
    messages.show("resultsMessage", "A <b>sentence</b>.", kind)
    label = opened.ui.resultsMessage
    assert label.text == f"{mark} A <b>sentence</b>."
    assert label._q.textFormat().name == "PlainText"
    assert (messages.text("resultsMessage"), messages.kind("resultsMessage")) == ("A <b>sentence</b>.", kind)
    assert messages.blocks("resultsMessage") is blocks
    assert messages.errors() == (["A <b>sentence</b>."] if blocks else [])
    assert messages.failures() == (["A <b>sentence</b>."] if failed else [])
    messages.show("resultsMessage")
    assert label.text == ""
    assert not label._q.isVisibleTo(label._q.parentWidget())
    assert messages.kind("resultsMessage") == ""


def test_what_is_needed_first_is_told_first(opened: Opened) -> None:
    """However the messages came about: Apply names the one furthest up in the panel."""
    from MSLFusionPanel.parameters import LambdaMode

    opened.load_volumes()
    opened.parameters.lam.mode = LambdaMode.VOLUME
    settle()
    assert opened.text("lambdaMessage") in opened.text("applyMessage")
    opened.parameters.data.ct = None
    settle()
    assert opened.text("ctMessage") in opened.text("applyMessage")
    assert opened.panel.messages.errors()[0] == opened.text("ctMessage")


def test_colours_follow_the_background(opened: Opened, app: Any) -> None:
    def color() -> Any:
        return opened.ui.ctMessage._q.palette().color(QtGui.QPalette.ColorRole.WindowText)

    assert opened.kind("ctMessage") == "needed"
    light = color()
    assert light.lightness() < 128
    before = app.palette()
    try:
        app.setPalette(QtGui.QPalette(QtGui.QColor(40, 40, 40)))
        settle()
        opened.panel.enter()
        settle()
        assert color().lightness() > 128
    finally:
        app.setPalette(before)
    opened.panel.enter()
    settle()
    assert color() == light
