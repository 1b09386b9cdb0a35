"""How the main job's results become files: volumes, transform, report, scene."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.io.volumes import write_volume
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.sensor_names import file_stem

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.pipeline import PipelineResult
    from MSLFusionLib.recon.lambdas import LambdaSegment
    from MSLFusionLib.recon.reconstructor import Reconstructor
    from MSLFusionLib.recon.simulate import SamplingPlan
    from MSLFusionLib.recon.sources import VolumeOptions
    from MSLFusionLib.report import ReportData

TRANSFORM_NAME = "mr_to_ct.tfm"
TRANSFORM_ENDINGS = (".tfm", ".txt", ".h5", ".mat")
RECORD_NAME = "run.json"


def hybrid_name(lam: float | None, ending: str, synthesised: Sequence[str] = ()) -> str:
    """The file name of a hybrid: hybrid_lambda-0.50.nrrd, or hybrid_map.nrrd where lambda is a map.

    synthesised: modalities that were not measured; where the hybrid has a share of them, its name says so:
    hybrid_lambda-0.50_mr-synthesised.nrrd.
    """
    digits = "" if lam is None else f"{lam:.2f}" if round(lam, 2) == lam else f"{lam:g}"
    name = "hybrid_map" if lam is None else f"hybrid_lambda-{digits}"
    return f"{name}{_mark(guessed(lam, synthesised))}.{ending}"


def guessed(lam: float | None, synthesised: Sequence[str]) -> list[str]:
    """Those of the synthesised modalities that a hybrid at lambda (None: a map) has a share of."""
    return [name for name in synthesised if lam != {"ct": 1.0, "mr": 0.0}[name]]


def _mark(synthesised: Sequence[str]) -> str:
    return "".join(f"_{name}-synthesised" for name in synthesised)


def write_result(
    result: "PipelineResult",
    out: "OutputFolder",
    ending: str,
    hu: bool,
    sensor_images: bool,
    job: Job = NO_JOB,
    extra: "Mapping[str, sitk.Image | None] | None" = None,
) -> None:
    """Write the volumes of a result, and the transform where one was found.

    hu: the hybrid at lambda 0 also in HU. sensor_images: FBP and zero-filled too. extra: more volumes by name. A
    lambda map is written beside the hybrid that follows it. Trust maps are written where the result has them. What is
    synthesised is said in file names and, in formats that hold texts (NRRD, MetaImage), in the files.
    """
    from MSLFusionLib.recon.reconstructor import to_hu

    synthesised = result.reconstruction.synthesised

    volumes: list[tuple[str, Callable[[], sitk.Image]]] = [
        (f"{name}.{ending}", partial(_same, image)) for name, image in (extra or {}).items() if image is not None
    ]
    for spec, image in result.hybrids:
        guesses = guessed(spec.value, synthesised)
        volumes.append((hybrid_name(spec.value, ending, synthesised), partial(_marked, image, guesses)))
        if spec.value is None:
            volumes.append((f"lambda_map.{ending}", partial(lambda_image, spec, image)))
        elif hu and spec.value == 0.0:
            name = f"hybrid_lambda-0.00_hu{_mark(guesses)}.{ending}"
            volumes.append((name, partial(_marked, image, guesses, to_hu)))
    aligned = result.aligned
    if aligned.ct is not None and aligned.mr is not None:
        volumes.append((f"mr_registered.{ending}", partial(_same, aligned.mr)))
    if sensor_images:
        volumes += [
            (f"{file_stem(name)}.{ending}", partial(_same, image)) for name, image in result.sensor_images.items()
        ]
    for kind, image in result.trust_maps.items():
        guesses = [name for name in synthesised if kind.endswith(f"-{name}")]
        volumes.append((f"trust_{kind}{_mark(guesses)}.{ending}", partial(_marked, image, guesses)))
    for done, (name, make) in enumerate(volumes):
        job.step("write", done, len(volumes))
        write_volume(make(), out.path(name))
    if aligned.registration is not None:
        write_transform(aligned.registration.transform, out.path(TRANSFORM_NAME))
    job.step("write", len(volumes), len(volumes))


def _same(image: "sitk.Image") -> "sitk.Image":
    return image


def _marked(
    image: "sitk.Image", synthesised: Sequence[str], make: "Callable[[sitk.Image], sitk.Image] | None" = None
) -> "sitk.Image":
    """The image with a text in it that tells what is synthesised."""
    from MSLFusionLib.recon.reconstructor import synthesised_sentence

    if make is None and not synthesised:
        return image
    marked = image[:] if make is None else make(image)
    for name in synthesised:
        marked.SetMetaData("MSLFusion.Synthesised", name)
        marked.SetMetaData("MSLFusion.Note", synthesised_sentence(name))
    return marked


def lambda_image(spec: Any, grid: "sitk.Image") -> "sitk.Image":
    """The lambda map of a specification as a volume on the grid of `grid`."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(spec.volume)
    image.CopyInformation(grid)
    return image


