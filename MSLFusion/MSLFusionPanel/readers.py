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
    """The model, and the method that it is for."""
    from MSLFusionLib.io.checkpoints import list_models, read_card
    from MSLFusionPanel.methodparameters import Method

    card = read_card(Path(path))
    architecture = card["architecture"]
    if architecture not in ("msl", "cmf-net", "dc2fusion"):
        raise InputError(
            _("The panel has no method for a network of the kind “{kind}”: use the command line.").format(
                kind=architecture
            )
        )
    file = Path(path).resolve()
    widget = slicer.util.getModuleWidget("MSLFusion")
    shipped = {info.path.resolve(): info.name for info in list_models(architecture=architecture)}
    there = {info.path.resolve(): info.name for info in list_models([file.parent], architecture)}
    parameters, name = widget.logic.getParameterNode(), there.get(file, str(file))
    if file not in shipped:
        parameters.model.folder = str(file.parent)
    if architecture == "msl":
        parameters.choice.method = Method.MSL
        parameters.model.name = name
        _show(widget, "modelSection", "modelCardBox")
    elif architecture == "cmf-net":
        parameters.choice.method = Method.CMF_NET
        parameters.restore.model = name
        _show(widget, "restoreSection")
    else:
        parameters.choice.method = Method.FUSION
        parameters.fusion.method = architecture
        parameters.fusion.model = name
        _show(widget, "fusionSection")


def _choose_sensors(path: str) -> Any:
    from MSLFusionPanel import sensornode
    from MSLFusionPanel.methodparameters import Method
    from MSLFusionPanel.parameters import SensorSource

    widget = slicer.util.getModuleWidget("MSLFusion")
    parameters = widget.logic.getParameterNode()
    parameters.choice.method = Method.MSL
    parameters.sensors.file = str(Path(path).resolve())
    parameters.sensors.source = SensorSource.FILE
    _show(widget, "sensorsSection")
    return sensornode.keep(parameters)


def _choose_raw(path: str, kind: str) -> Any:
    """The sinogram or the k-space; what was chosen of the other one stays while raw files are the source.

    K-space that is dropped while CMF-Net is chosen becomes its target; everything else is MSL's.
    """
    from MSLFusionPanel import sensornode
    from MSLFusionPanel.methodparameters import Method, TargetSource
    from MSLFusionPanel.parameters import SensorSource

    widget = slicer.util.getModuleWidget("MSLFusion")
    parameters = widget.logic.getParameterNode()
    if parameters.choice.method is Method.CMF_NET and kind == rawlook.KSPACE:
        parameters.restore.kspace = str(Path(path).resolve())
        parameters.restore.source = TargetSource.KSPACE
        _show(widget, "restoreSection")
        return None
    parameters.choice.method = Method.MSL
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
