"""A training that takes seconds: settings of a tiny network, and heads that are noise instead of generated ones."""

from pathlib import Path

import numpy as np

from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.data import _path

TOML = """
preset = "msl-lite"
name = "tiny"
size = 64
pixel_mm = 4.0
crop = 48
batch = 2
heads = 1
validation_heads = 1
slices = 4
validation_slices = 2
log_every = 1
[model]
width = 4
token_dim = 16
heads = 2
head_dim = 8
mlp_dim = 16
embedding = 8
"""


def write_settings(path: Path, **changes: object) -> Path:
    """The TOML file, with some numbers changed or added."""
    path.write_text("".join(f"{name} = {value}\n" for name, value in changes.items()) + TOML)
    return path


def fake_heads(settings: Path, cache: Path) -> Path:
    """The heads that the settings ask for, in a folder for --cache."""
    config = TrainConfig.from_file(settings)
    cache.mkdir()
    for seed in range(config.head_seed, config.head_seed + config.heads + config.validation_heads):
        shape = config.slices, len(config.modalities), config.size, config.size
        values = np.random.default_rng(seed).integers(0, 2**16, shape, np.uint16)
        np.savez(_path(config, seed, cache), slices=values)
    return cache
