"""A whole scene in one .mrb file: saved whole or not at all, and read back."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import vtk

from MSLFusionLib.errors import InputError, JobError

_FULL_BELOW = 16 * 2**20
"""Bytes: with less free space than this after a failure, the disk was full."""


def save_bundle(scene: Any, path: str | Path) -> Path:
    """Write the whole scene to `path` (.mrb); an older file stays until the new one is complete.

    Raises:
        InputError: the name does not end in .mrb, the folder cannot be written, or the disk is full.
        JobError: Slicer could not write a node.
    """
    target = Path(path).absolute()
    if target.suffix.lower() != ".mrb":
        raise InputError(f"{target.name}: a scene is saved as .mrb; choose a name that ends so")
    # Slicer names the folder inside the archive after the file, so the temporary one keeps the name.
    try:
        folder = Path(tempfile.mkdtemp(prefix=".mslfusion-", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target.parent}: cannot write here ({error.strerror}); choose another folder") from error
    try:
        temporary = folder / target.name
        messages = _messages()
        with _quiet():
            written = scene.WriteToMRB(str(temporary), None, messages) and temporary.is_file()
        if not written:
            for place in (folder, _cache_folder(scene)):
                if shutil.disk_usage(place).free < _FULL_BELOW:
                    raise InputError(f"{place}: the disk is full; free some space or choose another folder")
            raise JobError(f"{target}: Slicer could not save the scene: {_text(messages)}")
        os.replace(temporary, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def load_bundle(scene: Any, path: str | Path, clear: bool = True) -> None:
    """Read an .mrb into `scene`, in place of what it holds or (clear=False) in addition.

    Raises:
        InputError: no such file, or not a scene that Slicer can read.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    if not _holds_a_scene(source):
        raise InputError(f"{source}: not a Slicer scene (.mrb), or a damaged one")
    messages = _messages()
    if not scene.ReadFromMRB(str(source.absolute()), clear, messages):
        raise InputError(f"{source}: not a readable Slicer scene: {_text(messages)}")


def _holds_a_scene(path: Path) -> bool:
    """Whether this is a zip archive with a .mrml file in it; the reader itself takes this for granted."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".mrml") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep VTK from logging: the zip writer repeats an error for every block; the messages tell it once."""
    before = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(before)


def _cache_folder(scene: Any) -> str:
    """Where Slicer packs a bundle before it moves it to its place."""
    return str(scene.GetDataIOManager().GetCacheManager().GetRemoteCacheDirectory())


def _messages() -> Any:
    import slicer

    return slicer.vtkMRMLMessageCollection()


def _text(messages: Any) -> str:
    return " ".join(messages.GetAllMessagesAsString().split()) or "see Slicer's log"
