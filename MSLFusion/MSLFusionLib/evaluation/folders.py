"""What a run wrote, found again by its run.json: images with their lambda, inputs, and where the slices lie."""

import json
import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.runs import FORMAT, content_hash
from MSLFusionLib.sensor_names import MODALITY, file_stem

RECORD_NAME = "run.json"
_HYBRID = re.compile(r"hybrid_lambda-(\d*\.?\d+(?:e-?\d+)?)\.(nrrd|nii\.gz|mha)")
_OTHERS = {"hybrid_map": "lambda map"} | {file_stem(name): name for name in MODALITY}
_REGISTERED = "mr_registered"


@dataclass(frozen=True)
class RunImage:
    """One image of a run. lam: None unless a hybrid of one lambda. targets: the truths it is compared with."""

    name: str
    lam: float | None
    path: Path
    targets: tuple[str, ...] = ("ct", "mr")


@dataclass(frozen=True)
class RunFolder:
    """A run's output folder. name: what it is called in tables."""

    name: str
    folder: Path
    record: dict[str, Any]
    images: tuple[RunImage, ...]

    @property
    def slice_axis(self) -> int:
        """The array axis (z, y, x) across which the network's slices lie."""
        try:
            return "zyx".index(self.record["details"]["reconstruction"]["source"]["grid"]["slice_axis"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self.folder / RECORD_NAME} does not say how the slices lie.") from error

    @property
    def measured(self) -> tuple[str, ...]:
        """The modalities that were measured, of "ct" and "mr", and that the network saw."""
        chosen = {"ct": ("ct",), "mr": ("mr",)}.get(
            self.record.get("parameters", {}).get("modalities", ""), ("ct", "mr")
        )
        return tuple(name for name in chosen if name in self.record.get("sampling", {}))

    def truth_files(self, without: Container[str] = ()) -> dict[str, Path]:
        """Files of the ground truth by modality: the run's inputs, and the MR as it was registered.

        without: modalities that are not asked for. Raises InputError for inputs that are not found again or have
        changed; empty for a run from measured data.
        """
        found: dict[str, Path] = {}
        registered = self._file(_REGISTERED)
        if registered is not None and "mr" not in without:
            found["mr"] = registered
        for entry in self.record.get("inputs", ()):
            role = entry.get("role")
            if role in ("ct", "mr") and role not in found and role not in without:
                found[role] = self._input(role, str(entry.get("path", "")), str(entry.get("sha256", "")))
        return found

    def _file(self, stem: str) -> Path | None:
        for name in self.record.get("outputs", ()):
            if str(name).partition(".")[0] == stem and (self.folder / str(name)).is_file():
                return self.folder / str(name)
        return None

    def _input(self, role: str, typed: str, sha256: str) -> Path:
        for path in (Path(typed), self.folder / typed):
            if path.exists():
                if content_hash(path) != sha256:
                    changed = f"{path} has changed since {self.folder} was made"
                    raise InputError(f"{changed}: give the {role.upper()} that was measured with --{role}.")
                return path
        raise InputError(f"{typed}, the {role.upper()} of {self.folder}, is not there: give it with --{role}.")


def read_run(word: str) -> RunFolder:
    """The run of DIR or NAME=DIR; raises InputError for a folder without the record of a reconstruction."""
    name, equals, folder = word.partition("=")
    # A folder's own name may hold the sign.
    if not equals or Path(word).is_dir():
        name, folder = "", word
    path = Path(folder)
    record = _record(path)
    images = _images(path, record)
    if not images:
        raise InputError(f"{path} holds no images of a reconstruction.")
    return RunFolder(name or path.resolve().name, path, record, tuple(images))


def _record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD_NAME
    if not path.is_file():
        raise InputError(f"{folder} is not a run's output folder: there is no {RECORD_NAME} in it.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f"{path} is not the record of a run.")
    return record


def _images(folder: Path, record: dict[str, Any]) -> list[RunImage]:
    hybrids, others = [], []
    for name in map(str, record.get("outputs", ())):
        path = folder / name
        if Path(name).name != name:
            raise InputError(f"{folder / RECORD_NAME} names a file outside its folder.")
        match = _HYBRID.fullmatch(name)
        stem = name.partition(".")[0]
        if match is None and stem not in _OTHERS:
            continue
        if not path.is_file():
            raise InputError(f"{path}, which the run wrote, is not there.")
        if match is not None:
            lam = float(match.group(1))
            hybrids.append(RunImage(f"lambda {lam:g}", lam, path))
        else:
            label = _OTHERS[stem]
            others.append(RunImage(label, None, path, (MODALITY[label],) if label in MODALITY else ("ct", "mr")))
    return sorted(hybrids, key=lambda image: image.lam or 0.0) + others
