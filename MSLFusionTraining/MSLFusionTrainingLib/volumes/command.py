"""mslfusion train-fusion and export-fusion: DC2Fusion on generated heads, and the model file it becomes."""

import json
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError

TRAIN = "train DC2Fusion on pairs of generated volumes (settings: TOML file, then flags)"
EXPORT = "turn a run of train-fusion into a model file with its card"


def add_parsers(subparsers: Any) -> None:
    """Add both words to the command line."""
    train = subparsers.add_parser("train-fusion", help=TRAIN, description=TRAIN)
    train.add_argument("config", nargs="?", type=Path, help="TOML file of settings")
    train.add_argument("--output", type=Path, required=True, help="folder of the run; an interrupted run goes on")
    train.add_argument("--cache", type=Path, help="folder of generated heads (default: OUTPUT/heads)")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda[:N]")
    train.add_argument(
        "--set", action="append", type=_setting, dest="settings", metavar="KEY=VALUE", help="a setting; may be repeated"
    )
    train.set_defaults(run=run_train)
    export = subparsers.add_parser("export-fusion", help=EXPORT, description=EXPORT)
    export.add_argument("folder", type=Path, metavar="RUN", help="folder of the run")
    export.add_argument("--output", type=Path, required=True, help="the .safetensors to write")
    export.add_argument("--half", action="store_true", help="store the weights in 16 bits")
    export.add_argument("--last", action="store_true", help="the last state instead of the best")
    export.add_argument("--seeds", type=int, nargs="+", default=[900001], help="generated heads to measure on")
    export.add_argument("--cache", type=Path, help="folder of those heads (default: RUN/heads)")
    export.add_argument("--made-by", default="", help="the command that made the model, for its card")
    export.set_defaults(run=run_export)


def run_train(args: Any, context: Any) -> None:
    """`mslfusion train-fusion`."""
    from MSLFusionLib.recon.devices import choose_device
    from MSLFusionTrainingLib.volumes.config import VolumeConfig
    from MSLFusionTrainingLib.volumes.heads import head_seeds, load_heads
    from MSLFusionTrainingLib.volumes.trainer import VolumeTrainer

    changes = dict(args.settings or ())
    config = VolumeConfig.from_file(args.config, changes) if args.config else VolumeConfig.from_dict(changes)
    config.network()
    device = choose_device(args.device)
    cache = args.cache or args.output / "heads"
    train, validation = head_seeds(config)
    load_heads(config, train + validation, cache, context.job)
    pairs = load_heads(config, train, cache), load_heads(config, validation or train[:1], cache)
    trainer = VolumeTrainer(config, *pairs, args.output, device)
    if trainer.resume():
        context.console.say(f"Going on at iteration {trainer.iteration} of {config.iterations}.")
    trainer.run(context.job)
    outcome = {"output": str(args.output), "iterations": trainer.iteration, "best": trainer.best}
    context.console.result(outcome, f"Trained: {args.output}")


def run_export(args: Any, context: Any) -> None:
    """`mslfusion export-fusion`."""
    from MSLFusionLib.io.checkpoints import save_checkpoint
    from MSLFusionTrainingLib.volumes.export import exported

    if args.output.suffix != ".safetensors":
        raise InputError(f"{args.output} must end in .safetensors.")
    cache = args.cache or args.folder / "heads"
    model, card = exported(args.folder, args.last, args.seeds, cache, args.half, args.made_by, context.job)
    save_checkpoint(args.output, model, card, half=args.half)
    context.console.result({"output": str(args.output), "card": card}, f"Written: {args.output}")


def _setting(text: str) -> tuple[str, Any]:
    """An argparse type: KEY=VALUE, the value as JSON or, failing that, as text."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError("not KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
