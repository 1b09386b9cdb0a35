"""Sensor data in HDF5: sinogram and k-space with all that is needed to reconstruct them where the CT lay.

Layout (attributes ending in _json hold JSON text):

/                   format = "mslfusion-sensors", version = 1 or 2, provenance_json, plan_json, occupied_json,
                    grid_json: how network slices lie in the CT volume, with its size, spacing_mm, origin_mm (LPS)
                    and direction, so that a reconstruction returns there
/ct/sinogram        float32 (slices, views, bins): line integrals of the attenuation in 1/mm times mm, no unit;
                    geometry_json: the scan (physics.geometry), lengths in mm, angles in radians
/mr/kspace          complex64 (slices, coils, ky, kx), zero where not measured; convention: see physics.mr;
                    mask_json: the measured columns (kx) or points. In version 1 the Fourier transform of the MR on
                    the network's grid, in network units [0, 1]; scale_json: the MR values that 0 and 1 stand for.
                    In version 2 as it was measured, in the scanner's own units and on its own grid:
                    acquired_json: {"matrix": [ky, kx], "fov_mm": [along ky, along kx], "grid": as grid_json, for the
                    MR's own slices, "transform": 16 numbers, 4 x 4 row by row, from points of grid_json's space to
                    the MR's in mm, or null where both are one}

Version 2 is written where acquired_json is. Either of /ct and /mr may be absent. Both are written and read slice by
slice. Files of others are not trusted: shapes and types must agree with the descriptions, and data outside the file
are refused.
"""

import errno
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.io.hdf5 import FAILURES, check_attribute_references, check_stored, first_line, open_hdf5

FORMAT = "mslfusion-sensors"
VERSIONS = (1, 2)
MAX_SLICES = 65536
MAX_SLICE_BYTES = 2**31
MAX_MATRIX = 8192
MAX_JSON = 16 * 2**20


@dataclass(frozen=True)
class SensorHeader:
    """What describes the data: dictionaries as the classes of physics and recon give and read them.

    grid: recon.grid.NetworkGrid. geometry: physics.geometry.FanBeamGeometry, None without CT. mask:
    physics.masks.SamplingMask, None without MR. convention: of the Fourier transform. mr_scale:
    recon.scaling.IntensityScale. coils: channels of k-space. occupied: numbers of the slices that hold something,
    None for all. plan: what was simulated, None for a measurement. acquired: of a measured MR its matrix, field of
    view and own grid (see the module), None for a simulated one. provenance: where the data came from.
    """

    grid: dict[str, Any]
    geometry: dict[str, Any] | None
    mask: dict[str, Any] | None
    convention: str = "centred-ortho"
    mr_scale: dict[str, Any] | None = None
    coils: int = 1
    occupied: list[int] | None = None
    plan: dict[str, Any] | None = None
    acquired: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def slices(self) -> int:
        """Number of slices, from the grid; raises InputError when the grid does not tell."""
        return _grid_shape(self.grid)[0]

    @property
    def sinogram_shape(self) -> tuple[int, int, int] | None:
        """(slices, views, bins), None without CT."""
        if self.geometry is None:
            return None
        try:
            views, bins = len(self.geometry["angles"]), int(self.geometry["bins"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"The CT geometry of the sensor data is damaged: {error!r}.") from error
        return self.slices, views, bins

    @property
    def kspace_shape(self) -> tuple[int, int, int, int] | None:
        """(slices, coils, ky, kx), None without MR."""
        if self.mask is None:
            return None
        if self.acquired is None:
            slices, rows, columns = _grid_shape(self.grid)
            return slices, self.coils, rows, columns
        try:
            rows, columns = (int(n) for n in self.acquired["matrix"])
            slices = _grid_shape(self.acquired["grid"])[0]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"The description of the acquired k-space is damaged: {error!r}.") from error
        if not (1 <= rows <= MAX_MATRIX and 1 <= columns <= MAX_MATRIX):
            raise InputError(f"An acquired k-space of {rows} x {columns} points is not possible.")
        return slices, self.coils, rows, columns

    @property
    def nbytes(self) -> int:
        """Bytes of the data before compression: what the disk must have free."""
        shapes = ((self.sinogram_shape, 4), (self.kspace_shape, 8))
        return sum(size * math.prod(shape) for shape, size in shapes if shape is not None)


