"""What a running command shows: progress bar, plain lines or JSON lines; and how Ctrl-C reaches it."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from MSLFusionLib.io.runs import plain
from MSLFusionLib.progress import Job, Progress

_BAR_EVERY_S = 0.1
_JSON_EVERY_S = 0.5


def clock(seconds: float) -> str:
    """`seconds` as 0:07, 12:30 or 1:02:03."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Console:
    """Where a command speaks.

    Without `as_json`, what the command says goes to `out` as text, and progress to `err`: as a bar with the
    time left when `err` is a terminal, else as one line on `out` for each finished stage. With `as_json`, all
    of it goes to `out`, one JSON object per line, told apart by "type": progress, message, warning, result,
    error. Warnings and errors are always on `err` too, one line each.
    """

    def __init__(self, as_json: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.as_json = as_json
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self._bar = not as_json and self.err.isatty()
        self._bar_shown = False
        self._stage = ""
        self._stage_started = 0.0
        self._last_shown = 0.0
        self._stop_signal: int | None = None

    @property
    def stop_signal(self) -> int | None:
        """The signal that asked the command to stop, None while nobody did."""
        return self._stop_signal

    def job(self) -> Job:
        """The job to hand to long functions: reports here, cancelled by Ctrl-C."""
        return Job(report=self.progress, cancelled=lambda: self._stop_signal is not None, warn=self.warning)

    def say(self, text: str) -> None:
        """A sentence or a table for the reader; a message object with `as_json`."""
        if self.as_json:
            self._emit({"type": "message", "text": text})
        else:
            self._clear_bar()
            print(text, file=self.out, flush=True)

    def result(self, values: dict[str, Any], text: str) -> None:
        """The outcome: `values` as the result object with `as_json`, else `text`."""
        self._end_stage(time.monotonic())
        if self.as_json:
            self._emit({"type": "result", **values})
        else:
            self.say(text)

    def warning(self, sentence: str) -> None:
        """A sentence the user should read, that does not stop the work."""
        self._clear_bar()
        print(f"mslfusion: warning: {one_line(sentence)}", file=self.err, flush=True)
        if self.as_json:
            self._emit({"type": "warning", "message": one_line(sentence)})

    def error(self, sentence: str, exit_code: int) -> None:
        """The one line that says why the command ended."""
        self._clear_bar()
        print(f"mslfusion: error: {one_line(sentence)}", file=self.err, flush=True)
        if self.as_json:
            self._emit({"type": "error", "message": one_line(sentence), "exit_code": exit_code})

    def progress(self, progress: Progress) -> None:
        """Show one report of a job; calls that come faster than anyone reads are dropped."""
        now = time.monotonic()
        first = progress.stage != self._stage
        last = progress.done >= progress.total
        if first:
            self._end_stage(now)
            self._stage, self._stage_started = progress.stage, now
        if not (first or last) and now - self._last_shown < (_JSON_EVERY_S if self.as_json else _BAR_EVERY_S):
            return
        self._last_shown = now
        if self.as_json:
            self._emit(
                {
                    "type": "progress",
                    "stage": progress.stage,
                    "done": progress.done,
                    "total": progress.total,
                    "seconds_left": progress.seconds_left,
                }
            )
        elif self._bar:
            self._draw_bar(progress)
        if last:
            self._end_stage(now)

    @contextmanager
    def stoppable(self, with_input: bool = False) -> Iterator[None]:
        """Turn Ctrl-C and SIGTERM into a clean stop at the job's next check; the second Ctrl-C is immediate.

        with_input: so does the end of standard input, which every system has and which passes through launchers.
        """
        if with_input:
            threading.Thread(target=self._follow_input, daemon=True).start()
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, _frame: object) -> None:
            if self._stop_signal is not None:
                raise KeyboardInterrupt
            self._stop_signal = number

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            self._clear_bar()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _follow_input(self) -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        if self._stop_signal is None:
            self._stop_signal = signal.SIGTERM

    def _end_stage(self, now: float) -> None:
        """Say how long the stage took, if one was going on: not each stage goes through all of its units."""
        if self._stage and not self.as_json:
            self._clear_bar()
            print(f"  {self._stage}: {now - self._stage_started:.1f} s", file=self.out, flush=True)
        self._stage = ""

    def _emit(self, record: dict[str, Any]) -> None:
        print(json.dumps(plain(record), allow_nan=False), file=self.out, flush=True)

    def _draw_bar(self, progress: Progress) -> None:
        share = progress.done / progress.total if progress.total else 1.0
        left = "" if progress.seconds_left is None else f"  {clock(progress.seconds_left)} left"
        label = f"{progress.stage:<14.28} "
        width = max(shutil.get_terminal_size().columns - len(label) - 22, 8)
        filled = round(width * min(max(share, 0.0), 1.0))
        line = f"{label}[{'#' * filled}{'.' * (width - filled)}] {share:4.0%}{left}"
        self.err.write(f"\r\x1b[K{line}")
        self.err.flush()
        self._bar_shown = True

    def _clear_bar(self) -> None:
        if self._bar_shown:
            self.err.write("\r\x1b[K")
            self.err.flush()
            self._bar_shown = False


def one_line(sentence: str) -> str:
    """`sentence` with line breaks and runs of blanks made one blank."""
    return " ".join(str(sentence).split())
