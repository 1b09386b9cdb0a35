"""mslfusion models: which networks there are, what one of them is, and how the authors' weights become ours."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import add_command

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("models", help="list, show and import networks", description=__doc__)
    words = parser.add_subparsers(dest="models_command", metavar="COMMAND", required=True)
    add_command(words, "list", _list, "the networks that --model takes by name")
    show = add_command(words, "show", _show, "the model card of one network")
    show.add_argument("model", metavar="NAME|FILE", help="a name from the list, or a .safetensors file")
    imported = add_command(
        words, "import-official", _import_official, "turn the authors' MSL weights (.pth) into a checkpoint of ours"
    )
    imported.add_argument("file", type=Path, metavar="FILE.pth", help="their state_dict; read with weights_only")
    imported.add_argument("--output", type=Path, metavar="FILE.safetensors", help="default: FILE.safetensors")
    imported.add_argument("--name", help="the model's name (default: the output's)")


def _list(args: argparse.Namespace, context: "Context") -> None:
    from MSLFusionLib.commands.fuse import method_lines, method_table
    from MSLFusionLib.io.checkpoints import list_models, model_folders

    models = list_models()
    lines = [f"{info.name:<20} {info.path.stat().st_size / 1e6:6.1f} MB  {_summary(info.card)}" for info in models]
    if not lines:
        lines = ["No models in " + ", ".join(str(folder) for folder in model_folders())]
    methods = method_table()
    lines += ["", "Methods of mslfusion fuse:", *method_lines(methods, settings=False)]
    values = {"models": [{"name": m.name, "path": m.path, "card": m.card} for m in models], "fusion_methods": methods}
    context.console.result({"command": "models list", **values}, "\n".join(lines))


def _summary(card: dict[str, Any]) -> str:
    size = card["grid"].get("size") if isinstance(card["grid"], dict) else None
    grid = f", {size}" if size else ""
    return f"{card['architecture']} ({card['preset']}), {'+'.join(map(str, card['modalities']))}{grid}"


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
