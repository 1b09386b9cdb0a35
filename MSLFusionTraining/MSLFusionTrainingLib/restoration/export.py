"""From a run to a model that anyone can use: weights, and a card that says what they are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from MSLFusionLib import __version__
from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.registry import build
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.data import head_seeds, load_heads
from MSLFusionTrainingLib.restoration.config import RestorationConfig
from MSLFusionTrainingLib.restoration.trainer import RestorationTrainer
from MSLFusionTrainingLib.state import BEST, LAST, load_weights, read_facts


def exported(
    folder: Path,
    last: bool,
    seeds: Sequence[int],
    slices: int,
    cache: Path | None,
    half: bool,
    made_by: str,
    job: Job = NO_JOB,
) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a run (its best state, or the last) and its card.

    cache: folder of generated heads; with it the card's figures are those of the heads `seeds`, with `slices` each,
    without it those of the run's last validation. half: weights rounded to 16 bits, as they will be stored. Raises
    InputError when the folder holds no run, a head was trained on, or nothing was ever measured.
    """
    path = folder / (LAST if last or not (folder / BEST).exists() else BEST)
    facts = read_facts(path)
    config = RestorationConfig.from_dict(facts["config"])
    model = build(config.network, config.architecture().to_dict())
    load_weights(path, model)
    if half:
        model = model.half().float()
    model.eval()
    if cache is None:
        metrics = dict(facts["validation"])
        if not metrics:
            raise InputError(f"{path} was never validated: give --cache DIR to measure it on generated heads.")
        measured_on = f"the run's validation volumes after {metrics.pop('iteration')} iterations, never trained on"
    else:
        metrics = measured(model, config, seeds, slices, cache, job)
        measured_on = f"generated heads {', '.join(map(str, seeds))}, never trained on"
    return model, card_of(model, config, int(facts["iteration"]), {"data": measured_on, **metrics}, made_by)


@torch.no_grad()
def measured(
    model: nn.Module, config: RestorationConfig, seeds: Sequence[int], slices: int, cache: Path, job: Job = NO_JOB
) -> dict[str, Any]:
    """Figures on generated heads, see RestorationTrainer.measure; InputError when one was trained on."""
    seen = set(head_seeds(config)[0]) & set(seeds)
    if seen and not (config.data or config.pairs):
        raise InputError(f"Head {min(seen)} was in the training set: choose other --seeds.")
    config = replace(config, data="", pairs="", slices=slices, validation_slices=slices)
    volumes = [load_heads(config, [seed], cache, job=job) for seed in seeds]
    trainer = RestorationTrainer(config, volumes[0], volumes, cache)
    return trainer.measure(model, job)[0]


def card_of(
    model: nn.Module, config: RestorationConfig, iteration: int, metrics: dict[str, Any], made_by: str
) -> dict[str, Any]:
    """The model card."""
    auxiliary, target = config.contrasts
    generated = not (config.data or config.pairs)
    return {
        "name": config.name,
        "version": __version__,
        "architecture": config.network,
        "preset": config.preset,
        "config": config.architecture().to_dict(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "modalities": [auxiliary, target],
        "contrasts": {"auxiliary": auxiliary.upper(), "target": target.upper()},
        "scale": config.scale,
        "normalisation": dict.fromkeys(config.contrasts, "mean and standard deviation of each low-resolution slice"),
        "grid": {"any": True, "size": [config.size, config.size], "pixel_mm": config.pixel_mm},
        "sensors": {
            "acceleration": [min(config.accelerations), max(config.accelerations)],
            "masks": list(config.masks),
            "noise": {"kspace_sigma": config.kspace_noise},
        },
        "training": {
            "data": _data(config),
            "iterations": iteration,
            "settings": config.to_dict() | {name: Path(getattr(config, name)).name for name in ("data", "pairs")},
            "command": made_by,
        },
        "metrics": metrics,
        "licence": "MIT",
        "limits": ("Trained on generated heads only. " if generated else "") + "Not for diagnosis.",
    }


def _data(config: RestorationConfig) -> str:
    if config.data:
        return "a prepared set of two MR contrasts"
    if config.pairs:
        return "pairs of fastMRI volumes"
    last = config.head_seed + config.heads - 1
    return f"{config.heads} generated heads, seeds {config.head_seed} to {last}; no patient data"
