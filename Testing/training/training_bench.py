"""Settings and small tools that the tests of the training share."""

from dataclasses import replace
from pathlib import Path

import torch

from MSLFusionTrainingLib.config import TrainConfig, training_preset
from MSLFusionTrainingLib.data import SliceSet
from MSLFusionTrainingLib.trainer import Trainer

TINY = {"width": 4, "token_dim": 16, "heads": 2, "head_dim": 8, "mlp_dim": 16, "embedding": 8}
CLEAN = {
    **{"views": (64,), "accelerations": (4.0,), "masks": ("random",), "photons": 0.0, "kspace_noise": 0.0},
    **{"augment": False, "pad": 0, "affine": 0.0, "elastic": 0.0, "invert": 0.0},
}
"""No randomness in what is measured."""


def config(preset: str = "msl-lite", **changes: object) -> TrainConfig:
    """A tiny network on slices of 64 x 64 pixels of 4 mm, six iterations."""
    settings = {"model": TINY, "size": 64, "pixel_mm": 4.0, "iterations": 6, "batch": 2, "heads": 1}
    settings |= {"checkpoint_every": 2, "validate_every": 100, "validation_slices": 2, "log_every": 2}
    return replace(training_preset(preset), **(settings | {"crop": 48 if preset == "msl-lite" else 0} | changes))


def trainer(settings: TrainConfig, slices: SliceSet, folder: Path) -> Trainer:
    """A run that trains on and is validated with the same slices."""
    return Trainer(settings, slices, slices, folder)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two networks hold the same numbers, bit for bit."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
