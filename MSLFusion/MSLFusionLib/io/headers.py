"""Reading image files whose headers are not trusted.

Sizes are held against MAX_VOXELS and the size of the file before anything is allocated; packed NIfTI files, of which
ITK reads a torn one as zeros, are checked to be complete.
"""

import gzip
import math
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError

MAX_VOXELS = 2**30
"""Volumes beyond 1024^3 voxels (4 GB as float32) are refused."""

_PACKED_RATIO = 1100  # deflate packs at most 1032 : 1
_DETACHED = re.compile(rb"^\s*(?:ElementDataFile\s*=|data ?file:)\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


def checked_header(path: Path, role: str) -> sitk.ImageFileReader:
    """A reader that has read the header of `path`, its sizes checked against the limit and the file's own size.

    Raises InputError when it is no image, larger than MAX_VOXELS, or says it is larger than its file can be.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(
            f"The {role} file {path} is not an image that can be read: NRRD, NIfTI, MetaImage or DICOM is needed."
        ) from error
    voxels = math.prod(reader.GetSize()) * max(1, reader.GetNumberOfComponents())
    if voxels > MAX_VOXELS:
        raise InputError(
            f"The {role} file {path} claims {' x '.join(map(str, reader.GetSize()))} voxels: too large, at most "
            f"{MAX_VOXELS:,} are read."
        )
    vector = "vector" in sitk.GetPixelIDValueAsString(reader.GetPixelID())
    components = reader.GetNumberOfComponents() if vector else 0  # 0: what the type itself implies
    blank = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), components)
    payload = voxels * blank.GetSizeOfPixelComponent()
    available = sum(file.stat().st_size for file in {path, detached_data(path) or path})
    if payload > available * (1 if _stored_raw(path) else _PACKED_RATIO):
        raise InputError(f"The {role} file {path} is damaged: its header claims more data than the file can hold.")
    if is_nifti(path) and not nifti_complete(path, voxels):
        raise InputError(f"The {role} file {path} is damaged or was not copied completely.")
    return reader


def read_pixels(path: Path, role: str, pixel_type: int = sitk.sitkFloat32) -> sitk.Image:
    """The image at `path` after `checked_header`; raises InputError when its data are damaged."""
    try:
        return sitk.ReadImage(str(path), pixel_type)
    except RuntimeError as error:
        raise InputError(f"The {role} file {path} is damaged or was not copied completely.") from error


def is_nifti(path: Path) -> bool:
    """True for .nii and .nii.gz."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def nifti_complete(path: Path, voxels: int) -> bool:
    """True when all `voxels` are there at the size that the header stores them in and the checksum is right."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    limit, count = voxels * 16 + (64 << 20), 0  # the largest type and any header extension; beyond it is a bomb
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as stream:
            needed = 348 + voxels * _nifti_bits(stream.read(348)) // 8
            if not packed:
                return path.stat().st_size >= needed
            count = 348
            while (chunk := stream.read(1 << 20)) and count < limit:
                count += len(chunk)
    except (OSError, EOFError, zlib.error, struct.error):
        return False
    return count >= needed


def nifti_finite(path: Path) -> bool:
    """False when a NIfTI file, which must be complete, stores floating-point values that are not numbers."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if packed else open(path, "rb") as stream:
        header = stream.read(352)
        order = "<" if header[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
        version_2 = struct.unpack_from(order + "i", header)[0] == 540
        kind = {16: "f4", 64: "f8"}.get(struct.unpack_from(order + "h", header, 12 if version_2 else 70)[0])
        if kind is None:
            return True
        first = struct.unpack_from(order + "q", header, 168)[0] if version_2 else _offset(order, header)
        stream.read(min(max(0, first - len(header)), 1 << 24))
        while chunk := stream.read(1 << 22):
            values = np.frombuffer(chunk[: len(chunk) // 8 * 8], order + kind)
            if not np.isfinite(values).all():
                return False
    return True


def _offset(order: str, header: bytes) -> int:
    """Where the values of a NIfTI-1 file begin, stored as a floating-point number."""
    (offset,) = struct.unpack_from(order + "f", header, 108)
    return int(offset) if math.isfinite(offset) else 0


def _nifti_bits(header: bytes) -> int:
    """Stored bits per value of a NIfTI-1 or -2 header (ITK tells the type after rescaling, which may be wider)."""
    order = "<" if header[:4] in (b"\x5c\x01\0\0", b"\x1c\x02\0\0") else ">"
    version_2 = struct.unpack_from(order + "i", header)[0] == 540
    return int(struct.unpack_from(order + "h", header, 14 if version_2 else 72)[0])


def _stored_raw(path: Path) -> bool:
    """True for NRRD and MetaImage files whose voxels are not packed."""
    with open(path, "rb") as file:
        start = file.read(65536)
    if start.startswith(b"NRRD"):
        return re.search(rb"^encoding: *raw\s*$", start, re.MULTILINE | re.IGNORECASE) is not None
    is_meta = path.suffix.lower() in (".mha", ".mhd")
    return is_meta and re.search(rb"^CompressedData *= *True", start, re.MULTILINE | re.IGNORECASE) is None


def detached_data(path: Path) -> Path | None:
    """The data file beside a header-only file (.mhd, .nhdr), where there is one."""
    if path.suffix.lower() not in (".mhd", ".nhdr"):
        return None
    with open(path, "rb") as file:
        match = _DETACHED.search(file.read(65536))
    if match is None:
        return None
    data = path.parent / os.fsdecode(match.group(1))
    return data if data.is_file() else None
