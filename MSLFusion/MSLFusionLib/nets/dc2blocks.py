"""The deformable cross-feature blend of DC2Fusion (Liu et al., ICONIP 2023, arXiv 2310.06291) and its parts.

Tensors are channels last: (N, D, H, W, C) tokens of two streams, x and the other. With `published` the parts compute
what the authors' code does, faults included; see `dc2fusion`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_GATE = 8
"""How many times fewer channels the gates have inside."""


def channels_first(x: Tensor) -> Tensor:
    """(N, D, H, W, C) -> (N, C, D, H, W)."""
    return x.movedim(-1, 1)


def channels_last(x: Tensor) -> Tensor:
    """(N, C, D, H, W) -> (N, D, H, W, C)."""
    return x.movedim(1, -1)


class TokenNorm(nn.Module):
    """Layer normalisation over the channels of (N, C, D, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return channels_first(self.norm(channels_last(x)))


class DropPath(nn.Module):
    """A residual branch that is left out for whole samples with probability `rate` in training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Same shape; kept samples are scaled up so that the mean stays."""
        if not (self.training and self.rate > 0):
            return x
        keep = torch.rand(x.shape[0], *(1,) * (x.dim() - 1), device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


def token_grid(shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """Where tokens lie for grid_sample with align_corners=False, (D, H, W, 3) in the order z, y, x.

    Token i of n lies at (2 i + 1) / n - 1, for every axis with its own n: sampling there gives the tokens themselves.
    """
    axes = [(2 * torch.arange(n, dtype=like.dtype, device=like.device) + 1) / n - 1 for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def published_grid(shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """The authors' grid: x divided by the depth, y by the width, z by the height; used with align_corners=True."""
    depth, height, width = shape
    axes = [torch.arange(n, dtype=like.dtype, device=like.device) + 0.5 for n in shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([2 * z / height - 1, 2 * y / width - 1, 2 * x / depth - 1], dim=-1)


def sample(tokens: Tensor, offsets: Tensor, published: bool = False) -> Tensor:
    """Tokens (N, D, H, W, C) read trilinearly at their places plus `offsets` (N, D, H, W, 3), in tokens, z y x."""
    shape = (tokens.shape[1], tokens.shape[2], tokens.shape[3])
    scale = offsets.new_tensor([2.0 / n for n in shape])
    grid = (published_grid if published else token_grid)(shape, offsets) + offsets * scale
    image, places = channels_first(tokens), grid.flip(-1)
    if published:
        return channels_last(F.grid_sample(image, places, align_corners=True))
    return channels_last(F.grid_sample(image, places, padding_mode="border", align_corners=False))


def to_windows(x: Tensor, side: int) -> Tensor:
    """(N, D, H, W, C), sides multiples of `side` -> (N, windows, side^3, C)."""
    n, d, h, w, c = x.shape
    x = x.reshape(n, d // side, side, h // side, side, w // side, side, c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(n, -1, side**3, c)


def from_windows(x: Tensor, side: int, shape: tuple[int, int, int]) -> Tensor:
    """The inverse of to_windows, to (N, *shape, C)."""
    d, h, w = shape
    x = x.reshape(x.shape[0], d // side, h // side, w // side, side, side, side, x.shape[-1])
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(x.shape[0], d, h, w, -1)


class CrossBlend(nn.Module):
    """One block: x takes in what fits of the other stream, sampled where learned offsets say.

    Queries and values come from x, keys from the sampled other stream, in windows of side^3 tokens. A depthwise
    convolution of both gates the values by channel; the attention gates the convolution by place; both are joined and
    added to x, then an MLP.
    """

    def __init__(
        self, channels: int, heads: int, side: int, kernel: int, mlp: int, drop_path: float, published: bool
    ) -> None:
        super().__init__()
        c, inner = channels, max(channels // _GATE, 1)
        self.heads, self.side, self.published = heads, side, published
        self.norm = nn.LayerNorm(c)
        self.pair = nn.Conv3d(2 * c, 2 * c, 1)
        self.offset = nn.Sequential(
            nn.Conv3d(2 * c, 2 * c, 3, padding=1, groups=2 * c),
            TokenNorm(2 * c),
            nn.GELU(),
            nn.Conv3d(2 * c, 3, 1, bias=False),
        )
        self.query, self.key, self.value = nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, c)
        self.unused = nn.Linear(c, c) if published else None
        self.near = nn.Sequential(
            nn.Conv3d(2 * c, c, kernel, padding=kernel // 2, groups=c),
            nn.BatchNorm3d(c, eps=float(c) if published else 1e-5),
            nn.GELU(),
        )
        self.near_out = nn.Conv3d(c, c, 1)
        self.by_channel = nn.Sequential(
            nn.AdaptiveAvgPool3d(1), nn.Conv3d(c, inner, 1), TokenNorm(inner), nn.GELU(), nn.Conv3d(inner, c, 1)
        )
        self.by_place = nn.Sequential(nn.Conv3d(c, inner, 1), TokenNorm(inner), nn.GELU(), nn.Conv3d(inner, 1, 1))
        self.join = nn.Linear(2 * c, c)
        self.mlp = nn.Sequential(nn.Linear(c, mlp * c), nn.GELU(), nn.Linear(mlp * c, c))
        self.drop_path = DropPath(drop_path)

    def offsets(self, x: Tensor, other: Tensor) -> Tensor:
        """Where to look in the other stream: (N, D, H, W, 3) tokens along z, y, x, at most one each way."""
        pair = channels_first(torch.cat([x, other], dim=-1))
        return channels_last(torch.tanh(self.offset(self.pair(pair))))

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """x after the block, (N, D, H, W, C); sides are multiples of the window's."""
        x = x + self.drop_path(self.blend(self.norm(x), other))
        return x + self.drop_path(self.mlp(self.norm(x)))

    def blend(self, x: Tensor, other: Tensor) -> Tensor:
        """What the other stream adds to normalised x."""
        shape = (x.shape[1], x.shape[2], x.shape[3])
        other = sample(other, self.offsets(x, other), self.published)
        near = self.near(channels_first(torch.cat([x, other], dim=-1)))
        channel_gate = channels_last(torch.sigmoid(self.by_channel(near))).flatten(1, 3)[:, :, None]
        near = self.near_out(near)
        found = self.attend(to_windows(x, self.side), to_windows(other, self.side), channel_gate)
        found = from_windows(found, self.side, shape)
        near = channels_last(torch.sigmoid(self.by_place(channels_first(found))) * near)
        return self.join(torch.cat([near, self.norm(found)], dim=-1))

    def attend(self, x: Tensor, other: Tensor, gate: Tensor) -> Tensor:
        """Attention within windows (N, windows, tokens, C); gate (N, 1, 1, C) on the values.

        Published: raw products instead of softmax weights.
        """
        query, key, value = self._heads(self.query(x)), self._heads(self.key(other)), self._heads(self.value(x) * gate)
        weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        if not self.published:
            weights = weights.softmax(dim=-1)
        return (weights @ value).transpose(-3, -2).flatten(-2)

    def _heads(self, x: Tensor) -> Tensor:
        """(N, windows, tokens, C) -> (N, windows, heads, tokens, C / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
