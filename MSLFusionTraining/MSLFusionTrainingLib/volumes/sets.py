"""Sets of pairs of volumes that patches are taken from: generated heads in memory, a person's own in files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.data import head_seeds
from MSLFusionTrainingLib.facts import LAST
from MSLFusionTrainingLib.prepare.find import find_patients
from MSLFusionTrainingLib.prepare.pools import outcomes
from MSLFusionTrainingLib.prepare.settings import Patient, split_patients
from MSLFusionTrainingLib.status import read_status
from MSLFusionTrainingLib.volumes.config import VolumeConfig
from MSLFusionTrainingLib.volumes.heads import load_heads
from MSLFusionTrainingLib.volumes.pairs import SCALE, PairSettings, prepare_pair, read_about, read_picture

RECORD = "pairs.json"
"""In a run's folder: which pairs it learns from, and what became of the others."""
_KEPT = "pairs"
_KEY_FILE = "patients.csv"


class Pairs(Protocol):
    """Pairs of volumes in [0, 1]."""

    def __len__(self) -> int:
        """How many."""

    def shape(self, index: int) -> tuple[int, int, int]:
        """Voxels (z, y, x) of one."""

    def spacing(self, index: int) -> tuple[float, float, float]:
        """Millimetres per voxel (z, y, x) of one."""

    def box(self, index: int, box: tuple[slice, slice, slice]) -> Tensor:
        """A part of one, float32 (2, z, y, x)."""


