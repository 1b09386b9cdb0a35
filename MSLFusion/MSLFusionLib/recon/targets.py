"""The contrast that is to be restored, slice by slice: a volume measured in simulation, or k-space from a scanner.

Both give k-space of few pixels (n, coils, h, w), in the convention centred-ortho and in units in which the image is
about 1 at its brightest.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.lowres import LowResolution
from MSLFusionLib.physics.masks import KINDS, PointMask, SamplingMask, cartesian_mask
from MSLFusionLib.physics.mr import CartesianMR, fourier, inverse_fourier
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.acquired import COMBINATIONS, combined, highest
from MSLFusionLib.recon.describe import checked_parts, mr_sampling
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.grid import NetworkGrid
from MSLFusionLib.recon.noise_level import estimated_sigma, noise_of_plan
from MSLFusionLib.recon.scaling import IntensityScale
from MSLFusionLib.recon.simulate import noisy_kspace
from MSLFusionLib.recon.two_grids import TwoGrids

SMALLEST = 16
"""Fewest pixels a side of a low-resolution slice that is worth restoring."""
_LOOKED_AT = 5


@dataclass(frozen=True)
class RestorePlan:
    """What the simulated scanner measures of the target, at the low resolution.

    acceleration, mask, centre_fraction, seed: as in recon.simulate.SamplingPlan. kspace_sigma: standard deviation of
    either part of a sample's noise, in units in which the target is about 1 at its brightest. Raises InputError for a
    plan that no scanner can do.
    """

    acceleration: float = 4.0
    mask: str = "random"
    centre_fraction: float | None = None
    kspace_sigma: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not _is_number(self.acceleration) or self.acceleration < 1:
            raise InputError(f"Acceleration {self.acceleration} is impossible: it must be 1 or more.")
        if self.mask not in KINDS:
            raise InputError(f"Unknown k-space mask '{self.mask}': use one of {', '.join(KINDS)}.")
        if self.centre_fraction is not None and not (
            _is_number(self.centre_fraction) and 0 < self.centre_fraction <= 1
        ):
            raise InputError(f"The centre fraction must lie between 0 and 1, not {self.centre_fraction}.")
        if not _is_number(self.kspace_sigma) or self.kspace_sigma < 0:
            raise InputError(f"A k-space noise of {self.kspace_sigma} is not usable: give 0 or more.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise InputError(f"The seed must be a whole number, 0 or more, not {self.seed}.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, read back by `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RestorePlan":
        """The plan described by `to_dict`; raises InputError for unknown entries and impossible values."""
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"The sampling plan is damaged: {error}.") from error


class Target(Protocol):
    """What is restored. grids: where. mask: what was measured of k-space. scale: the target's own values of 0 and 1.
    sigma: of the noise. reference: a volume that shows the target, on grids.fine or coarser, to register to.
    without_phase: whether its image is known to be real and not negative."""

    grids: TwoGrids
    mask: SamplingMask | PointMask
    scale: IntensityScale
    sigma: float
    reference: sitk.Image
    without_phase: bool

    def kspace(self, numbers: np.ndarray) -> Tensor:
        """Masked k-space complex64 (n, coils, h, w) of the slices with these numbers."""

    def zero_filled(self, kspace: Tensor, job: Job = NO_JOB) -> Tensor:
        """Magnitudes (n, 1, h, w) of what `kspace` gave."""

    def truth(self, numbers: np.ndarray) -> np.ndarray | None:
        """Fine slices float32 (n, rows, columns) of the padded grid; None where nobody knows."""

    def sampling(self) -> dict[str, Any]:
        """What was measured, for the record."""


class VolumeTarget:
    """A full-resolution volume, measured as `plan` says at a `scale` times lower resolution.

    operator: LowResolution of that scale. Raises InputError for a volume that is too small for that, or empty.
    """

    without_phase = True

    def __init__(self, image: sitk.Image, plan: RestorePlan, operator: LowResolution) -> None:
        self.grids = TwoGrids.below(VolumeGeometry.of(image), operator.scale, operator.published)
        check_size(self.grids, "target")
        self.plan, self.sigma, self.reference = plan, plan.kspace_sigma, image
        self.mask: SamplingMask | PointMask = cartesian_mask(
            self.grids.low_size[1], plan.acceleration, plan.mask, plan.seed, plan.centre_fraction
        )
        values = sitk.GetArrayViewFromImage(image)
        if values.min() == values.max():
            raise InputError(f"The target volume is constant ({values.min():g} everywhere): there is nothing in it.")
        # A magnitude is not negative: what a resampling pushed below zero is no signal, an offset comes off.
        low = min(0.0, float(values.min()))
        self.scale = IntensityScale(low, low + highest(values - np.float32(low) if low else values))
        self._values = self.grids.turned(values)
        self._operator = operator

    def truth(self, numbers: np.ndarray) -> np.ndarray:
        """Fine slices float32 (n, rows, columns) of the padded grid."""
        planes = self._values[numbers].astype(np.float32)
        return self.grids.padded((planes - np.float32(self.scale.low)) / np.float32(self.scale.high - self.scale.low))

    def kspace(self, numbers: np.ndarray) -> Tensor:
        """Masked k-space complex64 (n, 1, h, w) of the slices with these numbers, noise included."""
        full = measured(self._operator, torch.from_numpy(self.truth(numbers))[:, None])
        known = full * torch.tensor(self.mask.pattern)
        return noisy_kspace(known, numbers.tolist(), self.sigma, self.plan.seed, self.mask)

    def zero_filled(self, kspace: Tensor, job: Job = NO_JOB) -> Tensor:
        """Magnitudes (n, 1, h, w)."""
        return inverse_fourier(kspace).abs()

    def sampling(self) -> dict[str, Any]:
        """What was measured, for the record."""
        return {"mr": mr_sampling(self.mask), "noise_sigma": self.sigma}


class MeasuredTarget:
    """k-space of few pixels from sensor data (an io.sensors.SensorReader, imports.ImportedSensors, or the like).

    Raises InputError where there is no k-space, or too little of it, Cancelled.
    """

    without_phase = False

    def __init__(self, data: Any, scale: int, job: Job = NO_JOB) -> None:
        header = data.header
        if header.mask is None:
            raise InputError("The sensor data hold no k-space: CMF-Net restores an MR, a sinogram is of no use to it.")
        grid, _, mask = checked_parts(header)
        assert mask is not None
        self.mask, self._data, self._convention = mask, data, header.convention
        self._combination = "espirit"
        if header.acquired is None:
            self.grids = TwoGrids.of_network(grid, scale)
        else:
            acquired = header.acquired
            try:
                own = NetworkGrid.from_dict(acquired["grid"])
                fov = float(acquired["fov_mm"][0]), float(acquired["fov_mm"][1])
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise InputError(f"The description of the acquired k-space is damaged: {error!r}.") from error
            if not (np.isfinite(fov).all() and min(fov) > 0):
                raise InputError("The field of view of the acquired k-space is not possible.")
            self.grids = TwoGrids.of_matrix(own, header.kspace_shape[2:], fov, scale)
            self._combination = str(acquired.get("combination", "rss"))
            if self._combination not in COMBINATIONS:
                raise InputError(f"Unknown combination of coils '{self._combination}'.")
        check_size(self.grids, "k-space")
        if self._combination == "sense-tv":
            job.warning("SENSE with total variation restores by itself: for CMF-Net the coils are combined by ESPIRiT.")
            self._combination = "espirit"
        self._occupied = None if header.occupied is None else set(header.occupied)
        self._scanner, self._unit = CartesianMR(mask), 1.0
        volume = self._magnitudes(job)
        self.reference = self.grids.low.image(volume)
        self._unit = highest(volume)
        self.scale = IntensityScale(0.0, self._unit)
        if header.mr_scale is not None:
            # Simulated from a volume, k-space has the network's values: they stand for the volume's.
            seen = IntensityScale.from_dict(header.mr_scale)
            self.scale = IntensityScale(seen.low, seen.low + (seen.high - seen.low) * self._unit)
        told = noise_of_plan(header.plan)
        self.sigma = self._estimated() if told is None else told.kspace_sigma / self._unit

    def kspace(self, numbers: np.ndarray) -> Tensor:
        """Masked k-space complex64 (n, coils, h, w) of the slices with these numbers."""
        data = torch.from_numpy(self._data.kspace(numbers.tolist())) / self._unit
        if self._convention != "centred-ortho":
            data = fourier(inverse_fourier(data, self._convention)).to(torch.complex64)
        return data * torch.tensor(self.mask.pattern)

    def zero_filled(self, kspace: Tensor, job: Job = NO_JOB) -> Tensor:
        """Magnitudes (n, 1, h, w), the coils combined."""
        full = CartesianMR(SamplingMask(np.ones(self.mask.width, bool)))
        return combined(kspace, self._scanner, full, self._combination if kspace.shape[1] > 1 else "rss", job)

    def truth(self, numbers: np.ndarray) -> None:
        """Nobody knows it."""

    def sampling(self) -> dict[str, Any]:
        """What was measured, for the record."""
        coils = self._data.header.coils
        combination = {"combination": self._combination} if coils > 1 else {}
        return {"mr": {**mr_sampling(self.mask), "coils": coils, **combination}, "noise_sigma": self.sigma}

    def _magnitudes(self, job: Job) -> np.ndarray:
        """All slices without a network, (z, y, x), in the file's units."""
        volume = np.zeros(self.grids.low.shape, np.float32)
        turned = self.grids.turned(volume)
        for number in range(self.grids.slices):
            job.step("read", number, self.grids.slices)
            if self._occupied is None or number in self._occupied:
                turned[number] = self.zero_filled(self.kspace(np.array([number])), job)[0, 0].numpy()
        job.step("read", self.grids.slices, self.grids.slices)
        return volume

    def _estimated(self) -> float:
        """The noise of some slices from the middle."""
        middle = self.grids.slices // 2
        some = np.arange(max(0, middle - _LOOKED_AT // 2), min(self.grids.slices, middle + _LOOKED_AT // 2 + 1))
        return estimated_sigma(self.kspace(some), self._scanner)


def measured(operator: LowResolution, images: Tensor) -> Tensor:
    """k-space (n, 1, h, w) of fine images (n, 1, H, W) whose image is as bright as they are, in every convention."""
    return operator.measure(images) / (operator.scale if operator.published else 1)


def check_size(grids: TwoGrids, role: str) -> None:
    """Raises InputError where low-resolution slices would be too small."""
    if min(grids.low_size) < SMALLEST:
        rows, columns = grids.low_size
        raise InputError(
            f"The {role} is too small: its slices have {columns} x {rows} pixels at the low resolution, at least "
            f"{SMALLEST} x {SMALLEST} are needed."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
