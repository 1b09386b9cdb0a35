"""The training words of the command line: train, export, validate. No torch until one of them runs."""

import json
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError


def add_commands(subparsers: Any) -> None:
    """Add our parsers; see MSLFusionLib.cli for how providers are found."""
    train = subparsers.add_parser("train", help="train a network on generated heads")
    train.add_argument("config", nargs="?", type=Path, help="TOML file of settings")
    train.add_argument("--output", type=Path, required=True, help="folder of the run; an interrupted run goes on")
    train.add_argument("--cache", type=Path, help="folder of generated heads (default: OUTPUT/heads)")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda[:N]")
    train.add_argument("--workers", type=int, default=1, help="processes that generate heads")
    train.add_argument("--settings", help="paper, official or msl: what the settings start from")
    _add_settings(train)
    train.set_defaults(run=run_train)

    export = subparsers.add_parser("export", help="turn a training run into a model file with its card")
    export.add_argument("folder", type=Path, metavar="RUN", help="folder of the run")
    export.add_argument("--output", type=Path, required=True, help="the .safetensors to write")
    export.add_argument("--half", action="store_true", help="store the weights in 16 bits")
    export.add_argument("--made-by", default="", help="the command that made the model, for its card")
    _add_test_heads(export)
    export.set_defaults(run=run_export)

    validate = subparsers.add_parser("validate", help="measure a model on generated heads it never saw")
    validate.add_argument("model", help="name or .safetensors file")
    validate.add_argument("--views", type=int, help="CT views (default: as trained)")
    validate.add_argument("--acceleration", type=float, help="MR acceleration (default: as trained)")
    _add_test_heads(validate)
    validate.set_defaults(run=run_validate)


def _add_test_heads(parser: Any) -> None:
    parser.add_argument("--seeds", type=int, nargs="+", default=[900001, 900002, 900003], help="heads to measure on")
    parser.add_argument("--slices", type=int, default=20, help="slices of each head")
    parser.add_argument("--cache", type=Path, required=True, help="folder of generated heads")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda[:N]")


def _add_settings(parser: Any) -> None:
    """One flag per setting of TrainConfig, unset by default so that the file or the preset decides."""
    from dataclasses import fields

    from MSLFusionTrainingLib.config import TrainConfig

    group = parser.add_argument_group("settings (each also a key of the TOML file)")
    for setting in fields(TrainConfig):
        flag = f"--{setting.name.replace('_', '-')}"
        if setting.name == "model":
            group.add_argument(flag, type=_table, metavar="JSON", help="changed fields of the network, as JSON")
        elif isinstance(setting.default, bool):
            group.add_argument(flag, choices=["true", "false"])
        elif isinstance(setting.default, tuple):
            group.add_argument(flag, nargs="+", type=type(setting.default[0]))
        else:
            group.add_argument(flag, type=type(setting.default))


def _table(text: str) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("not a table")
    return values


def settings(args: Any) -> Any:
    """The TrainConfig of the parsed arguments: preset, then file, then flags."""
    from dataclasses import fields

    from MSLFusionTrainingLib.config import TrainConfig

    changes = {f.name: getattr(args, f.name) for f in fields(TrainConfig) if getattr(args, f.name) is not None}
    if "augment" in changes:
        changes["augment"] = changes["augment"] == "true"
    if args.settings:
        changes["settings"] = args.settings
    return TrainConfig.from_file(args.config, changes) if args.config else TrainConfig.from_dict(changes)


