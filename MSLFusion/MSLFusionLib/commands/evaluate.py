"""mslfusion evaluate: how near the images of runs are to ground truth, and runs side by side."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import add_command, add_output_folder, add_seed
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context

_SUMMARY = "compare the images of runs with ground truth, and runs with one another"


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "evaluate", run, _SUMMARY)
    parser.add_argument(
        "runs", nargs="+", metavar="[NAME=]DIR",
        help="folders that reconstruct wrote; the first is what others are compared with. The same NAME for runs of "
        "other volumes with the same method",
    )  # fmt: skip
    parser.add_argument("--ct", type=Path, metavar="FILE", help="the true CT (default: what the run was made from)")
    parser.add_argument("--mr", type=Path, metavar="FILE", help="the true MR, where the CT lies")
    add_output_folder(parser)
    add_seed(parser)


def run(args: argparse.Namespace, context: "Context") -> None:
    """Evaluate each run, compare them, then let the files appear."""
    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.evaluation import compare, page
    from MSLFusionLib.evaluation.figures import CONVENTIONS
    from MSLFusionLib.evaluation.folders import read_run
    from MSLFusionLib.evaluation.measure import measure, truth_of
    from MSLFusionLib.io.runs import plain, versions

    runs = [read_run(word) for word in args.runs]
    given = {"ct": args.ct, "mr": args.mr}
    inputs = [path for path in (args.ct, args.mr, *(image.path for one in runs for image in one.images)) if path]
    if args.output.resolve() in {one.folder.resolve() for one in runs}:
        raise InputError(f"{args.output} is a run's folder: choose another --output.")
    with OutputFolder(args.output, 0, inputs) as out:
        measured = []
        for one in runs:
            measured.append(measure(one, truth_of(one, given, context.job), context.job))
            compare.check_pairs(measured)
        slices = [row for one in measured for row in one.slices]
        volumes = [row for one in measured for row in one.volumes]
        differences = compare.differences(measured, args.seed)
        page.write_table(out.path("slices.csv"), slices, page.SLICE_COLUMNS)
        page.write_table(out.path("volumes.csv"), volumes, page.VOLUME_COLUMNS)
        if len(measured) > 1:
            page.write_table(out.path("differences.csv"), differences, page.DIFFERENCE_COLUMNS)
        page.write_page(out.path("evaluation.html"), measured, differences)
        content = {
            "format": "mslfusion-evaluation-1",
            "conventions": {**CONVENTIONS, **(compare.CONVENTIONS if differences else {})},
            "seed": args.seed,
            "runs": [{"name": one.run.name, "folder": one.run.folder, "volume": one.truth_key} for one in measured],
            "versions": versions(),
            "volumes": volumes,
            "differences": differences,
        }
        text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        out.path("evaluation.json").write_text(text, encoding="utf-8")
        names = out.names
    values = {"command": "evaluate", "output": args.output, "files": names, "volumes": volumes,
              "differences": differences, "conventions": content["conventions"]}  # fmt: skip
    context.console.result(values, _text(args.output, names, volumes, differences))


def _text(output: Path, names: list[str], volumes: list[dict[str, Any]], differences: list[dict[str, Any]]) -> str:
    """For reading: figures of the volumes within the body, differences in PSNR, and what the figures mean."""
    from MSLFusionLib.commands.benchmark import as_text
    from MSLFusionLib.evaluation.figures import BODY, CONVENTIONS, NAMES

    keys = ("run", "image", "target", *NAMES)
    rows = [{key: row[key] for key in keys} for row in volumes if row["region"] == BODY]
    figures: dict[str, Any] = {"within the body": rows}
    if differences:
        wanted = ("run", "image", "target", "figure", "mean", "low", "high", "nearer", "slices")
        figures["differences from the first run, 95 % over slices"] = [
            {key: row[key] for key in wanted}
            for row in differences
            if row["region"] == BODY and row["figure"] == "psnr"
        ]
    figures["conventions"] = dict(CONVENTIONS)
    return "\n".join([f"{output}:", *(f"  {name}" for name in names), as_text(figures)])
