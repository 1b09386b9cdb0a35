"""The training words of the command line: prepare, train, export, validate. No torch until one of them runs.

`train` and `export` hand over to the module of the method, see `methods`.
"""

import json
from pathlib import Path
from typing import Any

from MSLFusionLib.commands.options import whole_number
from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.tables import key_value

TRAIN_SUMMARY = (
    "Train a network: that of the method which the file names (method = msl, dc2fusion or cmf-net), MSL without one. "
    "Settings come from a preset, then from the file, then from --set, then from flags, which are for MSL."
)


def add_commands(subparsers: Any) -> None:
    """Add our parsers; see MSLFusionLib.cli for how providers are found."""
    from MSLFusionTrainingLib.control import add_control
    from MSLFusionTrainingLib.prepare.command import add_parser as add_prepare

    add_prepare(subparsers)
    train = subparsers.add_parser(
        "train", help="train a network on a prepared set or on generated heads", description=TRAIN_SUMMARY
    )
    train.add_argument("config", nargs="?", type=Path, help="TOML file of settings")
    train.add_argument("--output", type=Path, required=True, help="folder of the run; an interrupted run goes on")
    train.add_argument("--cache", type=Path, help="folder of generated heads (default: OUTPUT/heads)")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda[:N]")
    train.add_argument("--devices", type=whole_number(1), default=1, metavar="N", help="GPUs or processes, a machine")
    train.add_argument("--nodes", type=whole_number(1), default=1, metavar="N", help="machines")
    train.add_argument(
        "--workers", type=whole_number(1), default=1, help="processes that generate heads, or prepare volumes"
    )
    train.add_argument(
        "--set", action="append", type=key_value, dest="settings", metavar="KEY=VALUE", help="a setting, or the method"
    )
    add_control(train)
    _add_settings(train)
    train.set_defaults(run=run_train)

    export = subparsers.add_parser("export", help="turn a training run into a model file with its card")
    export.add_argument("folder", type=Path, metavar="RUN", help="folder of the run")
    export.add_argument("--output", type=Path, required=True, help="the .safetensors to write")
    export.add_argument("--half", action="store_true", help="store the weights in 16 bits")
    export.add_argument("--last", action="store_true", help="the last checkpoint instead of the best")
    export.add_argument("--name", help="of the model (default: the run's)")
    export.add_argument(
        "--statistics",
        action="store_true",
        help="also store what latents and errors look like on the run's own slices, for --trust and its warnings",
    )
    export.add_argument("--made-by", default="", help="the command that made the model, for its card")
    _add_test_heads(export, "measure on generated heads, too, kept in this folder (default: the run's validation)")
    export.set_defaults(run=run_export)

    validate = subparsers.add_parser("validate", help="measure a model on generated heads it never saw")
    validate.add_argument("model", help="name or .safetensors file")
    validate.add_argument("--views", type=int, help="CT views (default: as trained)")
    validate.add_argument("--acceleration", type=float, help="MR acceleration (default: as trained)")
    _add_test_heads(validate, "folder of generated heads", required=True)
    validate.set_defaults(run=run_validate)

    from MSLFusionLib.commands.benchmark import add_benchmark

    benchmark = add_benchmark(subparsers, "train", run_benchmark, "our training step beside the published one")
    benchmark.add_argument("--preset", choices=("paper", "official", "msl", "msl-lite"), default="official")
    benchmark.add_argument("--size", type=whole_number(16), default=384, metavar="N", help="pixels, a side")
    benchmark.add_argument("--batch", type=whole_number(1), default=4, metavar="N", help="slices of a step")
    benchmark.add_argument("--repeats", type=whole_number(1), default=3, metavar="N", help="median of N steps")
    benchmark.add_argument("--compile", action="store_true", help="ours through torch.compile, too")
    benchmark.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]")


