"""The main job, from two volumes to hybrids with their quality, for the command line, the demo and the panel alike.

CT and MR -> the MR registered onto the CT's grid -> sensor data measured slice by slice -> hybrid volumes ->
how near they are to what was measured. Nothing here reads or writes a file.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib import metrics
from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.registration import Registration, register, resample
from MSLFusionLib.sensor_names import FBP, MODALITY, ZERO_FILLED

if TYPE_CHECKING:
    from MSLFusionLib.io.sensors import SensorReader
    from MSLFusionLib.recon.lambdas import LambdaSpec
    from MSLFusionLib.recon.reconstructor import ReconstructionResult, Reconstructor
    from MSLFusionLib.recon.simulate import SamplingPlan
    from MSLFusionLib.recon.trust import TrustPlan

MODALITIES = {"both": ("ct", "mr"), "ct": ("ct",), "mr": ("mr",)}
_MARGIN = metrics.SSIM_RADIUS


@dataclass(frozen=True)
class Registering:
    """How the MR is brought onto the CT's grid.

    wanted: False where its file already places it rightly and it is only resampled. The rest: see
    registration.register.
    """

    wanted: bool = True
    method: str | None = None
    preset: str = "msl"
    start: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Aligned:
    """CT and MR on the CT's grid, in their own values; one of them may be absent.

    registration: what was found, None when nothing was registered. unregistered: then, the MR on that grid as its
    file places it.
    """

    ct: sitk.Image | None
    mr: sitk.Image | None
    registration: Registration | None = None
    unregistered: sitk.Image | None = None

    @property
    def grid(self) -> sitk.Image:
        """The volume whose grid all results have: the CT, or the MR where there is no CT."""
        grid = self.ct if self.ct is not None else self.mr
        if grid is None:
            raise InputError("Give a CT volume, an MR volume, or both.")
        return grid


@dataclass(frozen=True)
class PipelineResult:
    """Everything the main job gave.

    hybrids: (lambda specification, volume in [0, 1]) in the order asked for. sensor_images: those of
    sensor_names, in [0, 1]. references: "ct" and "mr" in [0, 1], what was measured. metrics: rows for tables, see
    `measure`. All volumes lie on the CT's grid. times: seconds per stage. trust_maps: by kind (recon.trust.KINDS).
    """

    aligned: Aligned
    hybrids: list[tuple["LambdaSpec", sitk.Image]]
    sensor_images: dict[str, sitk.Image]
    references: dict[str, sitk.Image]
    body: np.ndarray | None
    metrics: list[dict[str, Any]]
    reconstruction: "ReconstructionResult"
    times: dict[str, float] = field(default_factory=dict)
    trust_maps: dict[str, sitk.Image] = field(default_factory=dict)

    @property
    def by_lambda(self) -> dict[float, sitk.Image]:
        """The hybrids that have one lambda for all of the volume."""
        return {spec.value: image for spec, image in self.hybrids if spec.value is not None}

    @property
    def maps(self) -> list[tuple["LambdaSpec", sitk.Image]]:
        """The hybrids that follow a lambda map."""
        return [(spec, image) for spec, image in self.hybrids if spec.value is None]


def check_sampling(plan: "SamplingPlan", size: tuple[int, int]) -> None:
    """Raise InputError when the plan cannot be measured on network slices of `size` pixels."""
    from MSLFusionLib.physics.geometry import FanBeamGeometry
    from MSLFusionLib.physics.masks import cartesian_mask

    FanBeamGeometry.covering(size, 1.0, plan.views, plan.scan)
    cartesian_mask(size[1], plan.acceleration, plan.mask, plan.seed, plan.centre_fraction)


def align(ct: sitk.Image | None, mr: sitk.Image | None, how: Registering, job: Job = NO_JOB) -> Aligned:
    """Bring the MR onto the CT's grid, by registration if that is wanted.

    Raises InputError when the volumes do not overlap, JobError when the optimiser fails.
    """
    if ct is None or mr is None:
        return Aligned(ct, mr)
    placed = mr if _same_grid(ct, mr) else resample(mr, ct, must_overlap=not how.wanted)
    if not how.wanted:
        return Aligned(ct, placed)
    found = register(ct, mr, how.preset, how.method, how.seed, how.start, job)
    return Aligned(ct, resample(mr, ct, found.transform), found, placed)


def run_pipeline(
    reconstructor: "Reconstructor",
    specs: Sequence["LambdaSpec"],
    ct: sitk.Image | None = None,
    mr: sitk.Image | None = None,
    sensors: "SensorReader | None" = None,
    plan: "SamplingPlan | None" = None,
    how: Registering | None = None,
    pixel_mm: float | None = None,
    modalities: Sequence[str] = ("ct", "mr"),
    consistency: bool = True,
    compare: bool = True,
    trust: "TrustPlan | None" = None,
    job: Job = NO_JOB,
) -> PipelineResult:
    """Register, measure, reconstruct and compare.

    specs: the lambdas, maps on the CT's grid. Either volumes (`ct` in HU, `mr` on any grid; one may be absent),
    measured by `plan`, or `sensors`, for which there is no reference to compare with. pixel_mm: a fixed pixel of
    the network instead of the model's. modalities: those the network may see. consistency: correct the images towards
    what was measured. compare: also give the references and the metrics against them. trust: also maps of how far the
    images can be trusted.
    Raises InputError, JobError and Cancelled as the parts do.
    """
    from MSLFusionLib.recon import outputs
    from MSLFusionLib.recon.trust import KINDS

    times: dict[str, float] = {}
    with _timed(times, "registration"):
        aligned = align(ct, mr, how or Registering(), job)
    with _timed(times, "reconstruction"):
        result = reconstructor.reconstruct(
            specs,
            ct=aligned.ct,
            mr=aligned.mr,
            plan=plan,
            sensors=sensors,
            modalities=modalities,
            pixel_mm=pixel_mm,
            consistency=consistency,
            sensor_images=True,
            ground_truth=compare and sensors is None,
            trust=trust,
            job=job,
        )
    hybrids = list(zip(specs, (image for _, image in result.hybrids), strict=True))
    ct_image = result.achieved.get("ct", {}).get("image", FBP)
    sensor_images = _named(result.others, {ct_image: outputs.FBP, ZERO_FILLED: outputs.ZERO_FILLED})
    references = _named(result.others, {"ct": outputs.TRUTH_CT, "mr": outputs.TRUTH_MR})
    body, rows = None, []
    if references:
        with _timed(times, "comparison"):
            body = _body(aligned)
            rows = measure(hybrids, sensor_images, references, body, _slice_axis(result), job)
    maps = {kind: result.others[kind] for kind in KINDS if kind in result.others}
    return PipelineResult(aligned, hybrids, sensor_images, references, body, rows, result, times, maps)


def measure(
    hybrids: Sequence[tuple["LambdaSpec", sitk.Image]],
    sensor_images: Mapping[str, sitk.Image],
    references: Mapping[str, sitk.Image],
    body: np.ndarray,
    slice_axis: int,
    job: Job = NO_JOB,
) -> list[dict[str, Any]]:
    """How near each image is to the references, within the body mask (z, y, x); images in [0, 1] on one grid.

    One row per image: "image" its name, "kind" ("hybrid", "map" or "sensor"), "lambda" (None unless a hybrid of
    one lambda), and per reference "mae_ct", "psnr_ct" [dB], "ssim_ct" (2-D, in slices across array axis
    `slice_axis`), "mi_ct" [nats, 256 bins over [0, 1]], the same for "mr". Sensor images are compared with their
    own reference only.
    """
    box = _box(body, slice_axis)
    mask = body[box]
    truth = {name: sitk.GetArrayViewFromImage(image)[box] for name, image in references.items()}
    jobs: list[tuple[dict[str, Any], sitk.Image, list[str]]] = []
    for spec, image in sorted(hybrids, key=lambda pair: (pair[0].value is None, pair[0].value or 0.0)):
        kind, name = ("map", "lambda map") if spec.value is None else ("hybrid", f"lambda {spec.value:g}")
        jobs.append(({"image": name, "kind": kind, "lambda": spec.value}, image, list(truth)))
    for name, own in MODALITY.items():
        if name in sensor_images and own in truth:
            jobs.append(({"image": name, "kind": "sensor", "lambda": None}, sensor_images[name], [own]))
    rows = []
    for done, (row, image, targets) in enumerate(jobs):
        job.step("compare", done, len(jobs))
        values = sitk.GetArrayViewFromImage(image)[box]
        for target in targets:
            found = _compare(values, truth[target], mask, slice_axis, job)
            row |= {f"{key}_{target}": value for key, value in found}
        rows.append(row)
    job.step("compare", len(jobs), len(jobs))
    return rows


def _compare(a: np.ndarray, b: np.ndarray, mask: np.ndarray, slice_axis: int, job: Job) -> Iterator[tuple[str, float]]:
    """Name and value of each metric; may be cancelled between them."""
    yield "mae", metrics.mae(a, b, mask=mask)
    job.check()
    yield "psnr", metrics.psnr(a, b, mask=mask)
    yield "ssim", metrics.ssim(a, b, mask=mask, slice_axis=slice_axis, job=job)
    job.check()
    yield "mi", metrics.mutual_information(a, b, mask=mask, limits=(0.0, 1.0))


def _body(aligned: Aligned) -> np.ndarray:
    from MSLFusionLib.recon.body import body_mask

    return body_mask(aligned.grid, "ct" if aligned.ct is not None else "mr")


def _box(body: np.ndarray, slice_axis: int) -> tuple[slice, ...]:
    """The mask's bounding box, grown in the slices by what the window of SSIM needs."""
    box = []
    for axis in range(3):
        hit = np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = 0 if axis == slice_axis else _MARGIN
        box.append(slice(max(0, int(hit[0]) - margin), int(hit[-1]) + 1 + margin))
    return tuple(box)


def _slice_axis(result: "ReconstructionResult") -> int:
    return "zyx".index(result.source["grid"]["slice_axis"])


def _named(images: Mapping[str, sitk.Image], kinds: Mapping[str, str]) -> dict[str, sitk.Image]:
    return {name: images[kind] for name, kind in kinds.items() if kind in images}


def _same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    from MSLFusionLib.recon.geometry import VolumeGeometry

    return VolumeGeometry.of(a).same_as(VolumeGeometry.of(b))


@contextmanager
def _timed(times: dict[str, float], stage: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    times[stage] = time.monotonic() - started
