"""mslfusion sensors: look at raw data, make images or a file of sensor data of them, show how to describe them."""

import argparse
import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import (
    add_command,
    add_format,
    add_output_folder,
    add_registration,
    add_seed,
    number,
    whole_number,
)
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context
    from MSLFusionLib.imports import ImportedSensors, ImportSettings

SELECTABLE = ("average", "contrast", "phase", "repetition", "set")
COMBINATIONS = ("rss", "espirit", "sense-tv")
CT_METHODS = ("auto", "fbp", "tv")
"""The words of io.ismrmrd, recon.acquired and recon.simulate, which are not imported to show a help text."""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("sensors", help="raw data: inspect, images, convert, schema of descriptions")
    words = parser.add_subparsers(dest="word", metavar="WORD", title="words", required=True)
    inspect = add_command(
        words, "inspect", inspect_file, "say what a file of raw data holds, and what it does not tell"
    )
    inspect.add_argument("file", type=Path, metavar="FILE", help="sinogram, k-space, or sensor data (.h5)")
    inspect.add_argument("--sidecar", type=Path, metavar="FILE.json", help="its description (default: beside it)")
    add_selection(inspect)
    convert = add_command(
        words, "convert", convert_files, "turn a sinogram, k-space or both into a file of sensor data"
    )
    add_raw(convert)
    convert.add_argument("--output", type=Path, required=True, metavar="FILE.h5", help="sensor data to write")
    _add_grid(convert)
    images = add_command(words, "images", write_images, "what the sensor data show without a network, as volumes")
    images.add_argument("--sensors", type=Path, metavar="FILE.h5", help="a file of sensor data, instead of raw files")
    add_raw(images)
    images.add_argument(
        "--ct-method", choices=CT_METHODS, default="auto",
        help="filtered backprojection, iterations with total variation, or the first where the views allow it (auto)",
    )  # fmt: skip
    _add_grid(images)
    add_registration(images)
    add_seed(images)
    add_output_folder(images)
    add_format(images)
    add_command(words, "schema", show_schema, "print the JSON schema of descriptions (sidecars)")


def _add_grid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", type=whole_number(16, 4096), default=384, metavar="N", help="pixels of a network slice, a side"
    )
    parser.add_argument("--pixel-mm", type=number(0.05, 10), metavar="MM", help="its pixel (default: 256 mm / N)")


def add_raw(parser: Any) -> None:
    """--sinogram and --kspace with what belongs to them."""
    parser.add_argument("--sinogram", type=Path, metavar="FILE", help="measured CT, see: mslfusion sensors schema")
    parser.add_argument("--kspace", type=Path, metavar="FILE", help="measured MR: fastMRI, ISMRMRD, or described")
    parser.add_argument("--sinogram-sidecar", type=Path, metavar="FILE.json", help="(default: beside the sinogram)")
    parser.add_argument("--kspace-sidecar", type=Path, metavar="FILE.json", help="(default: beside the k-space)")
    parser.add_argument(
        "--coils", choices=COMBINATIONS, default="rss",
        help="root sum of squares, ESPIRiT maps, or SENSE with these maps and total variation",
    )  # fmt: skip
    add_selection(parser)


def add_selection(parser: Any) -> None:
    """--select of what an ISMRMRD file holds several of."""
    parser.add_argument(
        "--select", type=selection, action="append", metavar="WHAT=N",
        help=f"of ISMRMRD data: {', '.join(SELECTABLE)} (default: the first, averages together)",
    )  # fmt: skip


def selection(text: str) -> tuple[str, int]:
    """An argparse type: WHAT=NUMBER."""
    what, _, value = text.partition("=")
    if what not in SELECTABLE or not value.isdecimal() or len(value) > 6:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form WHAT=N with WHAT {', '.join(SELECTABLE)}")
    return what, int(value)


def imported(args: argparse.Namespace, settings: "ImportSettings", stack: ExitStack, context: "Context") -> Any:
    """The sensor data of the options of `add_raw`."""
    from MSLFusionLib.imports import import_files

    for path, option in ((args.sinogram_sidecar, "sinogram"), (args.kspace_sidecar, "kspace")):
        if path is not None and getattr(args, option) is None:
            raise InputError(f"--{option}-sidecar needs --{option} FILE.")
    if args.select and args.kspace is None:
        raise InputError("--select needs --kspace FILE.")
    return import_files(
        stack, args.sinogram, args.kspace, settings, args.sinogram_sidecar, args.kspace_sidecar,
        dict(args.select or ()) or None, context.job,
    )  # fmt: skip


