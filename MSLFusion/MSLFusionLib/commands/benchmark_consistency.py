"""mslfusion benchmark consistency: its options, and the volumes that they stand for."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import (
    add_command,
    add_model,
    add_registration,
    add_sampling,
    add_seed,
    whole_number,
)
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context


def add_consistency(words: Any) -> argparse.ArgumentParser:
    """The parser of the word, among those of `mslfusion benchmark`."""
    summary = "what it is worth to correct images towards the measurement"
    parser: argparse.ArgumentParser = add_command(words, "consistency", run, summary)
    parser.add_argument("--ct", type=Path, metavar="FILE", help="CT volume in HU, or a DICOM folder")
    parser.add_argument("--mr", type=Path, metavar="FILE", help="MR volume (default: generated heads)")
    parser.add_argument("--heads", type=whole_number(0), nargs="+", metavar="N", help="seeds of generated heads")
    parser.add_argument("--slices", type=whole_number(1), default=20, metavar="N", help="of each volume, evenly spread")
    parser.add_argument(
        "--total-variation", action="store_true", help="also beside total variation, run to convergence: takes long"
    )
    parser.add_argument(
        "--store", type=Path, metavar="DIR", help="where its images are kept, for other models and slices too"
    )
    add_model(parser)
    add_registration(parser)
    add_sampling(parser)
    add_seed(parser)
    return parser


def run(args: argparse.Namespace, context: "Context") -> None:
    """Compare on the volumes, or on generated heads."""
    from MSLFusionLib.benchmarks import consistency
    from MSLFusionLib.commands import benchmark, inputs
    from MSLFusionLib.io.volumes import read_volume
    from MSLFusionLib.pipeline import align
    from MSLFusionLib.recon.reconstructor import Reconstructor

    benchmark.check(args)
    given = args.ct is not None or args.mr is not None
    if given and args.heads is not None:
        raise InputError("Give either volumes or --heads, not both.")
    if args.store is not None and not args.total_variation:
        raise InputError("--store DIR needs --total-variation.")
    plan = inputs.sampling_plan(args)
    reconstructor = Reconstructor(inputs.load_model(args.model), args.device)
    if given:
        ct = None if args.ct is None else read_volume(args.ct, "CT")
        mr = None if args.mr is None else read_volume(args.mr, "MR")
        aligned = align(ct, mr, inputs.registering(args), context.job)
        pairs = [(aligned.ct, aligned.mr)]
    else:
        pairs = consistency.generated(args.heads or consistency.HEADS, context.job)
    classical = None
    if args.total_variation:
        from MSLFusionLib.experiments.classical import Classical

        classical = Classical(reconstructor.options(), store=args.store, device=str(reconstructor.device))
    figures = consistency.run(reconstructor, pairs, plan, args.slices, classical, context.job)
    benchmark.finish(figures, args, context)
