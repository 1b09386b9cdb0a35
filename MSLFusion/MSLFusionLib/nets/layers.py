"""Building blocks shared by the networks: convolutions, conditional normalisation, transformer."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MSLFusionLib.nets.constants import Partial, Split
from MSLFusionLib.nets.processor import HalvingConv, attention, by_hand, dropout


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel: no spatial statistics, so crops equal whole slices."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        pixels = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias)
        return pixels.permute(0, 3, 1, 2)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": nn.InstanceNorm2d,
    "batch": nn.BatchNorm2d,
    "channel": ChannelNorm,
    "none": lambda channels: nn.Identity(),
}


class ConvBlock(nn.Sequential):
    """Reflection-padded convolution, normalisation, optional ReLU."""

    def __init__(
        self, cin: int, cout: int, kernel: int, stride: int = 1, *, norm: str = "instance", relu: bool = True
    ) -> None:
        if (kernel, stride) == (4, 2):
            conv: nn.Conv2d = HalvingConv(cin, cout)
        else:
            conv = nn.Conv2d(cin, cout, kernel, stride, (kernel - 1) // 2, padding_mode="reflect")
        layers: list[nn.Module] = [conv, NORMS[norm](cout)]
        if relu:
            # An instance norm returns a view; in place on it, autograd would copy the gradient of the whole.
            layers.append(nn.ReLU(inplace=norm != "instance"))
        super().__init__(*layers)


class ResidualBlock(nn.Module):
    """Two 3x3 ConvBlocks with a shortcut and no activation after the sum."""

    def __init__(self, channels: int, norm: str = "instance") -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvBlock(channels, channels, 3, norm=norm),
            ConvBlock(channels, channels, 3, norm=norm, relu=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return x + self.body(x)


class ConditionalInstanceNorm(nn.Module):
    """CIN(x; s) = gamma(s) (x - mean(x)) / std(x) + beta(s), equation 11, with s = f_s(lambda).

    The statistics are those of each image and channel over the whole slice; gamma and beta follow lambda pixel by
    pixel when it is a map. gamma, beta and f_s are linear, so the embedding f_s is folded into one affine map of
    lambda before it meets the pixels: no (256, H, W) tensor is ever made.

    relu: gamma and beta are cut at zero, as the authors' code does. unbiased: variance with n - 1.
    """

    def __init__(self, channels: int, embedding: int, *, relu: bool = False, unbiased: bool = False) -> None:
        super().__init__()
        self.gamma = nn.Linear(embedding, channels)
        self.beta = nn.Linear(embedding, channels)
        self.relu = relu
        self.unbiased = unbiased
        if not relu:
            nn.init.normal_(self.gamma.weight, std=0.02)
            nn.init.ones_(self.gamma.bias)
            nn.init.normal_(self.beta.weight, std=0.02)
            nn.init.zeros_(self.beta.bias)

    @torch.no_grad()
    def split(self, lam: Tensor, embed: nn.Linear) -> Split | None:
        """Which channels are constant at these lambdas because gamma is cut at zero; None to compute all of them."""
        if not self.relu or lam.shape[-2:] != (1, 1) or not by_hand(lam):
            return None
        varying = (self._modulation(self.gamma, lam, embed) > 0).any(0).flatten()
        varying[0] |= not varying.any()  # one stays, so that there is an image
        return None if varying.all() else Split(varying.nonzero().flatten(), (~varying).nonzero().flatten())

    def partial(self, x: Tensor, lam: Tensor, embed: nn.Linear, split: Split | None) -> Tensor | Partial:
        """The norm and a ReLU of an image that has the varying channels of `split` alone."""
        if split is None:
            return self.forward(x, lam, embed, rectify=True)
        gamma, beta = (self._modulation(linear, lam, embed) for linear in (self.gamma, self.beta))
        y = self._normed(x, gamma.index_select(1, split.varying), beta.index_select(1, split.varying), True)
        return Partial(y, F.relu(beta.index_select(1, split.constant).flatten(1)), split)

    def forward(self, x: Tensor, lam: Tensor, embed: nn.Linear, *, rectify: bool = False) -> Tensor:
        """x (N, C, H, W); lam (N, K, 1, 1) or (N, K, H, W); embed: f_s, Linear(K, embedding); rectify: then ReLU."""
        gamma, beta = self._modulation(self.gamma, lam, embed), self._modulation(self.beta, lam, embed)
        return self._normed(x, gamma, beta, rectify)

    def _normed(self, x: Tensor, gamma: Tensor, beta: Tensor, rectify: bool) -> Tensor:
        n, channels, rows, columns = x.shape
        # torch divides by the number of pixels; this share turns that into the same norm with one less.
        share = (rows * columns - 1) / (rows * columns) if self.unbiased else 1.0
        eps = 1e-5 * share
        if gamma.shape[-2:] == (1, 1):
            # One number per image and channel: norm, scale and shift are one kernel.
            flat = x.reshape(1, n * channels, rows, columns)
            scale = (gamma * share**0.5).flatten().float()
            y = F.batch_norm(flat, None, None, scale, beta.flatten().float(), training=True, eps=eps)
            # In place before the view: in place after it, autograd would copy the gradient of the whole.
            return (F.relu(y, inplace=True) if rectify else y).view_as(x)
        x = F.instance_norm(x, eps=eps)
        if self.unbiased:
            x = x * share**0.5
        x = x * gamma + beta
        return F.relu(x, inplace=True) if rectify else x

    def _modulation(self, linear: nn.Linear, lam: Tensor, embed: nn.Linear) -> Tensor:
        weight = linear.weight @ embed.weight
        bias = linear.weight @ embed.bias + linear.bias
        if lam.shape[-2:] == (1, 1):
            out = F.linear(lam.flatten(1), weight.to(lam.dtype), bias.to(lam.dtype))[:, :, None, None]
        else:
            out = F.conv2d(lam, weight[:, :, None, None].to(lam.dtype), bias.to(lam.dtype))
        return F.relu(out) if self.relu else out


class InstanceNormAffine(nn.Module):
    """Instance normalisation with a learned scale, started near zero as in the published decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(channels) * 0.02)
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return F.instance_norm(x, weight=self.scale, bias=self.shift)


