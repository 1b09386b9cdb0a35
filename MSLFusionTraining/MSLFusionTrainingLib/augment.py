"""Domain randomisation of ground-truth slices: what differs between scanners and patients, drawn per slice."""

import torch
import torch.nn.functional as F
from torch import Tensor


def randomise(ct: Tensor, mr: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirrored, slightly shifted slices with another MR contrast, bias field, resolution and texture.

    ct, mr: (N, 1, H, W) in [0, 1]; generator: on their device. The same flip serves both, the shift of at most one
    pixel is MR's alone (registration is never perfect). Returns the same shapes, in [0, 1], zero where MR was zero.
    """
    if _rand(generator) < 0.5:
        ct, mr = ct.flip(-1), mr.flip(-1)
    if _rand(generator) < 0.5:
        ct, mr = ct.flip(-2), mr.flip(-2)
    if _rand(generator) < 0.3:
        shift = torch.randint(-1, 2, (2,), generator=generator, device=generator.device).tolist()
        mr = mr.roll((shift[0], shift[1]), (-2, -1))
    mr = bias_field(contrast(mr, generator), generator)
    ct, mr = soften(ct, generator), soften(mr, generator)
    return texture(ct, 0.01, generator), texture(mr, 0.02, generator)


def contrast(mr: Tensor, generator: torch.Generator) -> Tensor:
    """A random monotone curve per slice: gamma in 0.6 .. 1.6 and a soft S-shape."""
    n = mr.shape[0]
    gamma = 0.6 * (1.6 / 0.6) ** _rand(generator, n)
    bend = _rand(generator, n) - 0.5
    mr = mr.clamp(0, 1) ** gamma
    return (mr + bend * mr * (1 - mr) * (2 * mr - 1)).clamp(0, 1)


def bias_field(mr: Tensor, generator: torch.Generator) -> Tensor:
    """A smooth multiplicative field between about 0.7 and 1.3."""
    coarse = torch.randn((mr.shape[0], 1, 3, 3), generator=generator, device=mr.device) * 0.12
    field = F.interpolate(coarse, mr.shape[-2:], mode="bicubic", align_corners=True)
    return (mr * field.exp()).clamp(0, 1)


def soften(image: Tensor, generator: torch.Generator) -> Tensor:
    """A Gaussian blur of up to 1.2 pixels, for half of the batches."""
    if _rand(generator) < 0.5:
        return image
    sigma = float(0.3 + 0.9 * _rand(generator))
    x = torch.arange(-3, 4, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    image = F.conv2d(F.pad(image, (3, 3, 0, 0), mode="replicate"), kernel[None, None, None, :])
    return F.conv2d(F.pad(image, (0, 0, 3, 3), mode="replicate"), kernel[None, None, :, None])


def texture(image: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Fine correlated grain inside the object, of random strength up to `level`."""
    grain = torch.randn(image.shape, generator=generator, device=image.device)
    grain = F.avg_pool2d(F.pad(grain, (1, 1, 1, 1), mode="replicate"), 3, 1) * 2
    strength = level * _rand(generator, image.shape[0])
    return (image + grain * strength * (image > 0.02)).clamp(0, 1)


def _rand(generator: torch.Generator, n: int | None = None) -> Tensor:
    """Uniform numbers: one, or (n, 1, 1, 1)."""
    shape = () if n is None else (n, 1, 1, 1)
    return torch.rand(shape, generator=generator, device=generator.device)
