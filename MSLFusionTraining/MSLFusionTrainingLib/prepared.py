"""A prepared training set as the trainer's slices: in memory where it fits, read from the file where it does not."""

import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.data import Slices, SliceSet
from MSLFusionTrainingLib.prepare.store import SCALE, StoredSet, opened, read_set

RECORD = "data.json"
_MEMORY_SHARE = 0.5
_UNKNOWN_MEMORY = 8 * 2**30


class StoredSlices:
    """The slices of some patients, read from the file whenever a batch asks for them.

    The same interface as SliceSet. Each process opens the file for itself, so that a set handed to a new process works
    there. Raises InputError when the file is gone or damaged.
    """

    def __init__(self, stored: StoredSet, patients: list[str]) -> None:
        self.path, self._size, self._channels = stored.path, stored.size, len(stored.modalities)
        counts = {one.id: one.slices for one in stored.patients}
        self._where = [(name, number) for name in patients for number in range(counts[name])]
        self._opened: tuple[int, h5py.File] | None = None

    def __len__(self) -> int:
        return len(self._where)

    @property
    def nbytes(self) -> int:
        """The size that they would have in memory."""
        return 2 * len(self) * self._channels * self._size**2

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def batch(self, indices: Tensor, device: torch.device) -> Tensor:
        """Some slices with all modalities, (len(indices), n, H, W) float32 in [0, 1]."""
        values = np.empty((len(indices), self._channels, self._size, self._size), np.uint16)
        file = self._file()
        for place, index in enumerate(indices.tolist()):
            name, number = self._where[index]
            try:
                file[f"patients/{name}/slices"].read_direct(values, np.s_[number], np.s_[place])
            except (OSError, KeyError) as error:
                raise InputError(f"The training set {self.path} is damaged: {error}.") from error
        return torch.from_numpy(values.astype(np.float32) / SCALE).to(device)

    def to(self, device: torch.device) -> "StoredSlices":
        """Itself: what does not fit into memory fits on no device."""
        return self

    def _file(self) -> h5py.File:
        process = os.getpid()
        if self._opened is None or self._opened[0] != process:
            if not self.path.is_file():
                raise InputError(f"The training set {self.path} does not exist any more.")
            self._opened = process, h5py.File(self.path, "r", locking=False)
        return self._opened[1]


def with_data(config: TrainConfig) -> TrainConfig:
    """The configuration with what its training set decides: grid and modalities.

    Raises InputError when one of them was set to something else than the set has.
    """
    stored = read_set(config.data)
    decided: dict[str, Any] = {"size": stored.size, "pixel_mm": stored.pixel_mm, "modalities": stored.modalities}
    if config.name == TrainConfig.name:
        decided["name"] = f"msl-{'-'.join(stored.modalities)}"
    settled_config: TrainConfig = settled(config, decided)
    return settled_config


def settled(config: Any, decided: dict[str, Any]) -> Any:
    """A configuration with the values that its training set decides; of any method.

    Raises InputError when one of them was set to something else.
    """
    usual = {one.name: one.default for one in fields(config)}
    for name, value in decided.items():
        given = getattr(config, name)
        if name != "name" and given not in (usual[name], value):
            raise InputError(f"{config.data} has {name} = {_said(value)}, the settings say {_said(given)}: remove it.")
    return replace(config, **decided)


def load_prepared(path: Path | str, job: Job = NO_JOB, memory: int | None = None) -> tuple[Slices, Slices]:
    """The slices for training and for validation of a prepared set.

    In memory when they take at most half of what is free (memory: bytes to take at most instead). A set without
    patients for validation is watched on its training slices, with a warning. Raises InputError for a damaged set.
    """
    stored = read_set(path)
    train, validation = ([one.id for one in stored.of_split(split)] for split in ("train", "validation"))
    if not train:
        raise InputError(f"The training set {path} has no patient to train on.")
    if not validation:
        job.warning(f"{path} has no patient for validation: the training is watched on its own slices.")
    each = 2 * len(stored.modalities) * stored.size**2
    needed = each * sum(one.slices for one in stored.patients if one.split != "test")
    if needed > (_MEMORY_SHARE * free_memory() if memory is None else memory):
        job.warning(f"{path} needs {needed / 1e9:.1f} GB and is read from the disk while training.")
        return StoredSlices(stored, train), StoredSlices(stored, validation or train)
    first = _in_memory(stored, train, job)
    return first, _in_memory(stored, validation, job) if validation else first


def note_data(folder: Path, path: Path | str) -> None:
    """Note in a run's folder which set it is trained on; InputError when it was begun with another one."""
    stored = read_set(path)
    now = {"sha256": stored.sha256, "name": stored.path.name, "modalities": list(stored.modalities)}
    record = folder / RECORD
    if record.is_file():
        try:
            before = json.loads(record.read_text(encoding="utf-8"))["sha256"]
        except (ValueError, KeyError, TypeError):
            before = None
        if before != stored.sha256:
            raise InputError(f"The run in {folder} was begun with another training set than {path}: use a new folder.")
        return
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")


def free_memory() -> int:
    """Bytes of memory that are free, or a cautious guess where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN_MEMORY


def _in_memory(stored: StoredSet, patients: list[str], job: Job) -> SliceSet:
    counts = {one.id: one.slices for one in stored.patients}
    shape = sum(counts[name] for name in patients), len(stored.modalities), stored.size, stored.size
    values = np.empty(shape, np.uint16)
    start = 0
    with opened(stored.path) as file:
        for done, name in enumerate(patients):
            job.step("read training set", done, len(patients))
            try:
                file[f"patients/{name}/slices"].read_direct(values, dest_sel=np.s_[start : start + counts[name]])
            except (OSError, KeyError) as error:
                raise InputError(f"The training set {stored.path} is damaged: {error}.") from error
            start += counts[name]
    job.step("read training set", len(patients), len(patients))
    return SliceSet(torch.from_numpy(values))


def _said(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else f"{value:g}"
