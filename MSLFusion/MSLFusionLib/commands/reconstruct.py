"""mslfusion reconstruct: hybrid volumes from a CT and an MR, or from a file of sensor data."""

import argparse
import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import (
    add_command,
    add_format,
    add_model,
    add_output_folder,
    add_registration,
    add_sampling,
    add_seed,
    lambda_value,
    number,
    segment_lambda,
    whole_number,
)
from MSLFusionLib.commands.sensors import add_raw, imported
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context
    from MSLFusionLib.recon.lambdas import LambdaSegment, LambdaSpec
    from MSLFusionLib.recon.reconstructor import Reconstructor
    from MSLFusionLib.recon.simulate import SamplingPlan

_SUMMARY = "reconstruct hybrid volumes from a CT and an MR, or from a file of sensor data"
_FILES = ("ct", "mr", "sensors", "sinogram", "kspace", "lambda_map", "segmentation")
TRUST_PASSES = 4
_COMPRESSED = 0.4
"""Share of their size in memory that written volumes take, roughly."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "reconstruct", run, _SUMMARY)
    given = parser.add_argument_group("input: a CT and an MR (one may be absent), or what was measured of them")
    given.add_argument("--ct", type=Path, metavar="FILE", help="CT volume in HU, or a DICOM folder")
    given.add_argument("--mr", type=Path, metavar="FILE", help="MR volume, or a DICOM folder")
    given.add_argument("--sensors", type=Path, metavar="FILE.h5", help="sensor data, see: mslfusion simulate, sensors")
    add_raw(given)
    dial = parser.add_argument_group("the dial")
    dial.add_argument(
        "--lambda", dest="lam", type=lambda_value, nargs="+", metavar="L",
        help="0 is CT, 1 is MR; one volume for each (default: 0 0.5 1)",
    )  # fmt: skip
    painted = dial.add_mutually_exclusive_group()
    painted.add_argument("--lambda-map", type=Path, metavar="FILE", help="a volume that holds lambda voxel by voxel")
    painted.add_argument(
        "--segmentation",
        type=Path,
        metavar="FILE.seg.nrrd",
        help="painted lambda: segments with the tag MSLFusion.Lambda",
    )
    dial.add_argument(
        "--segment-lambda", type=segment_lambda, action="append", metavar="NAME=L", help="lambda of one segment"
    )
    dial.add_argument(
        "--background-lambda", type=lambda_value, default=0.0, metavar="L", help="where nothing is painted"
    )
    dial.add_argument("--feather-mm", type=number(0, 1000), default=0.0, metavar="MM", help="soft edges of segments")
    network = parser.add_argument_group("the network")
    add_model(network)
    network.add_argument(
        "--modalities", choices=("both", "ct", "mr"), default="both", help="sensors that the network may see"
    )
    network.add_argument(
        "--no-consistency", action="store_true", help="leave the network's images as they are, whatever was measured"
    )
    network.add_argument("--pixel-mm", type=number(0.05, 10), metavar="MM", help="a fixed pixel of network slices")
    network.add_argument("--batch", type=whole_number(1), metavar="N", help="slices at a time (default: by memory)")
    matching = parser.add_argument_group("registration of the MR to the CT")
    add_registration(matching)
    add_sampling(parser)
    add_seed(parser)
    written = parser.add_argument_group("what is written")
    add_output_folder(written)
    add_format(written)
    written.add_argument("--hu", action="store_true", help="the volume of lambda 0 also in HU")
    written.add_argument("--save-sensor-images", action="store_true", help="FBP and zero-filled volumes too")
    written.add_argument("--no-metrics", action="store_true", help="do not compare with the CT and MR: quicker")
    written.add_argument(
        "--trust",
        action="store_true",
        help="maps of how far the images can be trusted; each slice is reconstructed PASSES + 1 times",
    )
    written.add_argument(
        "--trust-passes", type=whole_number(2, 100), metavar="PASSES", help="for the maps, each from other parts of "
        f"the data (default: {TRUST_PASSES})",
    )  # fmt: skip
    written.add_argument("--mrb", action="store_true", help="a scene for 3D Slicer, run.mrb")
    written.add_argument("--report", action="store_true", help="a page with pictures and figures, report.html")


def run(args: argparse.Namespace, context: "Context") -> None:
    """Check all that was asked for, then do it, then let the files appear."""
    from MSLFusionLib.commands import results
    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.pipeline import run_pipeline

    _check_options(args)
    with ExitStack() as stack:
        task = _prepare(args, stack, context)
        record = RunRecord("reconstruct", task.parameters, {"all": args.seed})
        for role in _FILES:
            if getattr(args, role) is not None:
                record.add_input(role.replace("_", " "), getattr(args, role))
        record.add_input("model", task.model_file)
        protected = [getattr(args, role) for role in _FILES]
        out = stack.enter_context(OutputFolder(args.output, task.output_bytes, [p for p in protected if p]))
        with record.stage("total"):
            registration = _register_sensors(args, task, context)
            result = run_pipeline(task.reconstructor, task.specs, job=context.job, **task.arguments)
            results.fill_record(record, result)
            if task.arguments.get("sensors") is not None:
                record.details["sensors"] = task.arguments["sensors"].header.provenance
                record.warnings = [*getattr(task.arguments["sensors"], "warnings", []), *record.warnings]
            if registration is not None:
                record.details["registration"] = results.registration_details(registration)
                record.warnings += registration.warnings
            with record.stage("writing"):
                results.write_result(result, out, args.format, args.hu, args.save_sensor_images, context.job)
        if args.mrb:
            results.write_scene(result, record, task.segments, out.path("run.mrb"), "MSL Fusion")
        if args.report:
            from MSLFusionLib.report import write_report

            title = "Hybrid CT-MRI reconstruction"
            data = results.report_data(result, record, task.reconstructor, task.plan, title, pixel_mm=args.pixel_mm)
            write_report(out.path("report.html"), data)
        results.write_record(record, out)
    values, text = results.summary(record, args.output)
    context.console.result(values, text)


@dataclass(frozen=True)
class _Task:
    """What the options came to, read and checked."""

    reconstructor: "Reconstructor"
    model_file: Path
    specs: "list[LambdaSpec]"
    segments: "list[LambdaSegment]"
    plan: "SamplingPlan | None"
    arguments: dict[str, Any]
    parameters: dict[str, Any]
    output_bytes: int


def _check_options(args: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together."""
    from MSLFusionLib import scene
    from MSLFusionLib.commands import inputs

    raw = args.sinogram is not None or args.kspace is not None
    volumes = args.ct is not None or args.mr is not None
    if (args.sensors is not None) + raw + volumes > 1:
        raise InputError("Give either --ct and --mr, or --sensors, or --sinogram and --kspace, not both.")
    if not raw and args.sensors is None:
        for name, path in (("ct", args.ct), ("mr", args.mr)):
            if path is None and args.modalities in ("both", name):
                raise InputError(
                    f"--{name} FILE is missing: give both, or --sensors FILE.h5, or --modalities for one only."
                )
    if args.mrb:
        if args.ct is None or args.mr is None:
            raise InputError("--mrb needs both --ct and --mr.")
        if not scene.available():
            raise InputError("--mrb needs Slicer's Python, or the package slicer-core: pip install 'mslfusion[scene]'.")
    if args.trust_passes is not None and not args.trust:
        raise InputError("--trust-passes is about the maps of --trust: give --trust, too.")
    if args.hu and 0.0 not in inputs.lambda_numbers(args):
        raise InputError("--hu needs 0 among the values of --lambda: only CT has HU.")
    inputs.check_lambda_options(args)