def _add_test_heads(parser: Any, cache: str, required: bool = False) -> None:
    parser.add_argument("--seeds", type=int, nargs="+", default=[900001, 900002, 900003], help="heads to measure on")
    parser.add_argument("--slices", type=int, default=20, help="slices of each head")
    parser.add_argument("--cache", type=Path, required=required, metavar="DIR", help=cache)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda[:N]")


def _add_settings(parser: Any) -> None:
    """One flag per setting of TrainConfig, unset by default so that the file or the preset decides."""
    from dataclasses import fields

    from MSLFusionTrainingLib.config import TrainConfig, item_type
    from MSLFusionTrainingLib.explained import SENTENCES

    group = parser.add_argument_group("settings (each also a key of the TOML file; presets give the rest)")
    for setting in fields(TrainConfig):
        flag, item = f"--{setting.name.replace('_', '-')}", item_type(setting.name)
        said = SENTENCES[setting.name].rstrip(".").replace("%", "%%")
        said = said[0].lower() + said[1:] if said[1:2].islower() else said
        if setting.name == "model":
            group.add_argument(flag, type=_table, metavar="JSON", help=f"{said}, as JSON")
        elif isinstance(setting.default, bool):
            group.add_argument(flag, choices=["true", "false"], help=said)
        elif item is not None:
            group.add_argument(flag, nargs="+", type=item, help=said)
        else:
            group.add_argument(flag, type=type(setting.default), help=said)


def _table(text: str) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("not a table")
    return values


def run_train(args: Any, context: Any) -> None:
    """`mslfusion train`: what is asked about a run, or the training of its method."""
    from MSLFusionTrainingLib import control, methods

    if control.asked(args):
        control.run(args, context)
        return
    method = methods.asked_for(args.config, dict(args.settings or ()), args.output)
    if method.name != methods.DEFAULT:
        _refuse_flags(args, method.name)
    method.commands.run_train(args, context)


def run_export(args: Any, context: Any) -> None:
    """`mslfusion export` of a run of any method."""
    from MSLFusionTrainingLib import methods

    if args.output.suffix != ".safetensors":
        raise InputError(f"{args.output} must end in .safetensors.")
    method = methods.of_run(args.folder)
    if args.statistics and method.name != methods.DEFAULT:
        raise InputError(f"--statistics is for models of {methods.DEFAULT}, and this run is one of {method.name}.")
    method.commands.run_export(args, context)


def run_validate(args: Any, context: Any) -> None:
    """`mslfusion validate`, by what the model is."""
    from MSLFusionLib.io.checkpoints import find_model, read_card
    from MSLFusionTrainingLib import msl_command
    from MSLFusionTrainingLib.restoration import command as restoration

    architecture = read_card(find_model(args.model))["architecture"]
    if architecture == "msl":
        msl_command.run_validate(args, context)
    elif architecture in restoration.ARCHITECTURES:
        restoration.run_validate(args, context)
    else:
        raise InputError(f"{args.model} is a {architecture}: its card has what its export measured (models show).")


def _refuse_flags(args: Any, method: str) -> None:
    """Raise InputError for words that only MSL's training knows."""
    from dataclasses import fields

    from MSLFusionTrainingLib.config import TrainConfig

    given = next((field.name for field in fields(TrainConfig) if getattr(args, field.name) is not None), None)
    if given is not None:
        flag = f"--{given.replace('_', '-')}"
        raise InputError(f"{flag} is a setting of msl: those of {method} stand in the file or follow --set KEY=VALUE.")
    for name in ("devices", "nodes"):
        if getattr(args, name) > 1:
            raise InputError(f"--{name} is for msl: {method} trains on one device.")


def run_benchmark(args: Any, context: Any) -> None:
    """`mslfusion benchmark train`."""
    from MSLFusionLib.commands.benchmark import check, finish
    from MSLFusionLib.recon.devices import choose_device
    from MSLFusionTrainingLib.benchmark import compare_steps

    check(args)
    device = choose_device(args.device)
    figures = compare_steps(args.preset, args.size, args.batch, args.repeats, device, args.compile, context.job)
    finish(figures, args, context)
