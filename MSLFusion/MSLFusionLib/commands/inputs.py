"""What the options of a command stand for: model, sampling plan, lambdas, registration."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from MSLFusionLib.errors import InputError

if TYPE_CHECKING:
    from MSLFusionLib.io.checkpoints import LoadedModel
    from MSLFusionLib.pipeline import Registering
    from MSLFusionLib.recon.geometry import VolumeGeometry
    from MSLFusionLib.recon.lambdas import LambdaSegment, LambdaSpec
    from MSLFusionLib.recon.simulate import SamplingPlan

DEFAULT_LAMBDAS = (0.0, 0.5, 1.0)
MAP_LABEL = "map"


def model_path(name: str | None) -> Path:
    """The file of the model called `name`, or of the shipped one; InputError when there is none."""
    from MSLFusionLib.io.checkpoints import find_model, list_models

    if name is not None:
        return find_model(name)
    shipped = [info for info in list_models() if list(info.card["modalities"]) == ["ct", "mr"]]
    if not shipped:
        raise InputError("No model for CT and MR is installed: give one with --model FILE.safetensors.")
    return shipped[0].path


def load_model(name: str | None) -> "LoadedModel":
    """The model called `name`, or the shipped one, ready to use."""
    from MSLFusionLib.io.checkpoints import load_checkpoint

    return load_checkpoint(model_path(name))


def sampling_plan(args: argparse.Namespace) -> "SamplingPlan":
    """The plan of the sampling options (see options.add_sampling)."""
    from MSLFusionLib.recon.simulate import SamplingPlan

    return SamplingPlan(
        views=args.views,
        scan=args.scan,
        acceleration=args.acceleration,
        mask=args.mask,
        centre_fraction=args.centre_fraction,
        photons=args.photons,
        kspace_sigma=args.kspace_noise,
        seed=args.seed,
    )


def registering(args: argparse.Namespace) -> "Registering":
    """How to register, from the options of add_registration and --seed."""
    from MSLFusionLib.pipeline import Registering

    return Registering(not args.no_register, args.register_method, args.register_preset, args.register_start, args.seed)


def lambda_specs(args: argparse.Namespace, grid: "VolumeGeometry") -> "tuple[list[LambdaSpec], list[LambdaSegment]]":
    """The hybrids asked for, and the painted regions: numbers, then the map of --lambda-map or --segmentation.

    grid: the grid of the results, which maps are brought to.
    """
    from MSLFusionLib.recon.lambdas import lambda_map_from_segments, scalar_lambda

    specs = [scalar_lambda(lam) for lam in lambda_numbers(args)]
    segments: list[LambdaSegment] = []
    if args.lambda_map is not None:
        specs.append(_map_from_volume(args.lambda_map, grid))
    elif args.segmentation is not None:
        segments = _segments(args)
        specs.append(lambda_map_from_segments(segments, args.background_lambda, grid, label=MAP_LABEL))
    return specs, segments


def lambda_numbers(args: argparse.Namespace) -> list[float]:
    """The values of --lambda, each once; the usual three where neither they nor a map are given."""
    painted = args.lambda_map is not None or args.segmentation is not None
    return list(dict.fromkeys(args.lam or (() if painted else DEFAULT_LAMBDAS)))


def check_lambda_options(args: argparse.Namespace) -> None:
    """Raise InputError for options of a segmentation without a segmentation, and files that are not there."""
    if args.segmentation is None:
        for value, option in ((args.segment_lambda, "--segment-lambda"), (args.feather_mm, "--feather-mm")):
            if value:
                raise InputError(f"{option} needs --segmentation FILE.seg.nrrd.")
    for path in (args.lambda_map, args.segmentation):
        if path is not None and not path.is_file():
            raise InputError(f"The file {path} does not exist.")


def _map_from_volume(path: Path, grid: "VolumeGeometry") -> "LambdaSpec":
    from MSLFusionLib.io.volumes import read_volume
    from MSLFusionLib.recon.lambdas import lambda_volume

    return replace(lambda_volume(read_volume(path, "lambda map"), grid, str(path)), label=MAP_LABEL)


def _segments(args: argparse.Namespace) -> "list[LambdaSegment]":
    from MSLFusionLib.io.volumes import read_segmentation
    from MSLFusionLib.recon.lambdas import lambda_segments

    painted = read_segmentation(args.segmentation)
    pairs = [(segment, painted.mask(segment)) for segment in painted.segments]
    return lambda_segments(pairs, dict(args.segment_lambda or ()), args.feather_mm)
