"""What commands that reconstruct are given: volumes or measurements, a network, and how the two are used."""

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MSLFusionLib.commands.options import add_model, number, whole_number
from MSLFusionLib.commands.sensors import add_raw, imported
from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.cli import Context
    from MSLFusionLib.recon.geometry import VolumeGeometry
    from MSLFusionLib.recon.reconstructor import Reconstructor
    from MSLFusionLib.recon.simulate import SamplingPlan

COMPRESSED = 0.4
"""Share of their size in memory that written volumes take, roughly."""


def add_given(parser: argparse.ArgumentParser) -> None:
    """What is reconstructed: volumes, or what was measured of them."""
    given = parser.add_argument_group("input: a CT and an MR (one may be absent), or what was measured of them")
    given.add_argument("--ct", type=Path, metavar="FILE", help="CT volume in HU, or a DICOM folder")
    given.add_argument("--mr", type=Path, metavar="FILE", help="MR volume, or a DICOM folder")
    given.add_argument("--sensors", type=Path, metavar="FILE.h5", help="sensor data, see: mslfusion simulate, sensors")
    add_raw(given)


def add_network(parser: argparse.ArgumentParser) -> None:
    """The network and how it is used."""
    network = parser.add_argument_group("the network")
    add_model(network)
    network.add_argument(
        "--modalities", choices=("both", "ct", "mr"), default="both", help="sensors that the network may see"
    )
    network.add_argument(
        "--no-consistency", action="store_true", help="leave the network's images as they are, whatever was measured"
    )
    network.add_argument("--pixel-mm", type=number(0.05, 10), metavar="MM", help="a fixed pixel of network slices")
    network.add_argument("--batch", type=whole_number(1), metavar="N", help="slices at a time (default: by memory)")


def check_given(args: argparse.Namespace) -> None:
    """Raise InputError unless the options of `add_given` name one input."""
    raw = args.sinogram is not None or args.kspace is not None
    volumes = args.ct is not None or args.mr is not None
    if (args.sensors is not None) + raw + volumes > 1:
        raise InputError("Give either --ct and --mr, or --sensors, or --sinogram and --kspace, not both.")
    if not raw and args.sensors is None:
        for name, path in (("ct", args.ct), ("mr", args.mr)):
            if path is None and args.modalities in ("both", name):
                raise InputError(
                    f"--{name} FILE is missing: give both, or --sensors FILE.h5, or --modalities for one only."
                )


@dataclass(frozen=True)
class Given:
    """What the options name, read and checked. arguments: of pipeline.run_pipeline. geometry: of the results."""

    reconstructor: "Reconstructor"
    model_file: Path
    model_name: str
    plan: "SamplingPlan | None"
    arguments: dict[str, Any]
    geometry: "VolumeGeometry"


def open_given(args: argparse.Namespace, stack: ExitStack, context: "Context") -> Given:
    """Load and check model, plan and volumes, the quick ones first; raises InputError."""
    from MSLFusionLib.commands import inputs
    from MSLFusionLib.io.sensors import SensorReader
    from MSLFusionLib.io.volumes import read_volume
    from MSLFusionLib.pipeline import MODALITIES, check_sampling
    from MSLFusionLib.recon.geometry import VolumeGeometry
    from MSLFusionLib.recon.grid import NetworkGrid
    from MSLFusionLib.recon.reconstructor import Reconstructor

    loaded = inputs.load_model(args.model)
    reconstructor = Reconstructor(loaded, args.device, args.batch)
    arguments: dict[str, Any] = {
        "modalities": MODALITIES[args.modalities],
        "pixel_mm": args.pixel_mm,
        "consistency": not args.no_consistency,
    }
    plan = None
    if args.sensors is not None:
        sensors = stack.enter_context(SensorReader(args.sensors))
        arguments["sensors"] = sensors
        geometry = NetworkGrid.from_dict(sensors.header.grid).volume
    elif args.sinogram is not None or args.kspace is not None:
        from MSLFusionLib.imports import ImportSettings

        options = reconstructor.options(args.pixel_mm)
        settings = ImportSettings(options.size, options.pixel_mm, options.fixed_pixel, args.coils)
        arguments["sensors"] = imported(args, settings, stack, context)
        geometry = NetworkGrid.from_dict(arguments["sensors"].header.grid).volume
    else:
        plan = inputs.sampling_plan(args)
        check_sampling(plan, reconstructor.options().size)
        for role in ("ct", "mr"):
            if getattr(args, role) is not None:
                arguments[role] = read_volume(getattr(args, role), role.upper())
        arguments |= {"plan": plan, "how": inputs.registering(args)}
        geometry = VolumeGeometry.of(arguments["ct" if args.ct is not None else "mr"])
    return Given(reconstructor, loaded.path, loaded.name, plan, arguments, geometry)


def register_given(args: argparse.Namespace, given: Given, context: "Context") -> Any:
    """Find where a measured MR lies in the frame of the measured CT; None where there is nothing to find."""
    from MSLFusionLib.commands import inputs

    data = given.arguments.get("sensors")
    if data is None or data.header.acquired is None or data.header.acquired.get("transform") is not None:
        return None
    if args.modalities != "both":
        return None
    from MSLFusionLib.imports import register_sensors

    return register_sensors(data, inputs.registering(args), str(given.reconstructor.device), context.job)


def given_parameters(args: argparse.Namespace, given: Given) -> dict[str, Any]:
    """The settings among these that change the result, for the record."""
    parameters: dict[str, Any] = {"model": given.model_name, "modalities": args.modalities}
    parameters["consistency"] = not args.no_consistency
    if given.plan is not None:
        parameters["sampling"] = given.plan.to_dict()
    if args.ct is not None and args.mr is not None:
        chosen = {"method": args.register_method, "preset": args.register_preset, "start": args.register_start}
        parameters["registration"] = "none" if args.no_register else chosen
    if args.pixel_mm is not None:
        parameters["pixel_mm"] = args.pixel_mm
    return parameters
