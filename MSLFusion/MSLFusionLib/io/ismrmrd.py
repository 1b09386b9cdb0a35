"""Cartesian ISMRMRD (MRD) files, read with h5py by the documented layout (Inati et al., Magn Reson Med 77:411, 2017).

/NAME/xml holds the header; /NAME/data one record per acquisition: a head of fixed layout, and the samples of all
channels as interleaved real and imaginary parts. Every count in the heads is compared with the samples that are there.
"""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.hdf5 import FAILURES, check_references, check_stored

MAX_ACQUISITIONS = 2**20
MAX_MATRIX = 4096
MAX_COILS = 256
MAX_POINTS = 2**28
"""Of k-space in all, 2 GiB."""
MAX_HEADER = 4 * 2**20
SELECTABLE = ("average", "contrast", "phase", "repetition", "set")
_ENTITY = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)
_NOISE, _REVERSE = 1 << 18, 1 << 21
_NOT_IMAGING = (1 << 22) | (1 << 23) | (1 << 25) | (1 << 26) | (1 << 27) | (1 << 19)
"""Navigator, phase correction, feedback (two), dummy, and calibration that is no imaging as well."""
_HEAD_FIELDS = (
    "flags", "number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample", "position",
    "read_dir", "phase_dir", "slice_dir", "idx",
)  # fmt: skip


@dataclass(frozen=True)
class EncodedSpace:
    """matrix and fov_mm along x (readout), y (phase), z; what an XML header says of an encoded or image space."""

    matrix: tuple[int, int, int]
    fov_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Header:
    """What is used of an XML header: both spaces (the second None when absent), trajectory, limits of phase encoding
    (minimum, maximum, centre) or None, number of channels or None."""

    encoded: EncodedSpace
    recon: EncodedSpace | None
    trajectory: str
    limits: tuple[int, int, int] | None
    channels: int | None


@dataclass(frozen=True)
class Acquisition:
    """What the records came to. kspace: complex64 (slices, coils, readout, phase), measured: bool (readout, phase).

    position, directions: of the slices, LPS, as the heads give them; rows are (read, phase, slice). counts: how many
    of each selectable there are. notes: what was done.
    """

    kspace: np.ndarray
    measured: np.ndarray
    position: np.ndarray
    directions: np.ndarray
    counts: dict[str, int]
    notes: list[str]


def parse_header(text: str, where: str) -> Header:
    """The XML header of ISMRMRD (fastMRI has it too); InputError, naming the field, when it is not usable."""
    if len(text) > MAX_HEADER or _ENTITY.search(text):
        raise InputError(f"{where}: its XML header is too large or defines entities, which is not read.")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: its XML header is damaged ({error}).") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    encodings = root.findall("encoding")
    if not encodings:
        raise InputError(f"{where}: its XML header has no encoding.")
    encoding = encodings[0]
    encoded = _space(encoding, "encodedSpace", where)
    if encoded is None:
        raise InputError(f"{where}: its XML header lacks encoding/encodedSpace/matrixSize.")
    limit = encoding.find("encodingLimits/kspace_encoding_step_1")
    limits = None
    if limit is not None:
        parts = [limit.findtext(name) for name in ("minimum", "maximum", "center")]
        if None not in parts:
            numbers = [_integer(part, f"{where}: encodingLimits") for part in parts]
            limits = numbers[0], numbers[1], numbers[2]
    channels = root.findtext("acquisitionSystemInformation/receiverChannels")
    return Header(
        encoded,
        _space(encoding, "reconSpace", where),
        (encoding.findtext("trajectory") or "cartesian").strip().lower(),
        limits,
        None if channels is None else _integer(channels, f"{where}: receiverChannels"),
    )


def is_ismrmrd(file: h5py.File) -> str | None:
    """The name of the group with the acquisitions, or None where this is no such file."""
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            continue
        group = file[name]
        if isinstance(group, h5py.Group) and {"xml", "data"} <= set(group):
            return str(name)
    return None


