"""The layout of the Retrospective Image Registration Evaluation project: header.ascii beside image.bin.

The header is lines of "key := value"; the voxels are signed 16-bit integers, most significant byte first, row by
row and slice by slice, plain or packed (image.bin.Z by `compress`, image.bin.gz by gzip). "Patient orientation"
names the directions in which columns, rows and slices count: L left, P posterior, H head and their opposites.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.headers import MAX_VOXELS
from MSLFusionLib.io.lzw import unpacked

HEADER = "header.ascii"
_DATA = ("image.bin", "image.bin.Z", "image.bin.gz")
_LARGEST_HEADER = 1 << 20
_DIRECTIONS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}


def rire_folder(path: Path) -> Path | None:
    """The folder of the volume when `path` is one in this layout, or its header; otherwise None."""
    folder = path.parent if path.name == HEADER else path
    return folder if (folder / HEADER).is_file() else None


def rire_files(folder: Path) -> list[Path]:
    """The header and the voxels, the plain ones if they are there in several forms; InputError without voxels."""
    data = next((folder / name for name in _DATA if (folder / name).is_file()), None)
    if data is None:
        raise InputError(f"The folder {folder} has a {HEADER} but no image.bin, image.bin.Z or image.bin.gz.")
    return [folder / HEADER, data]


def read_rire(folder: Path, role: str) -> sitk.Image:
    """The volume in `folder` as float32; InputError, naming file and remedy, when it is damaged."""
    header, data = rire_files(folder)
    fields = _fields(header, role)
    try:
        columns, rows, slices = (int(fields[key]) for key in ("columns", "rows", "slices"))
        row_mm, column_mm = (float(part) for part in fields["pixel size"].split(":"))
        slice_mm = float(fields["slice thickness"])
    except (KeyError, ValueError) as error:
        raise InputError(f"The {role} header {header} lacks its sizes, or they are no numbers: {error}.") from error
    if min(rows, columns, slices) < 1 or rows * columns * slices > MAX_VOXELS:
        raise InputError(f"The {role} header {header} claims {columns} x {rows} x {slices} voxels: not possible.")
    if not all(0 < mm < 1000 for mm in (row_mm, column_mm, slice_mm)):
        raise InputError(f"The {role} header {header} has a voxel size that cannot be right.")
    needed = 2 * rows * columns * slices
    content = _content(data, needed, role)
    if len(content) < needed:
        raise InputError(f"The {role} file {data} is damaged: {len(content):,} of {needed:,} bytes are there.")
    values = np.frombuffer(content, ">i2", count=needed // 2).astype(np.float32)
    image = sitk.GetImageFromArray(values.reshape(slices, rows, columns))
    image.SetSpacing((column_mm, row_mm, slice_mm))
    image.SetDirection(_direction(fields.get("patient orientation", "L : P : H"), header, role))
    return image


def _fields(header: Path, role: str) -> dict[str, str]:
    if header.stat().st_size > _LARGEST_HEADER:
        raise InputError(f"The {role} header {header} is far too long for one.")
    lines = header.read_text(encoding="latin-1").splitlines()
    pairs = (line.split(":=", 1) for line in lines if ":=" in line)
    return {key.strip().lower(): value.strip() for key, value in pairs}


def _content(data: Path, needed: int, role: str) -> bytes:
    """The voxels' bytes, unpacked, at most `needed` of them."""
    try:
        if data.suffix == ".gz":
            with gzip.open(data, "rb") as stream:
                return stream.read(needed)
        if data.suffix == ".Z":
            return unpacked(data.read_bytes(), needed)
        with open(data, "rb") as stream:
            return stream.read(needed)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"The {role} file {data} is damaged: {error}.") from error


def _direction(orientation: str, header: Path, role: str) -> list[float]:
    """Row-major cosines: the columns are where x, y and z count to, in LPS."""
    letters = [part.strip().upper() for part in orientation.split(":")]
    axes = [_DIRECTIONS.get(letter, (0, 0, 0)) for letter in letters]
    if len(axes) != 3 or abs(round(float(np.linalg.det(np.array(axes, float))))) != 1:
        raise InputError(f"The {role} header {header} has an orientation '{orientation}' that is not possible.")
    return [float(v) for v in np.array(axes).T.ravel()]
