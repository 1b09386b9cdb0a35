"""The training words of the command line: prepare, train, export, validate. No torch until one of them runs."""

import json
from pathlib import Path
from typing import Any

from MSLFusionLib.commands.options import whole_number
from MSLFusionLib.errors import InputError

TRAIN_SUMMARY = "Train a network. Settings come from a preset, then from a TOML file, then from flags."


def add_commands(subparsers: Any) -> None:
    """Add our parsers; see MSLFusionLib.cli for how providers are found."""
    from MSLFusionTrainingLib.control import add_control
    from MSLFusionTrainingLib.prepare.command import add_parser as add_prepare
    from MSLFusionTrainingLib.volumes.command import add_parsers as add_volumes

    add_prepare(subparsers)
    add_volumes(subparsers)
    train = subparsers.add_parser(
        "train", help="train a network on a prepared set or on generated heads", description=TRAIN_SUMMARY
    )
    train.add_argument("config", nargs="?", type=Path, help="TOML file of settings")
    train.add_argument("--output", type=Path, required=True, help="folder of the run; an interrupted run goes on")
    train.add_argument("--cache", type=Path, help="folder of generated heads (default: OUTPUT/heads)")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda[:N]")
    train.add_argument("--devices", type=whole_number(1), default=1, metavar="N", help="GPUs or processes, a machine")
    train.add_argument("--nodes", type=whole_number(1), default=1, metavar="N", help="machines")
    train.add_argument("--workers", type=whole_number(1), default=1, help="processes that generate heads")
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


def settings(args: Any) -> Any:
    """The TrainConfig of the parsed arguments: preset, then file, then flags.

    Without a file a run that goes on keeps its own settings, with the flags on top.
    """
    from dataclasses import fields

    from MSLFusionTrainingLib.config import TrainConfig
    from MSLFusionTrainingLib.facts import LAST, read_facts

    given = {f: getattr(args, f.name) for f in fields(TrainConfig) if getattr(args, f.name) is not None}
    changes = {f.name: value == "true" if isinstance(f.default, bool) else value for f, value in given.items()}
    if args.config:
        return TrainConfig.from_file(args.config, changes)
    state = args.output / LAST
    return TrainConfig.from_dict((read_facts(state)["config"] if state.exists() else {}) | changes)


def run_train(args: Any, context: Any) -> None:
    """`mslfusion train`."""
    from MSLFusionTrainingLib import control

    if control.asked(args):
        control.run(args, context)
        return
    config = settings(args)
    if args.background:
        control.run_in_background(args, context)
        return
    from MSLFusionLib.progress import Job
    from MSLFusionLib.recon.devices import choose_device
    from MSLFusionTrainingLib.distribution import start
    from MSLFusionTrainingLib.trainer import Trainer

    if config.data:
        from MSLFusionTrainingLib.prepared import with_data

        config = with_data(config)
    processes = start(choose_device(args.device), args.devices, args.nodes)
    with control.watched(args, config, context, processes) as run:
        # One process speaks for all; any of them may be told to stop.
        job = run.job if processes.first else Job(cancelled=run.job.cancelled)
        train, validation = _slices(config, args, job, processes)
        trainer = Trainer(config, train, validation, args.output, processes)
        if trainer.resume(job) and processes.first:
            context.console.say(f"Going on at iteration {trainer.iteration} of {config.iterations}.")
        run.follow(trainer)
        trainer.run(job)
    if not processes.first:
        return
    if run.asked:
        outcome = {"output": str(args.output), "iterations": run.iteration, "stopped": True}
        text = f"Stopped as asked at iteration {run.iteration}: the same command goes on from there."
        context.console.result(outcome, text)
    else:
        outcome = {"output": str(args.output), "iterations": trainer.iteration, "best": trainer.best}
        context.console.result(outcome, f"Trained: {args.output}")


def _slices(config: Any, args: Any, job: Any, processes: Any) -> tuple[Any, Any]:
    """Training and validation slices; the first process makes what is missing, the others wait for it."""
    if config.data:
        from MSLFusionTrainingLib.prepared import load_prepared, note_data

        if processes.first:
            note_data(args.output, config.data)
        return load_prepared(config.data, job)
    from MSLFusionTrainingLib.data import head_seeds, load_heads

    cache = args.cache or args.output / "heads"
    train, validation = head_seeds(config)
    if processes.first:
        load_heads(config, train + validation, cache, args.workers, job)
    processes.agree(True)
    return load_heads(config, train, cache), load_heads(config, validation or train[:1], cache)


