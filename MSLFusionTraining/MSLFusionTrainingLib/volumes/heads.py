"""Generated heads as pairs of volumes: made once, kept in a folder, read into memory as (heads, 2, z, y, x)."""

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion.prepare import prepare
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.phantom import generate_head
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.data import make_heads
from MSLFusionTrainingLib.prepare.settings import kind_of
from MSLFusionTrainingLib.volumes.config import VolumeConfig


def load_heads(config: VolumeConfig, seeds: Sequence[int], cache: Path, workers: int = 1, job: Job = NO_JOB) -> Tensor:
    """Pairs of some heads, float16 (heads, 2, z, y, x) in [0, 1], scaled as `mslfusion fuse` scales them.

    Heads that the cache folder lacks are generated. Raises InputError when there are no seeds, Cancelled.
    """
    if not seeds:
        raise InputError("No heads to load: ask for at least one.")
    cache.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in seeds if not _path(config, seed, cache).exists()]
    make_heads(partial(_make, config, cache), missing, workers, job)
    return torch.stack([_read(_path(config, seed, cache)) for seed in seeds])


def _make(config: VolumeConfig, cache: Path, seed: int, job: Job) -> None:
    head = generate_head(seed, config.size, config.spacing, job=job)
    volumes = {"ct": head.ct, "t1": head.t1, "t2": head.t2, "pet": head.pet}
    first, second = (volumes[name] for name in config.contrasts)
    kinds = kind_of(config.contrasts[0]), kind_of(config.contrasts[1])
    pair = prepare(first, second, kinds, job).pair
    stack = np.round(np.stack([pair.first, pair.second]).clip(0, 1) * 65535).astype(np.uint16)
    with atomic_path(_path(config, seed, cache)) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, pair=stack)


def _read(path: Path) -> Tensor:
    with np.load(path, allow_pickle=False) as data:
        return torch.from_numpy((data["pair"].astype(np.float32) / 65535).astype(np.float16))


def _path(config: VolumeConfig, seed: int, cache: Path) -> Path:
    """One file per head and per way of showing it."""
    what = {"contrasts": config.contrasts, "size": config.size, "spacing": config.spacing}
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return cache / f"pair-{seed:05d}-{key}.npz"