def write_transform(transform: "sitk.Transform", path: Path) -> None:
    """Write a transform (.tfm, .txt, .h5, .mat), whole or not at all; InputError when the disk does not take it."""
    import SimpleITK as sitk

    from MSLFusionLib.errors import InputError
    from MSLFusionLib.io.atomic import atomic_path

    with atomic_path(path) as temporary:
        try:
            sitk.WriteTransform(transform, str(temporary))
        except RuntimeError as error:
            raise InputError(f"Cannot write {path}: the disk may be full or the folder not writable.") from error


def fill_record(record: "RunRecord", result: "PipelineResult") -> None:
    """Put what a run found into its record: sampling, device, times, metrics, details, warnings."""
    reconstruction = result.reconstruction
    record.sampling = reconstruction.achieved
    record.device = reconstruction.device
    record.times = {**result.times, **record.times}
    record.metrics = {"images": result.metrics} if result.metrics else {}
    record.warnings = list(reconstruction.warnings)
    if result.aligned.registration is not None:
        record.warnings += result.aligned.registration.warnings
    record.details = {"reconstruction": reconstruction.report()}
    if result.aligned.registration is not None:
        record.details["registration"] = registration_details(result.aligned.registration)


def registration_details(registration: Any) -> dict[str, Any]:
    """What a record and a report say of a registration."""
    import math

    import numpy as np

    details = dict(registration.to_dict())
    matrix = np.array(details["matrix"])
    cosine = (np.trace(matrix / np.cbrt(np.linalg.det(matrix))) - 1.0) / 2.0
    return details | {"turn_degrees": math.degrees(math.acos(float(np.clip(cosine, -1.0, 1.0))))}


def report_data(
    result: "PipelineResult",
    record: "RunRecord",
    reconstructor: "Reconstructor",
    plan: "SamplingPlan | None",
    title: str,
    notes: Sequence[str] = (),
    focus: tuple[int, int, int] | None = None,
    pixel_mm: float | None = None,
) -> "ReportData":
    """What the report draws.

    focus: voxel (i, j, k) that the pictures cut; None for the middle of the body. pixel_mm: as in `run_pipeline`.
    """
    import SimpleITK as sitk

    from MSLFusionLib.report import ReportData, focus_of

    references, aligned = result.references, result.aligned
    if focus is None and result.body is not None:
        focus = focus_of(sitk.GetImageFromArray(result.body.astype("uint8")))
    painted = next(iter(result.maps), None)
    axis = "zyx".index(result.reconstruction.source["grid"]["slice_axis"])
    sinogram = kspace = None
    if plan is not None:
        sinogram, kspace = _measured_slice(result, reconstructor.options(pixel_mm), plan, axis, focus)
    return ReportData(
        title=title,
        record=record.to_dict(),
        hybrids=result.by_lambda,
        ct=references.get("ct"),
        mr=references.get("mr"),
        mr_unregistered=_unregistered(result) if aligned.unregistered is not None else None,
        sensor_images=result.sensor_images,
        hybrid_map=painted[1] if painted else None,
        lambda_map=lambda_image(*painted) if painted else None,
        metrics=result.metrics,
        slice_axis=axis,
        focus=focus,
        sinogram=sinogram,
        kspace=kspace,
        model_card=reconstructor.card,
        notes=notes,
        trust_maps=result.trust_maps,
    )


