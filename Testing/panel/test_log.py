"""The log: times, copy, clear."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from opened import Opened
from turns import settle


@pytest.fixture
def opened(slicer_app: Any) -> Iterator[Opened]:
    panel = Opened()
    yield panel
    panel.close()


def test_the_log_has_times_and_can_be_copied_and_cleared(opened: Opened) -> None:
    import qt

    ui = opened.ui
    ui.clearLogButton.click()
    settle()
    assert not ui.copyLogButton.enabled
    assert not ui.clearLogButton.enabled
    opened.panel.tell("The first\nthing.")
    opened.panel.tell("The second thing.")
    lines = ui.logText.toPlainText().splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == ["The first thing.", "The second thing."]
    assert ui.copyLogButton.enabled
    ui.copyLogButton.click()
    assert qt.QApplication.clipboard().text() == "\n".join(lines)
    ui.clearLogButton.click()
    assert ui.logText.toPlainText() == ""
    assert not ui.copyLogButton.enabled
