"""mslfusion fuse: two volumes of one object become one, by any of the methods, with ten measures and a report."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import (
    METHODS,
    PRESETS,
    STARTS,
    add_command,
    add_format,
    add_model,
    add_seed,
)
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MSLFusionLib.cli import Context
    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.fusion.interface import Method
    from MSLFusionLib.fusion.prepare import Prepared
    from MSLFusionLib.fusion.run import Fused
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.registration import Registration

DEFAULT_METHOD = "laplacian"
MODALITIES = ("auto", "ct", "mr", "pet")
TRANSFORM_NAME = "second_to_first.tfm"


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "fuse", run, "fuse two volumes into one, and compare methods side by side")
    parser.add_argument("first", type=Path, nargs="?", metavar="A", help="the volume whose grid the result has")
    parser.add_argument("second", type=Path, nargs="?", metavar="B", help="the other volume")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write to; made if absent")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--method", action="append", metavar="NAME", help=f"see --list; may be repeated (default: {DEFAULT_METHOD})"
    )
    which.add_argument("--all", action="store_true", help="every method that can run on these volumes here")
    which.add_argument("--list", action="store_true", help="say which methods there are, and stop")
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        dest="settings",
        metavar="[NAME.]KEY=VALUE",
        help="a setting of a method, see --list; may be repeated",
    )
    parser.add_argument(
        "--modalities",
        choices=MODALITIES,
        nargs=2,
        default=("auto", "auto"),
        metavar=("A", "B"),
        help="what the volumes are: ct, mr, pet, or auto (ct where values are HU, else mr)",
    )
    parser.add_argument("--slicewise", action="store_true", help="fuse every slice for itself (2-D)")
    place = parser.add_argument_group("volumes on different grids").add_mutually_exclusive_group()
    place.add_argument("--register", action="store_true", help="register B to A")
    place.add_argument("--resample", action="store_true", help="the files place B rightly: only resample it")
    more = parser.add_argument_group("registration")
    more.add_argument("--register-method", choices=METHODS, help="motion that may be found (default: the preset's)")
    more.add_argument(
        "--register-preset", choices=PRESETS, default="msl", help="settings: ours, the paper's, its code's"
    )
    more.add_argument("--register-start", choices=STARTS, default="auto", help="look for the start, or trust the files")
    add_model(parser)
    add_seed(parser)
    add_format(parser)


def run(args: argparse.Namespace, context: "Context") -> None:
    """Check what was asked, bring both volumes onto one grid, fuse, measure and write."""
    from MSLFusionLib.commands import results
    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.fusion.prepare import prepare
    from MSLFusionLib.fusion.run import measure
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.progress import noting
    from MSLFusionLib.report.fusion import write_fusion_report

    if args.list:
        list_methods(context)
        return
    _check(args)
    given = settings_of(chosen_methods(args), args)
    record = RunRecord("fuse", seeds={"registration": args.seed} if args.register else {})
    with record.stage("total"):
        volumes, modalities = _read(args, record)
        _name_model(args, given, modalities, record)
        second, found = _placed(args, volumes, modalities, context)
        prepared = prepare(volumes[0], second, modalities, noting(context.job, record.warnings))
        needed = 3 * prepared.pair.first.nbytes * len(given)
        with OutputFolder(args.output, needed, (args.first, args.second)) as out:
            fused = _fused(args, given, prepared, record, context)
            rows = measure(prepared, fused, context.job)
            record.parameters = {
                "methods": {one.method.name: one.settings for one in fused},
                "modalities": modalities,
                "slicewise": args.slicewise,
                "grids": "registered" if args.register else "resampled" if args.resample else "the same",
                "scales": prepared.scales,
            }
            record.metrics = {"fusion": rows}
            if found is not None:
                record.details["registration"] = results.registration_details(found)
                record.warnings += found.warnings
            with record.stage("writing"):
                _write(out, args.format, prepared, fused, second if second is not volumes[1] else None, found)
            write_fusion_report(out.path("report.html"), prepared, fused, rows, record.to_dict())
            results.write_record(record, out)
    _tell(args, record, rows, context)


def chosen_methods(args: argparse.Namespace) -> "list[Method]":
    """The methods asked for, each once; raises InputError for names that do not exist."""
    from MSLFusionLib.fusion import registry

    if args.all:
        return list(registry.METHODS.values())
    return [registry.find(name) for name in dict.fromkeys(args.method or (DEFAULT_METHOD,))]


def settings_of(methods: "Sequence[Method]", args: argparse.Namespace) -> "dict[str, dict[str, Any]]":
    """Checked settings of each method by its name; raises InputError for one that no chosen method has."""
    from MSLFusionLib.fusion import learned, registry

    found: dict[str, dict[str, Any]] = {method.name: {} for method in methods}
    if learned.ARCHITECTURE in found:
        found[learned.ARCHITECTURE] = {"device": args.device} | ({"model": args.model} if args.model else {})
    elif args.model:
        raise InputError(f"--model needs --method {learned.ARCHITECTURE}.")
    for target, key, value in args.settings or ():
        if target and target not in found:
            raise InputError(f"--set {target}.{key}: the method {registry.find(target).name} was not asked for.")
        takers = [m for m in methods if m.name == target or (not target and key in {p.name for p in m.parameters})]
        if not takers:
            names = ", ".join(found)
            raise InputError(f"--set {key}: none of the methods asked for ({names}) has this setting; see --list.")
        for method in takers:
            found[method.name][key] = method.settings({key: value})[key]
    return found


def list_methods(context: "Context") -> None:
    """Tell which methods there are, with their settings and needs."""
    from MSLFusionLib import methods

    rows = methods.fusion_methods()
    context.console.result({"command": "fuse --list", "methods": rows}, "\n".join(methods.lines(rows, settings=True)))


def _setting(text: str) -> tuple[str, str, str]:
    """An argparse type: [NAME.]KEY=VALUE."""
    left, equals, value = text.partition("=")
    target, dot, key = left.rpartition(".")
    if not equals or not key or (dot and not target):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE or NAME.KEY=VALUE")
    return target, key, value


def _check(args: argparse.Namespace) -> None:
    if args.first is None or args.second is None:
        raise InputError("Two volumes are needed: mslfusion fuse A B --output DIR.")
    if args.output is None:
        raise InputError("--output DIR is missing: the folder to write to.")
    if not args.register and (args.register_method or args.register_start != "auto" or args.register_preset != "msl"):
        raise InputError("--register-method, --register-preset and --register-start need --register.")


def _read(args: argparse.Namespace, record: "RunRecord") -> "tuple[list[sitk.Image], tuple[str, str]]":
    """Both volumes, checked one by one, and their modalities."""
    from MSLFusionLib.fusion.prepare import check_values, guessed_modality
    from MSLFusionLib.io.volumes import read_volume

    volumes, modalities = [], []
    for role, path, modality in zip(("first", "second"), (args.first, args.second), args.modalities, strict=True):
        image = read_volume(path, role)
        modality = guessed_modality(image) if modality == "auto" else modality
        check_values(image, modality, role)
        record.add_input(role, path)
        volumes.append(image)
        modalities.append(modality)
    return volumes, (modalities[0], modalities[1])


def _placed(
    args: argparse.Namespace, volumes: "Sequence[sitk.Image]", modalities: tuple[str, str], context: "Context"
) -> "tuple[sitk.Image, Registration | None]":
    """The second volume on the first one's grid, where the options allow it to be moved, and the registration."""
    from MSLFusionLib.registration import grids_overlap, register, resample

    first, second = volumes
    if args.register:
        names = (modalities[0].upper(), modalities[1].upper())
        found = register(
            first,
            second,
            args.register_preset,
            args.register_method,
            args.seed,
            args.register_start,
            context.job,
            names,
        )
        return resample(second, first, found.transform), found
    if args.resample:
        import SimpleITK as sitk

        if not grids_overlap(first, second, sitk.Transform(3, sitk.sitkIdentity)):
            raise InputError("The two volumes do not overlap where their files place them: use --register.")
        return resample(second, first, must_overlap=False), None
    return second, None


