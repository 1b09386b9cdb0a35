"""Measuring network slices with simulated scanners, and the images that sensor data give without a network.

The CT sees attenuation in 1/mm (network value times MU_MAX), so its line integrals have no unit. The MR sees
network values, in k-space of the stated Fourier convention. Noise is drawn per slice from the plan's seed and the
slice's number: it depends neither on how slices are batched nor on the device.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.ct import CTOperator, ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.masks import KINDS, PointMask, SamplingMask, cartesian_mask
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.physics.noise import gaussian_kspace, poisson_sinogram
from MSLFusionLib.physics.total_variation import tv_ct
from MSLFusionLib.physics.units import MU_MAX
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.describe import ct_sampling, mr_sampling
from MSLFusionLib.sensor_names import FBP, TV

_SCANS = ("full", "short")
_CT, _MR = 0, 1
CT_METHODS = ("auto", "fbp", "tv")
"""Filtered backprojection, iteratively with total variation, or the first where the views allow it."""
TV_WEIGHT, TV_STEPS = 3e-3, 100


@dataclass(frozen=True)
class SamplingPlan:
    """What the simulated scanners measure.

    views: CT projections over a "full" or "short" scan. acceleration: 1/acceleration of k-space is measured, in
    columns chosen as `mask` says (see physics.masks), `centre_fraction` of all in the centre (None: its default).
    photons: per detector bin without object, None for no noise. kspace_sigma: standard deviation of the k-space
    noise in network units. seed: of the mask and of all noise. Raises InputError for a plan no scanner can do.
    """

    views: int = 64
    scan: str = "full"
    acceleration: float = 4.0
    mask: str = "random"
    centre_fraction: float | None = None
    photons: float | None = None
    kspace_sigma: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.views, bool) or not isinstance(self.views, int) or self.views < 1:
            raise InputError(f"The number of views must be a whole number, 1 or more, not {self.views}.")
        if self.scan not in _SCANS:
            raise InputError(f"Unknown scan '{self.scan}': use one of {', '.join(_SCANS)}.")
        if not (math.isfinite(self.acceleration) and self.acceleration >= 1):
            raise InputError(f"Acceleration {self.acceleration:g} is impossible: it must be 1 or more.")
        if self.mask not in KINDS:
            raise InputError(f"Unknown k-space mask '{self.mask}': use one of {', '.join(KINDS)}.")
        if self.centre_fraction is not None and not 0.0 < self.centre_fraction <= 1.0:
            raise InputError(f"The centre fraction must lie between 0 and 1, not {self.centre_fraction:g}.")
        if self.photons is not None and not 1.0 <= self.photons <= 1e9:
            raise InputError(f"A photon count of {self.photons:g} per ray is not usable: give 1 to 1e9.")
        if not (math.isfinite(self.kspace_sigma) and self.kspace_sigma >= 0):
            raise InputError(f"A k-space noise of {self.kspace_sigma:g} is not usable: give 0 or more.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"The seed must be a whole number, 0 or more, not {self.seed}.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, read back by `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "SamplingPlan":
        """The plan described by `to_dict`; raises InputError for unknown entries and impossible values."""
        try:
            return cls(**data)
        except TypeError as error:
            raise InputError(f"The sampling plan is damaged: {error}.") from error


@dataclass(frozen=True)
class SensorBatch:
    """Sensor data of some slices: sinogram float32 (n, 1, views, bins), kspace complex64 (n, coils, H, W).

    mr_image: instead of kspace, the MR's sensor image (n, 1, H, W) in [0, 1], of an MR that was measured on a grid of
    its own (see recon.acquired). mr_consistent: then, the network's MR corrected towards its k-space (recon.own_grid).
    """

    sinogram: Tensor | None
    kspace: Tensor | None
    mr_image: Tensor | None = None
    mr_consistent: Tensor | None = None


@dataclass(frozen=True)
class Scanners:
    """The CT and MR operator of one measurement; None where a modality is absent.

    plan: how noise is drawn when measuring; None for operators that came with a file. official_fbp: reconstruct
    with the authors' unweighted filtered backprojection. ct_method: one of CT_METHODS.
    """

    ct: CTOperator | None
    mr: CartesianMR | None
    plan: SamplingPlan | None = None
    official_fbp: bool = False
    ct_method: str = "auto"

    @classmethod
    def of_plan(
        cls,
        plan: SamplingPlan,
        size: tuple[int, int],
        pixel_mm: float,
        device: str = "cpu",
        modalities: Sequence[str] = ("ct", "mr"),
        official_fbp: bool = False,
    ) -> "Scanners":
        """The scanners for slices of `size` pixels; raises InputError for what cannot be measured on them."""
        ct = mr = None
        if "ct" in modalities:
            ct = ct_operator(FanBeamGeometry.covering(size, pixel_mm, plan.views, plan.scan), device=device)
        if "mr" in modalities:
            mr = CartesianMR(cartesian_mask(size[1], plan.acceleration, plan.mask, plan.seed, plan.centre_fraction))
        return cls(ct, mr, plan, official_fbp)

    def measure(self, ct: Tensor | None, mr: Tensor | None, slices: Sequence[int]) -> SensorBatch:
        """Sensor data of network slices (n, 1, H, W) in [0, 1] with the numbers `slices`, noise included."""
        sinogram = kspace = None
        if self.ct is not None and ct is not None:
            photons = None if self.plan is None else self.plan.photons
            if self.plan is None or photons is None:
                sinogram = self.ct.forward(ct * MU_MAX)
            else:
                # One by one: counts are drawn by rejection, where rounding that differs with the number of slices
                # in a batch would change all later counts.
                sinogram = torch.cat([self.ct.forward(one[None] * MU_MAX) for one in ct])
                sinogram = _each(sinogram, slices, _CT, self.plan.seed, lambda s, g: poisson_sinogram(s, photons, g))
        if self.mr is not None and mr is not None:
            kspace = self.mr.forward(mr)
            if self.plan is not None:
                kspace = noisy_kspace(kspace, slices, self.plan.kspace_sigma, self.plan.seed, self.mr.mask)
        return SensorBatch(sinogram, kspace)

    @property
    def ct_image(self) -> str:
        """How the CT's sensor image is made: by sensor_names.FBP or TV."""
        limited = self.ct is not None and self.ct.geometry.scan == "limited"
        return TV if self.ct_method == "tv" or (self.ct_method == "auto" and limited) else FBP

    def images(self, batch: SensorBatch, job: Job = NO_JOB) -> tuple[Tensor | None, Tensor | None]:
        """Sensor images of a batch: (FBP, zero-filled magnitude), each (n, 1, H, W) clipped to [0, 1].

        Where the views leave a gap that filtered backprojection cannot bridge, or `ct_method` is "tv", the CT is
        reconstructed iteratively with a little total variation; that can be cancelled between its steps.
        """
        fbp, zero_filled = None, batch.mr_image
        if self.ct is not None and batch.sinogram is not None:
            if self.ct_image == TV:
                mu = tv_ct(self.ct, batch.sinogram, TV_WEIGHT, TV_STEPS, job=replace(job, report=None))
            else:
                mu = self.ct.fbp(batch.sinogram, official=self.official_fbp)
            fbp = (mu / MU_MAX).clamp(0.0, 1.0)
        if self.mr is not None and batch.kspace is not None:
            zero_filled = self.mr.zero_filled(batch.kspace).clamp(0.0, 1.0)
        return fbp, zero_filled

    def achieved(self) -> dict[str, Any]:
        """What is really measured, for run records and model cards (see recon.describe)."""
        result: dict[str, Any] = {}
        if self.ct is not None:
            result["ct"] = {**ct_sampling(self.ct.geometry), "backend": self.ct.name, "image": self.ct_image}
        if self.mr is not None:
            result["mr"] = mr_sampling(self.mr.mask)
        return result


def noisy_kspace(
    kspace: Tensor, slices: Sequence[int], sigma: float, seed: int, mask: SamplingMask | PointMask
) -> Tensor:
    """k-space (n, coils, H, W) of the slices with these numbers as measured with noise (physics.noise)."""
    if sigma == 0:
        return kspace
    return _each(kspace, slices, _MR, seed, lambda k, g: gaussian_kspace(k, sigma, g, mask))


def _each(data: Tensor, slices: Sequence[int], stream: int, seed: int, noise: Any) -> Tensor:
    """`noise(slice, generator)` of each slice, with a generator of its own."""
    noisy = []
    for part, number in zip(data, slices, strict=True):
        state = int(np.random.SeedSequence([seed, int(number), stream]).generate_state(1, np.uint64)[0])
        noisy.append(noise(part[None], torch.Generator().manual_seed(state)))
    return torch.cat(noisy)
