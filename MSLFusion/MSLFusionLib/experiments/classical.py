"""Reconstructions that need no network, as baselines: total variation and wavelets, run to convergence and tuned.

Their weights are found for each measurement on a generated head of a seed of its own, where the truth is known, never
on the images they are compared on. They know what data consistency knows: attenuation and MR are not negative, and
simulated MR has no phase. Results do not depend on any model, so they are kept in a folder and computed once.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.physics.total_variation import tv_ct, tv_mr
from MSLFusionLib.physics.units import MU_MAX
from MSLFusionLib.physics.wavelets import wavelet_mr
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.simulate import SamplingPlan, Scanners, SensorBatch
from MSLFusionLib.recon.sources import VolumeSource

if TYPE_CHECKING:
    from MSLFusionLib.recon.slices import VolumeOptions

TV_CT, TV_MR, WAVELET_MR = "TV CT", "TV MR", "wavelet MR"
NAMES = (TV_CT, TV_MR, WAVELET_MR)
TUNING_SEED = 910001
"""The generated head on which weights are tuned; no other comparison uses it, nor does training."""
_TUNING_SIZE, _TUNING_SPACING = (320, 320, 5), (0.8, 0.8, 28.0)
_TUNING_SLICES = (1, 3)
_FACTOR = 3.0
_START = {TV_CT: 3e-4, TV_MR: 1e-3, WAVELET_MR: 1e-3}
_LOWEST, _HIGHEST = 1e-7, 1.0
_AT_ONCE = 8
"""Slices in one batch: projections of several slices share the reading of the matrix."""
_LEVELS = 65535
_FORMAT = 1


@dataclass(frozen=True)
class Effort:
    """How long the methods iterate: the final images, and while their weights are tuned."""

    total_variation: int = 1000
    wavelets: int = 200
    tuning: int = 400

    def of(self, name: str) -> int:
        """Iterations of a final image."""
        return self.wavelets if name == WAVELET_MR else self.total_variation

    def tuning_of(self, name: str) -> int:
        """Iterations of an image while tuning."""
        return min(self.tuning, self.of(name))


def reconstructed(
    name: str,
    scanners: Scanners,
    data: SensorBatch,
    weight: "float | Tensor",
    iterations: int,
    job: Job = NO_JOB,
) -> Tensor:
    """Images (n, 1, H, W) in [0, 1] of sensor data by one of NAMES, `weight` relative as in physics.total_variation.

    Raises InputError when the data do not hold its modality, Cancelled.
    """
    if name not in NAMES:
        raise InputError(f"Unknown reconstruction '{name}': use one of {', '.join(NAMES)}.")
    if name == TV_CT:
        if scanners.ct is None or data.sinogram is None:
            raise InputError(f"{name} needs a sinogram.")
        image = tv_ct(scanners.ct, data.sinogram, weight, iterations, job=job) / MU_MAX
    else:
        if scanners.mr is None or data.kspace is None:
            raise InputError(f"{name} needs k-space.")
        if name == TV_MR:
            image = tv_mr(scanners.mr, data.kspace, weight, iterations, non_negative=True, job=job)
        else:
            image = wavelet_mr(scanners.mr, data.kspace, weight, iterations, non_negative=True, job=job)
    return image.clamp(0.0, 1.0)


def tuned(
    name: str,
    scanners: Scanners,
    data: SensorBatch,
    truth: Tensor,
    iterations: int,
    job: Job = NO_JOB,
) -> float:
    """The weight whose images have the highest mean PSNR to `truth` (n, 1, H, W).

    Tried in steps of 3 around a start until the best is not the first or last; then the top of a parabola through the
    logarithms around it. All weights of a round are one batch.
    """
    found: dict[int, float] = {}
    wanted = [-1, 0, 1]
    while wanted:
        weights = torch.tensor([_START[name] * _FACTOR**power for power in wanted])
        batch = SensorBatch(*(None if part is None else part.repeat(len(wanted), 1, 1, 1)
                              for part in (data.sinogram, data.kspace)))  # fmt: skip
        images = reconstructed(name, scanners, batch, weights.repeat_interleave(len(truth)), iterations, job)
        for power, part in zip(wanted, images.split(len(truth)), strict=True):
            errors = (part - truth).square().mean(dim=(1, 2, 3)).clamp_min(1e-12)
            found[power] = float(-10 * errors.log10().mean())
        best = max(found, key=lambda power: found[power])
        wanted = [power for power in (best - 1, best + 1) if power not in found and _usable(name, power)]
    around = [found.get(best + step, -math.inf) for step in (-1, 0, 1)]
    bend = around[0] - 2 * around[1] + around[2]
    shift = 0.5 * (around[0] - around[2]) / bend if math.isfinite(bend) and bend < 0 else 0.0
    return float(_START[name] * _FACTOR ** (best + shift))


def _usable(name: str, power: int) -> bool:
    return _LOWEST < _START[name] * _FACTOR**power < _HIGHEST


class Classical:
    """Baselines of slices measured by one plan, tuned, and kept in a folder.

    options: the grid that weights are tuned on. store: a folder, made if absent, or None to keep nothing.
    """

    def __init__(
        self, options: "VolumeOptions", effort: Effort | None = None, store: Path | None = None, device: str = "cpu"
    ) -> None:
        self.options = options
        self.effort = effort or Effort()
        self.device = device
        self._store = store
        self._tuning: dict[SamplingPlan, tuple[Scanners, SensorBatch, list[Tensor]]] = {}
        self._weights: dict[str, float] = {}

    def weight(self, name: str, plan: SamplingPlan, job: Job = NO_JOB) -> float:
        """The tuned weight of a method for what `plan` measures."""
        iterations = self.effort.tuning_of(name)
        grid = [*self.options.size, round(self.options.pixel_mm, 6)]
        parts: list[Any] = [
            "weight",
            _FORMAT,
            name,
            iterations,
            _of_modality(name, plan),
            grid,
            TUNING_SEED,
            _START[name],
        ]
        key = _key(*parts)
        if key not in self._weights:
            self._weights[key] = self._kept_number(key, lambda: self._tune(name, plan, iterations, job))
        return self._weights[key]

    def images(
        self, name: str, source: VolumeSource, numbers: np.ndarray, plan: SamplingPlan, job: Job = NO_JOB
    ) -> np.ndarray:
        """Images float32 (n, H, W) in [0, 1] of the slices with these numbers, from the folder where it has them."""
        weight, iterations = self.weight(name, plan, job), self.effort.of(name)
        found: dict[int, np.ndarray] = {}
        keys = {}
        for number in numbers.tolist():
            truth = source.truth(np.array([number]))[0 if name == TV_CT else 1]
            if truth is None:
                raise InputError(f"{name} needs a volume of its modality.")
            about: list[Any] = [
                _of_modality(name, plan),
                float(f"{weight:.4g}"),
                iterations,
                round(source.grid.pixel_mm, 6),
            ]
            # A slice's noise is drawn by its number.
            noisy = plan.photons is not None if name == TV_CT else plan.kspace_sigma > 0
            drawn = number if noisy else 0
            keys[number] = _key("image", _FORMAT, name, *about, drawn, _quantised(truth[0]))
            kept = self._kept_image(keys[number])
            if kept is not None:
                found[number] = kept
        missing = [number for number in numbers.tolist() if number not in found]
        for start in range(0, len(missing), _AT_ONCE):
            part = np.array(missing[start : start + _AT_ONCE])
            data = source.measure(part, torch.device(self.device))
            images = reconstructed(name, source.scanners, data, float(f"{weight:.4g}"), iterations, job)
            for number, image in zip(part.tolist(), images[:, 0].cpu().numpy(), strict=True):
                self._keep(keys[number], _quantised(image))
                found[number] = image
        return np.stack([found[number] for number in numbers.tolist()])

    def _tune(self, name: str, plan: SamplingPlan, iterations: int, job: Job) -> float:
        if plan not in self._tuning:
            from MSLFusionLib.phantom import generate_head

            head = generate_head(TUNING_SEED, size=_TUNING_SIZE, spacing=_TUNING_SPACING, job=job)
            source = VolumeSource(head.ct, head.t1, plan, self.options, self.device, job)
            numbers = np.array(_TUNING_SLICES)
            data = source.measure(numbers, torch.device(self.device))
            truths = [
                torch.from_numpy(part)[:, None].to(self.device) for part in source.truth(numbers) if part is not None
            ]
            self._tuning[plan] = source.scanners, data, truths
        scanners, data, truths = self._tuning[plan]
        data = replace(data, kspace=None) if name == TV_CT else replace(data, sinogram=None)
        return tuned(name, scanners, data, truths[0 if name == TV_CT else 1], iterations, job)

    def _path(self, key: str, ending: str) -> Path | None:
        if self._store is None:
            return None
        self._store.mkdir(parents=True, exist_ok=True)
        return self._store / f"{key}.{ending}"

    def _kept_number(self, key: str, compute: Callable[[], float]) -> float:
        path = self._path(key, "json")
        if path is not None and path.is_file():
            try:
                return float(json.loads(path.read_text(encoding="utf-8"))["weight"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} is damaged: remove it, it will be made again.") from error
        value = compute()
        if path is not None:
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps({"weight": value}) + "\n", encoding="utf-8")
        return value

    def _kept_image(self, key: str) -> np.ndarray | None:
        path = self._path(key, "npy")
        if path is None or not path.is_file():
            return None
        try:
            stored = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is damaged: remove it, it will be made again.") from error
        return (stored.astype(np.float32) / _LEVELS).astype(np.float32)

    def _keep(self, key: str, image: np.ndarray) -> None:
        path = self._path(key, "npy")
        if path is not None:
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.save(file, image)


def pixel_blend(ct: np.ndarray, mr: np.ndarray, lam: float) -> np.ndarray:
    """(1 - lambda) CT + lambda MR, pixel by pixel: what fusion means without a network."""
    if not 0.0 <= lam <= 1.0:
        raise InputError(f"Lambda must lie between 0 and 1, not {lam:g}.")
    if ct.shape != mr.shape:
        raise InputError(f"The images to blend have different shapes: {ct.shape} and {mr.shape}.")
    return (np.float32(1.0 - lam) * ct + np.float32(lam) * mr).astype(np.float32)


def _of_modality(name: str, plan: SamplingPlan) -> dict[str, Any]:
    """What of a plan a method's data depend on: results of one are then shared by plans that differ in the rest."""
    fields = plan.to_dict()
    of_ct = ("views", "scan", "photons")
    if name == TV_CT:
        kept = {key: fields[key] for key in of_ct}
        return kept | ({"seed": fields["seed"]} if plan.photons is not None else {})
    return {key: value for key, value in fields.items() if key not in of_ct}


def _quantised(image: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as uint16: an error of 1e-5 at most, and the same for images that differ by rounding alone."""
    return np.round(np.clip(image, 0.0, 1.0) * _LEVELS).astype(np.uint16)


def _key(*parts: Any) -> str:
    """A name that differs where any of the parts, of JSON's types or arrays, does."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else json.dumps(part, sort_keys=True).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]
