"""mslfusion demo: the whole job on a generated head whose CT and MR do not match, with a report and a scene."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import add_command, add_format, add_model, add_output_folder, number, whole_number

if TYPE_CHECKING:
    import numpy as np
    import SimpleITK as sitk

    from MSLFusionLib.cli import Context
    from MSLFusionLib.phantom import Head
    from MSLFusionLib.pipeline import PipelineResult
    from MSLFusionLib.recon.lambdas import LambdaSegment
    from MSLFusionLib.recon.simulate import SamplingPlan

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0)
VIEWS, ACCELERATION = 64, 4.0
MISALIGN_MM, MISALIGN_DEG = 9.0, 7.0
_BRUSH_MM = 4.0
_MARGIN_MM = 7.0
_FEATHER_MM = 6.0
_BRAIN = ("csf", "grey_matter", "white_matter", "deep_grey", "tumour", "oedema")
_NOTE = (
    "The head is generated: no person's data. The MR was moved and turned by a known amount before registration; the "
    "error given for it is the distance between where it puts points of the brain and where they really went."
)
_BRAIN_LAMBDA, _TUMOUR_LAMBDA, _BACKGROUND_LAMBDA = 0.6, 1.0, 0.0


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "demo", run, "the whole job on a generated head, with a report and a Slicer scene")
    add_output_folder(parser)
    parser.add_argument("--seed", type=whole_number(0), default=7, metavar="N", help="which head")
    parser.add_argument(
        "--size",
        type=whole_number(2, 1024),
        nargs=3,
        default=(256, 256, 44),
        metavar=("X", "Y", "Z"),
        help="voxels",
    )
    parser.add_argument(
        "--spacing", type=number(0.2, 20), nargs=3, default=(0.9, 0.9, 3.5), metavar=("SX", "SY", "SZ"), help="mm"
    )
    add_model(parser)
    add_format(parser)
    parser.add_argument("--figures", type=Path, metavar="DIR", help="also write the report's pictures there, as PNG")


def run(args: argparse.Namespace, context: "Context") -> None:
    """Generate, register, measure, reconstruct, compare, and write it all."""
    from MSLFusionLib import scene
    from MSLFusionLib.commands import inputs, results
    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.pipeline import Registering, run_pipeline
    from MSLFusionLib.recon.geometry import VolumeGeometry
    from MSLFusionLib.recon.lambdas import lambda_map_from_segments, scalar_lambda
    from MSLFusionLib.recon.reconstructor import Reconstructor
    from MSLFusionLib.recon.simulate import SamplingPlan
    from MSLFusionLib.report import figures_of, write_report

    loaded = inputs.load_model(args.model)
    reconstructor = Reconstructor(loaded, args.device)
    plan = SamplingPlan(VIEWS, acceleration=ACCELERATION, seed=args.seed)
    record = RunRecord("demo", seeds={"head": args.seed, "sampling": args.seed, "registration": args.seed})
    record.add_input("model", loaded.path)
    with ExitStack() as stack:
        out = stack.enter_context(OutputFolder(args.output))
        pictures = stack.enter_context(OutputFolder(args.figures)) if args.figures else None
        with record.stage("total"):
            with record.stage("generation"):
                head = _head(args, context)
            segments = painted(head)
            record.parameters = _parameters(head, plan, loaded.name, segments)
            specs = [scalar_lambda(lam) for lam in LAMBDAS]
            grid = VolumeGeometry.of(head.ct)
            specs.append(lambda_map_from_segments(segments, _BACKGROUND_LAMBDA, grid, label=inputs.MAP_LABEL))
            result = run_pipeline(
                reconstructor,
                specs,
                ct=head.ct,
                mr=head.moving,
                plan=plan,
                how=Registering(seed=args.seed),
                job=context.job,
            )
            results.fill_record(record, result)
            record.details["registration"] |= registration_error(result, head)
            with record.stage("writing"):
                extra = {"ct": head.ct, "mr_moved": head.moving, "labels": head.labels}
                results.write_result(result, out, args.format, True, True, context.job, extra)
                if scene.available():
                    results.write_scene(result, record, segments, out.path("head.mrb"), "MSL Fusion demo")
                else:
                    context.job.warning("No scene was written: it needs slicer-core (pip install 'mslfusion[scene]').")
        data = results.report_data(
            result, record, reconstructor, plan, f"A generated head, from CT to MR (seed {args.seed})",
            notes=(_NOTE,), focus=_focus(head),
        )  # fmt: skip
        write_report(out.path("report.html"), data)
        if pictures is not None:
            for name, png in figures_of(data).items():
                pictures.path(f"{name}.png").write_bytes(png)
        results.write_record(record, out)
    values, text = results.summary(record, args.output)
    context.console.result(values, f"{text}\n\nLook at {args.output / 'report.html'}")


def painted(head: "Head") -> "list[LambdaSegment]":
    """The demo's painted lambda: skull and scalp stay CT, the brain turns to MR, the tumour and its margin fully."""
    import numpy as np
    import SimpleITK as sitk

    from MSLFusionLib.phantom import LABELS
    from MSLFusionLib.recon.lambdas import LambdaSegment

    labels = sitk.GetArrayViewFromImage(head.labels)
    brain = _closed(np.isin(labels, [LABELS[name] for name in _BRAIN]), head.labels)
    segments = [LambdaSegment(brain, _BRAIN_LAMBDA, _FEATHER_MM, "brain")]
    tumour = head.labels == LABELS["tumour"]
    if np.any(sitk.GetArrayViewFromImage(tumour)):
        distance = sitk.SignedMaurerDistanceMap(tumour, squaredDistance=False, useImageSpacing=True)
        margin = sitk.GetArrayFromImage(distance) <= _MARGIN_MM
        segments.append(LambdaSegment(margin, _TUMOUR_LAMBDA, _FEATHER_MM, "tumour and margin"))
    return segments


