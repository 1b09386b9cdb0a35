"""Sparse sensor data simulated on the training device, with sampling and noise drawn anew for every batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from MSLFusionLib.physics.ct import CTOperator, ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.masks import cartesian_mask
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.physics.noise import gaussian_kspace, poisson_sinogram
from MSLFusionLib.physics.units import MU_MAX
from MSLFusionTrainingLib.config import TrainConfig


@dataclass(frozen=True)
class Sampling:
    """How one batch was measured."""

    views: int
    acceleration: float
    mask: str
    mask_seed: int
    photons: float
    kspace_noise: float


class SensorSimulator:
    """Sensor images (FBP, zero-filled) of ground-truth slices."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self._operators: dict[int, CTOperator] = {}

    def draw(self, generator: torch.Generator) -> Sampling:
        """A sampling within the ranges of the configuration; `generator` is a CPU generator."""
        config = self.config

        def pick(count: int) -> int:
            if count == 1 or torch.rand((), generator=generator) < config.usual:
                return 0
            return int(torch.randint(1, count, (), generator=generator))

        noisy = bool(torch.rand((), generator=generator) < 0.5)
        level = float(torch.rand((), generator=generator))
        return Sampling(
            views=config.views[pick(len(config.views))],
            acceleration=config.accelerations[pick(len(config.accelerations))],
            mask=config.masks[pick(len(config.masks))],
            mask_seed=int(torch.randint(0, 2**31 - 1, (), generator=generator)),
            photons=config.photons * 10 ** (2 * level) if noisy else 0.0,
            kspace_noise=config.kspace_noise * level if noisy else 0.0,
        )

    def images(self, ct: Tensor, mr: Tensor, sampling: Sampling, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(FBP, zero-filled magnitude), each (N, 1, H, W) clipped to [0, 1], from ground truth in [0, 1].

        generator: on the slices' device, for the noise.
        """
        operator = self._operator(sampling.views, (ct.shape[-2], ct.shape[-1]))
        sinogram = operator.forward(ct * MU_MAX)
        if sampling.photons:
            sinogram = poisson_sinogram(sinogram, sampling.photons, generator)
        fbp = (operator.fbp(sinogram) / MU_MAX).clamp(0, 1)
        seed = 1337 if sampling.mask == "official" else sampling.mask_seed
        mask = cartesian_mask(mr.shape[-1], sampling.acceleration, sampling.mask, seed)
        scanner = CartesianMR(mask)
        kspace = scanner.forward(mr)
        if sampling.kspace_noise:
            kspace = gaussian_kspace(kspace, sampling.kspace_noise, generator, mask)
        return fbp, scanner.zero_filled(kspace).clamp(0, 1)

    def _operator(self, views: int, shape: tuple[int, int]) -> CTOperator:
        if views not in self._operators:
            geometry = FanBeamGeometry.covering(shape, self.config.pixel_mm, views)
            self._operators[views] = ct_operator(geometry, device=str(self.device))
        return self._operators[views]
