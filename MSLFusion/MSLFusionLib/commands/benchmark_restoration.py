"""mslfusion benchmark restoration: its options, and the volumes that they stand for."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import add_command, add_seed, number, whole_number
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context

SHIPPED = ("cmf-t1-t2-x2", "cmf-t1-t2-x4")


def add_restoration(words: Any) -> argparse.ArgumentParser:
    """The parser of the word, among those of `mslfusion benchmark`."""
    summary = "networks that restore and enlarge an MR contrast, beside zero-filling and bicubic enlargement"
    parser: argparse.ArgumentParser = add_command(words, "restoration", run, summary)
    parser.add_argument(
        "models", nargs="*", default=SHIPPED, metavar="NAME|FILE", help=f"models (default: {' '.join(SHIPPED)})"
    )
    parser.add_argument("--target", type=Path, metavar="FILE", help="volume of the target contrast")
    parser.add_argument("--auxiliary", type=Path, metavar="FILE", help="volume of the other contrast, on its grid")
    parser.add_argument("--heads", type=whole_number(0), nargs="+", metavar="N", help="seeds of generated heads")
    parser.add_argument("--acceleration", type=number(1, 64), default=4.0, metavar="R", help="of the target")
    parser.add_argument("--mask", default="random", metavar="KIND", help="random, equispaced or official")
    parser.add_argument("--kspace-noise", type=number(0, 1), default=0.0, metavar="S", help="standard deviation")
    parser.add_argument("--consistency", action="store_true", help="also corrected towards the measurement")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="where the networks run")
    add_seed(parser)
    return parser


def run(args: argparse.Namespace, context: "Context") -> None:
    """Compare on the volumes, or on generated heads."""
    from MSLFusionLib.benchmarks import restoration
    from MSLFusionLib.commands import benchmark, inputs
    from MSLFusionLib.io.volumes import read_volume
    from MSLFusionLib.recon.restore import Restorer
    from MSLFusionLib.recon.targets import RestorePlan

    benchmark.check(args)
    given = [args.target is not None, args.auxiliary is not None]
    if any(given) and (not all(given) or args.heads is not None):
        raise InputError("Give --target and --auxiliary together, or --heads.")
    plan = RestorePlan(args.acceleration, args.mask, kspace_sigma=args.kspace_noise, seed=args.seed)
    restorers = [Restorer(inputs.load_model(name), args.device) for name in args.models]
    contrasts = {one.contrasts for one in restorers}
    if len(contrasts) > 1:
        raise InputError("The models restore different contrasts: compare those of one kind.")
    if all(given):
        pairs = [(read_volume(args.auxiliary, "MR"), read_volume(args.target, "MR"))]
    else:
        pairs = restoration.generated(contrasts.pop(), args.heads or restoration.HEADS, context.job)
    figures = restoration.run(restorers, pairs, plan, args.consistency, context.job)
    benchmark.finish(figures, args, context)
