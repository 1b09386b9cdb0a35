"""Files that are dropped on Slicer: models and sensor data of ours. Nothing heavy is imported to look at one."""

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError, MSLFusionError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_FORMAT = b"mslfusion-sensors"
_LOOKED_AT = 2**18
"""Bytes in which a sensors file names its format: it is the first thing written into it."""
OURS, FOREIGN = 0.9, 0.6
"""Confidence for files of ours, and for .safetensors of others. Slicer's reader of volumes takes any file, at 0.5:
we can say what such a file is, it could not."""


def confidence(path: str) -> float:
    """How sure we are that the file is for us; 0 for none of ours."""
    if path.lower().endswith(".safetensors"):
        return FOREIGN if _problem_of_model(path) else OURS
    return OURS if is_sensors_file(path) else 0.0


def is_sensors_file(path: str) -> bool:
    """Whether the file begins as our sensor data do; h5py, which would tell more, need not be installed."""
    try:
        with open(path, "rb") as file:
            start = file.read(_LOOKED_AT)
    except OSError:
        return False
    return start.startswith(_HDF5) and _FORMAT in start


def load(path: str) -> None:
    """Choose the model or the sensor data in our module, and show it there.

    Raises InputError with a sentence for files that are none of ours.
    """
    if path.lower().endswith(".safetensors"):
        _choose_model(path)
    elif is_sensors_file(path):
        _choose_sensors(path)
    else:
        raise InputError(_("{name} holds no sensor data of MSL Fusion.").format(name=Path(path).name))


def problem_of(path: str) -> str:
    """`load` for Slicer's reader: empty when it worked, else the sentence that says why not."""
    try:
        load(path)
    except MSLFusionError as error:
        return str(error)
    return ""


def _choose_model(path: str) -> None:
    from MSLFusionLib.io.checkpoints import list_models

    problem = _problem_of_model(path)
    if problem:
        raise InputError(problem)
    file = Path(path).resolve()
    widget = slicer.util.getModuleWidget("MSLFusion")
    shipped = {info.path.resolve(): info.name for info in list_models()}
    there = {info.path.resolve(): info.name for info in list_models([file.parent])}
    model = widget.logic.getParameterNode().model
    if file not in shipped:
        model.folder = str(file.parent)
    model.name = there.get(file, str(file))
    _show(widget, "modelSection", "modelCardBox")


def _choose_sensors(path: str) -> None:
    from MSLFusionPanel.parameters import SensorSource

    widget = slicer.util.getModuleWidget("MSLFusion")
    sensors = widget.logic.getParameterNode().sensors
    sensors.file = str(Path(path).resolve())
    sensors.source = SensorSource.FILE
    _show(widget, "sensorsSection")


def _problem_of_model(path: str) -> str:
    from MSLFusionLib.io.checkpoints import read_card

    try:
        read_card(path)
    except InputError as error:
        return str(error)
    return ""


def _show(widget: Any, *sections: str) -> None:
    """Open our module with these sections unfolded."""
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule("MSLFusion")
    for name in sections:
        getattr(widget.panel.ui, name).collapsed = False
