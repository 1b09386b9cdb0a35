"""A short look at a file: is it measured CT or MR data that we can read? Nothing but its first (and last) bytes, its
list of contents and its description are read; neither torch nor h5py is needed."""

import zipfile
import zlib
from pathlib import Path

_HDF5 = b"\x89HDF\r\n\x1a\n"
_MATLAB5 = b"MATLAB 5.0 MAT-file"
_LOOKED_AT = 2**18
"""Bytes at the start and at the end of an HDF5 file, where names of groups, datasets and their parts are."""
_UNPACKED = 2**14
_MOST_MEMBERS = 1000
SINOGRAM, KSPACE = "sinogram", "kspace"
ENDINGS = ("h5", "hdf5", "mat", "npy", "npz", "nrrd", "nii", "nii.gz", "tif", "tiff")
"""Of the files that may hold raw data."""


def kind_of(path: str) -> str | None:
    """SINOGRAM or KSPACE by the description beside the file or by what the file is; None for anything else."""
    name = Path(path).name.lower()
    if not name.endswith(tuple(f".{ending}" for ending in ENDINGS)):
        return None
    described = _described(Path(path))
    if described is not None:
        return described
    try:
        with open(path, "rb") as file:
            start = file.read(_LOOKED_AT)
            size = file.seek(0, 2)
            file.seek(max(len(start), size - _LOOKED_AT))
            names = start + file.read(_LOOKED_AT)
    except (OSError, ValueError):
        return None
    if _HDF5 in (start[: len(_HDF5)], start[512 : 512 + len(_HDF5)]):  # MATLAB puts 512 bytes before it
        return _hdf5(names)
    if start.startswith(_MATLAB5):
        names = _first_variable(start)  # a struct with fields of these names, the Helsinki laboratory's
        return SINOGRAM if b"sinogram\0" in names and b"parameters\0" in names else None
    return _npz(path) if name.endswith(".npz") and start.startswith(b"PK") else None


def _described(path: Path) -> str | None:
    """The kind that the description beside the file tells; None without a description of ours."""
    from MSLFusionLib.errors import InputError
    from MSLFusionLib.io.sidecar import read_sidecar, sidecar_path

    try:
        beside = sidecar_path(path) if path.is_file() else None
        return None if beside is None else str(read_sidecar(beside)["kind"])
    except (InputError, OSError, ValueError):
        return None


def _hdf5(names: bytes) -> str | None:
    if b"active_channels" in names and b"kspace_encode_step_1" in names:  # parts of an acquisition's head
        return KSPACE
    if b"ismrmrd_header" in names and b"kspace" in names:
        return KSPACE
    return SINOGRAM if b"sinogram" in names and b"distanceSourceOrigin" in names else None


def _first_variable(start: bytes) -> bytes:
    """The beginning of the first variable of a MATLAB file, unpacked where it is packed."""
    if start[128:132] != b"\x0f\x00\x00\x00":
        return start
    try:
        return zlib.decompressobj().decompress(start[136:], _UNPACKED)
    except zlib.error:
        return b""


def _npz(path: str) -> str | None:
    """The MSL authors' files hold k-space beside a sinogram and images."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return None
    return KSPACE if len(names) < _MOST_MEMBERS and {"kspace.npy", "sino.npy", "t1.npy"} <= set(names) else None
