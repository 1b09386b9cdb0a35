"""All randomness of a step, from the seed, the step's number and a slice's place in the whole batch.

Nothing depends on how a batch is cut into parts or spread over processes, and nothing has to be stored to resume.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from MSLFusionTrainingLib.config import TrainConfig

UNIFORMS = 64
"""Numbers in [0, 1) that come with every slice; see augment.Numbers."""
SINGLE = 0.25
"""Share of the slices that are corrected with one modality alone."""


@dataclass(frozen=True)
class Sampling:
    """How one slice was measured; one acceleration, mask and mask seed for each modality.

    photons: I0, 0 for none; kspace_noise, image_noise: standard deviations, 0 for none. shift: (right, down) pixels
    and turn: degrees by which the first modality was measured away from its place.
    """

    views: int
    accelerations: tuple[float, ...]
    masks: tuple[str, ...]
    mask_seeds: tuple[int, ...]
    photons: float = 0.0
    kspace_noise: float = 0.0
    image_noise: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0


@dataclass(frozen=True)
class StepDraw:
    """What all slices of a step share. origin: the crop's corner in pixels, None for whole slices; maps: whether
    lambda is a map; leak: which modality the published auxiliary pass keeps."""

    origin: tuple[int, int] | None
    maps: bool
    leak: int


@dataclass(frozen=True)
class SliceDraw:
    """What one slice of a step is: its index in the training set, how it is measured and changed.

    present: what its auxiliary pass may see. uniforms: (UNIFORMS,). seed: of its noise. seen: the modalities that
    images are corrected with.
    """

    index: int
    sampling: Sampling
    present: tuple[bool, ...]
    uniforms: Tensor
    seed: int
    seen: tuple[bool, ...]


def mix(*numbers: int) -> int:
    """One 63-bit seed from some numbers, different for neighbouring ones."""
    seed = 0
    for number in numbers:
        seed = (seed ^ number) * 0x9E3779B97F4A7C15 + 0x94D049BB133111EB
        seed = ((seed ^ (seed >> 29)) * 0xBF58476D1CE4E5B9) & (2**63 - 1)
    return seed


def draw_step(config: TrainConfig, iteration: int, stride: int) -> StepDraw:
    """What the slices of a step share; stride: pixels of a token, on whose grid crops lie."""
    generator = torch.Generator().manual_seed(mix(config.seed, iteration))
    maps = config.fusion_lambda == "any" and _rand(generator) < 0.5
    leak = _randint(generator, len(config.modalities))
    whole = not config.crop or config.crop == config.size or iteration >= config.whole_from * config.iterations
    if whole:
        return StepDraw(None, maps, leak)
    steps = (config.size - config.crop) // stride + 1
    return StepDraw((_randint(generator, steps) * stride, _randint(generator, steps) * stride), maps, leak)


def draw_slice(config: TrainConfig, step: StepDraw, iteration: int, place: int, available: int) -> SliceDraw:
    """The slice at `place` in the batch of all processes, out of `available` slices."""
    generator = torch.Generator().manual_seed(mix(config.seed, iteration, place + 1))
    index = _randint(generator, available)
    n = len(config.modalities)
    if config.aux == "leak":
        present = tuple(m == step.leak for m in range(n))
    else:
        # A subset that is neither empty nor whole: with two modalities one of them.
        code = 1 + _randint(generator, 2**n - 2)
        present = tuple(bool(code >> m & 1) for m in range(n))
    sampling = _sampling(config, generator)
    uniforms = torch.rand(UNIFORMS, generator=generator)
    seed = _randint(generator, 2**62)
    alone = _rand(generator) < SINGLE
    return SliceDraw(index, sampling, present, uniforms, seed, present if alone else (True,) * n)


def usual_sampling(config: TrainConfig) -> Sampling:
    """The first of each sampling choice, without noise: what quality figures refer to."""
    n = len(config.modalities)
    return Sampling(config.views[0], (config.accelerations[0],) * n, (config.masks[0],) * n, tuple(range(n)))


def _sampling(config: TrainConfig, generator: torch.Generator) -> Sampling:
    def pick(count: int) -> int:
        if count == 1 or _rand(generator) < config.usual:
            return 0
        return 1 + _randint(generator, count - 1)

    n = range(len(config.modalities))
    noisy, level = _rand(generator) < 0.5, _rand(generator)
    away = [2 * _rand(generator) - 1 for _ in range(3)]
    return Sampling(
        views=config.views[pick(len(config.views))],
        accelerations=tuple(config.accelerations[pick(len(config.accelerations))] for _ in n),
        masks=tuple(config.masks[pick(len(config.masks))] for _ in n),
        mask_seeds=tuple(_randint(generator, 2**31 - 1) for _ in n),
        photons=config.photons * 10 ** (2 * level) if noisy else 0.0,
        kspace_noise=config.kspace_noise * level if noisy else 0.0,
        image_noise=config.image_noise * level if noisy else 0.0,
        shift=(config.misregistration * away[0], config.misregistration * away[1]),
        turn=config.misregistration_degrees * away[2],
    )


def _rand(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def _randint(generator: torch.Generator, count: int) -> int:
    return int(torch.randint(0, count, (), generator=generator))
