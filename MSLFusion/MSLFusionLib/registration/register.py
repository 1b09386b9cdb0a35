"""Registering two volumes by mutual information."""

from dataclasses import dataclass, field, replace

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError, JobError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.registration.images import Scan, prepare
from MSLFusionLib.registration.optimise import Outcome, one_thread, run_level, run_published
from MSLFusionLib.registration.settings import Preset, preset_for
from MSLFusionLib.registration.start import Pose, Scorer, find_start, rotation_about

STARTS = ("auto", "header")

_GRID_CENTRES = sitk.CenteredTransformInitializerFilter.GEOMETRY
_LEAST_OVERLAP = 0.1
_DOUBTFUL_OVERLAP = 0.5
_FAR_MM = 60.0
_STEP_NOISE = 0.02
_PROBE_MM, _PROBE_DEG = 8.0, 10.0


@dataclass(frozen=True)
class Registration:
    """What was found.

    transform: maps physical points of the fixed volume to points of the moving one (Euler3DTransform or
    AffineTransform). metric, start_metric: mutual information [nats] at the end and at the start of the last run.
    iterations: of all runs together. overlap: share of the smaller body that lies inside the other, in [0, 1].
    start: what the start was found from: "header", "search", "turn" or "grid centres". warnings: why the result
    should be looked at, empty when nothing speaks against it.
    """

    transform: sitk.Transform
    metric: float
    start_metric: float
    iterations: int
    preset: str
    method: str
    seed: int
    start: str
    overlap: float
    warnings: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, object]:
        """The figures, as JSON can hold them, with the transform as matrix and shift of physical points."""
        zero = np.array(self.transform.TransformPoint((0.0, 0.0, 0.0)))
        matrix = [np.array(self.transform.TransformPoint(tuple(axis))) - zero for axis in np.eye(3)]
        return {
            "preset": self.preset,
            "method": self.method,
            "seed": self.seed,
            "start": self.start,
            "metric_nats": self.metric,
            "start_metric_nats": self.start_metric,
            "iterations": self.iterations,
            "overlap": self.overlap,
            "matrix": np.stack(matrix, axis=1).tolist(),
            "shift_mm": zero.tolist(),
            "warnings": list(self.warnings),
        }


def register(
    fixed: sitk.Image,
    moving: sitk.Image,
    preset: str = "msl",
    method: str | None = None,
    seed: int = 0,
    initial: str = "auto",
    job: Job = NO_JOB,
    modalities: tuple[str, str] = ("CT", "MR"),
) -> Registration:
    """Align `moving` (MR) with `fixed` (CT in HU), both 3-D with any grid, by Mattes mutual information.

    modalities: what the two are, for finding their bodies ("CT" in HU, or anything else) and for messages.

    preset: "msl" (robust start, three resolutions), "paper" or "official", see `settings`. method: "rigid",
    "affine" (rigid first, then affine), None for the preset's own. initial: "auto" looks for the start, since
    scanners' frames may differ by any distance; "header" trusts the files' positions (for the published presets
    "auto" is their own start, the centres of the two grids). seed: of the random sampling; the same seed gives the
    same numbers.

    Raises InputError for unknown words, a constant volume, and when the bodies do not overlap: with "header" as
    the files place them, with "auto" nowhere where one could match the other. Raises JobError when the optimiser
    fails or ends at a worse match than it started from, Cancelled through `job` within about a second. Reasons to
    look at the result with care are handed to `job.warning` and kept in the result.
    """
    settings, method = preset_for(preset, method)
    if initial not in STARTS:
        raise InputError(f"Unknown start of the registration '{initial}': choose one of {', '.join(STARTS)}.")
    with one_thread():
        job.step("prepare", 0, 2)
        fixed_scan = prepare(fixed, _kind(modalities[0]), job)
        job.step("prepare", 1, 2)
        moving_scan = prepare(moving, _kind(modalities[1]), job)
        job.step("prepare", 2, 2)
        scorer = Scorer(fixed_scan, moving_scan, job=job)
        if initial == "header" and scorer.measure(np.eye(3), np.zeros(3))[1] < _LEAST_OVERLAP:
            raise InputError(
                f"{_both(modalities)} do not overlap where their files place them: let the registration find a start."
            )
        warnings: list[str] = []
        if settings.search:
            pose = _start(scorer, fixed_scan, moving_scan, initial, modalities, warnings, job)
            start = "turn" if pose.turned else "header" if initial == "header" else "search"
            # turns and shifts hardly disturb each other when turning about the middle of what both show
            begin = pose.transform(scorer.centre, scorer.common_centre(pose))
            outcome, iterations = _by_levels(fixed_scan, moving_scan, begin, settings, method, seed, job)
        else:
            start = "header" if initial == "header" else "grid centres"
            outcome = _published(fixed, moving, settings, method, initial, seed, job)
            iterations = outcome.iterations
        overlap = _judged(scorer, outcome, warnings)
    for sentence in warnings:
        job.warning(sentence)
    return Registration(
        transform=outcome.transform,
        metric=outcome.after,
        start_metric=outcome.before,
        iterations=iterations,
        preset=preset,
        method=method,
        seed=seed,
        start=start,
        overlap=overlap,
        warnings=tuple(warnings),
    )


