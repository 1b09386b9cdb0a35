"""Generated heads as training slices: made once, kept in a folder, read into memory.

Every head is one .npz of (slices, n, H, W) uint16: CT on the network's scale and the others scaled by percentiles,
all [0, 1] times 65535. Validation heads have the seeds after the training heads and never meet the optimiser.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.volumes import atomic_path
from MSLFusionLib.phantom import head_slices
from MSLFusionLib.physics.units import hu_to_network
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.config import CONTRASTS

SPAN_MM = (-75.0, 95.0)
"""Positions of the slices of a head, from the skull base to above the vertex."""
LEAST_BODY = 0.03
"""Share of a slice that must show the head; emptier slices are left out."""


class HeadSeeds(Protocol):
    """Which heads a training learns from and which it is validated on; see config.TrainConfig."""

    @property
    def heads(self) -> int: ...
    @property
    def head_seed(self) -> int: ...
    @property
    def validation_heads(self) -> int: ...


class HeadSettings(HeadSeeds, Protocol):
    """The settings of a training on slices that generated heads depend on; see config.TrainConfig."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Contrasts that the slices show."""

    @property
    def slices(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def pixel_mm(self) -> float: ...


class Slices(Protocol):
    """Slices to train on or to measure by, wherever they lie: SliceSet, or prepared.StoredSlices."""

    @property
    def nbytes(self) -> int:
        """Their size in memory."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, device: torch.device) -> Tensor:
        """Some slices with all modalities, (len(indices), n, H, W) float32 in [0, 1]."""

    def to(self, device: torch.device) -> "Slices":
        """The same slices, held in the memory of a device where that is possible."""


@dataclass(frozen=True)
class SliceSet:
    """Slices in memory: (N, n, H, W) uint16, modalities in the configuration's order."""

    slices: Tensor

    @property
    def nbytes(self) -> int:
        """Their size in memory."""
        return self.slices.nbytes

    def __len__(self) -> int:
        return self.slices.shape[0]

    def batch(self, indices: Tensor, device: torch.device) -> Tensor:
        """Some slices with all modalities, (len(indices), n, H, W) float32 in [0, 1]."""
        # torch picks signed numbers everywhere, unsigned ones not on every device.
        kept = self.slices.view(torch.int16)
        picked = kept[indices.to(kept.device)].to(device, non_blocking=True)
        return picked.view(torch.uint16).to(torch.float32) / 65535

    def to(self, device: torch.device) -> "SliceSet":
        """The same slices, held in the memory of a device."""
        return SliceSet(self.slices.to(device))


def head_seeds(config: HeadSeeds) -> tuple[list[int], list[int]]:
    """Seeds of the training heads and of the validation heads."""
    train = range(config.head_seed, config.head_seed + config.heads)
    return list(train), list(range(train.stop, train.stop + config.validation_heads))


def load_heads(config: HeadSettings, seeds: list[int], cache: Path, workers: int = 1, job: Job = NO_JOB) -> SliceSet:
    """The slices of some heads, generating those that the cache folder lacks.

    Raises InputError when there are no seeds; Cancelled between two heads.
    """
    if not seeds:
        raise InputError("No heads to load: ask for at least one.")
    unknown = [name for name in config.modalities if name not in CONTRASTS]
    if unknown:
        raise InputError(f"Generated heads have no '{unknown[0]}': choose among {', '.join(CONTRASTS)}.")
    cache.mkdir(parents=True, exist_ok=True)
    missing = [seed for seed in seeds if not _path(config, seed, cache).exists()]
    make_heads(partial(_make, config, cache), missing, workers, job)
    return SliceSet(torch.cat([_read(_path(config, seed, cache)) for seed in seeds]))


def make_heads(make: Callable[[int, Job], None], seeds: Sequence[int], workers: int, job: Job) -> None:
    """Call make(seed, job) for each head, in so many processes, whose job is nobody's.

    make: a function that other processes can import, or a partial one. Raises Cancelled.
    """
    if workers > 1 and len(seeds) > 1:
        with ProcessPoolExecutor(workers) as pool:
            pending = [pool.submit(make, seed, NO_JOB) for seed in seeds]
            for done, future in enumerate(as_completed(pending), 1):
                future.result()
                job.step("generate heads", done, len(seeds))
    else:
        for done, seed in enumerate(seeds):
            job.step("generate heads", done, len(seeds))
            make(seed, Job(cancelled=job.cancelled))


def _make(config: HeadSettings, cache: Path, seed: int, job: Job) -> None:
    job.check()
    rng = np.random.default_rng(seed)
    low, high = SPAN_MM
    step = (high - low) / config.slices
    positions = low + step * (np.arange(config.slices) + rng.uniform(0, 1, config.slices))
    head = head_slices(seed, list(positions), (config.size, config.size), config.pixel_mm)
    # The body is where there is signal in a modality with no air inside, MR before PET.
    others = [name for name in config.modalities if name != "ct"]
    visible = head[others[0]].astype(np.float32)
    body = visible > 0.05 * visible.max()
    channels = [
        hu_to_network(head[name].astype(np.float32)) if name == "ct" else _scaled(head[name], body)
        for name in config.modalities
    ]
    stack = np.stack(channels, 1)[body.mean((1, 2)) >= LEAST_BODY]
    with atomic_path(_path(config, seed, cache)) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, slices=np.round(stack.clip(0, 1) * 65535).astype(np.uint16))


def _scaled(image: np.ndarray, body: np.ndarray) -> np.ndarray:
    bottom, top = np.percentile(image[body], (0.5, 99.5))
    scaled: np.ndarray = (image.astype(np.float32) - bottom) / (top - bottom)
    return scaled


def _read(path: Path) -> Tensor:
    with np.load(path, allow_pickle=False) as data:
        return torch.from_numpy(data["slices"])


def _path(config: HeadSettings, seed: int, cache: Path) -> Path:
    """One file per head and per way of slicing it."""
    what: dict[str, Any] = {"size": config.size, "pixel": config.pixel_mm, "slices": config.slices}
    what["modalities"] = config.modalities
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return cache / f"head-{seed:05d}-{key}.npz"
