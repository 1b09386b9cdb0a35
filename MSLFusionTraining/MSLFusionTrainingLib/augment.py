"""Domain randomisation of ground-truth slices: what differs between scanners and patients, drawn per slice.

Slices are (N, n, H, W) in [0, 1], air being 0. Nothing here looks at a value on the device, so a GPU never waits.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_TURN, LARGEST_SCALE, LARGEST_SHEAR = math.radians(15), 0.10, 0.05


class AugmentSettings(Protocol):
    """The settings of a training that say how slices are changed; see config.TrainConfig."""

    @property
    def modalities(self) -> tuple[str, ...]: ...
    @property
    def augment(self) -> bool: ...
    @property
    def pad(self) -> int: ...
    @property
    def affine(self) -> float: ...
    @property
    def elastic(self) -> float: ...
    @property
    def invert(self) -> float: ...


class Numbers:
    """Uniform numbers in [0, 1) that were drawn for each slice, handed out one after the other.

    table: (N, count). `next` gives (N, 1, 1, 1).
    """

    def __init__(self, table: Tensor) -> None:
        self._columns = iter(table.unbind(1))

    def next(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """The next number of each slice, spread over low to high."""
        return low + (high - low) * next(self._columns)[:, None, None, None]


def randomise(
    slices: Tensor, config: AugmentSettings, uniforms: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """Slices as another patient on another scanner would show them.

    slices: (N, n, H, W); uniforms: (N, draws.UNIFORMS) on their device; generators: one for each slice. What moves
    moves in all modalities alike, but for one pixel at most (registration is never perfect).
    """
    numbers = Numbers(uniforms)
    slices = reposition(slices, config.pad, config.augment, numbers)
    if config.affine or config.elastic:
        slices = bend(slices, config.affine, config.elastic, numbers, generators)
    channels = list(slices.split(1, 1))
    for m, name in enumerate(config.modalities):
        x, light = channels[m], config.augment
        if name not in ("ct", "pet") and config.invert:
            x = torch.where(numbers.next() < config.invert, inverted(x), x)
        if light and name != "ct":
            x = bias_field(contrast(x, numbers), generators)
        if light:
            x = texture(soften(x, numbers), 0.01 if name == "ct" else 0.02, numbers, generators)
        channels[m] = x
    return torch.cat(channels, 1)


def reposition(slices: Tensor, pad: int, mirror: bool, numbers: Numbers) -> Tensor:
    """A crop of the slice's own size out of the slice with `pad` reflected pixels around it; mirrored at random.

    mirror also moves all but the first modality by up to a pixel, for three slices of ten.
    """
    _, n, height, width = slices.shape
    device = slices.device
    off = torch.arange(n, device=device)[None, :, None, None] > 0
    moves = numbers.next() < 0.3
    axes = []
    for length in (height, width):
        start = numbers.next(0, 2 * pad + 1).floor() - pad
        if mirror:
            start = start + (numbers.next(-1, 2).floor() * moves) * off
        places = torch.arange(length, device=device) + start
        places = places.abs()
        places = torch.where(places > length - 1, 2 * (length - 1) - places, places)
        if mirror:
            places = torch.where(numbers.next() < 0.5, length - 1 - places, places)
        axes.append(places.long().expand(slices.shape[0], n, 1, length))
    rows = axes[0].transpose(2, 3).expand(-1, -1, -1, width)
    return slices.gather(2, rows).gather(3, axes[1].expand(-1, -1, height, -1))


def bend(
    slices: Tensor, affine: float, elastic: float, numbers: Numbers, generators: Sequence[torch.Generator]
) -> Tensor:
    """Turned, scaled and sheared by a share `affine` of the largest motions, and bent smoothly by `elastic` pixels."""
    height, width = slices.shape[-2:]
    turn = numbers.next(-1, 1).flatten() * LARGEST_TURN * affine
    scale = 1 + numbers.next(-1, 1).flatten() * LARGEST_SCALE * affine
    shear = numbers.next(-1, 1).flatten() * LARGEST_SHEAR * affine
    cos, sin, none = turn.cos() * scale, turn.sin() * scale, torch.zeros_like(turn)
    theta = torch.stack([torch.stack([cos, shear - sin, none], 1), torch.stack([sin, cos, none], 1)], 1)
    grid = F.affine_grid(theta, list(slices.shape), align_corners=False)
    if elastic:
        coarse = torch.stack([torch.randn((2, 6, 6), generator=g, device=g.device) for g in generators])
        field = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).clamp(-2, 2) / 2
        pixel = torch.tensor([2 / width, 2 / height], device=slices.device) * elastic
        grid = grid + field.permute(0, 2, 3, 1) * pixel
    return F.grid_sample(slices, grid, align_corners=False).clamp(0, 1)


def inverted(mr: Tensor) -> Tensor:
    """Bright and dark exchanged, as between T1 and T2; air stays 0."""
    return (1 - mr) * (mr / 0.08).clamp(0, 1)


def contrast(mr: Tensor, numbers: Numbers) -> Tensor:
    """A random monotone curve per slice: gamma in 0.6 .. 1.6 and a soft S-shape."""
    gamma = 0.6 * (1.6 / 0.6) ** numbers.next()
    curve = numbers.next(-0.5, 0.5)
    mr = mr.clamp(0, 1) ** gamma
    return (mr + curve * mr * (1 - mr) * (2 * mr - 1)).clamp(0, 1)


def bias_field(mr: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """A smooth multiplicative field between about 0.7 and 1.3."""
    coarse = torch.stack([torch.randn((1, 3, 3), generator=g, device=g.device) for g in generators]) * 0.12
    field = F.interpolate(coarse, mr.shape[-2:], mode="bicubic", align_corners=True)
    return (mr * field.exp()).clamp(0, 1)


def soften(image: Tensor, numbers: Numbers) -> Tensor:
    """A Gaussian blur of 0.3 to 1.2 pixels for half of the slices, (N, 1, H, W)."""
    blurred, sigma = numbers.next() < 0.5, numbers.next(0.3, 1.2)
    x = torch.arange(-3, 4, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = torch.where(blurred, kernel / kernel.sum(-1, keepdim=True), (x == 0).to(image.dtype))
    n = image.shape[0]
    flat = image.transpose(0, 1)
    flat = F.conv2d(F.pad(flat, (3, 3, 0, 0), mode="replicate"), kernel, groups=n)
    flat = F.conv2d(F.pad(flat, (0, 0, 3, 3), mode="replicate"), kernel.transpose(2, 3), groups=n)
    return flat.transpose(0, 1)


def texture(image: Tensor, level: float, numbers: Numbers, generators: Sequence[torch.Generator]) -> Tensor:
    """Fine correlated grain inside the object, of random strength up to `level`."""
    shape = image.shape[1:]
    grain = torch.stack([torch.randn(shape, generator=g, device=g.device) for g in generators])
    grain = F.avg_pool2d(F.pad(grain, (1, 1, 1, 1), mode="replicate"), 3, 1) * 2
    return (image + grain * numbers.next(0, level) * (image > 0.02)).clamp(0, 1)
