"""From a training run to a model that anyone can use: weights, and a card that says what they are."""

import copy
from pathlib import Path
from typing import Any

from MSLFusionLib import __version__
from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.presets import preset_config
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.quality import probe_figures
from MSLFusionTrainingLib.state import BEST, LAST, load_extra, load_weights, read_facts
from MSLFusionTrainingLib.trainer import build_model

PSNR_TOLERANCE, HALF_TOLERANCE = 0.05, 0.2
"""dB by which the stored slices may come out differently: other processors, and 16-bit weights."""


def checkpoint_of(folder: Path, last: bool = False) -> Path:
    """The best checkpoint of a run, or its last one where that is asked for or there is no other.

    Raises InputError when the folder holds no run.
    """
    best = folder / BEST
    if best.exists() and not last:
        return best
    if not (folder / LAST).exists():
        raise InputError(f"{folder} holds no training run: give the --output folder of 'mslfusion train'.")
    return folder / LAST


def trained_model(checkpoint: Path) -> tuple[MSL, TrainConfig, dict[str, Any]]:
    """The network of a checkpoint (its averaged weights where there are any), its settings and its facts."""
    facts = read_facts(checkpoint)
    config = TrainConfig.from_dict(facts["config"])
    model = build_model(config)
    load_weights(checkpoint, model)
    return model.eval(), config, facts


def verify(model: MSL, checkpoint: Path, config: TrainConfig, facts: dict[str, Any], half: bool = False) -> None:
    """Run the network on the three slices stored with the checkpoint and compare with what was recorded.

    half: with weights rounded to 16 bits. Raises InputError when a PSNR differs by more than PSNR_TOLERANCE
    (HALF_TOLERANCE) or the checkpoint has no such slices.
    """
    stored, recorded = load_extra(checkpoint), facts.get("probe")
    if not recorded or set(stored) != {"truths", "sensors"}:
        raise InputError(f"{checkpoint} holds no validation slices to check it by: train on for one checkpoint more.")
    if half:
        model = copy.deepcopy(model).half().float()
    figures = probe_figures(model, stored, config.roles)
    allowed = HALF_TOLERANCE if half else PSNR_TOLERANCE
    for role, found in figures.items():
        before, now = recorded[role]["psnr"], found["psnr"]
        if not abs(now - before) <= allowed:
            kind = " with 16-bit weights" if half else ""
            raise InputError(
                f"{checkpoint} does not reproduce its recorded quality{kind}: {role.upper()} PSNR on its three stored "
                f"slices is {now:.2f} dB instead of {before:.2f} dB. It is not exported."
            )


def make_card(
    model: MSL, config: TrainConfig, iteration: int, quality: dict[str, Any], measured_on: str, made_by: str
) -> dict[str, Any]:
    """The model card: what the network is, what it was trained on and how good it was on what it never saw.

    quality: as quality.evaluate gives it, on `measured_on`.
    """
    roles, ends = config.roles, config.measured
    noisy = [config.photons and "fan-beam" in ends, config.kspace_noise and "fourier" in ends, config.image_noise]
    heads = (
        f"{config.heads} generated heads, seeds {config.head_seed} to {config.head_seed + config.heads - 1}, "
        f"{config.slices} slices each; no patient data"
    )
    limits = "Not for diagnosis." if config.data else "Trained on generated heads only. Not for diagnosis."
    sensors: dict[str, Any] = {"front_ends": dict(zip(roles, ends, strict=True))}
    if "fan-beam" in ends:
        sensors |= {"views": [min(config.views), max(config.views)], "scan": "full"}
    if "fourier" in ends:
        sensors |= {
            "acceleration": [min(config.accelerations), max(config.accelerations)],
            "masks": list(config.masks),
        }
    sensors["noise"] = "Poisson counts and complex Gaussian, half of the slices" if any(noisy) else "none"
    if config.misregistration or config.misregistration_degrees:
        sensors["misregistration"] = {
            "pixels": config.misregistration,
            "degrees": config.misregistration_degrees,
            "of": roles[0],
        }
    return {
        "name": config.name,
        "version": __version__,
        "architecture": "msl",
        "preset": config.preset,
        "config": model.config.to_dict(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "modalities": list(model.modalities),
        "contrasts": {role: name.upper() for role, name in zip(roles, config.modalities, strict=True)},
        "normalisation": {
            role: "hu_to_network" if name == "ct" else "percentiles 0.5 to 99.5 of the body mask"
            for role, name in zip(roles, config.modalities, strict=True)
        },
        "grid": {"size": [config.size, config.size], "pixel_mm": config.pixel_mm},
        "sensors": sensors,
        "training": {
            "data": f"the training set {Path(config.data).name}" if config.data else heads,
            "iterations": iteration,
            "settings": config.to_dict() | {"data": Path(config.data).name},
            "command": made_by,
        },
        "metrics": {"data": measured_on, **quality},
        "licence": "MIT",
        "limits": limits,
    }


def card_config(card: dict[str, Any]) -> TrainConfig:
    """The training settings in a card, or what the card's grid and sensors say where it has none."""
    settings = card.get("training", {}).get("settings")
    if settings:
        return TrainConfig.from_dict(settings)
    preset_config(card["preset"])
    sensors = card["sensors"]
    return TrainConfig(
        preset=card["preset"],
        size=card["grid"]["size"][0],
        pixel_mm=card["grid"]["pixel_mm"],
        views=tuple(sensors["views"][:1]),
        accelerations=tuple(sensors["acceleration"][:1]),
        heads=1,
        head_seed=0,
    )