def _grid_shape(grid: Mapping[str, Any]) -> tuple[int, int, int]:
    """Slices, rows and columns of a grid (recon.grid.NetworkGrid as a dictionary)."""
    try:
        size = [int(n) for n in grid["volume"]["size"]]
        rows, columns = (int(n) for n in grid["size"])
        slices = size[2 - int(grid["slice_axis"])]
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"The image grid of the sensor data is damaged: {error!r}.") from error
    if not (1 <= slices <= MAX_SLICES and rows >= 1 and columns >= 1):
        raise InputError("The image grid of the sensor data is not possible.")
    return slices, rows, columns


class SensorWriter:
    """Writes a sensors file slice by slice; it appears under its name only when the `with` block ends well.

    Raises InputError when the header describes no data, the folder cannot be written or the disk is full.
    """

    def __init__(self, path: Path | str, header: SensorHeader) -> None:
        if header.geometry is None and header.mask is None:
            raise InputError("Sensor data need a CT geometry, a k-space mask, or both.")
        self.path = Path(path)
        self.header = header
        self._stack = ExitStack()
        self._sinogram: Any = None
        self._kspace: Any = None

    def __enter__(self) -> "SensorWriter":
        header = self.header
        sinogram_shape, kspace_shape = header.sinogram_shape, header.kspace_shape
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            file = h5py.File(temporary, "w")
            stack.callback(_numbered_errors(file.close))
            file.attrs["format"] = FORMAT
            file.attrs["version"] = VERSIONS[0] if header.acquired is None else VERSIONS[1]
            _put(file, "grid", header.grid)
            _put(file, "plan", header.plan)
            _put(file, "occupied", header.occupied)
            _put(file, "provenance", header.provenance)
            if sinogram_shape is not None:
                self._sinogram = file.create_dataset(
                    "ct/sinogram", sinogram_shape, np.float32, chunks=(1, *sinogram_shape[1:])
                )
                _put(self._sinogram, "geometry", header.geometry)
            if kspace_shape is not None:
                # Unmeasured columns are zeros, which the lightest compression removes.
                self._kspace = file.create_dataset(
                    "mr/kspace", kspace_shape, np.complex64, chunks=(1, 1, *kspace_shape[2:]),
                    compression="gzip", compression_opts=1,
                )  # fmt: skip
                self._kspace.attrs["convention"] = header.convention
                _put(self._kspace, "mask", header.mask)
                _put(self._kspace, "scale", header.mr_scale)
                if header.acquired is not None:
                    _put(self._kspace, "acquired", header.acquired)
            self._stack = stack.pop_all()
        return self

    def write(self, slices: Sequence[int], sinogram: np.ndarray | None, kspace: np.ndarray | None) -> None:
        """Write slices with these numbers: sinogram (n, views, bins), kspace (n, coils, ky, kx)."""
        for dataset, values in ((self._sinogram, sinogram), (self._kspace, kspace)):
            if dataset is not None and values is not None:
                store = _numbered_errors(dataset.__setitem__)
                for index, value in zip(slices, values, strict=True):
                    store(int(index), value)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class SensorReader:
    """Reads a sensors file slice by slice; use as a context manager.

    Raises InputError, naming the file, when it is missing, not HDF5, of another format, or when its data do not
    have the shape and type that its descriptions say.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"The sensors file {self.path} does not exist.")
        self._file = open_hdf5(self.path)
        try:
            for name in ("ct/sinogram", "mr/kspace"):
                self._dataset(name)  # none that refers to other places
            check_attribute_references(self.path)
            self.header = self._read_header()
        except InputError:
            self._file.close()
            raise
        except FAILURES as error:
            self._file.close()
            raise InputError(f"{self.path} is damaged: its header cannot be read ({first_line(error)}).") from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "SensorReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def sinogram(self, slices: Sequence[int]) -> np.ndarray:
        """Sinograms float32 (n, views, bins) of the slices with these numbers."""
        return self._slices("ct/sinogram", slices)

    def kspace(self, slices: Sequence[int]) -> np.ndarray:
        """k-space complex64 (n, coils, ky, kx) of the slices with these numbers."""
        return self._slices("mr/kspace", slices)

    def _slices(self, name: str, slices: Sequence[int]) -> np.ndarray:
        try:
            values = np.stack([self._file[name][int(index)] for index in slices])
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"{self.path} is damaged: {name} cannot be read.") from error
        if not np.isfinite(values).all():
            raise InputError(f"{self.path}: {name} holds values that are not numbers.")
        return values

    def _read_header(self) -> SensorHeader:
        file = self._file
        if _text(file.attrs.get("format")) != FORMAT:
            raise InputError(
                f"{self.path} is an HDF5 file, but not a sensors file of MSLFusion: make one with 'mslfusion "
                "simulate' or 'mslfusion sensors convert'."
            )
        version = file.attrs.get("version")
        if not any(np.array_equal(version, known) for known in VERSIONS):
            known = " and ".join(map(str, VERSIONS))
            raise InputError(f"{self.path} has version {version} of the sensors format; {known} can be read.")
        sinogram, kspace = self._dataset("ct/sinogram"), self._dataset("mr/kspace")
        if sinogram is None and kspace is None:
            raise InputError(f"{self.path} holds neither a sinogram nor k-space.")
        convention = None if kspace is None else _text(kspace.attrs.get("convention"))
        if kspace is not None and (convention is None or kspace.ndim != 4):
            raise InputError(f"{self.path}: its k-space has no Fourier convention or not four dimensions.")
        header = SensorHeader(
            grid=self._json(file, "grid", dict) or {},
            geometry=None if sinogram is None else self._json(sinogram, "geometry", dict) or {},
            mask=None if kspace is None else self._json(kspace, "mask", dict) or {},
            convention=convention or "centred-ortho",
            mr_scale=None if kspace is None else self._json(kspace, "scale", dict),
            coils=1 if kspace is None else int(kspace.shape[1]),
            occupied=self._json(file, "occupied", list),
            plan=self._json(file, "plan", dict),
            acquired=None if kspace is None else self._json(kspace, "acquired", dict),
            provenance=self._json(file, "provenance", dict) or {},
        )
        try:
            shapes = header.sinogram_shape, header.kspace_shape
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error
        self._check(sinogram, "ct/sinogram", shapes[0], np.float32)
        self._check(kspace, "mr/kspace", shapes[1], np.complex64)
        occupied = header.occupied
        whole = occupied is None or all(isinstance(n, int) and not isinstance(n, bool) for n in occupied)
        if not whole or (occupied and not 0 <= min(occupied) <= max(occupied) < header.slices):
            raise InputError(f"{self.path}: its list of occupied slices does not fit its grid.")
        return header

    def _dataset(self, name: str) -> Any:
        """A dataset that lies in this very file, None when absent."""
        group, leaf = name.split("/")
        try:
            for place in (group, name):
                link = self._file.get(place, getlink=True)
                if link is None:
                    return None
                if not isinstance(link, h5py.HardLink):
                    raise InputError(f"{self.path}: {place} points to data elsewhere; that is not read.")
            dataset = self._file[name]
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{self.path} is damaged: {leaf} cannot be read.") from error
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise InputError(f"{self.path}: {name} is no dataset stored in this file.")
        return dataset

    def _check(self, dataset: Any, name: str, shape: tuple[int, ...] | None, kind: type) -> None:
        if dataset is None or shape is None:
            return
        if dataset.dtype != np.dtype(kind) or dataset.shape != shape:
            raise InputError(
                f"{self.path}: {name} is {dataset.dtype} {dataset.shape}, its description says "
                f"{np.dtype(kind)} {shape}."
            )
        check_stored(dataset, self.path)
        chunk = dataset.chunks or dataset.shape
        for extent in (dataset.shape[1:], chunk):
            if math.prod(extent) * dataset.dtype.itemsize > MAX_SLICE_BYTES:
                raise InputError(f"{self.path}: a slice of {name} is larger than {MAX_SLICE_BYTES >> 30} GiB.")

    def _json(self, place: Any, name: str, kind: type) -> Any:
        text = _text(place.attrs.get(f"{name}_json"))
        if text is None:
            return None
        try:
            value = json.loads(text) if len(text) <= MAX_JSON else ...
        except (ValueError, RecursionError):
            value = ...
        if value is not None and not isinstance(value, kind):
            raise InputError(f"{self.path}: its description '{name}' is damaged.")
        return value


def _put(place: Any, name: str, value: Any) -> None:
    """Store a JSON-able value as a variable-length string (attributes of fixed length end at 64 kB)."""
    place.attrs.create(f"{name}_json", json.dumps(value), dtype=h5py.string_dtype())


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def _numbered_errors(function: Callable[..., None]) -> Callable[..., None]:
    """`function` whose OSErrors carry the system's error number, which HDF5 puts into its text only."""

    def call(*arguments: Any) -> None:
        try:
            function(*arguments)
        except (OSError, RuntimeError) as error:
            number = re.search(r"errno = (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error

    return call
