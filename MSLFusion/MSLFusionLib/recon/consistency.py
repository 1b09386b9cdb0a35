"""Data consistency: a network's images corrected towards what was measured.

Functions of torch with gradients, slice by slice within a batch, for use after a network and between the stages of
one. MR: the measured k-space takes the place of the network's, with weights of Wiener where there is noise. CT: steps
of weighted least squares from the network's image. Both keep the image from being negative and let it have a little
less total variation at each step, which in sparse data is worth as much as the correction itself: how much less is
read off the artefacts that this sampling makes of this image, and off the noise. Hybrids take the two changes in
proportion to lambda.

Nothing here knows the truth: how far the network is to be trusted, and how far the measurement, is read off the
difference of the two where there are data, and off the level of the noise.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.coils import KERNEL, calibration_region, espirit_maps
from MSLFusionLib.physics.ct import CTOperator
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.mr import CartesianMR, fourier, inverse_fourier
from MSLFusionLib.physics.total_variation import tv_step
from MSLFusionLib.physics.units import MU_MAX
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.kspace import Rings, coarse_image, mirrored, pattern_of, phase_of, trust, without_phase
from MSLFusionLib.recon.noise_level import SensorNoise
from MSLFusionLib.recon.simulate import Scanners, SensorBatch

CT_STEPS = 14
MR_STEPS = 15
_WRONG = 0.02
"""The weight of the total variation as a share of how wrong the network may be, see `_smoothing`."""
_CT_NOISE, _MR_NOISE = 0.75, 0.1
"""The same as a share of the noise that the data bring into the image, of CT in one step."""
_LARGEST_WEIGHT = 0.02
_RAMP = 0.1
"""Where the metric of CT residuals turns from the ramp |f| to 1, as a share of the highest frequency of the detector:
the ramp speeds low frequencies up, the rest keeps high ones from taking part in noise."""
_VARIANCE_FLOOR = 3.0
"""Added to the variance of each ray, in units of the mean: without it rays through air alone would set the pace."""
_TRANSPARENT = 5e-4
"""A line integral, without unit, that counts as empty in a sinogram without noise: a fraction of a voxel of fat."""
_POWER_ROUNDS = 10
_SENSE_ROUNDS, _SENSE_STEPS = 4, 8
_LEAST_CENTRE = 2 * KERNEL
_TINY = 1e-20


@dataclass(frozen=True)
class Changes:
    """What data consistency adds to the images of lambda 0 and 1, each (n, 1, H, W); None where not measured."""

    ct: Tensor | None = None
    mr: Tensor | None = None


def blended(hybrid: Tensor, lam: "float | Tensor", changes: Changes) -> Tensor:
    """X + (1 - lambda) (X_CT' - X_CT) + lambda (X_MR' - X_MR), (n, 1, H, W) in [0, 1].

    lam: a number, one for each slice (n,), or a map (n, 1, H, W).
    """
    if isinstance(lam, Tensor) and lam.ndim == 1:
        lam = lam[:, None, None, None]
    if changes.ct is not None:
        hybrid = hybrid + (1.0 - lam) * changes.ct.to(hybrid.dtype)
    if changes.mr is not None:
        hybrid = hybrid + lam * changes.mr.to(hybrid.dtype)
    return hybrid.clamp(0.0, 1.0)


def changes(
    scanners: Scanners,
    data: SensorBatch,
    noise: SensorNoise,
    ct: Tensor | None,
    mr: Tensor | None,
    refined: bool = False,
    job: Job = NO_JOB,
) -> Changes:
    """What the measurement changes in a network's CT (lambda 0) and MR (lambda 1), each (n, 1, H, W) in [0, 1].

    ct, mr: None for a modality that is not to be corrected. Several coils without sensitivities get them from the
    centre of their k-space; where that is too small for it, or empty, the MR is left as it is. An MR that was measured
    on a grid of its own comes with the image it is to become (SensorBatch.mr_consistent). refined: see consistent_ct.
    """
    of_ct = of_mr = None
    if ct is not None and scanners.ct is not None and data.sinogram is not None:
        of_ct = consistent_ct(scanners.ct, data.sinogram, ct, noise.photons, refined=refined, job=job) - ct
    if mr is not None and scanners.mr is not None and data.kspace is not None:
        of_mr = corrected_mr(scanners.mr, data.kspace, mr, noise.kspace_sigma, job) - mr
    elif mr is not None and data.mr_consistent is not None:
        of_mr = data.mr_consistent - mr
    return Changes(of_ct, of_mr)


def corrected_mr(operator: CartesianMR, kspace: Tensor, mr: Tensor, sigma: float = 0.0, job: Job = NO_JOB) -> Tensor:
    """Magnitudes (n, 1, H, W) in [0, 1] of a network's MR corrected towards k-space (n, coils, H, W), see `changes`."""
    return consistent_images(operator, kspace, mr, sigma, job).abs().clamp(0.0, 1.0)


