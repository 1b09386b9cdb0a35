"""Models and sensor data dropped on Slicer, through the reader class that Slicer finds in the module."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opened import ROOT, write_model
from turns import settle

from MSLFusionLib.io.sensors import SensorHeader, SensorWriter


class Messages:
    """vtkMRMLMessageCollection, as far as readers use it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def AddMessage(self, _kind: int, text: str) -> None:
        self.said.append(text)


class Parent:
    """qSlicerScriptedFileReader."""

    def __init__(self) -> None:
        self.messages = Messages()
        self.loadedNodes: Any = None

    def userMessages(self) -> Messages:
        return self.messages


@pytest.fixture
def widget(slicer_app: Any) -> Iterator[Any]:
    """The module's widget, opened as Slicer opens it."""
    yield slicer_app.open_module(ROOT / "MSLFusion" / "MSLFusion.py")
    settle()


@pytest.fixture
def reader(widget: Any) -> Any:
    reader = sys.modules["MSLFusion"].MSLFusionFileReader(Parent())
    assert all(isinstance(text, str) for text in (reader.description(), reader.fileType(), *reader.extensions()))
    return reader


def sensors(path: Path) -> Path:
    """A small sensors file; a long provenance comes before what is looked for."""
    grid = {"volume": {"size": [8, 8, 2]}, "size": [8, 8], "slice_axis": 0}
    mask = {"columns": [True] * 8}
    provenance = {"note": "x" * 30000}
    with SensorWriter(path, SensorHeader(grid, None, mask, provenance=provenance)):
        pass
    return path


def test_a_model_is_chosen_with_its_folder_and_its_card_opens(widget: Any, reader: Any, tmp_path: Path) -> None:
    path = tmp_path / "my-own.safetensors"
    write_model(path)
    assert reader.canLoadFile(str(path)) is True
    assert reader.canLoadFileConfidence(str(path)) > 0.6
    widget.panel.ui.modelSection.collapsed = True
    assert reader.load({"fileName": str(path)}) is True
    settle()
    model = widget.logic.getParameterNode().model
    assert (model.name, model.folder) == ("my-own", str(tmp_path))
    assert not widget.panel.ui.modelSection.collapsed
    assert not widget.panel.ui.modelCardBox.collapsed
    assert widget.panel.model.chosen().path == str(path)
    assert reader.parent.messages.said == []
    assert reader.parent.loadedNodes == []


def test_the_shipped_model_needs_no_folder(widget: Any, reader: Any) -> None:
    from MSLFusionLib.resources import models_folder

    assert reader.load({"fileName": str(models_folder() / "msl-ct-t1.safetensors")})
    settle()
    model = widget.logic.getParameterNode().model
    assert (model.name, model.folder) == ("msl-ct-t1", "")


def test_a_model_named_as_a_shipped_one_is_meant_itself(widget: Any, reader: Any, tmp_path: Path) -> None:
    path = tmp_path / "msl-ct-t1.safetensors"
    write_model(path)
    assert reader.load({"fileName": str(path)})
    settle()
    assert widget.panel.model.chosen().path == str(path)


def test_a_foreign_safetensors_file_is_refused_with_the_reason(widget: Any, reader: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    assert 0.5 < reader.canLoadFileConfidence(str(path)) < 0.9  # Slicer's reader of volumes says 0.5 to every file
    assert reader.load({"fileName": str(path)}) is False
    assert "not a model of MSLFusion" in reader.parent.messages.said[0]
    assert widget.logic.getParameterNode().model.folder == ""


def test_a_model_that_was_cut_off_is_refused_with_the_reason(widget: Any, reader: Any, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    write_model(path)
    path.write_bytes(path.read_bytes()[:-4])
    assert reader.load({"fileName": str(path)}) is False
    assert "damaged" in reader.parent.messages.said[0]


def test_sensor_data_are_chosen(widget: Any, reader: Any, tmp_path: Path) -> None:
    from MSLFusionPanel.parameters import SensorSource

    path = sensors(tmp_path / "scan.h5")
    assert reader.canLoadFileConfidence(str(path)) > 0.6
    widget.panel.ui.sensorsSection.collapsed = True
    assert reader.load({"fileName": str(path)}) is True
    chosen = widget.logic.getParameterNode().sensors
    assert chosen.source is SensorSource.FILE
    assert chosen.file == str(path)
    assert not widget.panel.ui.sensorsSection.collapsed


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + b"someone else's" * 100, b"mslfusion-sensors"])
def test_other_h5_files_are_left_to_others(reader: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "transform.h5"
    path.write_bytes(content)
    assert reader.canLoadFile(str(path)) is False
    assert reader.canLoadFileConfidence(str(path)) == 0.0
    assert reader.load({"fileName": str(path)}) is False
    assert "no sensor data" in reader.parent.messages.said[0]
    assert reader.canLoadFile(str(tmp_path / "missing.h5")) is False


def test_a_network_of_another_method_chooses_that_method(widget: Any, reader: Any, tmp_path: Path) -> None:
    from MSLFusionPanel.methodparameters import Method, TargetSource

    def parameters() -> Any:
        return widget.panel.parameters

    restorer, fuser, plain = (tmp_path / f"{name}.safetensors" for name in ("restorer", "fuser", "plain"))
    write_model(restorer, architecture="cmf-net", modalities=["t1", "t2"], scale=2)
    write_model(fuser, architecture="dc2fusion", modalities=["mr", "pet"])
    write_model(plain, architecture="unet-bicubic", modalities=["t1", "t2"], scale=2)
    assert reader.load({"fileName": str(restorer)})
    assert parameters().choice.method is Method.CMF_NET
    assert (parameters().restore.model, parameters().model.folder) == ("restorer", str(tmp_path))
    assert parameters().model.name == ""
    kspace = tmp_path / "scan.npz"
    np.savez(kspace, kspace=np.zeros(1), sino=np.zeros(1), t1=np.zeros(1))
    assert reader.load({"fileName": str(kspace)})
    assert parameters().restore.source is TargetSource.KSPACE
    assert parameters().restore.kspace == str(kspace)
    assert reader.load({"fileName": str(fuser)})
    assert parameters().choice.method is Method.FUSION
    assert (parameters().fusion.method, parameters().fusion.model) == ("dc2fusion", "fuser")
    assert not reader.load({"fileName": str(plain)})
    assert "no method" in reader.parent.messages.said[-1]
    assert reader.load({"fileName": str(sensors(tmp_path / "data.h5"))})
    assert parameters().choice.method is Method.MSL
