"""Generated heads as training slices: made once, kept in a folder, read into memory.

Every head is one .npz of (slices, 2, H, W) uint16: CT on the network's scale and MR scaled by percentiles, both
[0, 1] times 65535. Validation heads have the seeds after the training heads and never meet the optimiser.
"""

import hashlib
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.volumes import atomic_path
from MSLFusionLib.phantom import head_slices
from MSLFusionLib.physics.units import hu_to_network
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.config import TrainConfig

SPAN_MM = (-75.0, 95.0)
"""Positions of the slices of a head, from the skull base to above the vertex."""
LEAST_BODY = 0.03
"""Share of a slice that must show the head; emptier slices are left out."""


@dataclass(frozen=True)
class SliceSet:
    """Slices in memory: (N, 2, H, W) uint16, CT first."""

    slices: Tensor

    def __len__(self) -> int:
        return self.slices.shape[0]

    def batch(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """(CT, MR) of some slices, each (n, 1, H, W) float32 in [0, 1]."""
        pair = self.slices[indices].to(device).to(torch.float32) / 65535
        return pair[:, :1], pair[:, 1:]


def head_seeds(config: TrainConfig) -> tuple[list[int], list[int]]:
    """Seeds of the training heads and of the validation heads."""
    train = range(config.head_seed, config.head_seed + config.heads)
    return list(train), list(range(train.stop, train.stop + config.validation_heads))


def load_heads(config: TrainConfig, seeds: list[int], cache: Path, workers: int = 1, job: Job = NO_JOB) -> SliceSet:
    """The slices of some heads, generating those that the cache folder lacks.

    Raises InputError when there are no seeds; Cancelled between two heads.
    """
    if not seeds:
        raise InputError("No heads to load: ask for at least one.")
    cache.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in seeds if not _path(config, seed, cache).exists()]
    if workers > 1 and len(missing) > 1:
        with ProcessPoolExecutor(workers) as pool:
            pending = [pool.submit(_make, config, seed, cache) for seed in missing]
            for done, _ in enumerate(as_completed(pending), 1):
                job.step("generate heads", done, len(missing))
    else:
        for done, seed in enumerate(missing):
            job.step("generate heads", done, len(missing))
            _make(config, seed, cache)
    return SliceSet(torch.cat([_read(_path(config, seed, cache)) for seed in seeds]))


def _make(config: TrainConfig, seed: int, cache: Path) -> None:
    rng = np.random.default_rng(seed)
    low, high = SPAN_MM
    step = (high - low) / config.slices
    positions = low + step * (np.arange(config.slices) + rng.uniform(0, 1, config.slices))
    head = head_slices(seed, list(positions), (config.size, config.size), config.pixel_mm)
    mr = head[config.mr].astype(np.float32)
    body = mr > 0.05 * mr.max()
    bottom, top = np.percentile(mr[body], (0.5, 99.5))
    pair = np.stack([hu_to_network(head["ct"].astype(np.float32)), (mr - bottom) / (top - bottom)], 1)
    pair = pair[body.mean((1, 2)) >= LEAST_BODY]
    with atomic_path(_path(config, seed, cache)) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, slices=np.round(pair.clip(0, 1) * 65535).astype(np.uint16))


def _read(path: Path) -> Tensor:
    with np.load(path, allow_pickle=False) as data:
        return torch.from_numpy(data["slices"])


def _path(config: TrainConfig, seed: int, cache: Path) -> Path:
    """One file per head and per way of slicing it."""
    what: dict[str, Any] = {"size": config.size, "pixel": config.pixel_mm, "slices": config.slices, "mr": config.mr}
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return cache / f"head-{seed:05d}-{key}.npz"
