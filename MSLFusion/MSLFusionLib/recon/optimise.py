"""The lambda map that says most about both images: equation 12, slice by slice, with the network frozen.

For each slice the hybrid's objective minus alpha times the total variation of the map is maximised. The latent is
encoded once and only the decoder is run again, forth and back. Hybrids are those that the user gets: corrected towards
the measurement where that is on (X_L + (1 - L) dCT + L dMR), with the map drawn on the CT's grid. First constants are
tried; from the best of them the map is changed only where that is better, so that it never ends below them.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.ascent import climb, variation
from MSLFusionLib.recon.devices import device_name, is_out_of_memory
from MSLFusionLib.recon.mapgrid import MapGrid
from MSLFusionLib.recon.objectives import OwnFunction, named, own
from MSLFusionLib.recon.session import Session
from MSLFusionLib.recon.slice_problem import STARTS, SliceProblem

STAGE = "optimise lambda"
CONSTANTS = tuple(i / 10 for i in range(11))
"""Lambdas that are tried in every slice; the best of them is refined by _REFINED to either side."""
_REFINED = (0.05, 0.025)


@dataclass(frozen=True)
class Optimising:
    """What to look for.

    objective: a name of recon.objectives.OBJECTIVES, or a function (hybrid, ct, mr, weight), each (H, W), to a tensor
    of one number, which is maximised. alpha: weight of the map's total variation (see recon.ascent.variation), 0 or
    more. steps: evaluations of the objective for each slice, after the constants. smoothness: weight of the mean
    squared difference to the neighbouring slice's map, 0 or more. slices: first and last number of the slices to look
    at, None for all. start: number of the slice to begin with, None for the middle; the others follow from there.
    Raises InputError for what is not possible.
    """

    objective: str | OwnFunction = "mutual-information"
    alpha: float = 1e-3
    steps: int = 60
    smoothness: float = 0.01
    slices: tuple[int, int] | None = None
    start: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.objective, str):
            named(self.objective)
        for name, value in (("alpha", self.alpha), ("smoothness", self.smoothness)):
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"The {name} must be 0 or more, not {value:g}.")
        if not 1 <= self.steps <= 10_000:
            raise InputError(f"The steps must lie between 1 and 10000, not {self.steps}.")
        if self.slices is not None and self.slices[0] > self.slices[1]:
            raise InputError(f"The first slice {self.slices[0]} lies behind the last one {self.slices[1]}.")

    @property
    def objective_name(self) -> str:
        """For people and records."""
        return self.objective if isinstance(self.objective, str) else getattr(self.objective, "__name__", "own")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, for a record."""
        return {
            "objective": self.objective_name,
            "alpha": self.alpha,
            "steps": self.steps,
            "smoothness": self.smoothness,
            "slices": None if self.slices is None else list(self.slices),
        }


