"""One patient from scans to slices: read, register, find the body, bring to the network's grid, sort out."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import Cancelled, InputError, JobError, MSLFusionError
from MSLFusionLib.io.runs import content_hash
from MSLFusionLib.io.volumes import read_volume
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.slices import NetworkSlices, VolumeOptions
from MSLFusionLib.registration import register, resample
from MSLFusionTrainingLib.prepare.pictures import BINS, histogram, montage, montage_of_slices
from MSLFusionTrainingLib.prepare.published import published_files, read_published, slice_number
from MSLFusionTrainingLib.prepare.settings import Patient, PrepareSettings, kind_of
from MSLFusionTrainingLib.prepare.store import PreparedPatient, packed

COVERED = 0.9
"""Share of a slice's body that every modality must have measured."""
_BLANK = 1e-3
_BLOCK = 32


@dataclass(frozen=True)
class Outcome:
    """What became of a patient.

    key: see PrepareSettings.key. content: the patient as the bytes of an HDF5 file; None when it was finished before
    (`key` is one of those known) or could not be prepared: `problem` is then one sentence. about: facts, see
    PreparedPatient.
    """

    id: str
    key: str = ""
    content: bytes | None = None
    problem: str = ""
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Placed:
    """A patient's scans and how they lie to each other.

    fixed: the first modality. moving: the others, as read. transforms: from points of `fixed` to points of each of
    them. found: what the registrations say of themselves, by modality.
    """

    fixed: sitk.Image
    moving: tuple[sitk.Image, ...]
    transforms: tuple[sitk.Transform, ...]
    found: dict[str, Any]


def prepare_patient(patient: Patient, settings: PrepareSettings, known: frozenset[str], job: Job = NO_JOB) -> Outcome:
    """Prepare a patient's slices, unless a patient of the same scans and settings is `known`; never raises but
    Cancelled.

    Runs in any process: it is handed values and hands back values.
    """

    def key() -> str:
        return settings.key(_hashes(patient, settings))

    def make(key: str) -> tuple[bytes, dict[str, Any]]:
        prepared = _from_slices(patient, settings) if patient.published else _from_scans(patient, settings, job)
        prepared.about["key"] = key
        return packed(prepared), prepared.about

    return outcome_of(patient, key, make, known)


def outcome_of(
    patient: Patient,
    key: Callable[[], str],
    make: Callable[[str], tuple[bytes, dict[str, Any]]],
    known: frozenset[str],
) -> Outcome:
    """What becomes of a patient: `make(key())` gives its content and facts; whatever goes wrong is one sentence."""
    try:
        if patient.missing:
            raise InputError(patient.missing)
        own = key()
        if own in known:
            return Outcome(patient.id, own)
        content, about = make(own)
        return Outcome(patient.id, own, content, "", about)
    except Cancelled:
        raise
    except MSLFusionError as error:
        return Outcome(patient.id, problem=str(error))
    except MemoryError:
        return Outcome(patient.id, problem="The memory is too small for this patient: use fewer --workers.")
    except OSError as error:
        return Outcome(patient.id, problem=f"A file cannot be read: {error}.")
    except Exception as error:  # a fault of ours, which must not cost the other patients
        return Outcome(patient.id, problem=f"{type(error).__name__}: {error} (a fault of mslfusion).")


def scan_hashes(patient: Patient, modalities: Sequence[str]) -> dict[str, str]:
    """The hash of each scan's content; InputError names a file that does not exist."""
    for name, path in patient.scans.items():
        if not path.exists():
            raise InputError(f"The {name.upper()} file {path} does not exist.")
    return {name: content_hash(patient.scans[name]) for name in modalities}


def placed_scans(patient: Patient, settings: PrepareSettings, job: Job) -> Placed:
    """Read a patient's scans and register the others to the first, where the settings say so.

    Raises InputError for scans that cannot be read; JobError when a registration fails.
    """
    first, *others = settings.modalities
    fixed = read_volume(patient.scans[first], first.upper())
    moving, transforms, found = [], [], {}
    for name in others:
        image = read_volume(patient.scans[name], name.upper())
        transform = sitk.Transform(3, sitk.sitkIdentity)
        if settings.register:
            pair = first.upper(), name.upper()
            done = register(fixed, image, settings.preset, settings.method, settings.seed, settings.start, job, pair)
            transform, found[name] = done.transform, done.to_dict()
        moving.append(image)
        transforms.append(transform)
        job.check()
    return Placed(fixed, tuple(moving), tuple(transforms), found)


def _hashes(patient: Patient, settings: PrepareSettings) -> dict[str, str]:
    if patient.published:
        digest = hashlib.sha256()
        for file in published_files(patient, settings.modalities):
            digest.update(content_hash(file).encode())
        return {"slices": digest.hexdigest()}
    return scan_hashes(patient, settings.modalities)


