"""How much of a head a scan shows: all of it with air around, a tight field of view, or the brain alone."""

import torch
import torch.nn.functional as F
from torch import Tensor

STRIPPED_MM = (8.0, 18.0)
"""Thickness of scalp and skull that are taken off."""
LEAST_SIDE = 96
"""Fine pixels of the smallest field of view."""
_MARGIN = 16
_SHOWN = 0.05
_CLOSED = 10


def stripped(images: Tensor, depth: int) -> Tensor:
    """Images (N, n, H, W) in [0, 1] without their outermost `depth` pixels of body, as if the brain were extracted."""
    body = (images.amax(1, keepdim=True) > _SHOWN).to(images.dtype)
    closed = _shrunk(_grown(body, _CLOSED), _CLOSED)
    return images * _shrunk(closed, depth)


def tight(images: Tensor, multiple: int, generator: torch.Generator) -> Tensor:
    """Images (N, n, H, W) cut to what they show, with up to 16 drawn pixels around it and sides that are multiples.

    With next to no pixels around it a last row or two may go.
    """
    shown = images.amax((0, 1)) > _SHOWN
    box = []
    for axis, length in enumerate(images.shape[-2:]):
        places = shown.any(1 - axis).nonzero().flatten()
        first, last = (int(places[0]), int(places[-1]) + 1) if len(places) else (0, length)
        before, after = torch.randint(0, _MARGIN + 1, (2,), generator=generator).tolist()
        size = min(max(last - first + before + after, LEAST_SIDE), length)
        size -= size % multiple
        start = min(max((first - before + last + after - size) // 2, 0), length - size)
        box.append(slice(start, start + size))
    return images[..., box[0], box[1]]


def _grown(mask: Tensor, pixels: int) -> Tensor:
    return F.max_pool2d(mask, 2 * pixels + 1, 1, pixels)


def _shrunk(mask: Tensor, pixels: int) -> Tensor:
    return 1 - _grown(1 - mask, pixels)