def run_export(args: Any, context: Any) -> None:
    """`mslfusion export`."""
    from dataclasses import replace

    from MSLFusionLib.io.checkpoints import save_checkpoint
    from MSLFusionTrainingLib.export import checkpoint_of, make_card, trained_model, verify

    if args.output.suffix != ".safetensors":
        raise InputError(f"{args.output} must end in .safetensors.")
    checkpoint = checkpoint_of(args.folder, args.last)
    model, config, facts = trained_model(checkpoint)
    for half in {False, args.half}:
        verify(model, checkpoint, config, facts, half)
    config = replace(config, name=args.name or config.name)
    quality = dict(facts["validation"])
    measured_on = f"the run's validation slices after {quality.pop('iteration', 0)} iterations, never trained on"
    if args.cache is not None:
        quality = _quality(model, config, args, context.job)
        measured_on = f"generated heads {', '.join(map(str, args.seeds))}, never trained on"
    if not quality:
        raise InputError(f"{checkpoint} was never validated: give --cache DIR to measure it on generated heads.")
    card = make_card(model, config, int(facts["iteration"]), quality, measured_on, args.made_by)
    save_checkpoint(args.output, model, card, half=args.half)
    if args.statistics:
        from MSLFusionTrainingLib.statistics import add_statistics

        add_statistics(args.output, config, args.cache or args.folder / "heads", args.device, context.job)
    context.console.result({"output": str(args.output), "metrics": quality}, _report(quality, config))


def run_benchmark(args: Any, context: Any) -> None:
    """`mslfusion benchmark train`."""
    from MSLFusionLib.commands.benchmark import check, finish
    from MSLFusionLib.recon.devices import choose_device
    from MSLFusionTrainingLib.benchmark import compare_steps

    check(args)
    device = choose_device(args.device)
    figures = compare_steps(args.preset, args.size, args.batch, args.repeats, device, args.compile, context.job)
    finish(figures, args, context)


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
    context.console.result({"model": loaded.name, "metrics": quality}, _report(quality, config))


def _quality(model: Any, config: Any, args: Any, job: Any) -> dict[str, Any]:
    from dataclasses import replace

    from MSLFusionLib.recon.devices import choose_device
    from MSLFusionTrainingLib.data import load_heads
    from MSLFusionTrainingLib.draws import usual_sampling
    from MSLFusionTrainingLib.quality import evaluate
    from MSLFusionTrainingLib.sensors import SensorSimulator

    trained_on = range(config.head_seed, config.head_seed + config.heads)
    seen = [seed for seed in args.seeds if seed in trained_on]
    if seen:
        raise InputError(f"Head {seen[0]} was in the training set: choose other --seeds.")
    device = choose_device(args.device)
    heads = load_heads(replace(config, slices=args.slices), args.seeds, args.cache, job=job)
    simulator = SensorSimulator(config, device)
    return evaluate(model.to(device), heads, simulator, usual_sampling(config), job=job)


def _report(quality: dict[str, Any], config: Any) -> str:
    from MSLFusionTrainingLib.quality import SENSOR_NAMES

    def line(name: str, values: dict[str, float]) -> str:
        figures = f"PSNR {values['psnr']:6.2f} dB  SSIM {values['ssim']:.4f}  MAE {values['mae']:.5f}"
        return f"  {name:<16} {figures}" + (f"  MI {values['mi']:.4f}" if "mi" in values else "")

    lines = [f"{quality['slices']} slices, whole slice, images in [0, 1]"]
    for role, end in zip(config.roles, config.measured, strict=True):
        found, sensor = quality[role], SENSOR_NAMES[end]
        lines += [line(f"{role.upper()} {sensor}", found[sensor]), line(f"{role.upper()} network", found["network"])]
        if "corrected" in found:
            lines.append(line(f"{role.upper()} corrected", found["corrected"]))
        lines += [f"  {role.upper()} gain".ljust(19) + f"{found['gain_db']:+.2f} dB"]
    for row in quality["lambda"]:
        dial = row["lambda"]
        text = f"{dial:.2f}" if isinstance(dial, float) else ", ".join(f"{weight:.2f}" for weight in dial)
        errors = "  ".join(f"MAE to {role.upper()} {row[f'mae_{role}']:.5f}" for role in config.roles)
        lines.append(f"  lambda {text}    {errors}")
    lines += [line(name.replace("_", " "), values) for name, values in quality.get("single", {}).items()]
    return "\n".join(lines)
