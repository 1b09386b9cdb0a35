"""Looking at a run's folder without ever waiting for its disk.

The files are read in a thread. Slicer's event loop holds Python's lock, so a thread gets on only while the main thread
waits in Python: it waits for a moment, which is enough for a disk that answers at once, and comes back later for one
that does not.
"""

import json
import os
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from MSLFusionTrainingLib.history import Course, History
from MSLFusionTrainingLib.logs import LATEST, LOG
from MSLFusionTrainingLib.runfolder import CONFIG, TRAIN_LOG, Look, is_run, look, tail

_PATIENCE_S = 0.03
_LARGEST_SAMPLE, _LARGEST_CONFIG = 256 * 2**20, 2**20
_HEADING = 4096
_ENTRIES = 100
"""Names of a folder that are looked at to tell whether it is empty."""
_OURS = {TRAIN_LOG, "train.toml", "heads", "data.json"}
"""What is in a run's folder before the run is."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The pictures of a validation: images (n, 3, H, W) in [0, 1], for each role sensor image, network, truth."""

    iteration: int
    roles: tuple[str, ...]
    images: np.ndarray
    pixel_mm: float


@dataclass(frozen=True, eq=False)
class Glimpse:
    """What a look found. foreign: the folder holds something else than a run. trouble: why it could not be read, else
    empty. has_course, has_sample: whether there are curves and pictures to show. sample: only a new one, when wanted.
    """

    folder: Path
    look: Look
    foreign: bool = False
    has_course: bool = False
    has_sample: bool = False
    log: str = ""
    course: Course | None = None
    sample: Sample | None = None
    trouble: str = ""


class Watcher:
    """Looks at one folder, one look at a time. wants_course, wants_sample: whether curves and pictures are shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wants_course = self.wants_sample = False
        self._history = History(folder)
        self._sample_seen: tuple[int, int] | None = None
        self._asked: float | None = None
        self._questions: queue.SimpleQueue[tuple[bool, bool] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Glimpse] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="MSLFusionTraining watcher", daemon=True).start()

    @property
    def waits_s(self) -> float:
        """For how long a look has been under way."""
        return 0.0 if self._asked is None else time.monotonic() - self._asked

    def glimpse(self) -> Glimpse | None:
        """What a look found, None while the disk has not answered: call again later."""
        if self._asked is None:
            self._asked = time.monotonic()
            self._questions.put((self.wants_course, self.wants_sample))
        try:
            found = self._answers.get(timeout=_PATIENCE_S)
        except queue.Empty:
            return None
        self._asked = None
        return found

    def show_again(self) -> None:
        """Give the present pictures once more: nobody has them any more."""
        self._sample_seen = None

    def close(self) -> None:
        """No more looks; a look that hangs is left alone."""
        self._questions.put(None)

    def _work(self) -> None:
        while (wanted := self._questions.get()) is not None:
            try:
                found = self._look(*wanted)
            except Exception as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                found = Glimpse(self.folder, Look("none"), trouble=reason or type(error).__name__)
            self._answers.put(found)

    def _look(self, wants_course: bool, wants_sample: bool) -> Glimpse:
        if not self.folder.parent.is_dir():
            # Not only the folder, which a new run makes: its disk may be gone.
            return Glimpse(self.folder, Look("none"), trouble=f"{self.folder.parent} is not there")
        found = look(self.folder)
        foreign = False
        if found.state == "none" and self.folder.exists():
            with os.scandir(self.folder) as entries:
                names = [entry.name for entry, _ in zip(entries, range(_ENTRIES), strict=False)]
            foreign = not is_run(names) and bool(set(names) - _OURS)
        log = "" if foreign else tail(self.folder / TRAIN_LOG)
        course = self._history.read() if wants_course else None
        sample = self._new_sample() if wants_sample else None
        has_sample = (self.folder / LATEST).exists()
        return Glimpse(self.folder, found, foreign, self._has_course(), has_sample, log, course, sample)

    def _has_course(self) -> bool:
        """Whether the log has a row after its heading."""
        try:
            with (self.folder / LOG).open("rb") as file:
                return file.read(_HEADING).count(b"\n") > 1
        except FileNotFoundError:
            return False

    def _new_sample(self) -> Sample | None:
        path = self.folder / LATEST
        try:
            facts = path.stat()
            if self._sample_seen == (facts.st_mtime_ns, facts.st_size) or facts.st_size > _LARGEST_SAMPLE:
                return None
            with np.load(path, allow_pickle=False) as data:
                iteration, roles = int(data["iteration"]), tuple(map(str, data["roles"]))
                images = np.asarray(data["images"], np.float32)
        except (FileNotFoundError, KeyError, ValueError, TypeError, EOFError, BadZipFile):
            return None  # there is none, or one of another version
        if images.ndim != 4 or images.shape[:2] != (len(roles), 3):
            return None
        self._sample_seen = facts.st_mtime_ns, facts.st_size
        return Sample(iteration, roles, images, self._pixel_mm())

    def _pixel_mm(self) -> float:
        try:
            with (self.folder / CONFIG).open("rb") as file:
                settings: Any = json.loads(file.read(_LARGEST_CONFIG))
            return min(max(float(settings["pixel_mm"]), 0.01), 100.0)
        except (OSError, ValueError, KeyError, TypeError):
            return 1.0
