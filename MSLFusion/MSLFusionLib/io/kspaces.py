"""k-space from files, with its geometry: fastMRI, ISMRMRD, the MSL authors' .npz, or any array with a sidecar.

What comes out is complex64 (slices, coils, ky, kx), zero where not measured, with zero frequency in the middle, ky
along image rows (the readout, where the file tells) and kx along columns. Oversampling of the readout is taken off by
cropping the image; beside that, axes are put in order and nothing is changed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.io import ismrmrd
from MSLFusionLib.io.arrays import ArrayFile, StoredArray, listed
from MSLFusionLib.io.hdf5 import FAILURES, check_references
from MSLFusionLib.io.placement import Placement, placed
from MSLFusionLib.io.sidecar import LEAST, read_sidecar, sidecar_path
from MSLFusionLib.physics.masks import PointMask, SamplingMask, mask_of
from MSLFusionLib.recon.geometry import VolumeGeometry

MAX_SLICES = 65536
MAX_COILS = 256
MAX_MATRIX = 8192
MAX_SLICE_BYTES = 2**31
_AXES = ("slices", "coils", "ky", "kx")
_OFFICIAL_PIXEL_MM = 0.36923
"""Of the MSL authors' images (512 / 416 * 0.3 mm)."""


@dataclass
class KspaceFile:
    """An open k-space.

    shape: (slices, coils, ky, kx). fov_mm: along ky and kx. mask: what was measured in any slice. convention: of its
    Fourier transform (physics.mr). found, warnings: see SinogramFile. Use as a context manager.
    """

    path: Path
    kind: str
    shape: tuple[int, int, int, int]
    fov_mm: tuple[float, float]
    placement: Placement
    mask: SamplingMask | PointMask
    convention: str
    found: dict[str, Any]
    warnings: list[str]
    _read: Callable[[int], np.ndarray]
    _close: Callable[[], None]

    def __enter__(self) -> "KspaceFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def kspace(self, slices: Sequence[int]) -> np.ndarray:
        """k-space complex64 (n, coils, ky, kx) of the slices with these numbers; InputError when not usable."""
        return np.stack([_finite(self._read(int(k)), self.path, int(k)) * self.mask.pattern for k in slices])

    @property
    def volume(self) -> VolumeGeometry:
        """The volume of the acquisition's own images: their pixel n // 2 lies in the middle of the field of view."""
        slices, _, rows, columns = self.shape
        pixel = self.fov_mm[0] / rows, self.fov_mm[1] / columns
        return self.placement.volume((rows, columns), pixel, slices, (rows // 2, columns // 2))


def open_kspace(path: Path | str, sidecar: Path | None = None, select: Mapping[str, int] | None = None) -> KspaceFile:
    """The k-space in a file.

    sidecar: its description; None for FILE.json beside it, or the file's own. select: of an ISMRMRD file, which
    average (absent: their mean), contrast, phase, repetition, set (absent: the first).
    Raises InputError, naming file and field, for what is missing, damaged or not possible.
    """
    path = Path(path)
    file = ArrayFile(path)
    try:
        where = sidecar or sidecar_path(path)
        if where is not None:
            described = read_sidecar(where)
            if described["kind"] != "kspace":
                raise InputError(f"{where} describes a sinogram, not k-space.")
            if select:
                raise InputError(f"{path}: average, contrast, phase, repetition and set are chosen in ISMRMRD files.")
            return _described(file, described, f"sidecar {where.name}")
        group = None if file.hdf5 is None else ismrmrd.is_ismrmrd(file.hdf5)
        if group is not None:
            return _ismrmrd(file, select or {})
        if select:
            raise InputError(f"{path}: average, contrast, phase, repetition and set are chosen in ISMRMRD files.")
        if file.hdf5 is not None and {"kspace", "ismrmrd_header"} <= set(file.hdf5):
            return _fastmri(file)
        if {"kspace", "sino", "t1"} <= set(file.arrays):
            return _official(file)
        raise InputError(
            f"{path} does not say how it was measured: describe it in {path.name}.json beside it, at least "
            f"by {LEAST['kspace']} (see: mslfusion sensors schema). It holds {listed(sorted(file.arrays))}."
        )
    except BaseException:
        file.close()
        raise


def _described(file: ArrayFile, content: Mapping[str, Any], kind: str) -> KspaceFile:
    path = file.path
    name = content.get("array")
    if name is None:
        likely = [key for key, stored in file.arrays.items() if len(stored.shape) > 1]
        likely = [key for key in likely if file.arrays[key].dtype.kind == "c"] or likely
        if len(likely) != 1:
            raise InputError(f'{path}: name the k-space in "array"; the file holds {listed(sorted(file.arrays))}.')
        name = likely[0]
    array = file.get(name, "array")
    axes = tuple(content.get("axes", _AXES[-len(array.shape) :] if len(array.shape) <= 4 else ()))
    if len(axes) != len(array.shape) or not {"ky", "kx"} <= set(axes):
        raise InputError(
            f"{path}: the k-space '{name}' has the shape {array.shape}, which does not fit \"axes\" {axes}."
        )
    size = dict(zip(axes, array.shape, strict=True))
    if ("parts" in size) == (array.dtype.kind == "c") or size.get("parts", 2) != 2:
        raise InputError(
            f"{path}: the k-space '{name}' is {array.dtype} {array.shape}: complex numbers are needed, or an axis "
            '"parts" of length 2.'
        )
    expected = content.get("matrix")
    if expected is not None and (size["ky"], size["kx"]) != tuple(expected):
        raise InputError(
            f"{path}: the k-space '{name}' has {size['ky']} x {size['kx']} points (ky, kx), \"matrix\" says "
            f"{expected[0]} x {expected[1]}: are its axes swapped?"
        )
    readout, over = content.get("readout", "ky"), int(content.get("oversampling", 1))
    official = content.get("convention", "centred-ortho")
    fov = {"ky": float(content["fov_mm"][0]), "kx": float(content["fov_mm"][1])}
    if over > 1:
        if size[readout] % over:
            raise InputError(f'{path}: {size[readout]} points of "{readout}" are no {over} fold "oversampling".')
        if official != "centred-ortho":
            raise InputError(f'{path}: "oversampling" is removed of the convention centred-ortho only.')
        fov[readout] /= over
    cut = {axis: n // over if axis == readout else n for axis, n in size.items()}
    shape = (size.get("slices", 1), size.get("coils", 1), cut["ky"], cut["kx"])
    crop_axis = (1 if readout == "ky" else 2) if over > 1 else None

    def read(index: int) -> np.ndarray:
        values = _ordered(array, axes, index)
        if official == "uncentred":
            values = np.fft.fftshift(values, axes=(-2, -1))
        return values if crop_axis is None else cropped(values, crop_axis, values.shape[crop_axis] // over)

    given = None if "mask" not in content else _mask_array(file, content["mask"], (size["ky"], size["kx"]), cut)
    found = {"array": name, "stored_shape": list(array.shape), "oversampling": over}
    return _finished(
        file, kind, shape, (fov["ky"], fov["kx"]), placed(content, str(path)),
        "official" if official != "centred-ortho" else official, found, _place_warnings(content, shape[0]), read, given,
    )  # fmt: skip


def _fastmri(file: ArrayFile) -> KspaceFile:
    """fastMRI (Zbontar et al., arXiv:1811.08839): slices[, coils], readout, phase; the readout is cropped to
    reconSpace."""
    path = file.path
    array = file.get("kspace")
    if array.dtype.kind != "c" or len(array.shape) not in (3, 4):
        raise InputError(f"{path}: kspace is {array.dtype} {array.shape}, not complex (slices[, coils], ky, kx).")
    axes = _AXES if len(array.shape) == 4 else ("slices", "ky", "kx")
    size = dict(zip(axes, array.shape, strict=True))
    assert file.hdf5 is not None
    text = _scalar_text(file.hdf5["ismrmrd_header"], path)
    header = ismrmrd.parse_header(text, str(path))
    encoded, recon = header.encoded, header.recon
    rows = size["ky"]
    if not (encoded.fov_mm[0] > 0 and encoded.fov_mm[1] > 0):
        raise InputError(f"{path}: ismrmrd_header lacks encodedSpace/fieldOfView_mm.")
    if rows != encoded.matrix[0] and size["kx"] == encoded.matrix[0]:
        raise InputError(
            f"{path}: kspace has {rows} x {size['kx']} points, but encodedSpace/matrixSize/x, the readout, is "
            f"{encoded.matrix[0]}: its axes are swapped."
        )
    fov = [encoded.fov_mm[0], encoded.fov_mm[1]]
    crop = None
    if recon is not None and 0 < recon.matrix[0] < rows and recon.matrix[0] > 0:
        crop = recon.matrix[0]
        fov[0] *= crop / rows
    shape = (size["slices"], size.get("coils", 1), crop or rows, size["kx"])
    thickness = recon.fov_mm[2] if recon is not None else encoded.fov_mm[2]
    content = {"slice_mm": thickness} if thickness > 0 else {}

    def read(index: int) -> np.ndarray:
        values = _ordered(array, axes, index)
        return values if crop is None else cropped(values, 1, crop)

    found: dict[str, Any] = {"stored_shape": list(array.shape), "readout_cropped_from": rows if crop else None}
    if header.limits is not None:
        found["phase_encoding_limits"] = list(header.limits)
    for reference in ("reconstruction_rss", "reconstruction_esc"):
        if reference in file.arrays:
            found["reference"] = reference
    given = None
    if "mask" in file.arrays:
        given = _mask_array(file, "mask", (rows, size["kx"]), {"ky": shape[2], "kx": size["kx"]})
    return _finished(
        file, "fastMRI", shape, (fov[0], fov[1]), placed(content, str(path)), "centred-ortho", found,
        _place_warnings(content, shape[0]), read, given,
    )  # fmt: skip


def _ismrmrd(file: ArrayFile, select: Mapping[str, int]) -> KspaceFile:
    path, warnings = file.path, []
    unknown = sorted(set(select) - set(ismrmrd.SELECTABLE))
    if unknown:
        raise InputError(f"{path}: {', '.join(unknown)} cannot be chosen; {', '.join(ismrmrd.SELECTABLE)} can.")
    assert file.hdf5 is not None
    header, data = ismrmrd.read_ismrmrd(file.hdf5, path, select)
    slices, coils, readout, phases = data.kspace.shape
    fov = [*header.encoded.fov_mm[:2]]
    for axis, name, count in ((0, "x", readout), (1, "y", phases)):
        if fov[axis] == 0:
            fov[axis] = float(count)
            warnings.append(f"encodedSpace/fieldOfView_mm/{name} is 0: pixels of 1 mm are taken.")
    kspace = data.kspace
    measured = data.measured
    crop = None if header.recon is None else header.recon.matrix[0]
    if crop is not None and crop < readout:
        kspace, fov[0] = cropped(kspace, 2, crop), fov[0] * crop / readout
        measured = np.broadcast_to(measured.any(axis=0), (crop, phases))
    content, place_warnings = _ismrmrd_place(data, header, path)
    found = {
        "stored_shape": list(data.kspace.shape),
        "selectable": data.counts,
        "notes": data.notes,
        "readout_cropped_from": readout if kspace.shape[2] != readout else None,
    }
    shape = (slices, coils, kspace.shape[2], phases)
    return _finished(
        file, "ISMRMRD", shape, (fov[0], fov[1]), placed(content, str(path)), "centred-ortho", found,
        warnings + place_warnings, lambda index: kspace[index], measured,
    )  # fmt: skip


def _ismrmrd_place(data: ismrmrd.Acquisition, header: ismrmrd.Header, path: Path) -> tuple[dict[str, Any], list[str]]:
    """Placement of ISMRMRD slices in the words of the sidecar: image rows run along the readout, columns along phase
    encoding."""
    warnings = []
    read, phase, normal = data.directions
    content: dict[str, Any] = {"centre_mm": data.position[0].tolist()}
    matrix = np.stack((phase, read, normal), axis=1)
    if not np.isfinite(matrix).all() or np.abs(matrix.T @ matrix - np.eye(3)).max() > 1e-3:
        warnings.append("read_dir, phase_dir and slice_dir are no right angles: the axes of the patient are taken.")
    else:
        content["direction"] = matrix.ravel().tolist()
    if not np.isfinite(data.position).all():
        raise InputError(f"{path}: position holds values that are not numbers.")
    if len(data.position) > 1:
        steps = np.diff(data.position @ normal)
        step = float(steps.mean())
        if abs(step) < 1e-6 or np.abs(steps - step).max() > 0.05 * abs(step):
            warnings.append("The slices' positions are missing or not evenly spaced: their thickness is taken.")
            content["slice_mm"] = header.encoded.fov_mm[2] or 1.0
        else:
            content["slice_mm"] = abs(step)
            if step < 0 and "direction" in content:
                matrix[:, 2] *= -1
                content["direction"] = matrix.ravel().tolist()
    elif header.encoded.fov_mm[2] > 0:
        content["slice_mm"] = header.encoded.fov_mm[2]
    else:
        warnings.append("The slice's thickness is not told: 1 mm is taken.")
    return content, warnings


def _official(file: ArrayFile) -> KspaceFile:
    """The MSL authors' .npz: one slice's fully measured k-space, fftshift(fft2(x))."""
    array = file.get("kspace")
    if array.dtype.kind != "c" or len(array.shape) not in (2, 3):
        raise InputError(f"{file.path}: kspace is {array.dtype} {array.shape}, not complex (ky, kx).")
    axes = _AXES[-2:] if len(array.shape) == 2 else ("slices", "ky", "kx")
    size = dict(zip(axes, array.shape, strict=True))
    shape = (size.get("slices", 1), 1, size["ky"], size["kx"])
    fov = shape[2] * _OFFICIAL_PIXEL_MM, shape[3] * _OFFICIAL_PIXEL_MM
    return _finished(
        file, "MSL authors' npz", shape, fov, Placement(), "official", {"stored_shape": list(array.shape)},
        ["The file does not tell pixel and position: the authors' 0.369 mm is taken, and the origin."],
        lambda index: _ordered(array, axes, index), None,
    )  # fmt: skip


def _finished(
    file: ArrayFile,
    kind: str,
    shape: tuple[int, int, int, int],
    fov_mm: tuple[float, float],
    placement: Placement,
    convention: str,
    found: dict[str, Any],
    warnings: list[str],
    read: Callable[[int], np.ndarray],
    measured: np.ndarray | None,
) -> KspaceFile:
    """Check sizes, find out what was measured where nothing tells, and put together what people want to know."""
    path = file.path
    slices, coils, rows, columns = shape
    limits = (("slices", slices, MAX_SLICES), ("coils", coils, MAX_COILS), ("ky", rows, MAX_MATRIX))
    for name, value, most in (*limits, ("kx", columns, MAX_MATRIX)):
        if not 1 <= value <= most:
            raise InputError(f"{path}: k-space has {value} {name}; 1 to {most} are possible.")
    if min(rows, columns) < 8:
        raise InputError(f"{path}: a k-space of {rows} x {columns} (ky, kx) is no image.")
    if coils * rows * columns * 8 > MAX_SLICE_BYTES:
        raise InputError(f"{path}: a slice of k-space {shape} is larger than {MAX_SLICE_BYTES >> 30} GiB.")
    if measured is None:
        measured = np.zeros((rows, columns), bool)
        for index in range(slices):
            measured |= (_finite(read(index), path, index) != 0).any(axis=0)
    if not measured.any():
        raise InputError(f"{path}: its k-space is zero everywhere, or its mask is.")
    mask = mask_of(measured)
    described = {
        "slices": slices,
        "coils": coils,
        "matrix": [rows, columns],
        "fov_mm": [round(value, 4) for value in fov_mm],
        "convention": convention,
        "mask": mask.kind if isinstance(mask, PointMask) else "columns",
        "measured": round(mask.achieved_rate, 5),
        "acceleration": round(mask.achieved_acceleration, 4),
        "placement": placement.to_dict(),
    }
    return KspaceFile(
        path, kind, shape, fov_mm, placement, mask, convention, found | described, warnings, read, file.close
    )


def cropped(kspace: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Centred k-space whose image along `axis` is the middle `size` pixels of the original's: oversampling removed."""
    whole = kspace.shape[axis]
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, axes=axis), axis=axis), axes=axis)
    first = whole // 2 - size // 2
    image = np.take(image, np.arange(first, first + size), axis=axis)
    result = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(image, axes=axis), axis=axis), axes=axis)
    # The same image in the orthonormal convention, whose scale goes with the root of the number of points.
    return (result * math.sqrt(whole / size)).astype(np.complex64)