def read_ismrmrd(file: h5py.File, path: Path, select: Mapping[str, int]) -> tuple[Header, Acquisition]:
    """Header and sorted k-space of a Cartesian file. select: number of each of SELECTABLE (average: absent for the
    mean of all; others: default 0). Raises InputError, naming the field, for what is damaged or not Cartesian.
    """
    group = is_ismrmrd(file)
    try:
        check_stored(file[group]["xml"], path)
        check_references(file[group]["xml"], path)
        text = file[group]["xml"][0]
        data = file[group]["data"]
        check_stored(data, path)
        if data.ndim != 1 or data.dtype.names is None or not {"head", "data"} <= set(data.dtype.names):
            raise InputError(f"{path}: {group}/data are no acquisitions.")
        if not 1 <= data.shape[0] <= MAX_ACQUISITIONS or data.id.get_storage_size() < data.shape[0]:
            raise InputError(f"{path}: {group}/data holds {data.shape[0]} acquisitions, which is not possible.")
        check_references(data, path)
        heads = data.fields("head")[()]
        samples = data.fields("data")
        header = parse_header(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text), str(path))
        missing = [name for name in _HEAD_FIELDS if name not in (heads.dtype.names or ())]
        if missing:
            raise InputError(f"{path}: the heads of its acquisitions lack {', '.join(missing)}.")
        if header.trajectory != "cartesian":
            raise InputError(f"{path}: its trajectory is {header.trajectory}; only Cartesian data are read.")
        return header, _sorted(heads, samples, header, path, select)
    except FAILURES as error:
        raise InputError(f"{path} is damaged: its acquisitions cannot be read ({str(error)[:200]}).") from None


def _sorted(heads: np.ndarray, samples: Any, header: Header, path: Path, select: Mapping[str, int]) -> Acquisition:
    flags = heads["flags"].astype(np.uint64)
    noise = (flags & np.uint64(_NOISE)) != 0
    imaging = ~noise & ((flags & np.uint64(_NOT_IMAGING)) == 0)
    if not imaging.any():
        raise InputError(f"{path}: none of its acquisitions is imaging data.")
    index = heads["idx"]
    if index["kspace_encode_step_2"][imaging].max() > 0 or header.encoded.matrix[2] > 1:
        raise InputError(f"{path}: it is encoded in three dimensions (kspace_encode_step_2); slices are read.")
    counts = {name: int(index[name][imaging].max()) + 1 for name in SELECTABLE}
    notes = []
    for name in SELECTABLE:
        wanted = select.get(name)
        if wanted is None and name == "average":
            continue
        wanted = wanted or 0
        if not 0 <= wanted < counts[name]:
            raise InputError(f"{path}: there is no {name} {wanted}; there are {counts[name]}.")
        imaging &= index[name] == wanted
        if counts[name] > 1:
            notes.append(f"{name} {wanted} of {counts[name]}")
    chosen = np.flatnonzero(imaging)
    if not len(chosen):
        raise InputError(f"{path}: the chosen {', '.join(SELECTABLE)} hold no acquisitions.")
    readout, phases, _ = header.encoded.matrix
    slices = int(index["slice"][chosen].max()) + 1
    coils = int(heads["active_channels"][chosen[0]])
    if not 1 <= coils <= MAX_COILS:
        raise InputError(f"{path}: active_channels is {coils}.")
    # Each line that is not empty must have been measured: absurd numbers of slices are caught before they cost memory.
    if slices > len(chosen) or slices * coils * readout * phases > MAX_POINTS:
        raise InputError(f"{path}: {slices} slices of {coils} x {readout} x {phases} points are not possible.")
    if not _stored_samples(samples, chosen[0], heads):
        raise InputError(f"{path}: an acquisition's samples are not as many as number_of_samples says.")
    kspace = np.zeros((slices, coils, readout, phases), np.complex64)
    times = np.zeros((slices, phases), np.int32)
    measured = np.zeros((readout, phases), bool)
    shift = phases // 2 - header.limits[2] if header.limits is not None else 0
    for k in chosen.tolist():
        head = heads[k]
        line = _line(head, samples[k], coils, path)
        column = int(head["idx"]["kspace_encode_step_1"]) + shift
        first = readout // 2 - int(head["center_sample"]) + int(head["discard_pre"])
        begin, end = max(0, first), min(readout, first + line.shape[1])
        if not 0 <= column < phases or begin >= end:
            raise InputError(f"{path}: kspace_encode_step_1 or center_sample lies outside the encoded matrix.")
        if int(head["flags"]) & _REVERSE:
            line = line[:, ::-1]
        place = int(head["idx"]["slice"])
        kspace[place, :, begin:end, column] += line[:, begin - first : end - first]
        times[place, column] += 1
        measured[begin:end, column] = True
    if times.max() > 1:
        notes.append(f"mean of up to {times.max()} measurements of a line")
    kspace /= np.maximum(times, 1)[:, None, None, :]
    if not np.isfinite(kspace).all():
        raise InputError(f"{path}: its samples hold values that are not numbers.")
    if noise.any():
        kspace = _whitened(kspace, heads, samples, np.flatnonzero(noise), path)
        notes.append("noise of the coils made equal and independent by the noise scan")
    if not measured.all(axis=1).all() and not measured.all():
        notes.append(f"{measured.any(axis=0).sum()} of {phases} lines measured")
    place_of = [int(np.flatnonzero(imaging & (index["slice"] == n))[0]) for n in np.unique(index["slice"][chosen])]
    directions = np.stack([heads[name][place_of[0]] for name in ("read_dir", "phase_dir", "slice_dir")])
    return Acquisition(
        kspace, measured, heads["position"][place_of].astype(float), directions.astype(float), counts, notes
    )


