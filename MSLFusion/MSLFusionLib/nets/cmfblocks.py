"""The parts of CMF-Net: residual blocks, multi-scale fusion of two contrasts, mutual exchange between two tasks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SQUEEZE = 4
"""How many times fewer channels the attention has inside."""
_OPEN = 1.5
"""Of local and global attention together: sigmoid(3) = 0.95."""


class ResidualBlock(nn.Module):
    """x + share conv(ReLU(conv(x))), without normalisation (Lim et al., EDSR, arXiv 1707.02921)."""

    def __init__(self, channels: int, share: float = 0.1) -> None:
        super().__init__()
        self.share = share
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return x + self.share * self.body(x)


class MultiScaleFusion(nn.Module):
    """MFA: what the auxiliary shows in neighbourhoods of 1, 3 and 5 pixels flows into the target's features.

    c_k = [conv_k(a), t]; out = conv_3(sum_k c_k sigmoid(c_k)).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(nn.Conv2d(channels, channels, k, padding=k // 2) for k in (1, 3, 5))
        self.out = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, auxiliary: Tensor, target: Tensor) -> Tensor:
        """Features (N, C, h, w) of the target."""
        seen = torch.stack([F.silu(conv(auxiliary)) for conv in self.scales]).sum(0)
        # The target's half of c_k is the same at each scale.
        return self.out(torch.cat([seen, len(self.scales) * F.silu(target)], dim=1))


class MutualExchange(nn.Module):
    """MMF: two tasks' features, each weighed by its own local and global attention, plus what both attentions share.

    L_j, G_j = attention of x_j by place and of its mean; out_j = x_j sigmoid(L_j + G_j) + conv[L_1, L_2] +
    conv[G_1, G_2]. norm: "batch", or "group" (over all channels of one image), which a batch of one can train.
    whole_kernel: the convolution of the means has 3 x 3 taps, as published, of which padding is all that 8 ever see.
    """

    def __init__(self, channels: int, norm: str, whole_kernel: bool) -> None:
        super().__init__()
        self.local = nn.ModuleList(_attention(channels, norm) for _ in range(2))
        self.whole = nn.ModuleList(_attention(channels, norm) for _ in range(2))
        self.shared_local = nn.Conv2d(2 * channels, channels, 3, padding=1)
        kernel = 3 if whole_kernel else 1
        self.shared_whole = nn.Conv2d(2 * channels, channels, kernel, padding=kernel // 2)

    def open(self) -> None:
        """Begin with both tasks' features all but unchanged; as drawn, each exchange halves them and adds noise."""
        for attend in (*self.local, *self.whole):
            bias = attend.get_parameter("4.bias")
            nn.init.constant_(bias, _OPEN)
        for parameter in (*self.shared_local.parameters(), *self.shared_whole.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Both tasks' features (N, C, h, w)."""
        pair = (first, second)
        local = [attend(x) for attend, x in zip(self.local, pair, strict=True)]
        whole = [attend(x.mean((2, 3), keepdim=True)) for attend, x in zip(self.whole, pair, strict=True)]
        shared = self.shared_local(torch.cat(local, 1)) + self.shared_whole(torch.cat(whole, 1))
        one, other = (x * torch.sigmoid(a + b) + shared for x, a, b in zip(pair, local, whole, strict=True))
        return one, other


def enlarging(channels: int, scale: int) -> nn.Sequential:
    """Convolutions and pixel shuffles, each to twice the size: (N, C, h, w) -> (N, C, s h, s w), scale 2 or 4."""
    steps: list[nn.Module] = []
    for _ in range(scale // 2):
        steps += [nn.Conv2d(channels, 4 * channels, 3, padding=1), nn.PixelShuffle(2)]
    return nn.Sequential(*steps)


def _attention(channels: int, norm: str) -> nn.Sequential:
    inner = max(channels // _SQUEEZE, 2)  # one value alone cannot be normalised
    return nn.Sequential(
        nn.Conv2d(channels, inner, 1),
        _norm(norm, inner),
        nn.ReLU(),
        nn.Conv2d(inner, channels, 1),
        _norm(norm, channels),
    )


def _norm(norm: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.GroupNorm(1, channels)
