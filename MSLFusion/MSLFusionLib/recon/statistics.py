"""The statistics that are stored with a model: what its latents and its errors are on slices whose truth is known.

Slices are measured as they were in training: half of them with the first number of views and the first acceleration
of the card, the rest with its extremes, and every second one with noise where the card tells of noise. Each is encoded
from both modalities and from either alone.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.error_lessons import Lessons
from MSLFusionLib.recon.expected_error import ExpectedErrors
from MSLFusionLib.recon.familiarity import QUANTILE, fitted, pooled, set_name
from MSLFusionLib.recon.noise_level import SensorNoise
from MSLFusionLib.recon.simulate import SamplingPlan, Scanners, SensorBatch
from MSLFusionLib.recon.trust import Measured, TrustPlan, evidence_of

if TYPE_CHECKING:
    from MSLFusionLib.recon.reconstructor import Reconstructor

SETS = (("ct", "mr"), ("ct",), ("mr",))
TOGETHER = 6
"""Slices that teach errors are measured in groups of so many: the CT operator's matrices are read once for them."""
_PASSES = 2
"""Of the resampling while errors are learned: half as many as usual, for twice as many slices in the same time."""
_STRIDE = 7
"""From the plan of one group to that of the next: each kind of plan comes up in some."""
_USUAL = (64, 4.0)
_BLOCK = 10
"""So many slices in a row have one number of views, since its operator takes time to make and memory to keep."""

Pair = np.ndarray
"""CT and MR of one slice as the network sees them, float32 (2, H, W) in [0, 1]."""


@dataclass(frozen=True)
class Familiar:
    """Slices that statistics are made from.

    slices: like those of the training, `count` of them. held_out: others, which set the limit. lessons: those that
    teach errors; best none that the network was trained on, of as many heads as can be. steps: of that learning, 0 for
    the formula alone. data: where all of them come from.
    """

    slices: Iterable[Pair]
    count: int
    held_out: Iterable[Pair]
    held_out_count: int
    lessons: Iterable[Pair]
    lesson_count: int
    steps: int = 1600
    data: str = ""