def _stored_samples(samples: Any, k: int, heads: np.ndarray) -> bool:
    count = int(heads["number_of_samples"][k]) * int(heads["active_channels"][k]) * 2
    return bool(np.size(samples[int(k)]) == count)


def _line(head: np.ndarray, values: np.ndarray, coils: int, path: Path) -> np.ndarray:
    """The samples (coils, n) of an acquisition without those to be discarded."""
    count, channels = int(head["number_of_samples"]), int(head["active_channels"])
    values = np.asarray(values, np.float32).ravel()
    if channels != coils:
        raise InputError(f"{path}: active_channels changes from {coils} to {channels}.")
    if values.size != 2 * count * channels or count < 1:
        raise InputError(f"{path}: an acquisition's samples are not as many as number_of_samples says.")
    line = values.view(np.complex64).reshape(channels, count)
    return line[:, int(head["discard_pre"]) : count - int(head["discard_post"])]


def _whitened(kspace: np.ndarray, heads: np.ndarray, samples: Any, noise: np.ndarray, path: Path) -> np.ndarray:
    """k-space with the coils' noise decorrelated by the Cholesky factor of its covariance (Pruessmann et al. 2001)."""
    coils = kspace.shape[1]
    lines = np.concatenate([_line(heads[int(k)], samples[int(k)], coils, path) for k in noise[:1024]], axis=1)
    if lines.shape[1] < 4 * coils:
        raise InputError(f"{path}: its noise scan has {lines.shape[1]} samples, too few for {coils} coils.")
    lines = lines - lines.mean(axis=1, keepdims=True)
    covariance = (lines @ lines.conj().T) / (lines.shape[1] - 1)
    try:
        factor = np.linalg.cholesky(covariance / np.trace(covariance).real * coils)
        whitening = np.linalg.inv(factor).astype(np.complex64)
    except np.linalg.LinAlgError:
        raise InputError(f"{path}: the noise scan has no usable covariance of its coils.") from None
    if not np.isfinite(whitening).all():
        raise InputError(f"{path}: the noise scan holds values that are not numbers.")
    return np.einsum("ab,nbyx->nayx", whitening, kspace)


def _space(encoding: ElementTree.Element, name: str, where: str) -> EncodedSpace | None:
    space = encoding.find(name)
    if space is None or space.find("matrixSize") is None:
        return None
    matrix = [_integer(space.findtext(f"matrixSize/{axis}") or "1", f"{where}: {name}/matrixSize") for axis in "xyz"]
    if not (min(matrix) >= 1 and max(matrix) <= MAX_MATRIX):
        raise InputError(f"{where}: {name}/matrixSize {matrix} is not possible.")
    fov = []
    for axis in "xyz":
        try:
            value = float(space.findtext(f"fieldOfView_mm/{axis}") or 0.0)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1e5:
            raise InputError(f"{where}: {name}/fieldOfView_mm/{axis} is no length.")
        fov.append(value)
    return EncodedSpace((matrix[0], matrix[1], matrix[2]), (fov[0], fov[1], fov[2]))


def _integer(text: str | None, where: str) -> int:
    try:
        return int(str(text).strip())
    except ValueError:
        raise InputError(f"{where} is {text!r}, no whole number.") from None
