"""mslfusion reconstruct with CMF-Net: one MR contrast restored, and made finer, with the help of another."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.given import COMPRESSED
from MSLFusionLib.commands.sensors import imported
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context
    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.recon.beside import Placing
    from MSLFusionLib.recon.restore import Restorer
    from MSLFusionLib.recon.targets import RestorePlan
    from MSLFusionLib.restoring import Restoration

MSL, CMF_NET = "msl", "cmf-net"
TRANSFORM_NAME = "auxiliary_to_target.tfm"
_OWN = ("target", "auxiliary", "contrasts", "scale", "register", "resample", "compare")
_NOT_FOR_CMF = (
    "ct", "mr", "sinogram", "sinogram_sidecar", "lam", "lambda_map", "segmentation", "segment_lambda",
    "background_lambda", "feather_mm", "modalities", "pixel_mm", "no_register", "views", "scan", "photons", "hu",
    "save_sensor_images", "trust", "trust_passes",
)  # fmt: skip
"""Options of the joint reconstruction of CT and MR."""
_SIMULATED = ("acceleration", "mask", "centre_fraction", "kspace_noise")
_REGISTERING = ("register_method", "register_preset", "register_start")
_FILES = ("target", "auxiliary", "sensors", "kspace")
_VOLUMES = 10


def add_restoration(parser: argparse.ArgumentParser) -> None:
    """The options of CMF-Net; call it last, when the parser has all others."""
    group = parser.add_argument_group(
        "CMF-Net: one MR contrast restored and made finer with another, in place of CT and MR",
        "The target is a volume (--target; --acceleration, --mask, --centre-fraction, --kspace-noise and --seed say "
        "how its coarse k-space is measured) or k-space (--sensors, --kspace). Also for it: --model, --device, "
        "--batch, --no-consistency, --no-metrics, --report, --mrb, and with --register the --register-... options.",
    )
    group.add_argument("--method", choices=(MSL, CMF_NET), help="(default: the one that the other options are about)")
    group.add_argument("--target", type=Path, metavar="FILE", help="MR contrast to restore, at full resolution")
    group.add_argument("--auxiliary", type=Path, metavar="FILE", help="the other MR contrast, complete")
    group.add_argument(
        "--contrasts", nargs=2, metavar=("AUX", "TARGET"), help="of the model, such as t1 t2 (default: the installed)"
    )
    group.add_argument("--scale", type=int, choices=(2, 4), help="how many times finer (default: the first model's)")
    place = group.add_mutually_exclusive_group()
    place.add_argument("--register", action="store_true", help="register the auxiliary to the target")
    place.add_argument("--resample", action="store_true", help="the files place both rightly: only resample it")
    group.add_argument(
        "--compare", action="store_true", help="beside it total variation of the same k-space, enlarged bicubically"
    )
    names = {action.dest: action.option_strings[0] for action in parser._actions if action.option_strings}
    # What an option is called and what it has when nobody gives it, to say which do not go together.
    parser.set_defaults(option_names=names, option_defaults={dest: parser.get_default(dest) for dest in names})


def asked(args: argparse.Namespace) -> bool:
    """Whether CMF-Net is asked for: by --method, by its own options, or by its model. InputError for both methods."""
    own = _given(args, _OWN)
    if args.method == MSL:
        if own:
            raise InputError(f"{_option(args, own[0])} is about CMF-Net: leave it out, or --method msl.")
        return False
    return args.method == CMF_NET or bool(own) or _restores(args.model)


def run(args: argparse.Namespace, context: "Context") -> None:
    """Check all that was asked for, then do it, then let the files appear."""
    from MSLFusionLib.commands import results
    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.io.checkpoints import load_checkpoint
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.io.volumes import read_volume
    from MSLFusionLib.recon.restore import Restorer
    from MSLFusionLib.restoring import model_file, run_restoration

    _check(args)
    plan, how = _plan(args), _placing(args)
    with ExitStack() as stack:
        path = model_file(args.model, args.contrasts, args.scale)
        sensors = _sensors(args, stack, context)
        volume = None if args.target is None else read_volume(args.target, "target")
        auxiliary = read_volume(args.auxiliary, "auxiliary")
        restorer = Restorer(load_checkpoint(path), args.device, args.batch)
        record = RunRecord("reconstruct", _parameters(args, restorer, plan, how), {"all": args.seed})
        files = {role: getattr(args, role) for role in _FILES if getattr(args, role) is not None}
        for role, file in (*files.items(), ("model", path)):
            record.add_input(role, file)
        needed = round(COMPRESSED * _VOLUMES * 4 * auxiliary.GetNumberOfPixels())
        out = stack.enter_context(OutputFolder(args.output, needed, files.values()))
        with record.stage("total"):
            found = run_restoration(
                restorer,
                auxiliary,
                volume=volume,
                plan=plan,
                sensors=sensors,
                how=how,
                consistency=not args.no_consistency,
                compare=args.compare,
                figures=not args.no_metrics,
                job=context.job,
            )
            _fill(record, found, sensors)
            with record.stage("writing"):
                _write(found, how.place, out, args.format, context)
        if args.mrb:
            _write_scene(found, volume, record, out.path("run.mrb"))
        if args.report:
            from MSLFusionLib.report.restoration import write_restoration_report

            write_restoration_report(out.path("report.html"), found, record.to_dict(), restorer.card)
        results.write_record(record, out)
    _tell(args, record, found, context)


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    """Those of the options that have another value than their default."""
    return [name for name in names if getattr(args, name) != args.option_defaults[name]]


def _option(args: argparse.Namespace, name: str) -> str:
    return str(args.option_names[name])


def _restores(model: str | None) -> bool:
    """Whether the model named is a network for this; False also where there is none of that name."""
    from MSLFusionLib.io.checkpoints import find_model, read_card
    from MSLFusionLib.restoring import ARCHITECTURES

    if model is None:
        return False
    try:
        return read_card(find_model(model))["architecture"] in ARCHITECTURES
    except InputError:
        return False


def _check(args: argparse.Namespace) -> None:
    """Raise InputError for what is missing and for options that do not go together."""
    from MSLFusionLib import scene

    foreign = _given(args, _NOT_FOR_CMF)
    if foreign:
        raise InputError(
            f"{_option(args, foreign[0])} does not apply to CMF-Net: it takes one MR contrast as --target and another "
            "as --auxiliary."
        )
    measured = _given(args, ("sensors", "kspace"))
    if len(measured) + (args.target is not None) > 1:
        raise InputError("Give one target: --target FILE, --sensors FILE.h5 or --kspace FILE.")
    if not measured and args.target is None:
        raise InputError("--target FILE is missing: the MR contrast to restore (or its k-space: --sensors, --kspace).")
    if args.auxiliary is None:
        raise InputError("--auxiliary FILE is missing: the other MR contrast, which helps to restore the target.")
    simulated = _given(args, _SIMULATED)
    if measured and simulated:
        raise InputError(f"{_option(args, simulated[0])} is about simulated k-space: what was measured is as it is.")
    registering = _given(args, _REGISTERING)
    if registering and not args.register:
        raise InputError(f"{_option(args, registering[0])} needs --register.")
    if args.mrb and not scene.available():
        raise InputError("--mrb needs Slicer's Python, or the package slicer-core: pip install 'mslfusion[scene]'.")


def _plan(args: argparse.Namespace) -> "RestorePlan | None":
    from MSLFusionLib.recon.targets import RestorePlan

    if args.target is None:
        return None
    return RestorePlan(args.acceleration, args.mask, args.centre_fraction, args.kspace_noise, args.seed)


def _placing(args: argparse.Namespace) -> "Placing":
    from MSLFusionLib.recon.beside import REGISTERED, RESAMPLED, SAME, Placing

    place = REGISTERED if args.register else RESAMPLED if args.resample else SAME
    return Placing(place, args.register_method, args.register_preset, args.register_start, args.seed)


def _sensors(args: argparse.Namespace, stack: ExitStack, context: "Context") -> Any:
    """The k-space that the options name, open; None where the target is a volume."""
    from MSLFusionLib.imports import ImportSettings
    from MSLFusionLib.io.sensors import SensorReader

    if args.sensors is not None:
        return stack.enter_context(SensorReader(args.sensors))
    if args.kspace is not None:
        # The network's pixels, which these settings describe, play no part: k-space keeps its own.
        return imported(args, ImportSettings(combination=args.coils), stack, context)
    return None


def _parameters(
    args: argparse.Namespace, restorer: "Restorer", plan: "RestorePlan | None", how: "Placing"
) -> dict[str, Any]:
    """The settings that change the result, for the record."""
    parameters: dict[str, Any] = {
        "method": CMF_NET,
        "model": restorer.name,
        "contrasts": dict(zip(("auxiliary", "target"), restorer.contrasts, strict=True)),
        "scale": restorer.scale,
        "consistency": not args.no_consistency,
        "auxiliary": how.place,
    }
    if plan is not None:
        parameters["sampling"] = plan.to_dict()
    if args.register:
        parameters["registration"] = {"method": how.method, "preset": how.preset, "start": how.start}
    return parameters


def _fill(record: "RunRecord", found: "Restoration", sensors: Any) -> None:
    """Put what the run found into its record."""
    from MSLFusionLib.commands.results import registration_details

    record.sampling, record.device = found.restored.sampling, found.restored.device
    record.times = {**found.times, **record.times}
    record.metrics = {"restoration": found.metrics} if found.metrics else {}
    record.details = {"restoration": {**found.restored.report, "batch": found.restored.batch}}
    record.warnings = list(found.warnings)
    if found.auxiliary.registration is not None:
        record.details["registration"] = registration_details(found.auxiliary.registration)
    if sensors is not None:
        record.details["sensors"] = sensors.header.provenance
        record.warnings = [*getattr(sensors, "warnings", []), *record.warnings]


def _write(found: "Restoration", place: str, out: "OutputFolder", ending: str, context: "Context") -> None:
    """Write the volumes, the auxiliary where it was moved, and the transform where one was found."""
    from MSLFusionLib.commands.results import write_transform
    from MSLFusionLib.io.volumes import write_volume
    from MSLFusionLib.recon.beside import SAME
    from MSLFusionLib.recon.restore import NAMES, TRUTH

    volumes = {NAMES[kind]: image for kind, image in found.restored.images.items() if kind != TRUTH}
    if place != SAME:
        volumes["auxiliary_on_target"] = found.auxiliary.image
    for done, (name, image) in enumerate(volumes.items()):
        context.job.step("write", done, len(volumes))
        write_volume(image, out.path(f"{name}.{ending}"))
    if found.auxiliary.registration is not None:
        write_transform(found.auxiliary.registration.transform, out.path(TRANSFORM_NAME))
    context.job.step("write", len(volumes), len(volumes))


def _write_scene(found: "Restoration", volume: Any, record: "RunRecord", path: Path) -> None:
    """Write the run as a Slicer scene (.mrb)."""
    from MSLFusionLib.recon.restore import TRUTH
    from MSLFusionLib.scene.restored_scene import build_restored_scene

    registration = found.auxiliary.registration
    build_restored_scene(
        path,
        {kind: image for kind, image in found.restored.images.items() if kind != TRUTH},
        found.auxiliary.image,
        volume,
        None if registration is None else registration.transform,
        found.metrics,
        record.to_dict(),
    )


def _tell(args: argparse.Namespace, record: "RunRecord", found: "Restoration", context: "Context") -> None:
    """Files and figures."""
    from MSLFusionLib.commands.results import RECORD_NAME

    names = [*record.outputs, RECORD_NAME]
    lines = [f"{args.output}:", *(f"  {name}" for name in names)]
    for row in found.metrics:
        figures = f"PSNR {row['psnr']:5.2f} dB, SSIM {row['ssim']:.3f}, NMSE {row['nmse']:.4f}"
        lines.append(f"  {row['resolution']:<5}{row['image']:<26} {figures}")
    values = {
        "command": "reconstruct",
        "method": CMF_NET,
        "output": args.output,
        "files": names,
        "metrics": record.metrics,
        "sampling": record.sampling,
        "seconds": record.times.get("total"),
    }
    context.console.result(values, "\n".join(lines))
