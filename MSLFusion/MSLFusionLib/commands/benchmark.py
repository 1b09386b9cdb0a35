"""mslfusion benchmark: how fast, how exact and how sparing the parts are on this machine."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.benchmark_consistency import add_consistency
from MSLFusionLib.commands.benchmark_restoration import add_restoration
from MSLFusionLib.commands.benchmark_trust import add_trust
from MSLFusionLib.commands.options import METHODS, PRESETS, add_command, number, whole_number

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    summary = "measure speed, accuracy and memory on this machine"
    parser = subparsers.add_parser("benchmark", help=summary, description=summary)
    words = parser.add_subparsers(dest="benchmark_command", metavar="COMMAND", required=True)
    parser.set_defaults(benchmarks=words)
    operators = add_command(words, "operators", _operators, "the CT operators beside ASTRA's, and their accuracy")
    operators.add_argument("--views", type=whole_number(1), default=64, metavar="N", help="projections")
    operators.add_argument("--size", type=whole_number(16, 2048), default=384, metavar="N", help="pixels, a side")
    operators.add_argument("--batch", type=whole_number(1), default=8, metavar="N", help="slices at a time")
    operators.add_argument("--repeats", type=whole_number(1), default=5, metavar="N", help="the shortest of N counts")
    reconstruct = add_command(words, "reconstruct", _reconstruct, "time and memory of whole reconstructions")
    reconstruct.add_argument(
        "--size", type=whole_number(1), nargs=3, default=(512, 512, 200), metavar=("X", "Y", "Z"), help="voxels"
    )
    reconstruct.add_argument(
        "--lambdas",
        type=whole_number(1),
        nargs="+",
        default=(1, 5),
        metavar="N",
        help="a run for each number of lambdas",
    )
    reconstruct.add_argument("--model", metavar="NAME|FILE", help="see: mslfusion models list")
    reconstruct.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="where the network runs")
    registration = add_command(words, "registration", _registration, "how exactly known misalignments are found")
    registration.add_argument(
        "--seeds", type=whole_number(0), nargs="+", default=tuple(range(20)), metavar="N", help="generated heads"
    )
    registration.add_argument("--preset", choices=PRESETS, default="msl", help="settings of the registration")
    registration.add_argument("--method", choices=METHODS, help="motion that may be found (default: the preset's)")
    registration.add_argument("--shift-mm", type=number(0, 100), default=15.0, metavar="MM", help="how far moved")
    registration.add_argument("--turn-degrees", type=number(0, 90), default=10.0, metavar="DEG", help="how far turned")
    registration.add_argument(
        "--coarser", type=number(0.5, 8), default=1.0, metavar="F", help="all voxels so many times larger: quicker"
    )
    preview = add_command(words, "preview", _preview, "time from a request for a slice to its plane, through a worker")
    preview.add_argument(
        "--slices",
        type=whole_number(2),
        nargs="+",
        default=(8, 64),
        metavar="N",
        help="a volume for each number",
    )
    preview.add_argument("--requests", type=whole_number(1), default=30, metavar="N", help="for each kind of lambda")
    preview.add_argument("--model", metavar="NAME|FILE", help="see: mslfusion models list")
    preview.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="where the network runs")
    consistency = add_consistency(words)
    restoration = add_restoration(words)
    trust = add_trust(words)
    for command in (operators, reconstruct, registration, preview, consistency, restoration, trust):
        _add_output(command)


def add_benchmark(subparsers: Any, name: str, run: Callable[..., Any], summary: str) -> Any:
    """A further benchmark from a provider of commands: its parser, with --output; `run` ends with `finish`."""
    command = add_command(subparsers.choices["benchmark"].get_default("benchmarks"), name, run, summary)
    _add_output(command)
    return command


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument("--output", type=Path, metavar="FILE.json", help="also write the figures there")


def _operators(args: argparse.Namespace, context: "Context") -> None:
    from MSLFusionLib.benchmarks import operators

    check(args)
    finish(operators.run(args.views, args.size, args.batch, args.repeats, context.job), args, context)


def _reconstruct(args: argparse.Namespace, context: "Context") -> None:
    from MSLFusionLib.benchmarks import reconstruct
    from MSLFusionLib.commands.inputs import model_path

    check(args)
    model = model_path(args.model)
    finish(reconstruct.run(args.size, args.lambdas, model, args.device, context.job), args, context)


def _registration(args: argparse.Namespace, context: "Context") -> None:
    from MSLFusionLib.benchmarks import registration

    check(args)
    figures = registration.run(
        args.seeds, args.shift_mm, args.turn_degrees, args.preset, args.method, args.coarser, context.job
    )
    finish(figures, args, context)


def _preview(args: argparse.Namespace, context: "Context") -> None:
    from MSLFusionLib.benchmarks import preview
    from MSLFusionLib.commands.inputs import model_path

    check(args)
    model = model_path(args.model)
    finish(preview.run(model, args.slices, args.requests, args.device, context.job), args, context)


def check(args: argparse.Namespace) -> None:
    """Raises InputError when --output cannot be written, before the work begins."""
    from MSLFusionLib.commands.outputs import check_output_file

    if args.output is not None:
        check_output_file(args.output)


def finish(figures: dict[str, Any], args: argparse.Namespace, context: "Context") -> None:
    """Write the figures to --output and show them."""
    from MSLFusionLib.io.atomic import atomic_path
    from MSLFusionLib.io.runs import plain

    if args.output is not None:
        with atomic_path(args.output) as temporary:
            temporary.write_text(json.dumps(plain(figures), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    context.console.result({"command": f"benchmark {args.benchmark_command}", **figures}, as_text(figures))


def as_text(figures: dict[str, Any]) -> str:
    """Figures of a benchmark for reading: lists of like rows as tables, the rest as lines."""
    blocks = []
    for name, value in figures.items():
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            blocks.append(f"{name}:\n{_table(value)}")
        elif isinstance(value, dict):
            lines = [f"  {key}: {_cell(item)}" for key, item in value.items()]
            blocks.append("\n".join([f"{name}:", *lines]))
        elif value not in ([], None):
            blocks.append(f"{name}: {_cell(value)}")
    return "\n".join(blocks)


def _table(rows: list[dict[str, Any]]) -> str:
    head = list(dict.fromkeys(key for row in rows for key in row))
    cells = [head, *([_cell(row.get(key)) for key in head] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = []
    for line in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        lines.append("  ".join(["", line[0].ljust(len(first)), *rest]))
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return str(value)
