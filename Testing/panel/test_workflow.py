"""The whole panel from top to bottom: clicked through, saved, loaded, opened again; and once with a real worker."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from opened import ROOT, Opened
from PySide6 import QtGui, QtWidgets
from turns import settle, until

SECTIONS = ("data", "coregister", "sensors", "model", "lambda", "reconstruct", "results", "log")


@pytest.fixture
def ready(slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All packages are there."""
    from MSLFusionPanel import install

    monkeypatch.setattr(install, "missing_packages", lambda: [])


@pytest.fixture
def opened(ready: None) -> Iterator[Opened]:
    panel = Opened()
    yield panel
    panel.close()


@pytest.fixture(params=["light", "dark"])
def palette(request: pytest.FixtureRequest, app: Any) -> Iterator[str]:
    """Slicer's two looks."""
    before = app.palette()
    if request.param == "dark":
        dark, color = QtGui.QPalette(QtGui.QColor(45, 45, 45)), QtGui.QPalette.ColorRole
        for role, grey in ((color.Base, 30), (color.Text, 230), (color.WindowText, 230), (color.ButtonText, 230)):
            dark.setColor(role, QtGui.QColor(grey, grey, grey))
            if grey > 100:
                dark.setColor(QtGui.QPalette.ColorGroup.Disabled, role, QtGui.QColor(110, 110, 110))
        app.setPalette(dark)
    yield request.param
    app.setPalette(before)


def unfold(opened: Opened, *names: str) -> None:
    """Show these sections and no other."""
    for name in SECTIONS:
        getattr(opened.ui, f"{name}Section").collapsed = name not in names
    settle()
    opened.area.resize(420, opened.root._q.heightForWidth(420) + 20)
    settle()
    assert opened.area.horizontalScrollBar().maximum == 0  # all of it fits into 420 pixels


def press(opened: Opened, button: Any) -> None:
    """Click and wait until nothing runs any more."""
    assert button.enabled, (button.text, button.toolTip)
    button.click()
    for _once in range(2):
        settle()
        until(lambda: opened.panel.task is None)
    assert opened.panel.messages.failures() == []


def rest(opened: Opened) -> None:
    """Until the live preview has nothing to do."""
    lambdas = opened.panel.lambdas
    settle()
    until(lambda: not lambdas._timer.isActive() and not lambdas._rest.isActive() and lambdas._task is None)


def choose(selector: Any, member: Any) -> None:
    """A member of an enumeration, in a selector."""
    selector.currentIndex = list(type(member)).index(member)
    settle()


def values(node: Any) -> np.ndarray:
    import slicer

    return np.array(slicer.util.arrayFromVolume(node))


def kinds_of_nodes(scene: Any) -> list[str]:
    """Of all nodes but those that say where a file lies: what is made again has none yet."""
    names = [scene.GetNthNode(i).GetClassName() for i in range(scene.GetNumberOfNodes())]
    return sorted(name for name in names if "Storage" not in name)


def paint(opened: Opened) -> None:
    """A box in the first segment."""
    import slicer

    node, ct = opened.parameters.lam.segmentation, opened.parameters.data.ct
    shape = values(ct).shape
    mask = np.zeros(shape, np.uint8)
    mask[:, shape[1] // 3 : shape[1] // 2 + 1, shape[2] // 3 : shape[2] // 2 + 1] = 1
    segment = node.GetSegmentation().GetNthSegmentID(0)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, ct)
    settle()


def test_from_top_to_bottom_saved_loaded_and_opened_again(
    opened: Opened, scene: Any, tmp_path: Path, slicer_app: Any
) -> None:
    import slicer

    from MSLFusionPanel.parameters import LambdaMode

    ui, parameters = opened.ui, opened.parameters
    assert not ui.applyButton.enabled
    press(opened, ui.sampleHeadButton)
    assert parameters.data.ct is not None
    press(opened, ui.registerButton)
    assert parameters.coregister.aligned is not None
    ui.viewsSpinBox.value = 48
    ui.sweepCheckBox.click()
    ui.sweepCountSpinBox.value = 3
    settle()
    press(opened, ui.applyButton)
    hybrid = parameters.output.hybrid
    assert parameters.output.table is not None
    rest(opened)
    ui.lambdaSlider.value = 0.75
    rest(opened)
    assert np.all(values(hybrid) == np.float32(0.75))
    choose(ui.lambdaModeSelector, LambdaMode.PAINTED)
    if parameters.lam.segmentation is None:
        ui.addSegmentButton.click()
        settle()
    paint(opened)
    rest(opened)
    assert hybrid.GetAttribute("MSLFusion.Lambda") == "map"
    assert len(np.unique(values(hybrid))) == 2
    ui.overlayCheckBox.click()
    rest(opened)
    ui.showTableButton.click()
    ui.showPlotsButton.click()
    ui.hybridLargeButton.click()
    ui.sideBySideButton.click()
    rest(opened)
    before, shown = values(hybrid), ui.resultsInfo.text
    assert slicer.util.saveScene(str(tmp_path / "workflow.mrb"))
    scene.Clear(False)
    settle()
    assert ui.logText.toPlainText() != ""
    assert "Choose a CT" in opened.text("applyMessage")
    slicer.util.loadScene(str(tmp_path / "workflow.mrb"))
    rest(opened)
    parameters = opened.parameters
    lam, output = parameters.lam, parameters.output
    assert None not in (parameters.data.ct, parameters.data.mr, parameters.coregister.aligned, lam.segmentation)
    assert (lam.mode, parameters.sensors.views, output.sweepCount) == (LambdaMode.PAINTED, 48, 3)
    assert np.array_equal(values(output.hybrid), before)
    assert ui.resultsInfo.text == shown
    assert ui.viewsSpinBox.value == 48
    assert ui.applyButton.enabled, ui.applyButton.toolTip
    nodes = kinds_of_nodes(scene)
    press(opened, ui.applyButton)
    rest(opened)
    assert kinds_of_nodes(scene) == nodes
    assert np.array_equal(values(opened.parameters.output.hybrid), before)
    slicer_app.layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
    rest(opened)
    opened.close()
    again = Opened()
    assert again.ui.applyButton.enabled, again.ui.applyButton.toolTip
    assert again.ui.resultsInfo.text == shown
    assert again.ui.sweepCountSpinBox.value == 3
    press(again, again.ui.applyButton)
    assert again.worker.kinds().count("reconstruct") == 1  # its worker is another one
    again.close()


