"""Pairs of fastMRI volumes to train on: two .h5 files of one patient in two contrasts, paired slice by slice.

A CSV table names them: columns `auxiliary` and `target`, paths relative to the table, and if wanted `split` (train or
validation; without it every tenth pair, at least one, is for validation). Fully sampled k-space becomes magnitudes,
coils as root sum of squares; of both contrasts the central `size` x `size` pixels count.
"""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.io.kspaces import KspaceFile, open_kspace
from MSLFusionLib.physics.mr import inverse_fourier, root_sum_of_squares
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.acquired import highest

SCALE = 65535
_MOST_PAIRS = 100_000
_VALIDATED = 10


@dataclass(frozen=True)
class FilePair:
    """The two files of a patient, and whether it is for validation."""

    auxiliary: Path
    target: Path
    validation: bool


class PairSlices:
    """Slices of prepared pairs, uint16 (n, 2, H, W) in files that batches are read from; see data.Slices."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
        self._ends = np.cumsum([len(one) for one in self._files])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def nbytes(self) -> int:
        """The size that they would have in memory."""
        return sum(one.nbytes for one in self._files)

    def batch(self, indices: Tensor, device: torch.device) -> Tensor:
        """Some slices with both contrasts, (len(indices), 2, H, W) float32 in [0, 1]."""
        found = []
        for index in indices.tolist():
            number = int(np.searchsorted(self._ends, index, side="right"))
            within = index - (int(self._ends[number - 1]) if number else 0)
            found.append(self._files[number][within].astype(np.float32) / SCALE)
        return torch.from_numpy(np.stack(found)).to(device)

    def to(self, device: torch.device) -> "PairSlices":
        """Itself: they stay in their files."""
        return self


def read_table(path: Path | str) -> list[FilePair]:
    """The pairs of a table; InputError for a missing or unusable one, or files that are not there."""
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise InputError(f"The table of pairs {path} does not exist.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table of pairs {path} cannot be read: {error}.") from None
    if not rows or not {"auxiliary", "target"} <= set(rows[0]) or len(rows) > _MOST_PAIRS:
        raise InputError(f"The table of pairs {path} needs the columns auxiliary and target, and a row for each pair.")
    pairs = []
    for number, row in enumerate(rows):
        files = [path.parent / (row[name] or "").strip() for name in ("auxiliary", "target")]
        missing = next((file for file in files if not file.is_file()), None)
        if missing is not None:
            raise InputError(f"{path}, pair {number + 1}: {missing} does not exist.")
        split = (row.get("split") or "").strip()
        if split not in ("", "train", "validation"):
            raise InputError(f"{path}, pair {number + 1}: split is train or validation, not '{split}'.")
        held = split == "validation" if "split" in rows[0] else number % _VALIDATED == _VALIDATED - 1
        pairs.append(FilePair(files[0], files[1], held))
    if "split" not in rows[0] and len(pairs) > 1 and not any(pair.validation for pair in pairs):
        pairs[-1] = FilePair(pairs[-1].auxiliary, pairs[-1].target, True)
    if all(pair.validation for pair in pairs):
        raise InputError(f"The table of pairs {path} has no pair to train on.")
    return pairs


def pixel_mm(pairs: Sequence[FilePair]) -> float:
    """Of the first target, the mean along rows and columns."""
    with open_kspace(pairs[0].target) as file:
        rows, columns = file.fov_mm[0] / file.shape[2], file.fov_mm[1] / file.shape[3]
    return round((rows + columns) / 2, 4)


def prepared(pair: FilePair, size: int, cache: Path, job: Job = NO_JOB) -> Path:
    """The pair's slices as a file in the cache folder, made where it is missing or a file of the pair has changed.

    Raises InputError for k-space that is not fully sampled, contrasts of different sizes, and images smaller than
    `size`; Cancelled.
    """
    stamps = [
        f"{file.resolve()}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in (pair.auxiliary, pair.target)
    ]
    key = hashlib.sha256("\n".join([*stamps, str(size)]).encode()).hexdigest()[:16]
    path = cache / f"fastmri-{key}.npy"
    if path.exists():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    volumes = []
    for file in (pair.auxiliary, pair.target):
        with open_kspace(file) as opened:
            volumes.append(_magnitudes(opened, size, job))
    count = min(len(volume) for volume in volumes)
    stack = np.stack([volume[:count] / highest(volume) for volume in volumes], 1)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.round(stack.clip(0, 1) * SCALE).astype(np.uint16))
    return path


def _magnitudes(file: KspaceFile, size: int, job: Job) -> np.ndarray:
    """The central pixels of all slices, float32 (n, size, size)."""
    slices, _, rows, columns = file.shape
    if min(rows, columns) < size:
        raise InputError(f"{file.path} has images of {columns} x {rows} pixels, size = {size} does not fit: lower it.")
    top, left = (rows - size) // 2, (columns - size) // 2
    out = np.empty((slices, size, size), np.float32)
    for number in range(slices):
        job.check()
        kspace = file.kspace([number])
        # What lies beyond the measured ellipse of phase encoding may be missing, but no column within.
        filled = np.flatnonzero(np.abs(kspace).max((0, 1, 2)) > 0)
        if filled.size and filled.size < 0.98 * (filled[-1] - filled[0] + 1):
            raise InputError(f"{file.path} is undersampled: a training needs fully sampled k-space.")
        image = root_sum_of_squares(inverse_fourier(torch.from_numpy(kspace)))[0, 0]
        out[number] = image[top : top + size, left : left + size].numpy()
    return out