def inspect_file(args: argparse.Namespace, context: "Context") -> None:
    """Say what the file holds; every slice is read, so that what cannot be read is found here."""
    from MSLFusionLib.inspection import inspected

    found = inspected(args.file, args.sidecar, dict(args.select or ()) or None, context.job)
    lines = [f"{args.file}: {found['kind']}"]
    for name, value in found["found"].items():
        lines.append(f"  {name:<24} {json.dumps(value) if isinstance(value, dict | list) else value}")
    context.console.result({"command": "sensors inspect", "file": args.file, **found}, "\n".join(lines))
    for sentence in found["warnings"]:
        context.job.warning(sentence)


def convert_files(args: argparse.Namespace, context: "Context") -> None:
    """Write raw data as sensor data: exactly what was measured, with where it lies."""
    from MSLFusionLib.commands.outputs import check_ending, check_output_file
    from MSLFusionLib.io.atomic import writable_folder

    if args.sinogram is None and args.kspace is None:
        raise InputError("Give --sinogram FILE, --kspace FILE, or both.")
    check_ending(args.output, (".h5", ".hdf5"))
    check_output_file(args.output)
    for path in (args.sinogram, args.kspace):
        if path is not None and path.resolve() == args.output.resolve():
            raise InputError(f"{args.output} is an input: choose another --output.")
    with ExitStack() as stack:
        data: ImportedSensors = imported(args, _settings(args), stack, context)
        writable_folder(args.output.absolute().parent, data.header.nbytes // 2)
        data.write(args.output, context.job)
    shapes = {"sinogram": data.header.sinogram_shape, "kspace": data.header.kspace_shape}
    values = {"command": "sensors convert", "output": args.output, "shapes": shapes}
    words = [f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items() if shape is not None]
    context.console.result(values, f"Written: {args.output}\n  {', '.join(words)}")


def write_images(args: argparse.Namespace, context: "Context") -> None:
    """Write the sensor images: ct.nrrd in HU, mr.nrrd in [0, 1] and registered to the CT where both were measured."""
    from MSLFusionLib.commands import inputs
    from MSLFusionLib.commands.outputs import OutputFolder
    from MSLFusionLib.imports import register_sensors, sensor_volumes
    from MSLFusionLib.io.sensors import SensorReader
    from MSLFusionLib.io.volumes import write_volume
    from MSLFusionLib.recon.sources import FileSource

    raw = [path for path in (args.sinogram, args.kspace) if path is not None]
    if (args.sensors is not None) == bool(raw):
        raise InputError("Give --sensors FILE.h5, or --sinogram FILE, --kspace FILE or both.")
    with ExitStack() as stack:
        data: Any
        if args.sensors is not None:
            data = stack.enter_context(SensorReader(args.sensors))
        else:
            data = imported(args, _settings(args), stack, context)
        out = stack.enter_context(OutputFolder(args.output, data.header.nbytes // 4, [*raw, args.sensors or raw[0]]))
        acquired = data.header.acquired
        if acquired is not None and acquired.get("transform") is None:
            register_sensors(data, inputs.registering(args), job=context.job)
        source = FileSource(data, job=context.job)
        if args.ct_method == "fbp" and source.scanners.ct is not None and source.scanners.ct.geometry.scan == "limited":
            raise InputError(
                "These views leave a gap that filtered backprojection cannot bridge: use --ct-method tv or auto."
            )
        source.scanners = replace(source.scanners, ct_method=args.ct_method)
        volumes = sensor_volumes(source, job=context.job)
        names = [f"{name}.{args.format}" for name in volumes]
        for name, image in zip(names, volumes.values(), strict=True):
            write_volume(image, out.path(name))
    values = {"command": "sensors images", "output": args.output, "files": names}
    context.console.result(values, f"Written to {args.output}: {', '.join(names)}")


def _settings(args: argparse.Namespace) -> "ImportSettings":
    """The network's slices that the options describe."""
    from MSLFusionLib.imports import ImportSettings

    pixel = args.pixel_mm or 256.0 / args.size
    return ImportSettings((args.size, args.size), pixel, args.pixel_mm is not None, args.coils)


def show_schema(args: argparse.Namespace, context: "Context") -> None:
    """Print the JSON schema of descriptions."""
    from MSLFusionLib.io.sidecar import SCHEMA

    context.console.result({"command": "sensors schema", "schema": SCHEMA}, json.dumps(SCHEMA, indent=2))
