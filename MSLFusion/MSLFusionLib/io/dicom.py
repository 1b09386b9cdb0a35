"""Which DICOM files make one volume, and whether their slices form a regular grid."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError

_POSITION, _ORIENTATION, _SERIES, _MODALITY = "0020|0032", "0020|0037", "0020|000e", "0008|0060"
_SPACING_TOLERANCE = 0.1
_TILT_TOLERANCE = 0.02
_LISTED = 8


def series_files(path: Path, role: str) -> list[str]:
    """Sorted files of the one series in the folder `path`, or of the series that the file `path` belongs to.

    Raises InputError when the folder holds no DICOM images, or several series: the sentence lists them and one
    file of each to give instead.
    """
    if path.is_file():
        return _members(path.parent, header(path).get(_SERIES, "")) or [str(path)]
    series = [_members(path, uid) for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))]
    series = sorted(files for files in series if files)
    if not series:
        raise InputError(f"The {role} folder {path} holds no DICOM images; give the folder of one series or a file.")
    if len(series) > 1:
        choices = "; ".join(
            f"{Path(files[0]).name} ({header(Path(files[0])).get(_MODALITY, 'image')}, {len(files)} files)"
            for files in series[:_LISTED]
        )
        raise InputError(
            f"The {role} folder {path} holds {len(series)} DICOM series: give one file of the one you want instead "
            f"of the folder: {choices}{'; ...' if len(series) > _LISTED else ''}."
        )
    return series[0]


def check_regular(files: list[str], role: str, path: Path) -> None:
    """Raises InputError when slices are missing, doubled, unevenly spaced, or sheared by a tilted gantry."""
    headers = [header(Path(name)) for name in files]
    try:
        positions = np.array([[float(v) for v in h[_POSITION].split("\\")] for h in headers])
        axes = np.array([float(v) for v in headers[0][_ORIENTATION].split("\\")]).reshape(2, 3)
    except (KeyError, ValueError):
        return  # no positions to judge by (secondary captures): the reader's own grid is all there is
    if len(files) < 3:
        return
    steps = np.diff(positions, axis=0)
    normal = np.cross(*axes)
    along = steps @ normal
    gap = float(np.median(np.abs(along)))
    if gap == 0.0 or np.any(np.abs(along) < 0.01 * gap):
        raise InputError(
            f"The {role} series in {path} has several slices at one position (time points or echoes?): keep one "
            "of them."
        )
    if np.any(np.abs(np.abs(along) - gap) > _SPACING_TOLERANCE * gap):
        raise InputError(
            f"The {role} series in {path} has missing or unevenly spaced slices: complete or resample it first."
        )
    sideways = np.linalg.norm(steps - along[:, None] * normal, axis=1)
    if float(np.median(sideways)) > _TILT_TOLERANCE * gap:
        raise InputError(
            f"The {role} series in {path} was taken with a tilted gantry: straighten it first (Slicer does on import)."
        )


def header(path: Path) -> dict[str, str]:
    """The few DICOM tags that are needed here, of one file; empty where the file is no DICOM image."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return {}
    if not is_dicom(reader):
        return {}
    wanted = (_POSITION, _ORIENTATION, _SERIES, _MODALITY)
    return {tag: reader.GetMetaData(tag).strip() for tag in wanted if reader.HasMetaDataKey(tag)}


def is_dicom(reader: sitk.ImageFileReader) -> bool:
    """True when the header that `reader` has read is a DICOM one: only these carry a series number."""
    return bool(reader.HasMetaDataKey(_SERIES))


def _members(folder: Path, uid: str) -> list[str]:
    return list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)) if uid else []
