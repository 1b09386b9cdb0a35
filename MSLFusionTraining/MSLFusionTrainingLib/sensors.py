"""Sparse sensor data simulated on the training device, each slice with its own sampling and noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from MSLFusionLib.physics.ct import CTOperator, ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.masks import OFFICIAL_SEED, SamplingMask, cartesian_mask
from MSLFusionLib.physics.mr import CartesianMR, fourier, inverse_fourier
from MSLFusionLib.physics.noise import gaussian_kspace, poisson_sinogram
from MSLFusionLib.physics.units import MU_MAX
from MSLFusionLib.recon.noise_level import SensorNoise
from MSLFusionLib.recon.simulate import Scanners, SensorBatch
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.draws import Sampling


@dataclass(frozen=True)
class Scan:
    """One slice as it was measured: scanners, data and the level of the noise, for recon.unrolled."""

    scanners: Scanners
    data: SensorBatch
    noise: SensorNoise


class SensorSimulator:
    """Sensor images (FBP, zero-filled, noisy images) of ground-truth slices."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        self._operators: dict[tuple[int, tuple[int, int]], CTOperator] = {}

    def images(self, truths: Tensor, samplings: Sequence[Sampling], generators: Sequence[torch.Generator]) -> Tensor:
        """(N, n, H, W) sensor images clipped to [0, 1], from ground truth (N, n, H, W) in [0, 1].

        samplings, generators: one for each slice; generators on the slices' device, for the noise.
        """
        truths = truths.float()
        out = []
        for m, end in enumerate(self.config.measured):
            x = truths[:, m : m + 1]
            if m == 0:
                x = displaced(x, samplings)
            if end == "fan-beam":
                x = self._fbp(self._sinograms(x, samplings, generators), samplings, x.shape)
            elif end == "fourier":
                kspace, _ = _kspace(x, m, samplings, generators)
                x = inverse_fourier(kspace).abs()
            else:
                x = _noisy(x, samplings, generators)
            out.append(x.clamp(0, 1))
        return torch.cat(out, 1)

    def scans(
        self, truths: Tensor, samplings: Sequence[Sampling], generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, list[Scan]]:
        """Sensor images (N, 2, H, W) of CT and MR slices as `images` gives them, and what they were made from."""
        truths = truths.float()
        ct = displaced(truths[:, :1], samplings)
        sinograms = self._sinograms(ct, samplings, generators)
        kspace, masks = _kspace(truths[:, 1:], 1, samplings, generators)
        images = torch.cat([self._fbp(sinograms, samplings, ct.shape), inverse_fourier(kspace).abs()], 1).clamp(0, 1)
        scans = []
        for i, sampling in enumerate(samplings):
            scanners = Scanners(self._operator(sampling.views, (ct.shape[-2], ct.shape[-1])), CartesianMR(masks[i]))
            noise = SensorNoise(sampling.photons or None, sampling.kspace_noise)
            scans.append(Scan(scanners, SensorBatch(sinograms[i], kspace[i : i + 1]), noise))
        return images, scans

    def _sinograms(
        self, ct: Tensor, samplings: Sequence[Sampling], generators: Sequence[torch.Generator]
    ) -> list[Tensor]:
        """The sinogram (1, 1, views, bins) of each slice."""
        found: dict[int, Tensor] = {}
        for views, places in _alike(samplings).items():
            operator = self._operator(views, (ct.shape[-2], ct.shape[-1]))
            sinograms = operator.forward(torch.cat([ct[i : i + 1] for i in places]) * MU_MAX)
            for i, sinogram in zip(places, sinograms.split(1), strict=True):
                photons = samplings[i].photons
                found[i] = poisson_sinogram(sinogram, photons, generators[i]) if photons else sinogram
        return [found[i] for i in range(len(samplings))]

    def _fbp(self, sinograms: Sequence[Tensor], samplings: Sequence[Sampling], shape: Sequence[int]) -> Tensor:
        parts: dict[int, Tensor] = {}
        for views, places in _alike(samplings).items():
            operator = self._operator(views, (shape[-2], shape[-1]))
            images = operator.fbp(torch.cat([sinograms[i] for i in places]))
            parts |= dict(zip(places, images.split(1), strict=True))
        return torch.cat([parts[i] for i in range(len(samplings))]) / MU_MAX

    def _operator(self, views: int, shape: tuple[int, int]) -> CTOperator:
        key = (views, shape)
        if key not in self._operators:
            geometry = FanBeamGeometry.covering(shape, self.config.pixel_mm, views)
            self._operators[key] = ct_operator(geometry, device=str(self.device))
        return self._operators[key]


def displaced(image: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """(N, 1, H, W), each moved and turned about its centre as its sampling says; zero comes in from outside."""
    if not any(any(sampling.shift) or sampling.turn for sampling in samplings):
        return image
    height, width = image.shape[-2:]
    turn = torch.deg2rad(torch.tensor([sampling.turn for sampling in samplings]))
    right = torch.tensor([sampling.shift[0] for sampling in samplings]) * 2 / width
    down = torch.tensor([sampling.shift[1] for sampling in samplings]) * 2 / height
    cos, sin = turn.cos(), turn.sin()
    # A pixel is read where it lay before the motion, in coordinates that run from -1 to 1 along either side.
    x = torch.stack([cos, sin * height / width, -cos * right - sin * height / width * down], 1)
    y = torch.stack([-sin * width / height, cos, sin * width / height * right - cos * down], 1)
    theta = torch.stack([x, y], 1).to(image.device, non_blocking=True)
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, align_corners=False)


def _alike(samplings: Sequence[Sampling]) -> dict[int, list[int]]:
    """The places of the slices with each number of views."""
    places: dict[int, list[int]] = {}
    for i, sampling in enumerate(samplings):
        places.setdefault(sampling.views, []).append(i)
    return dict(sorted(places.items()))


def _kspace(
    mr: Tensor, modality: int, samplings: Sequence[Sampling], generators: Sequence[torch.Generator]
) -> tuple[Tensor, list[SamplingMask]]:
    """k-space (N, 1, H, W), zero where it is not measured, and each slice's mask."""
    masks = []
    for sampling in samplings:
        kind = sampling.masks[modality]
        seed = OFFICIAL_SEED if kind == "official" else sampling.mask_seeds[modality]
        masks.append(cartesian_mask(mr.shape[-1], sampling.accelerations[modality], kind, seed))
    columns = torch.stack([torch.tensor(mask.columns) for mask in masks]).to(mr.device, non_blocking=True)
    kspace = fourier(mr)
    if any(sampling.kspace_noise for sampling in samplings):
        parts = []
        for one, sampling, generator in zip(kspace.split(1), samplings, generators, strict=True):
            sigma = sampling.kspace_noise
            parts.append(gaussian_kspace(one, sigma, generator) if sigma else one)
        kspace = torch.cat(parts)
    return kspace * columns[:, None, None, :], masks


def _noisy(image: Tensor, samplings: Sequence[Sampling], generators: Sequence[torch.Generator]) -> Tensor:
    if not any(sampling.image_noise for sampling in samplings):
        return image
    parts = []
    for one, sampling, generator in zip(image.split(1), samplings, generators, strict=True):
        grain = torch.randn(one.shape, generator=generator, device=one.device)
        parts.append(one + sampling.image_noise * grain)
    return torch.cat(parts)