def _name_model(
    args: argparse.Namespace, given: dict[str, dict[str, Any]], modalities: tuple[str, str], record: "RunRecord"
) -> None:
    """Settle which network is used, where one is, and note it; with --all a missing one is told later."""
    from MSLFusionLib.fusion import learned

    settings = given.get(learned.ARCHITECTURE)
    if settings is None:
        return
    try:
        path = learned.model_file(modalities, settings.get("model", ""))
    except InputError:
        if not args.all:
            raise
        return
    settings["model"] = str(path)
    record.add_input("model", path)


def _fused(
    args: argparse.Namespace,
    given: Mapping[str, Mapping[str, Any]],
    prepared: "Prepared",
    record: "RunRecord",
    context: "Context",
) -> "list[Fused]":
    """All results. With --all, a method that refuses is left out with a warning."""
    from MSLFusionLib.fusion import registry
    from MSLFusionLib.fusion.run import fuse

    results = []
    for name, settings in given.items():
        try:
            with record.stage(name):
                results.append(fuse(prepared, registry.find(name), settings, args.slicewise, context.job))
        except InputError as error:
            if not args.all:
                raise
            record.warnings.append(f"{name} was left out: {error}")
            context.job.warning(record.warnings[-1])
    return results


def _write(
    out: "OutputFolder",
    ending: str,
    prepared: "Prepared",
    fused: "Sequence[Fused]",
    moved: "sitk.Image | None",
    found: "Registration | None",
) -> None:
    """Write the results, and the second volume and its transform where it was moved."""
    from MSLFusionLib.commands.results import write_transform
    from MSLFusionLib.fusion.run import volume_of
    from MSLFusionLib.io.volumes import write_volume

    for one in fused:
        write_volume(volume_of(one, prepared.geometry), out.path(f"fused_{one.method.name}.{ending}"))
    if moved is not None:
        write_volume(moved, out.path(f"second_on_first.{ending}"))
    if found is not None:
        write_transform(found.transform, out.path(TRANSFORM_NAME))


def _tell(args: argparse.Namespace, record: "RunRecord", rows: Sequence[Mapping[str, Any]], context: "Context") -> None:
    """Files and the table of measures."""
    from MSLFusionLib.commands.results import RECORD_NAME
    from MSLFusionLib.fusion.metrics import COPYING, METRICS

    names = [*record.outputs, RECORD_NAME]
    lines = [f"{args.output}:", *(f"  {name}" for name in names), ""]
    lines.append(f"{'':<18}" + "".join(f"{metric.name:>8}" for metric in METRICS))
    for row in rows:
        cells = "".join(f"{'-' if row[m.key] is None else format(row[m.key], '.3f'):>8}" for m in METRICS)
        lines.append(f"{row['image']:<18}{cells}")
    lines += ["", COPYING]
    values = {
        "command": "fuse",
        "output": args.output,
        "files": names,
        "metrics": record.metrics,
        "note": COPYING,
        "seconds": record.times.get("total"),
    }
    context.console.result(values, "\n".join(lines))
