"""Channels that hold one number everywhere, which convolutions then need not go through.

The authors' code cuts gamma of the conditional norm at zero: about half of the channels of a new network become
the constant beta. Results and gradients are those of the whole convolution but for rounding.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Split:
    """Which channels vary and which are constant, as indices."""

    varying: Tensor
    constant: Tensor


@dataclass(frozen=True)
class Partial:
    """An image of which only the varying channels are kept, (N, V, H, W), beside the constants' numbers (N, C - V)."""

    varying: Tensor
    numbers: Tensor
    split: Split

    def whole(self) -> Tensor:
        """(N, C, H, W)."""
        n, count, rows, columns = self.varying.shape
        out = self.varying.new_empty(n, count + self.numbers.shape[1], rows, columns)
        out = out.index_copy(1, self.split.varying, self.varying)
        constant = self.numbers.to(out.dtype)[:, :, None, None].expand(-1, -1, rows, columns)
        return out.index_copy(1, self.split.constant, constant)


def convolved(conv: nn.Conv2d | nn.ConvTranspose2d, x: Tensor | Partial, wanted: Split | None = None) -> Tensor:
    """`conv` of x, where `wanted` is given its varying channels alone; zero-padded convolutions only."""
    weight, bias = conv.weight, conv.bias
    transposed = isinstance(conv, nn.ConvTranspose2d)
    if wanted is not None:
        weight = weight.index_select(1 if transposed else 0, wanted.varying)
        bias = None if bias is None else bias.index_select(0, wanted.varying)
    if isinstance(x, Tensor):
        return _applied(conv, x, weight, bias)
    inputs = 0 if transposed else 1
    y = _applied(conv, x.varying, weight.index_select(inputs, x.split.varying), bias)
    rest = weight.index_select(inputs, x.split.constant)
    if not transposed:
        rest = rest.transpose(0, 1)
    # A constant meets all taps but at the border: its share is a sum over taps of where the tap lies inside.
    shares = torch.einsum("nd,dok->nok", x.numbers, rest.flatten(2))
    taps = _inside(conv, x.varying)
    return torch.baddbmm(y.flatten(2), shares.to(y.dtype), taps.to(y.dtype).expand(len(y), -1, -1)).view_as(y)


def _applied(conv: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if isinstance(conv, nn.ConvTranspose2d):
        assert not isinstance(conv.padding, str)
        return F.conv_transpose2d(x, weight, bias, conv.stride, conv.padding, conv.output_padding)
    return F.conv2d(x, weight, bias, conv.stride, conv.padding)


@torch.no_grad()
def _inside(conv: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """(1, taps, pixels): 1 where a tap of the convolution meets a pixel of the image."""
    rows, columns = conv.kernel_size
    taps = torch.eye(rows * columns, device=x.device).view(-1, 1, rows, columns)
    if isinstance(conv, nn.ConvTranspose2d):
        taps = taps.transpose(0, 1)
    with torch.autocast(x.device.type, enabled=False):
        return _applied(conv, torch.ones(1, 1, *x.shape[-2:], device=x.device), taps, None).flatten(2)
