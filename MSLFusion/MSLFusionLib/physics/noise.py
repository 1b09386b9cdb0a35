"""Noise of the scanners: photon counting for CT, thermal noise for MR. Drawn from a torch.Generator.

The generator may live on another device than the data: the noise is drawn where the generator lives, so a CPU
generator gives the same noise for data on any device.
"""

import math

import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.masks import PointMask, SamplingMask

STARVED_COUNT = 0.5
"""A detector bin that counted nothing is read as half a photon: log(0) is no line integral."""


def poisson_sinogram(sinogram: Tensor, photons: float, generator: torch.Generator, mu_per_unit: float = 1.0) -> Tensor:
    """Line integrals as measured with `photons` (I0) quanta per ray without an object.

    N ~ Poisson(I0 exp(-p)), p' = -log(max(N, STARVED_COUNT) / I0). Shape and unit of `sinogram` are kept.
    mu_per_unit: attenuation in 1/mm of one image unit (units.MU_MAX for the network's scale, 1 for images of mu),
    so that p = sinogram * mu_per_unit is free of units. p' never exceeds log(2 I0) / mu_per_unit (photon
    starvation), and may be slightly negative outside the object, as on a scanner.
    Raises InputError unless I0 is in [1, 1e9] and mu_per_unit positive.
    """
    if not 1.0 <= photons <= 1e9:
        raise InputError(f"A photon count of {photons:g} per ray is not usable: give 1 to 1e9.")
    if not mu_per_unit > 0.0:
        raise InputError(f"An attenuation of {mu_per_unit:g} per image unit is not positive.")
    expected = photons * torch.exp(sinogram.detach() * -mu_per_unit)
    counts = torch.poisson(expected.to(generator.device), generator=generator).to(sinogram.device)
    return (math.log(photons) - counts.clamp_min(STARVED_COUNT).log()) / mu_per_unit


def gaussian_kspace(
    kspace: Tensor, sigma: float, generator: torch.Generator, mask: SamplingMask | PointMask | None = None
) -> Tensor:
    """k-space plus complex Gaussian noise of standard deviation `sigma` in both parts, in k-space units.

    In the centred-ortho convention that is also the deviation of either part of a fully sampled image. With a
    mask only measured columns are touched. Raises InputError when sigma is negative or the mask does not fit.
    """
    if not (math.isfinite(sigma) and sigma >= 0.0):
        raise InputError(f"A k-space noise of {sigma:g} is not usable: give 0 or more.")
    if mask is not None and mask.width != kspace.shape[-1]:
        raise InputError(f"A mask of {mask.width} columns does not fit k-space of {kspace.shape[-1]} columns.")
    parts = torch.randn((*kspace.shape, 2), dtype=kspace.real.dtype, device=generator.device, generator=generator)
    noise = torch.view_as_complex(parts).to(kspace.device) * sigma
    if mask is not None:
        noise = noise * torch.tensor(mask.pattern, device=kspace.device)
    return kspace + noise
