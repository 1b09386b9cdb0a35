"""mslfusion optimize-lambda: the lambda map that an objective is largest for, and the hybrid that follows it."""

import argparse
import csv
import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    number,
    whole_number,
)
from MSLFusionLib.errors import Cancelled, InputError

if TYPE_CHECKING:
    import numpy as np
    import SimpleITK as sitk

    from MSLFusionLib.cli import Context
    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.progress import Job
    from MSLFusionLib.recon.optimise import Optimising, Optimum
    from MSLFusionLib.recon.session import Session

_SUMMARY = "find the lambda map that says most about both images, slice by slice"
_FILES = ("ct", "mr", "sensors", "sinogram", "kspace", "segmentation")
_NAMES = "mutual-information or entropy"


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "optimize-lambda", run, _SUMMARY)
    add_given(parser)
    search = parser.add_argument_group("what is sought")
    search.add_argument(
        "--objective", default="mutual-information", metavar="NAME|FILE.py:FUNCTION",
        help=f"{_NAMES}, or a function of yours (hybrid, ct, mr, weight) of torch tensors: its file is run",
    )  # fmt: skip
    search.add_argument(
        "--alpha", type=number(0), default=1e-3, metavar="A", help="weight of the map's total variation"
    )
    search.add_argument(
        "--smoothness", type=number(0), default=0.01, metavar="B", help="weight of differences to the next slice's map"
    )
    search.add_argument(
        "--steps", type=whole_number(1, 10_000), default=60, metavar="N", help="evaluations for a slice, at most"
    )
    search.add_argument(
        "--slices", type=whole_number(0), nargs=2, metavar=("FIRST", "LAST"), help="these slices only, counted from 0"
    )
    counts = parser.add_argument_group("which pixels count (without these: the body, all alike)")
    counts.add_argument(
        "--segmentation", type=Path, metavar="FILE.seg.nrrd", help="regions with a weight: tag MSLFusion.Weight"
    )
    counts.add_argument(
        "--segment-weight", type=segment_weight, action="append", metavar="NAME=W", help="weight of one segment"
    )
    counts.add_argument(
        "--background-weight", type=number(0), default=1.0, metavar="W", help="of the body outside these segments"
    )
    add_network(parser)
    matching = parser.add_argument_group("registration of the MR to the CT")
    add_registration(matching)
    add_sampling(parser)
    add_seed(parser)
    written = parser.add_argument_group("what is written")
    add_output_folder(written)
    add_format(written)
    written.add_argument("--report", action="store_true", help="a page with the map, its curve and the constants")


def segment_weight(text: str) -> tuple[str, float]:
    """An argparse type: NAME=WEIGHT."""
    name, equals, value = text.rpartition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=WEIGHT")
    return name, number(0)(value)


def run(args: argparse.Namespace, context: "Context") -> None:
    """Search, then write; after one Ctrl-C what was found until then is written."""
    from MSLFusionLib.commands import inputs, results
    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.pipeline import align
    from MSLFusionLib.recon.devices import device_name
    from MSLFusionLib.recon.optimise import optimise_lambda
    from MSLFusionLib.recon.reconstructor import synthesised_sentence
    from MSLFusionLib.recon.session import Session

    _check_options(args)
    settings = _settings(args)
    with ExitStack() as stack:
        given = open_given(args, stack, context)
        weights = _weights(args, given)
        parameters = {**given_parameters(args, given), **settings.to_dict()}
        if weights is not None:
            parameters["weights"] = {**dict(args.segment_weight or ()), "background": args.background_weight}
        record = RunRecord("optimize-lambda", parameters, {"all": args.seed})
        for role in _FILES:
            if getattr(args, role) is not None:
                record.add_input(role, getattr(args, role))
        record.add_input("model", given.model_file)
        needed = round(COMPRESSED * 4 * 3 * math.prod(given.geometry.size))
        protected = [path for role in _FILES if (path := getattr(args, role)) is not None]
        out = stack.enter_context(OutputFolder(args.output, needed, protected))

        def warn(sentence: str) -> None:
            record.warnings.append(sentence)
            context.job.warning(sentence)

        job = replace(context.job, warn=warn)
        with record.stage("total"):
            arguments = given.arguments
            register_given(args, given, context)
            aligned = None
            if "sensors" not in arguments:
                aligned = align(arguments.get("ct"), arguments.get("mr"), inputs.registering(args), job)
            source = given.reconstructor.source(
                ct=None if aligned is None else aligned.ct,
                mr=None if aligned is None else aligned.mr,
                plan=given.plan,
                sensors=arguments.get("sensors"),
                modalities=arguments["modalities"],
                pixel_mm=args.pixel_mm,
                job=job,
            )
            session = Session(given.reconstructor, source, arguments["modalities"], consistency=not args.no_consistency)
            for name in session.synthesised:
                job.warning(synthesised_sentence(name))
            with record.stage("search"):
                found = optimise_lambda(session, settings, weights, job=job)
            # From here on a Ctrl-C has been answered: what was found is written.
            job = job if found.complete else replace(job, cancelled=None)
            hybrid = _hybrid(session, found.lambda_map, job)
            record.sampling = source.scanners.achieved()
            record.device = device_name(session.device)
            record.details = {
                "optimisation": found.report(),
                "reconstruction": {
                    "source": source.report(),
                    "consistency": not args.no_consistency,
                    "synthesised": list(session.synthesised),
                },
            }
            if aligned is not None and aligned.registration is not None:
                record.details["registration"] = results.registration_details(aligned.registration)
                results.write_transform(aligned.registration.transform, out.path(results.TRANSFORM_NAME))
            _write(out, args.format, session, found, hybrid)
        if args.report:
            from MSLFusionLib.report.optimised import OptimisedData, write_optimised

            constant = found.usual_constant()
            images = {lam: _hybrid(session, lam, job) for lam in dict.fromkeys((constant, 0.0, 1.0))}
            map_image = session.grid.volume.image(found.lambda_map)
            write_optimised(
                out.path("report.html"),
                OptimisedData(
                    record.to_dict(), found.slices, map_image, hybrid, images, constant, session.grid.slice_axis
                ),
            )
        results.write_record(record, out)
    values, text = _summary(record, found, args.output)
    context.console.result(values, text)
    if not found.complete:
        raise Cancelled(f"Stopped: the map found until then was written to {args.output}.")