def _register_sensors(args: argparse.Namespace, task: _Task, context: "Context") -> Any:
    """Find where a measured MR lies in the frame of the measured CT; None where there is nothing to find."""
    from MSLFusionLib.commands import inputs

    data = task.arguments.get("sensors")
    if data is None or data.header.acquired is None or data.header.acquired.get("transform") is not None:
        return None
    if args.modalities != "both":
        return None
    from MSLFusionLib.imports import register_sensors

    return register_sensors(data, inputs.registering(args), str(task.reconstructor.device), context.job)


def _prepare(args: argparse.Namespace, stack: ExitStack, context: "Context") -> _Task:
    """Load and check model, plan, volumes and lambdas, the quick ones first; raises InputError."""
    from MSLFusionLib.commands import inputs
    from MSLFusionLib.io.sensors import SensorReader
    from MSLFusionLib.io.volumes import read_volume
    from MSLFusionLib.pipeline import MODALITIES, check_sampling
    from MSLFusionLib.recon.geometry import VolumeGeometry
    from MSLFusionLib.recon.grid import NetworkGrid
    from MSLFusionLib.recon.reconstructor import Reconstructor
    from MSLFusionLib.recon.trust import TrustPlan

    loaded = inputs.load_model(args.model)
    reconstructor = Reconstructor(loaded, args.device, args.batch)
    arguments: dict[str, Any] = {
        "modalities": MODALITIES[args.modalities],
        "pixel_mm": args.pixel_mm,
        "consistency": not args.no_consistency,
        "trust": TrustPlan(args.trust_passes or TRUST_PASSES, args.seed) if args.trust else None,
    }
    plan = None
    if args.sensors is not None:
        sensors = stack.enter_context(SensorReader(args.sensors))
        arguments["sensors"] = sensors
        geometry = NetworkGrid.from_dict(sensors.header.grid).volume
    elif args.sinogram is not None or args.kspace is not None:
        from MSLFusionLib.imports import ImportSettings

        options = reconstructor.options(args.pixel_mm)
        settings = ImportSettings(options.size, options.pixel_mm, options.fixed_pixel, args.coils)
        arguments["sensors"] = imported(args, settings, stack, context)
        geometry = NetworkGrid.from_dict(arguments["sensors"].header.grid).volume
    else:
        plan = inputs.sampling_plan(args)
        check_sampling(plan, reconstructor.options().size)
        for role in ("ct", "mr"):
            if getattr(args, role) is not None:
                arguments[role] = read_volume(getattr(args, role), role.upper())
        arguments |= {"plan": plan, "how": inputs.registering(args), "compare": not args.no_metrics}
        geometry = VolumeGeometry.of(arguments["ct" if args.ct is not None else "mr"])
    specs, segments = inputs.lambda_specs(args, geometry)
    volumes = len(specs) + 3 + 2 * args.save_sensor_images + 6 * args.mrb + 4 * args.trust
    return _Task(
        reconstructor,
        loaded.path,
        specs,
        segments,
        plan,
        arguments,
        _parameters(args, loaded.name, plan),
        round(_COMPRESSED * 4 * volumes * math.prod(geometry.size)),
    )


def _parameters(args: argparse.Namespace, model: str, plan: "SamplingPlan | None") -> dict[str, Any]:
    """The settings that change the result, for the record."""
    from MSLFusionLib.commands.inputs import lambda_numbers

    numbers = lambda_numbers(args)
    parameters: dict[str, Any] = {"model": model, "modalities": args.modalities, "lambda": numbers}
    parameters["consistency"] = not args.no_consistency
    if args.trust:
        parameters["trust_passes"] = args.trust_passes or TRUST_PASSES
    if args.segmentation is not None:
        parameters["painted"] = {
            "segments": dict(args.segment_lambda or ()),
            "background": args.background_lambda,
            "feather_mm": args.feather_mm,
        }
    if plan is not None:
        parameters["sampling"] = plan.to_dict()
    if args.ct is not None and args.mr is not None:
        chosen = {"method": args.register_method, "preset": args.register_preset, "start": args.register_start}
        parameters["registration"] = "none" if args.no_register else chosen
    if args.pixel_mm is not None:
        parameters["pixel_mm"] = args.pixel_mm
    return parameters
