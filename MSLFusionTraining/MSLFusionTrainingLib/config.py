"""The settings of a training: a TOML file, every key also a flag, with presets for the paper, its code and ours."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.tables import as_json, check_numbers, checked, table_of

FRONT_ENDS = ("fan-beam", "fourier", "image")
"""How a modality is measured: sparse fan-beam CT, undersampled k-space, or as an image."""
CONTRASTS = ("ct", "t1", "t2", "pet")
"""What generated heads show."""
MASKS = ("random", "equispaced", "official")
"""The k-space masks of physics.masks."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training depends on; the same settings and seed give the same weights on the same device.

    Model. preset: the network and what the other settings start from; model: changed fields of the network.
    start: name or file of a model whose weights to start from, for fine-tuning; name: of the model.
    modalities: contrasts in the order of the encoders, such as "ct", "t1", "t2", "pet"; front_ends: how each is
    measured ("fan-beam", "fourier", "image"), by default CT and MR by their scanners, and everything as images where
    PET takes part.
    Data. data: a training set as `mslfusion prepare` writes it; without one, generated heads: heads to train on
    (seeds head_seed ...), slices of each, validation_heads that are never trained on. size, pixel_mm: the network's
    in-plane grid.
    Sensors. views, accelerations, masks: drawn for every slice, the first of each with probability `usual`;
    photons and kspace_noise: largest noise (least I0 and standard deviation relative to the image's maximum), 0 for
    none; image_noise: the same for images as input; misregistration (pixels) and misregistration_degrees: how far
    the first modality may lie from where the others say it is, when it is measured.
    Augmentation. augment: mirrors, MR contrast and bias field, resolution and texture; pad: pixels of reflected
    border from which slices are cropped again; affine: share of the largest turn (15 degrees), scale (10 %) and
    shear (5 %); elastic: largest bend in pixels; invert: share of slices with inverted MR contrast.
    Optimisation. iterations; batch: slices per step and process; micro: slices at a time (0 for the whole batch);
    Adam with betas and weight_decay; schedule "halving" (every halve_every iterations) or "cosine" with warmup;
    clip: largest gradient norm, 0 for none; ema: decay of the averaged weights that are validated and exported, 0 for
    none; crop: side of the random crop that the network sees, 0 for whole slices; after the share whole_from of the
    iterations it sees whole slices. precision "float32" or "bf16"; compile: through torch.compile.
    Losses (equations 14 to 20). weight_reconstruction, weight_fusion, weight_aux, weight_feature; fusion_lambda
    "half" (equation 15) or "any": lambda drawn per slice or as a smooth map, with (1 - lambda) MSE to CT + lambda MSE
    to MR, which is equation 15 at one half; aux "masked" (second pass without the absent modality's tokens) or
    "leak" (the published way); aux_mean: the mean of the two errors of equation 18 instead of their sum; aux_every:
    iterations between auxiliary passes; outside: how much of what exceeds [0, 1] the losses see, see losses.soft_clip.
    Data consistency in training, for CT and MR. cascades: learned steps between corrections towards the data
    (recon.unrolled), 0 for none; refine_width: channels of their network; weight_consistent: of the MAE of the
    corrected images to the truths, a fourth of the slices having one modality only; only_refinement: the rest of the
    network stays as it is and the other losses are left out; with a crop it learns from crops of corrected_slices
    slices that were measured and corrected before (refinement), else from whole slices, through the last correction.
    Run. validate_every, validation_slices, patience (validations without improvement before an early stop, 0 for
    never), checkpoint_every, log_every, seed.
    """

    preset: str = "msl-lite"
    model: dict[str, Any] = field(default_factory=dict)
    start: str = ""
    name: str = "msl-ct-t1"
    modalities: tuple[str, ...] = ("ct", "t1")
    front_ends: tuple[str, ...] = ()
    data: str = ""
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
    image_noise: float = 0.0
    misregistration: float = 0.0
    misregistration_degrees: float = 0.0
    augment: bool = False
    pad: int = 0
    affine: float = 0.0
    elastic: float = 0.0
    invert: float = 0.0
    iterations: int = 100_000
    batch: int = 4
    micro: int = 0
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
    precision: str = "float32"
    compile: bool = False
    weight_reconstruction: float = 1.0
    weight_fusion: float = 1.0
    weight_aux: float = 1.0
    weight_feature: float = 0.5
    fusion_lambda: str = "half"
    aux: str = "masked"
    aux_mean: bool = False
    aux_every: int = 1
    outside: float = 1.0
    cascades: int = 0
    refine_width: int = 32
    weight_consistent: float = 1.0
    only_refinement: bool = False
    corrected_slices: int = 600
    validate_every: int = 1000
    validation_slices: int = 16
    patience: int = 0
    checkpoint_every: int = 500
    log_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("modalities", "front_ends", "views", "accelerations", "masks", "betas"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} = '{getattr(self, name)}' is unknown: use {' or '.join(allowed)}.")
        check_numbers(self, _POSITIVE, _NOT_NEGATIVE)
        if self.size % 16 or self.crop % 16 or not 0 <= self.crop <= self.size:
            raise InputError("size and crop must be multiples of 16, crop at most size.")
        if not (self.views and self.accelerations and self.masks):
            raise InputError("views, accelerations and masks must each name at least one value.")
        for name in ("views", "accelerations"):
            if not min(getattr(self, name)) >= 1:
                raise InputError(f"{name} must be 1 or more, not {min(getattr(self, name)):g}.")
        unknown = [kind for kind in self.masks if kind not in MASKS]
        if unknown:
            raise InputError(f"The mask '{unknown[0]}' is unknown: use {', '.join(MASKS)}.")
        for name in ("usual", "invert", "affine", "whole_from", "outside"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in [0, 1], not {getattr(self, name)}.")
        for name, value in (("ema", self.ema), *(("betas", beta) for beta in self.betas)):
            if not 0 <= value < 1:
                raise InputError(f"{name} must lie in [0, 1), not {value}.")
        if len(self.betas) != 2:
            raise InputError("betas must be two numbers.")
        if self.pad >= self.size:
            raise InputError(f"pad must be smaller than size, not {self.pad}.")
        self._check_modalities()
        self._check_cascades()

    def _check_cascades(self) -> None:
        if self.only_refinement and not self.cascades:
            raise InputError("only_refinement trains the steps of cascades: set cascades to 1 or more.")
        if not self.cascades:
            return
        if self.roles != ("ct", "mr") or self.measured != ("fan-beam", "fourier"):
            raise InputError("cascades need CT measured in a fan beam and one MR contrast measured in k-space.")
        if self.crop and self.crop != self.size and not self.only_refinement:
            raise InputError("cascades need whole slices, which scanners measure: set crop to 0.")

    def _check_modalities(self) -> None:
        names, ends = self.modalities, self.front_ends
        if len(names) < 2 or len(set(names)) != len(names):
            raise InputError(f"modalities must name two or more different contrasts, not {', '.join(names) or 'none'}.")
        if ends and len(ends) != len(names):
            raise InputError(f"front_ends must name one way of measuring for each of {', '.join(names)}.")
        for end in ends:
            if end not in FRONT_ENDS:
                raise InputError(f"The front end '{end}' is unknown: use one of {', '.join(FRONT_ENDS)}.")

    @property
    def measured(self) -> tuple[str, ...]:
        """The front end of every modality."""
        if self.front_ends:
            return self.front_ends
        if "pet" in self.modalities:
            return ("image",) * len(self.modalities)
        return tuple("fan-beam" if name == "ct" else "fourier" for name in self.modalities)

    @property
    def roles(self) -> tuple[str, ...]:
        """What the network calls its modalities: a single MR contrast is "mr", several keep their names."""
        mr = [name for name in self.modalities if name not in ("ct", "pet")]
        return tuple("mr" if [name] == mr else name for name in self.modalities)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON types."""
        return as_json(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Settings from a table; its `preset` gives what the other keys change.

        Raises InputError that names an unknown key and the nearest valid one, or an unusable value.
        """
        values = dict(values)
        if "mr" in values:  # the cards of earlier models name the MR contrast beside CT
            values.setdefault("modalities", ("ct", values.pop("mr")))
        base = training_preset(values.get("preset", "msl-lite"))
        return replace(base, **checked(values, base, _ITEMS))

    @classmethod
    def from_file(cls, path: Path | str, changes: dict[str, Any] | None = None) -> "TrainConfig":
        """Settings from a TOML file, with `changes` (the flags) on top; InputError for a bad file."""
        return cls.from_dict(table_of(path, "msl", changes))


_CHOICES = {
    "schedule": ("halving", "cosine"),
    "fusion_lambda": ("half", "any"),
    "aux": ("masked", "leak"),
    "precision": ("float32", "bf16"),
}
_ITEMS: dict[str, type] = {
    "modalities": str,
    "front_ends": str,
    "views": int,
    "accelerations": float,
    "masks": str,
    "betas": float,
}
"""What the lists hold."""
_POSITIVE = (
    *("heads", "slices", "size", "iterations", "batch", "halve_every", "aux_every", "validate_every"),
    *("validation_slices", "checkpoint_every", "log_every", "pixel_mm", "learning_rate", "refine_width"),
    "corrected_slices",
)
_NOT_NEGATIVE = (
    *("validation_heads", "photons", "kspace_noise", "image_noise", "misregistration", "misregistration_degrees"),
    *("pad", "elastic", "micro", "warmup", "clip", "weight_decay", "patience", "seed", "head_seed"),
    *("weight_reconstruction", "weight_fusion", "weight_aux", "weight_feature", "weight_consistent"),
    *("cascades",),
)


def item_type(name: str) -> type | None:
    """What the list called `name` holds; None for a setting that is no list."""
    return _ITEMS.get(name)


_OURS = TrainConfig(
    preset="msl",
    views=(64, 32, 48, 96, 128),
    accelerations=(4.0, 2.0, 3.0, 6.0, 8.0),
    masks=("random", "equispaced", "official"),
    photons=1e5,
    kspace_noise=0.02,
    augment=True,
    pad=8,
    affine=0.5,
    elastic=3.0,
    invert=0.2,
    learning_rate=1e-3,
    betas=(0.9, 0.99),
    weight_decay=0.0,
    schedule="cosine",
    warmup=100,
    clip=1.0,
    ema=0.999,
    fusion_lambda="any",
    aux_mean=True,
    aux_every=2,
    outside=0.1,
)
_PRESETS = {
    # The text of Zhu et al.: Adam 2e-4, betas (0.5, 0.99), halved every 10,000 of 100,000 iterations, batch 4.
    "paper": TrainConfig(preset="paper", betas=(0.5, 0.99), pad=8),
    # The authors' code: betas (0.5, 0.999), one mask for everything, crops out of 8 reflected pixels, the
    # auxiliary modality picked among output tokens that have seen the other one, the mean of its two errors.
    "official": TrainConfig(preset="official", masks=("official",), aux="leak", aux_mean=True, pad=8),
    "msl": _OURS,
    "msl-lite": replace(_OURS, preset="msl-lite"),
}
PRESETS = tuple(_PRESETS)


def training_preset(name: Any) -> TrainConfig:
    """The settings called `paper`, `official`, `msl` or `msl-lite`; InputError for another name."""
    if name not in PRESETS:
        raise InputError(f"There is no preset '{name}': use one of {', '.join(PRESETS)}.")
    return _PRESETS[name]