def test_another_patient_takes_the_place_of_the_first(opened: Opened, scene: Any) -> None:
    press(opened, opened.ui.sampleHeadButton)
    press(opened, opened.ui.registerButton)
    press(opened, opened.ui.applyButton)
    rest(opened)
    first = opened.parameters.data.ct
    opened.load_volumes()
    assert "changed since the last Apply" in opened.text("previewInfo")
    assert opened.parameters.data.ct is not first
    press(opened, opened.ui.applyButton)
    assert opened.worker.kinds().count("reconstruct") == 2
    scene.RemoveNode(first)
    rest(opened)
    assert opened.ui.applyButton.enabled


def test_pictures_of_the_panel(palette: str, opened: Opened, panel_image: Callable[..., None]) -> None:
    from MSLFusionPanel.parameters import LambdaMode, SensorSource

    ui = opened.ui
    unfold(opened, "data", "coregister", "lambda", "reconstruct")
    panel_image(opened.area, f"{palette} 1 opened")
    press(opened, ui.sampleHeadButton)
    ui.sweepCheckBox.click()
    press(opened, ui.registerButton)
    press(opened, ui.applyButton)
    rest(opened)
    unfold(opened, *SECTIONS)
    panel_image(opened.area, f"{palette} 2 done")
    opened.worker.held = {"reconstruct"}
    ui.viewsSpinBox.value = 7
    settle()
    ui.applyButton.click()
    until(lambda: opened.worker.waiting() == ["reconstruct"])
    opened.worker.progress("reconstruct", 34, 96, 75)
    settle()
    unfold(opened, "data", "lambda", "reconstruct", "results")
    panel_image(opened.area, f"{palette} 3 running")
    ui.applyButton.click()
    opened.worker.held = set()
    opened.worker.failures["reconstruct"] = "the GPU has too little memory: choose the CPU or smaller batches"
    choose(ui.lambdaModeSelector, LambdaMode.PAINTED)
    ui.applyButton.enabled and ui.applyButton.click()
    settle()
    opened.parameters.output.hybrid = opened.parameters.data.ct
    ui.modelCardBox.collapsed = ui.workerBox.collapsed = False
    rest(opened)
    unfold(opened, *SECTIONS)
    panel_image(opened.area, f"{palette} 4 painted and wrong")
    choose(ui.sensorSourceSelector, SensorSource.FILE)
    choose(ui.lambdaModeSelector, LambdaMode.VOLUME)
    unfold(opened, "sensors", "lambda", "reconstruct")
    panel_image(opened.area, f"{palette} 5 file and volume")
    label = ui.hybridMessage
    dark = palette == "dark"
    assert (label._q.palette().color(QtGui.QPalette.ColorRole.WindowText).lightness() > 128) is dark
    assert isinstance(label._q, QtWidgets.QLabel)


def test_the_modules_own_test_with_a_real_worker(
    ready: None, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs inside Slicer, on a small head and a tiny network."""
    from MSLFusionPanel import process, samples, selftest
    from MSLFusionPanel.links import ProcessLink

    script = str(ROOT / "MSLFusion" / "batch.py")
    monkeypatch.setattr(process, "batch_command", lambda *words: [sys.executable, script, *words])
    small = {"size": (40, 40, 8), "spacing_mm": (5.0, 5.0, 20.0), "misalign_mm": 5.0, "misalign_deg": 3.0}
    small |= {"moving_size": (36, 36, 8), "moving_spacing_mm": (5.5, 5.5, 20.0)}
    monkeypatch.setattr(samples, "HEAD", {**samples.HEAD, **small})
    models = tmp_path / "models"
    models.mkdir()
    tiny.write_model(models / "tiny.safetensors")
    opened = Opened(process.Worker())
    try:
        opened.parameters.model.folder = str(models)
        opened.parameters.model.name = "tiny"
        opened.parameters.model.device = "cpu"
        settle()
        selftest.Workflow(opened.panel).run()
    finally:
        opened.close()
    until(lambda: not ProcessLink._alive)
