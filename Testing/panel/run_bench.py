"""The run section of the training panel on its own, over the real .ui, with a training of the test's choice."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import bare_qt  # noqa: F401 - first
import pytest
import turns
from turns import settle

until = partial(turns.until, seconds=240.0)
"""Processes are waited for, which may start slowly where others compute too."""
ROOT = Path(__file__).resolve().parents[2]
FAKE = ROOT / "Testing" / "panel" / "fake_training.py"


class Bench:
    """One open panel with the run section alone: `ui`, `panel`, `run`."""

    def __init__(self, text: str = 'name = "mine"\n') -> None:
        import qt
        import slicer

        from MSLFusionPanel.frame import Frame
        from MSLFusionTrainingPanel.logic import MSLFusionTrainingLogic
        from MSLFusionTrainingPanel.run import RunSection

        root = slicer.util.loadUI(str(ROOT / "MSLFusionTraining/Resources/UI/MSLFusionTraining.ui"))
        root.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(root)
        self.told: list[str] = []
        self.panel = Frame(root, self.ui, MSLFusionTrainingLogic())
        self.panel.tell = self.told.append
        self.panel.config_text = lambda: text
        self.panel.train_words = lambda: ["--device", "cpu"]
        self.run = RunSection(self.panel)
        self.panel.sections = [self.run]
        self.panel.setup()
        self.panel.enter()
        self.area = qt.QScrollArea()
        self.area.setWidget(root)
        self.area.setWidgetResizable(True)
        self.area.resize(420, 768)
        self.area.show()
        settle()

    def open(self, folder: Path) -> None:
        """Choose a folder and wait until it was looked at."""
        self.run.open(folder)
        until(lambda: self.run.folder == folder and self.run.state != "unknown")
        settle()

    def wait(self, *states: str) -> None:
        until(lambda: self.run.state in states)
        settle()

    @property
    def state(self) -> str:
        return str(self.ui.runStateLabel.text)

    @property
    def message(self) -> str:
        return self.panel.messages.text("runMessageLabel")

    def can(self) -> set[str]:
        """Which of the four buttons can be pressed."""
        return {name for name in ("start", "pause", "resume", "kill") if getattr(self.ui, f"{name}Button").enabled}

    def close(self) -> None:
        self.panel.cleanup()
        self.area.deleteLater()
        settle()


def use_fake(monkeypatch: pytest.MonkeyPatch, **plan: Any) -> None:
    """Let the panel start fake_training.py, which does what the plan says, in place of a training, and look often."""
    from MSLFusionPanel import install
    from MSLFusionTrainingPanel import run

    monkeypatch.setattr(install, "missing_packages", lambda: [])
    for name, value in {"_TICK_MS": 20, "_EVERY_S": 0.05, "_AT_REST_S": 0.1}.items():
        monkeypatch.setattr(run, name, value)
    command = [sys.executable, str(FAKE), json.dumps(plan)]
    monkeypatch.setattr(run, "batch_command", lambda *words: [*command, *words])
