"""mslfusion phantom: a generated head as CT, T1, T2, PET and labels on one grid."""

import argparse
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import add_command, add_format, add_output_folder, number, whole_number

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "phantom", run, "generate a head: CT, T1, T2, PET and labels on one grid")
    add_output_folder(parser)
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N", help="the head's shape and texture")
    parser.add_argument(
        "--size", type=whole_number(2, 4096), nargs=3, default=(256, 256, 160), metavar=("X", "Y", "Z"), help="voxels"
    )
    parser.add_argument(
        "--spacing", type=number(0.05, 50), nargs=3, default=(0.8, 0.8, 1.2), metavar=("SX", "SY", "SZ"), help="mm"
    )
    parser.add_argument(
        "--tumour", action=argparse.BooleanOptionalAction, help="with or without one (default: the seed decides)"
    )
    parser.add_argument("--metal", action="store_true", help="with metal, such as a dental filling")
    parser.add_argument(
        "--misalign", type=number(0, 100), default=0.0, metavar="MM", help="also T1 and T2 of the head moved this far"
    )
    parser.add_argument(
        "--misalign-degrees", type=number(0, 90), default=0.0, metavar="DEG", help="and turned by this angle"
    )
    add_format(parser)


def run(args: argparse.Namespace, context: "Context") -> None:
    """Generate the head and write its volumes."""
    from MSLFusionLib.commands import results
    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.io.volumes import write_volume
    from MSLFusionLib.phantom import LABELS, generate_head

    record = RunRecord("phantom", seeds={"head": args.seed})
    voxels = args.size[0] * args.size[1] * args.size[2]
    with OutputFolder(args.output, 10 * voxels) as out:
        with record.stage("total"):
            head = generate_head(
                args.seed,
                args.size,
                args.spacing,
                tumour=args.tumour,
                metal=args.metal,
                misalign_mm=args.misalign,
                misalign_deg=args.misalign_degrees,
                job=context.job,
            )
            volumes = {"ct": head.ct, "t1": head.t1, "t2": head.t2, "pet": head.pet, "labels": head.labels}
            volumes |= {"t1_moved": head.moving, "t2_moved": head.moving_t2}
            for name, image in volumes.items():
                if image is not None:
                    write_volume(image, out.path(f"{name}.{args.format}"))
            if head.transform is not None:
                results.write_transform(head.transform, out.path("ct_to_moved_points.tfm"))
        record.parameters = {**head.description, "labels": LABELS}
        results.write_record(record, out)
    values, text = results.summary(record, args.output)
    context.console.result(values, text)
