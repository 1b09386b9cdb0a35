"""Arrays in the files that people keep raw data in: NPY, NPZ, MATLAB, HDF5, NRRD, NIfTI, TIFF.

One way to look at what a file holds and to read parts of it. What headers say of sizes is compared with the bytes
that are there before anything is made of that size; nothing is unpickled, and nothing is read from other files.
"""

import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from types import TracebackType
from typing import Any, Literal

import h5py
import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.hdf5 import FAILURES, PACKED_RATIO, check_stored, first_line, open_hdf5
from MSLFusionLib.io.mat5 import is_mat5, read_mat5

MAX_BYTES = 8 * 2**30
"""Of one array; only HDF5 and NPY, which are read in parts, come near."""
MAX_AXES = 8
MAX_ARRAYS = 4096
_IMAGES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".tif", ".tiff", ".mha", ".mhd")
_HEADER_BYTES = 65536


@dataclass(frozen=True)
class StoredArray:
    """An array in a file. `part(index)` reads array[index] (slices and whole numbers only)."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    part: Callable[[Any], np.ndarray]

    @property
    def nbytes(self) -> int:
        """Its size in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


class ArrayFile:
    """An open file of arrays; use as a context manager.

    arrays: by name ("/"-separated in groups and structs; "" for the one array of an NPY or an image). texts: the
    texts beside them. spacing, origin, direction: of an image file, in SimpleITK's order, otherwise None.
    Raises InputError when the file is missing, of an unknown kind, damaged, or larger than it can be.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.arrays: dict[str, StoredArray] = {}
        self.texts: dict[str, str] = {}
        self.placement: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]] | None = None
        self.hdf5: h5py.File | None = None
        self._seen = 0
        if not self.path.is_file():
            raise InputError(f"The file {self.path} does not exist.")
        with open(self.path, "rb") as file:
            start = file.read(1024)
        if not start:
            raise InputError(f"The file {self.path} is empty.")
        try:
            self._read(start)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self.hdf5 is not None:
            self.hdf5.close()

    def get(self, name: str, field: str = "") -> StoredArray:
        """The array of that name; InputError, naming what there is and the `field` that asks for it, when missing."""
        try:
            return self.arrays[name.strip("/")]
        except KeyError:
            asked = f' ("{field}")' if field else ""
            there = listed(sorted(self.arrays))
            raise InputError(f"{self.path} holds no array '{name}'{asked}; it holds {there}.") from None

    def _read(self, start: bytes) -> None:
        name = self.path.name.lower()
        if start.startswith(b"\x93NUMPY"):
            self._read_npy()
        elif start.startswith(b"PK") and name.endswith(".npz"):
            self._read_npz()
        elif h5py.is_hdf5(self.path):
            self._read_hdf5()
        elif is_mat5(start):
            self._add(read_mat5(self.path), "")
        elif name.endswith(_IMAGES):
            self._read_image()
        else:
            raise InputError(
                f"{self.path} is of no kind that is read: NPY, NPZ, MATLAB (version 5 or later), HDF5, NRRD, NIfTI or "
                "TIFF is needed, or the file is damaged."
            )

    def _read_npy(self) -> None:
        order: Literal["C", "F"]
        with open(self.path, "rb") as file:
            shape, order, dtype = _npy_header(file, self.path)
            offset = file.tell()
        stored = self._checked("", shape, dtype)
        if self.path.stat().st_size - offset != stored.nbytes:
            raise InputError(f"{self.path} is damaged: its header says {stored.nbytes:,} bytes of data follow.")

        def part(index: Any) -> np.ndarray:
            return np.array(np.memmap(self.path, dtype, "r", offset, shape, order)[index])

        self.arrays[""] = StoredArray("", shape, dtype, part)

    def _read_npz(self) -> None:
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = archive.infolist()
                if len(members) > MAX_ARRAYS:
                    raise InputError(f"{self.path} holds {len(members)} arrays: too many.")
                for member in members:
                    if member.filename.endswith(".npy"):
                        self._add_npz(archive, member)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise InputError(f"{self.path} is damaged: it is no whole NPZ file ({first_line(error)}).") from None

    def _add_npz(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        name = member.filename.removesuffix(".npy")
        with archive.open(member) as file:
            try:
                shape, order, dtype = _npy_header(file, self.path)
            except _ObjectsError:
                return  # pickled: never read
            header = file.tell()
        stored = self._checked(name, shape, dtype)
        too_packed = member.file_size > PACKED_RATIO * max(1, member.compress_size)
        if member.file_size - header != stored.nbytes or too_packed or member.compress_size > self.path.stat().st_size:
            raise InputError(f"{self.path} is damaged: the array '{name}' is not as large as its header says.")
        kept: list[np.ndarray] = []

        def part(index: Any) -> np.ndarray:
            if not kept:
                kept.append(_npz_array(self.path, member.filename, header, shape, order, dtype))
            return kept[0][index]

        self.arrays[name] = StoredArray(name, shape, dtype, part)

    def _read_hdf5(self) -> None:
        self.hdf5 = open_hdf5(self.path)
        try:
            self._walk(self.hdf5, "", 0)
        except FAILURES as error:
            raise InputError(f"{self.path} is damaged: it is no whole HDF5 file ({first_line(error)}).") from None

    def _walk(self, group: Any, prefix: str, depth: int) -> None:
        if depth > 8:
            return
        for key in group:
            self._seen += 1
            if self._seen > MAX_ARRAYS:
                raise InputError(f"{self.path} holds too many arrays.")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink) or key == "#refs#":
                continue  # links to other places and files are not followed
            item = group[key]
            name = f"{prefix}{key}"
            if isinstance(item, h5py.Group):
                self._walk(item, f"{name}/", depth + 1)
            elif isinstance(item, h5py.Dataset):
                self._add_hdf5(name, item)

    def _add_hdf5(self, name: str, dataset: Any) -> None:
        if dataset.shape is None or dataset.is_virtual or dataset.external:
            return
        dtype = _plain(dataset.dtype)
        if dtype is None:
            return
        if dataset.dtype == np.uint16 and _attribute(dataset, "MATLAB_class") == "char" and dataset.size < 4096:
            self.texts[name] = "".join(map(chr, dataset[()].ravel().tolist()))
            return
        stored = self._checked(name, tuple(int(n) for n in dataset.shape), dtype)
        check_stored(dataset, self.path, dtype.itemsize)
        # MATLAB keeps its arrays with the axes the other way round.
        turned = _attribute(dataset, "MATLAB_class") is not None

        def part(index: Any) -> np.ndarray:
            try:
                if turned:
                    whole = dataset[()].astype(dtype, copy=False) if dataset.dtype == dtype else _complex(dataset[()])
                    return whole.transpose()[index]
                values = dataset[index]
            except FAILURES as error:
                raise InputError(f"{self.path} is damaged: '{name}' cannot be read ({first_line(error)}).") from None
            return values if values.dtype == dtype else _complex(values)

        shape = stored.shape[::-1] if turned else stored.shape
        self.arrays[name] = StoredArray(name, shape, dtype, part)

    def _read_image(self) -> None:
        import SimpleITK as sitk

        from MSLFusionLib.io.headers import checked_header, is_nifti, nifti_finite, read_pixels

        display = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            reader = checked_header(self.path, "raw data")
            if reader.GetNumberOfComponents() > 1:
                raise InputError(f"{self.path} has {reader.GetNumberOfComponents()} values per pixel: give one.")
            image = read_pixels(self.path, "raw data")
            if is_nifti(self.path) and not nifti_finite(self.path):
                # ITK's reader makes zeros of them
                raise InputError(f"{self.path} holds values that are not numbers.")
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(display)
        self.placement = (image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        array = sitk.GetArrayFromImage(image)
        self.arrays[""] = StoredArray("", array.shape, array.dtype, lambda index: array[index])

    def _add(self, tree: Mapping[str, Any], prefix: str) -> None:
        """The variables of a MATLAB file."""
        for key, value in tree.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping):
                self._add(value, f"{name}/")
            elif isinstance(value, str):
                self.texts[name] = value
            elif isinstance(value, np.ndarray) and len(self.arrays) < MAX_ARRAYS:
                self.arrays[name] = StoredArray(name, value.shape, value.dtype, value.__getitem__)

    def _checked(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> StoredArray:
        if len(shape) > MAX_AXES or (shape and min(shape) < 0):
            raise InputError(f"{self.path}: the array '{name}' has the impossible shape {shape}.")
        stored = StoredArray(name, shape, dtype, lambda index: np.zeros(0))
        if stored.nbytes > MAX_BYTES:
            raise InputError(
                f"{self.path}: the array '{name}' of shape {shape} would take {stored.nbytes / 2**30:,.0f} GiB; at "
                f"most {MAX_BYTES >> 30} are read, or the file is damaged."
            )
        return stored


class _ObjectsError(InputError):
    """The array holds Python objects."""


def _npy_header(file: Any, path: Path) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype]:
    """Shape, order ("C" or "F") and type from the header of an NPY stream."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file, max_header_size=_HEADER_BYTES)
    except (
        ValueError, TypeError, SyntaxError, EOFError, OSError, RecursionError, MemoryError, KeyError, TokenError,
    ) as error:  # fmt: skip
        raise InputError(f"{path} is damaged: its NumPy header cannot be read ({first_line(error)}).") from None
    if dtype.hasobject:
        raise _ObjectsError(f"{path} holds Python objects, which are never read: save plain numbers.")
    if dtype.kind not in "biufc" or dtype.subdtype is not None:
        raise InputError(f"{path} holds values of type {dtype}, not numbers.")
    return tuple(int(n) for n in shape), "F" if fortran else "C", dtype


