"""CMF-Net: a target contrast restored and enlarged together, with the help of another contrast (Pattern Recognition
154:110599, 2024).

Low-resolution images of both contrasts go in, the target's from undersampled k-space; out come the target without
aliasing at the same size, and at `scale` times the size. Written from a description of what the authors' code computes.

    A_i = Res(A_{i-1}),  T_i = MFA(A_i, Res(T_{i-1}))                     i = 1 .. exchanges
    (S_i, R_i) = MMF(Res(S_{i-1}), UNet(R_{i-1})),  S_0 = R_0 = T_last    i = 1 .. steps
    restored = conv(R_last + head(target)),  super-resolved = conv(up(S_last + head(target)))

Parts that the published network has but never uses (a second output of the restoring branch, and a convolution of each
exchange) are not built: 738,753 of its 48,637,251 parameters. Without `published` the convolution of the exchange's
means has one tap instead of nine, of which eight only ever see padding. `skip` adds to what comes out of each MFA and
U-Net what went in, opens the exchanges (MutualExchange.open), and makes both outputs corrections of the target and of
its bicubic enlargement, as which they begin: a short training gets far further.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from torch import Tensor, nn

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.cmfblocks import MultiScaleFusion, MutualExchange, ResidualBlock, enlarging
from MSLFusionLib.nets.unet import UNet, bicubic, padded

PUBLISHED_PARAMETERS, UNUSED_PARAMETERS = 48_637_251, 738_753
"""Of the authors' network at scale 4, and how many of them it never uses."""
_LIMIT = 6.0
"""The published way cuts standardised images here."""
_EPS = 1e-12


