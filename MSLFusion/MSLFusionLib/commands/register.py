"""mslfusion register: bring a moving volume onto the grid of a fixed one."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import METHODS, PRESETS, STARTS, add_command, add_seed

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers, "register", run, "register an MR to a CT by mutual information, and resample it onto the CT's grid"
    )
    parser.add_argument("--fixed", type=Path, required=True, metavar="CT", help="the volume that stays")
    parser.add_argument("--moving", type=Path, required=True, metavar="MR", help="the volume that is moved")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the moved volume to write")
    parser.add_argument(
        "--transform", type=Path, metavar="FILE", help="the transform to write (.h5, .tfm), fixed to moving points"
    )
    parser.add_argument("--method", choices=METHODS, help="motion that may be found (default: the preset's)")
    parser.add_argument("--preset", choices=PRESETS, default="msl", help="settings: ours, the paper's, its authors'")
    parser.add_argument(
        "--start", choices=STARTS, default="auto", help="where to begin: look for it, or trust the files' positions"
    )
    add_seed(parser)


def run(args: argparse.Namespace, context: "Context") -> None:
    """Check what was asked, register, write volume, transform and record."""
    from MSLFusionLib.commands import results
    from MSLFusionLib.commands.outputs import check_ending, check_output_file, check_outputs_differ
    from MSLFusionLib.io.atomic import atomic_path
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.io.volumes import WRITABLE, read_volume, write_volume
    from MSLFusionLib.registration import register, resample

    check_ending(args.output, WRITABLE)
    outputs = [args.output]
    if args.transform is not None:
        check_ending(args.transform, results.TRANSFORM_ENDINGS)
        outputs.append(args.transform)
    check_outputs_differ(*outputs, args.fixed, args.moving)
    for path in outputs:
        check_output_file(path)
    record = RunRecord("register", {"start": args.start}, {"registration": args.seed})
    with record.stage("total"):
        fixed, moving = read_volume(args.fixed, "fixed"), read_volume(args.moving, "moving")
        record.add_input("fixed", args.fixed)
        record.add_input("moving", args.moving)
        found = register(fixed, moving, args.preset, args.method, args.seed, args.start, context.job)
        moved = resample(moving, fixed, found.transform)
        with ExitStack() as stack:
            # All of it is written before any of it gets its name.
            temporary = [stack.enter_context(atomic_path(path)) for path in outputs]
            write_volume(moved, temporary[0])
            if len(temporary) > 1:
                results.write_transform(found.transform, temporary[1])
    record.outputs = [path.name for path in outputs]
    record.details = {"registration": results.registration_details(found)}
    record.warnings = list(found.warnings)
    record.write(args.output.absolute().parent, f"{args.output.name.split('.')[0]}.run.json")
    values = {"command": "register", "files": outputs, **record.details}
    context.console.result(values, "Written: " + ", ".join(str(path) for path in outputs))