def consistent_images(
    operator: CartesianMR, kspace: Tensor, mr: Tensor, sigma: float = 0.0, job: Job = NO_JOB
) -> Tensor:
    """The same as complex images (n, 1, H, W), as bright as they are; real where coils have no sensitivities."""
    if kspace.shape[1] == 1 or operator.coil_maps is not None:
        return consistent_mr(operator, kspace, mr, sigma, job=job)
    return _coil_by_coil(operator, kspace, mr, sigma, job)


def _coil_by_coil(operator: CartesianMR, kspace: Tensor, mr: Tensor, sigma: float, job: Job) -> Tensor:
    """Complex images (n, 1, H, W) corrected with coil maps estimated for each slice."""
    measured = np.broadcast_to(operator.mask.pattern, kspace.shape[-2:])
    found = []
    for coils, image in zip(kspace, mr, strict=True):
        job.check()
        try:
            # Maps from a smaller centre are too far from the truth: they would spoil more than the data mend.
            trusted = min(part.stop - part.start for part in calibration_region(measured)) >= _LEAST_CENTRE
            maps = espirit_maps(coils, measured) if trusted else None
        except InputError:
            maps = None
        if maps is None:
            found.append(image[None].to(coils.dtype))
            continue
        with_maps = CartesianMR(operator.mask, maps, operator.convention)
        found.append(consistent_mr(with_maps, coils[None], image[None], sigma, job=job))
    return torch.cat(found)


