"""The files with measured data that are chosen: what can be seen of them without the worker, and what to ask it."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MSLFusionPanel.parameters import SensorSource

if TYPE_CHECKING:
    from MSLFusionPanel.parameters import SensorParameters

HDF5_START = b"\x89HDF\r\n\x1a\n"
SELECTABLE = ("average", "contrast", "phase", "repetition", "set")
"""What can be chosen of an ISMRMRD file."""


@dataclass(frozen=True)
class ChosenFiles:
    """problem: why they cannot be used. needed: nothing is wrong, but something has still to be chosen. state: what
    the worker is asked about, None when there is nothing to be asked. request: the arguments of that. size: in bytes.
    """

    problem: str = ""
    needed: bool = False
    state: tuple[Any, ...] | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None


def chosen_files(sensors: "SensorParameters", worker: Any) -> ChosenFiles:
    """What is chosen; empty while the scanners are simulated."""
    if sensors.source is SensorSource.FILE:
        return _sensors_file(sensors.file, worker)
    if sensors.source is SensorSource.RAW:
        return _raw_files(sensors, worker)
    return ChosenFiles()


def selection(text: str) -> dict[str, int] | None:
    """ "contrast=1 average=0" as a table; None where it does not read like that."""
    found = {}
    for word in text.replace(",", " ").split():
        name, _equals, number = word.partition("=")
        if name not in SELECTABLE or not number.isdecimal() or len(number) > 6:
            return None
        found[name] = int(number)
    return found


def raw_request(sensors: "SensorParameters") -> dict[str, Any]:
    """The arguments of the worker's requests that name raw files."""
    names = {"sinogram": sensors.sinogram or None, "kspace": sensors.kspace or None}
    select = selection(sensors.select) if sensors.kspace else None
    return names | {"coils": sensors.coils.value, "select": select or None}


def file_state(path: str) -> tuple[Any, ...]:
    """Changes with the file and, where there is one, with the description beside it."""
    from MSLFusionLib.io.sidecar import sidecar_path

    states: list[Any] = [path]
    try:
        beside = sidecar_path(Path(path))
        for one in (Path(path), *([] if beside is None else [beside])):
            found = one.stat()
            states += [str(one), found.st_size, found.st_mtime_ns]
    except (OSError, ValueError):
        pass
    return tuple(states)


def _sensors_file(path: str, worker: Any) -> ChosenFiles:
    if not path:
        return ChosenFiles(_("Choose a sensors file, or simulate the scanners on the volumes."), True)
    request = {"path": path}
    if worker.where != "local":
        return _remote(worker, (path,), request)
    if not os.path.isabs(path):
        return ChosenFiles(_("Give the whole path of the sensors file."))
    words = {
        "folder": _("{path} is a folder: choose a sensors file (.h5)."),
        "no file": _("{path} is not a file: choose a sensors file (.h5)."),
        "absent": _("The sensors file {path} does not exist: choose another one."),
        "closed": _("The sensors file {path} cannot be read: {reason}."),
    }
    problem, start, found = _opened(path, words)
    if problem or found is None:
        return ChosenFiles(problem)
    if start != HDF5_START:
        problem = _("{path} is not a sensors file: choose one that “mslfusion simulate” has written.")
        return ChosenFiles(problem.format(path=path))
    return ChosenFiles("", False, ("local", path, found.st_size, found.st_mtime_ns), request, found.st_size)


def _raw_files(sensors: "SensorParameters", worker: Any) -> ChosenFiles:
    paths = [path for path in (sensors.sinogram, sensors.kspace) if path]
    if not paths:
        return ChosenFiles(_("Choose a sinogram, k-space, or both."), True)
    if sensors.kspace and selection(sensors.select) is None:
        names = _(", ").join(SELECTABLE)
        return ChosenFiles(_("Write “contrast=1”, say, under Part; there are {names}.").format(names=names))
    request = raw_request(sensors)
    asked = (sensors.sinogram, sensors.kspace, sensors.coils.value, sensors.select)
    if worker.where != "local":
        return _remote(worker, asked, request)
    size = 0
    for path in paths:
        if not os.path.isabs(path):
            return ChosenFiles(_("Give the whole path of {path}.").format(path=path))
        words = {
            "folder": _("{path} is a folder: choose a file."),
            "no file": _("{path} is not a file: choose another one."),
            "absent": _("The file {path} does not exist: choose another one."),
            "closed": _("The file {path} cannot be read: {reason}."),
        }
        problem, _start, found = _opened(path, words)
        if problem or found is None:
            return ChosenFiles(problem)
        size += found.st_size
    return ChosenFiles("", False, ("local", asked, *map(file_state, paths)), request, size)


def _remote(worker: Any, asked: tuple[Any, ...], request: Mapping[str, Any]) -> ChosenFiles:
    """Files of the machine that the worker runs on, which cannot be looked at from here."""
    state = (worker.where, worker.generation, asked) if worker.state == "running" else None
    return ChosenFiles("", False, state, request)


def _opened(path: str, words: Mapping[str, str]) -> tuple[str, bytes, os.stat_result | None]:
    """Why a file cannot be read, in one of the sentences; its first bytes and what the system knows of it."""
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            return words["folder"].format(path=path), b"", None
        if not stat.S_ISREG(found.st_mode):
            return words["no file"].format(path=path), b"", None
        with open(path, "rb") as file:
            return "", file.read(len(HDF5_START)), found
    except FileNotFoundError:
        return words["absent"].format(path=path), b"", None
    except (OSError, ValueError) as error:
        return words["closed"].format(path=path, reason=getattr(error, "strerror", None) or error), b"", None