def _start(
    scorer: Scorer,
    fixed: Scan,
    moving: Scan,
    initial: str,
    modalities: tuple[str, str],
    warnings: list[str],
    job: Job,
) -> Pose:
    if initial == "header":
        return scorer.improved(scorer.scored(np.eye(3), np.zeros(3)), job)
    pose = find_start(scorer, fixed, moving, job)
    if scorer.measure(pose.rotation, pose.shift)[1] < _LEAST_OVERLAP:
        raise InputError(f"{_both(modalities)} do not overlap in any position: do they show the same part of the body?")
    if pose.turned:
        warnings.append(
            f"The {modalities[1]} only matches the {modalities[0]} when turned by a quarter or half turn against its "
            "header: check the result."
        )
    elif np.linalg.norm(pose.shift) > _FAR_MM:
        warnings.append(
            f"The files place {modalities[0]} and {modalities[1]} {np.linalg.norm(pose.shift):.0f} mm apart; they were "
            "brought together by what they show."
        )
    return pose


def _by_levels(
    fixed: Scan, moving: Scan, transform: sitk.Transform, preset: Preset, method: str, seed: int, job: Job
) -> tuple[Outcome, int]:
    """Rigid on every resolution; for "affine" the finer ones once more with all twelve parameters.

    Resolutions beyond that of both volumes would only repeat the one before and are left out.
    """
    finest = min(*fixed.image.GetSpacing(), *moving.image.GetSpacing())
    coarser = [preset.levels[0], *preset.levels]
    levels = [level for before, level in zip(coarser, preset.levels, strict=False) if before.grid_mm > finest]
    levels = levels or [preset.levels[0]]
    plan = [(level, False) for level in levels]
    if method == "affine":
        plan += [(level, True) for level in levels[1:] or levels]
    iterations = 0
    for number, (level, affine) in enumerate(plan):
        if affine and not isinstance(transform, sitk.AffineTransform):
            transform = as_affine(transform)
        stage = f"register {number + 1}/{len(plan)}"
        outcome = run_level(fixed, moving, transform, level, preset.bins, seed + number, stage, job)
        check_improved(outcome, _STEP_NOISE)
        iterations += outcome.iterations
        if outcome.after < outcome.before:  # it started at the optimum and its last step went a little past it
            outcome = replace(outcome, transform=transform, after=outcome.before)
        transform = outcome.transform
    return outcome, iterations


def _published(
    fixed: sitk.Image, moving: sitk.Image, preset: Preset, method: str, initial: str, seed: int, job: Job
) -> Outcome:
    kind: sitk.Transform = sitk.Euler3DTransform() if method == "rigid" else sitk.AffineTransform(3)
    fixed, moving = sitk.Cast(fixed, sitk.sitkFloat32), sitk.Cast(moving, sitk.sitkFloat32)
    if initial == "header":
        middle = [(n - 1) / 2 for n in fixed.GetSize()]
        kind.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint(middle))
        start = kind
    else:
        start = sitk.CenteredTransformInitializer(fixed, moving, kind, _GRID_CENTRES)
    outcome = run_published(fixed, moving, start, preset, seed, job)
    check_improved(outcome)
    return outcome


def check_improved(outcome: Outcome, allowed: float = 1e-3) -> None:
    """Raises JobError when a run ended at a match worse by more than the share `allowed`, or at none."""
    tolerance = allowed * abs(outcome.before) + 1e-6
    if not (np.isfinite(outcome.after) and outcome.after >= outcome.before - tolerance):
        raise JobError(
            f"The registration ended at a worse match ({outcome.after:.4f}) than it started from "
            f"({outcome.before:.4f}): try another preset or align the volumes roughly first."
        )


def _judged(scorer: Scorer, outcome: Outcome, warnings: list[str]) -> float:
    """The overlap of the bodies; adds a warning when the result is no clear optimum or hardly overlaps."""
    pose = scorer.pose_of(outcome.transform)
    overlap = scorer.measure(pose.rotation, pose.shift)[1]
    if overlap < _DOUBTFUL_OVERLAP:
        warnings.append(f"After registration only {overlap:.0%} of the smaller body lies inside the other: check it.")
    steps = [sign * _PROBE_MM * axis for axis in np.eye(3) for sign in (-1, 1)]
    turns = [rotation_about(axis, sign * _PROBE_DEG) for axis in range(3) for sign in (-1, 1)]
    probes = [scorer.scored(pose.rotation, pose.shift + step) for step in steps]
    probes += [scorer.scored(turn @ pose.rotation, pose.shift) for turn in turns]
    if any(probe.score >= pose.score for probe in probes):
        warnings.append("The registration found no distinct best position: check the result before using it.")
    return overlap


def _kind(modality: str) -> str:
    """How the body is found in it: by HU, or by what is bright."""
    return "ct" if modality.lower() == "ct" else "mr"


def _both(modalities: tuple[str, str]) -> str:
    return f"The {modalities[0]} and the {modalities[1]}"


def as_affine(transform: sitk.Transform) -> sitk.AffineTransform:
    """A rigid transform with its centre, ready for all twelve parameters."""
    result = sitk.AffineTransform(3)
    result.SetCenter(transform.GetCenter())
    result.SetMatrix(transform.GetMatrix())
    result.SetTranslation(transform.GetTranslation())
    return result
