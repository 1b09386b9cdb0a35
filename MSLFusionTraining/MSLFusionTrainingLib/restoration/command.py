"""mslfusion train, export and validate for CMF-Net, and for the plain U-Net to compare it with."""

from typing import Any

from MSLFusionTrainingLib.tables import METHOD

ARCHITECTURES = ("cmf-net", "unet-bicubic")


def settings(args: Any) -> Any:
    """The RestorationConfig of the parsed arguments: the file, or else the run that is there, then --set."""
    from MSLFusionTrainingLib.facts import LAST, read_facts
    from MSLFusionTrainingLib.restoration.config import RestorationConfig

    changes = {key: value for key, value in (args.settings or ()) if key != METHOD}
    if args.config:
        return RestorationConfig.from_file(args.config, changes)
    state = args.output / LAST
    return RestorationConfig.from_dict((read_facts(state)["config"] if state.exists() else {}) | changes)


def run_train(args: Any, context: Any) -> None:
    """`mslfusion train` of CMF-Net."""
    from MSLFusionTrainingLib import control

    config = settings(args)
    config.architecture()
    if args.background:
        control.run_in_background(args, context)
        return
    from MSLFusionLib.recon.devices import choose_device
    from MSLFusionTrainingLib.distribution import Processes
    from MSLFusionTrainingLib.prepared import note_data
    from MSLFusionTrainingLib.restoration.sets import training_slices, validation_volumes, with_data
    from MSLFusionTrainingLib.restoration.trainer import RestorationTrainer

    device = choose_device(args.device)
    config = with_data(config)
    cache = args.cache or args.output / "heads"

    def trainer(job: Any) -> Any:
        if config.data:
            note_data(args.output, config.data)
        train = training_slices(config, cache, args.workers, job)
        return RestorationTrainer(config, train, validation_volumes(config, cache), args.output, device)

    control.train(args, config, context, Processes(device), trainer)


def run_export(args: Any, context: Any) -> None:
    """`mslfusion export` of a run of CMF-Net."""
    from MSLFusionLib.io.checkpoints import save_checkpoint
    from MSLFusionTrainingLib.restoration.export import exported

    heads = args.seeds, args.slices, args.cache
    model, card = exported(args.folder, args.last, *heads, args.half, args.made_by, context.job)
    card["name"] = args.name or card["name"]
    save_checkpoint(args.output, model, card, half=args.half)
    context.console.result({"output": str(args.output), "card": card}, f"Written: {args.output}")


def run_validate(args: Any, context: Any) -> None:
    """`mslfusion validate` of a CMF-Net."""
    from dataclasses import replace

    from MSLFusionLib.errors import InputError
    from MSLFusionLib.io.checkpoints import find_model, load_checkpoint
    from MSLFusionTrainingLib.restoration.config import RestorationConfig
    from MSLFusionTrainingLib.restoration.export import measured

    if args.views:
        raise InputError("--views is for models of CT.")
    loaded = load_checkpoint(find_model(args.model))
    config = RestorationConfig.from_dict(loaded.card["training"]["settings"])
    if args.acceleration:
        config = replace(config, accelerations=(args.acceleration,))
    figures = measured(loaded.model, config, args.seeds, args.slices, args.cache, context.job)
    lines = [
        f"{name.replace('_', ' '):<15} PSNR {one['psnr']:6.2f} dB  SSIM {one['ssim']:.4f}  NMSE {one['nmse']:.4f}"
        for name, one in figures.items()
        if isinstance(one, dict)
    ]
    context.console.result({"model": loaded.name, "metrics": figures}, "\n".join(lines))
