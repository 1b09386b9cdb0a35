"""Volumes on disk <-> SimpleITK images, with every check that a file from anywhere needs.

Headers are not trusted (see `headers`). Nothing but the voxels and their geometry is kept: no DICOM tags, no header
comments.
"""

import math
import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.io import dicom
from MSLFusionLib.io.atomic import atomic_path, free_bytes, writable_folder
from MSLFusionLib.io.headers import (
    MAX_VOXELS,
    checked_header,
    detached_data,
    is_nifti,
    nifti_complete,
    read_pixels,
)
from MSLFusionLib.io.rire import read_rire, rire_files, rire_folder
from MSLFusionLib.io.segmentations import read_segmentation

__all__ = ["atomic_path", "read_segmentation", "read_volume", "source_files", "writable_folder", "write_volume"]

MIN_IN_PLANE = 16
MIN_SLICES = 2
SPACING_RANGE_MM = (1e-3, 100.0)
WRITABLE = (".nrrd", ".nii", ".nii.gz", ".mha")


def read_volume(path: str | os.PathLike[str], role: str = "CT") -> sitk.Image:
    """The scalar 3-D volume at `path` as float32, with its geometry and nothing else.

    path: NRRD, NIfTI, MetaImage, any other file ITK reads, a DICOM file (its whole series is read), a folder with
    one DICOM series, or a folder with RIRE's header.ascii and image.bin (or that header). role: what the file is
    for, used in error messages.
    Raises InputError, naming file and remedy, when it is missing, no image, damaged, colour, complex, 4-D, a single
    slice, too large or too small, not finite, constant, or its geometry is unusable.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(f"The {role} file {source} does not exist.")
    if source.is_file() and source.stat().st_size == 0:
        raise InputError(f"The {role} file {source} is empty.")
    display = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = _read(source, role)
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(display)
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    _check_extent(image, role, source)
    _check_values(image, role, source)
    return image


def write_volume(image: sitk.Image, path: str | os.PathLike[str]) -> Path:
    """Write a volume, compressed, under its final name only when it is whole; returns the path.

    Raises InputError for a suffix other than WRITABLE and when the folder or the disk does not take the file.
    """
    target = Path(path)
    if not target.name.lower().endswith(WRITABLE):
        raise InputError(f"Cannot write {target}: name the volume with one of {', '.join(WRITABLE)}.")
    with atomic_path(target) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            full = free_bytes(target.parent) < image.GetNumberOfPixels()
            reason = "the disk is full" if full else "the disk may be full or the folder not writable"
            raise InputError(f"Cannot write {target}: {reason}.") from error
        if is_nifti(temporary) and not nifti_complete(temporary, image.GetNumberOfPixels()):
            # ITK reports no error when the disk fills up under a NIfTI file
            raise InputError(f"Cannot write {target}: the disk is full; free some space.")
    return target


def source_files(path: str | os.PathLike[str]) -> list[Path]:
    """All files that a volume at `path` is made of: a folder's files, a DICOM series, a header and its data."""
    source = Path(path)
    rire = rire_folder(source)
    if rire is not None:
        return rire_files(rire)
    if source.is_dir():
        return sorted(item for item in source.iterdir() if item.is_file())
    data = detached_data(source)
    if data is not None:
        return [source, data]
    if source.is_file() and dicom.header(source):
        return [Path(name) for name in dicom.series_files(source, "DICOM")]
    return [source]


def _read(source: Path, role: str) -> sitk.Image:
    rire = rire_folder(source)
    if rire is not None:
        return read_rire(rire, role)
    return _read_series(source, role) if source.is_dir() else _read_file(source, role)


def _read_file(path: Path, role: str) -> sitk.Image:
    reader = checked_header(path, role)
    _check_scalar(reader, role, path)
    if dicom.is_dicom(reader) and reader.GetSize()[2:] in ((), (1,)):
        return _read_files(dicom.series_files(path, role), path, role)
    image = read_pixels(path, role)
    if image.GetDimension() == 4:
        size = [*image.GetSize()[:3], 0]
        image = sitk.Extract(image, size, [0, 0, 0, 0])
    return image


def _read_series(folder: Path, role: str) -> sitk.Image:
    return _read_files(dicom.series_files(folder, role), folder, role)


def _read_files(files: list[str], path: Path, role: str) -> sitk.Image:
    first = checked_header(Path(files[0]), role)
    _check_scalar(first, role, path)
    if math.prod(first.GetSize()) * len(files) > MAX_VOXELS:
        raise InputError(f"The {role} series of {path} is too large: at most {MAX_VOXELS:,} voxels are read.")
    dicom.check_regular(files, role, path)
    try:
        return sitk.ReadImage(files if len(files) > 1 else files[0], sitk.sitkFloat32)
    except RuntimeError as error:
        raise InputError(f"The {role} series of {path} is damaged: it cannot be read as one volume.") from error


def _check_scalar(reader: sitk.ImageFileReader, role: str, path: Path) -> None:
    size = reader.GetSize()
    if path.name.lower().endswith(".seg.nrrd"):
        raise InputError(f"The {role} file {path} is a segmentation, not a volume.")
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(f"The {role} file {path} holds complex numbers: give its magnitude.")
    if reader.GetNumberOfComponents() > 1:
        raise InputError(
            f"The {role} file {path} has {reader.GetNumberOfComponents()} values per voxel (colour or vectors): "
            "give a volume with one."
        )
    if len(size) > 4 or (len(size) == 4 and size[3] > 1):
        raise InputError(
            f"The {role} file {path} is {len(size)}-D ({' x '.join(map(str, size))}): extract one 3-D volume from it."
        )


def _check_extent(image: sitk.Image, role: str, path: Path) -> None:
    size = sorted(image.GetSize())
    if image.GetDimension() != 3 or size[0] < MIN_SLICES:
        raise InputError(f"The {role} file {path} is a single slice: a volume of several slices is needed.")
    if size[1] < MIN_IN_PLANE:
        raise InputError(
            f"The {role} file {path} has only {' x '.join(map(str, image.GetSize()))} voxels: its slices need at "
            f"least {MIN_IN_PLANE} x {MIN_IN_PLANE}."
        )
    low, high = SPACING_RANGE_MM
    if not all(low <= spacing <= high for spacing in image.GetSpacing()):
        spacing = " x ".join(f"{value:g}" for value in image.GetSpacing())
        raise InputError(f"The {role} file {path} has a voxel size of {spacing} mm, which cannot be right.")
    if not np.isfinite([*image.GetOrigin(), *image.GetDirection()]).all():
        raise InputError(f"The {role} file {path} has no usable position in space.")


def _check_values(image: sitk.Image, role: str, path: Path) -> None:
    values = sitk.GetArrayViewFromImage(image)
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        count = int(values.size - np.count_nonzero(np.isfinite(values)))
        raise InputError(f"The {role} file {path} has {count} voxels that are NaN or infinite: repair it first.")
    if low == high:
        raise InputError(f"The {role} file {path} is constant ({low:g} everywhere): there is nothing in it.")