def _ordered(array: StoredArray, axes: tuple[str, ...], index: int) -> np.ndarray:
    """Slice `index` of a stored array as complex64 (coils, ky, kx)."""
    where = tuple(index if axis == "slices" else slice(None) for axis in axes)
    values = np.asarray(array.part(where))
    left = [axis for axis in axes if axis != "slices"]
    if "parts" in left:
        values = np.moveaxis(values, left.index("parts"), -1).astype(np.float64)
        left.remove("parts")
        values = values[..., 0] + 1j * values[..., 1]
    if "coils" not in left:
        values, left = values[None], ["coils", *left]
    with np.errstate(over="ignore"):
        return values.transpose([left.index(axis) for axis in _AXES[1:]]).astype(np.complex64)


def _mask_array(file: ArrayFile, name: str, shape: tuple[int, int], cut: Mapping[str, int]) -> np.ndarray:
    stored = file.get(name, "mask")
    if stored.shape not in (shape, shape[1:], (1, shape[1])) or stored.dtype.kind not in "biuf":
        raise InputError(f"{file.path}: the mask '{name}' is {stored.dtype} {stored.shape}; {shape} is needed.")
    mask = np.broadcast_to(np.asarray(stored.part(())) != 0, shape)
    if shape != (cut["ky"], cut["kx"]):  # what was cropped holds whole lines of the readout
        axis = 0 if cut["ky"] != shape[0] else 1
        mask = np.broadcast_to(mask.any(axis=axis, keepdims=True), shape)
        mask = mask[: cut["ky"], : cut["kx"]]
    return mask


def _place_warnings(content: Mapping[str, Any], slices: int) -> list[str]:
    warnings = []
    if "centre_mm" not in content:
        warnings.append("The position is not told (centre_mm): the first slice is put at the origin.")
    if slices > 1 and "slice_mm" not in content:
        warnings.append("The distance of the slices is not told (slice_mm): 1 mm is taken.")
    return warnings


def _scalar_text(dataset: Any, path: Path) -> str:
    try:
        if isinstance(dataset, h5py.Dataset) and dataset.size == 1 and dataset.dtype.itemsize < ismrmrd.MAX_HEADER:
            check_references(dataset, path)
            value = dataset[()]
        else:
            value = None
    except FAILURES:
        value = None
    value = value.ravel()[0] if isinstance(value, np.ndarray) and value.size else value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    raise InputError(f"{path}: ismrmrd_header is no text.")


def _finite(values: np.ndarray, path: Path, index: int) -> np.ndarray:
    if not np.isfinite(values).all():
        bad = int(values.size - np.count_nonzero(np.isfinite(values)))
        raise InputError(f"{path}: {bad} values of k-space are not numbers (slice {index}).")
    return values
