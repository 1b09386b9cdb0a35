"""Runs side by side: differences of the same slices, and how sure their means are.

Over slices: the percentile bootstrap (Efron & Tibshirani 1993) of the mean difference, drawn in circular blocks of
neighbouring slices (Politis & Romano 1992), since neighbours are alike; volumes stay as they are. It says how much
other slices of these volumes would change the mean, not how other patients would. Over volumes: Student's t interval
of the volumes' differences, from three volumes on.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from MSLFusionLib.errors import InputError
from MSLFusionLib.evaluation.figures import HIGHER_IS_NEARER, NAMES
from MSLFusionLib.evaluation.measure import Measured

DRAWS = 2000
LEVEL = 0.95
_LEAST_SLICES, _LEAST_VOLUMES = 3, 3
_WHAT = ("image", "lambda", "target", "region")

CONVENTIONS: Mapping[str, str] = {
    "difference": "a run minus the first run, of the same slice or volume and the same image",
    "interval over slices": f"{LEVEL:.0%} percentile bootstrap of the mean, {DRAWS} draws of circular blocks of "
    "neighbouring slices (block length: cube root of their number), volumes kept; for other slices of these volumes",
    "interval over volumes": f"{LEVEL:.0%} Student t interval of the mean over volumes, from {_LEAST_VOLUMES} on",
    "nearer": "share of slices in which the run is nearer to the truth than the first run",
}


def check_pairs(measured: Sequence[Measured]) -> None:
    """Raise InputError where two runs of one name are of the same volume: they could not be told apart."""
    seen: dict[tuple[str, str], Measured] = {}
    for one in measured:
        before = seen.setdefault((one.run.name, one.truth_key), one)
        if before is not one:
            raise InputError(
                f"{before.run.folder} and {one.run.folder} are both called {one.run.name} and are of the same volume: "
                "name them, NAME=DIR."
            )


def differences(measured: Sequence[Measured], seed: int = 0) -> list[dict[str, Any]]:
    """A row for each run but the first, image, target, region and figure that both have.

    Rows hold "run", "against", what is compared, "figure", "slices", "mean", "low", "high" over slices (None for fewer
    than three), "nearer", and "volumes", "volume_mean", "volume_low", "volume_high". Slices in which one of the two has
    no finite figure are left out, which "slices" shows.
    """
    check_pairs(measured)
    names = list(dict.fromkeys(one.run.name for one in measured))
    by_slice = _grouped(measured, "slices")
    by_volume = _grouped(measured, "volumes")
    rows: list[dict[str, Any]] = []
    for name in names[1:]:
        for what, first in by_slice[names[0]].items():
            second = by_slice[name].get(what)
            if second is None:
                continue
            for figure in NAMES:
                found = _over_slices(_paired(first, second, figure), HIGHER_IS_NEARER[figure], seed)
                if found is None:
                    continue
                volumes = _paired(by_volume[names[0]][what], by_volume[name][what], figure)
                rows.append(
                    {
                        "run": name,
                        "against": names[0],
                        **dict(zip(_WHAT, what, strict=True)),
                        "figure": figure,
                        **found,
                        **_over_volumes([value for part in volumes.values() for value in part]),
                    }
                )
    return rows


def bootstrap_interval(
    groups: Sequence[Sequence[float]], seed: int = 0, draws: int = DRAWS, level: float = LEVEL
) -> tuple[float, float]:
    """Bounds of the mean of all values, drawn in circular blocks within each group of values in order."""
    rng = np.random.default_rng(seed)
    totals, count = np.zeros(draws), 0
    for values in groups:
        numbers = np.asarray(values, dtype=float)
        n = len(numbers)
        length = max(1, round(n ** (1 / 3)))
        starts = rng.integers(0, n, (draws, -(-n // length)))
        chosen = ((starts[..., None] + np.arange(length)) % n).reshape(draws, -1)[:, :n]
        totals += numbers[chosen].sum(axis=1)
        count += n
    low, high = np.quantile(totals / count, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of the mean of independent values, at least two."""
    numbers = np.asarray(values, dtype=float)
    reach = stats.t.ppf((1 + level) / 2, len(numbers) - 1) * numbers.std(ddof=1) / math.sqrt(len(numbers))
    return float(numbers.mean() - reach), float(numbers.mean() + reach)


def _over_slices(pairs: Mapping[str, list[float]], higher: bool, seed: int) -> dict[str, Any] | None:
    values = [value for part in pairs.values() for value in part]
    if not values:
        return None
    nearer = np.array(values) > 0 if higher else np.array(values) < 0
    low, high = bootstrap_interval(list(pairs.values()), seed) if len(values) >= _LEAST_SLICES else (None, None)
    return {
        "slices": len(values),
        "mean": float(np.mean(values)),
        "low": low,
        "high": high,
        "nearer": float(nearer.mean()),
    }


def _over_volumes(values: Sequence[float]) -> dict[str, Any]:
    low, high = t_interval(values) if len(values) >= _LEAST_VOLUMES else (None, None)
    mean = float(np.mean(values)) if values else None
    return {"volumes": len(values), "volume_mean": mean, "volume_low": low, "volume_high": high}


def _grouped(measured: Sequence[Measured], rows: str) -> dict[str, dict[tuple[Any, ...], dict[tuple[str, int], Any]]]:
    """Rows by run, by what was compared, and by volume and slice."""
    found: dict[str, dict[tuple[Any, ...], dict[tuple[str, int], Any]]] = defaultdict(lambda: defaultdict(dict))
    for one in measured:
        for row in getattr(one, rows):
            place = row["volume"], row.get("slice", -1)
            found[row["run"]][tuple(row[key] for key in _WHAT)][place] = row
    return found


def _paired(
    first: Mapping[tuple[str, int], Any], second: Mapping[tuple[str, int], Any], figure: str
) -> dict[str, list[float]]:
    """Second minus first of the places that both have, in order, by volume."""
    pairs: dict[str, list[float]] = defaultdict(list)
    for place in sorted(first):
        if place in second:
            a, b = first[place][figure], second[place][figure]
            if a is not None and b is not None and math.isfinite(a) and math.isfinite(b):
                pairs[place[0]].append(b - a)
    return dict(pairs)
