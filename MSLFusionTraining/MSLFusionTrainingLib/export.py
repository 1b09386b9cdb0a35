"""From a training run to a model that anyone can use: weights, and a card that says what they are."""

from pathlib import Path
from typing import Any

from MSLFusionLib import __version__
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.presets import preset_config
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.state import load_weights, read_facts
from MSLFusionTrainingLib.trainer import STATE, build_model


def trained_model(folder: Path) -> tuple[MSL, TrainConfig, int]:
    """The network of a run (its averaged weights), its settings and its iteration.

    Raises InputError when the folder holds no run.
    """
    facts = read_facts(folder / STATE)
    config = TrainConfig.from_dict(facts["config"])
    model = build_model(config)
    load_weights(folder / STATE, model)
    return model.eval(), config, int(facts["iteration"])


def make_card(
    model: MSL, config: TrainConfig, iteration: int, quality: dict[str, Any], seeds: list[int], made_by: str
) -> dict[str, Any]:
    """The model card: what the network is, what it was trained on and how good it was on heads it never saw."""
    return {
        "name": config.name,
        "version": __version__,
        "architecture": "msl",
        "preset": config.preset,
        "config": model.config.to_dict(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "modalities": list(model.modalities),
        "contrasts": {"ct": "CT", "mr": config.mr.upper()},
        "normalisation": {"ct": "hu_to_network", "mr": "percentiles 0.5 to 99.5 of the body mask"},
        "grid": {"size": [config.size, config.size], "pixel_mm": config.pixel_mm},
        "sensors": {
            "views": [min(config.views), max(config.views)],
            "acceleration": [min(config.accelerations), max(config.accelerations)],
            "masks": list(config.masks),
            "scan": "full",
            "noise": "Poisson counts and complex Gaussian, half of the batches" if config.photons else "none",
        },
        "training": {
            "data": f"{config.heads} generated heads, seeds {config.head_seed} to "
            f"{config.head_seed + config.heads - 1}, {config.slices} slices each; no patient data",
            "iterations": iteration,
            "settings": config.to_dict(),
            "command": made_by,
        },
        "metrics": {"data": f"generated heads {', '.join(map(str, seeds))}, never trained on", **quality},
        "licence": "MIT",
        "limits": "Trained on generated heads only. Not for diagnosis.",
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
