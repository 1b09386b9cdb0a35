"""How exactly the registration finds a known misalignment of generated heads."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError, MSLFusionError
from MSLFusionLib.phantom import generate_head
from MSLFusionLib.phantom.generate import Head
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.registration import register

CT_SIZE = (256, 256, 160)
CT_SPACING_MM = (0.8, 0.8, 1.2)
LARGEST_MEAN_MM = 1.0
_POINTS = 4000


@dataclass(frozen=True)
class Scan:
    """How the MR was taken: voxel and field of view in mm, middle of the field of view, order of its axes."""

    name: str
    spacing_mm: tuple[float, float, float]
    field_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axes: tuple[int, int, int] = (0, 1, 2)


SCANS = (
    Scan("whole head, 1 mm, sagittal", (1.0, 1.0, 1.0), (224.0, 256.0, 190.0), axes=(1, 2, 0)),
    Scan("axial slices of 3 mm", (0.9, 0.9, 3.0), (230.0, 230.0, 156.0)),
    Scan("slab of 100 mm", (1.2, 1.2, 2.5), (240.0, 240.0, 100.0), (0.0, 0.0, 20.0)),
    Scan("part of the head", (1.0, 1.0, 2.0), (180.0, 200.0, 140.0), (0.0, 0.0, -10.0)),
)
"""MR scans of the benchmark, taken in turn over the seeds."""


def run(
    seeds: Iterable[int] = range(20),
    shift_mm: float = 15.0,
    turn_deg: float = 10.0,
    preset: str = "msl",
    method: str | None = None,
    coarser: float = 1.0,
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Register one generated head per seed and measure the target registration error over the whole head.

    The CT has 0.8 x 0.8 x 1.2 mm, the MR is one of SCANS, moved by `shift_mm` and turned by `turn_deg` in random
    directions. coarser: factor on all voxel sizes, for quick trials. A seed passes when its mean error is below
    half a CT voxel in-plane and below 1 mm. Gives a row per seed (errors in mm over points of the head inside the
    MR's field of view; a failed registration has None and its error) and their summary. Raises InputError for
    settings that make no sense, Cancelled through `job`.
    """
    chosen = list(seeds)
    if not chosen:
        raise InputError("The benchmark needs at least one seed.")
    if not 0.5 <= coarser <= 8.0:
        raise InputError(f"Voxels {coarser:g} times coarser are not possible: give 0.5 to 8.")
    limit = min(CT_SPACING_MM[0] * coarser / 2, LARGEST_MEAN_MM)
    rows = []
    for done, seed in enumerate(chosen):
        job.step("benchmark", done, len(chosen))
        scan = SCANS[seed % len(SCANS)]
        head = _head(seed, scan, shift_mm, turn_deg, coarser)
        rows.append({"seed": seed, "scan": scan.name, **_registered(head, scan, seed, preset, method, limit, job)})
    job.step("benchmark", len(chosen), len(chosen))
    means = [row["mean_mm"] for row in rows if row["mean_mm"] is not None]
    return {
        "preset": preset,
        "method": method or "preset's own",
        "shift_mm": shift_mm,
        "turn_deg": turn_deg,
        "ct_spacing_mm": [mm * coarser for mm in CT_SPACING_MM],
        "limit_mm": limit,
        "passed": sum(row["passed"] for row in rows),
        "of": len(rows),
        "mean_mm": float(np.mean(means)) if means else None,
        "worst_mean_mm": max(means, default=None),
        "runs": rows,
    }


def target_errors(head: Head, found: sitk.Transform) -> np.ndarray:
    """Distance in mm between where `found` and where the true transform put points of the head.

    Points are CT voxels of tissue, evenly spread over the head, that fall into the moving field of view.
    """
    assert head.moving is not None
    assert head.transform is not None
    labels = sitk.GetArrayViewFromImage(head.labels)
    indices = np.argwhere(labels > 0)[:, ::-1]
    indices = indices[:: max(1, len(indices) // _POINTS)]
    size = np.array(head.moving.GetSize())
    errors = []
    for index in indices.tolist():
        point = head.labels.TransformIndexToPhysicalPoint(index)
        true = head.transform.TransformPoint(point)
        place = np.array(head.moving.TransformPhysicalPointToContinuousIndex(true))
        if np.all((place >= 0) & (place <= size - 1)):
            errors.append(np.linalg.norm(np.subtract(found.TransformPoint(point), true)))
    return np.array(errors)


def _head(seed: int, scan: Scan, shift_mm: float, turn_deg: float, coarser: float) -> Head:
    spacing = [mm * coarser for mm in scan.spacing_mm]
    return generate_head(
        seed,
        size=[round(n / coarser) for n in CT_SIZE],
        spacing=[mm * coarser for mm in CT_SPACING_MM],
        misalign_mm=shift_mm,
        misalign_deg=turn_deg,
        moving_size=[round(field / mm) for field, mm in zip(scan.field_mm, spacing, strict=True)],
        moving_spacing=spacing,
        moving_centre=scan.centre_mm,
    )


def _registered(
    head: Head, scan: Scan, seed: int, preset: str, method: str | None, limit: float, job: Job
) -> dict[str, Any]:
    moving = sitk.PermuteAxes(head.moving, scan.axes)
    started = time.perf_counter()
    try:
        found = register(head.ct, moving, preset=preset, method=method, seed=seed, job=Job(cancelled=job.cancelled))
    except MSLFusionError as error:
        job.check()
        return {"mean_mm": None, "largest_mm": None, "passed": False, "seconds": None, "remark": str(error)}
    seconds = time.perf_counter() - started
    errors = target_errors(head, found.transform)
    return {
        "mean_mm": float(errors.mean()),
        "largest_mm": float(errors.max()),
        "passed": bool(errors.mean() < limit),
        "seconds": seconds,
        "remark": " ".join(found.warnings),
    }
