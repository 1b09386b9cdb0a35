"""mslfusion models: which networks there are, what one of them is, and how the authors' weights become ours."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import add_command
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("models", help="list, show and import networks", description=__doc__)
    words = parser.add_subparsers(dest="models_command", metavar="COMMAND", required=True)
    add_command(words, "list", _list, "the networks that --model takes by name")
    show = add_command(words, "show", _show, "the model card of one network")
    show.add_argument("model", metavar="NAME|FILE", help="a name from the list, or a .safetensors file")
    add_command_import(words)


def add_command_import(words: Any) -> None:
    """models import-official."""
    parser = add_command(
        words, "import-official", _import_official, "turn the authors' MSL weights (.pth) into a checkpoint of ours"
    )
    parser.add_argument("file", type=Path, metavar="FILE.pth", help="their state_dict; read with weights_only")
    parser.add_argument("--output", type=Path, metavar="FILE.safetensors", help="default: FILE.safetensors")


def _list(args: argparse.Namespace, context: "Context") -> None:
    from MSLFusionLib.io.checkpoints import list_models, model_folders

    models = list_models()
    lines = [f"{info.name:<20} {info.path.stat().st_size / 1e6:6.1f} MB  {_summary(info.card)}" for info in models]
    if not lines:
        lines = ["No models in " + ", ".join(str(folder) for folder in model_folders())]
    values = {"models": [{"name": m.name, "path": m.path, "card": m.card} for m in models]}
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
    from MSLFusionLib.commands.outputs import check_output_file
    from MSLFusionLib.io.official import import_official

    if not args.file.is_file():
        raise InputError(f"{args.file}: there is no such file; give the path of the authors' .pth")
    output = args.output or args.file.with_suffix(".safetensors")
    check_output_file(output)
    import_official(args.file, output)
    context.console.result({"command": "models import-official", "output": output}, f"Written: {output}")
