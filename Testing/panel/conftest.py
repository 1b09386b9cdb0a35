"""Slicer's stand-in application per test, the event loop, pictures of the panel."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6 import QtCore
from standins.slicer_panel import pythonqt
from standins.slicer_panel.application import Application, application_object

from MSLFusionLib.scene import bootstrap

HARMLESS = re.compile(r"This plugin does not support|propagateSizeHints|QFontDatabase")


@pytest.fixture(scope="session")
def app() -> Any:
    """The one QApplication of the process."""
    return application_object()


@pytest.fixture
def slicer_app(app: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Application]:
    """Slicer with an empty scene; at the end nobody may have complained: no slot, no log of Slicer, VTK or Qt."""
    complaints: list[str] = []
    before = QtCore.qInstallMessageHandler(lambda _kind, _context, text: complaints.append(text))
    pythonqt.ERRORS.clear()
    try:
        with bootstrap.application() as scene:
            running = Application(scene, tmp_path / "application")
            try:
                yield running
            finally:
                running.close()
    finally:
        QtCore.qInstallMessageHandler(before)
    assert not pythonqt.ERRORS, "\n".join(pythonqt.ERRORS)
    complaints = [text for text in complaints if not HARMLESS.search(text)]
    assert not complaints, "\n".join(complaints)
    log = capfd.readouterr().err
    assert " ERR|" not in log, log
    assert "WARN|" not in log, log
    assert "Traceback (most recent call last)" not in log, log  # of an observer


@pytest.fixture
def scene(slicer_app: Application) -> Any:
    """The scene of `slicer_app`."""
    return slicer_app.scene


@pytest.fixture
def pump(slicer_app: Application) -> Callable[..., None]:
    """Run the event loop until a condition holds: `pump(lambda: not panel.busy)`; without one, what is waiting now."""

    def run(condition: Callable[[], Any] | None = None, timeout_s: float = 20.0) -> None:
        QtCore.QCoreApplication.processEvents()
        if condition is None or condition():
            return
        loop, tick = QtCore.QEventLoop(), QtCore.QTimer()
        late = []
        tick.timeout.connect(lambda: condition() and loop.quit())
        tick.start(2)
        QtCore.QTimer.singleShot(int(1000 * timeout_s), loop, lambda: (late.append(True), loop.quit()))
        loop.exec()
        tick.stop()
        if late:
            pytest.fail(f"not reached in {timeout_s} s; errors in slots: {pythonqt.ERRORS}")

    return run


@pytest.fixture
def panel_image() -> Callable[[Any, str], None]:
    """Save what a widget looks like as NAME.png into the folder $MSLFUSION_PICTURES, when that is set."""

    def save(widget: Any, name: str) -> None:
        folder = os.environ.get("MSLFUSION_PICTURES")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            assert widget.grab().save(str(Path(folder) / f"{name}.png"))

    return save
