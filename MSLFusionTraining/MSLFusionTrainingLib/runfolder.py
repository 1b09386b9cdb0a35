"""A run's folder seen from outside: what state it is in, asking its training to stop, its files. No torch.

The folder may be on a slow disk and be written by another version or by anybody: all that is read is bounded.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionTrainingLib.facts import BEST, LAST, read_facts
from MSLFusionTrainingLib.processes import end_tree
from MSLFusionTrainingLib.status import STATUS, Status, read_status

REQUEST = "stop.request"
"""While a file of this name is in the folder, the training saves its state and ends."""
CONFIG = "config.json"
TRAIN_LOG = "train.log"
"""What a training that runs by itself says (standard output and error)."""
KILLED = "killed"


@dataclass(frozen=True)
class Look:
    """A run as it is now.

    state: "none" (no run here), one of status.STATES, or "killed": its process is gone without a last word. status:
    the last word; None where there is none. saved: the iteration that a resumed run goes on from, None without one.
    best: that of the best checkpoint. stopping: whether it was asked to stop and has not stopped yet.
    """

    state: str
    status: Status | None = None
    saved: int | None = None
    best: int | None = None
    stopping: bool = False

    @property
    def active(self) -> bool:
        """Whether a training is at work."""
        return self.status is not None and self.status.active and self.state == self.status.state

    @property
    def resumable(self) -> bool:
        """Whether there is something left to go on with."""
        return self.state in ("paused", "failed", KILLED)


def look(folder: Path) -> Look:
    """What there is in a run's folder. Raises OSError when the disk fails."""
    status = read_status(folder)
    saved, best = _iteration(folder / LAST), _iteration(folder / BEST)
    if status is None:
        # A run of a version that told nothing: it may go on, whoever trains it.
        return Look("none" if saved is None else "paused", None, saved, best)
    if not status.active:
        return Look(status.state, status, saved, best)
    if not status.alive:
        return Look(KILLED, status, saved, best)
    return Look(status.state, status, saved, best, (folder / REQUEST).exists())


def check_free(folder: Path) -> None:
    """Raise InputError while a training is at work in the folder, as far as its status tells."""
    status = read_status(folder)
    if status is not None and status.active and status.alive and status.pid != os.getpid():
        raise InputError(
            f"{folder} is being trained by the process {status.pid} of {status.host}: stop it first "
            "(mslfusion train --stop), or use another folder."
        )


def request_stop(folder: Path) -> None:
    """Ask the training to save its state and end. Raises InputError when nothing runs there or it cannot be written."""
    if not look(folder).active:
        raise InputError(f"No training runs in {folder}.")
    with atomic_path(folder / REQUEST) as temporary:
        temporary.write_text("The training ends when it sees this file.\n", encoding="utf-8")


def stop_requested(folder: Path) -> bool:
    """Whether the training of this folder was asked to end; a disk that does not answer has not asked."""
    try:
        return (folder / REQUEST).exists()
    except OSError:
        return False


def withdraw_stop(folder: Path) -> None:
    """Forget a request to stop, which was heard or came too late."""
    with contextlib.suppress(OSError):
        (folder / REQUEST).unlink(missing_ok=True)


def kill(folder: Path) -> Look:
    """End the training at once, with all of its processes; what came after its last saved state is lost.

    Raises InputError when none runs there or it runs on another machine.
    """
    now = look(folder)
    if now.status is None or not now.active:
        raise InputError(f"No training runs in {folder}.")
    if not now.status.here:
        raise InputError(f"The training in {folder} runs on {now.status.host}: it can be killed there, or stopped.")
    end_tree(now.status.pid)
    return now


def tail(path: Path, size: int = 16_384) -> str:
    """The last lines of a text file, at most so many bytes; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            data = file.read(size)
            whole = file.tell() <= size
    except FileNotFoundError:
        return ""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    return text if whole or "\n" not in text else text.partition("\n")[2]


def words_to_go_on(folder: Path, status: Status | None) -> list[str]:
    """The words of `mslfusion` with which the run in a folder goes on, on the device that it had."""
    words = ["train", "--output", str(folder)]
    if status is not None and status.device:
        words += ["--device", status.device]
    if status is not None and status.cache:
        words += ["--cache", status.cache]
    return words


def is_run(names: Sequence[str]) -> bool:
    """Whether a folder with files of these names holds a run."""
    return bool({STATUS, LAST, CONFIG} & set(names))


def _iteration(path: Path) -> int | None:
    """The iteration of a training state; None where there is no readable one."""
    try:
        found: Any = read_facts(path).get("iteration")
    except InputError:
        return None
    return found if isinstance(found, int) else None