class HeadPairs:
    """Pairs of one size in memory: values (n, 2, z, y, x) of any floating type, millimetres per voxel (z, y, x)."""

    def __init__(self, values: Tensor, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> None:
        self.values, self._spacing = values, spacing

    def __len__(self) -> int:
        return len(self.values)

    def shape(self, index: int) -> tuple[int, int, int]:
        """See Pairs."""
        z, y, x = self.values.shape[2:]
        return z, y, x

    def spacing(self, index: int) -> tuple[float, float, float]:
        """See Pairs."""
        return self._spacing

    def box(self, index: int, box: tuple[slice, slice, slice]) -> Tensor:
        """See Pairs."""
        return self.values[(index, slice(None), *box)].float()


class StoredPairs:
    """Pairs in files, of which only what is asked for is read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._about = [read_about(path) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def shape(self, index: int) -> tuple[int, int, int]:
        """See Pairs."""
        z, y, x = self._about[index]["shape"]
        return int(z), int(y), int(x)

    def spacing(self, index: int) -> tuple[float, float, float]:
        """See Pairs."""
        z, y, x = self._about[index]["spacing"]
        return float(z), float(y), float(x)

    def box(self, index: int, box: tuple[slice, slice, slice]) -> Tensor:
        """See Pairs; InputError when the file is gone or damaged."""
        path = self.paths[index]
        try:
            with h5py.File(path, "r", locking=False) as file:
                values = file["pair"][(slice(None), *box)]
        except (OSError, KeyError) as error:
            raise InputError(f"The pair {path} is gone or damaged: start the training again.") from error
        return torch.from_numpy(values.astype(np.float32) / SCALE)


@dataclass(frozen=True)
class Sets:
    """Pairs to train on and to validate on (the same ones where there are no others)."""

    train: Pairs
    validation: Pairs


def load_sets(config: VolumeConfig, folder: Path, cache: Path, workers: int = 1, job: Job = NO_JOB) -> Sets:
    """The pairs that a run in `folder` learns from; what is missing in `cache` is made.

    Raises InputError when there are none, or when the run was begun with others.
    """
    if (folder / LAST).exists() and (folder / RECORD).exists() != bool(config.data):
        raise InputError(f"The run in {folder} was begun with other volumes: use a new folder.")
    if config.data:
        return _own(config, folder, cache, workers, job)
    train, validation = head_seeds(config)
    load_heads(config, train + validation, cache, workers, job)
    return Sets(head_pairs(config, train, cache, job), head_pairs(config, validation or train[:1], cache, job))


def head_pairs(config: VolumeConfig, seeds: Sequence[int], cache: Path, job: Job = NO_JOB) -> HeadPairs:
    """Pairs of generated heads; those that `cache` lacks are made."""
    z, y, x = reversed(config.spacing)
    return HeadPairs(load_heads(config, seeds, cache, job=job), (z, y, x))


def validation_pairs(config: VolumeConfig, folder: Path, job: Job = NO_JOB) -> tuple[Pairs, bool]:
    """What the run in a folder was validated on, and whether it learned from it; InputError when a person's own pairs
    are not there any more."""
    status = read_status(folder)
    cache = Path(status.cache) if status is not None and status.cache else folder / "heads"
    record = recorded(folder)
    if record is None:
        train, validation = head_seeds(config)
        return head_pairs(config, validation or train[:1], cache, job), not validation
    splits = {one["split"] for one in record["pairs"]}
    split = "validation" if "validation" in splits else "train"
    paths = [cache / _KEPT / f"{one['key']}.h5" for one in record["pairs"] if one["split"] == split]
    return StoredPairs(paths), split == "train"


def in_words(folder: Path) -> str:
    """What the run in a folder learns from of a person's own pairs, for people."""
    record = recorded(folder) or {"pairs": [], "failed": []}
    splits = [one["split"] for one in record["pairs"]]
    return (
        f"Pairs to train on: {splits.count('train')}, for validation: {splits.count('validation')}, patients left out: "
        f"{len(record['failed'])}. Look at {folder / _KEPT} before you trust them."
    )


def _own(config: VolumeConfig, folder: Path, cache: Path, workers: int, job: Job) -> Sets:
    settings = PairSettings(config.contrasts, config.register, config.seed)
    kept = cache / _KEPT
    kept.mkdir(parents=True, exist_ok=True)
    patients = find_patients(Path(config.data), config.contrasts, {}, "numbers", kept / _KEY_FILE)
    doubled = {one.id for one in patients if sum(other.id == one.id for other in patients) > 1}
    if doubled:
        raise InputError(f"Two patients are called '{min(doubled)}': give them different ids.")
    keys, failed = _made(patients, settings, kept, workers, job)
    if not keys:
        raise InputError(f"None of the {len(patients)} patients can be used. The first: {failed[0][1]}")
    used = [Patient(one.id, group=one.group, split=one.split) for one in patients if one.id in keys]
    splits = split_patients(used, config.validation, 0.0, config.seed)
    sets = {
        split: StoredPairs([kept / f"{keys[name]}.h5" for name in sorted(keys) if splits[name] == split])
        for split in ("train", "validation")
    }
    if not len(sets["train"]):
        raise InputError("No patient is left to train on: give more, or a smaller share for validation.")
    if not len(sets["validation"]):
        job.warning(f"{config.data} has no patient for validation: the training is watched on its own volumes.")
        sets["validation"] = sets["train"]
    by_id = {one.id: one for one in patients}
    nameless = [[name, by_id[name].nameless(sentence)] for name, sentence in failed]
    _note(folder, kept, keys, splits, nameless)
    return Sets(sets["train"], sets["validation"])


def _made(
    patients: Sequence[Patient], settings: PairSettings, kept: Path, workers: int, job: Job
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """id -> key of the pairs whose files are there now, and (id, sentence) of the patients that cannot be used."""
    known = frozenset(path.stem for path in kept.glob("*.h5"))
    keys: dict[str, str] = {}
    failed: list[tuple[str, str]] = []
    job.step("prepare pairs", 0, len(patients))
    for done, outcome in enumerate(outcomes(patients, settings, known, workers, None, job, prepare_pair), 1):
        if outcome.problem:
            failed.append((outcome.id, outcome.problem))
            job.warning(f"Patient {outcome.id} is left out: {outcome.problem}")
        else:
            keys[outcome.id] = outcome.key
        if outcome.content is not None:
            with atomic_path(kept / f"{outcome.key}.h5") as temporary:
                temporary.write_bytes(outcome.content)
            for sentence in outcome.about["warnings"]:
                job.warning(f"Patient {outcome.id}: {sentence}")
        job.step("prepare pairs", done, len(patients))
    return keys, failed


def _note(folder: Path, kept: Path, keys: dict[str, str], splits: dict[str, str], failed: list[list[str]]) -> None:
    """Write the run's record and a picture of each pair, to be looked at; InputError when it learned from others."""
    pairs: list[dict[str, Any]] = []
    for name in sorted(keys):
        about = read_about(kept / f"{keys[name]}.h5")
        pairs.append({"id": name, "split": splits[name], **about})
    before = recorded(folder)
    if before is not None and {(o["key"], o["split"]) for o in before["pairs"]} != {
        (o["key"], o["split"]) for o in pairs
    }:
        raise InputError(f"The run in {folder} was begun with other volumes: use a new folder.")
    for one in pairs:
        picture = folder / _KEPT / f"{one['id']}.png"
        if not picture.exists():
            with atomic_path(picture) as temporary:
                temporary.write_bytes(read_picture(kept / f"{one['key']}.h5"))
    with atomic_path(folder / RECORD) as temporary:
        temporary.write_text(json.dumps({"pairs": pairs, "failed": failed}, indent=2) + "\n", encoding="utf-8")


def recorded(folder: Path) -> dict[str, Any] | None:
    """The own pairs that a run in this folder learns from and the patients left out; None where it learns from
    generated heads. Raises InputError when the record is damaged."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {"pairs": [dict(one) for one in record["pairs"]], "failed": record["failed"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged: use a new folder.") from None
