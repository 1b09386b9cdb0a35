"""From a run on volumes to a model that anyone can use: weights, and a card that says what they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from MSLFusionLib import __version__
from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion import registry
from MSLFusionLib.fusion.interface import Pair
from MSLFusionLib.fusion.metrics import COPYING, evaluate
from MSLFusionLib.nets.dc2fusion import DC2Fusion
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.state import BEST, LAST, load_weights, read_facts
from MSLFusionTrainingLib.volumes.config import VolumeConfig
from MSLFusionTrainingLib.volumes.heads import head_seeds, load_heads

BESIDE = ("alpha", "laplacian")
"""Classical methods that the card's measures stand beside."""


def exported(
    folder: Path, last: bool, seeds: Sequence[int], cache: Path, half: bool, made_by: str, job: Job = NO_JOB
) -> tuple[DC2Fusion, dict[str, Any]]:
    """The network of a run (its best state, or the last) and its card, measured on generated heads `seeds`.

    half: measured with weights rounded to 16 bits, as they will be stored. Raises InputError when the folder holds
    no run or a head was trained on.
    """
    path = folder / (LAST if last or not (folder / BEST).exists() else BEST)
    facts = read_facts(path)
    config = VolumeConfig.from_dict(facts["config"])
    seen = set(head_seeds(config)[0]) & set(seeds)
    if seen:
        raise InputError(f"Head {min(seen)} was in the training set: choose other --seeds.")
    model = DC2Fusion(config.network())
    load_weights(path, model)
    if half:
        model = model.half().float()
    model.eval()
    metrics = {
        "data": f"generated heads {', '.join(map(str, seeds))}, never trained on",
        "validation": facts["validation"],
        "fusion": _measured(model, config, seeds, cache, job),
        "note": COPYING,
    }
    return model, card_of(model, config, int(facts["iteration"]), metrics, made_by)


def card_of(
    model: DC2Fusion, config: VolumeConfig, iteration: int, metrics: dict[str, Any], made_by: str
) -> dict[str, Any]:
    """The model card."""
    last = config.head_seed + config.heads - 1
    return {
        "name": config.name,
        "version": __version__,
        "architecture": "dc2fusion",
        "preset": config.preset,
        "config": model.config.to_dict(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "modalities": list(config.modalities),
        "contrasts": {role: name.upper() for role, name in zip(config.modalities, config.contrasts, strict=True)},
        "normalisation": {
            role: "hu_to_network" if role == "ct" else "percentiles 0.5 to 99.5 of the body mask"
            for role in config.modalities
        },
        "grid": {"any": True, "trained_on_mm": list(config.spacing)},
        "sensors": {},
        "training": {
            "data": f"{config.heads} generated heads, seeds {config.head_seed} to {last}; no patient data",
            "iterations": iteration,
            "settings": config.to_dict(),
            "command": made_by,
        },
        "metrics": metrics,
        "licence": "MIT",
        "limits": "Trained on generated heads only. Not for diagnosis.",
    }


def _measured(
    model: DC2Fusion, config: VolumeConfig, seeds: Sequence[int], cache: Path, job: Job
) -> dict[str, dict[str, float]]:
    """Mean measures over the heads, of the network and of the methods of BESIDE."""
    rows: dict[str, list[dict[str, float | None]]] = {name: [] for name in ("dc2fusion", *BESIDE)}
    spacing = tuple(reversed(config.spacing))
    for volumes in load_heads(config, seeds, cache, job):
        first, second = volumes.float().numpy()
        pair = Pair(first, second, spacing, (first > 0.05) | (second > 0.05))
        images = {name: registry.find(name).fuse(pair, None, job) for name in BESIDE}
        with torch.no_grad():
            batch = volumes.float()[:, None, None]
            images["dc2fusion"] = model.fuse_blocks(batch[0], batch[1], job=job)[0, 0].clamp(0, 1).numpy()
        for name, image in images.items():
            rows[name].append(evaluate(first, second, image, spacing, pair.body, job=job))
    return {name: _mean(found) for name, found in rows.items()}


def _mean(rows: list[dict[str, float | None]]) -> dict[str, float]:
    keys = [key for key in rows[0] if all(row[key] is not None for row in rows)]
    return {key: sum(float(row[key] or 0.0) for row in rows) / len(rows) for key in keys}
