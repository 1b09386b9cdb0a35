"""The optimiser runs of a registration, watched by a Job and the same in every repetition."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import JobError
from MSLFusionLib.progress import Job
from MSLFusionLib.registration.images import Scan, on_grid
from MSLFusionLib.registration.settings import Level, Preset

_SMALLEST_SHARE = 1e-4
_LONGEST_STEP, _SHORTEST_STEP = 0.5, 0.01
_DESCENT_STEPS = 100


@dataclass(frozen=True)
class Outcome:
    """One optimiser run: the transform, mutual information [nats] of one sample before and after, iterations done."""

    transform: sitk.Transform
    before: float
    after: float
    iterations: int


class MovedApartError(JobError):
    """A step of the optimiser left no point of one volume inside the other."""


@contextmanager
def one_thread() -> Iterator[None]:
    """ITK's sums in a fixed order: with several threads results differ in the last digits from run to run."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def run_level(
    fixed: Scan, moving: Scan, start: sitk.Transform, level: Level, bins: int, seed: int, stage: str, job: Job
) -> Outcome:
    """One resolution of our registration; `start` is not changed."""
    fixed_image = on_grid(fixed.image, level.grid_mm, job=job)
    job.check()
    moving_image = on_grid(moving.image, level.grid_mm, job=job)
    mask = sitk.Resample(fixed.region, fixed_image, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor, 0)
    inside = np.count_nonzero(sitk.GetArrayViewFromImage(mask))
    share = min(1.0, max(_SMALLEST_SHARE, level.samples / max(1, int(inside))))
    job.check()
    try:
        method = _level_method(bins, share, seed, mask)
        # one turn and one shift are made comparable by how far they move a point on average; conjugate directions and
        # line searches then find the long valleys that a slab of a head has, in which plain descent stops early
        method.SetOptimizerScalesFromJacobian()
        method.SetOptimizerAsConjugateGradientLineSearch(
            learningRate=1.0,
            numberOfIterations=level.iterations,
            convergenceMinimumValue=1e-6,
            convergenceWindowSize=5,
            lineSearchLowerLimit=0.0,
            lineSearchUpperLimit=5.0,
            lineSearchEpsilon=0.1,
            lineSearchMaximumIterations=6,
        )
        return _run(method, fixed_image, moving_image, start, stage, level.iterations, job)
    except MovedApartError:
        # a line search tries steps that take a small volume out of the other; short steps downhill do not
        method = _level_method(bins, share, seed, mask)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=_LONGEST_STEP * level.grid_mm,
            minStep=_SHORTEST_STEP * level.grid_mm,
            numberOfIterations=_DESCENT_STEPS,
            relaxationFactor=0.6,
            gradientMagnitudeTolerance=1e-8,
        )
        return _run(method, fixed_image, moving_image, start, stage, _DESCENT_STEPS, job)


def _level_method(bins: int, share: float, seed: int, mask: sitk.Image) -> sitk.ImageRegistrationMethod:
    method = _method(bins, share, seed)
    method.SetMetricFixedMask(mask)
    # gradients only where samples are: whole gradient images take longer than all iterations
    method.SetMetricUseFixedImageGradientFilter(False)
    method.SetMetricUseMovingImageGradientFilter(False)
    return method


def run_published(
    fixed: sitk.Image, moving: sitk.Image, start: sitk.Transform, preset: Preset, seed: int, job: Job
) -> Outcome:
    """The paper's or its authors' registration on the unchanged images."""
    method = _method(preset.bins, preset.sampling, seed)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetOptimizerAsGradientDescent(
        learningRate=preset.rate,
        numberOfIterations=preset.iterations,
        convergenceMinimumValue=1e-6,
        convergenceWindowSize=10,
    )
    method.SetShrinkFactorsPerLevel(preset.shrink)
    method.SetSmoothingSigmasPerLevel(preset.sigma_mm)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    outcome = _run(method, fixed, moving, start, "register", preset.iterations * len(preset.shrink), job)
    # the pyramid's first value belongs to a coarser image than its last
    before, after = (_value(method, fixed, moving, transform) for transform in (start, outcome.transform))
    return replace(outcome, before=before, after=after)


def _method(bins: int, share: float, seed: int) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=bins)
    method.SetMetricSamplingStrategy(method.RANDOM if share < 1.0 else method.NONE)
    if share < 1.0:
        method.SetMetricSamplingPercentage(share, seed % (2**31 - 1) + 1)  # 0 would mean the clock
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _run(
    method: sitk.ImageRegistrationMethod,
    fixed: sitk.Image,
    moving: sitk.Image,
    start: sitk.Transform,
    stage: str,
    total: int,
    job: Job,
) -> Outcome:
    values: list[float] = []
    stopped: list[BaseException] = []

    def each_iteration() -> None:
        values.append(-method.GetMetricValue())
        try:
            job.step(stage, min(len(values), total), total)
        except BaseException as error:  # must not travel through ITK's C++ frames
            stopped.append(error)
            method.StopRegistration()

    method.AddCommand(sitk.sitkIterationEvent, each_iteration)
    method.SetInitialTransform(start, inPlace=False)
    job.step(stage, 0, total)
    try:
        found = method.Execute(fixed, moving)
    except RuntimeError as error:
        if stopped:
            raise stopped[0] from None
        raise _explained(error) from error
    if stopped:
        raise stopped[0]
    if isinstance(found, sitk.CompositeTransform):
        found = found.GetBackTransform()
    after = -method.GetMetricValue()
    return Outcome(found.Downcast(), values[0] if values else after, after, len(values))


def _value(
    method: sitk.ImageRegistrationMethod, fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform
) -> float:
    method.SetInitialTransform(transform, inPlace=False)
    try:
        return -float(method.MetricEvaluate(fixed, moving))
    except RuntimeError as error:
        raise _explained(error) from error


def _explained(error: RuntimeError) -> JobError:
    if "outside" in str(error):
        return MovedApartError(
            "The registration failed: the volumes moved out of each other; try another preset or align them roughly."
        )
    return JobError(
        "The registration failed: its optimiser could not go on; try another preset or align the volumes roughly."
    )
