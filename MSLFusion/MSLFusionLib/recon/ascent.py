"""Climbing with total variation: proximal gradient steps on a small map of lambdas.

Maximises f(L) - w TV(L) over maps with values in [0, 1], f smooth and known by its gradient. TV has edges where f has
none, and lambda has limits, at which the best maps lie; so both are taken exactly, in the proximal step, instead of
through their gradient (which would stall there, as a sigmoid would).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_ROUNDS = 40
"""Iterations of a proximal step."""
_HALVINGS = 8
_FIRST_MOVE = 0.2
"""How far the first step moves lambda at most."""
_LEAST_GAIN = 1e-7
"""Of a step, less is rounding."""
_LARGEST_STEP = 1e7

Smooth = Callable[[Tensor], tuple[float, Callable[[], Tensor]]]
"""f at a map, and what gives the gradient there; the gradient is only asked for where the step is taken."""


def variation(lam: Tensor) -> float:
    """Anisotropic total variation of a map (h, w) of lambdas: the sum over neighbouring cells of |difference|, divided
    by the cells along the longer side. An edge from 0 to 1 across the whole slice has 1, however fine the map is."""
    down, right = _differences(lam)
    return float((down.abs().sum() + right.abs().sum()) / max(lam.shape))


@dataclass(frozen=True)
class Climb:
    """Where a climb stands: the map (h, w), its value f - w TV, and the evaluations of f so far."""

    lam: Tensor
    value: float
    evaluations: int


def climb(smooth: Smooth, start: Tensor, weight: float, evaluations: int) -> Iterator[Climb]:
    """From `start` (h, w) upwards; gives each evaluated step with the best map until then, `start` first.

    Step lengths are Barzilai's and Borwein's, shortened until the value rises (at most `evaluations` evaluations): the
    value never falls. Ends early where no step leads upwards.
    """
    lam, (value, gradient_of) = start, smooth(start)
    best = value - weight * variation(lam)
    done = 1
    yield Climb(lam, best, done)
    gradient, before = gradient_of(), None
    largest = float(gradient.abs().max())
    if not largest > 0:
        return
    step, dual = _FIRST_MOVE / largest, None
    while done < evaluations:
        if before is not None:
            moved, turned = lam - before[0], gradient - before[1]
            bend = -float((moved * turned).sum())
            step = float(moved.square().sum()) / bend if bend > 0 else 2.0 * step
            step = min(max(step, 1e-3 * _FIRST_MOVE / largest), _LARGEST_STEP)
        for _ in range(_HALVINGS):
            tried, dual = proximal(lam + step * gradient, step * weight / max(lam.shape), dual)
            value, gradient_of = smooth(tried)
            reached = value - weight * variation(tried)
            done += 1
            if reached > best + _LEAST_GAIN:
                break
            step /= 3.0
            yield Climb(lam, best, done)
            if done >= evaluations:
                return
        else:
            return
        before = lam, gradient
        lam, best, gradient = tried, reached, gradient_of()
        yield Climb(lam, best, done)


def proximal(
    point: Tensor, weight: float, dual: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The map in [0, 1] that minimises 1/2 |L - point|^2 + weight * sum of |differences|, and its dual.

    By fast gradient projection on the dual (Beck & Teboulle, IEEE TIP 18:2419, 2009). dual: of a similar point, to
    start from.
    """
    if weight <= 0:
        return point.clamp(0.0, 1.0), dual or _differences(torch.zeros_like(point))
    found = dual or _differences(torch.zeros_like(point))
    ahead, momentum = found, 1.0
    for _ in range(_ROUNDS):
        lam = (point + weight * _divergence(*ahead)).clamp(0.0, 1.0)
        moved = tuple((a + d / (8.0 * weight)).clamp(-1.0, 1.0) for a, d in zip(ahead, _differences(lam), strict=True))
        following = (1.0 + (1.0 + 4.0 * momentum**2) ** 0.5) / 2.0
        share = (momentum - 1.0) / following
        ahead = (moved[0] + share * (moved[0] - found[0]), moved[1] + share * (moved[1] - found[1]))
        found, momentum = (moved[0], moved[1]), following
    return (point + weight * _divergence(*found)).clamp(0.0, 1.0), found


def _differences(lam: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the next row (h - 1, w) and column (h, w - 1)."""
    return lam[1:] - lam[:-1], lam[:, 1:] - lam[:, :-1]


def _divergence(down: Tensor, right: Tensor) -> Tensor:
    """Minus the transpose of `_differences`."""
    total = torch.nn.functional.pad(down, (0, 0, 0, 1)) - torch.nn.functional.pad(down, (0, 0, 1, 0))
    return total + torch.nn.functional.pad(right, (0, 1)) - torch.nn.functional.pad(right, (1, 0))
