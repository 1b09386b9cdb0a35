"""DC2Fusion: two 3-D images of one object become one (Liu et al., ICONIP 2023, arXiv 2310.06291).

Both images are cut into patches and go through a U-shaped stack of blocks that let each look into the other; two maps
come out, and the fused image is their sum weighed by their L1 norms. Written from the paper and a description of what
its code computes. `published` builds that, faults included:

- softmax attention is computed and thrown away, raw products are used; parts never get gradients;
- the batch normalisation's eps is the number of channels (96 to 768);
- the sampling grid mixes up the axes and is half a token off;
- the maps are weighed by sums over all voxels of the whole batch, so that the result grows with the volume.

Without it (the default) attention is softmax, eps 1e-5, the grid exact for every axis, and each sample's weights sum
to 1. `detail` adds what the published network cannot pass through its patches: a path at full resolution, of which the
maps are corrections to the two images themselves.

Sizes may be any. What the network sees of a whole volume is small (tokens); only the last layers work voxel by voxel.
`fuse_blocks` therefore computes all tokens at once and the voxels block by block, with a margin that the last layers
need: the result does not depend on the blocks.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.dc2blocks import CrossBlend, channels_first, channels_last
from MSLFusionLib.progress import NO_JOB, Job

_EPS = 1e-6


@dataclass(frozen=True)
class DC2Config:
    """The network's sizes.

    modalities: what first and second are. dims, depths, heads: channels, blocks and attention heads of each stage.
    patch: voxels a side of a token. side: tokens a side of an attention window. kernel: of the depthwise convolution.
    mlp: how many times wider the MLP is. head: channels at full resolution. detail: channels of the full-resolution
    path, 0 for none. symmetric: swapping the two images swaps nothing else. drop_path: largest share of blocks left
    out in training. published: see the module.
    """

    modalities: tuple[str, str] = ("mr", "pet")
    dims: tuple[int, ...] = (96, 192, 384, 768)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    patch: int = 4
    side: int = 2
    kernel: int = 7
    mlp: int = 4
    head: int = 48
    detail: int = 0
    symmetric: bool = False
    drop_path: float = 0.2
    published: bool = False

    def __post_init__(self) -> None:
        for name in ("modalities", "dims", "depths", "heads"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        sizes = [*self.dims, *self.depths, *self.heads, self.patch, self.side, self.kernel, self.mlp, self.head]
        if not all(isinstance(n, int) and 0 < n <= 4096 for n in sizes) or not 0 <= self.detail <= 256:
            raise InputError("The sizes of a DC2Fusion network must be whole numbers above 0.")
        if len({len(self.dims), len(self.depths), len(self.heads)}) > 1 or not self.dims or len(self.dims) > 6:
            raise InputError("dims, depths and heads of a DC2Fusion network must name the same stages.")
        if any(c % h for c, h in zip(self.dims, self.heads, strict=True)) or self.kernel % 2 == 0:
            raise InputError("Channels must be multiples of the heads, and the kernel odd.")
        if len(self.modalities) != 2 or not all(isinstance(m, str) for m in self.modalities):
            raise InputError("DC2Fusion fuses two modalities.")
        if not 0 <= self.drop_path < 1 or sum(self.depths) > 64 or self.patch > 16 or self.side > 8:
            raise InputError("The DC2Fusion network described is not possible.")

    @property
    def stride(self) -> int:
        """Volumes are padded to multiples of this."""
        return self.patch * self.side * 2 ** (len(self.dims) - 1)

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DC2Config":
        """The configuration described by `to_dict`; InputError for unknown or unusable entries."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise InputError(f"The DC2Fusion network has no setting '{sorted(unknown)[0]}'.")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"The description of the DC2Fusion network is damaged: {error}.") from None


_PRESETS = {
    "fixed": DC2Config(),
    "official": DC2Config(published=True),
    "compact": DC2Config(dims=(24, 48), depths=(2, 2), heads=(2, 4), kernel=3, mlp=2, head=8, detail=8, drop_path=0.0),
}
PRESETS = tuple(_PRESETS)


def dc2_preset(name: str, **changes: Any) -> DC2Config:
    """The configuration `fixed` (default), `official` or `compact`, with some fields changed; InputError otherwise."""
    if name not in _PRESETS:
        raise InputError(f"There is no DC2Fusion preset '{name}': use one of {', '.join(PRESETS)}.")
    return replace(_PRESETS[name], **changes)


