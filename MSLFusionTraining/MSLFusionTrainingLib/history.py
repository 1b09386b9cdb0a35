"""The course of a run, read from its logs while they grow. No torch.

Each look reads only what was appended. A run that goes on cuts its logs back to the state that it goes on from: then
they are read again from the start.
"""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MSLFusionTrainingLib.logs import LOG, VALIDATION

_AT_ONCE = 2**18
"""Bytes that one look reads."""
_REMEMBERED = 128
_NO_LOSS = ("iteration", "learning_rate", "seconds_per_iteration", "gradient_norm")
"""Columns of the log that are no terms of the loss."""
_MOST_POINTS = 1000
"""Points of a curve; further ones are means of several rows."""


class GrowingFile:
    """The new whole lines of a text file that is appended to, cut back or replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at, self._before = 0, b""

    def read(self) -> tuple[bool, list[str]]:
        """(whether it is another text than before, lines), from the start again then; [] when there are none."""
        again = False
        try:
            with self._path.open("rb") as file:
                file.seek(self._at - len(self._before))
                if file.read(len(self._before)) != self._before:
                    again, self._at, self._before = True, 0, b""
                    file.seek(0)
                data = file.read(_AT_ONCE)
        except FileNotFoundError:
            again, self._at, self._before, data = self._at > 0, 0, b"", b""
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        self._before = (self._before + whole)[-_REMEMBERED:]
        return again, whole.decode("utf-8", "replace").splitlines()


class Points:
    """Rows of numbers over the iteration, never more than _MOST_POINTS: of many rows the means of so many each."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []
        self._each = 1
        self._open: list[tuple[float, ...]] = []

    def add(self, row: tuple[float, ...]) -> None:
        """One more row: iteration, values."""
        self._open.append(row)
        if len(self._open) == self._each:
            self.rows.append(_mean(self._open))
            self._open = []
        if len(self.rows) >= _MOST_POINTS:
            self.rows = [_mean(self.rows[i : i + 2]) for i in range(0, len(self.rows), 2)]
            self._each *= 2


def _mean(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """The mean of each column over its finite values, the last iteration."""
    columns = list(zip(*rows, strict=True))
    finite = [[value for value in column if math.isfinite(value)] for column in columns[1:]]
    return (columns[0][-1], *(sum(values) / len(values) if values else math.nan for values in finite))


@dataclass(frozen=True)
class Course:
    """losses: rows of iteration and a term for each of loss_names, the whole first. scores: rows of iteration and a
    PSNR in dB for each of score_names, such as ("CT network", "CT fbp", "MR network", "MR zero_filled"). Missing
    values are NaN.
    """

    losses: tuple[tuple[float, ...], ...] = ()
    loss_names: tuple[str, ...] = ()
    scores: tuple[tuple[float, ...], ...] = ()
    score_names: tuple[str, ...] = ()


class History:
    """The course of the run in a folder so far."""

    def __init__(self, folder: Path) -> None:
        self._log, self._validation = GrowingFile(folder / LOG), GrowingFile(folder / VALIDATION)
        self._losses, self._scores = Points(), Points()
        self._columns: list[str] = []
        self._names: tuple[str, ...] = ()

    def read(self) -> Course:
        """Read what is new; raises OSError when the disk fails."""
        again, lines = self._log.read()
        if again:
            self._losses, self._columns = Points(), []
        for row in csv.reader(lines):
            self._add_loss(row)
        again, lines = self._validation.read()
        if again:
            self._scores, self._names = Points(), ()
        for line in lines:
            self._add_score(line)
        return Course(tuple(self._losses.rows), self._loss_names(), tuple(self._scores.rows), self._names)

    def _loss_names(self) -> tuple[str, ...]:
        return tuple(name for name in self._columns if name not in _NO_LOSS)

    def _add_loss(self, row: list[str]) -> None:
        if row[:1] == ["iteration"]:
            self._columns = row
        elif len(row) == len(self._columns):
            values = dict(zip(self._columns, row, strict=True))
            self._losses.add(tuple(_number(values.get(name)) for name in ("iteration", *self._loss_names())))

    def _add_score(self, line: str) -> None:
        try:
            values: Any = json.loads(line)
            iteration = float(values["iteration"])
            groups = [(name, group) for name, group in values.items() if isinstance(group, dict) and "gain_db" in group]
            figures = {
                f"{role.upper()} {kind}": _number(found["psnr"])
                for role, group in groups
                for kind, found in group.items()
                if isinstance(found, dict)
            }
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        if not figures:  # other methods measure other things
            return
        if not self._names:
            # The network first: its baseline is looked at beside it.
            self._names = tuple(sorted(figures, key=lambda name: (name.split()[0], not name.endswith("network"))))
        self._scores.add((iteration, *(figures.get(name, math.nan) for name in self._names)))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
