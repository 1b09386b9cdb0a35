"""Files that are dropped on Slicer: models, sensor data of ours, measured sinograms and k-space. Nothing heavy is
imported to look at one."""

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError, MSLFusionError
from MSLFusionPanel import rawlook

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
    return OURS if is_sensors_file(path) or rawlook.kind_of(path) is not None else 0.0


def is_sensors_file(path: str) -> bool:
    """Whether the file begins as our sensor data do; h5py, which would tell more, need not be installed."""
    try:
        with open(path, "rb") as file:
            start = file.read(_LOOKED_AT)
    except OSError:
        return False
    return start.startswith(_HDF5) and _FORMAT in start


def load(path: str) -> Any:
    """Choose the model or the sensor data in our module, and show it there; the node of sensor data, None for a model.

    Raises InputError with a sentence for files that are none of ours.
    """
    if path.lower().endswith(".safetensors"):
        _choose_model(path)
        return None
    if is_sensors_file(path):
        return _choose_sensors(path)
    kind = rawlook.kind_of(path)
    if kind is None:
        raise InputError(
            _("{name} holds no sensor data of MSL Fusion, and nothing beside it describes it as raw data.").format(
                name=Path(path).name
            )
        )
    return _choose_raw(path, kind)


def loaded(path: str) -> tuple[str, Any]:
    """`load` for Slicer's reader: an empty text when it worked, else the sentence that says why not; and the node."""
    try:
        return "", load(path)
    except MSLFusionError as error:
        return str(error), None


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


def _choose_sensors(path: str) -> Any:
    from MSLFusionPanel import sensornode
    from MSLFusionPanel.parameters import SensorSource

    widget = slicer.util.getModuleWidget("MSLFusion")
    parameters = widget.logic.getParameterNode()
    parameters.sensors.file = str(Path(path).resolve())
    parameters.sensors.source = SensorSource.FILE
    _show(widget, "sensorsSection")
    return sensornode.keep(parameters)


def _choose_raw(path: str, kind: str) -> Any:
    """The sinogram or the k-space; what was chosen of the other one stays while raw files are the source."""
    from MSLFusionPanel import sensornode
    from MSLFusionPanel.parameters import SensorSource

    widget = slicer.util.getModuleWidget("MSLFusion")
    parameters = widget.logic.getParameterNode()
    sensors = parameters.sensors
    other = rawlook.KSPACE if kind == rawlook.SINOGRAM else rawlook.SINOGRAM
    if sensors.source is not SensorSource.RAW or getattr(sensors, kind):
        setattr(sensors, other, "")
    setattr(sensors, kind, str(Path(path).resolve()))
    sensors.source = SensorSource.RAW
    _show(widget, "sensorsSection")
    return sensornode.keep(parameters)


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
