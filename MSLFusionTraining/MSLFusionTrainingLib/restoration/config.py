"""The settings of a training that restores and enlarges one MR contrast with the help of another."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.cmfnet import CMFConfig, cmf_preset
from MSLFusionLib.nets.unet import BicubicUNetConfig
from MSLFusionTrainingLib.tables import as_json, check_numbers, checked, table_of

METHOD_NAME = "cmf-net"
NETWORKS = ("cmf-net", "unet-bicubic")
MASKS = ("random", "equispaced", "official")
"""The k-space masks of physics.masks."""
CONTRASTS = ("t1", "t2")
"""MR contrasts of generated heads."""


@dataclass(frozen=True)
class RestorationConfig:
    """Everything that a training depends on; the same settings and seed give the same weights on the same device.

    Model. network: "cmf-net", or "unet-bicubic", a U-Net whose result is enlarged bicubically. preset: "compact",
    "fixed" or "official", of CMF-Net and of the training; model: changed fields of nets.cmfnet.CMFConfig or
    nets.unet.BicubicUNetConfig; name: of the model. contrasts: auxiliary and target; scale: 2 or 4.
    Data. data: a training set of two MR contrasts as `mslfusion prepare` writes it, or pairs: a CSV table of fastMRI
    files (see fastmri); without either, generated heads: heads to train on (seeds head_seed ...), slices of each,
    validation_heads that are never trained on. size, pixel_mm: of the fine slices.
    Measurement. accelerations, masks: drawn for every slice, the first of each with probability `usual`;
    centre_fraction: share of all columns measured in the centre, 0 for that of the mask; kspace_noise: largest standard
    deviation relative to the image's maximum, 0 for none.
    Augmentation. augment: mirrors, MR contrast and bias field, resolution and texture; pad: pixels of reflected border
    from which slices are cropped again; affine: share of the largest turn (15 degrees), scale (10 %) and shear (5 %);
    elastic: largest bend in pixels; invert: share of slices with inverted contrast, of either image; strip: share of
    slices that lose scalp and skull; tight: share of steps whose field of view ends where the head does.
    Optimisation. iterations; batch; crop: fine rows that the network sees of a measured slice, 0 for all; rows stay
    whole, along which undersampling folds. optimiser "adam" or "rmsprop" with learning_rate, which falls as (1 - share
    of iterations)^power; clip: largest gradient norm, 0 for none; ema: decay of the averaged weights that are validated
    and exported, 0 for none.
    Losses. weight_restored, weight_super_resolved: of the two mean absolute errors.
    Run. validate_every, validation_slices (of each head), checkpoint_every, log_every, seed.
    """

    network: str = "cmf-net"
    preset: str = "compact"
    model: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    contrasts: tuple[str, str] = ("t1", "t2")
    scale: int = 2
    data: str = ""
    pairs: str = ""
    heads: int = 32
    head_seed: int = 5000
    slices: int = 32
    validation_heads: int = 2
    size: int = 256
    pixel_mm: float = 1.0
    accelerations: tuple[float, ...] = (4.0, 3.0, 5.0, 6.0)
    masks: tuple[str, ...] = ("random", "equispaced")
    usual: float = 0.6
    centre_fraction: float = 0.0
    kspace_noise: float = 0.02
    augment: bool = True
    pad: int = 8
    affine: float = 0.5
    elastic: float = 3.0
    invert: float = 0.0
    strip: float = 0.4
    tight: float = 0.5
    iterations: int = 3000
    batch: int = 1
    crop: int = 96
    optimiser: str = "adam"
    learning_rate: float = 1.5e-3
    power: float = 0.9
    clip: float = 1.0
    ema: float = 0.995
    weight_restored: float = 1.0
    weight_super_resolved: float = 1.0
    validate_every: int = 250
    validation_slices: int = 6
    checkpoint_every: int = 100
    log_every: int = 10
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("contrasts", "accelerations", "masks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, allowed in (("network", NETWORKS), ("optimiser", ("adam", "rmsprop"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} = '{getattr(self, name)}' is unknown: use {' or '.join(allowed)}.")
        if len(self.contrasts) != 2 or len(set(self.contrasts)) != 2:
            raise InputError("contrasts must name two different MR contrasts: the auxiliary, then the target.")
        if self.data and self.pairs:
            raise InputError("Give either data or pairs, not both.")
        if not (self.data or self.pairs or set(self.contrasts) <= set(CONTRASTS)):
            raise InputError(f"contrasts of generated heads are {' and '.join(CONTRASTS)}.")
        check_numbers(self, _POSITIVE, _NOT_NEGATIVE)
        for name in ("usual", "invert", "strip", "tight", "affine", "centre_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in [0, 1], not {getattr(self, name)}.")
        if not self.ema < 1:
            raise InputError(f"ema must lie in [0, 1), not {self.ema}.")
        if self.scale not in (2, 4):
            raise InputError(f"scale must be 2 or 4, not {self.scale}.")
        if self.size % self.scale or self.crop % self.scale or self.crop > self.size or self.pad >= self.size:
            raise InputError("size and crop must be multiples of scale, crop and pad at most size.")
        if not (self.accelerations and self.masks) or not all(
            1 <= one <= self.size / self.scale for one in self.accelerations
        ):
            raise InputError(f"accelerations must be numbers from 1 to {self.size // self.scale}, masks at least one.")
        unknown = [kind for kind in self.masks if kind not in MASKS]
        if unknown:
            raise InputError(f"The mask '{unknown[0]}' is unknown: use {', '.join(MASKS)}.")
        if not self.name:
            short = {"cmf-net": "cmf", "unet-bicubic": "unet"}[self.network]
            object.__setattr__(self, "name", f"{short}-{'-'.join(self.contrasts)}-x{self.scale}")

    @property
    def modalities(self) -> tuple[str, str]:
        """What the slices of the training set show, in this order."""
        return self.contrasts

    def architecture(self) -> CMFConfig | BicubicUNetConfig:
        """The network's configuration; InputError for settings that it does not have."""
        given: dict[str, Any] = {"contrasts": list(self.contrasts), "scale": self.scale}
        if self.network == "unet-bicubic":
            return BicubicUNetConfig.from_dict(given | self.model)
        return CMFConfig.from_dict(cmf_preset(self.preset).to_dict() | given | self.model)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON types."""
        return as_json(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RestorationConfig":
        """Settings from a table over the preset's; InputError names an unknown key and the nearest valid one."""
        preset = values.get("preset", "compact")
        if preset not in _PRESETS:
            raise InputError(f"There is no preset '{preset}': use one of {', '.join(_PRESETS)}.")
        base = _PRESETS[preset]
        # The preset's own name is that of its own contrasts and scale.
        return replace(base, **({"name": ""} | checked(values, base)))

    @classmethod
    def from_file(cls, path: Path, changes: dict[str, Any] | None = None) -> "RestorationConfig":
        """Settings from a TOML file, with `changes` (the flags) on top; InputError for a bad file."""
        return cls.from_dict(table_of(path, METHOD_NAME, changes))