def _from_scans(patient: Patient, settings: PrepareSettings, job: Job) -> PreparedPatient:
    started = time.monotonic()
    warnings: list[str] = []
    noting = Job(cancelled=job.cancelled, warn=warnings.append)
    scans = placed_scans(patient, settings, noting)
    fixed, first = scans.fixed, settings.modalities[0]
    placed, before, covers = [fixed], [fixed], []
    for name, moving, transform in zip(settings.modalities[1:], scans.moving, scans.transforms, strict=True):
        before.append(resample(moving, fixed, must_overlap=False))
        placed.append(resample(moving, fixed, transform) if settings.register else before[-1])
        covers.append(covered(moving, fixed, transform))
        if not covers[-1].any():
            raise InputError(f"The {first.upper()} and the {name.upper()} do not overlap where their files place them.")
    options = VolumeOptions(
        size=(settings.size, settings.size),
        pixel_mm=settings.pixel_mm,
        mask_outside=settings.mask_outside,
        mr_scaling=settings.mr_scaling,
    )
    kinds = [kind_of(name) for name in settings.modalities]
    seen = NetworkSlices(list(zip(kinds, placed, strict=True)), options, noting)
    slices, numbers, rejected, histograms = _sorted_out(seen, settings, covers, noting)
    about = {
        "inputs": _hashes(patient, settings),
        "registration": scans.found,
        "grid": seen.grid.report(seen.body),
        "scales": {name: asdict(one.scale) for name, one in zip(settings.modalities, seen.modalities, strict=True)},
        "rejected": rejected,
        "warnings": warnings,
        "seconds": round(time.monotonic() - started, 2),
    }
    picture = montage(seen, settings.modalities, before, numbers)
    return PreparedPatient(patient.id, settings.modalities, slices, numbers, about, picture, histograms)


def covered(moving: sitk.Image, fixed: sitk.Image, transform: sitk.Transform) -> np.ndarray:
    """Where the moving volume was measured, as bool (z, y, x) on the fixed one's grid."""
    ones = sitk.Image(moving.GetSize(), sitk.sitkUInt8) + 1
    ones.CopyInformation(moving)
    grid = VolumeGeometry.of(fixed).grid_only()
    placed = sitk.Resample(ones, grid, transform, sitk.sitkNearestNeighbor, 0.0, sitk.sitkUInt8)
    return sitk.GetArrayFromImage(placed) > 0


def _sorted_out(
    seen: NetworkSlices, settings: PrepareSettings, covers: Sequence[np.ndarray], job: Job
) -> tuple[np.ndarray, list[int], list[list[Any]], np.ndarray]:
    """uint16 (n, modalities, H, W) of the slices that are kept, their numbers, the others with why, and histograms."""
    body = seen.grid.turned(seen.body)
    measured = [seen.grid.turned(cover) for cover in covers]
    pixels = seen.grid.size[0] * seen.grid.size[1] * seen.grid.pixel_mm**2
    area = seen.grid.spacing[0] * seen.grid.spacing[1] / pixels
    kept: list[np.ndarray] = []
    numbers: list[int] = []
    rejected: list[list[Any]] = []
    histograms = np.zeros((len(settings.modalities), BINS))
    for start in range(0, seen.grid.slices, _BLOCK):
        block = np.arange(start, min(start + _BLOCK, seen.grid.slices))
        images = np.stack(seen.network(block), axis=1)
        masks = seen.grid.to_network(body[block].astype(np.float32)) > 0.5
        for number, image, mask in zip(block.tolist(), images, masks, strict=True):
            job.check()
            inside = body[number]
            count = int(np.count_nonzero(inside))
            shares = [np.count_nonzero(cover[number] & inside) / max(count, 1) for cover in measured]
            reason = ""
            if count == 0 or count * area < settings.least_body or not mask.any():
                reason = f"shows less than {100 * settings.least_body:g} % body"
            for name, share in zip(settings.modalities[1:], shares, strict=True):
                if not reason and share < COVERED:
                    reason = f"the {name.upper()} covers only {100 * share:.0f} % of the body"
            for name, values in zip(settings.modalities, image, strict=True):
                if not reason and float(values[mask].std()) < _BLANK:
                    reason = f"the {name.upper()} is blank"
            if reason:
                rejected.append([number, reason])
                continue
            kept.append(np.round(image * 65535).astype(np.uint16))
            numbers.append(number)
            for row, values in zip(histograms, image, strict=True):
                row += histogram(values[mask])
    if not kept:
        raise JobError(f"No slice can be used: {_most(rejected)}.")
    return np.stack(kept), numbers, rejected, histograms


def _most(rejected: list[list[Any]]) -> str:
    reasons = [reason for _, reason in rejected]
    return max(sorted(set(reasons)), key=reasons.count)


def _from_slices(patient: Patient, settings: PrepareSettings) -> PreparedPatient:
    started = time.monotonic()
    images = read_published(patient, settings.modalities, settings.size)
    bodies = np.asarray((images > 0.02).any(axis=1))
    histograms = np.zeros((len(settings.modalities), BINS))
    kept, numbers, rejected = [], [], []
    for path, image, mask in zip(patient.published, images, bodies, strict=True):
        number = slice_number(path)
        if mask.mean() < settings.least_body:
            rejected.append([number, f"shows less than {100 * settings.least_body:g} % body"])
            continue
        kept.append(np.round(image * 65535).astype(np.uint16))
        numbers.append(number)
        for row, values in zip(histograms, image, strict=True):
            row += histogram(values[mask])
    if not kept:
        raise JobError(f"No slice can be used: {_most(rejected)}.")
    about = {
        "inputs": _hashes(patient, settings),
        "registration": {},
        "layout": "authors",
        "rejected": rejected,
        "warnings": [],
        "seconds": round(time.monotonic() - started, 2),
    }
    slices = np.stack(kept)
    picture = montage_of_slices(slices, settings.modalities)
    return PreparedPatient(patient.id, settings.modalities, slices, numbers, about, picture, histograms)
