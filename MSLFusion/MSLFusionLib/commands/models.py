"""mslfusion models: which networks there are, what one of them is, and how the authors' weights become ours."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import add_command, whole_number

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context

_STATISTICS_SUMMARY = "store with a network what its latents and errors look like, for --trust and its warnings"
_STATISTICS_NOTE = (
    "Slices come from generated heads: of the seeds in the model's card, and others that it never saw. The weights "
    "stay as they are. It takes about half an hour on one CPU core."
)


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("models", help="list, show and import networks", description=__doc__)
    words = parser.add_subparsers(dest="models_command", metavar="COMMAND", required=True)
    add_command(words, "list", _list, "the networks that --model takes by name, and all methods")
    show = add_command(words, "show", _show, "the model card of one network")
    show.add_argument("model", metavar="NAME|FILE", help="a name from the list, or a .safetensors file")
    imported = add_command(
        words, "import-official", _import_official, "turn the authors' MSL weights (.pth) into a checkpoint of ours"
    )
    imported.add_argument("file", type=Path, metavar="FILE.pth", help="their state_dict; read with weights_only")
    imported.add_argument("--output", type=Path, metavar="FILE.safetensors", help="default: FILE.safetensors")
    imported.add_argument("--name", help="the model's name (default: the output's)")
    statistics = add_command(words, "statistics", _statistics, _STATISTICS_SUMMARY, epilog=_STATISTICS_NOTE)
    statistics.add_argument("model", metavar="NAME|FILE", help="a name from the list, or a .safetensors file")
    statistics.add_argument(
        "--output", type=Path, required=True, metavar="FILE.safetensors", help="the model with them"
    )
    statistics.add_argument(
        "--slices", type=whole_number(16), default=160, metavar="N", help="familiar slices (default: 160)"
    )
    statistics.add_argument(
        "--held-out", type=whole_number(16), default=80, metavar="N", help="slices that set the limit (default: 80)"
    )
    statistics.add_argument(
        "--error-slices", type=whole_number(1), default=60, metavar="N", help="slices that teach errors (default: 60)"
    )
    statistics.add_argument(
        "--error-steps",
        type=whole_number(0),
        default=1600,
        metavar="N",
        help="of the networks that learn errors; 0: a formula alone (default: 1600)",
    )
    statistics.add_argument(
        "--held-out-seed", type=whole_number(0), default=800001, metavar="N", help="first of the heads held out"
    )
    statistics.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="where the network runs")


def _list(args: argparse.Namespace, context: "Context") -> None:
    from MSLFusionLib import methods
    from MSLFusionLib.io.checkpoints import list_models, model_folders

    models = list_models(architecture=None)
    lines = [f"{info.name:<20} {info.path.stat().st_size / 1e6:6.1f} MB  {_summary(info.card)}" for info in models]
    if not lines:
        lines = ["No models in " + ", ".join(str(folder) for folder in model_folders())]
    rows = [method.to_dict() for method in methods.all_methods(models)]
    lines += ["", *methods.lines(rows)]
    values = {"models": [{"name": m.name, "path": m.path, "card": m.card} for m in models], "methods": rows}
    context.console.result({"command": "models list", **values}, "\n".join(lines))


def _summary(card: dict[str, Any]) -> str:
    size = card["grid"].get("size") if isinstance(card["grid"], dict) else None
    grid = f", {size}" if size else ""
    scale = f", x{card['scale']}" if "scale" in card else ""
    return f"{card['architecture']} ({card['preset']}), {'+'.join(map(str, card['modalities']))}{scale}{grid}"


def _show(args: argparse.Namespace, context: "Context") -> None:
    from MSLFusionLib.io.checkpoints import find_model, read_card

    path = find_model(args.model)
    card = read_card(path)
    lines = [f"{path}"]
    for key, value in card.items():
        lines += _lines(key, value, "")
    context.console.result({"command": "models show", "path": path, "card": card}, "\n".join(lines))


def _lines(key: str, value: Any, indent: str) -> list[str]:
    """A card's entry as indented text; tables go one level deeper."""
    if isinstance(value, dict):
        return [f"{indent}{key}:", *(line for k, v in value.items() for line in _lines(k, v, indent + "  "))]
    return [f"{indent}{key}: {value}"]


def _import_official(args: argparse.Namespace, context: "Context") -> None:
    from MSLFusionLib.commands.outputs import check_ending, check_output_file
    from MSLFusionLib.io.official import import_official

    output = args.output or args.file.with_suffix(".safetensors")
    check_ending(output, (".safetensors",))
    check_output_file(output)
    card = import_official(args.file, output, args.name or output.stem)
    values = {"command": "models import-official", "output": output, "card": card}
    context.console.result(values, f"Written: {output} ({card['parameters']:,} parameters)")


def _statistics(args: argparse.Namespace, context: "Context") -> None:
    from MSLFusionLib.commands.outputs import check_ending, check_output_file
    from MSLFusionLib.io.checkpoints import find_model, load_checkpoint, save_with_statistics
    from MSLFusionLib.recon.heads import UNSEEN, familiar_heads, one_of_each, slices_of
    from MSLFusionLib.recon.reconstructor import Reconstructor
    from MSLFusionLib.recon.statistics import Familiar, learned

    check_ending(args.output, (".safetensors",))
    check_output_file(args.output)
    path = find_model(args.model)
    loaded = load_checkpoint(path)
    reconstructor = Reconstructor(loaded, args.device)
    familiar = familiar_heads(loaded.card)
    held_out = range(args.held_out_seed, args.held_out_seed + max(1, args.held_out // 4))
    options = reconstructor.options()
    contrast = str(loaded.card.get("contrasts", {}).get("mr", "T1")).lower()
    parts = [
        slices_of(seeds, count, options.size, options.pixel_mm, contrast)
        for seeds, count in ((familiar, args.slices), (held_out, args.held_out))
    ]
    others = range(UNSEEN, UNSEEN + args.error_slices)
    tensors, table = learned(
        reconstructor,
        Familiar(
            parts[0],
            args.slices,
            parts[1],
            args.held_out,
            one_of_each(others, options.size, options.pixel_mm, contrast),
            args.error_slices,
            args.error_steps,
            f"generated heads {familiar[0]} to {familiar[-1]}; limit from {held_out[0]} to {held_out[-1]}; errors from "
            f"{others[0]} to {others[-1]}",
        ),
        context.job,
    )
    save_with_statistics(path, args.output, tensors, table)
    limits = ", ".join(f"{name} {limit:.2f}" for name, limit in table["limits"].items())
    values = {"command": "models statistics", "output": args.output, "statistics": table}
    context.console.result(values, f"Written: {args.output} (limits of the distance: {limits})")
