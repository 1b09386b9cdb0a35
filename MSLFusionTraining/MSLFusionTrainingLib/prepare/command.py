"""mslfusion prepare: from folders or a table of scans to a training set."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import METHODS, PRESETS, STARTS, add_command, add_seed, number, whole_number
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context
    from MSLFusionTrainingLib.prepare.run import Prepared

_ENDINGS = (".h5", ".hdf5")


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers, "prepare", run, "turn folders or a table of scans into a training set, with a page to check it by"
    )
    parser.add_argument(
        "source", type=Path, metavar="FOLDER|CSV", help="a folder per patient, files side by side, or a table of paths"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.h5", help="the training set to write")
    parser.add_argument(
        "--list", action="store_true", help="write nothing: say which patients there are, or what a training set holds"
    )
    parser.add_argument(
        "--modalities", nargs="+", metavar="NAME", help="first the one that stays in place (default: ct t1, or columns)"
    )
    parser.add_argument(
        "--pattern", action="append", type=_pattern, default=[], metavar="NAME=GLOB", help="files of a modality"
    )
    parser.add_argument(
        "--ids", choices=("numbers", "names"), default="numbers", help="what patients' folders are called in the set"
    )
    parser.add_argument("--size", type=whole_number(16), default=384, metavar="N", help="rows and columns of a slice")
    parser.add_argument("--pixel-mm", type=number(0.05, 20), default=256 / 384, metavar="MM", help="pixel of a slice")
    parser.add_argument("--no-register", action="store_true", help="the files already place the scans rightly")
    parser.add_argument("--register-method", choices=METHODS, help="motion that may be found (default: the preset's)")
    parser.add_argument("--register-preset", choices=PRESETS, default="msl", help="ours, the paper's, its authors'")
    parser.add_argument("--register-start", choices=STARTS, default="auto", help="look for it, or trust the files")
    parser.add_argument("--mr-scaling", choices=("percentile", "minmax"), default="percentile", help="of MR and PET")
    parser.add_argument("--keep-outside", action="store_true", help="keep what lies outside the body")
    parser.add_argument("--least-body", type=number(0, 0.9), default=0.03, metavar="F", help="share of a slice")
    parser.add_argument("--validation", type=number(0, 0.9), default=0.15, metavar="F", help="share of the patients")
    parser.add_argument("--test", type=number(0, 0.9), default=0.0, metavar="F", help="share of the patients")
    parser.add_argument("--workers", type=whole_number(1), default=1, metavar="N", help="patients at a time")
    parser.add_argument("--dask", metavar="ADDRESS", help="scheduler of a Dask cluster that sees the same files")
    add_seed(parser)


def run(args: argparse.Namespace, context: "Context") -> None:
    """Find the patients, prepare them, say what came of it."""
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionTrainingLib.prepare.find import find_patients
    from MSLFusionTrainingLib.prepare.run import Splitting, prepare
    from MSLFusionTrainingLib.prepare.settings import PrepareSettings

    if args.list:
        _list(args, context)
        return
    if args.output is None:
        raise InputError("Name the training set to write: --output FILE.h5.")
    if args.output.suffix.lower() not in _ENDINGS:
        raise InputError(f"{args.output} must end in {' or '.join(_ENDINGS)}.")
    modalities, patterns = _asked(args)
    settings = PrepareSettings(
        modalities=modalities,
        size=args.size,
        pixel_mm=args.pixel_mm,
        register=not args.no_register,
        method=args.register_method,
        preset=args.register_preset,
        start=args.register_start,
        seed=args.seed,
        mr_scaling=args.mr_scaling,
        mask_outside=not args.keep_outside,
        least_body=args.least_body,
    )
    record = RunRecord("prepare", vars(settings), {"split": args.seed, "registration": args.seed})
    with record.stage("total"):
        key_file = args.output.with_suffix(".patients.csv")
        patients = find_patients(args.source, modalities, patterns, args.ids, key_file)
        splitting = Splitting(args.validation, args.test, args.seed)
        done = prepare(patients, args.output, settings, splitting, args.workers, args.dask, context.job)
    record.outputs = [args.output.name, done.page.name]
    record.details = {
        "sha256": done.set.sha256,
        "patients": {one.id: {"split": one.split, "slices": one.slices, **one.about} for one in done.set.patients},
        "failed": dict(done.set.failed),
    }
    record.write(args.output.absolute().parent, f"{args.output.stem}.run.json")
    values = {
        "output": str(args.output),
        "page": str(done.page),
        "patients": len(done.set.patients),
        "slices": sum(one.slices for one in done.set.patients),
        "kept": list(done.kept),
        "failed": [{"patient": name, "reason": sentence} for name, sentence in done.failed],
    }
    context.console.result(values, _summary(args.output, done))


def _asked(args: argparse.Namespace) -> tuple[tuple[str, ...], dict[str, str]]:
    """The modalities and the patterns of their files."""
    from MSLFusionTrainingLib.prepare.find import table_modalities

    modalities = tuple(args.modalities or ())
    if not modalities:
        modalities = table_modalities(args.source) if args.source.is_file() else ("ct", "t1")
    patterns = dict(args.pattern)
    unknown = [name for name in patterns if name not in modalities]
    if unknown:
        raise InputError(f"--pattern {unknown[0]}=... names no modality: they are {', '.join(modalities)}.")
    return modalities, patterns


def _list(args: argparse.Namespace, context: "Context") -> None:
    """What there is in a folder, a table or a training set."""
    from MSLFusionTrainingLib.prepare.find import find_patients
    from MSLFusionTrainingLib.prepare.listing import listed_scans, listed_set, said
    from MSLFusionTrainingLib.prepare.settings import PrepareSettings

    if args.source.suffix.lower() in _ENDINGS:
        from MSLFusionTrainingLib.prepare.store import read_set

        values = listed_set(read_set(args.source))
    else:
        modalities, patterns = _asked(args)
        PrepareSettings(modalities=modalities)  # refuses names that are none
        values = listed_scans(find_patients(args.source, modalities, patterns, args.ids, None), modalities)
    context.console.result(values, said(values, args.source))


def _summary(output: Path, done: "Prepared") -> str:
    patients = done.set.patients
    lines = [f"Written: {output}, to be checked by eye in {done.page}"]
    for split in ("train", "validation", "test"):
        chosen = done.set.of_split(split)
        if chosen:
            lines.append(f"  {split:<11} {len(chosen)} patients, {sum(one.slices for one in chosen)} slices")
    rejected = sum(len(one.about["rejected"]) for one in patients)
    lines.append(f"  {rejected} slices were left out; {len(done.kept)} patients were taken over from before")
    lines += [f"  left out: {name}: {sentence}" for name, sentence in done.failed]
    if not done.set.of_split("validation"):
        lines.append("  There is no patient for validation: training would be watched on its own slices.")
    return "\n".join(lines)


def _pattern(text: str) -> tuple[str, str]:
    """An argparse type: NAME=GLOB."""
    name, equals, glob = text.partition("=")
    if not (name and equals and glob):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=GLOB")
    return name, glob
