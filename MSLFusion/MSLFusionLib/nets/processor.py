"""What a processor computes another way than torch would by itself: dropout, attention with dropout, strided convs.

On a GPU, and under torch.compile, torch's own kernels are used. Results are the same but for rounding; which elements
dropout leaves out differs from torch's choice for one seed, not in distribution.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

_LANES = 1 << 16
"""Dropout compares 16 random bits with its share: four elements for each number drawn."""


def by_hand(x: Tensor) -> bool:
    """Whether the ways of this module apply to x."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """F.dropout: in training, elements are zero with the probability `share` and the others scaled up."""
    if not (training and share and by_hand(x)):
        return F.dropout(x, share, training)
    dropped: Tensor = _Dropout.apply(x, share)
    return dropped


def attention(qkv: Tensor, keys: Tensor | None, share: float) -> Tensor:
    """Attention whose weights are dropped with the probability `share`, without copies of its parts.

    qkv: (N, L, 3, heads, d); keys: (N, L) bool, True where a token may be attended to. Returns (N, L, heads, d).
    """
    found: Tensor = _Attention.apply(qkv, keys, share)
    return found


def _kept(shape: tuple[int, ...], share: float) -> tuple[Tensor, float]:
    """A random bool mask and what the elements that stay are multiplied by."""
    count = 1
    for side in shape:
        count *= side
    least = round(share * _LANES)
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count]
    return (bits >= least - _LANES // 2).view(shape), _LANES / max(_LANES - least, 1)


class _Dropout(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        kept, ctx.scale = _kept(tuple(x.shape), share)
        ctx.save_for_backward(kept)
        return torch.where(kept, x, 0.0).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return torch.where(kept, gradients[0], 0.0).mul_(ctx.scale), None


class _Attention(Function):
    """One head at a time, so that its matrix stays in the cache."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, keys: Tensor | None, share: float) -> Tensor:
        ctx.dtype = qkv.dtype
        qkv = qkv.float()
        n, length, _, heads, size = qkv.shape
        weights = qkv.new_empty(n, heads, length, length)
        kept = torch.empty(n, heads, length, length, dtype=torch.bool)
        out = qkv.new_empty(n, length, heads, size)
        with torch.autocast("cpu", enabled=False):
            for i in range(n):
                for h in range(heads):
                    q, k, v = qkv[i, :, :, h].unbind(1)
                    scores = (q * size**-0.5) @ k.t()
                    if keys is not None:
                        scores.masked_fill_(~keys[i], -torch.inf)
                    torch.softmax(scores, 1, out=weights[i, h])
                    kept[i, h], scale = _kept((length, length), share)
                    out[i, :, h] = torch.where(kept[i, h], weights[i, h], 0.0) @ v * scale
        ctx.scale = scale
        ctx.save_for_backward(qkv, weights, kept, out)
        return out.to(ctx.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        qkv, weights, kept, out = ctx.saved_tensors
        gradient = gradients[0].float()
        n, _, _, heads, size = qkv.shape
        back = torch.empty_like(qkv)
        # The mean of a row's gradient under its weights is that of the output along the output.
        means = (gradient * out).sum(-1, keepdim=True)
        with torch.autocast("cpu", enabled=False):
            for i in range(n):
                for h in range(heads):
                    q, k, v = qkv[i, :, :, h].unbind(1)
                    g = gradient[i, :, h] * ctx.scale
                    back[i, :, 2, h] = torch.where(kept[i, h], weights[i, h], 0.0).t() @ g
                    inner = torch.where(kept[i, h], g @ v.t(), 0.0)
                    inner.sub_(means[i, :, h]).mul_(weights[i, h]).mul_(size**-0.5)
                    back[i, :, 0, h] = inner @ k
                    back[i, :, 1, h] = inner.t() @ q
        return back.to(ctx.dtype), None, None


class HalvingConv(nn.Conv2d):
    """Reflection-padded convolution of 4 x 4 taps at every second pixel.

    Processors are quicker with 2 x 2 taps at every pixel of the image whose 2 x 2 pixels have become channels.
    """

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__(cin, cout, 4, 2, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / 2, W / 2)."""
        if not by_hand(x) or x.shape[-1] % 2 or x.shape[-2] % 2:
            return super().forward(x)
        folded = F.pixel_unshuffle(F.pad(x, (1,) * 4, mode="reflect"), 2)
        return F.conv2d(folded, F.pixel_unshuffle(self.weight, 2), self.bias)