def _unregistered(result: "PipelineResult") -> "sitk.Image":
    """The MR as its file places it, on the scale of the registered one."""
    import SimpleITK as sitk

    scale = result.reconstruction.source["mr_scale"]
    image = sitk.Cast(result.aligned.unregistered, sitk.sitkFloat32)
    return sitk.Clamp((image - scale["low"]) / (scale["high"] - scale["low"]), sitk.sitkFloat32, 0.0, 1.0)


def _measured_slice(
    result: "PipelineResult",
    options: "VolumeOptions",
    plan: "SamplingPlan",
    axis: int,
    focus: tuple[int, int, int] | None,
) -> tuple[Any, Any]:
    """Sinogram (views, bins) and k-space (ky, kx) of the slice that the pictures show, measured once more."""
    import numpy as np
    import torch

    from MSLFusionLib.recon.sources import VolumeSource

    aligned = result.aligned
    source = VolumeSource(aligned.ct, aligned.mr, plan, options)
    index = source.grid.slices // 2 if focus is None else focus[2 - axis]
    batch = source.measure(np.array([index]), torch.device("cpu"))
    sinogram = None if batch.sinogram is None else batch.sinogram[0, 0].numpy()
    return sinogram, None if batch.kspace is None else batch.kspace[0, 0].numpy()


def write_scene(
    result: "PipelineResult",
    record: "RunRecord",
    segments: "Sequence[LambdaSegment]",
    path: Path,
    name: str,
) -> None:
    """Write the run as a Slicer scene (.mrb). segments: the painted regions."""
    from MSLFusionLib.scene.run_scene import Painted, build_run_scene

    aligned = result.aligned
    assert aligned.ct is not None
    assert aligned.mr is not None
    painted = None
    if result.maps:
        spec, hybrid = result.maps[0]
        masks = [(_mask_on(s.mask, aligned.ct), s.lam, s.feather_mm) for s in segments]
        painted = Painted(masks, hybrid, lambda_image(spec, hybrid))
    rows = [{k: v for k, v in row.items() if k not in ("image", "kind")} for row in result.metrics]
    build_run_scene(
        path,
        aligned.ct,
        aligned.mr,
        sorted(result.by_lambda.items()),
        painted,
        aligned.registration.transform if aligned.registration is not None else None,
        result.sensor_images,
        [row for row in rows if row["lambda"] is not None],
        record.to_dict(),
        name,
        result.trust_maps,
        result.reconstruction.synthesised,
    )


def _mask_on(mask: Any, grid: "sitk.Image") -> "sitk.Image":
    """A segment's mask (image on any grid, or array on `grid`) as a uint8 image on `grid`."""
    import SimpleITK as sitk

    if isinstance(mask, sitk.Image):
        return sitk.Resample(mask, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0, sitk.sitkUInt8)
    image = sitk.GetImageFromArray(mask.astype("uint8"))
    image.CopyInformation(grid)
    return image


def write_record(record: "RunRecord", out: "OutputFolder") -> None:
    """Write run.json, last, with the names of all other files."""
    record.outputs = out.names
    path = out.path(RECORD_NAME)
    record.write(path.parent, path.name)


def summary(record: "RunRecord", folder: Path) -> tuple[dict[str, Any], str]:
    """What the command line says at the end: values for --json, and text."""
    from MSLFusionLib.report import trust

    names = [*record.outputs, RECORD_NAME]
    lines = [f"{folder}:", *(f"  {name}" for name in names)]
    for row in record.metrics.get("images", ()):
        if row["kind"] == "hybrid":
            sides = [side for side in ("ct", "mr") if f"psnr_{side}" in row]
            figures = "   ".join(
                f"to {s.upper()} PSNR {row[f'psnr_{s}']:5.2f} dB, SSIM {row[f'ssim_{s}']:.3f}" for s in sides
            )
            lines.append(f"  {row['image']:<12} {figures}")
    found = record.details.get("reconstruction", {})
    lines += trust.lines(record.details)
    values = {
        "command": record.command,
        "output": folder,
        "files": names,
        "metrics": record.metrics,
        "sampling": record.sampling,
        "synthesised": found.get("synthesised", []),
        "familiarity": found.get("familiarity"),
        "trust": found.get("trust"),
        "seconds": record.times.get("total"),
    }
    return values, "\n".join(lines)