class ImageConv(nn.Conv2d):
    """Reflection-padded convolution to a single channel, square and odd in size.

    Processors are slow at many taps for one output; there it is a product of matrices, one row a tap, whose rows are
    shifted and added. The parameters and, but for rounding, the result are those of the convolution.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, 1, kernel, padding=kernel // 2, padding_mode="reflect")

    def forward(self, x: Tensor | Partial) -> Tensor:
        """(N, C, H, W), which may have constant channels -> (N, 1, H, W)."""
        if isinstance(x, Partial):
            rest = self.weight.index_select(1, x.split.constant).sum((2, 3))
            varying = self.weight.index_select(1, x.split.varying)
            return self._image(x.varying, varying) + (x.numbers @ rest.t())[:, :, None, None]
        return self._image(x, self.weight) if by_hand(x) else super().forward(x)

    def _image(self, x: Tensor, weight: Tensor) -> Tensor:
        k = self.kernel_size[0]
        taps = weight.flip(2, 3).flatten(2).permute(2, 1, 0).unsqueeze(3)
        shifted = F.conv2d(F.pad(x, (k // 2,) * 4, mode="reflect"), taps)
        rows, columns = shifted.shape[-2:]
        total = F.fold(shifted.flatten(2), (rows + k - 1, columns + k - 1), k)
        bias = 0 if self.bias is None else self.bias[:, None, None]
        return total[..., k - 1 : rows, k - 1 : columns] + bias


class PatchProjection(nn.Conv2d):
    """Tokens from patches of 4 x 4 pixels that do not overlap, which is one product of matrices."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__(channels, dim, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, D, h / 4, w / 4)."""
        rows, columns = x.shape[-2] // 4, x.shape[-1] // 4
        pixels = F.pixel_unshuffle(x, 4).flatten(2).transpose(1, 2)
        return F.linear(pixels, self.weight.flatten(1), self.bias).transpose(1, 2).unflatten(2, (rows, columns))


class Attention(nn.Module):
    """Multi-head self-attention; keys that are masked get exactly zero weight."""

    def __init__(self, dim: int, heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.out = nn.Linear(inner, dim)

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """x (N, L, D); keys: (N, L) bool, True where a token may be attended to."""
        n, length, _ = x.shape
        qkv = self.qkv(x).reshape(n, length, 3, self.heads, -1)
        if self.training and self.dropout and by_hand(x):
            # torch's own kernel for this drops to the whole matrix, and copies it several times.
            mixed = attention(qkv, keys, self.dropout)
            return dropout(self.out(mixed.flatten(2)), self.dropout, True)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mask = None if keys is None else keys[:, None, None, :]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0)
        return F.dropout(self.out(out.transpose(1, 2).reshape(n, length, -1)), self.dropout, self.training)


class Dropout(nn.Module):
    """Dropout as the processor does it quickly."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return dropout(x, self.share, self.training)


class TransformerLayer(nn.Module):
    """Pre-norm attention and MLP, each with a shortcut."""

    def __init__(self, dim: int, heads: int, head_dim: int, mlp_dim: int, share: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, head_dim, share)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp_dim),
            nn.GELU(),
            Dropout(share),
            nn.Linear(mlp_dim, dim),
            Dropout(share),
        )

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """x (N, L, D); keys as in Attention."""
        x = x + self.attention(self.norm1(x), keys)
        return x + self.mlp(self.norm2(x))
