"""The auxiliary contrast brought to where the target lies, and what volumes must be to be restored or to help."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion.prepare import guessed_modality
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.two_grids import TwoGrids
from MSLFusionLib.registration import Registration, grids_overlap, register, resample

SAME, RESAMPLED, REGISTERED = "the same", "resampled", "registered"
PLACES = (SAME, RESAMPLED, REGISTERED)
"""How target and auxiliary lie: on one grid already, rightly placed by their files, or to be registered."""
_LITTLE = 0.9


@dataclass(frozen=True)
class Placing:
    """How the auxiliary is placed: one of PLACES; the rest: see registration.register."""

    place: str = SAME
    method: str | None = None
    preset: str = "msl"
    start: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Placed:
    """The auxiliary on the grid of the fine result; registration: what was found, None where nothing was."""

    image: sitk.Image
    place: str
    registration: Registration | None = None


def check_mr(image: sitk.Image, role: str) -> None:
    """Raises InputError for a volume that is no MR: a CT, a constant one, one that holds what is no number."""
    values = sitk.GetArrayViewFromImage(image)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise InputError(f"The {role} volume holds values that are not numbers: repair it first.")
    if low == high:
        raise InputError(f"The {role} volume is constant ({low:g} everywhere): there is nothing in it.")
    if guessed_modality(image) == "ct":
        raise InputError(
            f"The {role} volume looks like a CT (values down to {low:g} HU): CMF-Net takes two MR contrasts; for a CT "
            "use mslfusion reconstruct --ct."
        )


def placed(grids: TwoGrids, reference: sitk.Image, auxiliary: sitk.Image, how: Placing, job: Job = NO_JOB) -> Placed:
    """The auxiliary on grids.fine.

    reference: what shows the target (Target.reference), to register to. Raises InputError for other grids where
    nothing says how they belong together, and for volumes that do not overlap; JobError when no registration is found.
    """
    fine, here = grids.fine, VolumeGeometry.of(auxiliary)
    if how.place == SAME:
        if not here.same_as(fine):
            raise InputError(
                f"Target and auxiliary lie on different grids ({_words(fine)} and {_words(here)}): bring the auxiliary "
                "to the target by registration (--register), or by the files' positions (--resample)."
            )
        return Placed(auxiliary, SAME)
    grid = fine.grid_only()
    transform = sitk.Transform(3, sitk.sitkIdentity)
    found = None
    if how.place == REGISTERED:
        if min(reference.GetSize()) < 2:
            raise InputError("A single slice cannot be registered: use --resample where the files place it rightly.")
        found = register(
            reference, auxiliary, how.preset, how.method, how.seed, how.start, job, ("target", "auxiliary")
        )
        transform = found.transform
    elif not grids_overlap(grid, auxiliary, transform):
        raise InputError("Target and auxiliary do not overlap where their files place them: use --register.")
    share = _covered(grid, auxiliary, transform)
    if share < _LITTLE:
        job.warning(
            f"The auxiliary covers {100 * share:.0f} % of the target's volume: the rest is restored from the target "
            "alone."
        )
    return Placed(resample(auxiliary, grid, transform, must_overlap=False), how.place, found)


def _covered(grid: sitk.Image, auxiliary: sitk.Image, transform: sitk.Transform) -> float:
    """Share of the grid's voxels that lie in the auxiliary."""
    inside = VolumeGeometry.of(auxiliary).grid_only() + 1
    found = sitk.Resample(inside, grid, transform, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    return float(sitk.GetArrayViewFromImage(found).mean())


def _words(geometry: VolumeGeometry) -> str:
    size = " x ".join(map(str, geometry.size))
    return f"{size} voxels of {' x '.join(f'{mm:.3g}' for mm in geometry.spacing)} mm"
