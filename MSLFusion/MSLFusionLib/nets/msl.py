"""The multi-sensor learning network (Zhu et al., TPAMI 2024): one class for all presets.

Two physics-informed encoders see the sensor images (FBP of the sparse sinogram, zero-filled inverse FFT of the
undersampled k-space), a transformer exchanges inter-modality features, and a decoder conditioned on lambda turns the
multi-sensor representation into an image between CT (lambda = 0) and MRI (lambda = 1).
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.constants import Partial, convolved
from MSLFusionLib.nets.layers import (
    NORMS,
    ConditionalInstanceNorm,
    ConvBlock,
    Dropout,
    ImageConv,
    InstanceNormAffine,
    PatchProjection,
    ResidualBlock,
    TransformerLayer,
)
from MSLFusionLib.nets.refine import Refiner

STRIDE = 16
"""One token stands for STRIDE x STRIDE pixels: slices must be multiples of it."""


@dataclass(frozen=True)
class MSLConfig:
    """Sizes and choices of an MSL network; every row of the comparison with the paper is one field.

    modalities: names in the order of the encoders.
    width: channels of the encoder at full resolution; it doubles at each of the two downsamplings.
    space_to_depth: the encoder starts, and the decoder ends, at half resolution with 2 x 2 pixels as channels.
    encoder_blocks: residual blocks of each encoder; encoder_blocks_used False keeps them without calling them, as
        the published code does.
    encoder_norm: "instance", "channel" or "none".
    token_dim, depth, heads, head_dim, mlp_dim, dropout: the transformer.
    shared_projection: one patch projection for all modalities.
    token_norm: "l2" (unit length), "layer" or "none".
    position_std: spread of the initial position table, truncated normal below 1.
    token_grid: rows and columns of the position table, interpolated for other slice sizes.
    unused_class_token: a second class token that takes no part, as in the published code.
    fusion: "sum" (equations 3, 4, 7 as printed) or "mean" of the token groups present.
    up_norm: "instance" or "batch".
    decoder_blocks: residual blocks of the decoder; cin_both: conditional normalisation after both convolutions.
    cin_relu, cin_unbiased: see ConditionalInstanceNorm. embedding: size of f_s(lambda).
    skips: encoder features of the modalities present reach the decoder at every resolution.
    residual: the output is the (1 - lambda, lambda) blend of the sensor images present plus what the network adds.
    output: "tanh" or "linear".
    cascades: learned steps between corrections towards the data (see recon.unrolled), 0 for none; they share one
        network of refine_width channels.
    """

    modalities: tuple[str, ...] = ("ct", "mr")
    width: int = 64
    space_to_depth: bool = False
    encoder_blocks: int = 3
    encoder_blocks_used: bool = True
    encoder_norm: str = "instance"
    token_dim: int = 1024
    depth: int = 2
    heads: int = 8
    head_dim: int = 64
    mlp_dim: int = 3072
    dropout: float = 0.0
    shared_projection: bool = False
    token_norm: str = "layer"
    position_std: float = 0.02
    token_grid: tuple[int, int] = (24, 24)
    unused_class_token: bool = False
    fusion: str = "mean"
    up_norm: str = "instance"
    decoder_blocks: int = 3
    cin_both: bool = False
    cin_relu: bool = False
    cin_unbiased: bool = False
    embedding: int = 256
    skips: bool = True
    residual: bool = True
    output: str = "linear"
    cascades: int = 0
    refine_width: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(self.modalities))
        object.__setattr__(self, "token_grid", tuple(self.token_grid))
        choices = {
            "encoder_norm": ("instance", "channel", "none"),
            "up_norm": ("instance", "channel", "batch"),
            "token_norm": ("l2", "layer", "none"),
            "fusion": ("sum", "mean"),
            "output": ("tanh", "linear"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"MSL {name} '{getattr(self, name)}' is unknown: use one of {', '.join(allowed)}.")
        if len(self.modalities) < 2 or len(set(self.modalities)) != len(self.modalities):
            raise InputError("MSL needs at least two different modalities.")
        for name in ("width", "token_dim", "depth", "heads", "head_dim", "mlp_dim", "embedding", "refine_width"):
            if not 1 <= getattr(self, name) <= 8192:
                raise InputError(f"MSL {name} must lie between 1 and 8192, not {getattr(self, name)}.")
        if not (0 <= self.encoder_blocks <= 64 and 0 <= self.decoder_blocks <= 64):
            raise InputError("MSL encoder_blocks and decoder_blocks must lie between 0 and 64.")
        if not 0 <= self.cascades <= 16:
            raise InputError(f"MSL cascades must lie between 0 and 16, not {self.cascades}.")
        if len(self.token_grid) != 2 or not all(1 <= n <= 256 for n in self.token_grid):
            raise InputError("MSL token_grid must be two numbers between 1 and 256.")

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types."""
        values = asdict(self)
        return values | {"modalities": list(self.modalities), "token_grid": list(self.token_grid)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MSLConfig":
        """The inverse of to_dict; InputError names a key or a value that does not belong."""
        types = {f.name: type(f.default) for f in fields(cls)}
        unknown = sorted(set(values) - set(types))
        if unknown:
            raise InputError(f"MSL has no setting '{unknown[0]}'.")
        for name, value in values.items():
            kind = types[name]
            allowed: tuple[type, ...] = {tuple: (list, tuple), float: (int, float)}.get(kind, (kind,))
            if not isinstance(value, allowed) or (kind is not bool and isinstance(value, bool)):
                raise InputError(f"MSL setting '{name}' has the unusable value {value!r}.")
        return cls(**values)

    def with_(self, **changes: Any) -> "MSLConfig":
        """A copy with some fields changed."""
        return replace(self, **changes)


@dataclass
class Features:
    """What one encoder saw: the map that becomes tokens and the finer maps for the skip path.

    deep: (N, 4 width, H/4, W/4). fine: finest last, empty without skips. image: (N, 1, H, W), the sensor image.
    """

    deep: Tensor
    fine: tuple[Tensor, ...]
    image: Tensor


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


class Encoder(nn.Module):
    """Physics-informed encoder of one modality: E(FBP(y)) or E(|IFFT(y)|), equations 1 and 2."""

    def __init__(self, config: MSLConfig) -> None:
        super().__init__()
        w, norm = config.width, config.encoder_norm
        self.config = config
        if config.space_to_depth:
            self.stem = nn.Sequential(nn.PixelUnshuffle(2), ConvBlock(4, 2 * w, 3, norm=norm))
            self.fine: nn.Module = ResidualBlock(2 * w, norm)
            self.down = nn.ModuleList([ConvBlock(2 * w, 4 * w, 4, 2, norm=norm)])
        else:
            self.stem = nn.Sequential(ConvBlock(1, w, 7, norm=norm))
            self.fine = nn.Identity()
            self.down = nn.ModuleList([ConvBlock(w, 2 * w, 4, 2, norm=norm), ConvBlock(2 * w, 4 * w, 4, 2, norm=norm)])
        self.blocks = nn.Sequential(*[ResidualBlock(4 * w, norm) for _ in range(config.encoder_blocks)])

    def forward(self, image: Tensor) -> Features:
        """image (N, 1, H, W) in [0, 1]."""
        x = self.fine(self.stem(image))
        fine = []
        for down in self.down:
            fine.append(x)
            x = down(x)
        if self.config.encoder_blocks_used:
            x = self.blocks(x)
        return Features(x, tuple(fine) if self.config.skips else (), image)


class Interaction(nn.Module):
    """Cross-domain interaction: patches of every modality, once per target modality, through a transformer."""

    def __init__(self, config: MSLConfig) -> None:
        super().__init__()
        n, dim = len(config.modalities), config.token_dim
        self.config = config
        projections = 1 if config.shared_projection else n
        self.project = nn.ModuleList([PatchProjection(4 * config.width, dim) for _ in range(projections)])
        self.norm = nn.LayerNorm(dim) if config.token_norm == "layer" else nn.Identity()
        self.class_token = nn.Parameter(torch.randn(1, 1, dim))
        if config.unused_class_token:
            self.unused_class_token = nn.Parameter(torch.randn(1, 1, dim))
        self.position = nn.Parameter(torch.empty(n * n, dim, *config.token_grid))
        self.class_position = nn.Parameter(torch.empty(1, 1, dim))
        for table in (self.position, self.class_position):
            if config.position_std < 1:
                nn.init.trunc_normal_(table, std=config.position_std)
            else:
                nn.init.normal_(table, std=config.position_std)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(
            [
                TransformerLayer(dim, config.heads, config.head_dim, config.mlp_dim, config.dropout)
                for _ in range(config.depth)
            ]
        )

    def forward(
        self, features: Sequence[Features | None], present: Tensor | None, origin: tuple[int, int] | None = None
    ) -> Tensor:
        """Token groups (N, n * n, tokens, D); group i * n + j is modality i's share for modality j.

        features: one per modality, None where a modality is absent in the whole batch.
        present: (N, n) bool; the tokens of absent modalities are left out of the attention (equations 5 and 6).
            None when every given modality is there in every slice, which is quicker.
        origin: row and column, in tokens, of a crop within the slice that the position table was made for.
        """
        n = len(self.config.modalities)
        seen = [i for i, f in enumerate(features) if f is not None]
        deep = [f.deep for f in features if f is not None]
        batch, _, rows, columns = deep[0].shape
        rows, columns = rows // 4, columns // 4
        position = self._position(rows, columns, origin)
        tokens = [self.class_token.expand(batch, -1, -1) + self.class_position]
        keys = [] if present is None else [present.new_ones(batch, 1)]
        for i, feature in zip(seen, deep, strict=True):
            project = self.project[0 if self.config.shared_projection else i]
            patches = project(feature).flatten(2).transpose(1, 2)
            if self.config.token_norm == "l2":
                patches = F.normalize(patches, dim=-1)
            patches = self.norm(patches)
            for j in range(n):
                tokens.append(patches + position[i * n + j])
                if present is not None:
                    keys.append(present[:, i : i + 1].expand(-1, rows * columns))
        x = self.dropout(torch.cat(tokens, 1))
        mask = torch.cat(keys, 1) if keys else None
        for layer in self.layers:
            x = layer(x, mask)
        out = x[:, 1:].reshape(batch, len(seen), n, rows * columns, -1)
        if len(seen) == n:
            return out.flatten(1, 2)
        groups = out.new_zeros(batch, n, n, rows * columns, out.shape[-1])
        groups[:, seen] = out
        return groups.flatten(1, 2)

    def _position(self, rows: int, columns: int, origin: tuple[int, int] | None) -> Tensor:
        """The position table for a token grid, (n * n, tokens, D)."""
        table: Tensor = self.position
        if origin is not None:
            r, c = origin
            table = table[:, :, r : r + rows, c : c + columns]
        if table.shape[-2:] != (rows, columns):
            table = F.interpolate(table, (rows, columns), mode="bicubic", align_corners=False)
        return table.flatten(2).transpose(1, 2)


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


class MSL(nn.Module):
    """The whole network: `encode` once per slice, `decode` for every lambda or lambda map."""

    def __init__(self, config: MSLConfig) -> None:
        super().__init__()
        self.config = config
        w, dim, n = config.width, config.token_dim, len(config.modalities)
        self.encoders = nn.ModuleList([Encoder(config) for _ in config.modalities])
        self.interaction = Interaction(config)
        self.up = nn.Sequential(*_upsample(dim, dim // 2, config), *_upsample(dim // 2, 4 * w, config))
        self.decoder = Decoder(config)
        if config.skips:
            widths = [2 * w] if config.space_to_depth else [2 * w, w]
            self.skip_multi = nn.ModuleList([nn.Conv2d(4 * w, 4 * w, 1) for _ in range(n)])
            self.skip_fine = nn.ModuleList([nn.ModuleList([nn.Conv2d(c, c, 1) for _ in range(n)]) for c in widths])
        if config.cascades:
            self.refiner = Refiner(n, config.refine_width, config.cascades)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities in the order that `encode` takes them."""
        return self.config.modalities

    def encode(
        self,
        *images: Tensor | None,
        present: Tensor | None = None,
        origin: tuple[int, int] | None = None,
    ) -> Latent:
        """The latent of a batch of slices.

        images: one sensor image per modality, (N, 1, H, W) in [0, 1], H and W multiples of 16; None where a
            modality is absent.
        present: (N, modalities) bool, which of the images of each slice to use (all given ones by default).
        origin: see Interaction.forward.
        Raises InputError for sizes that are no multiple of 16, or when a slice has no modality at all.
        """
        features = self.features(images)
        here = self.presence(images, present)
        groups = self.interaction(features, None if present is None else here, origin)
        return self.fuse(features, groups, here)

    def features(self, images: Sequence[Tensor | None]) -> list[Features | None]:
        """Each encoder's view of its sensor image."""
        if len(images) != len(self.modalities):
            raise InputError(f"This network takes {len(self.modalities)} modalities, not {len(images)}.")
        for image in images:
            if image is not None and (image.shape[-1] % STRIDE or image.shape[-2] % STRIDE):
                rows, columns = image.shape[-2:]
                raise InputError(f"The slice size {rows} x {columns} must be a multiple of {STRIDE}.")
        return [None if image is None else encoder(image) for encoder, image in zip(self.encoders, images, strict=True)]

    def presence(self, images: Sequence[Tensor | None], present: Tensor | None) -> Tensor:
        """(N, modalities) bool: what is given and not masked. InputError when a slice has nothing."""
        given = [image is not None for image in images]
        some = next((image for image in images if image is not None), None)
        if some is None:
            raise InputError("At least one modality must be given.")
        here = torch.tensor(given).expand(some.shape[0], -1)
        if present is not None:
            here = here.to(present.device) & present
            if not bool(here.any(1).all()):
                raise InputError("At least one modality must be present in every slice.")
        return here.to(some.device, non_blocking=True)

    def fuse(self, features: Sequence[Features | None], groups: Tensor, present: Tensor) -> Latent:
        """f_multi from the token groups of the modalities present (equations 3 to 7), with the skip path.

        Absent modalities contribute nothing, by selection rather than by multiplying with zero, so that not even
        their gradient is touched.
        """
        n = len(self.modalities)
        share = present.to(groups.dtype)
        if self.config.fusion == "mean":
            share = share / (share.sum(1, keepdim=True) * n)
        tokens = (groups.unflatten(1, (n, n)).sum(2) * share[:, :, None, None]).sum(1)
        deep = next(f.deep for f in features if f is not None)
        rows, columns = deep.shape[-2] // 4, deep.shape[-1] // 4
        multi = self.up(tokens.transpose(1, 2).unflatten(2, (rows, columns)))
        skips: list[Tensor] = []
        if self.config.skips:
            multi = multi + self._skip(self.skip_multi, [f and f.deep for f in features], present)
            for level, layers in enumerate(self.skip_fine):
                maps = [f and f.fine[-1 - level] for f in features]
                skips.append(self._skip(layers, maps, present))
        base = None
        if self.config.residual:
            image = next(f.image for f in features if f is not None)
            images = [torch.zeros_like(image) if f is None else f.image for f in features]
            base = torch.cat(images, 1)
            base = torch.where(present[:, :, None, None], base, torch.zeros_like(base))
        return Latent(multi, tuple(skips), base, groups if self.training else None)

    def _skip(self, layers: nn.Module, maps: Sequence[Any], present: Tensor) -> Tensor:
        total: Any = 0
        for i, (layer, feature) in enumerate(zip(layers, maps, strict=True)):  # type: ignore[call-overload]
            if feature is not None:
                here = present[:, i, None, None, None]
                y = layer(feature)
                total = total + torch.where(here, y, torch.zeros_like(y))
        return total

    def decode(self, latent: Latent, lam: float | Tensor) -> Tensor:
        """The hybrid image X_lambda, (N, 1, H, W); clipped to [0, 1] outside training.

        lam: a number, one number per slice (N,), or a map (N, 1, H, W), in [0, 1]; or weights of the n modalities
        on the simplex, (N, n) or (N, n, H, W), which with n = 2 are (1 - lambda, lambda). Raises InputError for a
        single number where there are more than two modalities.
        """
        return self.decode_all(latent, [lam])[0]

    def decode_all(self, latent: Latent, lams: Sequence[float | Tensor]) -> list[Tensor]:
        """The hybrid image of each lambda, as `decode` gives it; what lambda does not touch is computed once."""
        first = self.decoder.first(latent)
        return [self._decode(latent, self._condition(latent, lam), first) for lam in lams]

    def _decode(self, latent: Latent, lam: Tensor, first: Tensor | None) -> Tensor:
        image = self.decoder(latent, lam, first)
        if latent.base is not None:
            weights = torch.cat([1 - lam, lam], 1) if len(self.modalities) == 2 else lam
            image = image + (latent.base * weights).sum(1, keepdim=True)
        return image if self.training else image.clamp(0, 1)

    def _condition(self, latent: Latent, lam: float | Tensor) -> Tensor:
        """lam as (N, K, 1, 1) or (N, K, H, W) on the latent's device."""
        n = latent.multi.shape[0]
        lam = torch.as_tensor(lam, dtype=torch.float32, device=latent.multi.device)
        if lam.ndim == 0:
            lam = lam.expand(n)
        if lam.ndim <= 2:
            lam = lam.reshape(lam.shape[0], -1, 1, 1)
        modalities = len(self.modalities)
        if modalities == 2 and lam.shape[1] == 2:
            lam = lam[:, 1:]
        if lam.shape[1] != (1 if modalities == 2 else modalities):
            raise InputError(f"A network of {modalities} modalities takes a weight for each, not {lam.shape[1]}.")
        return lam.expand(n, -1, -1, -1)


def _cin(channels: int, config: MSLConfig) -> ConditionalInstanceNorm:
    return ConditionalInstanceNorm(channels, config.embedding, relu=config.cin_relu, unbiased=config.cin_unbiased)


def _upsample(cin: int, cout: int, config: MSLConfig) -> list[nn.Module]:
    return [
        nn.ConvTranspose2d(cin, cout, 3, 2, padding=1, output_padding=1),
        NORMS[config.up_norm](cout),
        nn.ReLU(inplace=True),
    ]


def _at(lam: Tensor, x: Tensor) -> Tensor:
    """A lambda map averaged down to the resolution of x; scalars pass."""
    if lam.shape[-2:] == (1, 1) or lam.shape[-2:] == x.shape[-2:]:
        return lam
    return F.adaptive_avg_pool2d(lam, (x.shape[-2], x.shape[-1]))
