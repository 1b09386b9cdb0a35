"""Section 1 of the training panel: every source, what is wrong with it, a preparation that succeeds, fails, ends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from training_opened import FakeCommands, OpenedTraining, use_fakes
from turns import settle, until

SCANS = {"type": "result", "kind": "scans", "modalities": ["ct", "t1"]}
SET = {
    "type": "result",
    "kind": "set",
    "modalities": ["ct", "t1"],
    "size": 64,
    "pixel_mm": 4.0,
    "sha256": "0",
    "settings": {},
    "slices": 12,
    "page": "",
    "failed": [{"id": "p003", "problem": "There is no T1 of patient p003."}],
    "patients": [
        {"id": "p001", "split": "train", "slices": 6, "left_out": [["is blank", 2]], "warnings": []},
        {"id": "p002", "split": "validation", "slices": 6, "left_out": [], "warnings": ["They hardly overlap."]},
    ],
}


def row(name: str, problem: str = "") -> dict[str, Any]:
    return {"id": name, "scans": {"ct": "/ct.nii", "t1": "/t1.nii"}, "slices": 0, "problem": problem}


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> FakeCommands:
    return use_fakes(monkeypatch)


@pytest.fixture
def opened(slicer_app: Any, commands: FakeCommands) -> Iterator[OpenedTraining]:
    panel = OpenedTraining()
    yield panel
    panel.close()


def choose_folder(opened: OpenedTraining, folder: Path) -> None:
    from MSLFusionTrainingPanel.parameters import DataSource

    opened.parameters.data.source = DataSource.FOLDER
    opened.ui.scansFolderPath.comboBox().setEditText(str(folder))
    settle()


def table(opened: OpenedTraining) -> list[list[str]]:
    widget = opened.ui.patientsTable
    return [[widget.item(r, c).text() for c in range(4)] for r in range(widget.rowCount)]


def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    (folder / "anna").mkdir(parents=True)
    return folder


def test_generated_heads_need_nothing(opened: OpenedTraining) -> None:
    assert opened.problems() == []
    assert opened.panel.data.decided() == {"data": "", "modalities": ["ct", "t1"]}
    opened.ui.headsSpinBox.value = 6
    opened.ui.headWorkersSpinBox.value = 2
    opened.ui.modalitiesSelector.setEditText("t1 + T2")
    settle()
    config = opened.panel.configuration.settings.config
    assert (config.heads, config.modalities, config.name) == (6, ("t1", "t2"), "msl-t1-t2")
    assert "CT and one MR contrast" in opened.text("modalitiesMessage")
    assert opened.kind("modalitiesMessage") == "info"
    assert opened.panel.train_words() == ["--device", "auto", "--workers", "2"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [("ct", "at least two"), ("ct ct", "named twice"), ("ct f!air", "no name"), ("ct flair", "have no FLAIR")],
)
def test_modalities_that_cannot_be(opened: OpenedTraining, typed: str, said: str) -> None:
    opened.ui.modalitiesSelector.setEditText(typed)
    settle()
    assert said in opened.text("modalitiesMessage")
    assert opened.kind("modalitiesMessage") == "error"


def test_a_path_that_is_being_typed_is_looked_at_once(
    opened: OpenedTraining, commands: FakeCommands, tmp_path: Path
) -> None:
    from MSLFusionTrainingPanel.parameters import DataSource

    opened.parameters.data.source = DataSource.FOLDER
    settle()
    folder = scans(tmp_path)
    for length in range(len(str(tmp_path)) - 1, len(str(folder)) + 1):
        opened.ui.scansFolderPath.comboBox().setEditText(str(folder)[:length])
        opened.panel.update()
    settle()
    assert [command.words[1] for command in commands.started] == [str(folder)]


def test_a_folder_that_cannot_be_searched(opened: OpenedTraining, commands: FakeCommands, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for path, said in (("empty", "is empty"), ("gone", "does not exist"), ("file", "is a file")):
        choose_folder(opened, tmp_path / path)
        assert said in opened.text("scansMessage")
        assert not opened.ui.prepareButton.enabled
    assert opened.parameters.data.output == str(tmp_path / "file-training-set.h5")  # it follows what is chosen
    choose_folder(opened, Path("scans"))
    assert "whole path" in opened.text("scansMessage")
    choose_folder(opened, Path(""))
    assert opened.text("scansMessage") != ""
    assert commands.started == []


def test_patients_are_looked_for_and_shown_before_they_are_prepared(
    opened: OpenedTraining, commands: FakeCommands, tmp_path: Path
) -> None:
    choose_folder(opened, scans(tmp_path))
    asked = commands.last("prepare", "--list")
    assert asked.words == ["prepare", str(tmp_path / "scans"), "--list", "--modalities", "ct", "t1"]
    assert "Looking" in opened.ui.scansInfo.text
    assert not opened.ui.prepareButton.enabled
    asked.end({**SCANS, "patients": [row("anna"), row("ben", "There is no T1 of patient ben.")]})
    settle()
    assert opened.ui.scansInfo.text == "1 patient with CT + T1 found."
    assert opened.text("scansMessage") == "1 patient will be left out: There is no T1 of patient ben."
    assert opened.kind("scansMessage") == "warning"
    assert table(opened) == [["anna", "", "", "CT + T1"], ["ben", "", "", "There is no T1 of patient ben."]]
    assert opened.ui.outputPath.currentPath == str(tmp_path / "scans-training-set.h5")
    assert opened.ui.prepareButton.enabled
    assert opened.kind("prepareMessage") == "needed"
    settle()
    assert commands.count("prepare") == 1  # asked once
    opened.ui.modalitiesSelector.setEditText("ct t2")
    settle()
    assert asked.stopped or commands.last("prepare", "--list") is not asked
    commands.last("prepare", "--list").refuse("The folder holds no scans of ct, t2")
    settle()
    assert opened.text("scansMessage") == "The folder holds no scans of ct, t2."
    assert opened.kind("scansMessage") == "error"
    assert not opened.ui.patientsTable.visible


def prepared(opened: OpenedTraining, commands: FakeCommands, tmp_path: Path) -> Any:
    """A preparation that has begun."""
    choose_folder(opened, scans(tmp_path))
    commands.last("prepare", "--list").end({**SCANS, "patients": [row("anna"), row("ben")]})
    settle()
    opened.ui.prepareButton.click()
    settle()
    assert opened.panel.runs(opened.ui.prepareButton)
    return commands.last("prepare", "--output")


def test_a_preparation_from_start_to_the_set(
    opened: OpenedTraining, commands: FakeCommands, tmp_path: Path, panel_image: Any
) -> None:
    opened.parameters.data.validation = 0.25
    opened.parameters.data.register = False
    command = prepared(opened, commands, tmp_path)
    words = " ".join(command.words)
    output = tmp_path / "scans-training-set.h5"
    assert f"prepare {tmp_path / 'scans'} --output {output} --modalities ct t1 --validation 0.25" in words
    assert "--no-register" in words
    assert "--keep-outside" not in words
    assert f"--pixel-mm {256 / 384!r}" in words
    command.progress("prepare patients", 1, 2, 130.0)
    settle()
    assert opened.ui.prepareButton.text == "Cancel (50 %)"
    assert opened.ui.prepareInfo.text == "1 of 2 patients, about 2 min left."
    assert opened.ui.prepareProgressBar.visible
    command.warn("Patient p003 is left out: There is no T1")
    settle()
    assert opened.text("prepareMessage") == "Patient p003 is left out: There is no T1."
    output.write_bytes(b"a set")
    command.end({"type": "result"})
    settle()
    commands.last("prepare", str(output)).end(SET)
    settle()
    assert opened.ui.prepareButton.text == "Prepare"
    assert not opened.ui.prepareProgressBar.visible
    assert "12 slices of 64 x 64 at 4 mm; patients: 1 for training, 1 for validation." in opened.ui.setInfo.text
    assert table(opened) == [
        ["p001", "training", "6", "2 left out: is blank."],
        ["p002", "validation", "6", "They hardly overlap."],
        ["p003", "rejected", "0", "There is no T1 of patient p003."],
    ]
    assert not opened.ui.qualityPageButton.enabled
    config = opened.panel.configuration.settings.config
    assert (config.data, config.size, config.pixel_mm) == (str(output), 64, 4.0)
    assert opened.problems() == []
    panel_image(opened.area, "training prepared")
    opened.parameters.data.modalities = "ct t2"
    settle()
    assert "press Prepare for CT + T2" in opened.text("setMessage")
    assert opened.kind("setMessage") == "error"


def test_a_preparation_that_fails_says_why_and_can_be_tried_again(
    opened: OpenedTraining, commands: FakeCommands, tmp_path: Path
) -> None:
    prepared(opened, commands, tmp_path).refuse("None of the 2 patients can be used. The first: they do not overlap")
    settle()
    assert "do not overlap" in opened.text("prepareMessage")
    assert opened.kind("prepareMessage") == "failure"
    assert opened.ui.prepareButton.enabled
    opened.ui.prepareButton.click()
    settle()
    assert opened.text("prepareMessage") == ""
    assert opened.panel.runs(opened.ui.prepareButton)


def test_a_file_in_the_place_of_the_set_that_is_none_is_replaced(
    opened: OpenedTraining, commands: FakeCommands, tmp_path: Path
) -> None:
    output = tmp_path / "scans-training-set.h5"
    output.write_bytes(b"something else")
    choose_folder(opened, scans(tmp_path))
    commands.last("prepare", str(tmp_path / "scans")).end({**SCANS, "patients": [row("anna")]})
    settle()
    commands.last("prepare", str(output), "--list").refuse("It is no HDF5 file")
    settle()
    assert opened.text("prepareMessage") == "Press Prepare to make the training set."
    assert opened.kind("prepareMessage") == "needed"
    assert opened.ui.prepareButton.enabled


def test_what_cannot_be_looked_into_for_want_of_packages_can_be_started_all_the_same(
    opened: OpenedTraining, commands: FakeCommands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MSLFusionPanel import install

    monkeypatch.setattr(install, "missing_packages", lambda: ["h5py"])
    path = tmp_path / "set.h5"
    path.write_bytes(b"a set")
    opened.panel.data.use_set(str(path))
    settle()
    commands.last("prepare", str(path)).refuse("h5py is missing: install it")
    settle()
    assert "Start offers to install" in opened.text("setMessage")
    assert opened.problems() == []
    monkeypatch.setattr(install, "missing_packages", lambda: [])
    opened.panel.changed()
    settle()
    assert commands.count("prepare", str(path)) == 2
    commands.last("prepare", str(path)).end(SET)
    settle()
    assert opened.text("setMessage") == ""


def test_a_cancelled_preparation_stops_its_process(
    opened: OpenedTraining, commands: FakeCommands, tmp_path: Path
) -> None:
    command = prepared(opened, commands, tmp_path)
    opened.ui.prepareButton.click()
    settle()
    assert command.stopped
    assert opened.panel.task is None
    assert opened.ui.prepareButton.enabled
    assert not opened.ui.prepareProgressBar.visible


def test_a_closed_scene_ends_the_preparation(
    opened: OpenedTraining, commands: FakeCommands, scene: Any, tmp_path: Path
) -> None:
    command = prepared(opened, commands, tmp_path)
    scene.Clear(False)
    settle()
    assert command.stopped
    assert opened.parameters.data.folder == ""
    assert opened.ui.scansFolderPath.currentPath == ""
    assert not opened.ui.patientsTable.visible


def test_a_table_tells_its_modalities(opened: OpenedTraining, commands: FakeCommands, tmp_path: Path) -> None:
    from MSLFusionTrainingPanel.parameters import DataSource

    path = tmp_path / "scans.csv"
    path.write_text("patient,ct,pet\n")
    opened.parameters.data.source = DataSource.TABLE
    settle()
    assert opened.kind("scansMessage") == "needed"
    opened.ui.scansTablePath.comboBox().setEditText(str(path))
    settle()
    asked = commands.last("prepare", "--list")
    assert asked.words == ["prepare", str(path), "--list"]
    asked.end({**SCANS, "modalities": ["ct", "pet"], "patients": [row("a")]})
    settle()
    assert opened.panel.data.modalities == ("ct", "pet")
    assert opened.ui.outputPath.currentPath == str(tmp_path / "scans-training-set.h5")
    assert not opened.ui.modalitiesSelector.visible


def test_a_prepared_set_is_looked_into_once(
    opened: OpenedTraining, commands: FakeCommands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt

    from MSLFusionTrainingPanel.parameters import DataSource

    opened.parameters.data.source = DataSource.SET
    settle()
    assert opened.kind("setMessage") == "needed"
    opened.ui.setPath.comboBox().setEditText(str(tmp_path / "gone.h5"))
    settle()
    assert opened.text("setMessage") == "This file does not exist."
    path, page = tmp_path / "set.h5", tmp_path / "set.html"
    path.write_bytes(b"a set")
    opened.ui.setPath.comboBox().setEditText(str(path))
    settle()
    commands.last("prepare", str(path)).refuse("It is no training set of mslfusion prepare")
    settle()
    assert opened.text("setMessage") == "It is no training set of mslfusion prepare."
    assert opened.kind("setMessage") == "error"
    path.write_bytes(b"another set")
    opened.panel.changed()
    settle()
    assert commands.count("prepare", str(path)) == 1  # files are not looked at all the time
    opened.panel.enter()
    settle()
    alone = [one for one in SET["patients"] if one["split"] == "train"]
    commands.last("prepare", str(path)).end({**SET, "page": str(page), "patients": alone, "modalities": ["t1", "t2"]})
    settle()
    assert "no patient is for validation" in opened.text("setMessage").lower()
    assert opened.kind("setMessage") == "warning"
    assert opened.panel.configuration.settings.config.modalities == ("t1", "t2")
    assert "CT and one MR contrast" in opened.text("modalitiesMessage")
    shown: list[str] = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: shown.append(url.toLocalFile()))
    opened.ui.qualityPageButton.click()
    assert shown == [str(page)]
    settle()
    assert commands.count("prepare", str(path)) == 2


def volume(name: str, value: float = 0.0) -> Any:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    array = np.linspace(-1000, 1000, 336, dtype=np.float32).reshape(6, 7, 8) + value
    slicer.util.updateVolumeFromArray(node, array)
    node.SetSpacing(2, 2, 2)
    return node


def test_volumes_of_the_scene_are_written_for_the_preparation_and_taken_away_again(
    opened: OpenedTraining, commands: FakeCommands, scene: Any, tmp_path: Path
) -> None:
    import slicer

    from MSLFusionTrainingPanel.pairs import Pairs
    from MSLFusionTrainingPanel.parameters import DataSource

    Path(slicer.app.temporaryPath).mkdir(parents=True, exist_ok=True)
    opened.parameters.data.source = DataSource.SCENE
    opened.parameters.data.output = str(tmp_path / "set.h5")
    settle()
    assert opened.kind("scansMessage") == "needed"
    ct, t1, other = volume("CT"), volume("T1", 50), volume("Other", 70)
    opened.ui.pairsTable.cellWidget(0, 0).setCurrentNode(ct)
    settle()
    assert opened.text("scansMessage") == "Row 1 has no T1: choose it, or remove the row."
    opened.ui.pairsTable.cellWidget(0, 1).setCurrentNode(ct)
    settle()
    assert "is used in row 1 and in row 1" in opened.text("scansMessage")
    opened.ui.pairsTable.cellWidget(0, 1).setCurrentNode(t1)
    opened.ui.addPairButton.click()
    settle()
    assert opened.ui.pairsTable.rowCount == 2
    opened.ui.pairsTable.cellWidget(1, 0).setCurrentNode(other)
    settle()
    assert "Row 2 has no T1" in opened.text("scansMessage")
    scene.RemoveNode(other)
    settle()
    assert opened.text("scansMessage") == ""
    opened.ui.prepareButton.click()
    until(lambda: commands.count("prepare", "--output"))
    command = commands.last("prepare", "--output")
    folder = Path(command.words[1])
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.nrrd")) == [
        "p001/ct.nrrd",
        "p001/t1.nrrd",
    ]
    assert sitk.ReadImage(str(folder / "p001" / "t1.nrrd")).GetSpacing() == (2, 2, 2)
    command.end({"type": "result"})
    settle()
    assert not folder.exists()
    pairs = Pairs(opened.parameters)
    pairs.put(1, 0, t1)
    pairs.remove(0, 2)
    assert (pairs.rows, pairs.get(0, 0)) == (1, t1)


def test_shares_that_leave_nothing_and_a_bad_place_for_the_set(
    opened: OpenedTraining, commands: FakeCommands, tmp_path: Path
) -> None:
    choose_folder(opened, scans(tmp_path))
    commands.last("prepare", "--list").end({**SCANS, "patients": [row("anna")]})
    opened.parameters.data.validation, opened.parameters.data.test = 0.6, 0.5
    settle()
    assert "leave nothing to train on" in opened.text("prepareMessage")
    assert not opened.ui.prepareButton.enabled
    opened.parameters.data.validation, opened.parameters.data.test = 0.1, 0.0
    for path, said in ((tmp_path / "set.nii", "must end in .h5"), (Path("set.h5"), "whole path"), ("", "Choose")):
        opened.ui.outputPath.comboBox().setEditText(str(path))
        settle()
        assert said in opened.text("outputMessage")
        assert not opened.ui.prepareButton.enabled


def test_a_saved_scene_brings_the_choices_back(opened: OpenedTraining, scene: Any, tmp_path: Path) -> None:
    from MSLFusionLib.scene import bundle
    from MSLFusionTrainingPanel.pairs import Pairs
    from MSLFusionTrainingPanel.parameters import DataSource

    data = opened.parameters.data
    data.source, data.modalities, data.pairs = DataSource.SCENE, "t1 t2", 2
    first, second = volume("One"), volume("Two")
    Pairs(opened.parameters).put(1, 0, first)
    Pairs(opened.parameters).put(1, 1, second)
    opened.ui.iterationsSpinBox.value = 123
    settle()
    path = bundle.save_bundle(scene, tmp_path / "scene.mrb")
    scene.Clear(False)
    settle()
    assert opened.ui.iterationsSpinBox.value != 123
    bundle.load_bundle(scene, path)
    settle()
    pairs = Pairs(opened.parameters)
    assert opened.parameters.data.modalities == "t1 t2"
    assert [pairs.get(1, column).GetName() for column in range(2)] == ["One", "Two"]
    assert opened.ui.pairsTable.cellWidget(1, 1).currentNode() is pairs.get(1, 1)
    assert opened.ui.iterationsSpinBox.value == 123
