"""How noisy sensor data are: told by the plan that they were simulated with, or estimated from them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.recon.kspace import pattern_of


@dataclass(frozen=True)
class SensorNoise:
    """How noisy sensor data are. photons: per detector bin without object, None for none. kspace_sigma: standard
    deviation of either part of a sample of k-space, 0 for none."""

    photons: float | None = None
    kspace_sigma: float = 0.0


def noise_of_plan(plan: Mapping[str, Any] | None) -> SensorNoise | None:
    """What a sampling plan (SamplingPlan.to_dict) says of the noise; None for no plan, or one that does not tell."""
    if plan is None:
        return None
    photons, sigma = plan.get("photons"), plan.get("kspace_sigma", 0.0)
    if photons is not None and not (isinstance(photons, (int, float)) and 1 <= photons <= 1e9):
        return None
    if not (isinstance(sigma, (int, float)) and 0 <= sigma < math.inf):
        return None
    return SensorNoise(None if photons is None else float(photons), float(sigma))


def estimated_noise(sinogram: Tensor | None, kspace: Tensor | None, operator: CartesianMR | None) -> SensorNoise:
    """The noise of measured slices: sinogram (N, 1, views, bins), kspace (N, coils, ky, kx), where there are any."""
    photons = None if sinogram is None else estimated_photons(sinogram)
    sigma = 0.0 if kspace is None or operator is None else estimated_sigma(kspace, operator)
    return SensorNoise(photons, sigma)


def estimated_sigma(kspace: Tensor, operator: CartesianMR) -> float:
    """Standard deviation of the noise in either part of k-space (N, coils, ky, kx), from the samples in its corners.

    The quietest quarter tells, so that some signal there is harmless; of an image without noise a little is left.
    """
    height, width = kspace.shape[-2:]
    rows = (torch.arange(height, device=kspace.device) - height // 2) / (height / 2)
    columns = (torch.arange(width, device=kspace.device) - width // 2) / (width / 2)
    outer = torch.hypot(rows[:, None], columns[None]) > 1.0
    measured = pattern_of(operator, kspace)[0, 0] > 0
    power = kspace[..., outer & measured].abs().square()
    if not power.numel():
        return 0.0
    # Power is distributed exponentially around 2 sigma^2: a quarter lies below log(4/3) of that.
    quarter = power.flatten().kthvalue(max(1, power.numel() // 4)).values
    return math.sqrt(float(quarter) / (2.0 * math.log(4.0 / 3.0)))


def estimated_photons(sinogram: Tensor) -> float | None:
    """Photons per detector bin without object from the roughness of a sinogram (N, 1, views, bins); None where there
    is no object to tell by. Edges of the object add to the roughness: the estimate is rather too low."""
    middle = sinogram[..., 2:-2]
    near = sinogram[..., 1:-3] + sinogram[..., 3:-1]
    fourth = 6.0 * middle - 4.0 * near + sinogram[..., :-4] + sinogram[..., 4:]
    # var(y) = exp(y) / photons, and the fourth difference has 36 + 2 * 16 + 2 times that.
    scaled = (fourth * (-0.5 * middle).exp() / math.sqrt(70.0)).abs()[middle > 0.1]
    spread = 1.4826 * float(scaled.median()) if scaled.numel() else 0.0
    return min(max(spread**-2, 1.0), 1e9) if spread > 0 else None
