"""The settings of a training on pairs of volumes: a TOML file, every key also a flag."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.dc2fusion import DC2Config, dc2_preset
from MSLFusionTrainingLib.prepare.settings import PrepareSettings, kind_of
from MSLFusionTrainingLib.tables import as_json, check_numbers, checked, table_of

METHOD_NAME = "dc2fusion"

CONTRASTS = ("ct", "t1", "t2", "pet")
"""What generated heads show."""


@dataclass(frozen=True)
class VolumeConfig:
    """Everything that a training depends on; the same settings and seed give the same weights on the same device.

    Model. preset: "compact", "fixed" or "official"; model: changed fields of nets.dc2fusion.DC2Config; name: of the
    model. contrasts: what first and second are.
    Data. data: a folder or a table of a person's own scans, as `mslfusion prepare` takes it, whose first contrast
    keeps its grid; register: whether the second is registered to it; validation: share of the patients that are never
    trained on. Without data, generated heads: heads to train on (seeds head_seed ...), validation_heads that are never
    trained on; size (x, y, z) and spacing in mm of their volumes.
    Optimisation. iterations; batch; crop: voxels a side of the patches that the network sees (an axis that is shorter
    in a volume is taken whole), 0 for whole volumes;
    Adam with learning_rate, which falls as (1 - share of iterations)^power; clip: largest gradient norm, 0 for none;
    mirror: left and right are swapped in half of the patches; checkpointing: keep less, compute more.
    Losses. weights of the negative local correlation (lncc), of 1 - SSIM (ssim) and of the absolute difference (l1),
    each against the first and the second image; saliency: above 0 each image counts, voxel by voxel, by its share of
    the local detail to this power, so that it is followed where it shows more (0: as published, alike everywhere).
    Run. validate_every, checkpoint_every, log_every, seed.
    """

    preset: str = "compact"
    model: dict[str, Any] = field(default_factory=dict)
    name: str = "dc2-mr-pet"
    contrasts: tuple[str, str] = ("t1", "pet")
    data: str = ""
    register: bool = True
    validation: float = 0.15
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
    saliency: float = 0.0
    validate_every: int = 250
    checkpoint_every: int = 100
    log_every: int = 10
    seed: int = 3407

    def __post_init__(self) -> None:
        for name in ("contrasts", "size", "spacing"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_contrasts()
        if len(self.size) != 3 or len(self.spacing) != 3:
            raise InputError("size and spacing must be three numbers each.")
        check_numbers(self, _POSITIVE, _NOT_NEGATIVE)
        if not 0 <= self.validation < 1:
            raise InputError(f"validation must lie in [0, 1), not {self.validation}.")
        if self.crop and self.crop < 16:
            raise InputError(f"crop must be 0 or at least 16, not {self.crop}.")
        if not self.data and self.crop > min(self.size):
            raise InputError(f"crop must be at most the smallest side of the heads ({min(self.size)}).")

    def _check_contrasts(self) -> None:
        names = self.contrasts
        if len(names) != 2 or names[0] == names[1]:
            raise InputError(f"contrasts must name two different ones, not {', '.join(names) or 'none'}.")
        if self.data:
            PrepareSettings(names)  # refuses names that no scan can have
        elif not set(names) <= set(CONTRASTS):
            raise InputError(f"contrasts of generated heads are two of {', '.join(CONTRASTS)}, not {', '.join(names)}.")

    @property
    def modalities(self) -> tuple[str, str]:
        """What the network calls first and second: an MR contrast is "mr", unless both are MR."""
        names = [kind_of(name) for name in self.contrasts]
        first, second = self.contrasts if names[0] == names[1] else names
        return first, second

    def network(self) -> DC2Config:
        """The network's configuration; InputError for settings that it does not have."""
        values = dc2_preset(self.preset).to_dict() | {"modalities": list(self.modalities)}
        return DC2Config.from_dict(values | self.model)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON types."""
        return as_json(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "VolumeConfig":
        """Settings from a table over the preset's; InputError names an unknown key and the nearest valid one."""
        base = _OFFICIAL if values.get("preset") in ("official", "fixed") else cls()
        return replace(base, **checked(values, base))

    @classmethod
    def from_file(cls, path: Path, changes: dict[str, Any] | None = None) -> "VolumeConfig":
        """Settings from a TOML file, with `changes` (the flags) on top; InputError for a bad file."""
        return cls.from_dict(table_of(path, METHOD_NAME, changes))


LOSS_WEIGHTS = ("lncc_first", "lncc_second", "ssim_first", "ssim_second", "l1_first", "l1_second")
_POSITIVE = ("heads", "iterations", "batch", "validate_every", "checkpoint_every", "log_every", "learning_rate")
_NOT_NEGATIVE = ("head_seed", "validation_heads", "crop", "clip", "power", "seed", "saliency", *LOSS_WEIGHTS)

# The published training: Adam 1e-4, whole volumes of 128^3, 39 of them 500 times.
_OFFICIAL = VolumeConfig(
    preset="official", size=(128, 128, 128), crop=0, learning_rate=1e-4, iterations=19_500, clip=0.0, mirror=False
)
