"""Progress with time left, and cancelling, for every long piece of work."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from MSLFusionLib.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """One report of a running job.

    `done` of `total` units of `stage` are finished; `seconds_left` is an estimate for this stage,
    None until the first unit is done.
    """

    stage: str
    done: int
    total: int
    seconds_left: float | None


@dataclass
class Job:
    """What a long function reports to and asks whether it should stop.

    report: called with a Progress after each unit of work.
    cancelled: asked before each unit; True ends the work with `Cancelled`.
    warn: called with one sentence that the user should read (a fallback taken, something left out).
    """

    report: Callable[[Progress], None] | None = None
    cancelled: Callable[[], bool] | None = None
    warn: Callable[[str], None] | None = None
    _stage: str = field(default="", init=False, repr=False)
    _started: float = field(default=0.0, init=False, repr=False)

    def step(self, stage: str, done: int, total: int) -> None:
        """Report `done` of `total` units of `stage`; raises Cancelled when the user asked for it."""
        self.check()
        now = time.monotonic()
        if stage != self._stage or done == 0:
            self._stage, self._started = stage, now
        if self.report is not None:
            left = (now - self._started) / done * (total - done) if done > 0 else None
            self.report(Progress(stage, done, total, left))

    def check(self) -> None:
        """Raises Cancelled when the user asked to stop."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("Cancelled: nothing was written.")

    def warning(self, sentence: str) -> None:
        """Hand one sentence to the user without stopping the job."""
        if self.warn is not None:
            self.warn(sentence)


NO_JOB = Job()
"""A job that nobody watches: the default of every `job` parameter."""


def noting(job: Job, warnings: list[str]) -> Job:
    """The same job, which also keeps the warnings."""

    def warn(sentence: str) -> None:
        warnings.append(sentence)
        job.warning(sentence)

    return replace(job, warn=warn)