@dataclass(frozen=True)
class SliceOptimum:
    """What was found in one slice.

    constants: (lambda, objective) of the constants tried. best_constant: the best of them. value: objective minus
    alpha TV of the map; never below that of `best_constant`. objective, variation: its parts. curve: the best value
    after each evaluation. complete: False where a cancel ended it.
    """

    number: int
    constants: tuple[tuple[float, float], ...]
    best_constant: tuple[float, float]
    value: float
    objective: float
    variation: float
    curve: tuple[float, ...]
    seconds: float
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, for a record."""
        return {
            "slice": self.number,
            "value": self.value,
            "objective": self.objective,
            "variation": self.variation,
            "best_constant": {"lambda": self.best_constant[0], "value": self.best_constant[1]},
            "constants": [list(pair) for pair in self.constants],
            "curve": list(self.curve),
            "seconds": round(self.seconds, 3),
            "complete": self.complete,
        }


@dataclass(frozen=True)
class Optimum:
    """The map found: lambda_map float32 (z, y, x) on the CT's grid. complete: False where a cancel ended the search.

    Slices that were not looked at have the best constant of the nearest one that was.
    """

    lambda_map: np.ndarray
    slices: tuple[SliceOptimum, ...]
    complete: bool

    def usual_constant(self) -> float:
        """The constant that is the best one in most slices."""
        constants = [one.best_constant[0] for one in self.slices]
        return max(sorted(set(constants)), key=constants.count)

    def report(self) -> dict[str, Any]:
        """JSON-able, for a record."""
        return {
            "complete": self.complete,
            "value": float(np.mean([one.value for one in self.slices])),
            "best_constants": float(np.mean([one.best_constant[1] for one in self.slices])),
            "slices": [one.to_dict() for one in self.slices],
        }


@dataclass(frozen=True)
class News:
    """What is told while a search runs: where the slice `number` stands after `evaluations` of its objective.

    plane: lambda of the slice as a plane of the CT's volume, the best until now.
    """

    number: int
    evaluations: int
    value: float
    best_constant: tuple[float, float]
    plane: np.ndarray
    finished: bool


def optimise_lambda(
    session: Session,
    settings: Optimising | None = None,
    weights: np.ndarray | None = None,
    watch: Callable[[News], None] | None = None,
    job: Job = NO_JOB,
) -> Optimum:
    """The best lambda map of a session's slices; the same call gives the same map on the same device.

    weights: how much each voxel counts, (z, y, x), 0 or more; None for all alike. Only the body counts either way.
    watch: called after each evaluation. A cancel ends the search with what was found; only when nothing was found yet
    it raises Cancelled. Raises InputError for weights and slices that are not possible, and for what is wrong with a
    function of the user's; JobError when a slice does not fit the memory.
    """
    settings = settings or Optimising()
    search = _Search(session, settings, _checked(weights, session), watch or (lambda _news: None), job)
    try:
        return search.run()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise JobError(f"A single slice does not fit the memory of {device_name(session.device)}.") from error


class _Search:
    """One run: the slices in order, and what is known of those that are done."""

    def __init__(
        self,
        session: Session,
        settings: Optimising,
        weights: np.ndarray | None,
        watch: Callable[[News], None],
        job: Job,
    ) -> None:
        self._session, self._settings, self._weights, self._watch, self._job = session, settings, weights, watch, job
        self._objective = named(settings.objective) if isinstance(settings.objective, str) else own(settings.objective)
        self._grid = MapGrid(session.grid, session.device)
        self._order = _outwards(_chosen(settings, session), settings.start)
        # The last unit of a slice is reported when all of it is done.
        self._each = len(CONSTANTS) + 2 * len(_REFINED) + STARTS + settings.steps + 1
        self._found: dict[int, SliceOptimum] = {}
        self._planes: dict[int, np.ndarray] = {}
        self._maps: dict[int, Tensor] = {}

    def run(self) -> Optimum:
        """All slices in order, or those until a cancel."""
        cancelled = False
        try:
            for place, number in enumerate(self._order):
                self._job.step(STAGE, place * self._each, len(self._order) * self._each)
                problem = SliceProblem(self._session, number, self._objective, self._grid, self._weights, self._job)
                if problem.usable:
                    self._optimise(problem, place * self._each)
            self._job.step(STAGE, len(self._order) * self._each, len(self._order) * self._each)
        except Cancelled:
            cancelled = True
            if not self._found:
                raise
        if not self._found:
            raise InputError("None of these slices shows enough of what counts to optimise lambda for.")
        return Optimum(self._volume(), tuple(self._found[n] for n in sorted(self._found)), not cancelled)

    def _optimise(self, problem: SliceProblem, before: int) -> None:
        """One slice: constants, then upwards from the best start; what was found is kept, also when cancelled."""
        began, evaluations = time.monotonic(), 0
        alpha, total = self._settings.alpha, len(self._order) * self._each

        def tick() -> None:
            nonlocal evaluations
            evaluations += 1
            self._job.step(STAGE, before + min(evaluations, self._each - 1), total)

        values = _constants(problem, tick)
        constant = max(values, key=values.__getitem__)
        best, chosen, curve = values[constant], problem.constant(constant), [values[constant]]
        neighbour = self._neighbour(problem.number)
        pull = self._settings.smoothness if neighbour is not None else 0.0

        def away(lam: Tensor) -> float:
            return 0.0 if neighbour is None else pull * float((lam - neighbour).square().mean())

        def keep(end: bool) -> None:
            self._found[problem.number] = SliceOptimum(
                problem.number,
                tuple(sorted(values.items())),
                (constant, values[constant]),
                best,
                best + alpha * variation(chosen),
                variation(chosen),
                tuple(curve),
                time.monotonic() - began,
                end,
            )
            self._maps[problem.number], self._planes[problem.number] = chosen, self._grid.plane(chosen)

        def tell(end: bool) -> None:
            plane = self._session.placed(self._grid.plane(chosen)[None])[0]
            self._watch(News(problem.number, evaluations, best, (constant, values[constant]), plane, end))

        def smooth(lam: Tensor) -> tuple[float, Callable[[], Tensor]]:
            tick()
            value, gradient_of = problem.with_gradient(lam)
            if neighbour is None:
                return value, gradient_of
            return value - away(lam), lambda: gradient_of() - 2.0 * pull * (lam - neighbour) / lam.numel()

        try:
            # The neighbour chooses among maps that are no worse than the best constant, never below it.
            start, score = chosen, best - away(chosen)
            for other in problem.starts(constant, neighbour):
                tick()
                reached = problem.value(other) - alpha * variation(other)
                if reached >= values[constant] and reached - away(other) > score:
                    start, score = other, reached - away(other)
            for now in climb(smooth, start, alpha, self._settings.steps):
                own_value = now.value + away(now.lam)
                if now.value > best - away(chosen) and own_value >= values[constant]:
                    best, chosen = own_value, now.lam
                curve.append(best)
                tell(False)
        except Cancelled:
            keep(False)
            raise
        keep(True)
        tell(True)

    def _neighbour(self, number: int) -> Tensor | None:
        """The map of the neighbouring slice, where it is known."""
        return next((self._maps[n] for n in (number - 1, number + 1) if n in self._maps), None)

    def _volume(self) -> np.ndarray:
        volume = np.empty(self._session.grid.volume.shape, np.float32)
        known = np.array(sorted(self._found))
        turned = self._session.grid.turned(volume)
        for number in range(len(turned)):
            if number in self._planes:
                turned[number] = self._planes[number]
            else:
                nearest = int(known[np.argmin(np.abs(known - number))])
                turned[number] = self._found[nearest].best_constant[0]
        return volume


def _constants(problem: SliceProblem, tick: Callable[[], None]) -> dict[float, float]:
    """The objective of constant lambdas: all over [0, 1], then more closely around the best."""
    values: dict[float, float] = {}

    def try_out(lam: float) -> None:
        if 0.0 <= lam <= 1.0 and lam not in values:
            tick()
            values[lam] = problem.value(problem.constant(lam))

    for lam in CONSTANTS:
        try_out(lam)
    for width in _REFINED:
        centre = max(values, key=values.__getitem__)
        try_out(round(centre - width, 3))
        try_out(round(centre + width, 3))
    return values


def _chosen(settings: Optimising, session: Session) -> list[int]:
    """Numbers of the slices to look at, rising; raises InputError when there are none."""
    first, last = settings.slices or (0, session.grid.slices - 1)
    if first < 0 or last >= session.grid.slices:
        raise InputError(f"There are slices 0 to {session.grid.slices - 1}, not {first} to {last}.")
    chosen = [int(n) for n in session.source.occupied if first <= n <= last]
    if not chosen:
        raise InputError(f"The slices {first} to {last} hold nothing but background.")
    return chosen


def _outwards(numbers: list[int], start: int | None) -> list[int]:
    """The slices from the one nearest to `start` upwards, then downwards: each but the first follows a neighbour."""
    middle = numbers[len(numbers) // 2] if start is None else min(numbers, key=lambda n: abs(n - start))
    return [n for n in numbers if n >= middle] + [n for n in reversed(numbers) if n < middle]


def _checked(weights: np.ndarray | None, session: Session) -> np.ndarray | None:
    if weights is None:
        return None
    if weights.shape != session.grid.volume.shape:
        raise InputError(f"The weights have the shape {weights.shape}; {session.grid.volume.shape} is needed.")
    low, high = float(weights.min()), float(weights.max())
    if not (math.isfinite(low) and math.isfinite(high)) or low < 0 or high <= 0:
        raise InputError("The weights must be numbers of 0 or more, not all of them 0.")
    return weights
