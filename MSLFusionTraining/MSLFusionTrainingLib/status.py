"""What a training says of itself while it runs: a small file in its folder, for whoever wants to know. No torch.

A run can so be found again by another program, whatever became of the one that started it.
"""

import contextlib
import json
import math
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from MSLFusionTrainingLib.processes import identity

STATUS = "status.json"
ACTIVE = ("starting", "training", "validating")
ENDED = ("paused", "finished", "failed")
STATES = (*ACTIVE, *ENDED)
SILENCE_S = 300.0
"""A training on another machine that has said nothing for so long counts as ended."""
_LARGEST = 2**16
_ATTEMPTS, _PAUSE_S = 20, 0.05


@dataclass(frozen=True)
class Status:
    """The last word of a training.

    state: one of STATES. pid, process (processes.identity), host: where it runs. began, updated: seconds since 1970.
    iteration of iterations are done; stage with done of total: what it does beside its steps. seconds_per_iteration,
    seconds_left: None before they are known. best_score at best_iteration: mean PSNR in dB, or
    what score_name says. memory_used, memory_total:
    bytes of the GPU, by all programs; memory_own: by this one. message: its last warning, or why it ended. device,
    device_name: as chosen and in words. cache: its folder of generated heads, empty for the usual one.
    """

    state: str
    pid: int
    process: str
    host: str
    began: float
    updated: float
    name: str = ""
    iteration: int = 0
    iterations: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    seconds_per_iteration: float | None = None
    seconds_left: float | None = None
    best_score: float | None = None
    best_iteration: int = 0
    score_name: str = ""
    device: str = ""
    device_name: str = ""
    memory_used: int | None = None
    memory_total: int | None = None
    memory_own: int | None = None
    message: str = ""
    cache: str = ""

    @property
    def best_in_words(self) -> str:
        """The best score with what it is, such as "31.23 dB"; empty where there is none."""
        if self.best_score is None:
            return ""
        return f"{self.score_name} {self.best_score:.4g}" if self.score_name else f"{self.best_score:.2f} dB"

    @property
    def active(self) -> bool:
        """Whether the training had not ended when it wrote this."""
        return self.state in ACTIVE

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether its process is still there; of another machine's, whether it was heard of lately."""
        if self.here:
            return self.process != "" and identity(self.pid) == self.process
        return self.active and time.time() - self.updated < SILENCE_S


def read_status(folder: Path) -> Status | None:
    """The status of a run; None where there is none that can be read. Raises OSError when the disk fails."""
    try:
        with (folder / STATUS).open("rb") as file:
            values = json.loads(file.read(_LARGEST))
    except FileNotFoundError:
        return None
    except ValueError:
        return None
    return _checked(values)


def write_status(folder: Path, status: Status, surely: bool = False) -> None:
    """Put the status in place of the one before, whole or not at all.

    A failure is not told, as the training can do without. surely: try again for a second (Windows refuses while
    someone reads).
    """
    target = folder / STATUS
    temporary = folder / f".{STATUS}.{secrets.token_hex(4)}.part"
    for attempt in range(_ATTEMPTS if surely else 1):
        time.sleep(_PAUSE_S if attempt else 0)
        try:
            temporary.write_text(json.dumps(asdict(status)), encoding="utf-8")
            os.replace(temporary, target)
            return
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _checked(values: Any) -> Status | None:
    """A Status from a file that anybody may have written."""
    if not isinstance(values, dict) or values.get("state") not in STATES:
        return None
    known = {field.name: field.type for field in fields(Status)}
    kept = {name: value for name, value in values.items() if name in known}
    if not all(_fits(value, known[name]) for name, value in kept.items()):
        return None
    try:
        return Status(**kept)
    except TypeError:  # something is missing
        return None


def _fits(value: Any, kind: Any) -> bool:
    if value is None:
        return kind in (int | None, float | None)
    if isinstance(value, bool):
        return False
    if kind is str:
        return isinstance(value, str)
    if kind in (int, int | None):
        return isinstance(value, int)
    return isinstance(value, int | float) and math.isfinite(value)
