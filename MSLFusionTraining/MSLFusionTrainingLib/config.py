"""The settings of a training: a TOML file, every key also a flag, with presets for the paper, its code and ours."""

import difflib
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training depends on; the same settings and seed give the same weights on the same device.

    Model. preset: see nets.presets; model: changed fields of that preset. modalities of the pair: "ct" with mr
    "t1" or "t2".
    Data. heads: generated heads to train on (seeds head_seed ...); slices: axial slices of each; validation_heads:
    further heads, never trained on. size, pixel_mm: the network's in-plane grid.
    Sensors. views, accelerations, masks: drawn for every batch, the first of each with probability `usual`;
    photons and kspace_noise: largest noise (I0 and standard deviation relative to the image's maximum), 0 for none.
    Optimisation. Adam with betas and weight_decay; schedule "halving" (every halve_every iterations) or "cosine"
    with warm-up; clip: largest gradient norm, 0 for none; ema: decay of the averaged weights that are validated
    and exported, 0 for none; crop: side of the random crop that the network sees, 0 for whole slices; after the share
    whole_from of the iterations it sees whole slices, whose statistics are those it will meet.
    Losses (equations 14 to 20). weight_fusion, weight_aux, weight_feature; fusion_lambda "half" (equation 15) or
    "any": lambda drawn per slice or as a smooth map, with (1 - lambda) MSE to CT + lambda MSE to MR, which is
    equation 15 at one half; aux "masked" (second pass without the absent modality's tokens) or "leak" (the
    published way); aux_every: iterations between auxiliary passes; outside: how much of what exceeds [0, 1] the losses
    see, 1 for all of it, see losses.soft_clip.
    """

    preset: str = "msl-lite"
    model: dict[str, Any] = field(default_factory=dict)
    name: str = "msl-ct-t1"
    mr: str = "t1"
    heads: int = 48
    head_seed: int = 1000
    slices: int = 40
    validation_heads: int = 2
    size: int = 384
    pixel_mm: float = 256 / 384
    views: tuple[int, ...] = (64,)
    accelerations: tuple[float, ...] = (4.0,)
    masks: tuple[str, ...] = ("random",)
    usual: float = 0.6
    photons: float = 0.0
    kspace_noise: float = 0.0
    augment: bool = True
    iterations: int = 100_000
    batch: int = 4
    crop: int = 0
    whole_from: float = 1.0
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-4
    schedule: str = "halving"
    halve_every: int = 10_000
    warmup: int = 0
    clip: float = 0.0
    ema: float = 0.0
    weight_fusion: float = 1.0
    weight_aux: float = 1.0
    weight_feature: float = 0.5
    fusion_lambda: str = "half"
    aux: str = "masked"
    aux_every: int = 1
    outside: float = 1.0
    validate_every: int = 1000
    checkpoint_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("views", "accelerations", "masks", "betas"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        choices = {
            "schedule": ("halving", "cosine"),
            "fusion_lambda": ("half", "any"),
            "aux": ("masked", "leak"),
            "mr": ("t1", "t2"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} = '{getattr(self, name)}' is unknown: use {' or '.join(allowed)}.")
        positive = ("heads", "slices", "size", "iterations", "batch", "halve_every", "aux_every")
        for name in (*positive, "validate_every", "checkpoint_every", "pixel_mm", "learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be larger than 0, not {getattr(self, name)}.")
        if self.size % 16 or self.crop % 16 or not 0 <= self.crop <= self.size:
            raise InputError("size and crop must be multiples of 16, crop at most size.")
        if not (self.views and self.accelerations and self.masks):
            raise InputError("views, accelerations and masks must each name at least one value.")
        if not 0 <= self.ema < 1:
            raise InputError(f"ema must lie in [0, 1), not {self.ema}.")

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Settings from a table; `settings = NAME` in it picks the preset that the other keys change.

        Raises InputError that names an unknown key and the nearest valid one, or an unusable value.
        """
        values = dict(values)
        base = training_preset(values.pop("settings", "msl"))
        kinds = {f.name: type(getattr(base, f.name)) for f in fields(cls)}
        for key, value in values.items():
            if key not in kinds:
                near = difflib.get_close_matches(key, [*kinds, "settings"], 1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                raise InputError(f"The training setting '{key}' is unknown.{hint}")
            allowed: tuple[type, ...] = {float: (int, float), tuple: (list, tuple)}.get(kinds[key], (kinds[key],))
            if not isinstance(value, allowed) or (isinstance(value, bool) and kinds[key] is not bool):
                raise InputError(f"The training setting '{key}' has the unusable value {value!r}.")
        return replace(base, **values)

    @classmethod
    def from_file(cls, path: Path | str, changes: dict[str, Any] | None = None) -> "TrainConfig":
        """Settings from a TOML file, with `changes` (the flags) on top; InputError for a bad file."""
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"The configuration {path} does not exist.") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"The configuration {path} cannot be read: {error}.") from None
        return cls.from_dict(values | (changes or {}))


_OURS = TrainConfig(
    views=(64, 32, 48, 96, 128),
    accelerations=(4.0, 2.0, 3.0, 6.0, 8.0),
    masks=("random", "equispaced", "official"),
    photons=1e5,
    kspace_noise=0.02,
    learning_rate=1e-3,
    betas=(0.9, 0.99),
    weight_decay=0.0,
    schedule="cosine",
    warmup=100,
    clip=1.0,
    ema=0.999,
    fusion_lambda="any",
    aux_every=2,
    outside=0.1,
)
_PRESETS = {
    "msl": _OURS,
    "paper": TrainConfig(preset="paper", betas=(0.5, 0.99), augment=False),
    "official": TrainConfig(preset="official", masks=("official",), aux="leak", augment=False),
}


def training_preset(name: str) -> TrainConfig:
    """The settings called `paper`, `official` or `msl`; InputError for another name."""
    if name not in _PRESETS:
        raise InputError(f"There are no settings '{name}': use one of {', '.join(_PRESETS)}.")
    return _PRESETS[name]
