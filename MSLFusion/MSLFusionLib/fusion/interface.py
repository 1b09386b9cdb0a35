"""What every fusion method is given and says of itself, classical or learned."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job

Run = Callable[["Pair", Mapping[str, Any], Job], np.ndarray]
SMALLEST = 8
"""Fewest pixels a side of an image that can be fused; the third axis of a volume may have fewer."""


@dataclass(frozen=True)
class Pair:
    """Two images on one grid, ready to fuse.

    first, second: float32 in [0, 1], 2-D or 3-D, of one shape. spacing: mm per voxel along each array axis.
    body: bool of that shape, where the object is; None for everywhere. modalities: what the two are ("ct", "mr",
    "pet"), for methods that were made for certain ones.
    Raises InputError for other shapes, and for images too small to be fused.
    """

    first: np.ndarray
    second: np.ndarray
    spacing: tuple[float, ...]
    body: np.ndarray | None = None
    modalities: tuple[str, str] = ("mr", "mr")

    def __post_init__(self) -> None:
        shape = self.first.shape
        if self.second.shape != shape or len(self.spacing) != len(shape):
            raise InputError(
                f"Images to fuse must lie on one grid: these have the shapes {shape} and {self.second.shape}."
            )
        if self.body is not None and self.body.shape != shape:
            raise InputError(f"The body mask has the shape {self.body.shape}, the images {shape}.")
        if len(shape) not in (2, 3) or sorted(shape)[-2] < SMALLEST:
            raise InputError(
                f"Images of {' x '.join(map(str, shape))} are too few to fuse: give 2-D or 3-D ones of at least "
                f"{SMALLEST} x {SMALLEST}."
            )

    def plane(self, axis: int, index: int) -> "Pair":
        """One slice of a volume, across array axis `axis`."""
        spacing = tuple(mm for number, mm in enumerate(self.spacing) if number != axis)
        body = None if self.body is None else self.body.take(index, axis)
        return Pair(self.first.take(index, axis), self.second.take(index, axis), spacing, body, self.modalities)


@dataclass(frozen=True)
class Parameter:
    """One setting of a method: a number from `low` to `high` (whole where the default is), or a word.

    choices: the words that are possible; empty for any.
    """

    name: str
    default: float | int | str
    meaning: str
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()

    def checked(self, value: Any) -> float | int | str:
        """`value` (text from a command line, or a number) as this setting; raises InputError for others."""
        kind = type(self.default)
        try:
            number = kind(value)
            whole = kind is not int or float(value) == number
        except (TypeError, ValueError, OverflowError):
            whole = False
        if not whole:
            raise InputError(f"{self.name} must be {_KINDS[kind]}, not {value!r}.")
        if isinstance(number, str):
            if self.choices and number not in self.choices:
                raise InputError(f"{self.name} must be one of {', '.join(self.choices)}, not '{number}'.")
        elif not self.low <= number <= self.high:
            raise InputError(f"{self.name} must lie from {self.low:g} to {self.high:g}, not {number:g}.")
        return number

    @property
    def span(self) -> str:
        """What is possible, for people."""
        if isinstance(self.default, str):
            return " | ".join(self.choices) or "text"
        return f"{self.low:g} to {self.high:g}"


_KINDS: dict[type, str] = {float: "a number", int: "a whole number", str: "a text"}


@dataclass(frozen=True)
class Method:
    """A way to fuse.

    name: as typed. title: for reports. summary: one sentence. run: (pair, settings, job) -> float32 in [0, 1] of the
    pair's shape, with a last axis of 3 (red, green, blue) when `colour`. modalities: the pairs it was made for, empty
    for any. needs: what must be there beside the two images, "" for nothing.
    """

    name: str
    title: str
    summary: str
    run: Run
    parameters: tuple[Parameter, ...] = ()
    modalities: tuple[tuple[str, str], ...] = ()
    needs: str = ""
    colour: bool = False
    _by_name: dict[str, Parameter] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_name.update({parameter.name: parameter for parameter in self.parameters})

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings, `given` ones checked; raises InputError for an unknown or impossible one."""
        for name in given:
            if name not in self._by_name:
                known = ", ".join(self._by_name) or "none"
                raise InputError(f"The method {self.name} has no setting '{name}'; it has: {known}.")
        found = {name: parameter.default for name, parameter in self._by_name.items()}
        return found | {name: self._by_name[name].checked(value) for name, value in given.items()}

    def fuse(self, pair: Pair, given: Mapping[str, Any] | None = None, job: Job = NO_JOB) -> np.ndarray:
        """The fused image, float32 in [0, 1]; raises InputError for settings or inputs that the method refuses."""
        result = self.run(pair, self.settings(given or {}), job)
        return np.clip(result, 0.0, 1.0).astype(np.float32, copy=False)