def _closed(mask: "np.ndarray", grid: "sitk.Image") -> "sitk.Image":
    """The mask (z, y, x) with small gaps closed, as a brush leaves it: vessels and calcifications belong to it."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.astype("uint8"))
    image.CopyInformation(grid)
    reach = [max(1, round(_BRUSH_MM / mm)) for mm in grid.GetSpacing()]
    return sitk.BinaryMorphologicalClosing(image, [reach[0], reach[1], 0])


def registration_error(result: "PipelineResult", head: "Head") -> dict[str, float]:
    """Mean and largest distance [mm] between where registration puts brain points and where they really went."""
    import numpy as np
    import SimpleITK as sitk

    from MSLFusionLib.phantom import LABELS

    found = result.aligned.registration
    assert found is not None
    assert head.transform is not None
    labels = sitk.GetArrayViewFromImage(head.labels)
    places = np.argwhere(np.isin(labels, [LABELS[name] for name in _BRAIN]))
    places = places[:: max(1, len(places) // 2000)]
    distances = []
    for k, j, i in places.tolist():
        point = head.ct.TransformIndexToPhysicalPoint((i, j, k))
        apart = np.subtract(found.transform.TransformPoint(point), head.transform.TransformPoint(point))
        distances.append(float(np.linalg.norm(apart)))
    return {"true_error_mean_mm": float(np.mean(distances)), "true_error_max_mm": float(np.max(distances))}


def _head(args: argparse.Namespace, context: "Context") -> "Head":
    """The demo's head: a tumour, and an MR with other voxels, shifted and turned."""
    from MSLFusionLib.phantom import generate_head

    size, spacing = args.size, args.spacing
    return generate_head(
        args.seed,
        size,
        spacing,
        tumour=True,
        misalign_mm=MISALIGN_MM,
        misalign_deg=MISALIGN_DEG,
        moving_size=[max(16, round(n * 0.94)) for n in size[:2]] + [size[2]],
        moving_spacing=[spacing[0] * 1.1, spacing[1] * 1.1, spacing[2] * 1.05],
        job=context.job,
    )


def _focus(head: "Head") -> tuple[int, int, int] | None:
    """The tumour's centre, else the brain's."""
    from MSLFusionLib.phantom import LABELS
    from MSLFusionLib.report import focus_of

    return focus_of(head.labels == LABELS["tumour"]) or focus_of(head.labels == LABELS["white_matter"])


def _parameters(head: "Head", plan: "SamplingPlan", model: str, segments: "list[LambdaSegment]") -> dict[str, Any]:
    shape = {key: head.description[key] for key in ("size", "spacing_mm", "moving_size", "moving_spacing_mm")}
    return {
        "model": model,
        "lambda": list(LAMBDAS),
        "painted": {s.name: {"lambda": s.lam, "feather_mm": s.feather_mm} for s in segments},
        "background_lambda": _BACKGROUND_LAMBDA,
        "sampling": plan.to_dict(),
        "head": {**shape, "misalign_mm": MISALIGN_MM, "misalign_deg": MISALIGN_DEG},
    }
