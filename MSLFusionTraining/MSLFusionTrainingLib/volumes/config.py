"""The settings of a training on pairs of volumes: a TOML file, every key also a flag."""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.dc2fusion import DC2Config, dc2_preset
from MSLFusionTrainingLib.tables import check_known, table_of

METHOD_NAME = "dc2fusion"

CONTRASTS = ("ct", "t1", "t2", "pet")
"""What generated heads show."""


@dataclass(frozen=True)
class VolumeConfig:
    """Everything that a training depends on; the same settings and seed give the same weights on the same device.

    Model. preset: "compact", "fixed" or "official"; model: changed fields of nets.dc2fusion.DC2Config; name: of the
    model. contrasts: what first and second are, of generated heads.
    Data. heads to train on (seeds head_seed ...), validation_heads that are never trained on; size (x, y, z) and
    spacing in mm of their volumes.
    Optimisation. iterations; batch; crop: voxels a side of the patches that the network sees, 0 for whole volumes;
    Adam with learning_rate, which falls as (1 - share of iterations)^power; clip: largest gradient norm, 0 for none;
    mirror: left and right are swapped in half of the patches; checkpointing: keep less, compute more.
    Losses. weights of the negative local correlation (lncc), of 1 - SSIM (ssim) and of the absolute difference (l1),
    each against the first and the second image.
    Run. validate_every, checkpoint_every, log_every, seed.
    """

    preset: str = "compact"
    model: dict[str, Any] = field(default_factory=dict)
    name: str = "dc2-mr-pet"
    contrasts: tuple[str, str] = ("t1", "pet")
    heads: int = 12
    head_seed: int = 3000
    validation_heads: int = 1
    size: tuple[int, int, int] = (112, 128, 96)
    spacing: tuple[float, float, float] = (1.8, 1.8, 1.8)
    iterations: int = 2000
    batch: int = 1
    crop: int = 64
    learning_rate: float = 1e-3
    power: float = 0.9
    clip: float = 1.0
    mirror: bool = True
    checkpointing: bool = False
    lncc_first: float = 2.0
    lncc_second: float = 1.0
    ssim_first: float = 2.0
    ssim_second: float = 1.0
    l1_first: float = 2.0
    l1_second: float = 1.0
    validate_every: int = 250
    checkpoint_every: int = 100
    log_every: int = 10
    seed: int = 3407

    def __post_init__(self) -> None:
        for name in ("contrasts", "size", "spacing"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.contrasts) != 2 or not set(self.contrasts) <= set(CONTRASTS):
            raise InputError(f"contrasts must name two of {', '.join(CONTRASTS)}, not {', '.join(self.contrasts)}.")
        if len(self.size) != 3 or len(self.spacing) != 3:
            raise InputError("size and spacing must be three numbers each.")
        for name in (*_WHOLE, "learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be larger than 0, not {getattr(self, name)}.")
        for name in ("head_seed", "validation_heads", "crop", "clip", "power", "seed", *LOSS_WEIGHTS):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must not be negative, not {getattr(self, name)}.")
        if not all(math.isfinite(getattr(self, f.name)) for f in fields(self) if isinstance(f.default, float)):
            raise InputError("All numbers of a configuration must be finite.")
        if self.crop and (self.crop < 16 or self.crop > min(self.size)):
            raise InputError(f"crop must be 0 or from 16 to the smallest side of the volumes ({min(self.size)}).")

    @property
    def modalities(self) -> tuple[str, str]:
        """What the network calls first and second: an MR contrast is "mr", unless both are MR."""
        names = ["mr" if name in ("t1", "t2") else name for name in self.contrasts]
        first, second = self.contrasts if names[0] == names[1] else names
        return first, second

    def network(self) -> DC2Config:
        """The network's configuration; InputError for settings that it does not have."""
        values = dc2_preset(self.preset).to_dict() | {"modalities": list(self.modalities)}
        return DC2Config.from_dict(values | self.model)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "VolumeConfig":
        """Settings from a table over the preset's; InputError names an unknown key and the nearest valid one."""
        base = _OFFICIAL if values.get("preset") in ("official", "fixed") else cls()
        kinds = {f.name: getattr(base, f.name) for f in fields(cls)}
        for key, value in values.items():
            check_known(key, kinds)
            if not _fits(value, kinds[key]):
                raise InputError(f"The training setting '{key}' has the unusable value {value!r}.")
        return replace(base, **values)

    @classmethod
    def from_file(cls, path: Path, changes: dict[str, Any] | None = None) -> "VolumeConfig":
        """Settings from a TOML file, with `changes` (the flags) on top; InputError for a bad file."""
        return cls.from_dict(table_of(path, METHOD_NAME, changes))


LOSS_WEIGHTS = ("lncc_first", "lncc_second", "ssim_first", "ssim_second", "l1_first", "l1_second")
_WHOLE = ("heads", "iterations", "batch", "validate_every", "checkpoint_every", "log_every")

# The published training: Adam 1e-4, whole volumes of 128^3, 39 of them 500 times.
_OFFICIAL = VolumeConfig(
    preset="official", size=(128, 128, 128), crop=0, learning_rate=1e-4, iterations=19_500, clip=0.0, mirror=False
)


def _fits(value: Any, like: Any) -> bool:
    """Whether a value from a file is of the kind of a default: whole numbers may stand for others."""
    if isinstance(like, tuple):
        return isinstance(value, list | tuple) and all(_fits(one, like[0]) for one in value)
    if isinstance(value, bool) != isinstance(like, bool):
        return False
    return isinstance(value, int | float) if isinstance(like, float) else isinstance(value, type(like))
