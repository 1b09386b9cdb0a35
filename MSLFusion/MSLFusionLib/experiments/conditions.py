"""The conditions of a robustness run, and slices whose CT has moved."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.recon.noise_level import SensorNoise
from MSLFusionLib.recon.simulate import SamplingPlan, SensorBatch
from MSLFusionLib.recon.sources import VolumeSource

VIEWS = (64, 32, 16)
ACCELERATIONS = (4.0, 8.0, 16.0)
SHIFTS = (5, 10, 15)
NOISE = ((1e6, 0.005), (1e5, 0.02), (1e4, 0.05))
"""Photons per detector bin without object, and standard deviation of k-space noise."""
GROUPS = ("sampling", "misregistration", "noise", "single")


@dataclass(frozen=True)
class Condition:
    """What is measured, and how it goes wrong.

    modalities: those the network may see. shift: by how many of the network's pixels the CT lies too far to the right
    and too low.
    """

    name: str
    group: str
    plan: SamplingPlan
    modalities: tuple[str, ...] = ("ct", "mr")
    shift: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "name": self.name,
            "group": self.group,
            "plan": self.plan.to_dict(),
            "modalities": list(self.modalities),
            "shift": self.shift,
        }


def conditions(groups: Sequence[str] = GROUPS, seed: int = 0) -> list[Condition]:
    """The conditions of the groups asked for: one thing changes at a time, from 64 views and a quarter of k-space.

    sampling: all of 64, 32 and 16 views with 1/4, 1/8 and 1/16 of k-space. misregistration: the CT moved by 5, 10 and
    15 pixels both ways. noise: three levels. single: CT alone and MR alone. Raises InputError for an unknown group.
    """
    unknown = [group for group in groups if group not in GROUPS]
    if unknown or not groups:
        raise InputError(f"Unknown group '{', '.join(unknown)}': use one or more of {', '.join(GROUPS)}.")
    base = SamplingPlan(seed=seed)
    every: list[Condition] = []
    for views in VIEWS:
        for rate in ACCELERATIONS:
            plan = replace(base, views=views, acceleration=rate)
            every.append(Condition(f"{views} views, 1/{rate:g} of k-space", "sampling", plan))
    every += [Condition(f"CT {pixels} pixels off", "misregistration", base, shift=pixels) for pixels in SHIFTS]
    for photons, sigma in NOISE:
        plan = replace(base, photons=photons, kspace_sigma=sigma)
        every.append(Condition(f"{photons:.0e} photons, k-space noise {sigma:g}", "noise", plan))
    every += [Condition(f"{name.upper()} alone", "single", base, (name,)) for name in ("ct", "mr")]
    return [one for one in every if one.group in groups]


class MovedSource(VolumeSource):
    """A source whose CT lies `shift` network pixels too far to the right and too low: that is what is measured.

    Its truth is the moved CT.
    """

    def __init__(self, source: VolumeSource, shift: int) -> None:
        self._source, self._shift = source, shift
        self.grid, self.occupied = source.grid, source.occupied
        self.scanners, self.mr_scale = source.scanners, source.mr_scale

    @property
    def noise(self) -> SensorNoise:
        """The noise that the plan adds."""
        return self._source.noise

    def truth(self, slices: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """CT where it lies now, and MR; network slices float32 (n, H, W)."""
        ct, mr = self._source.truth(slices)
        return (None if ct is None else moved(ct, self._shift)), mr

    def measure(self, slices: np.ndarray, device: torch.device) -> SensorBatch:
        """Sensor data of the slices with these numbers, on `device`."""
        ct, mr = (
            None if part is None else torch.from_numpy(np.ascontiguousarray(part))[:, None].to(device)
            for part in self.truth(slices)
        )
        return self.scanners.measure(ct, mr, slices.tolist())

    def report(self) -> dict[str, Any]:
        """What the source itself reports, and the shift."""
        return {**self._source.report(), "ct_shift_pixels": self._shift}


def moved(slices: np.ndarray, shift: int) -> np.ndarray:
    """Slices (n, H, W) moved right and down by `shift` pixels; 0 comes in from the edges."""
    if not 0 <= shift < min(slices.shape[1:]):
        raise InputError(f"Slices of {slices.shape[1]} x {slices.shape[2]} pixels cannot be moved by {shift}.")
    result = np.zeros_like(slices)
    result[:, shift:, shift:] = slices[:, : slices.shape[1] - shift, : slices.shape[2] - shift]
    return result
