"""A U-Net of convolutions with instance normalisation, as fastMRI's (Zbontar et al., arXiv 1811.08839) is built.

By itself, with bicubic enlargement, it is what a network for restoring and enlarging is compared with.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MSLFusionLib.errors import InputError


class UNet(nn.Module):
    """(N, inputs, h, w) -> (N, outputs, h, w); h and w multiples of 2^pools and at least 2 at the coarsest level.

    Two 3 x 3 convolutions a level, without bias, each with instance normalisation and LeakyReLU(0.2); average pooling
    down, transposed convolutions up, skips by concatenation. channels: of the finest level; each coarser has twice.
    """

    def __init__(self, inputs: int, outputs: int, channels: int, pools: int = 2) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(pools + 1)]
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([inputs, *widths], widths, strict=False))
        self.up = nn.ModuleList(_activated(nn.ConvTranspose2d(2 * c, c, 2, 2, bias=False)) for c in widths[:-1])
        self.join = nn.ModuleList(_twice(2 * c, c) for c in widths[:-1])
        self.out = nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, outputs, h, w)."""
        kept = []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x)
            kept.append(x)
        for level in reversed(range(len(self.up))):
            x = self.join[level](torch.cat([self.up[level](x), kept[level]], dim=1))
        return self.out(x)


@dataclass(frozen=True)
class BicubicUNetConfig:
    """contrasts: auxiliary and target. scale: how much larger. auxiliary: whether the U-Net sees the auxiliary, too."""

    contrasts: tuple[str, str] = ("t1", "t2")
    scale: int = 2
    channels: int = 32
    pools: int = 2
    auxiliary: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "contrasts", tuple(self.contrasts))
        if self.scale not in (2, 4) or not 1 <= self.channels <= 1024 or not 1 <= self.pools <= 6:
            raise InputError("The U-Net described is not possible: scale must be 2 or 4, channels and pools positive.")

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self) | {"contrasts": list(self.contrasts)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "BicubicUNetConfig":
        """The configuration that `to_dict` described; InputError for unknown or unusable entries."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise InputError(f"The U-Net has no setting '{sorted(unknown)[0]}'.")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"The description of the U-Net is damaged: {error}.") from None


class BicubicUNet(nn.Module):
    """The baseline: a U-Net's correction of the target, then bicubic enlargement; see `cmfnet.CMFNet` for the rest."""

    def __init__(self, config: BicubicUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.body = UNet(1 + config.auxiliary, 1, config.channels, config.pools)
        for parameter in self.body.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, target: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        """Restored (N, 1, h, w) and enlarged (N, 1, s h, s w) from standardised images (N, 1, h, w)."""
        images = torch.cat([target, auxiliary], 1) if self.config.auxiliary else target
        height, width = target.shape[-2:]
        restored = target + self.body(padded(images, 2**self.config.pools))[..., :height, :width]
        return restored, bicubic(restored, self.config.scale)


def padded(images: Tensor, multiple: int) -> Tensor:
    """Images with their last row and column repeated until both sides are multiples, and at least two of them."""
    height, width = images.shape[-2:]
    more = [max(2 * multiple, -(-n // multiple) * multiple) - n for n in (height, width)]
    return F.pad(images, (0, more[1], 0, more[0]), mode="replicate") if any(more) else images


def bicubic(images: Tensor, scale: int) -> Tensor:
    """Images (N, 1, h, w) enlarged so that a pixel covers scale x scale new ones, cubic convolution."""
    return F.interpolate(images, scale_factor=scale, mode="bicubic", align_corners=False)


def _activated(*layers: nn.Module) -> nn.Sequential:
    out = layers[-1].out_channels
    assert isinstance(out, int)
    return nn.Sequential(*layers, nn.InstanceNorm2d(out), nn.LeakyReLU(0.2, inplace=True))


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    conv: Callable[[int], nn.Module] = lambda n: nn.Conv2d(n, outputs, 3, padding=1, bias=False)  # noqa: E731
    return nn.Sequential(_activated(conv(inputs)), _activated(conv(outputs)))
