"""mslfusion train and export for DC2Fusion: pairs of volumes, and the model file that a run becomes."""

from typing import Any

from MSLFusionTrainingLib.tables import METHOD


def settings(args: Any) -> Any:
    """The VolumeConfig of the parsed arguments: the file, or else the run that is there, then --set."""
    from MSLFusionTrainingLib.facts import LAST, read_facts
    from MSLFusionTrainingLib.volumes.config import VolumeConfig

    changes = {key: value for key, value in (args.settings or ()) if key != METHOD}
    if args.config:
        return VolumeConfig.from_file(args.config, changes)
    state = args.output / LAST
    return VolumeConfig.from_dict((read_facts(state)["config"] if state.exists() else {}) | changes)


def run_train(args: Any, context: Any) -> None:
    """`mslfusion train` of DC2Fusion."""
    from MSLFusionTrainingLib import control

    config = settings(args)
    config.network()
    if args.background:
        control.run_in_background(args, context)
        return
    from MSLFusionLib.recon.devices import choose_device
    from MSLFusionTrainingLib.distribution import Processes
    from MSLFusionTrainingLib.volumes.sets import in_words, load_sets
    from MSLFusionTrainingLib.volumes.trainer import VolumeTrainer

    device = choose_device(args.device)
    cache = args.cache or args.output / "heads"

    def trainer(job: Any) -> Any:
        sets = load_sets(config, args.output, cache, args.workers, job)
        if config.data:
            context.console.say(in_words(args.output))
        return VolumeTrainer(config, sets.train, sets.validation, args.output, device)

    control.train(args, config, context, Processes(device), trainer)


def run_export(args: Any, context: Any) -> None:
    """`mslfusion export` of a run of DC2Fusion."""
    from MSLFusionLib.io.checkpoints import save_checkpoint
    from MSLFusionTrainingLib.volumes.export import exported

    model, card = exported(args.folder, args.last, args.seeds, args.cache, args.half, args.made_by, context.job)
    card["name"] = args.name or card["name"]
    save_checkpoint(args.output, model, card, half=args.half)
    context.console.result({"output": str(args.output), "card": card}, f"Written: {args.output}")
