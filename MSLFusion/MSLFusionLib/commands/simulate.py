"""mslfusion simulate: what the scanners would measure of a CT and an MR, as a file of sensor data."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import add_command, add_registration, add_sampling, add_seed, number, whole_number
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.recon.sources import VolumeSource

_BATCH = 4


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(subparsers, "simulate", run, "write what CT and MR scanners would measure of two volumes")
    parser.add_argument("--ct", type=Path, metavar="FILE", help="CT volume in HU, or a DICOM folder")
    parser.add_argument("--mr", type=Path, metavar="FILE", help="MR volume, or a DICOM folder")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.h5", help="sensor data to write")
    parser.add_argument(
        "--size", type=whole_number(16, 4096), default=384, metavar="N", help="pixels of a network slice, a side"
    )
    parser.add_argument("--pixel-mm", type=number(0.05, 10), metavar="MM", help="its pixel (default: 256 mm / N)")
    add_registration(parser)
    add_sampling(parser)
    add_seed(parser)


def run(args: argparse.Namespace, context: "Context") -> None:
    """Register, measure all slices, and write them as they come."""
    from MSLFusionLib.commands import inputs
    from MSLFusionLib.commands.outputs import OutputFolder, check_ending, check_output_file
    from MSLFusionLib.io.runs import RunRecord
    from MSLFusionLib.io.volumes import read_volume
    from MSLFusionLib.pipeline import align, check_sampling
    from MSLFusionLib.recon.sources import VolumeOptions, VolumeSource

    if args.ct is None and args.mr is None:
        raise InputError("Give --ct FILE, --mr FILE, or both.")
    check_ending(args.output, (".h5", ".hdf5"))
    check_output_file(args.output)
    plan = inputs.sampling_plan(args)
    check_sampling(plan, (args.size, args.size))
    record = RunRecord("simulate", {"sampling": plan.to_dict()}, {"all": args.seed})
    volumes = {}
    for role in ("ct", "mr"):
        path = getattr(args, role)
        if path is not None:
            volumes[role] = read_volume(path, role.upper())
            record.add_input(role, path)
    options = VolumeOptions(
        size=(args.size, args.size),
        pixel_mm=args.pixel_mm or 256.0 / args.size,
        fixed_pixel=args.pixel_mm is not None,
    )
    with record.stage("total"):
        aligned = align(volumes.get("ct"), volumes.get("mr"), inputs.registering(args), context.job)
        source = VolumeSource(aligned.ct, aligned.mr, plan, options, job=context.job)
        record.sampling = source.scanners.achieved()
        record.details = {"source": source.report()}
        given = [path for path in (args.ct, args.mr) if path is not None]
        with OutputFolder(args.output.absolute().parent, 0, given) as out:
            _write(source, out.path(args.output.name), record, context)
    record.outputs = [args.output.name]
    record.write(args.output.absolute().parent, f"{args.output.stem}.run.json")
    values = {"command": "simulate", "output": args.output, "sampling": record.sampling}
    context.console.result(values, f"Written: {args.output}\n  {_said(record)}")


def _write(source: "VolumeSource", path: Path, record: "RunRecord", context: "Context") -> None:
    """Measure slice by slice and write as measured; refused at once where the disk is too small."""
    import torch

    from MSLFusionLib.io.sensors import SensorHeader, SensorWriter
    from MSLFusionLib.io.volumes import writable_folder

    provenance = {"command": record.command, "started": record.started}
    header = SensorHeader(**source.header(), provenance=provenance)
    writable_folder(path.parent, header.nbytes // 2)
    occupied, device = source.occupied, torch.device("cpu")
    with SensorWriter(path, header) as writer:
        for start in range(0, len(occupied), _BATCH):
            context.job.step("measure", start, len(occupied))
            numbers = occupied[start : start + _BATCH]
            batch = source.measure(numbers, device)
            sinogram = None if batch.sinogram is None else batch.sinogram[:, 0].numpy()
            kspace = None if batch.kspace is None else batch.kspace.numpy()
            writer.write(numbers.tolist(), sinogram, kspace)
        context.job.step("measure", len(occupied), len(occupied))


def _said(record: "RunRecord") -> str:
    """The achieved sampling in words."""
    parts = []
    if "ct" in record.sampling:
        parts.append(f"{record.sampling['ct']['views']} views")
    if "mr" in record.sampling:
        mr = record.sampling["mr"]
        parts.append(f"{mr['columns']} of {mr['of']} columns of k-space (1/{mr['acceleration']:.2f})")
    return ", ".join(parts)
