"""mslfusion train, export and validate for MSL: the settings as typed, the slices, the card and its figures."""

from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.tables import METHOD


def settings(args: Any) -> Any:
    """The TrainConfig of the parsed arguments: preset, then file, then --set, then flags.

    Without a file a run that goes on keeps its own settings, with the flags on top.
    """
    from dataclasses import fields

    from MSLFusionTrainingLib.config import TrainConfig
    from MSLFusionTrainingLib.facts import LAST, read_facts

    given = {f: getattr(args, f.name) for f in fields(TrainConfig) if getattr(args, f.name) is not None}
    changes = {f.name: value == "true" if isinstance(f.default, bool) else value for f, value in given.items()}
    changes = {key: value for key, value in (args.settings or ()) if key != METHOD} | changes
    if args.config:
        return TrainConfig.from_file(args.config, changes)
    state = args.output / LAST
    return TrainConfig.from_dict((read_facts(state)["config"] if state.exists() else {}) | changes)


def run_train(args: Any, context: Any) -> None:
    """`mslfusion train` of MSL."""
    from MSLFusionTrainingLib import control

    config = settings(args)
    if args.background:
        control.run_in_background(args, context)
        return
    from MSLFusionLib.recon.devices import choose_device
    from MSLFusionTrainingLib.distribution import start
    from MSLFusionTrainingLib.trainer import Trainer

    if config.data:
        from MSLFusionTrainingLib.prepared import with_data

        config = with_data(config)
    processes = start(choose_device(args.device), args.devices, args.nodes)

    def trainer(job: Any) -> Any:
        return Trainer(config, *_slices(config, args, job, processes), args.output, processes)

    control.train(args, config, context, processes, trainer)


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
    """`mslfusion export` of a run of MSL."""
    from dataclasses import replace

    from MSLFusionLib.io.checkpoints import save_checkpoint
    from MSLFusionTrainingLib.export import checkpoint_of, make_card, trained_model, verify

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
