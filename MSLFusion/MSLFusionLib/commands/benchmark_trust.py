"""mslfusion benchmark trust: its options, and the volumes that they stand for."""

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


def add_trust(words: Any) -> argparse.ArgumentParser:
    """The parser of the word, among those of `mslfusion benchmark`."""
    summary = (
        "how well uncertainty finds errors, what a tumour in the MR alone becomes, and what is out of distribution"
    )
    parser: argparse.ArgumentParser = add_command(words, "trust", run, summary)
    parser.add_argument("--heads", type=whole_number(0), nargs="+", metavar="N", help="seeds of generated heads")
    parser.add_argument("--passes", type=whole_number(2, 100), default=4, metavar="N", help="of the uncertainty")
    parser.add_argument(
        "--ct", type=Path, metavar="FILE", help="instead of generated heads: the out-of-distribution score of this CT"
    )
    parser.add_argument("--mr", type=Path, metavar="FILE", help="and this MR")
    parser.add_argument(
        "--slices", type=whole_number(1), default=12, metavar="N", help="of each volume for that score, evenly spread"
    )
    parser.add_argument(
        "--errors", type=whole_number(1), metavar="N", help="also compare errors and uncertainties on N of their slices"
    )
    add_model(parser)
    add_registration(parser)
    add_sampling(parser)
    add_seed(parser)
    return parser


def run(args: argparse.Namespace, context: "Context") -> None:
    """Measure on generated heads, or score the volumes given."""
    from MSLFusionLib.benchmarks import consistency, trust
    from MSLFusionLib.commands import benchmark, inputs
    from MSLFusionLib.io.volumes import read_volume
    from MSLFusionLib.pipeline import align
    from MSLFusionLib.recon.reconstructor import Reconstructor
    from MSLFusionLib.recon.trust import TrustPlan

    benchmark.check(args)
    given = args.ct is not None or args.mr is not None
    if given and args.heads is not None:
        raise InputError("Give either volumes or --heads, not both.")
    plan = inputs.sampling_plan(args)
    reconstructor = Reconstructor(inputs.load_model(args.model), args.device)
    figures: dict[str, Any] = {}
    if given:
        ct = None if args.ct is None else read_volume(args.ct, "CT")
        mr = None if args.mr is None else read_volume(args.mr, "MR")
        aligned = align(ct, mr, inputs.registering(args), context.job)
        names = " and ".join(path.name for path in (args.ct, args.mr) if path is not None)
        volumes = [(names, aligned.ct, aligned.mr)]
        if args.errors is not None:
            passes = TrustPlan(args.passes, args.seed)
            rows = trust.errors(reconstructor, aligned.ct, aligned.mr, plan, passes, args.errors, context.job)
            figures = {"sampling": plan.to_dict(), "passes": args.passes, "images": rows}
    else:
        heads = args.heads or trust.HEADS
        figures = trust.run(reconstructor, plan, TrustPlan(args.passes, args.seed), heads, context.job)
        [(ct, mr)] = consistency.generated(heads[:1], context.job)
        volumes = [(f"generated head {heads[0]}", ct, mr), ("noise", *trust.noise_like(ct, mr, args.seed))]
        volumes += [(name, one, None) for name, one, _ in volumes] + [(name, None, one) for name, _, one in volumes]
    figures["familiarity"] = trust.familiarity(reconstructor, volumes, plan, args.slices, context.job)
    benchmark.finish(figures, args, context)
