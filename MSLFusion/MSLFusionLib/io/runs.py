"""The record of a run, written as run.json beside its output, so that the run can be understood and repeated.

It holds no patient data: no DICOM tags and no file names other than those the user typed.
"""

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from MSLFusionLib import __version__
from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path

FORMAT = "mslfusion-run-1"
_PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "h5py", "safetensors")


def content_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content as hex; of a folder or a DICOM series the hash over its files' hashes.

    Names do not count. Raises InputError when the path cannot be read.
    """
    from MSLFusionLib.io.volumes import source_files

    try:
        digests = sorted(_file_hash(file) for file in source_files(path))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python, of this software and of the packages that its numbers depend on."""
    found = {"mslfusion": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # Slicer ships some without their metadata
            module = sys.modules.get(package)
            found[package] = str(getattr(module, "__version__", "unknown" if module else "not loaded"))
    return found


@dataclass
class RunRecord:
    """What a run was given, did and found. Fill it on the way, then `write` it into the output folder.

    command: the word typed. parameters: every setting that changes the result. sampling: achieved rates of the
    sensors. outputs: file names relative to the output folder. times: seconds per stage.
    """

    command: str
    parameters: dict[str, Any] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    device: str = "cpu"
    inputs: list[dict[str, str]] = field(default_factory=list)
    sampling: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=dict)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def add_input(self, role: str, path: str | os.PathLike[str]) -> None:
        """Note an input by role, name as typed and SHA-256 of its content."""
        self.inputs.append({"role": role, "path": os.fspath(path), "sha256": content_hash(path)})

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the wall-clock seconds of the block to `times[name]`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.times[name] = self.times.get(name, 0.0) + time.perf_counter() - start

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON can hold it: paths as text, numbers that are not finite as null."""
        content = {
            "format": FORMAT,
            "command": self.command,
            "started": self.started,
            "inputs": self.inputs,
            "parameters": self.parameters,
            "seeds": self.seeds,
            "sampling": self.sampling,
            "device": self.device,
            "versions": versions(),
            "times_seconds": {name: round(seconds, 3) for name, seconds in self.times.items()},
            "metrics": self.metrics,
            "details": self.details,
            "outputs": self.outputs,
            "warnings": self.warnings,
        }
        return {key: plain(value) for key, value in content.items()}

    def write(self, folder: str | os.PathLike[str], name: str = "run.json") -> Path:
        """Write the record into `folder`, whole or not at all; raises InputError when that is not possible."""
        path = Path(folder) / name
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        return path


def plain(value: Any) -> Any:
    """`value` made of JSON's types only: arrays and tensors as lists, paths as text, NaN and infinity as None."""
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, torch tensors
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


def _file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
