"""Where an image contradicts what was measured: the residual in the sensor's domain, brought back to the image.

    CT: |FBP(A x - y)| / mu_max,     MR: |F^-1 M (F P x - k)|

with the fan-beam projector A, the sinogram y, the mask M, k-space k and the phase P of the measured image: what the
sensor's own reconstruction, the one that makes the sensor images, makes of the residual. Both are in units of the
image, so that 0.1 stands for a tenth of the range from black to white. Scans that filtered backprojection cannot
reconstruct have |A^T (A x - y) / A^T A 1| / mu_max instead. Several coils are combined as in SENSE.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.coils import espirit_maps
from MSLFusionLib.physics.ct import CTOperator
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.physics.units import MU_MAX
from MSLFusionLib.recon.kspace import coarse_image, pattern_of, phase_of, without_phase
from MSLFusionLib.recon.noise_level import SensorNoise
from MSLFusionLib.recon.simulate import Scanners, SensorBatch

_TINY = 1e-20


@dataclass(frozen=True)
class Residual:
    """One image beside its measurement.

    map: (n, 1, H, W) in [0, 1]. squared, of_data, of_noise: sums of squares over all samples of the residual, of the
    measurement, and what noise alone would make of the residual (0 where none is known of).
    """

    map: Tensor
    squared: float
    of_data: float
    of_noise: float


def residual_of_ct(scanners: Scanners, sinogram: Tensor, image: Tensor, noise: SensorNoise) -> Residual:
    """Of a CT (n, 1, H, W) in [0, 1] and its sinogram (n, 1, views, bins)."""
    operator = scanners.ct
    assert operator is not None
    residual = operator.forward(image * MU_MAX) - sinogram
    back = _backprojected(operator, residual) if operator.geometry.scan == "limited" else operator.fbp(residual)
    expected = 0.0 if noise.photons is None else float((sinogram.double().exp() / noise.photons).sum())
    return Residual((back / MU_MAX).abs().clamp(0.0, 1.0), _energy(residual), _energy(sinogram), expected)


def residual_of_mr(operator: CartesianMR, kspace: Tensor, image: Tensor, noise: SensorNoise) -> Residual:
    """Of an MR magnitude (n, 1, H, W) in [0, 1] and its k-space (n, coils, ky, kx)."""
    if kspace.shape[1] > 1 and operator.coil_maps is None:
        parts = [_of_coils(operator, k[None], x[None], noise) for k, x in zip(kspace, image, strict=True)]
        sums = (sum(getattr(part, name) for part in parts) for name in ("squared", "of_data", "of_noise"))
        return Residual(torch.cat([part.map for part in parts]), *sums)
    measured = pattern_of(operator, kspace)
    phase = phase_of(coarse_image(operator, kspace, measured))
    if operator.coil_maps is None:
        real = without_phase(kspace, measured, noise.kspace_sigma)
        phase = torch.where(real, torch.ones_like(phase), phase)
    data = kspace * measured
    residual = operator.forward(phase * image) - data
    samples = measured.expand(kspace.shape).sum()
    expected = 2.0 * noise.kspace_sigma**2 * float(samples)
    return Residual(operator.zero_filled(residual).clamp(0.0, 1.0), _energy(residual), _energy(data), expected)


def residuals(
    scanners: Scanners, data: SensorBatch, noise: SensorNoise, ct: Tensor | None, mr: Tensor | None
) -> dict[str, Residual]:
    """By modality, of those that were measured; ct, mr: None for one that is not to be looked at."""
    found = {}
    if ct is not None and scanners.ct is not None and data.sinogram is not None:
        found["ct"] = residual_of_ct(scanners, data.sinogram, ct, noise)
    if mr is not None and scanners.mr is not None and data.kspace is not None:
        found["mr"] = residual_of_mr(scanners.mr, data.kspace, mr, noise)
    return found


def _backprojected(operator: CTOperator, residual: Tensor) -> Tensor:
    height, width = operator.geometry.image_shape
    lengths = operator.adjoint(operator.forward(residual.new_ones((1, 1, height, width))))
    return operator.adjoint(residual) / lengths.clamp_min(_TINY)


def _of_coils(operator: CartesianMR, kspace: Tensor, image: Tensor, noise: SensorNoise) -> Residual:
    """One slice of several coils, with maps from the centre of its k-space; 0 where that is too small for them."""
    try:
        maps = espirit_maps(kspace[0], np.broadcast_to(operator.mask.pattern, kspace.shape[-2:]))
    except InputError:
        return Residual(torch.zeros_like(image), 0.0, 0.0, 0.0)
    return residual_of_mr(CartesianMR(operator.mask, maps, operator.convention), kspace, image, noise)


def _energy(data: Tensor) -> float:
    value = float(data.abs().double().square().sum())
    return value if math.isfinite(value) else 0.0