_POSITIVE = (
    *("heads", "slices", "size", "pixel_mm", "iterations", "batch", "learning_rate", "validate_every"),
    *("validation_slices", "checkpoint_every", "log_every"),
)
_NOT_NEGATIVE = (
    *("head_seed", "validation_heads", "kspace_noise", "pad", "elastic", "crop", "power", "clip", "ema", "seed"),
    *("weight_restored", "weight_super_resolved"),
)
# What the authors' code sets, but for the learning rate: 1e-5 in their script and 1e-3 in its network's defaults.
_OFFICIAL = RestorationConfig(
    preset="official",
    scale=4,
    accelerations=(6.0,),
    masks=("random",),
    centre_fraction=0.08,
    kspace_noise=0.0,
    augment=False,
    pad=0,
    affine=0.0,
    elastic=0.0,
    invert=0.0,
    strip=0.0,
    tight=0.0,
    iterations=100_000,
    batch=8,
    crop=0,
    optimiser="rmsprop",
    learning_rate=1e-4,
    power=0.0,
    clip=0.0,
    ema=0.0,
)
_PRESETS = {
    "compact": RestorationConfig(),
    "fixed": RestorationConfig(preset="fixed", learning_rate=2e-4, iterations=100_000, batch=8, crop=0, ema=0.999),
    "official": _OFFICIAL,
}
