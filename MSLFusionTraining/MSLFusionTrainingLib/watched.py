"""A training that can be watched and stopped from outside: it holds its folder, tells its status, hears requests."""

import os
import socket
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.progress import Job, Progress
from MSLFusionTrainingLib.lock import RunLock
from MSLFusionTrainingLib.processes import identity
from MSLFusionTrainingLib.runfolder import TRAIN_LOG, check_free, stop_requested, tail, withdraw_stop
from MSLFusionTrainingLib.status import Status, write_status

_TELL_EVERY_S, _ASK_EVERY_S = 1.0, 0.1
_MARKS = 120
"""Moments that the speed is measured over, at most one a second."""
_LOG_LIMIT, _LOG_KEPT = 4 * 2**20, 2**20


class Watched:
    """`run.begin()`, then `with run:` around a training, whose job is `run.job`.

    job: what else reports and cancels. explain: turns an error into the sentence that the status keeps. `begin` raises
    InputError when another training has the folder. When the block ends the status says how: finished, paused
    (Cancelled or Ctrl-C; after a request from outside the block ends quietly, with `run.asked`), or failed.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        iterations: int,
        job: Job,
        explain: Callable[[BaseException], str],
        device: str = "",
        cache: str = "",
    ) -> None:
        self.folder = folder
        self.asked = False
        self.job = Job(report=self._report, cancelled=self._cancelled, warn=self._warn)
        self._outer, self._explain = job, explain
        self._lock = RunLock(folder)
        self._trainer: Any = None
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MARKS)
        self._told = self._looked = -1e9
        self._stage = ""
        now, pid = time.time(), os.getpid()
        self._status = Status("starting", pid, identity(pid), socket.gethostname(), now, now, name=name)
        self._status = replace(self._status, iterations=iterations, device=device, cache=cache)

    def begin(self) -> None:
        """Take the folder; then `with` may follow."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {self.folder} cannot be made: {error.strerror or error}.") from None
        self._lock.take()
        try:
            check_free(self.folder)
        except BaseException:
            self._lock.release()
            raise
        withdraw_stop(self.folder)
        self._tell(surely=True)

    def __enter__(self) -> "Watched":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._take_from_trainer()
        stopped = isinstance(error, Cancelled)
        state, message = "finished", self._status.message
        if stopped or isinstance(error, KeyboardInterrupt):
            state = "paused"
        elif error is not None:
            state, message = "failed", self._explain(error)
        self._status = replace(self._status, state=state, message=message, seconds_left=None, stage="")
        withdraw_stop(self.folder)
        self._tell(surely=True)
        self._lock.release()
        if stopped and not self.asked:
            raise Cancelled(f"Stopped at iteration {self.iteration}: the same command goes on from there.") from error
        return stopped

    @property
    def iteration(self) -> int:
        """The steps that are done."""
        return self._status.iteration

    def follow(self, trainer: Any) -> None:
        """Tell of this Trainer from now on: its iteration, best score and device."""
        self._trainer = trainer
        self._status = replace(self._status, device_name=_device_name(trainer.device))
        self._take_from_trainer()

    def _report(self, progress: Progress) -> None:
        now = time.monotonic()
        state = {"train": "training", "validate": "validating"}.get(progress.stage, "starting")
        if progress.stage != self._stage or now - self._told >= _TELL_EVERY_S:
            self._stage = progress.stage
            stage = (progress.stage, progress.done, progress.total) if state != "training" else ("", 0, 0)
            self._status = replace(self._status, state=state, stage=stage[0], done=stage[1], total=stage[2])
            self._take_from_trainer()
            if state == "training":
                self._marks.append((now, self._status.iteration))
            self._tell()
        if self._outer.report is not None:
            self._outer.report(progress)

    def _take_from_trainer(self) -> None:
        trainer = self._trainer
        if trainer is None:
            return
        seconds = left = None
        if self._marks and trainer.iteration > self._marks[0][1]:
            since, first = self._marks[0]
            seconds = (time.monotonic() - since) / (trainer.iteration - first)
            left = seconds * (trainer.config.iterations - trainer.iteration)
        best = trainer.best
        self._status = replace(
            self._status,
            iteration=trainer.iteration,
            seconds_per_iteration=seconds,
            seconds_left=left,
            best_score=best["score"],
            best_iteration=best["iteration"],
            score_name=getattr(trainer, "score_name", ""),
            **_memory(trainer.device),
        )

    def _tell(self, surely: bool = False) -> None:
        self._told = time.monotonic()
        self._status = replace(self._status, updated=time.time())
        write_status(self.folder, self._status, surely)
        _bound(self.folder / TRAIN_LOG)

    def _cancelled(self) -> bool:
        if self._outer.cancelled is not None and self._outer.cancelled():
            return True
        now = time.monotonic()
        if not self.asked and now - self._looked >= _ASK_EVERY_S:
            self._looked = now
            self.asked = stop_requested(self.folder)
        return self.asked

    def _warn(self, sentence: str) -> None:
        self._status = replace(self._status, message=sentence)
        self._outer.warning(sentence)


def _device_name(device: Any) -> str:
    """The processor of the training in words."""
    if device.type != "cuda":
        return "CPU"
    import torch

    return torch.cuda.get_device_name(device)


def _memory(device: Any) -> dict[str, Any]:
    """Bytes of the GPU's memory; nothing for a processor."""
    if device.type != "cuda":
        return {}
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return {
        "memory_used": total - free,
        "memory_total": total,
        "memory_own": torch.cuda.memory_reserved(device),
    }


def _bound(path: Path) -> None:
    """Cut our own log to its last part where warnings without end have filled it."""
    with suppress(OSError, ValueError):
        own = os.fstat(sys.stderr.fileno())
        if own.st_size <= _LOG_LIMIT or not stat.S_ISREG(own.st_mode) or not os.path.samestat(own, path.stat()):
            return
        kept = tail(path, _LOG_KEPT)
        os.ftruncate(sys.stderr.fileno(), 0)  # opened to append: what comes next is written at the new end
        sys.stderr.write(kept)
        sys.stderr.flush()
