"""mslfusion reconstruct: hybrid volumes from a CT and an MR, or from a file of sensor data; or, by CMF-Net (see
commands.restore), one MR contrast with the help of another."""

import argparse
import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands import restore
from MSLFusionLib.commands.given import (
    COMPRESSED,
    Given,
    add_given,
    add_network,
    check_given,
    given_parameters,
    open_given,
    register_given,
)
from MSLFusionLib.commands.options import (
    add_command,
    add_format,
    add_output_folder,
    add_registration,
    add_sampling,
    add_seed,
    lambda_value,
    number,
    segment_lambda,
    whole_number,
)
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context
    from MSLFusionLib.recon.lambdas import LambdaSegment, LambdaSpec

_SUMMARY = "reconstruct hybrid volumes from a CT and an MR, or from sensor data; or one MR contrast by another"
_FILES = ("ct", "mr", "sensors", "sinogram", "kspace", "lambda_map", "segmentation")
TRUST_PASSES = 4


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "reconstruct", run, _SUMMARY)
    add_given(parser)
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
    add_network(parser)
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
    restore.add_restoration(parser)


def run(args: argparse.Namespace, context: "Context") -> None:
    """Check all that was asked for, then do it, then let the files appear."""
    if restore.asked(args):
        restore.run(args, context)
        return
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
        record.add_input("model", task.given.model_file)
        protected = [getattr(args, role) for role in _FILES]
        out = stack.enter_context(OutputFolder(args.output, task.output_bytes, [p for p in protected if p]))
        with record.stage("total"):
            registration = register_given(args, task.given, context)
            result = run_pipeline(task.given.reconstructor, task.specs, job=context.job, **task.arguments)
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
            data = results.report_data(
                result, record, task.given.reconstructor, task.given.plan, title, pixel_mm=args.pixel_mm
            )
            write_report(out.path("report.html"), data)
        results.write_record(record, out)
    values, text = results.summary(record, args.output)
    context.console.result(values, text)


@dataclass(frozen=True)
class _Task:
    """What the options came to, read and checked."""

    given: Given
    specs: "list[LambdaSpec]"
    segments: "list[LambdaSegment]"
    arguments: dict[str, Any]
    parameters: dict[str, Any]
    output_bytes: int


def _check_options(args: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together."""
    from MSLFusionLib import scene
    from MSLFusionLib.commands import inputs

    check_given(args)
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


def _prepare(args: argparse.Namespace, stack: ExitStack, context: "Context") -> _Task:
    """Load and check model, plan, volumes and lambdas, the quick ones first; raises InputError."""
    from MSLFusionLib.commands import inputs
    from MSLFusionLib.recon.trust import TrustPlan

    given = open_given(args, stack, context)
    trust = TrustPlan(args.trust_passes or TRUST_PASSES, args.seed) if args.trust else None
    arguments = {**given.arguments, "trust": trust}
    if given.plan is not None:
        arguments["compare"] = not args.no_metrics
    specs, segments = inputs.lambda_specs(args, given.geometry)
    volumes = len(specs) + 3 + 2 * args.save_sensor_images + 6 * args.mrb + 4 * args.trust
    return _Task(
        given,
        specs,
        segments,
        arguments,
        _parameters(args, given),
        round(COMPRESSED * 4 * volumes * math.prod(given.geometry.size)),
    )


def _parameters(args: argparse.Namespace, given: Given) -> dict[str, Any]:
    """The settings that change the result, for the record."""
    from MSLFusionLib.commands.inputs import lambda_numbers

    parameters = {**given_parameters(args, given), "lambda": lambda_numbers(args)}
    if args.trust:
        parameters["trust_passes"] = args.trust_passes or TRUST_PASSES
    if args.segmentation is not None:
        parameters["painted"] = {
            "segments": dict(args.segment_lambda or ()),
            "background": args.background_lambda,
            "feather_mm": args.feather_mm,
        }
    return parameters