def consistent_ct(
    operator: CTOperator,
    sinogram: Tensor,
    image: Tensor,
    photons: float | None = None,
    unit: float = MU_MAX,
    steps: int = CT_STEPS,
    refined: bool = False,
    job: Job = NO_JOB,
) -> Tensor:
    """The network's CT (N, 1, H, W) in [0, 1], `steps` steps nearer to its sinogram (N, 1, views, bins).

    Accelerated projected gradients (Beck & Teboulle, SIAM J Imaging Sci 2:183, 2009) on |A x - y|^2 from the
    network's image, within [0, 1]. Residuals are weighted by a filter, near to the ramp of filtered backprojection,
    which makes the steps large; without noise that does not change what they lead to. With noise each ray has the
    weight 1 / (v + 3 mean v), v = exp(y) / photons its variance, and the few steps end before noise is fitted. Each
    step is followed by one towards less total variation (see the module).
    refined: the image was corrected once and refined. With noise it is then followed as far as it explains the data
    better than noise allows them to be explained, slice by slice. unit: attenuation in 1/mm of one unit of the image.
    photons: None for no noise. A pixel on a ray that met nothing
    stays empty where there is no noise. Raises Cancelled between the steps.
    """
    line = sinogram / unit
    weights = torch.ones_like(line)
    support = None
    if photons is None:
        support = _support(operator, sinogram)
    else:
        variance = sinogram.detach().exp() / photons
        floor = _VARIANCE_FLOOR * variance.mean(dim=(2, 3), keepdim=True)
        # At most 1: the step that suits rays of weight 1 suits all.
        weights = floor / (variance + floor)
    roots = weights.sqrt()
    step = 1.0 / _largest_eigenvalue(operator, job)
    found = ahead = image.clamp(0.0, 1.0)
    seen = operator.forward(found)
    artefacts = _power(_backprojected(operator, seen).clamp(0.0, 1.0) - found)
    unforeseen = _power(_backprojected(operator, line - seen))
    brought = torch.zeros_like(unforeseen)
    if photons is not None:
        # The same grain for every slice: none may depend on the others of its batch.
        grain = torch.randn(line.shape[1:], generator=torch.Generator().manual_seed(0)).to(line)
        grain = grain * variance.sqrt() / unit
        unforeseen = (unforeseen - _power(_backprojected(operator, grain))).clamp_min(0.0)
        brought = _power(step * operator.adjoint(roots * _filtered(roots * grain)))
    smoothing, share = _smoothing(artefacts, unforeseen, brought, _CT_NOISE)
    momentum, dual = 1.0, None
    for _ in range(steps):
        job.check()
        residual = roots * _filtered(roots * (operator.forward(ahead) - line))
        moved, dual = tv_step(ahead - step * operator.adjoint(residual), smoothing, dual, largest=1.0)
        if support is not None:
            moved = moved * support
        following = (1.0 + math.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        ahead = moved + (momentum - 1.0) / following * (moved - found)
        found, momentum = moved, following
    return image + share * (found - image) if refined and photons is not None else found


def _backprojected(operator: CTOperator, sinogram: Tensor) -> Tensor:
    """An image of residuals: by filtered backprojection, or by one step of `consistent_ct` where the views leave a gap
    that it cannot bridge."""
    if operator.geometry.scan != "limited":
        return operator.fbp(sinogram)
    return operator.adjoint(_filtered(sinogram)) / _largest_eigenvalue(operator, NO_JOB)


def _power(images: Tensor) -> Tensor:
    """The mean square of each slice, (N, 1, 1, 1)."""
    return images.square().mean(dim=(1, 2, 3), keepdim=True)


def _smoothing(artefacts: Tensor, unforeseen: Tensor, noise: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The weight of the total variation in each slice, and how much of it is for the network's errors, not for noise.

    From mean squares (N, 1, 1, 1) in the image.

    artefacts: what this sampling makes of the network's image; unforeseen: by how much it is off from what was
    measured. Their geometric mean tells how wrong it may be where nothing was measured: no weight for a network that
    foresaw everything, or for an image that this sampling holds whole. noise: what the data bring into the image.
    """
    wrong = _WRONG**2 * (artefacts * unforeseen + _TINY).sqrt()
    both = wrong + share**2 * noise
    return (both + _TINY).sqrt().clamp_max(_LARGEST_WEIGHT), wrong / both


_eigenvalues: dict[tuple[FanBeamGeometry, str, str], float] = {}
_REMEMBERED = 32


def _largest_eigenvalue(operator: CTOperator, job: Job) -> float:
    """That of A^T R A with the filter R of `consistent_ct`, a little enlarged; remembered for the scan."""
    height, width = operator.geometry.image_shape
    device = str(getattr(operator, "device", "cpu"))
    key = operator.geometry, operator.name, device
    if key not in _eigenvalues:
        with torch.no_grad():
            image = torch.ones((1, 1, height, width), device=device)
            value = 0.0
            for _ in range(_POWER_ROUNDS):
                job.check()
                image = operator.adjoint(_filtered(operator.forward(image)))
                value = float(image.norm())
                image = image / max(value, _TINY)
        while len(_eigenvalues) >= _REMEMBERED:
            _eigenvalues.pop(next(iter(_eigenvalues)))
        _eigenvalues[key] = 1.1 * value
    return _eigenvalues[key]


def _filtered(residual: Tensor) -> Tensor:
    """Residuals (..., bins) times f / (_RAMP + f) along the detector, f from 0 to 1: symmetric and positive."""
    bins = residual.shape[-1]
    length = 2 * bins
    frequency = (2.0 * torch.fft.rfftfreq(length, device=residual.device, dtype=residual.dtype)).clamp_min(1.0 / length)
    response = (1.0 + _RAMP) * frequency / (_RAMP + frequency)
    return torch.fft.irfft(torch.fft.rfft(residual, length) * response, length)[..., :bins]


def _support(operator: CTOperator, sinogram: Tensor) -> Tensor:
    """1 where no ray that met nothing comes within half a pixel, else 0."""
    with torch.no_grad():
        empty = (sinogram.abs() < _TRANSPARENT).to(torch.float32)
        return (operator.adjoint(empty) < 0.5 * operator.geometry.pixel_mm).to(sinogram.dtype)


def consistent_mr(
    operator: CartesianMR,
    kspace: Tensor,
    image: Tensor,
    sigma: float = 0.0,
    steps: int = MR_STEPS,
    job: Job = NO_JOB,
) -> Tensor:
    """The network's MR (N, 1, H, W), a magnitude, corrected towards k-space (N, coils, ky, kx): complex (N, 1, H, W).

    Show its magnitude. Without noise (sigma 0) and with one coil its measured k-space is the measurement. With noise
    a measured sample becomes (y / s^2 + F x / t^2) / (1 / s^2 + 1 / t^2), where t^2 is what the mean squared
    difference of y and F x in a ring of k-space has beyond the noise. In rings where the network did not foresee what
    was measured its k-space is also shrunk where nothing was, by the factor that fits the measured samples best.

    The image without its phase is real, not negative, and has little total variation (see the module): steps go to and
    fro between that and the measurement.
    The phase is none where k-space shows none (what is measured on both sides of the centre agrees: then a sample
    also stands for the one opposite), else that of the fully measured centre of k-space. Several coils need the
    operator's maps: then the measurement is met by conjugate gradients (SENSE, Pruessmann et al. 2001).
    Raises InputError for several coils without maps, Cancelled between the steps.
    """
    if operator.coil_maps is not None:
        return _sense(operator, kspace, image, sigma, job)
    if kspace.shape[1] != 1:
        raise InputError(f"{kspace.shape[1]} coils were measured: data consistency needs their coil maps.")
    measured = pattern_of(operator, kspace)
    real = without_phase(kspace, measured, sigma)
    phase = torch.where(real, torch.ones_like(kspace), phase_of(coarse_image(operator, kspace, measured)))
    count = torch.where(real, measured + mirrored(measured), measured)
    known = (count > 0).to(measured.dtype)
    kspace = kspace * measured
    samples = torch.where(real, kspace + mirrored(kspace), kspace) / count.clamp_min(1.0)
    noise = 2.0 * sigma**2 * known / count.clamp_min(1.0)
    rings = Rings(kspace)

    network = fourier(phase * image, operator.convention)
    network = network * rings.spread(trust(rings, samples, network * known, known, noise))
    excess = (rings.mean((samples - network * known).abs().square(), known) - rings.mean(noise, known)).clamp_min(0.0)
    spread = rings.spread(excess)
    weight = known if sigma == 0.0 else known * spread / (spread + noise).clamp_min(_TINY)
    anchor = network + weight * (samples - network)

    def measured_kspace(real_image: Tensor) -> Tensor:
        """k-space of phase * image, where measured half-way between the anchor and itself weighted with the data."""
        here = fourier(phase * real_image, operator.convention)
        return torch.where(known > 0, 0.5 * (anchor + here + weight * (samples - here)), here)

    def without(data: Tensor) -> Tensor:
        return (phase.conj() * inverse_fourier(data, operator.convention)).real

    found = ahead = without(anchor).clamp_min(0.0)
    artefacts = _power(without(fourier(phase * found, operator.convention) * known).clamp_min(0.0) - found)
    # By Parseval; a point of k-space is a wave of this height in the image.
    wave = inverse_fourier(torch.ones_like(kspace[:1]), operator.convention).abs().amax() / kspace[0].numel()

    def in_image(power: Tensor) -> Tensor:
        return power.expand_as(kspace.real).sum(dim=(1, 2, 3), keepdim=True) * wave**2

    unforeseen = in_image((samples - network * known).abs().square() - noise).clamp_min(0.0)
    smoothing, _ = _smoothing(artefacts, unforeseen, in_image(weight.square() * noise), _MR_NOISE)
    momentum, dual = 1.0, None
    for _ in range(steps):
        job.check()
        moved, dual = tv_step(without(measured_kspace(ahead)), smoothing, dual)
        following = (1.0 + math.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        ahead = moved + (momentum - 1.0) / following * (moved - found)
        found, momentum = moved, following
    if sigma > 0.0:
        # The last step towards the data would bring noise back to where the image is empty.
        return phase * found
    return inverse_fourier(torch.where(measured > 0, kspace, measured_kspace(found)), operator.convention)


def _sense(operator: CartesianMR, kspace: Tensor, image: Tensor, sigma: float, job: Job) -> Tensor:
    """The same with coil maps: (A^H A + mu) (x - x0) = A^H (y - A x0), mu the ratio of the variances."""
    measured = pattern_of(operator, kspace)
    combined = operator.adjoint(kspace)
    phase = phase_of(coarse_image(operator, kspace, measured))
    rings = Rings(combined)
    scale = operator.adjoint(operator.forward(torch.ones_like(combined))).real.sum(dim=(1, 2, 3), keepdim=True)

    def energy(data: Tensor) -> Tensor:
        return data.abs().square().sum(dim=(1, 2, 3), keepdim=True)

    def spectrum(picture: Tensor) -> Tensor:
        return fourier(picture, "centred-ortho")

    known = torch.ones_like(combined.real)
    noise = known * (2.0 * sigma**2 * scale / combined[0].numel())
    seen = spectrum(operator.adjoint(operator.forward(phase * image)))
    kept = rings.spread(trust(rings, spectrum(combined), seen, known, noise))
    start = inverse_fourier(spectrum(phase * image) * kept, "centred-ortho")
    noise_energy = 2.0 * sigma**2 * measured.sum() * kspace.shape[1]
    variance = (energy(kspace * measured - operator.forward(start)) - noise_energy).clamp_min(0.0) / scale.clamp_min(
        _TINY
    )
    ratio = (2.0 * sigma**2 / variance.clamp_min(_TINY)).clamp_max(1e6 * float(scale.max() / combined[0].numel()))
    found = start
    for number in range(_SENSE_ROUNDS):
        if number:
            found = phase * (phase.conj() * found).real.clamp_min(0.0)
        # The network's image remains the anchor where there is noise; each round starts from what it has.
        remaining = operator.adjoint(kspace * measured - operator.forward(found)) + ratio * (start - found)
        direction, power = remaining, energy(remaining)
        for _ in range(_SENSE_STEPS):
            job.check()
            applied = operator.adjoint(operator.forward(direction)) + ratio * direction
            length = power / (direction.conj() * applied).real.sum(dim=(1, 2, 3), keepdim=True).clamp_min(_TINY)
            found = found + length * direction
            remaining = remaining - length * applied
            previous, power = power, energy(remaining)
            direction = remaining + power / previous.clamp_min(_TINY) * direction
    return found
