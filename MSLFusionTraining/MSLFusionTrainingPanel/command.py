"""Words of `mslfusion` in a process of their own, for what the panel waits for or wants to know.

    steps: result = yield from finished(["export", folder, "--output", file], panel.show_progress, warn)

A training is started in another way: it does not end with the panel.
"""

import json
import logging
from collections import deque
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from MSLFusionPanel.links import ProcessLink
from MSLFusionPanel.process import batch_command, environment
from MSLFusionPanel.task import wait_for
from MSLFusionPanel.words import as_sentence

DELAY_MS = 500
"""How long a question waits for a newer one."""
_LOG_LINES = 50
Report = Callable[[str, int, int, float | None], Any]


def _nothing(*_arguments: Any) -> None:
    """Nobody wants to know."""


class Command:
    """One run of the command line. It ends when it is stopped, and with the application.

    progress(stage, done, total, seconds_left) and warning(sentence) are called while it runs.
    """

    def __init__(self, words: Sequence[str], progress: Report = _nothing, warning: Callable[[str], Any] = _nothing):
        self._words = [*words, "--json", "--stop-with-input"]
        self._progress, self._warning = progress, warning
        self._resume: Callable[[Any], Any] = _nothing
        self._fail: Callable[[str], Any] = _nothing
        self._link: ProcessLink | None = None
        self._rest = b""
        self._result: dict[str, Any] | None = None
        self._error = ""
        self._log: deque[str] = deque(maxlen=_LOG_LINES)

    def start(self, resume: Callable[[Any], Any], fail: Callable[[str], Any]) -> None:
        """Begin; at its end resume(its result) or fail(the sentence) is called, once."""
        self._resume, self._fail = resume, fail
        self._link = ProcessLink(
            batch_command(*self._words), environment(), self._receive, self._log.append, self._ended
        )

    def stop(self) -> None:
        """Let it end cleanly, soon; nothing is heard of it any more. Nothing happens when it has ended."""
        link, self._link = self._link, None
        self._resume = self._fail = self._progress = self._warning = _nothing
        if link is not None:
            link.close()

    def _receive(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                record = json.loads(line)
                self._take(record["type"], record)
            except (ValueError, KeyError, TypeError):
                logging.info("MSL Fusion: a command said %r", line[:200])

    def _take(self, kind: str, record: dict[str, Any]) -> None:
        if kind == "progress":
            self._progress(record["stage"], record["done"], record["total"], record["seconds_left"])
        elif kind == "warning":
            self._warning(record["message"])
        elif kind == "result":
            self._result = record
        elif kind == "error":
            self._error = record["message"]

    def _ended(self, failure: str, code: int, crashed: bool) -> None:
        self._link = None
        if self._result is not None and not code:
            self._resume(self._result)
        elif failure:
            sentence = _("Slicer's Python could not be started ({reason}): {program}")
            self._fail(sentence.format(reason=failure, program=batch_command()[0]))
        elif self._error:
            self._fail(self._error)
        else:
            self._fail(_last_words(self._log, code, crashed))


def finished(
    words: Sequence[str], progress: Report = _nothing, warning: Callable[[str], Any] = _nothing
) -> Generator[Any, Any, dict[str, Any]]:
    """Steps of a task: the result of the command; its failure is raised. A cancel stops it."""
    command = Command(words, progress, warning)
    try:
        result: dict[str, Any] = yield wait_for(command.start)
        return result
    finally:
        command.stop()


class Inquiry:
    """One question to the command line, asked once for each thing that it is about.

    answer: the result, None without one. problem: the sentence of a failure. pending: whether the answer is not there
    yet. A new question takes the place of the one before; it waits a little, since a path that is being typed changes
    with each key.
    """

    def __init__(self, changed: Callable[[], Any]) -> None:
        self.answer: Mapping[str, Any] | None = None
        self.problem = ""
        self.pending = False
        self._changed = changed
        self._about: Hashable = None
        self._command: Command | None = None
        self._number = 0

    def ask(self, about: Hashable, words: Sequence[str]) -> None:
        """Run these words; nothing happens when `about` was asked last."""
        if about == self._about:
            return
        self.forget()
        self._about, self.pending = about, True
        number = self._number

        def start() -> None:
            if number == self._number:
                self._command = Command(words)
                self._command.start(lambda answer: self._ended(answer, ""), lambda problem: self._ended(None, problem))

        qt.QTimer.singleShot(DELAY_MS, start)

    def forget(self) -> None:
        """As if nothing had been asked."""
        command, self._command = self._command, None
        self.answer, self.problem, self._about, self.pending = None, "", None, False
        self._number += 1
        if command is not None:
            command.stop()

    def _ended(self, answer: Mapping[str, Any] | None, problem: str) -> None:
        self._command, self.pending = None, False
        self.answer, self.problem = answer, as_sentence(problem)
        self._changed()


def _last_words(log: Sequence[str], code: int, crashed: bool) -> str:
    """Why a command ended without a word of its own."""
    if any("MemoryError" in line or "bad_alloc" in line for line in log) or code in (137, -9):
        return _("The process ended, most likely because the computer's memory is not enough.")
    if crashed:
        return _("The process crashed or was ended from outside (the computer's memory may not be enough).")
    said = log[-1].removeprefix("mslfusion: error: ") if log else _("it gave no reason")
    return _("The process ended with exit code {code}: {said}").format(code=code, said=said)
