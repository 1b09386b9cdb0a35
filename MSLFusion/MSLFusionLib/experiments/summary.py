"""Robustness runs in short: means of each method under each condition, and how far the network's is ahead."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from MSLFusionLib.evaluation.compare import bootstrap_interval
from MSLFusionLib.experiments.robustness import MSL, Cell

NAMES = ("mae", "psnr", "ssim", "mi", "nmi")


def means(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """A row for each condition, method, lambda and target: means over all slices of all volumes, and their number."""
    return [
        {**about, "slices": len(rows), **{name: float(np.mean([row[name] for row in rows])) for name in NAMES}}
        for about, rows in _grouped(cells)
    ]


def leads(cells: Sequence[Cell], seed: int = 0) -> list[dict[str, Any]]:
    """The network's images minus each other method's, slice by slice: mean, 95 % interval, worst, slices ahead.

    Of PSNR [dB] and SSIM, at the same condition, lambda and target. The interval is evaluation.compare's bootstrap over
    slices, None for fewer than three.
    """
    grouped = {tuple(about.values()): (about, rows) for about, rows in _grouped(cells)}
    found = []
    for about, rows in grouped.values():
        own = grouped.get((about["group"], about["condition"], MSL, about["lambda"], about["target"]))
        if own is None or about["method"] == MSL:
            continue
        ours = {(row["volume"], row["slice"]): row for row in own[1]}
        row: dict[str, Any] = {**about, "slices": len(rows)}
        for name in ("psnr", "ssim"):
            parts: dict[str, list[float]] = defaultdict(list)
            for other in rows:
                parts[other["volume"]].append(ours[other["volume"], other["slice"]][name] - other[name])
            values = [value for part in parts.values() for value in part]
            low, high = bootstrap_interval(list(parts.values()), seed) if len(values) >= 3 else (None, None)
            row |= {name: float(np.mean(values)), f"{name}_low": low, f"{name}_high": high,
                    f"{name}_worst": min(values), f"{name}_ahead": sum(value > 0 for value in values)}  # fmt: skip
        found.append(row)
    return found


def _grouped(cells: Sequence[Cell]) -> list[tuple[dict[str, Any], list[Mapping[str, Any]]]]:
    grouped: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for cell in cells:
        for row in cell.rows:
            key = cell.condition.group, cell.condition.name, row["method"], row["lambda"], row["target"]
            grouped[key].append({**row, "volume": cell.volume})
    names = ("group", "condition", "method", "lambda", "target")
    return [(dict(zip(names, key, strict=True)), rows) for key, rows in grouped.items()]
