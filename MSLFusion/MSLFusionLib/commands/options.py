"""Options that several commands share, and the checks of single values that argparse makes."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

METHODS = ("rigid", "affine")
PRESETS = ("msl", "paper", "official")
STARTS = ("auto", "header")
"""The words of registration.register, which is not imported to show a help text."""

VOLUME_FORMATS = ("nrrd", "nii.gz", "mha")
"""File name endings of written volumes."""


def add_command(subparsers: Any, name: str, run: Callable[..., Any], summary: str, **kwargs: Any) -> Any:
    """A parser for the command `name`, whose help begins with `summary`."""
    parser = subparsers.add_parser(name, help=summary, description=summary, **kwargs)
    parser.set_defaults(run=run)
    return parser


def add_output_folder(parser: argparse.ArgumentParser) -> None:
    """--output DIR."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to; made if absent")


def add_format(parser: argparse.ArgumentParser) -> None:
    """--format of written volumes."""
    parser.add_argument("--format", choices=VOLUME_FORMATS, default="nrrd", help="file format of volumes")


def add_seed(parser: argparse.ArgumentParser) -> None:
    """--seed."""
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N", help="seed of all that is random")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """What the simulated scanners measure."""
    group = parser.add_argument_group("what the simulated scanners measure")
    group.add_argument("--views", type=whole_number(1), default=64, metavar="N", help="CT projections over the scan")
    group.add_argument("--scan", choices=("full", "short"), default="full", help="arc of the CT scan")
    group.add_argument(
        "--acceleration", type=number(1), default=4.0, metavar="R", help="MR: 1/R of k-space is measured"
    )
    group.add_argument(
        "--mask", choices=("random", "equispaced", "official"), default="random", help="which columns of k-space"
    )
    group.add_argument(
        "--centre-fraction", type=number(0, 1), metavar="F", help="share of k-space always measured, at its centre"
    )
    group.add_argument(
        "--photons", type=number(1), metavar="N", help="CT noise: photons per detector bin without object"
    )
    group.add_argument(
        "--kspace-noise", type=number(0), default=0.0, metavar="SIGMA", help="MR noise: standard deviation"
    )


def add_registration(parser: Any) -> None:
    """How the MR is brought onto the CT's grid."""
    parser.add_argument("--no-register", action="store_true", help="the files already place the MR rightly")
    parser.add_argument("--register-method", choices=METHODS, help="motion that may be found (default: the preset's)")
    parser.add_argument(
        "--register-preset", choices=PRESETS, default="msl", help="settings: ours, the paper's, its authors'"
    )
    parser.add_argument(
        "--register-start", choices=STARTS, default="auto", help="look for the start, or trust the files' positions"
    )


def add_model(parser: Any) -> None:
    """Which network, and where it runs."""
    parser.add_argument("--model", metavar="NAME|FILE", help="see: mslfusion models list (default: the shipped one)")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="where the network runs")


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """An argparse type: an integer of at least `low` and at most `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        _check_range(value, low, high)
        return value

    return parse


def number(low: float, high: float | None = None) -> Callable[[str], float]:
    """An argparse type: a finite number of at least `low` and at most `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{text} is not a finite number")
        _check_range(value, low, high)
        return value

    return parse


def lambda_value(text: str) -> float:
    """An argparse type: a lambda in [0, 1]."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is outside [0, 1]: 0 is CT, 1 is MR")
    return value


def segment_lambda(text: str) -> tuple[str, float]:
    """An argparse type: NAME=VALUE, the lambda of one segment."""
    name, equals, value = text.rpartition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=LAMBDA")
    return name, lambda_value(value)


def _check_range(value: float, low: float, high: float | None) -> None:
    if value < low or (high is not None and value > high):
        span = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        raise argparse.ArgumentTypeError(f"{value:g} is not possible: it must be {span}")
