"""The statistics that are stored with a model: what its latents and its errors are on slices whose truth is known.

Slices are measured as they were in training: half of them with the first number of views and the first acceleration
of the card, the rest with its extremes, and every second one with noise where the card tells of noise. Each is encoded
from both modalities and from either alone.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon import error_model
from MSLFusionLib.recon.familiarity import QUANTILE, fitted, pooled, set_name
from MSLFusionLib.recon.noise_level import SensorNoise
from MSLFusionLib.recon.simulate import SamplingPlan, Scanners, SensorBatch
from MSLFusionLib.recon.trust import Measured, TrustPlan, variances

if TYPE_CHECKING:
    from MSLFusionLib.recon.reconstructor import Reconstructor

SETS = (("ct", "mr"), ("ct",), ("mr",))
_PIXELS = 3000
"""Of each slice that teach the error model, and a fifth as many of the surroundings."""
_BODY = 0.05
_USUAL = (64, 4.0)
_BLOCK = 10
"""So many slices in a row have one number of views, since its operator takes time to make and memory to keep."""

Pair = np.ndarray
"""CT and MR of one slice as the network sees them, float32 (2, H, W) in [0, 1]."""


def learned(
    reconstructor: "Reconstructor",
    familiar: Iterable[Pair],
    held_out: Iterable[Pair],
    counts: tuple[int, int],
    errors_from: int = 12,
    data: str = "",
    job: Job = NO_JOB,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and table for io.checkpoints.save_with_statistics.

    familiar: slices like those of the training; held_out: others, which set the limit. counts: how many of each.
    errors_from: how many of the familiar ones, evenly spread, also teach the error model. data: where they come from.
    Raises InputError for slices that do not fit the model, and for too few; Cancelled.
    """
    total = sum(counts)
    draws = _Draws(reconstructor)
    lessons = set(np.linspace(0, counts[0] - 1, min(errors_from, counts[0])).round().astype(int).tolist())
    features: list[dict[str, list[np.ndarray]]] = [{}, {}]
    samples: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    done = 0
    for part, slices in enumerate((familiar, held_out)):
        for number, pair in enumerate(slices):
            job.step("statistics", done, total)
            whole = draws.measured(pair, done, job)
            lesson = part == 0 and number in lessons
            for seen in SETS:
                measured = draws.seen(whole, seen, lesson, job)
                found = pooled(measured.encoded.latent)
                if found is None:
                    raise InputError(f"The model '{reconstructor.name}' has no latent that statistics can be made of.")
                features[part].setdefault(set_name(seen), []).append(found)
                if lesson:
                    for image, pixels in _lesson(reconstructor, measured, pair, done, job).items():
                        samples.setdefault((set_name(seen), image), []).append(pixels)
            done += 1
    job.step("statistics", total, total)
    tensors: dict[str, torch.Tensor] = {}
    limits: dict[str, float] = {}
    errors: dict[str, dict[str, list[float]]] = {}
    for seen in SETS:
        name = set_name(seen)
        one = fitted(*(np.concatenate(part.get(name, [np.zeros((0, 1))])) for part in features))
        tensors |= {f"{name}.{key}": value for key, value in one.tensors().items()}
        limits[name] = one.limit
        errors[name] = _error_models(name, samples)
    table = {
        "data": data,
        "slices": counts[0],
        "held_out": counts[1],
        "quantile": QUANTILE,
        "limits": limits,
        "error_slices": len(lessons),
        "errors": errors,
    }
    return tensors, table


def _error_models(
    name: str, samples: Mapping[tuple[str, str], Sequence[tuple[np.ndarray, np.ndarray]]]
) -> dict[str, list[float]]:
    found = {}
    for image in ("ct", "mr"):
        pixels = samples.get((name, image))
        if pixels:
            known, wrong = (np.concatenate(parts) for parts in zip(*pixels, strict=True))
            found[image] = error_model.fitted(known, wrong).to_list()
    return found


def _lesson(
    reconstructor: "Reconstructor", measured: Measured, pair: Pair, number: int, job: Job
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of some pixels of CT and MR what the error model sees, and by how much the image is wrong."""
    changed = variances(reconstructor, measured, TrustPlan(seed=number), job)
    images = {name: reconstructor.hybrid(measured.encoded, lam) for name, lam in (("ct", 0.0), ("mr", 1.0))}
    random = np.random.default_rng(number)
    body = (pair[0] > _BODY) | (pair[1] > _BODY)
    inside, outside = np.flatnonzero(body), np.flatnonzero(~body)
    places = [random.choice(some, count) for some, count in ((inside, _PIXELS), (outside, _PIXELS // 5)) if len(some)]
    chosen = np.concatenate(places)
    found = {}
    for name, truth in zip(("ct", "mr"), pair, strict=True):
        known = error_model.features(changed[name], images["ct"], images["mr"])
        wrong = np.abs(images[name][0, 0].cpu().numpy() - truth).ravel()
        found[name] = known[chosen], wrong[chosen].astype(np.float64)
    return found


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

    def measured(self, pair: Pair, number: int, job: Job) -> "_Slice":
        """One slice with its sensor data and images; its number decides how it is measured."""
        device, plan = self._reconstructor.device, self.plan(number)
        size = (int(pair.shape[1]), int(pair.shape[2]))
        official = self._reconstructor.official_fbp
        scanners = Scanners.of_plan(plan, size, self._pixel_mm, str(device), official_fbp=official)
        job.check()
        with torch.inference_mode():
            ct, mr = (torch.from_numpy(np.array(image, np.float32))[None, None].to(device) for image in pair)
            data = scanners.measure(ct, mr, [number])
            return _Slice(scanners, data, SensorNoise(plan.photons, plan.kspace_sigma), scanners.images(data))

    def seen(self, whole: "_Slice", names: Sequence[str], consistency: bool, job: Job) -> Measured:
        """The slice encoded from some of its modalities."""
        ct, mr = "ct" in names, "mr" in names
        scanners = replace(whole.scanners, ct=whole.scanners.ct if ct else None, mr=whole.scanners.mr if mr else None)
        data = SensorBatch(whole.data.sinogram if ct else None, whole.data.kspace if mr else None)
        images = (whole.images[0] if ct else None, whole.images[1] if mr else None)
        with torch.inference_mode():
            encoded = self._reconstructor.encoded_from(scanners, data, whole.noise, images, names, consistency, job)
        return Measured(scanners, data, whole.noise, images, encoded, names, consistency)


@dataclass(frozen=True)
class _Slice:
    """One slice as it was measured by both scanners."""

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