def learned(
    reconstructor: "Reconstructor", familiar: Familiar, job: Job = NO_JOB
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and table for io.checkpoints.save_with_statistics.

    Raises InputError for slices that do not fit the model, and for too few; Cancelled.
    """
    draws = _Draws(reconstructor)
    total = familiar.count + familiar.held_out_count
    features: list[dict[str, list[np.ndarray]]] = [{}, {}]
    done = 0
    for part, slices in enumerate((familiar.slices, familiar.held_out)):
        for pair in slices:
            job.step("statistics", done, total)
            whole = draws.measured(pair[None], done, job)
            for seen in SETS:
                found = pooled(draws.seen(whole, seen, False, job).encoded.latent)
                if found is None:
                    raise InputError(f"The model '{reconstructor.name}' has no latent that statistics can be made of.")
                features[part].setdefault(set_name(seen), []).append(found)
            done += 1
    job.step("statistics", total, total)
    tensors: dict[str, torch.Tensor] = {}
    limits: dict[str, float] = {}
    for seen in SETS:
        name = set_name(seen)
        one = fitted(*(np.concatenate(part.get(name, [np.zeros((0, 1))])) for part in features))
        tensors |= {f"{name}.{key}": value for key, value in one.tensors().items()}
        limits[name] = one.limit
    errors = _errors(reconstructor, draws, familiar, job)
    table = {
        "data": familiar.data,
        "slices": familiar.count,
        "held_out": familiar.held_out_count,
        "quantile": QUANTILE,
        "limits": limits,
        "error_slices": familiar.lesson_count,
        **errors.table(),
    }
    return tensors | errors.tensors(), table


def _errors(reconstructor: "Reconstructor", draws: "_Draws", familiar: Familiar, job: Job) -> ExpectedErrors:
    lessons = Lessons(familiar.steps)
    slices, done = iter(familiar.lessons), 0
    while group := list(itertools.islice(slices, TOGETHER)):
        number = done // TOGETHER * _STRIDE
        whole = draws.measured(np.stack(group), number, job)
        truth = torch.from_numpy(np.stack(group).astype(np.float32)).to(reconstructor.device)
        for seen in SETS:
            job.step("lessons in errors", done, familiar.lesson_count)
            measured = draws.seen(whole, seen, True, job)
            with torch.inference_mode():
                lessons.see(evidence_of(reconstructor, measured, TrustPlan(_PASSES, number), job), truth, number)
        done += len(group)
    job.step("lessons in errors", done, done)
    return lessons.learned(job=job)


class _Draws:
    """How each slice is measured, as the model's card tells of its training."""

    def __init__(self, reconstructor: "Reconstructor") -> None:
        self._reconstructor = reconstructor
        card = reconstructor.card
        settings = _table(_table(card.get("training")).get("settings"))
        sensors = _table(card.get("sensors"))
        self._views = _ends(settings.get("views"), sensors.get("views"), _USUAL[0])
        self._accelerations = _ends(settings.get("accelerations"), sensors.get("acceleration"), _USUAL[1])
        masks = sensors.get("masks")
        self._masks = [str(one) for one in masks] if isinstance(masks, list) and masks else ["random"]
        self._photons = _number(settings.get("photons"))
        self._sigma = _number(settings.get("kspace_noise"))
        self._pixel_mm = reconstructor.options().pixel_mm

    def plan(self, number: int) -> SamplingPlan:
        """Of the slice with this number."""
        random = np.random.default_rng([number, 0x57A7])
        turn = number // _BLOCK % 4
        noisy = number % 2 == 1
        photons = self._photons * 10 ** random.uniform(0, 2) if noisy and self._photons >= 1 else None
        return SamplingPlan(
            views=int(self._views[(0, 1, 0, 2)[turn]]),
            acceleration=float(self._accelerations[0] if turn % 2 == 0 else random.choice(self._accelerations)),
            mask=self._masks[0] if turn % 2 == 0 else str(random.choice(self._masks)),
            photons=photons,
            kspace_sigma=float(random.uniform(0, self._sigma)) if noisy else 0.0,
            seed=number,
        )

    def measured(self, pairs: np.ndarray, number: int, job: Job) -> "_Slices":
        """Slices (n, 2, H, W) with their sensor data and images; the number decides how they are measured."""
        device, plan = self._reconstructor.device, self.plan(number)
        size = (int(pairs.shape[2]), int(pairs.shape[3]))
        official = self._reconstructor.official_fbp
        scanners = Scanners.of_plan(plan, size, self._pixel_mm, str(device), official_fbp=official)
        job.check()
        with torch.inference_mode():
            ct, mr = (torch.from_numpy(np.array(pairs[:, one], np.float32))[:, None].to(device) for one in (0, 1))
            data = scanners.measure(ct, mr, range(number, number + len(pairs)))
            return _Slices(scanners, data, SensorNoise(plan.photons, plan.kspace_sigma), scanners.images(data))

    def seen(self, whole: "_Slices", names: Sequence[str], consistency: bool, job: Job) -> Measured:
        """The slices encoded from some of its modalities."""
        ct, mr = "ct" in names, "mr" in names
        scanners = replace(whole.scanners, ct=whole.scanners.ct if ct else None, mr=whole.scanners.mr if mr else None)
        data = SensorBatch(whole.data.sinogram if ct else None, whole.data.kspace if mr else None)
        images = (whole.images[0] if ct else None, whole.images[1] if mr else None)
        with torch.inference_mode():
            encoded = self._reconstructor.encoded_from(scanners, data, whole.noise, images, names, consistency, job)
        return Measured(scanners, data, whole.noise, images, encoded, names, consistency)


@dataclass(frozen=True)
class _Slices:
    """Slices as they were measured by both scanners."""

    scanners: Scanners
    data: SensorBatch
    noise: SensorNoise
    images: tuple[torch.Tensor | None, torch.Tensor | None]


def _ends(settings: Any, limits: Any, usual: float) -> list[float]:
    """The usual value first, then the smallest and the largest."""
    for given in (settings, limits):
        numbers = [_number(value) for value in given] if isinstance(given, list | tuple) else []
        if numbers and min(numbers) >= 1:
            first = numbers[0] if given is settings else min(max(usual, min(numbers)), max(numbers))
            return [first, min(numbers), max(numbers)]
    return [usual] * 3


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float:
    """A finite number, else 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0.0
    return float(value)
