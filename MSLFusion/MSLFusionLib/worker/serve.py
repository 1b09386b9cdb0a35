"""The worker's main loop: one request after the other, each ending in exactly one answer, whatever happens."""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from MSLFusionLib.client import CANCELLED, SUPERSEDED
from MSLFusionLib.console import one_line
from MSLFusionLib.errors import Cancelled, InputError, MSLFusionError
from MSLFusionLib.io.runs import plain
from MSLFusionLib.progress import Job, Progress
from MSLFusionLib.wire import Message, Parser, encode
from MSLFusionLib.worker.inbox import Inbox
from MSLFusionLib.worker.services import OutdatedSession, Services
from MSLFusionLib.worker.streams import private_streams, write_all

_PROGRESS_EVERY_S = 0.1
GRACE_S = 3.0
"""How long the main thread may take to notice that the client is gone."""
CHUNK = 2**20
"""Bytes read at a time."""

_BESIDE_PREVIEWS = ("decode_volume", "sensor_images", "metrics", "trust", "optimize_lambda")
"""Long requests between whose slices single ones are decoded: they leave the session as it is."""


def serve() -> None:
    """Answer requests from standard input until it ends or a shutdown; raises InputError when it is damaged."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # nothing is lost by ending at once
    inbox, finished = Inbox(), threading.Event()
    with private_streams() as (requests, answers):

        def read() -> None:
            read_requests(lambda: os.read(requests, CHUNK), inbox)
            if not finished.wait(GRACE_S):
                os._exit(1)  # never an orphan, not even in a long call into a library

        threading.Thread(target=read, daemon=True).start()
        try:
            Worker(inbox, lambda pieces: write_all(answers, pieces), Services()).run()
        finally:
            finished.set()


def read_requests(receive: Callable[[], bytes], inbox: Inbox) -> bool:
    """The reading thread: bytes from `receive` into requests, until none come. False when they were damaged."""
    parser, trouble = Parser(), None
    try:
        while parser.broken is None and (data := receive()):
            for message in parser.feed(data):
                inbox.put(message)
        trouble = parser.broken
    except OSError:
        pass  # the client is gone
    except MemoryError:
        trouble = "the memory is not enough for a message."
    finally:
        inbox.end(None if trouble is None else f"The stream of requests is damaged: {trouble}")
    return trouble is None


class Worker:
    """Requests of one client from an inbox, answers to `send`, which raises BrokenPipeError when nobody reads them.

    All on the calling thread. services: keep the model beyond this client; its session ends with it.
    """

    def __init__(self, inbox: Inbox, send: Callable[[list[memoryview]], None], services: Services) -> None:
        self._inbox = inbox
        self._send = send
        self._services = services
        self._shut_down = False
        self._running = ""
        self._in_preview = False

    def run(self) -> bool:
        """Answer until the inbox ends; True when a shutdown ended it. Raises InputError when it ended by damage."""
        try:
            while self._next():
                pass
            if self._inbox.trouble is not None:
                error = InputError(self._inbox.trouble)
                self._fail(None, str(error), error.exit_code, "input")
                raise error
        except BrokenPipeError:
            pass  # the client is gone: nobody is left to tell
        finally:
            self._services.close()
        return self._shut_down

    def _next(self) -> bool:
        """Answer one request, whose volumes are given up before the next is waited for; False at the end."""
        message = self._inbox.take()
        if message is None:
            return False
        self._answer_refused()
        if message.type == "shutdown":
            self._shut_down = True
            self._reply(message.id, "result", {})
            return False
        if message.header:
            self._running = message.type
            self._answer(message)
        return True

    def _answer(self, message: Message) -> None:
        job = self._job(message.id)
        try:
            handler = self._services.handler(message.type)
            result, arrays = handler(message, job, lambda header, parts: self._reply(message.id, "part", header, parts))
            self._reply(message.id, "result", result, arrays)
        except BrokenPipeError:
            raise
        except Exception as error:
            self._fail(message.id, *self._explained(error))
            self._services.tidy()

    def _explained(self, error: Exception) -> tuple[str, int, str]:
        """Sentence, exit code and reason for what ended a request; what is our fault is traced on standard error."""
        if isinstance(error, Cancelled):
            reason = SUPERSEDED if self._inbox.stop == SUPERSEDED else CANCELLED
            return "Cancelled.", error.exit_code, reason
        if isinstance(error, OutdatedSession):
            return str(error), error.exit_code, SUPERSEDED
        if isinstance(error, InputError):
            return str(error), error.exit_code, "input"
        if isinstance(error, MSLFusionError):
            return str(error), error.exit_code, "failed"
        if isinstance(error, MemoryError):
            return "The memory is not enough for this: use a smaller volume.", 1, "failed"
        if isinstance(error, ModuleNotFoundError):
            return f"The Python package {error.name} is not installed where the worker runs.", 1, "failed"
        if isinstance(error, OSError):
            place = "" if error.filename is None else f"{error.filename}: "
            return f"{place}{error.strerror or error}", 1, "failed"
        traceback.print_exception(error, file=sys.stderr)
        return f"{type(error).__name__}: {error} (a fault of MSLFusion; the worker's log shows where)", 1, "fault"

    def _job(self, number: int | None) -> Job:
        """A job whose progress and warnings go to the client, and which looks after the inbox between its steps."""
        stage, shown = "", 0.0

        def report(progress: Progress) -> None:
            nonlocal stage, shown
            now = time.monotonic()
            ends = progress.done >= progress.total or progress.stage != stage
            if ends or now - shown >= _PROGRESS_EVERY_S:
                stage, shown = progress.stage, now
                self._reply(number, "progress", vars(progress))

        def warn(sentence: str) -> None:
            self._reply(number, "warning", {"sentence": one_line(sentence)})

        return Job(report=report, cancelled=self._between, warn=warn)

    def _between(self) -> bool:
        """Between two steps of a request: answer what is urgent; True when the running request should stop."""
        if self._in_preview:
            return False
        self._answer_refused()
        if self._running in _BESIDE_PREVIEWS and self._inbox.stop is None:
            self._in_preview = True
            try:
                for preview in self._inbox.take_previews():
                    self._answer(preview)
            finally:
                self._in_preview = False
        return self._inbox.stop is not None

    def _answer_refused(self) -> None:
        for message, reason in self._inbox.take_refused():
            self._fail(message.id, "Cancelled.", Cancelled.exit_code, reason)

    def _fail(self, number: int | None, sentence: str, exit_code: int, reason: str) -> None:
        self._reply(number, "error", {"sentence": one_line(sentence), "exit_code": exit_code, "reason": reason})

    def _reply(
        self,
        number: int | None,
        kind: str,
        header: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._send(encode(plain({**header, "type": kind, "id": number}), arrays))