class Stage(nn.Module):
    """Blocks of one resolution, applied to both streams with the same weights."""

    def __init__(self, config: DC2Config, level: int, drop_paths: Sequence[float]) -> None:
        super().__init__()
        self.symmetric = config.symmetric
        self.checkpointing = False
        self.blocks = nn.ModuleList(
            CrossBlend(
                config.dims[level], config.heads[level], config.side, config.kernel, config.mlp, rate, config.published
            )
            for rate in drop_paths
        )

    def forward(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams after the blocks; in turn, the second seeing what became of the first, or both at once."""
        for block in self.blocks:
            new = self._run(block, x, other)
            other = self._run(block, other, x if self.symmetric else new)
            x = new
        return x, other

    def _run(self, block: nn.Module, x: Tensor, other: Tensor) -> Tensor:
        if self.checkpointing and self.training:
            return checkpoint(block, x, other, use_reentrant=False)
        return block(x, other)


class Resize(nn.Module):
    """Tokens to half the resolution and twice the channels, or back; then layer normalisation."""

    def __init__(self, channels: int, up: bool) -> None:
        super().__init__()
        out = channels // 2 if up else 2 * channels
        kind: Callable[..., nn.Module] = nn.ConvTranspose3d if up else nn.Conv3d
        self.conv = kind(channels, out, 2, stride=2)
        self.norm = nn.LayerNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, H, W, C) at the new resolution."""
        return self.norm(channels_last(self.conv(channels_first(x))))


class DC2Fusion(nn.Module):
    """The network; see the module and DC2Config."""

    def __init__(self, config: DC2Config) -> None:
        super().__init__()
        self.config = config
        dims, stages = config.dims, len(config.dims)
        if any(wide != 2 * narrow for narrow, wide in itertools.pairwise(dims)):
            raise InputError("Each stage of a DC2Fusion network has twice the channels of the one before.")
        rates = torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").tolist()
        ends = list(itertools.accumulate(config.depths))
        paths = [rates[end - depth : end] for end, depth in zip(ends, config.depths, strict=True)]
        self.embed = nn.Conv3d(1, dims[0], config.patch, stride=config.patch)
        self.encoder = nn.ModuleList(Stage(config, level, paths[level]) for level in range(stages))
        self.down = nn.ModuleList(Resize(dims[level], False) for level in range(stages - 1))
        self.middle = nn.LayerNorm(dims[-1])
        self.decoder = nn.ModuleList(Stage(config, level, paths[level]) for level in range(stages))
        self.up = nn.ModuleList(Resize(dims[level], True) for level in range(1, stages))
        # The published code also has one for the last stage, where there is nothing to join.
        self.join = nn.ModuleList(
            nn.Linear(2 * dims[level], dims[level]) for level in range(stages if config.published else stages - 1)
        )
        self.last = nn.LayerNorm(2 * dims[0])
        self.unfold = nn.ConvTranspose3d(2 * dims[0], config.head, config.patch, stride=config.patch)
        self.detail = self.mix = None
        if config.detail:
            self.detail = nn.Sequential(nn.Conv3d(1, config.detail, 3, padding=1), nn.GELU())
            self.mix = nn.Sequential(nn.Conv3d(config.head + 2 * config.detail, config.head, 3, padding=1), nn.GELU())
        self.out = nn.Conv3d(config.head, 2, 3, padding=1)
        if config.detail:
            # It begins as the weighted mean of the two images.
            for parameter in self.out.parameters():
                nn.init.zeros_(parameter)

    @property
    def modalities(self) -> tuple[str, str]:
        """What first and second are."""
        return self.config.modalities

    def set_checkpointing(self, on: bool) -> None:
        """Whether training keeps only the blocks' inputs and computes the rest again: half the speed, less memory."""
        for stage in (*self.encoder, *self.decoder):
            stage.checkpointing = on

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The fused image (N, 1, D, H, W) of two of any size in [0, 1]."""
        size = first.shape[2:]
        first, second = self._padded(first), self._padded(second)
        maps = self.maps(self.tokens(first, second), first, second)
        return self.combine(maps[:, :, : size[0], : size[1], : size[2]])

    def tokens(self, first: Tensor, second: Tensor) -> Tensor:
        """Both streams' tokens (N, 2 C, d, h, w) of padded images."""
        x, other = (channels_last(self.embed(image)) for image in (first, second))
        kept = []
        for level, stage in enumerate(self.encoder):
            x, other = stage(x, other)
            kept.append((x, other))
            if level < len(self.down):
                x, other = self.down[level](x), self.down[level](other)
        x, other = self.middle(x), self.middle(other)
        for level in reversed(range(len(self.decoder))):
            if level < len(self.decoder) - 1:
                join, (skip, other_skip) = self.join[level], kept[level]
                x, other = join(torch.cat([x, skip], -1)), join(torch.cat([other, other_skip], -1))
            x, other = self.decoder[level](x, other)
            if level:
                x, other = self.up[level - 1](x), self.up[level - 1](other)
        return channels_first(torch.cat([x, other], dim=-1))

    def maps(self, tokens: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """The two maps (N, 2, D, H, W) from tokens (N, 2 C, d, h, w) and the voxels that they stand for."""
        maps = self._maps(tokens, first, second)
        if self.config.symmetric:
            c = tokens.shape[1] // 2
            swapped = self._maps(torch.cat([tokens[:, c:], tokens[:, :c]], 1), second, first)
            maps = (maps + swapped.flip(1)) / 2
        return maps

    def _maps(self, tokens: Tensor, first: Tensor, second: Tensor) -> Tensor:
        x = self.unfold(channels_first(self.last(channels_last(tokens))))
        if self.detail is None or self.mix is None:
            return self.out(x)
        x = self.mix(torch.cat([x, self.detail(first), self.detail(second)], dim=1))
        return torch.cat([first, second], dim=1) + self.out(x)

    def combine(self, maps: Tensor) -> Tensor:
        """The maps' sum (N, 1, D, H, W) weighed by their L1 norms: each sample's share of the norms, or, published,
        the norms over the whole batch themselves."""
        if self.config.published:
            return (maps * maps.abs().sum(dim=(0, 2, 3, 4), keepdim=True)).sum(dim=1, keepdim=True)
        norms = maps.abs().mean(dim=(2, 3, 4), keepdim=True)
        return (maps * (norms / (norms.sum(dim=1, keepdim=True) + _EPS))).sum(dim=1, keepdim=True)

    @torch.no_grad()
    def fuse_blocks(self, first: Tensor, second: Tensor, block: int = 96, job: Job = NO_JOB) -> Tensor:
        """As `forward` in evaluation mode, the voxels in blocks of at most about `block` a side; (N, 1, D, H, W).

        block: rounded to whole tokens. Raises InputError for a block below one token.
        """
        patch = self.config.patch
        if block < patch:
            raise InputError(f"Blocks must have at least {patch} voxels a side, not {block}.")
        job.step("tokens", 0, 1)
        size = first.shape[2:]
        first, second = self._padded(first), self._padded(second)
        tokens = self.tokens(first, second)
        job.step("tokens", 1, 1)
        maps = first.new_empty((first.shape[0], 2, *first.shape[2:]))
        corners = list(itertools.product(*(range(0, n, block // patch) for n in tokens.shape[2:])))
        for done, corner in enumerate(corners):
            job.step("voxels", done, len(corners))
            ends = [min(at + block // patch, n) for at, n in zip(corner, tokens.shape[2:], strict=True)]
            # One more token each way is more than the three voxels that the last layers see.
            starts = [max(at - 1, 0) for at in corner]
            stops = [min(end + 1, n) for end, n in zip(ends, tokens.shape[2:], strict=True)]
            coarse = (slice(None), slice(None), *map(slice, starts, stops))
            fine = (
                slice(None),
                slice(None),
                *(slice(a * patch, b * patch) for a, b in zip(starts, stops, strict=True)),
            )
            found = self.maps(tokens[coarse], first[fine], second[fine])
            inner = [
                slice((at - a) * patch, (end - a) * patch) for at, end, a in zip(corner, ends, starts, strict=True)
            ]
            place = [slice(at * patch, end * patch) for at, end in zip(corner, ends, strict=True)]
            maps[(slice(None), slice(None), *place)] = found[(slice(None), slice(None), *inner)]
        job.step("voxels", len(corners), len(corners))
        return self.combine(maps[:, :, : size[0], : size[1], : size[2]])

    def _padded(self, image: Tensor) -> Tensor:
        """(N, 1, D, H, W) with its last values repeated up to multiples of the stride."""
        if image.dim() != 5 or image.shape[1] != 1:
            raise InputError(f"DC2Fusion takes images (N, 1, D, H, W), not {tuple(image.shape)}.")
        missing = [-n % self.config.stride for n in reversed(image.shape[2:])]
        pads = [amount for n in missing for amount in (0, n)]
        return F.pad(image, pads, mode="replicate") if any(missing) else image
