"""What decides how a patient's scans become training slices, and the patients themselves."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError

FORMAT = "mslfusion-pairs-1"
SPLITS = ("train", "validation", "test")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,15}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class PrepareSettings:
    """How scans become slices; the same settings and scans give the same slices.

    modalities: names in the order of the network's encoders, the first one stays where it is and the others are
    registered to it. size, pixel_mm: the network's grid. register: False where the files are aligned already; method,
    preset, start, seed: see registration.register. mr_scaling: see recon.scaling. mask_outside: nothing outside the
    body. least_body: share of a slice that must show the body.
    """

    modalities: tuple[str, ...] = ("ct", "t1")
    size: int = 384
    pixel_mm: float = 256 / 384
    register: bool = True
    method: str | None = None
    preset: str = "msl"
    start: str = "auto"
    seed: int = 0
    mr_scaling: str = "percentile"
    mask_outside: bool = True
    least_body: float = 0.03

    def __post_init__(self) -> None:
        if len(self.modalities) < 2:
            raise InputError("A training set needs at least two modalities, such as ct t1.")
        for name in self.modalities:
            if not _NAME.fullmatch(name):
                raise InputError(f"'{name}' is no name for a modality: use small letters and digits, such as ct or t1.")
        if len(set(self.modalities)) < len(self.modalities):
            raise InputError(f"A modality is named twice: {', '.join(self.modalities)}.")
        if self.size < 16 or self.size % 16:
            raise InputError(f"The slices' size must be a multiple of 16, not {self.size}.")
        if not 0 <= self.least_body < 1:
            raise InputError(f"The least share of body in a slice must lie in [0, 1), not {self.least_body}.")

    def key(self, inputs: dict[str, str]) -> str:
        """What a prepared patient is known by: these settings and the hashes of its files."""
        what = {"format": FORMAT, "settings": asdict(self), "inputs": inputs}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Patient:
    """One pair (or more) of scans.

    id: what it is called in the set. scans: a file or folder for each modality; for slices of the authors' layout,
    see published. group: patients of one group share a split (several scans of one person). split: fixed by the user,
    None to be drawn. missing: why it cannot be prepared, "" when nothing is missing.
    """

    id: str
    scans: dict[str, Path] = field(default_factory=dict)
    group: str = ""
    split: str | None = None
    missing: str = ""
    published: tuple[Path, ...] = ()

    def nameless(self, sentence: str) -> str:
        """`sentence` without paths, which may carry names: for pages and files that are handed on."""
        paths = [(name, path) for name, path in self.scans.items()] + [("slice", path) for path in self.published]
        for name, path in paths:
            sentence = sentence.replace(str(path), f"[{name}]")
        for _, path in paths:
            sentence = sentence.replace(str(path.parent), "[folder]")
        return sentence


def kind_of(modality: str) -> str:
    """How a modality is scaled and how its body is found: "ct", "pet" or, for every other name, "mr"."""
    return {"ct": "ct", "pet": "pet"}.get(modality, "mr")


def check_id(text: str) -> str:
    """`text` when it can be a patient's id; InputError otherwise."""
    if not _ID.fullmatch(text):
        raise InputError(f"'{text}' cannot be a patient's id: use letters, digits, '-', '_' and '.'.")
    return text


def split_patients(patients: list[Patient], validation: float, test: float, seed: int) -> dict[str, str]:
    """id -> split, whole groups together, drawn by the seed; fixed ones stay, of two or more groups one is validation.

    The order depends on seed and name alone, so that a set that grows changes as few as possible. Raises InputError
    when nothing would be left to train on.
    """
    if validation < 0 or test < 0 or validation + test >= 1:
        raise InputError(f"The shares {validation:g} and {test:g} for validation and test leave nothing to train on.")
    fixed = {p.group or p.id: p.split for p in patients if p.split}
    free = {p.group or p.id for p in patients} - set(fixed)
    order = sorted(free, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    counts = {}
    for split, share in (("test", test), ("validation", validation)):
        wanted = round(share * (len(order) + len(fixed))) - sum(value == split for value in fixed.values())
        if split == "validation" and share and len(order) > 1 and split not in fixed.values():
            wanted = max(1, wanted)
        counts[split] = max(0, wanted)
    chosen: dict[str, Any] = dict(fixed)
    for number, name in enumerate(order):
        is_test = number < counts["test"]
        is_validation = not is_test and number < counts["test"] + counts["validation"]
        chosen[name] = "test" if is_test else "validation" if is_validation else "train"
    if patients and "train" not in chosen.values():
        raise InputError("No patient is left to train on: make the shares for validation and test smaller.")
    return {p.id: chosen[p.group or p.id] for p in patients}
