"""Restoring one MR contrast with another, from inputs to figures, for the command line and the worker alike.

Target (a volume, measured in simulation, or k-space) and auxiliary -> the auxiliary on the target's grid -> restored
and super-resolved volumes -> how near they are to the truth, where it is known. Nothing here writes a file.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import ModelInfo, find_model, list_models, read_card
from MSLFusionLib.progress import NO_JOB, Job, noting

if TYPE_CHECKING:
    from MSLFusionLib.recon.beside import Placed, Placing
    from MSLFusionLib.recon.restore import Restored, Restorer
    from MSLFusionLib.recon.targets import RestorePlan

ARCHITECTURES = ("cmf-net", "unet-bicubic")
"""Networks that restore: CMF-Net, and the plain one that it is compared with, which must be named."""


@dataclass(frozen=True)
class Restoration:
    """What a run gave: the volumes, the auxiliary as it was placed, figures (see recon.restore_measure), warnings,
    seconds by stage."""

    restored: "Restored"
    auxiliary: "Placed"
    metrics: list[dict[str, Any]]
    warnings: list[str]
    times: dict[str, float] = field(default_factory=dict)


def model_file(name: str | None = None, contrasts: Sequence[str] | None = None, scale: int | None = None) -> Path:
    """The file of the network called `name`, or of the first installed CMF-Net for the contrasts (auxiliary, target)
    at this scale; None where it does not matter.

    Raises InputError where there is none, where the one named is for something else, and where contrasts are left out
    but more than one pair can be had.
    """
    if name is not None:
        path = find_model(name)
        card = read_card(path)
        if card["architecture"] not in ARCHITECTURES:
            raise InputError(f"The model '{card['name']}' is no CMF-Net: it cannot restore one MR contrast by another.")
        if contrasts is not None and _contrasts(card) != _lower(contrasts):
            have, want = _words(_contrasts(card)), _words(_lower(contrasts))
            raise InputError(f"The model '{card['name']}' restores {have}, not {want}.")
        if scale is not None and card.get("scale") != scale:
            raise InputError(f"The model '{card['name']}' makes images {card.get('scale')} times finer, not {scale}.")
        return path
    models = list_models(architecture=ARCHITECTURES[0])
    fitting = [
        info
        for info in models
        if (contrasts is None or _contrasts(info.card) == _lower(contrasts))
        and (scale is None or info.card.get("scale") == scale)
    ]
    if not fitting:
        asked = [] if contrasts is None else [f"for {_words(_lower(contrasts))}"]
        asked += [] if scale is None else [f"that makes images {scale} times finer"]
        raise InputError(
            f"No CMF-Net model {' '.join((*asked, 'is installed'))} (there is: {_known(models)}): give one with "
            "--model FILE."
        )
    if len({_contrasts(info.card) for info in fitting}) > 1:
        raise InputError(
            f"There are CMF-Net models for several contrasts ({_known(fitting)}): choose with --contrasts AUXILIARY "
            "TARGET, or --model."
        )
    return fitting[0].path


def run_restoration(
    restorer: "Restorer",
    auxiliary: sitk.Image,
    *,
    volume: sitk.Image | None = None,
    plan: "RestorePlan | None" = None,
    sensors: Any = None,
    how: "Placing | None" = None,
    consistency: bool = True,
    compare: bool = False,
    figures: bool = True,
    job: Job = NO_JOB,
) -> Restoration:
    """Place the auxiliary, restore, compare.

    Either `volume`, measured as `plan` says, or `sensors` (an open io.sensors.SensorReader or the like). how: how the
    auxiliary is placed. consistency, compare: see Restorer.restore. figures: also compare with the truth, where it is
    known. Raises InputError, JobError and Cancelled as the parts do.
    """
    from MSLFusionLib.recon.beside import Placing, check_mr, placed
    from MSLFusionLib.recon.restore_measure import measure
    from MSLFusionLib.recon.targets import RestorePlan, Target

    warnings: list[str] = []
    job = noting(job, warnings)
    times: dict[str, float] = {}
    check_mr(auxiliary, "auxiliary")
    target: Target
    with _timed(times, "measurement"):
        if volume is not None:
            check_mr(volume, "target")
            target = restorer.volume_target(volume, plan or RestorePlan())
        else:
            target = restorer.measured_target(sensors, job)
    with _timed(times, "placing the auxiliary"):
        beside = placed(target.grids, target.reference, auxiliary, how or Placing(), job)
    with _timed(times, "restoration"):
        restored = restorer.restore(target, beside.image, consistency, compare, job)
    with _timed(times, "figures"):
        rows = measure(restored, job) if figures else []
    return Restoration(restored, beside, rows, warnings, times)


def _contrasts(card: dict[str, Any]) -> tuple[str, ...]:
    return _lower(card["modalities"])


def _lower(names: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(name).lower() for name in names)


def _words(contrasts: Sequence[str]) -> str:
    """A pair (auxiliary, target) for people."""
    names = [name.upper() for name in contrasts]
    return f"{names[-1]} with the help of {' and '.join(names[:-1])}"


def _known(models: Sequence[ModelInfo]) -> str:
    return ", ".join(info.name for info in models) or "none"


@contextmanager
def _timed(times: dict[str, float], stage: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    times[stage] = time.monotonic() - started
