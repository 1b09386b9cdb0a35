"""From two volumes to a pair in [0, 1] on one grid, refusing what cannot be fused in one clear sentence.

CT is scaled as everywhere: attenuation between HU -1000 and 2125. MR and PET lie between the 0.5 and 99.5 percentiles
of what their body mask holds. Values beyond are clipped.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion.interface import Pair
from MSLFusionLib.physics.units import hu_to_network
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.body import body_mask, hounsfield_scale
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.grid import slice_axis_of
from MSLFusionLib.recon.scaling import mr_scale

MODALITIES = ("ct", "mr", "pet")
_AIR = -700.0
_UNDERSHOOT = 0.005
"""Share of a PET's largest value by which interpolation may have pushed background below zero."""


@dataclass(frozen=True)
class Prepared:
    """A pair of volumes ready to fuse.

    pair: the two as [0, 1] arrays (z, y, x). geometry: the grid of both and of every result. slice_axis: array axis
    across which slices lie. scales: what 0 and 1 stand for in each, for the record.
    """

    pair: Pair
    geometry: VolumeGeometry
    slice_axis: int
    scales: tuple[dict[str, Any], dict[str, Any]]


def guessed_modality(image: sitk.Image) -> str:
    """ "ct" for a volume with values near those of air in HU, else "mr"."""
    values = sitk.GetArrayViewFromImage(image).ravel()
    part = values[:: max(1, values.size // 1_000_000)]
    return "ct" if np.count_nonzero(part < _AIR) >= 0.001 * part.size else "mr"


def check_values(image: sitk.Image, modality: str, role: str) -> None:
    """Raises InputError for a modality that does not exist, a constant volume, and a PET with negative values."""
    if modality not in MODALITIES:
        raise InputError(f"The modality '{modality}' of the {role} volume is unknown: use {', '.join(MODALITIES)}.")
    values = sitk.GetArrayViewFromImage(image)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite([low, high]).all()):
        raise InputError(f"The {role} volume holds values that are not numbers: repair it first.")
    if low == high:
        raise InputError(f"The {role} volume is constant ({low:g} everywhere): there is nothing to fuse.")
    if modality == "pet" and low < -_UNDERSHOOT * max(high, 0.0):
        raise InputError(
            f"The PET volume has negative values (lowest {low:g}), which an activity cannot have: check the file, or "
            "name its modality rightly."
        )


def prepare(first: sitk.Image, second: sitk.Image, modalities: tuple[str, str], job: Job = NO_JOB) -> Prepared:
    """Check and scale two volumes of one grid; the body is where either shows one.

    Warns where both show the same image. Raises InputError for different grids, volumes too small, and everything that
    `check_values` refuses.
    """
    geometry = VolumeGeometry.of(first)
    for image, modality, role in ((first, modalities[0], "first"), (second, modalities[1], "second")):
        check_values(image, modality, role)
    if not geometry.same_as(VolumeGeometry.of(second)):
        raise InputError(
            f"The volumes lie on different grids ({_difference(first, second)}): bring the second onto the "
            "first by registration (--register), or by the files' positions (--resample)."
        )
    axis = slice_axis_of(geometry)
    arrays, bodies, scales = [], [], []
    for done, (image, modality) in enumerate(zip((first, second), modalities, strict=True)):
        job.step("prepare", done, 2)
        array, body, scale = _scaled(image, modality, axis, job)
        arrays.append(array)
        bodies.append(body)
        scales.append(scale)
    job.step("prepare", 2, 2)
    if np.array_equal(arrays[0], arrays[1]):
        job.warning("Both volumes show the same image, so there is nothing to fuse: were the right files given?")
    spacing = tuple(reversed(geometry.spacing))
    pair = Pair(arrays[0], arrays[1], spacing, bodies[0] | bodies[1], modalities)
    return Prepared(pair, geometry, axis, (scales[0], scales[1]))


def _scaled(image: sitk.Image, modality: str, axis: int, job: Job) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Values in [0, 1] (z, y, x), the body, and what 0 and 1 stand for."""
    values = sitk.GetArrayViewFromImage(image)
    if modality == "ct":
        units = hounsfield_scale(image, job)
        body = body_mask(image, "ct", units, axis, job)
        scaled = hu_to_network(units.to_hu(values)).astype(np.float32)
        known = "HU" if units.knots is None else {"read_as_hu": units.knots}
        return scaled, body, {"modality": "ct", "zero_hu": -1000, "one_hu": 2125, "values": known}
    body = body_mask(image, "mr", None, axis, job)
    scale = mr_scale(image, body)
    return scale.to_network(values), body, {"modality": modality, **scale.to_dict()}


def _difference(first: sitk.Image, second: sitk.Image) -> str:
    """What two grids have different."""
    words = _words(first), _words(second)
    if words[0] != words[1]:
        return " and ".join(words)
    corners = VolumeGeometry.of(first).corners_mm() - VolumeGeometry.of(second).corners_mm()
    return f"of one size and spacing, but up to {np.linalg.norm(corners, axis=1).max():.3g} mm apart"


def _words(image: sitk.Image) -> str:
    size = " x ".join(map(str, image.GetSize()))
    return f"{size} voxels of {' x '.join(f'{mm:.3g}' for mm in image.GetSpacing())} mm"
