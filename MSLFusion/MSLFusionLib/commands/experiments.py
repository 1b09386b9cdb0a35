"""mslfusion experiments: comparisons that take long, kept as they go."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import (
    add_command,
    add_model,
    add_output_folder,
    add_registration,
    add_seed,
    whole_number,
)
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context
    from MSLFusionLib.experiments.robustness import Volume

_GROUPS = ("sampling", "misregistration", "noise", "single")
"""The words of experiments.conditions, which is not imported to show a help text."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    summary = "comparisons with reconstructions that need no network"
    parser = subparsers.add_parser("experiments", help=summary, description=summary)
    words = parser.add_subparsers(dest="experiment", metavar="COMMAND", required=True)
    told = "how images stand up to less data, misregistration, noise and a missing modality"
    robustness = add_command(words, "robustness", _robustness, told)
    robustness.add_argument("--ct", type=Path, metavar="FILE", help="CT volume in HU, or a DICOM folder")
    robustness.add_argument("--mr", type=Path, metavar="FILE", help="MR volume (default: generated heads)")
    robustness.add_argument("--heads", type=whole_number(0), nargs="+", metavar="N", help="seeds of generated heads")
    robustness.add_argument("--slices", type=whole_number(1), default=5, metavar="N", help="of each volume")
    robustness.add_argument("--only", choices=_GROUPS, nargs="+", metavar="GROUP", help=f"of {', '.join(_GROUPS)}")
    robustness.add_argument(
        "--iterations",
        type=whole_number(1),
        default=1000,
        metavar="N",
        help="of total variation; wavelets take a fifth",
    )
    robustness.add_argument(
        "--store", type=Path, metavar="DIR",
        help="where images of total variation and wavelets are kept, for other models too (default: OUTPUT/classical)",
    )  # fmt: skip
    add_model(robustness)
    add_registration(robustness)
    add_output_folder(robustness)
    add_seed(robustness)


def _robustness(args: argparse.Namespace, context: "Context") -> None:
    """Run what is missing, then write tables and the page."""
    from MSLFusionLib.commands import inputs
    from MSLFusionLib.experiments import page, robustness, summary
    from MSLFusionLib.experiments.classical import Classical, Effort
    from MSLFusionLib.experiments.conditions import conditions
    from MSLFusionLib.io.atomic import atomic_path
    from MSLFusionLib.io.runs import content_hash, plain, versions
    from MSLFusionLib.recon.reconstructor import Reconstructor

    if (args.ct is None) != (args.mr is None):
        raise InputError("Give both --ct and --mr, or neither for generated heads.")
    if args.ct is not None and args.heads is not None:
        raise InputError("Give either volumes or --heads, not both.")
    if args.output.exists() and not args.output.is_dir():
        raise InputError(f"{args.output} is a file: name a folder.")
    chosen = conditions(args.only or _GROUPS, args.seed)
    loaded = inputs.load_model(args.model)
    reconstructor = Reconstructor(loaded, args.device)
    effort = Effort(args.iterations, max(1, args.iterations // 5), min(400, args.iterations))
    store = args.store or args.output / "classical"
    classical = Classical(reconstructor.options(), effort, store, str(reconstructor.device))
    volumes = _volumes(args, context)
    key = content_hash(loaded.path)
    folder = args.output / "cells"
    cells = robustness.run(reconstructor, key, volumes, chosen, classical, folder, args.slices, context.job)
    means, leads = summary.means(cells), summary.leads(cells, args.seed)
    settings = {
        "model": loaded.name,
        "model SHA-256": key,
        "volumes": [volume.name for volume in volumes],
        "slices of each volume": args.slices,
        "iterations": vars(effort),
        "seed": args.seed,
        "versions": versions(),
    }
    rows = list(robustness.table(cells))
    from MSLFusionLib.evaluation.page import write_table

    for name, lines in (("slices.csv", rows), ("means.csv", means), ("leads.csv", leads)):
        with atomic_path(args.output / name) as temporary:
            write_table(temporary, lines, list(dict.fromkeys(key for row in lines for key in row)))
    with atomic_path(args.output / "robustness.json") as temporary:
        content = plain({"format": "mslfusion-robustness-1", "settings": settings, "means": means, "leads": leads})
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with atomic_path(args.output / "robustness.html") as temporary:
        page.write_page(temporary, cells, means, leads, settings)
    context.console.result(
        {"command": "experiments robustness", "output": args.output, "means": means, "leads": leads},
        _text(args.output, means, leads),
    )


def _volumes(args: argparse.Namespace, context: "Context") -> "list[Volume]":
    from MSLFusionLib.benchmarks.consistency import HEADS, generated
    from MSLFusionLib.commands import inputs
    from MSLFusionLib.experiments.robustness import Volume
    from MSLFusionLib.io.volumes import read_volume
    from MSLFusionLib.pipeline import align

    if args.ct is None:
        seeds = args.heads or HEADS
        pairs = generated(seeds, context.job)
        return [
            Volume.keyed(f"generated head {seed}", ct, mr)
            for seed, (ct, mr) in zip(seeds, pairs, strict=True)
            if ct is not None and mr is not None
        ]
    aligned = align(read_volume(args.ct, "CT"), read_volume(args.mr, "MR"), inputs.registering(args), context.job)
    assert aligned.ct is not None
    assert aligned.mr is not None
    return [Volume.keyed(f"{args.ct.name} and {args.mr.name}", aligned.ct, aligned.mr)]


def _text(output: Path, means: list[dict[str, Any]], leads: list[dict[str, Any]]) -> str:
    from MSLFusionLib.commands.benchmark import as_text

    keys = ("condition", "method", "psnr", "ssim")
    figures: dict[str, Any] = {
        f"{side}, lambda {lam:g}": [{key: row[key] for key in keys} for row in means if row["lambda"] == lam]
        for side, lam in (("CT", 0.0), ("MR", 1.0))
    }
    return f"{output}: robustness.html, robustness.json, means.csv, leads.csv, slices.csv\n{as_text(figures)}"
