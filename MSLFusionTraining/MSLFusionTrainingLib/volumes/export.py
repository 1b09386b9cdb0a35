"""From a run on volumes to a model that anyone can use: weights, and a card that says what they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from MSLFusionLib import __version__
from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion import registry
from MSLFusionLib.fusion.interface import Pair
from MSLFusionLib.fusion.metrics import COPYING, evaluate
from MSLFusionLib.nets.dc2fusion import DC2Fusion
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.data import head_seeds
from MSLFusionTrainingLib.state import BEST, LAST, load_weights, read_facts
from MSLFusionTrainingLib.volumes.config import VolumeConfig
from MSLFusionTrainingLib.volumes.sets import Pairs, head_pairs, recorded, validation_pairs

BESIDE = ("alpha", "laplacian")
"""Classical methods that the card's measures stand beside."""


def exported(
    folder: Path, last: bool, seeds: Sequence[int], cache: Path | None, half: bool, made_by: str, job: Job = NO_JOB
) -> tuple[DC2Fusion, dict[str, Any]]:
    """The network of a run (its best state, or the last) and its card.

    It is measured on generated heads `seeds`, kept in `cache`, or without one on the volumes that the run was validated
    on. half: with weights rounded to 16 bits, as they will be stored. Raises InputError when the folder holds no run,
    a head was trained on, or the run's volumes are gone.
    """
    path = folder / (LAST if last or not (folder / BEST).exists() else BEST)
    facts = read_facts(path)
    config = VolumeConfig.from_dict(facts["config"])
    own = recorded(folder)
    if cache is not None:
        if own is None:
            seen = set(head_seeds(config)[0]) & set(seeds)
            if seen:
                raise InputError(f"Head {min(seen)} was in the training set: choose other --seeds.")
        pairs: Pairs = head_pairs(config, seeds, cache, job)
        data = f"generated heads {', '.join(map(str, seeds))}, never trained on"
    else:
        pairs, learned = validation_pairs(config, folder, job)
        data = "volumes it was trained on" if learned else "the run's validation volumes, never trained on"
    model = DC2Fusion(config.network())
    load_weights(path, model)
    if half:
        model = model.half().float()
    model.eval()
    metrics = {
        "data": data,
        "validation": facts["validation"],
        "fusion": _measured(model, pairs, job),
        "note": COPYING,
    }
    return model, card_of(model, config, own, int(facts["iteration"]), metrics, made_by)


def card_of(
    model: DC2Fusion,
    config: VolumeConfig,
    own: dict[str, Any] | None,
    iteration: int,
    metrics: dict[str, Any],
    made_by: str,
) -> dict[str, Any]:
    """The model card. own: the record of a person's own pairs (sets.recorded), where it learned from them."""
    if own is None:
        last = config.head_seed + config.heads - 1
        data = f"{config.heads} generated heads, seeds {config.head_seed} to {last}; no patient data"
        spacing, limits = list(config.spacing), "Trained on generated heads only. Not for diagnosis."
    else:
        used = [one for one in own["pairs"] if one["split"] == "train"]
        data = f"{len(used)} pairs of scans of {len({one['id'] for one in used})} patients"
        spacing = [float(mm) for mm in np.median([one["spacing"][::-1] for one in used], axis=0)]
        limits = "Not for diagnosis."
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
        "grid": {"any": True, "trained_on_mm": spacing},
        "sensors": {},
        "training": {
            "data": data,
            "iterations": iteration,
            "settings": config.to_dict() | {"data": Path(config.data).name},
            "command": made_by,
        },
        "metrics": metrics,
        "licence": "MIT",
        "limits": limits,
    }


def _measured(model: DC2Fusion, pairs: Pairs, job: Job) -> dict[str, dict[str, float]]:
    """Mean measures over the pairs, of the network and of the methods of BESIDE."""
    rows: dict[str, list[dict[str, float | None]]] = {name: [] for name in ("dc2fusion", *BESIDE)}
    whole = slice(None)
    for index in range(len(pairs)):
        volumes, spacing = pairs.box(index, (whole, whole, whole)), pairs.spacing(index)
        first, second = volumes.numpy()
        pair = Pair(first, second, spacing, (first > 0.05) | (second > 0.05))
        images = {name: registry.find(name).fuse(pair, None, job) for name in BESIDE}
        with torch.no_grad():
            batch = volumes[:, None, None]
            images["dc2fusion"] = model.fuse_blocks(batch[0], batch[1], job=job)[0, 0].clamp(0, 1).numpy()
        for name, image in images.items():
            rows[name].append(evaluate(first, second, image, spacing, pair.body, job=job))
    return {name: _mean(found) for name, found in rows.items()}


def _mean(rows: list[dict[str, float | None]]) -> dict[str, float]:
    keys = [key for key in rows[0] if all(row[key] is not None for row in rows)]
    return {key: sum(float(row[key] or 0.0) for row in rows) / len(rows) for key in keys}
