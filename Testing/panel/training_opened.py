"""The training panel over its .ui; commands end when the test says so."""

import sys
from pathlib import Path
from typing import Any

import bare_qt  # noqa: F401 - first
from turns import settle

ROOT = Path(__file__).resolve().parents[2]


class OpenedTraining:
    """One open panel: `ui`, `panel`, `logic`, and `parameters` of the present scene."""

    def __init__(self) -> None:
        import qt
        import slicer

        from MSLFusionTrainingPanel.logic import MSLFusionTrainingLogic
        from MSLFusionTrainingPanel.panel import Panel

        self._closed = False
        self.root = slicer.util.loadUI(str(ROOT / "MSLFusionTraining" / "Resources" / "UI" / "MSLFusionTraining.ui"))
        self.root.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.root)
        self.logic = MSLFusionTrainingLogic()
        self.panel = Panel(self.root, self.ui, self.logic)
        self.panel.setup()
        self.panel.enter()
        self.area = qt.QScrollArea()
        self.area.setWidget(self.root)
        self.area.setWidgetResizable(True)
        self.area.resize(420, 768)
        self.area.show()
        settle()

    @property
    def parameters(self) -> Any:
        return self.panel.parameters

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.panel.cleanup()
            self.area.deleteLater()
            settle()

    def text(self, label: str) -> str:
        return self.panel.messages.text(label)

    def kind(self, label: str) -> str:
        return self.panel.messages.kind(label)

    def problems(self) -> list[str]:
        """What keeps a training from being started, but for the folder of the run."""
        own = self.text("runMessageLabel")
        return [sentence for sentence in self.panel.messages.errors() if sentence != own]


class FakeCommands:
    """In place of command.Command: each command that was started waits until the test ends it.

    commands.last("prepare") is the newest one of that word: .words, .progress(...), .warn(...), .end(result),
    .refuse(sentence); .stopped tells whether the panel has let go of it.
    """

    def __init__(self, answers: Any = None) -> None:
        """answers: called with the words of a command; a dict ends it at once with that result, a str refuses it."""
        self.started: list[FakeCommand] = []
        self.answers = answers

    def __call__(self, words: Any, progress: Any = None, warning: Any = None) -> "FakeCommand":
        command = FakeCommand(self, list(words), progress, warning)
        return command

    def last(self, word: str, *others: str) -> "FakeCommand":
        return next(one for one in reversed(self.started) if one.words[0] == word and set(others) <= set(one.words))

    def count(self, word: str, *others: str) -> int:
        return sum(one.words[0] == word and set(others) <= set(one.words) for one in self.started)


class FakeCommand:
    def __init__(self, commands: FakeCommands, words: list[str], progress: Any, warning: Any) -> None:
        self.words, self.progress, self.warn = words, progress, warning
        self.stopped = False
        self._commands = commands

    def start(self, resume: Any, fail: Any) -> None:
        import qt

        self._commands.started.append(self)
        self._resume, self._fail = resume, fail
        answer = None if self._commands.answers is None else self._commands.answers(self.words)
        if isinstance(answer, dict):
            qt.QTimer.singleShot(0, lambda: self.end(answer))
        elif isinstance(answer, str):
            qt.QTimer.singleShot(0, lambda: self.refuse(answer))

    def stop(self) -> None:
        self.stopped = True

    def end(self, result: dict[str, Any]) -> None:
        if not self.stopped:
            self._resume(result)

    def refuse(self, sentence: str) -> None:
        if not self.stopped:
            self._fail(sentence)


def use_fakes(monkeypatch: Any) -> FakeCommands:
    """No processes and no waiting; all packages are there."""
    from MSLFusionPanel import install
    from MSLFusionTrainingPanel import command

    fake = FakeCommands()
    monkeypatch.setattr(command, "Command", fake)
    monkeypatch.setattr(command, "DELAY_MS", 0)
    monkeypatch.setattr(install, "missing_packages", lambda: [])
    return fake


def own_python(monkeypatch: Any) -> None:
    """Commands run by this Python instead of Slicer's."""
    from MSLFusionTrainingPanel import command

    monkeypatch.setattr(command, "DELAY_MS", 0)
    script = str(ROOT / "MSLFusion" / "batch.py")
    monkeypatch.setattr(command, "batch_command", lambda *words: [sys.executable, script, *words])
