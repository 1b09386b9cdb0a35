"""The training set's file: one HDF5 of prepared patients, written whole or not at all, read by many at once.

Root attributes: format, modalities, kinds, size, pixel_mm, scale (65535 stands for 1), sha256 of all content, and as
JSON settings, versions and the patients that failed. patients/ID: `slices` uint16 (n, modalities, H, W), a chunk per
image; `numbers` (n,) of the slices in their volume; attributes split, key, sha256, and `about` as JSON: hashes of the
scans, registration, grid, scales, rejected slices, warnings. patients/ID/quality: what the quality page shows.
No names, paths or dates of patients.
"""

import errno
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.io.runs import plain, versions
from MSLFusionTrainingLib.prepare.settings import FORMAT, SPLITS, PrepareSettings, kind_of

SCALE = 65535
_LARGEST_SIDE = 4096


@dataclass(frozen=True)
class PreparedPatient:
    """A patient's slices uint16 (n, modalities, H, W) with what is known about them; see the module."""

    id: str
    modalities: tuple[str, ...]
    slices: np.ndarray
    numbers: list[int]
    about: dict[str, Any]
    montage: bytes
    histograms: np.ndarray


@dataclass(frozen=True)
class StoredPatient:
    """A patient in a set: everything but the slices."""

    id: str
    split: str
    slices: int
    key: str
    about: dict[str, Any]


@dataclass(frozen=True)
class StoredSet:
    """What a training set's file says about itself."""

    path: Path
    modalities: tuple[str, ...]
    kinds: tuple[str, ...]
    size: int
    pixel_mm: float
    sha256: str
    settings: dict[str, Any]
    patients: tuple[StoredPatient, ...]
    failed: tuple[tuple[str, str], ...]

    def of_split(self, split: str) -> list[StoredPatient]:
        """The patients of a split."""
        return [one for one in self.patients if one.split == split]


def packed(patient: PreparedPatient) -> bytes:
    """The patient as the bytes of an HDF5 file, to be handed between processes and machines."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver="v110") as file:
        group = file.create_group(f"patients/{patient.id}")
        shape = patient.slices.shape
        group.create_dataset(
            "slices", data=patient.slices, chunks=(1, 1, *shape[2:]), compression="gzip", compression_opts=1,
            shuffle=True,
        )  # fmt: skip
        group["numbers"] = np.asarray(patient.numbers, np.int32)
        group["quality/montage"] = np.frombuffer(patient.montage, np.uint8)
        group["quality/histograms"] = patient.histograms
        group.attrs["key"] = patient.about["key"]
        group.attrs["sha256"] = hashlib.sha256(patient.slices.tobytes()).hexdigest()
        _put(group, "about", patient.about)
    return stream.getvalue()


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, for reading beside others; InputError when it is missing, damaged or none of ours."""
    if not path.is_file():
        raise InputError(f"The training set {path} does not exist: make it with mslfusion prepare.")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise InputError(f"The training set {path} is damaged or no HDF5 file.") from error
    with file:
        if file.attrs.get("format") != FORMAT:
            raise InputError(f"{path} is no training set of mslfusion prepare.")
        yield file


def read_set(path: Path | str) -> StoredSet:
    """What the training set at `path` holds; InputError when it is none or damaged."""
    path = Path(path)
    with opened(path) as file:
        try:
            modalities = tuple(str(name) for name in json.loads(file.attrs["modalities"]))
            size = int(file.attrs["size"])
            patients = []
            for name, group in file["patients"].items():
                shape, split = group["slices"].shape, str(group.attrs["split"])
                if shape[1:] != (len(modalities), size, size) or group["slices"].dtype != np.uint16:
                    raise ValueError(f"the slices of {name} do not fit")
                if split not in SPLITS or not 0 < size <= _LARGEST_SIDE:
                    raise ValueError(f"the split of {name} is unknown")
                about = json.loads(group.attrs["about"])
                patients.append(StoredPatient(name, split, shape[0], str(group.attrs["key"]), about))
            return StoredSet(
                path,
                modalities,
                tuple(kind_of(name) for name in modalities),
                size,
                float(file.attrs["pixel_mm"]),
                str(file.attrs["sha256"]),
                json.loads(file.attrs["settings"]),
                tuple(patients),
                tuple((str(a), str(b)) for a, b in json.loads(file.attrs["failed"])),
            )
        except (KeyError, ValueError, TypeError, OSError, RuntimeError, AttributeError) as error:
            raise InputError(f"The training set {path} is damaged: {error}.") from error


def read_quality(path: Path, patient: str) -> tuple[bytes, np.ndarray]:
    """The montage (PNG) and the histograms (modalities, bins) of a patient in a set."""
    with opened(path) as file:
        group = file[f"patients/{patient}/quality"]
        return group["montage"][()].tobytes(), group["histograms"][()]


def known_keys(path: Path) -> frozenset[str]:
    """The keys of the patients in a set that may not be there yet; nothing of a damaged one."""
    try:
        return frozenset(one.key for one in read_set(path).patients)
    except InputError:
        return frozenset()


def write_set(
    path: Path,
    settings: PrepareSettings,
    parts: Mapping[str, tuple[Path, str]],
    splits: Mapping[str, str],
    failed: Sequence[tuple[str, str]],
) -> None:
    """Write the set from the files that hold its patients: id -> (a part or an older set, key in it).

    Written under a temporary name, then renamed. Raises InputError when the disk is full.
    """
    digest = hashlib.sha256()
    with atomic_path(path) as temporary, _numbered_errors(), h5py.File(temporary, "w", libver="v110") as file:
        for name in sorted(parts):
            _copy(*parts[name], name, file)
            group = file[f"patients/{name}"]
            group.attrs["split"] = splits[name]
            digest.update(f"{name} {splits[name]} {group.attrs['sha256']}\n".encode())
        file.attrs["format"] = FORMAT
        file.attrs["modalities"] = json.dumps(settings.modalities)
        file.attrs["kinds"] = json.dumps([kind_of(name) for name in settings.modalities])
        file.attrs["size"] = settings.size
        file.attrs["pixel_mm"] = settings.pixel_mm
        file.attrs["scale"] = SCALE
        file.attrs["sha256"] = digest.hexdigest()
        _put(file, "settings", vars(settings))
        _put(file, "versions", versions())
        _put(file, "failed", [list(one) for one in failed])


def _copy(path: Path, key: str, name: str, target: h5py.File) -> None:
    """Copy one patient; in a part or an older set it may have another id."""
    with h5py.File(path, "r", locking=False) as file:
        groups = file["patients"]
        own = next((one for one in groups if groups[one].attrs["key"] == key), None)
        if own is None:
            raise InputError(f"The training set {path} was changed while it was read.")
        file.copy(groups[own], target.require_group("patients"), name=name)


@contextmanager
def _numbered_errors() -> Iterator[None]:
    """OSErrors with the system's error number, which HDF5 puts into its text only."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        known = error.errno if isinstance(error, OSError) else None
        raise OSError(int(number[1]) if number else known or errno.EIO, str(error)) from error


def _put(place: Any, name: str, value: Any) -> None:
    """A value as JSON text of any length (attributes of fixed length end at 64 kB)."""
    place.attrs.create(name, json.dumps(plain(value)), dtype=h5py.string_dtype())
