"""The method CMF-Net on the stand-ins, with a tiny random network: Apply, results, what is missing, saved scenes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from opened import Opened
from turns import settle, until

SECTIONS = ("dataSection", "coregisterSection", "restoreSection", "modelSection", "reconstructSection")
SHAPE = (3, 46, 41)
SPACING = (4.0, 4.0, 5.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.write_restorer(folder / "tiny-t1-t2-x2.safetensors")
    return folder


def volume(name: str, array: np.ndarray) -> Any:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array.astype(np.float32))
    node.SetSpacing(*SPACING)
    node.CreateDefaultDisplayNodes()
    return node


@pytest.fixture
def opened(slicer_app: Any, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """The panel with the method CMF-Net and two contrasts on one grid."""
    from MSLFusionPanel import install
    from MSLFusionPanel.methodparameters import Method

    monkeypatch.setattr(install, "missing_packages", lambda: [])
    panel = Opened()
    panel.parameters.model.folder = str(models)
    panel.parameters.choice.method = Method.CMF_NET
    settle()
    mr = tiny.oval_head(SHAPE)[1]
    panel.parameters.data.ct, panel.parameters.data.mr = volume("T2", mr), volume("T1", 1.5 * mr)
    selector = panel.ui.restoreModelSelector
    names = [selector.itemText(i) for i in range(selector.count)]
    selector.currentIndex = next(i for i, name in enumerate(names) if "tiny-t1-t2-x2" in name)
    settle()
    yield panel
    panel.close()


def press(opened: Opened) -> None:
    button = opened.ui.applyButton
    assert button.enabled, button.toolTip
    button.click()
    settle()
    until(lambda: opened.panel.task is None)
    settle()


def results(opened: Opened) -> dict[str, Any]:
    from MSLFusionPanel.restored import RESTORED

    return RESTORED.of(*opened.panel.restoring.pair())


def seen(opened: Opened, *names: str) -> list[bool]:
    return [getattr(opened.ui, name)._q.isVisibleTo(opened.root._q) for name in names]


def contents(scene: Any) -> list[str]:
    return sorted(scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes()))


def test_only_what_cmf_net_needs_is_shown(opened: Opened, panel_image: Callable[..., None]) -> None:
    ui = opened.ui
    assert all(seen(opened, *SECTIONS, "restoreResultsSection", "restoreAccelerationSpinBox"))
    assert not any(seen(opened, "sensorsSection", "fusionSection", "lambdaSection", "resultsSection"))
    assert not any(seen(opened, "hybridSelector", "sampleHeadButton", "firstKindSelector", "restoreKspacePath"))
    assert (ui.ctSelectorLabel.text, ui.mrSelectorLabel.text) == ("Target:", "Auxiliary:")
    assert "target and auxiliary are there" in opened.text("methodInfo")
    assert "T2 as the target and T1 as the auxiliary; pixels 2 times finer" in opened.text("restoreModelMessage")
    opened.area.resize(420, 1400)
    settle()
    assert opened.area.horizontalScrollBar().maximum == 0
    panel_image(opened.area, "cmf-net")


def test_restored_volumes_come_with_their_own_spacing(opened: Opened, scene: Any, slicer_app: Any) -> None:
    import slicer

    from MSLFusionLib.scene import hierarchy
    from MSLFusionPanel.restoreresults import measured

    opened.ui.restoreAccelerationSpinBox.value = 3
    settle()
    press(opened)
    found = results(opened)
    assert set(found) == {"restored", "zero_filled", "super_resolved", "bicubic"}
    fine, coarse, target = found["super_resolved"], found["restored"], opened.parameters.data.ct
    assert fine.GetName() == "Super-resolved"
    assert slicer.util.arrayFromVolume(fine).shape == SHAPE
    assert slicer.util.arrayFromVolume(coarse).shape == (3, 23, 21)
    assert fine.GetSpacing() == pytest.approx(SPACING)
    assert coarse.GetSpacing() == pytest.approx((8.0, 8.0, 5.0))
    assert fine.GetOrigin() == pytest.approx(target.GetOrigin())
    shown = [view.slice_logic.GetSliceCompositeNode() for view in slicer_app.layout.views.values()]
    ids = {composite.GetBackgroundVolumeID() for composite in shown}
    assert ids >= {node.GetID() for node in (target, opened.parameters.data.mr, fine)}
    asked = opened.worker.last("restore").header
    assert asked["plan"] == {"acceleration": 3.0, "mask": "random", "kspace_sigma": 0.0, "seed": 0}
    assert (asked["place"], asked["consistency"], asked["compare"]) == ("the same", True, False)
    rows = {row["image"]: row for row in measured(opened.parameters.restore.table)}
    assert set(rows) == {"Restored", "Zero-filled", "Super-resolved", "Zero-filled, bicubic"}
    assert all(10 < row["PSNR"] < 80 for row in rows.values())
    assert opened.ui.restoreTable.rowCount == 3
    told = hierarchy.run_parameters(scene, hierarchy.place_of(scene, fine))
    assert (told["Run"], told["scale"]) == ("restore", "2")
    assert json.loads(told["contrasts"]) == ["t1", "t2"]
    assert hierarchy.place_of(scene, opened.parameters.restore.table) == hierarchy.place_of(scene, coarse)


def test_applying_again_replaces_and_another_result_can_be_shown(opened: Opened, scene: Any, slicer_app: Any) -> None:
    press(opened)
    found = results(opened)
    before = len(contents(scene))
    opened.ui.restoreConsistencyCheckBox.click()
    opened.ui.restoreNoiseSpinBox.value = 0.01
    settle()
    press(opened)
    assert opened.worker.last("restore").header["consistency"] is False
    assert results(opened) == found
    assert len(contents(scene)) == before
    selector = opened.ui.restoredSelector
    selector.currentIndex = [selector.itemData(i) for i in range(selector.count)].index("bicubic")
    settle()
    third = slicer_app.layout.views["Yellow"].slice_logic.GetSliceCompositeNode()
    assert third.GetBackgroundVolumeID() == found["bicubic"].GetID()
    press(opened)
    assert third.GetBackgroundVolumeID() == found["bicubic"].GetID()


def test_an_auxiliary_elsewhere_is_resampled(opened: Opened) -> None:
    opened.parameters.data.mr.SetOrigin(4.0, 0.0, 0.0)
    settle()
    assert "not on the target's grid" in opened.text("restoreInfo")
    press(opened)
    assert opened.worker.last("restore").header["place"] == "resampled"
    assert results(opened)["auxiliary"].GetName() == "Auxiliary on target"


def test_what_is_missing_or_wrong_is_told(opened: Opened) -> None:
    target = opened.parameters.data.ct
    opened.parameters.data.ct = None
    settle()
    assert "Choose the target" in opened.text("ctMessage")
    assert "auxiliary is there, target is missing" in opened.text("methodInfo")
    assert not opened.ui.applyButton.enabled
    opened.parameters.data.ct = opened.parameters.data.mr
    settle()
    assert "This is the target already" in opened.text("mrMessage")
    opened.parameters.data.ct = volume("CT", np.linspace(-1000, 1500, 3 * 46 * 41).reshape(SHAPE))
    settle()
    until(lambda: "looks like a CT" in opened.text("ctMessage"))
    opened.parameters.data.ct = target
    opened.parameters.restore.model = "magic"
    settle()
    assert "“magic” is not there" in opened.text("restoreModelMessage")
    assert not opened.ui.applyButton.enabled


def test_a_file_takes_the_place_of_the_target(opened: Opened, tmp_path: Path) -> None:
    from MSLFusionPanel.methodparameters import TargetSource

    opened.parameters.restore.source = TargetSource.KSPACE
    settle()
    assert seen(opened, "ctSelector", "restoreAccelerationSpinBox", "restoreKspacePath") == [False, False, True]
    assert opened.kind("restoreMessage") == "needed"
    path = tmp_path / "scan.npy"
    opened.ui.restoreKspacePath.currentPath = str(path)
    settle()
    assert "no such file" in opened.text("restoreMessage")
    np.save(path, np.zeros((3, 4), np.complex64))
    opened.ui.restoreKspacePath.currentPath = ""
    opened.ui.restoreKspacePath.currentPath = str(path)
    settle()
    assert "no sensors file" in opened.text("restoreMessage")  # what the worker says of it
    assert not opened.ui.applyButton.enabled
    geometry = {"size": [41, 46, 3], "spacing_mm": list(SPACING)}
    opened.worker.sensors = {"modalities": ["mr"], "geometry": geometry}
    opened.panel.restore.enter()
    settle()
    opened.panel.update()
    settle()
    assert opened.text("restoreInfo") == "41 x 46 x 3, 4 x 4 x 5 mm."
    opened.worker.held = {"restore"}
    opened.ui.restoreRegisterCheckBox.click()
    settle()
    assert opened.ui.applyButton.enabled, opened.ui.applyButton.toolTip
    opened.ui.applyButton.click()
    until(lambda: opened.worker.waiting() == ["restore"])
    message = opened.worker.last("restore")
    assert set(message.arrays) == {"auxiliary"}
    assert (message.header["kspace"], message.header["place"]) == (str(path), "registered")
    opened.ui.applyButton.click()
    settle()


def test_a_cancel_or_a_failure_leaves_the_scene_as_it_was(opened: Opened, scene: Any) -> None:
    before = contents(scene)
    opened.worker.held = {"restore"}
    opened.ui.applyButton.click()
    until(lambda: opened.worker.waiting() == ["restore"])
    opened.worker.progress("restore", 1, 2, 7.0)
    settle()
    assert opened.ui.applyButton.text == "Cancel (50 %)"
    opened.ui.applyButton.click()
    settle()
    assert opened.panel.task is None
    opened.worker.held = set()
    opened.worker.failures["restore"] = "the GPU has too little memory"
    press(opened)
    assert opened.text("applyMessage") == "The GPU has too little memory."
    assert contents(scene) == before
    opened.worker.failures.clear()
    opened.worker.held = {"restore"}
    opened.ui.applyButton.click()
    until(lambda: opened.worker.waiting() == ["restore"])
    scene.RemoveNode(opened.parameters.data.mr)
    opened.worker.answer()
    until(lambda: opened.panel.task is None)
    settle()
    assert "was removed meanwhile" in opened.ui.logText.toPlainText()


def test_a_saved_scene_holds_it(opened: Opened, scene: Any, tmp_path: Path) -> None:
    import slicer

    opened.ui.restoreSeedSpinBox.value = 5
    settle()
    press(opened)
    model, names = opened.parameters.restore.model, list(results(opened))
    assert slicer.util.saveScene(str(tmp_path / "restored.mrb"))
    scene.Clear(False)
    settle()
    slicer.util.loadScene(str(tmp_path / "restored.mrb"))
    settle()
    assert all(seen(opened, *SECTIONS))
    restore = opened.parameters.restore
    assert (restore.seed, restore.model, restore.shown) == (5, model, "super_resolved")
    assert list(results(opened)) == names
    assert opened.ui.restoreTable.rowCount == 3
    assert opened.ui.applyButton.enabled, opened.ui.applyButton.toolTip
