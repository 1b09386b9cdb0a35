"""A person's own pairs of volumes, from scans to files that patches are read from: one HDF5 file for each patient.

The second scan is brought onto the first one's grid (registered where asked for), both are scaled as `mslfusion fuse`
scales them, and what lies beyond the box around the body is left out. Files hold "pair", uint16 (2, z, y, x) in blocks
that a patch can be read from without the rest, a picture to check by, and facts without names or paths.
"""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion.prepare import Prepared, prepare
from MSLFusionLib.io.runs import plain
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.registration import resample
from MSLFusionTrainingLib.prepare.patient import (
    COVERED,
    Outcome,
    covered,
    outcome_of,
    placed_scans,
    scan_hashes,
)
from MSLFusionTrainingLib.prepare.pictures import montage_of_slices
from MSLFusionTrainingLib.prepare.settings import Patient, PrepareSettings, kind_of

FORMAT = "mslfusion-volumes-1"
SCALE = 65535
LEAST_SIDE = 16
"""Fewest voxels a side, as those of the smallest patch."""
_BLOCK = 32
_MARGIN = 8
_BLANK = 1e-3


@dataclass(frozen=True)
class PairSettings:
    """How a patient's two scans become a pair.

    contrasts: names of the scans, the first one keeps its grid. register: False where the files place them rightly.
    seed: of the registration.
    """

    contrasts: tuple[str, str]
    register: bool = True
    seed: int = 0

    @property
    def scans(self) -> PrepareSettings:
        """The same for reading and registration; InputError for names that cannot be."""
        return PrepareSettings(self.contrasts, register=self.register, seed=self.seed)

    def key(self, inputs: dict[str, str]) -> str:
        """What a prepared pair is known by: these settings and the hashes of its files."""
        what = {"format": FORMAT, "settings": asdict(self), "inputs": inputs}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def prepare_pair(patient: Patient, settings: PairSettings, known: frozenset[str], job: Job = NO_JOB) -> Outcome:
    """Prepare a patient's pair, unless one of the same scans and settings is `known`; never raises but Cancelled.

    Runs in any process, as prepare.patient.prepare_patient does; content: the bytes of the HDF5 file.
    """

    def key() -> str:
        if patient.published:
            raise InputError("Slices of the authors' layout are no volumes: give folders or a table of volumes.")
        return settings.key(scan_hashes(patient, settings.contrasts))

    def make(key: str) -> tuple[bytes, dict[str, Any]]:
        pair, about, picture = _pair(patient, settings, job)
        about["key"] = key
        return _packed(pair, about, picture), about

    return outcome_of(patient, key, make, known)


def read_about(path: Path) -> dict[str, Any]:
    """The facts in a pair's file; InputError when it is damaged or none."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if file.attrs["format"] != FORMAT or file["pair"].dtype != np.uint16 or file["pair"].ndim != 4:
                raise ValueError("another format")
            return dict(json.loads(file.attrs["about"]))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"The pair {path} is damaged: delete it, and it is made again.") from error


def read_picture(path: Path) -> bytes:
    """The picture (PNG) in a pair's file."""
    with h5py.File(path, "r", locking=False) as file:
        return bytes(file["picture"][()].tobytes())


def _pair(patient: Patient, settings: PairSettings, job: Job) -> tuple[np.ndarray, dict[str, Any], bytes]:
    """uint16 (2, z, y, x), facts and a picture."""
    warnings: list[str] = []
    noting = Job(cancelled=job.cancelled, warn=warnings.append)
    scans = placed_scans(patient, settings.scans, noting)
    first, second = (name.upper() for name in settings.contrasts)
    cover = covered(scans.moving[0], scans.fixed, scans.transforms[0])
    if not cover.any():
        raise InputError(f"The {first} and the {second} do not overlap where their files place them.")
    placed = resample(scans.moving[0], scans.fixed, scans.transforms[0], must_overlap=False)
    kinds = kind_of(settings.contrasts[0]), kind_of(settings.contrasts[1])
    ready = prepare(scans.fixed, placed, kinds, noting)
    pair, box = _checked(ready, settings, cover)
    about = {
        "inputs": scan_hashes(patient, settings.contrasts),
        "contrasts": list(settings.contrasts),
        "shape": list(pair.shape[1:]),
        "spacing": list(ready.pair.spacing),
        "box": [[side.start, side.stop] for side in box],
        "scales": dict(zip(settings.contrasts, ready.scales, strict=True)),
        "registration": scans.found,
        "warnings": warnings,
    }
    return pair, about, montage_of_slices(pair.swapaxes(0, 1), settings.contrasts)


def _checked(ready: Prepared, settings: PairSettings, cover: np.ndarray) -> tuple[np.ndarray, tuple[slice, ...]]:
    """The pair within the box around its body; InputError for one that cannot be learned from."""
    body = ready.pair.body
    if body is None or not body.any():
        raise InputError("No body was found in the scans.")
    share = np.count_nonzero(cover & body) / np.count_nonzero(body)
    if share < COVERED:
        raise InputError(f"The {settings.contrasts[1].upper()} covers only {100 * share:.0f} % of the body.")
    for name, values in zip(settings.contrasts, (ready.pair.first, ready.pair.second), strict=True):
        if float(values[body].std()) < _BLANK:
            raise InputError(f"The {name.upper()} is blank within the body.")
    sides = []
    for axis, length in enumerate(body.shape):
        hit = np.flatnonzero(body.any(axis=tuple(other for other in range(3) if other != axis)))
        sides.append(slice(max(0, int(hit[0]) - _MARGIN), min(length, int(hit[-1]) + 1 + _MARGIN)))
    box = tuple(sides)
    values = np.stack([ready.pair.first[box], ready.pair.second[box]]).clip(0, 1)
    if min(values.shape[1:]) < LEAST_SIDE:
        size = " x ".join(map(str, reversed(values.shape[1:])))
        raise InputError(f"The body takes {size} voxels: at least {LEAST_SIDE} a side are needed.")
    return np.round(values * SCALE).astype(np.uint16), box


def _packed(pair: np.ndarray, about: dict[str, Any], picture: bytes) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver="v110") as file:
        blocks = tuple(min(_BLOCK, side) for side in pair.shape[1:])
        file.create_dataset(
            "pair", data=pair, chunks=(1, *blocks), compression="gzip", compression_opts=1, shuffle=True
        )
        file["picture"] = np.frombuffer(picture, np.uint8)
        file.attrs["format"] = FORMAT
        file.attrs.create("about", json.dumps(plain(about)), dtype=h5py.string_dtype())
    return stream.getvalue()
