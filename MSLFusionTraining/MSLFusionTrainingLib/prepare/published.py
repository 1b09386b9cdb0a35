"""Slices in the layout of the authors' own preparation (Zhu et al., TPAMI 2024): PNG and NPZ files, no volumes.

A slice is PATIENT_NUMBER_ct.png (attenuation per cm, 255 for 1) and PATIENT_NUMBER_t1.png ([0, 1]), beside them
PATIENT_NUMBER_ct_raw_4X64P.npz with the same as numbers: `ct` in HU, `t1` in [0, 1]. Their first axis is the
patient's x. Folders `train` and `test` keep their meaning.
"""

import re
import zipfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.units import MU_MAX, hu_to_network
from MSLFusionTrainingLib.prepare.settings import Patient

_SLICE = re.compile(r"(?P<patient>[^_]+)_(?P<number>\d+)_ct\.png")
_LARGEST = 4096


def find_published(source: Path, modalities: tuple[str, ...]) -> list[Patient]:
    """The patients of a folder in this layout; empty when it is in another one, or when no CT is asked for."""
    if "ct" not in modalities or len(modalities) != 2:
        return []
    slices: dict[tuple[str, str | None], list[Path]] = {}
    places = [(source, None), (source / "train", "train"), (source / "test", "test")]
    for folder, split in places:
        for path in sorted(folder.glob("*_ct.png")) if folder.is_dir() else ():
            match = _SLICE.fullmatch(path.name)
            if match:
                slices.setdefault((match["patient"], split), []).append(path)
    patients = []
    for (name, split), paths in sorted(slices.items(), key=lambda item: item[0][0]):
        paths.sort(key=slice_number)
        patients.append(Patient(name, {}, name, split, "", tuple(paths)))
    return patients


def slice_number(path: Path) -> int:
    """Which slice of its volume a file is."""
    match = _SLICE.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path} is not named as a slice, PATIENT_NUMBER_ct.png.")
    return int(match["number"])


def published_files(patient: Patient, modalities: tuple[str, ...]) -> list[Path]:
    """All files that a patient's slices are read from."""
    return [file for path in patient.published for file in _files(path, modalities)]


def read_published(patient: Patient, modalities: tuple[str, ...], size: int) -> np.ndarray:
    """The patient's slices as float32 (n, 2, size, size) in [0, 1], rows to posterior.

    Raises InputError when a file is missing or damaged, or slices have another size.
    """
    pairs = [np.stack([_image(path, name, modalities) for name in modalities]) for path in patient.published]
    for path, pair in zip(patient.published, pairs, strict=True):
        if pair.shape[1:] != (size, size):
            raise InputError(
                f"The slice {path} has {pair.shape[1]} x {pair.shape[2]} pixels, not {size} x {size}: give --size."
            )
    return np.stack(pairs)


def _image(path: Path, name: str, modalities: tuple[str, ...]) -> np.ndarray:
    raw = _raw(path)
    if raw is None:
        values = _picture(path if name == "ct" else _other(path, name))
        network = values / (10 * MU_MAX) if name == "ct" else values
    else:
        values = _array(raw, name)
        network = hu_to_network(values) if name == "ct" else values
    return np.clip(network, 0, 1).T


def _files(path: Path, modalities: tuple[str, ...]) -> list[Path]:
    raw = _raw(path)
    return [raw] if raw else [path, *(_other(path, name) for name in modalities if name != "ct")]


def _other(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name.removesuffix('_ct.png')}_{name}.png")


def _raw(path: Path) -> Path | None:
    return next(iter(sorted(path.parent.glob(f"{path.stem}_raw_*.npz"))), None)


def _array(path: Path, name: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as data:
            values = data[name]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"The slice {path} is damaged or has no '{name}': {error}.") from error
    if values.ndim != 2 or max(values.shape) > _LARGEST or not np.isfinite(values).all():
        raise InputError(f"The slice {path} holds no usable image '{name}'.")
    return values.astype(np.float32)


def _picture(path: Path) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"The slice {path} does not exist.")
    try:
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise InputError(f"The slice {path} is damaged or no picture.") from error
    if values.ndim != 2 or max(values.shape) > _LARGEST:
        raise InputError(f"The slice {path} is no grey picture.")
    largest = 65535 if values.dtype == np.uint16 else 255
    return values.astype(np.float32) / largest