def run_train(args: Any, context: Any) -> None:
    """`mslfusion train`."""
    config = settings(args)
    from MSLFusionLib.recon.devices import choose_device
    from MSLFusionTrainingLib.data import head_seeds, load_heads
    from MSLFusionTrainingLib.trainer import Trainer

    device = choose_device(args.device)
    if args.workers < 1:
        raise InputError(f"--workers must be at least 1, not {args.workers}.")
    cache = args.cache or args.output / "heads"
    train_seeds, validation_seeds = head_seeds(config)
    train = load_heads(config, train_seeds, cache, args.workers, context.job)
    validation = load_heads(config, validation_seeds or train_seeds[:1], cache, args.workers, context.job)
    trainer = Trainer(config, train, validation, args.output, device)
    if trainer.resume():
        context.console.say(f"Going on at iteration {trainer.iteration} of {config.iterations}.")
    trainer.run(context.job)
    context.console.result({"output": str(args.output), "iterations": trainer.iteration}, f"Trained: {args.output}")


def run_export(args: Any, context: Any) -> None:
    """`mslfusion export`."""
    from MSLFusionLib.io.checkpoints import save_checkpoint
    from MSLFusionTrainingLib.export import make_card, trained_model

    if args.output.suffix != ".safetensors":
        raise InputError(f"{args.output} must end in .safetensors.")
    model, config, iteration = trained_model(args.folder)
    quality = _quality(model, config, args, context.job)
    card = make_card(model, config, iteration, quality, args.seeds, args.made_by)
    save_checkpoint(args.output, model, card, half=args.half)
    context.console.result({"output": str(args.output), "metrics": quality}, _report(quality))


def run_validate(args: Any, context: Any) -> None:
    """`mslfusion validate`."""
    from dataclasses import replace

    from MSLFusionLib.io.checkpoints import find_model, load_checkpoint
    from MSLFusionTrainingLib.export import card_config

    loaded = load_checkpoint(find_model(args.model))
    config = card_config(loaded.card)
    if args.views:
        config = replace(config, views=(args.views,))
    if args.acceleration:
        config = replace(config, accelerations=(args.acceleration,))
    quality = _quality(loaded.model, config, args, context.job)
    context.console.result({"model": loaded.name, "metrics": quality}, _report(quality))


def _quality(model: Any, config: Any, args: Any, job: Any) -> dict[str, Any]:
    from dataclasses import replace

    from MSLFusionLib.recon.devices import choose_device
    from MSLFusionTrainingLib.data import load_heads
    from MSLFusionTrainingLib.quality import evaluate
    from MSLFusionTrainingLib.sensors import SensorSimulator
    from MSLFusionTrainingLib.trainer import usual_sampling

    trained_on = range(config.head_seed, config.head_seed + config.heads)
    seen = [seed for seed in args.seeds if seed in trained_on]
    if seen:
        raise InputError(f"Head {seen[0]} was in the training set: choose other --seeds.")
    device = choose_device(args.device)
    heads = load_heads(replace(config, slices=args.slices), args.seeds, args.cache, job=job)
    simulator = SensorSimulator(config, device)
    return evaluate(model.to(device), heads, simulator, usual_sampling(config), job=job)


def _report(quality: dict[str, Any]) -> str:
    ct, mr = quality["ct"], quality["mr"]

    def line(name: str, values: dict[str, float]) -> str:
        return f"  {name:<14} PSNR {values['psnr']:6.2f} dB  SSIM {values['ssim']:.4f}  MAE {values['mae']:.5f}"

    lines = [f"{quality['slices']} slices, whole slice, images in [0, 1]"]
    lines += [line("FBP", ct["fbp"]), line("network CT", ct["network"]), f"  CT gain        {ct['gain_db']:+.2f} dB"]
    lines += [line("zero-filled", mr["zero_filled"]), line("network MR", mr["network"])]
    lines += [f"  MR gain        {mr['gain_db']:+.2f} dB"]
    lines += [
        f"  lambda {row['lambda']:.2f}    MAE to CT {row['mae_ct']:.5f}  MAE to MR {row['mae_mr']:.5f}"
        for row in quality["lambda"]
    ]
    lines += [line(name.replace("_", " "), values) for name, values in quality.get("single", {}).items()]
    return "\n".join(lines)
