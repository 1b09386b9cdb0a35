"""Where commands write: nothing appears under its final name before all of it is whole."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import free_bytes

_SPARE_BYTES = 16 * 2**20


class OutputFolder:
    """A folder that is filled in one go.

    Use as a context manager. Files are written to `path(name)`, in a hidden folder beside their final place.
    When the block ends well they are renamed into `folder`, replacing those of an earlier run; when it ends in
    an error all of them are removed, and folders that were made for them too.

    folder: made if absent, with its parents.
    needed_bytes: an estimate of what will be written; refused at once when the disk has less.
    inputs: files that must not be overwritten.
    Raises InputError where the folder cannot be made or written.
    """

    def __init__(self, folder: Path, needed_bytes: int = 0, inputs: Iterable[Path] = ()) -> None:
        self.folder = Path(folder)
        self._inputs = {path.resolve() for path in inputs}
        self._needed = needed_bytes
        self._made: list[Path] = []
        self._staging: Path | None = None
        self._names: list[str] = []

    def path(self, name: str) -> Path:
        """Where to write the file that will be called `name`."""
        if self._staging is None:
            raise RuntimeError("an OutputFolder is used within its with-block")
        if (self.folder / name).resolve() in self._inputs:
            raise InputError(f"{self.folder / name} is an input of this run: choose another --output.")
        if name not in self._names:
            self._names.append(name)
        return self._staging / name

    @property
    def names(self) -> list[str]:
        """The names asked for so far, in order."""
        return list(self._names)

    def __enter__(self) -> "OutputFolder":
        try:
            self._make(self.folder.absolute())
            self._staging = Path(tempfile.mkdtemp(prefix=".mslfusion-", suffix=".part", dir=self.folder))
        except OSError as error:
            self._unmake()
            reason = (error.strerror or str(error)).lower()
            raise InputError(f"{self.folder}: cannot write there ({reason}); choose another output folder") from error
        free = free_bytes(self._staging)
        if free < self._needed + _SPARE_BYTES:
            self._remove_staging()
            raise InputError(
                f"The disk of {self.folder} is too full: about {(self._needed + _SPARE_BYTES) / 1e6:.0f} MB are "
                f"needed, {free / 1e6:.0f} MB are free."
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._staging is not None:
                for name in self._names:
                    os.replace(self._staging / name, self.folder / name)
        finally:
            self._remove_staging(keep_folder=kind is None)

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make(folder.parent)
        folder.mkdir()
        self._made.append(folder)

    def _unmake(self) -> None:
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _remove_staging(self, keep_folder: bool = False) -> None:
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)
        if not keep_folder:
            self._unmake()


def check_output_file(path: Path) -> None:
    """Raise InputError when a file cannot be written at `path`; whole folders that are missing are no obstacle."""
    if path.is_dir():
        raise InputError(f"Cannot write {path}: a folder of that name is there; name a file.")
    with OutputFolder(path.absolute().parent):
        pass


def check_ending(path: Path, endings: Iterable[str]) -> None:
    """Raise InputError when the file name has none of the endings that can be written."""
    if not path.name.lower().endswith(tuple(endings)):
        raise InputError(f"Cannot write {path}: end its name with one of {', '.join(endings)}.")


def check_outputs_differ(*paths: Path) -> None:
    """Raise InputError when two outputs would be one file."""
    if len({path.absolute() for path in paths}) < len(paths):
        raise InputError(f"Two outputs have the same name {paths[0]}: give each its own.")
