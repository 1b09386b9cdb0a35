"""The decoder of an MSL network, conditioned on lambda, and the latent that it starts from."""

import itertools
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MSLFusionLib.nets.constants import Partial, convolved
from MSLFusionLib.nets.layers import ConditionalInstanceNorm, ImageConv, InstanceNormAffine
from MSLFusionLib.nets.mslconfig import MSLConfig


@dataclass
class Latent:
    """The multi-sensor representation of a batch of slices, from which any lambda is decoded.

    multi: (N, 4 width, H/4, W/4), f_multi of equation 7. skips: maps for the decoder's finer levels, coarsest first.
    base: (N, modalities, H, W), sensor images of the modalities present, zero elsewhere; None without residual.
    groups: (N, n * n, tokens, D), the token groups in the order intra_1, inter_1->2, inter_2->1, intra_2; kept in
    training, where equation 19 needs them.
    """

    multi: Tensor
    skips: tuple[Tensor, ...]
    base: Tensor | None
    groups: Tensor | None = None

    def slice(self, index: int | slice) -> "Latent":
        """The latent of some slices of the batch, without the token groups."""
        pick = slice(index, index + 1) if isinstance(index, int) else index
        base = None if self.base is None else self.base[pick]
        return Latent(self.multi[pick], tuple(skip[pick] for skip in self.skips), base)


class DecoderBlock(nn.Module):
    """Residual block whose first (or every) convolution is normalised conditionally on lambda."""

    def __init__(self, channels: int, config: MSLConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = _cin(channels, config)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = _cin(channels, config) if config.cin_both else InstanceNormAffine(channels)

    def forward(self, x: Tensor, lam: Tensor, embed: nn.Linear, first: Tensor | None = None) -> Tensor:
        """x (N, C, h, w); lam (N, K, 1, 1) or (N, K, h, w); first: conv1(x) where it is known already."""
        split = self.norm1.split(lam, embed)
        if first is None:
            y = convolved(self.conv1, x, split)
        else:
            y = first if split is None else first.index_select(1, split.varying)
        y = convolved(self.conv2, self.norm1.partial(y, lam, embed, split))
        y = self.norm2(y, lam, embed) if isinstance(self.norm2, ConditionalInstanceNorm) else self.norm2(y)
        return F.relu(x + y, inplace=True)


class Decoder(nn.Module):
    """X_lambda = D(f_multi, lambda), equations 8 to 10."""

    def __init__(self, config: MSLConfig) -> None:
        super().__init__()
        w = config.width
        self.config = config
        conditions = 1 if len(config.modalities) == 2 else len(config.modalities)
        self.embed = nn.Linear(conditions, config.embedding)
        self.blocks = nn.ModuleList([DecoderBlock(4 * w, config) for _ in range(config.decoder_blocks)])
        levels = 1 if config.space_to_depth else 2
        widths = [4 * w >> i for i in range(levels + 1)]
        self.ups = nn.ModuleList(
            [nn.ConvTranspose2d(a, b, 3, 2, padding=1, output_padding=1) for a, b in itertools.pairwise(widths)]
        )
        self.norms = nn.ModuleList([_cin(b, config) for b in widths[1:]])
        last = widths[-1]
        if config.space_to_depth:
            self.refine: nn.Module = nn.Conv2d(last, last, 3, padding=1)
            final = nn.Conv2d(last, 4, 3, padding=1, padding_mode="reflect")
            self.head = nn.Sequential(final, nn.PixelShuffle(2))
        else:
            self.refine = nn.Identity()
            final = ImageConv(last, 7)
            self.head = nn.Sequential(final)
        if config.residual:
            # The first image is then the plain blend of the sensor images, which training improves from there.
            for parameter in final.parameters():
                nn.init.zeros_(parameter)

    def first(self, latent: Latent) -> Tensor | None:
        """What every lambda has in common: the first convolution, for `forward`; None without blocks."""
        for block in self.blocks:
            assert isinstance(block, DecoderBlock)
            return block.conv1(latent.multi)
        return None

    def forward(self, latent: Latent, lam: Tensor, first: Tensor | None = None) -> Tensor:
        """lam (N, K, 1, 1), or (N, K, H, W) for a map -> (N, 1, H, W); first: see `first`."""
        x: Any = latent.multi
        for block in self.blocks:
            x = block(x, _at(lam, x), self.embed, first)
            first = None
        for level, (up, norm) in enumerate(zip(self.ups, self.norms, strict=True)):
            assert isinstance(up, nn.ConvTranspose2d)
            assert isinstance(norm, ConditionalInstanceNorm)
            split = norm.split(lam, self.embed)
            x = convolved(up, x, split)
            if latent.skips:
                skip = latent.skips[level]
                x = x + (skip if split is None else skip.index_select(1, split.varying))
            x = norm.partial(x, _at(lam, x), self.embed, split)
        if self.config.space_to_depth:
            x = x.whole() if isinstance(x, Partial) else x
            x = F.relu(x + self.refine(x))
        x = self.head(x)
        if self.config.output == "tanh":
            x = torch.tanh(x)
        return x


def _cin(channels: int, config: MSLConfig) -> ConditionalInstanceNorm:
    return ConditionalInstanceNorm(channels, config.embedding, relu=config.cin_relu, unbiased=config.cin_unbiased)


def _at(lam: Tensor, x: Tensor) -> Tensor:
    """A lambda map averaged down to the resolution of x; scalars pass."""
    if lam.shape[-2:] == (1, 1) or lam.shape[-2:] == x.shape[-2:]:
        return lam
    return F.adaptive_avg_pool2d(lam, (x.shape[-2], x.shape[-1]))