@dataclass(frozen=True)
class CMFConfig:
    """The network's sizes.

    contrasts: auxiliary and target. scale: 2 or 4. channels: of the features. unet_channels, pools: of the U-Nets'
    finest level, and how often they halve. exchanges, steps: see the module. norm: "batch" or "group" in the
    attentions. skip, published: see the module; `published` also stands for the published way of standardising.
    """

    contrasts: tuple[str, str] = ("t1", "t2")
    scale: int = 4
    channels: int = 64
    unet_channels: int = 128
    pools: int = 2
    exchanges: int = 3
    steps: int = 6
    norm: str = "group"
    skip: bool = False
    published: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "contrasts", tuple(self.contrasts))
        sizes = (self.channels, self.unet_channels, self.pools, self.exchanges, self.steps)
        if self.scale not in (2, 4):
            raise InputError(f"CMF-Net enlarges by 2 or 4, not by {self.scale}.")
        if not all(isinstance(n, int) and 0 < n <= 1024 for n in sizes) or self.pools > 5:
            raise InputError("The sizes of a CMF-Net must be whole numbers above 0.")
        if self.norm not in ("batch", "group"):
            raise InputError(f"norm must be batch or group, not '{self.norm}'.")
        if len(self.contrasts) != 2 or not all(isinstance(name, str) for name in self.contrasts):
            raise InputError("CMF-Net has two contrasts: the auxiliary and the target.")

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self) | {"contrasts": list(self.contrasts)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "CMFConfig":
        """The configuration described by `to_dict`; InputError for unknown or unusable entries."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise InputError(f"CMF-Net has no setting '{sorted(unknown)[0]}'.")
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"The description of the CMF-Net is damaged: {error}.") from None


_PRESETS = {
    "official": CMFConfig(norm="batch", published=True),
    "fixed": CMFConfig(),
    "compact": CMFConfig(scale=2, channels=16, unet_channels=16, skip=True),
}
PRESETS = tuple(_PRESETS)


def cmf_preset(name: str, **changes: Any) -> CMFConfig:
    """The configuration `official`, `fixed` or `compact`, with some fields changed; InputError for another name."""
    if name not in _PRESETS:
        raise InputError(f"There is no CMF-Net preset '{name}': use one of {', '.join(PRESETS)}.")
    return replace(_PRESETS[name], **changes)


class CMFNet(nn.Module):
    """The network; see the module and CMFConfig."""

    def __init__(self, config: CMFConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.head_auxiliary = nn.Conv2d(1, c, 3, padding=1)
        self.head_target = nn.Conv2d(1, c, 3, padding=1)
        share = 1.0 if config.skip else 0.1
        self.auxiliary = nn.ModuleList(ResidualBlock(c, share) for _ in range(config.exchanges))
        self.target = nn.ModuleList(ResidualBlock(c, share) for _ in range(config.exchanges))
        self.fuse = nn.ModuleList(MultiScaleFusion(c) for _ in range(config.exchanges))
        self.enlarge = nn.ModuleList(ResidualBlock(c, share) for _ in range(config.steps))
        self.restore = nn.ModuleList(UNet(c, c, config.unet_channels, config.pools) for _ in range(config.steps))
        self.exchange = nn.ModuleList(MutualExchange(c, config.norm, config.published) for _ in range(config.steps))
        self.out_restored = nn.Conv2d(c, 1, 3, padding=1)
        self.up = enlarging(c, config.scale)
        self.out_enlarged = nn.Conv2d(c, 1, 3, padding=1)
        if config.skip:
            for exchange in self.exchange:
                assert isinstance(exchange, MutualExchange)
                exchange.open()
            for parameter in (*self.out_restored.parameters(), *self.out_enlarged.parameters()):
                nn.init.zeros_(parameter)

    @property
    def modalities(self) -> tuple[str, str]:
        """The contrasts of the auxiliary and of the target."""
        return self.config.contrasts

    def forward(self, target: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        """Restored (N, 1, h, w) and super-resolved (N, 1, s h, s w) from standardised images (N, 1, h, w), any h, w."""
        if target.ndim != 4 or target.shape[1] != 1 or target.shape != auxiliary.shape:
            raise InputError(
                f"Target and auxiliary must be images (N, 1, h, w) of one size, not {tuple(target.shape)} and "
                f"{tuple(auxiliary.shape)}."
            )
        height, width = target.shape[-2:]
        config, multiple = self.config, 2**self.config.pools
        start = self.head_target(padded(target, multiple))
        a, t = self.head_auxiliary(padded(auxiliary, multiple)), start
        for auxiliary_block, target_block, fuse in zip(self.auxiliary, self.target, self.fuse, strict=True):
            a = auxiliary_block(a)
            t = target_block(t)
            t = t + fuse(a, t) if config.skip else fuse(a, t)
        restored = enlarged = t
        for enlarge, restore, exchange in zip(self.enlarge, self.restore, self.exchange, strict=True):
            found = restored + restore(restored) if config.skip else restore(restored)
            enlarged, restored = exchange(enlarge(enlarged), found)
        low = self.out_restored(restored + start)[..., :height, :width]
        high = self.out_enlarged(self.up(enlarged + start))[..., : config.scale * height, : config.scale * width]
        return (target + low, bicubic(target, config.scale) + high) if config.skip else (low, high)


def standardised(target: Tensor, *others: Tensor, published: bool = False) -> tuple[list[Tensor], Tensor, Tensor]:
    """Images (N, 1, ...) minus the mean and divided by the standard deviation of each `target`; mean, deviation.

    others: further images in the target's own unit, such as the truths of a training, at any size. The auxiliary has
    a unit of its own: standardise it by itself. A constant target becomes 0. published: cut at +-6.
    """
    mean = target.mean((1, 2, 3), keepdim=True)
    deviation = target.std((1, 2, 3), correction=0, keepdim=True)
    scaled = [(image - mean) / (deviation + _EPS) for image in (target, *others)]
    if published:
        scaled = [image.clamp(-_LIMIT, _LIMIT) for image in scaled]
    return scaled, mean, deviation


def enhance(model: nn.Module, target: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
    """Restored and super-resolved images in the target's own unit, not negative, from magnitudes (N, 1, h, w).

    model: a CMFNet, or another with its interface. The auxiliary's unit does not matter.
    """
    published = bool(getattr(model.config, "published", False))
    (seen,), mean, deviation = standardised(target, published=published)
    (beside,), _, _ = standardised(auxiliary, published=published)
    low, high = model(seen, beside)
    return (low * deviation + mean).clamp(min=0), (high * deviation + mean).clamp(min=0)