def _npz_array(
    path: Path, member: str, header: int, shape: tuple[int, ...], order: Literal["C", "F"], dtype: np.dtype
) -> np.ndarray:
    size = math.prod(shape) * dtype.itemsize
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            file.read(header)
            data = file.read(size)
            if len(data) != size or file.read(1):
                raise EOFError("it ends too early")
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{path} is damaged: the array '{member}' cannot be read ({first_line(error)}).") from None
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _plain(dtype: np.dtype) -> np.dtype | None:
    """The type that values of an HDF5 type are read as; None for what are no numbers."""
    if dtype.kind in "biufc" and dtype.subdtype is None:
        return dtype
    names = dtype.names or ()
    if len(names) == 2 and names[0].lower()[:1] == "r" and names[1].lower()[:1] == "i":
        return np.dtype(np.complex64 if dtype[0].itemsize <= 4 else np.complex128)
    return None


def _complex(values: np.ndarray) -> np.ndarray:
    first, second = values.dtype.names or ("", "")
    return values[first] + 1j * values[second]


def _attribute(dataset: Any, name: str) -> str | None:
    """A text of fixed length, as MATLAB writes them; others are not read."""
    if name not in dataset.attrs:
        return None
    kind = dataset.attrs.get_id(name).get_type()
    if not isinstance(kind, h5py.h5t.TypeStringID) or kind.is_variable_str() or kind.get_size() > 1000:
        return None
    value = dataset.attrs[name]
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def listed(names: "list[str]", most: int = 12) -> str:
    """Names for a sentence, the first few of them."""
    shown = [name or "(one unnamed array)" for name in names[:most]]
    return ", ".join(shown) + (", ..." if len(names) > most else "") if shown else "none"
