"""What a training slice looks like to the scanner: drawn sampling, low-resolution images of both contrasts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from MSLFusionLib.physics.lowres import LowResolution
from MSLFusionLib.physics.masks import OFFICIAL_SEED, cartesian_mask
from MSLFusionLib.physics.noise import gaussian_kspace
from MSLFusionTrainingLib.draws import UNIFORMS, mix
from MSLFusionTrainingLib.restoration.config import RestorationConfig
from MSLFusionTrainingLib.restoration.framing import STRIPPED_MM


@dataclass(frozen=True)
class Sampling:
    """How the target of one slice is measured; noise: standard deviation, 0 for none."""

    acceleration: float
    mask: str
    mask_seed: int
    noise: float = 0.0


@dataclass(frozen=True)
class SliceDraw:
    """One slice of a step: its index in the training set, its sampling, numbers for its augmentation, a seed for its
    noise, where its crop begins, in [0, 1), and how many millimetres around the brain it loses."""

    index: int
    sampling: Sampling
    uniforms: Tensor
    seed: int
    start: float
    strip_mm: float


@dataclass(frozen=True)
class Measured:
    """Slices as the network sees them and as they should come out; magnitudes.

    target (zero-filled), auxiliary, restored: (N, 1, h, w). fine: the target's truth (N, 1, H, W).
    """

    target: Tensor
    auxiliary: Tensor
    restored: Tensor
    fine: Tensor

    def rows(self, starts: Sequence[int], count: int, scale: int) -> "Measured":
        """Some low-resolution rows of each slice, and what belongs to them: `count` from each of `starts`."""

        def cut(images: Tensor, times: int) -> Tensor:
            return torch.stack([one[:, times * a : times * (a + count)] for one, a in zip(images, starts, strict=True)])

        target, auxiliary, restored = (cut(images, 1) for images in (self.target, self.auxiliary, self.restored))
        return Measured(target, auxiliary, restored, cut(self.fine, scale))


def draw_slice(config: RestorationConfig, iteration: int, place: int, available: int) -> SliceDraw:
    """The slice at `place` in the batch, out of `available` slices."""
    generator = torch.Generator().manual_seed(mix(config.seed, iteration, place + 1))

    def share() -> float:
        return float(torch.rand((), generator=generator, dtype=torch.float64))

    def whole(count: int) -> int:
        return int(torch.randint(0, count, (), generator=generator))

    def pick(count: int) -> int:
        return 0 if count == 1 or share() < config.usual else 1 + whole(count - 1)

    index = whole(available)
    sampling = Sampling(
        acceleration=config.accelerations[pick(len(config.accelerations))],
        mask=config.masks[pick(len(config.masks))],
        mask_seed=whole(2**31 - 1),
        noise=config.kspace_noise * share() if share() < 0.5 else 0.0,
    )
    uniforms, seed, start = torch.rand(UNIFORMS, generator=generator), whole(2**62), share()
    low, high = STRIPPED_MM
    strip = low + (high - low) * share() if share() < config.strip else 0.0
    return SliceDraw(index, sampling, uniforms, seed, start, strip)


def usual_sampling(config: RestorationConfig, seed: int) -> Sampling:
    """The first of each choice, without noise: what quality figures refer to."""
    return Sampling(config.accelerations[0], config.masks[0], seed)


def measure(
    slices: Tensor, config: RestorationConfig, samplings: Sequence[Sampling], generators: Sequence[torch.Generator]
) -> Measured:
    """Both contrasts of fine slices (N, 2, H, W), auxiliary first, as a scanner of lower resolution shows them.

    Of the target only the sampled columns are measured. generators: for the noise of each slice.
    """
    low = LowResolution(config.scale, getattr(config.architecture(), "published", False))
    auxiliary, fine = slices[:, :1], slices[:, 1:]
    full = low.measure(fine)
    kspace = [low.measure(auxiliary), full]
    if any(sampling.noise for sampling in samplings):
        kspace = [torch.cat(list(map(_noisy, one.split(1), samplings, generators))) for one in kspace]
    columns = torch.stack([torch.tensor(_columns(full.shape[-1], config, sampling)) for sampling in samplings])
    kspace[1] = kspace[1] * columns.to(full.device)[:, None, None, :]
    auxiliary, target, restored = (low.image(one).abs() for one in (*kspace, full))
    return Measured(target, auxiliary, restored, fine)


def _noisy(kspace: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    return gaussian_kspace(kspace, sampling.noise, generator) if sampling.noise else kspace


def _columns(width: int, config: RestorationConfig, sampling: Sampling) -> list[bool]:
    seed = OFFICIAL_SEED if sampling.mask == "official" else sampling.mask_seed
    mask = cartesian_mask(width, sampling.acceleration, sampling.mask, seed, config.centre_fraction or None)
    columns: list[bool] = mask.columns.tolist()
    return columns
