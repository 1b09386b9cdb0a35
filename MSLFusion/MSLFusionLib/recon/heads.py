"""Slices of generated heads as a network sees them, to learn a model's statistics from."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.phantom import head_slices
from MSLFusionLib.physics.units import hu_to_network

SPAN_MM = (-75.0, 95.0)
"""Positions of the slices, from the skull base to above the vertex."""
UNSEEN = 500_000
"""First seed of heads that no model is trained on and none is measured on: they teach what errors to expect."""
_LEAST_BODY = 0.03
_LOW, _HIGH = 0.5, 99.5
_FEWEST = 4
"""Slices of a head: the MR is scaled by what they show together, as a volume is."""
_ANY = range(1000, 1040)
_MOST = 1000


def familiar_heads(card: Mapping[str, Any]) -> Sequence[int]:
    """Seeds of the heads that a model was trained on, by its card; of some heads where the card does not tell."""
    training = card.get("training")
    settings = training.get("settings") if isinstance(training, Mapping) else None
    if not isinstance(settings, Mapping) or settings.get("data"):
        return _ANY
    first, count = settings.get("head_seed"), settings.get("heads")
    if isinstance(first, int) and isinstance(count, int) and first >= 0 and count >= 1:
        return range(first, first + min(count, _MOST))
    return _ANY


def slices_of(
    seeds: Sequence[int], count: int, size: tuple[int, int], pixel_mm: float, contrast: str = "t1"
) -> Iterator[np.ndarray]:
    """`count` slices (2, H, W), CT and MR, float32 in [0, 1], spread over the heads of `seeds` and over their height.

    contrast: of the MR, "t1" or "t2". Raises InputError for another.
    """
    random = np.random.default_rng([int(seeds[0]), count])
    each = max(_FEWEST, math.ceil(count / len(seeds)))
    made, number = 0, 0
    while made < count:
        for one in _of_head(int(seeds[number % len(seeds)]), each, random, size, pixel_mm, contrast)[: count - made]:
            yield one
            made += 1
        number += 1


def one_of_each(
    seeds: Sequence[int], size: tuple[int, int], pixel_mm: float, contrast: str = "t1"
) -> Iterator[np.ndarray]:
    """The same of one slice of each head, at any height."""
    random = np.random.default_rng([int(seeds[0]), len(seeds)])
    for seed in seeds:
        found = _of_head(int(seed), _FEWEST, random, size, pixel_mm, contrast)
        yield found[int(random.integers(len(found)))]


def _of_head(
    seed: int, count: int, random: np.random.Generator, size: tuple[int, int], pixel_mm: float, contrast: str
) -> list[np.ndarray]:
    """Of `count` slices (2, H, W) of a head, evenly spread, those that show enough of it."""
    if contrast not in ("t1", "t2"):
        raise InputError(f"Generated heads have no '{contrast}' as MR: choose a model of t1 or t2.")
    step = (SPAN_MM[1] - SPAN_MM[0]) / count
    places = SPAN_MM[0] + step * (np.arange(count) + random.uniform(0, 1, count))
    head = head_slices(seed, places.tolist(), (size[1], size[0]), pixel_mm)
    mr = head[contrast].astype(np.float32)
    body = mr > 0.05 * mr.max()
    low, high = np.percentile(mr[body], (_LOW, _HIGH))
    mr = ((mr - low) / (high - low)).astype(np.float32)
    return [
        np.stack([hu_to_network(head["ct"][one].astype(np.float32)), mr[one]]).clip(0.0, 1.0)
        for one in np.flatnonzero(body.mean((1, 2)) >= _LEAST_BODY)
    ]
