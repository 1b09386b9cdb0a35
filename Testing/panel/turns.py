"""Letting Qt's event loop run until something is the case."""

import time
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QCoreApplication, QEventLoop, QTimer


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Run the event loop until `condition()` holds; fails after `seconds`."""
    wake, deadline = QTimer(), time.monotonic() + seconds
    wake.start(10)  # conditions may become true outside of the event loop: a process that is gone
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)


def settle(turns: int = 20) -> None:
    """Let everything happen that does not have to wait for anybody."""
    left = [turns]

    def turn() -> None:
        left[0] -= 1
        if left[0]:
            QTimer.singleShot(0, turn)

    QTimer.singleShot(0, turn)
    until(lambda: not left[0])