def _check_options(args: argparse.Namespace) -> None:
    check_given(args)
    if args.segmentation is None and args.segment_weight:
        raise InputError("--segment-weight needs --segmentation FILE.seg.nrrd.")
    if args.segmentation is not None and not args.segmentation.is_file():
        raise InputError(f"The file {args.segmentation} does not exist.")


def _settings(args: argparse.Namespace) -> "Optimising":
    """Of the search; a function of the user's is loaded, which runs its file."""
    from MSLFusionLib.recon.objectives import load_function
    from MSLFusionLib.recon.optimise import Optimising

    objective: Any = args.objective
    if ":" in objective or objective.endswith(".py"):
        objective = load_function(objective)
    slices = None if args.slices is None else (args.slices[0], args.slices[1])
    return Optimising(objective, args.alpha, args.steps, args.smoothness, slices)


def _weights(args: argparse.Namespace, given: Given) -> "np.ndarray | None":
    if args.segmentation is None:
        return None
    from MSLFusionLib.io.volumes import read_segmentation
    from MSLFusionLib.recon.weights import weight_volume

    painted = read_segmentation(args.segmentation)
    pairs = [(segment, painted.mask(segment)) for segment in painted.segments]
    return weight_volume(pairs, given.geometry, dict(args.segment_weight or ()), args.background_weight)


def _hybrid(session: "Session", lam: "float | np.ndarray", job: "Job") -> "sitk.Image":
    """The hybrid volume at a number or a map."""
    import numpy as np

    volume = np.zeros(session.grid.volume.shape, np.float32)

    def put(_kind: str, numbers: "np.ndarray", planes: "np.ndarray") -> None:
        np.moveaxis(volume, session.grid.slice_axis, 0)[numbers] = planes

    session.hybrid(lam, put, job)
    return session.grid.volume.image(volume)


def _write(out: "OutputFolder", ending: str, session: "Session", found: "Optimum", hybrid: "sitk.Image") -> None:
    from MSLFusionLib.commands.results import hybrid_name
    from MSLFusionLib.io.volumes import write_volume

    write_volume(session.grid.volume.image(found.lambda_map), out.path(f"lambda_map.{ending}"))
    write_volume(hybrid, out.path(hybrid_name(None, ending, session.synthesised)))
    with open(out.path("objective.csv"), "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["slice", "what", "lambda", "evaluation", "value"])
        for one in found.slices:
            table.writerows([one.number, "constant", lam, "", value] for lam, value in one.constants)
            table.writerows([one.number, "map", "", step, value] for step, value in enumerate(one.curve))


def _summary(record: Any, found: "Optimum", folder: Path) -> tuple[dict[str, Any], str]:
    names = [*record.outputs, "run.json"]
    report = found.report()
    lines = [f"{folder}:", *(f"  {name}" for name in names)]
    lines += [
        f"  slice {one.number:<4} best constant {one.best_constant[0]:5.3f}: {one.best_constant[1]:.5f}   "
        f"map: {one.value:.5f}"
        for one in found.slices
    ]
    lines.append(f"  mean over {len(found.slices)} slices: {report['best_constants']:.5f} to {report['value']:.5f}")
    values = {"command": record.command, "output": folder, "files": names, "complete": found.complete}
    values |= {key: report[key] for key in ("value", "best_constants")}
    return {**values, "seconds": record.times.get("total")}, "\n".join(lines)
