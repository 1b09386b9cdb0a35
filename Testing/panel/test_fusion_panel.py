"""The method Fusion on the stand-ins: what the panel shows of it, Apply, comparing, bad inputs, saved scenes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opened import Opened
from turns import settle, until

MSL = ("dataSection", "coregisterSection", "sensorsSection", "modelSection", "lambdaSection", "reconstructSection")
FUSION = ("dataSection", "coregisterSection", "fusionSection", "modelSection", "reconstructSection")
SHAPE = (10, 12, 14)


def volume(name: str, array: np.ndarray) -> Any:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array.astype(np.float32))
    node.CreateDefaultDisplayNodes()
    return node


def textured(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    z, y, x = np.indices(shape) / np.array(shape).reshape(3, 1, 1, 1) - 0.5
    inside = (z**2 + y**2 + x**2) < 0.2
    return inside * (60 + 30 * np.sin(20 * (x + seed * y)) + np.random.default_rng(seed).random(shape))


@pytest.fixture
def opened(slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """The panel with the method Fusion and two volumes of one grid; PyTorch is not there."""
    from MSLFusionPanel import install
    from MSLFusionPanel.methodparameters import Method

    monkeypatch.setattr(install, "ready", lambda _tell: "PyTorch is not there.")
    panel = Opened()
    panel.parameters.choice.method = Method.FUSION
    settle()
    panel.parameters.data.ct, panel.parameters.data.mr = volume("A", textured(1)), volume("B", textured(2))
    settle()
    yield panel
    panel.close()


def press(opened: Opened, button: Any = None) -> None:
    button = button or opened.ui.applyButton
    assert button.enabled, button.toolTip
    button.click()
    settle()
    until(lambda: opened.panel.task is None)
    settle()


def choose(opened: Opened, name: str) -> None:
    """A fusion method, in the selector."""
    selector = opened.ui.fusionMethodSelector
    selector.currentIndex = [selector.itemData(i) for i in range(selector.count)].index(name)
    settle()


def results(opened: Opened) -> dict[str, Any]:
    from MSLFusionPanel.fused import FUSED

    return FUSED.of(opened.parameters.data.ct, opened.parameters.data.mr)


def rows(opened: Opened) -> dict[str, dict[str, Any]]:
    from MSLFusionPanel.measures import measured

    return {row["image"]: row for row in measured(opened.parameters.fusion.table)}


def seen(opened: Opened, names: tuple[str, ...]) -> list[bool]:
    return [getattr(opened.ui, name)._q.isVisibleTo(opened.root._q) for name in names]


# Choosing.


def test_only_the_sections_of_the_method_are_shown_under_its_words(
    opened: Opened, panel_image: Callable[..., None]
) -> None:
    ui = opened.ui
    assert all(seen(opened, (*FUSION, "fusionResultsSection", "compareAllButton", "firstKindSelector")))
    assert not any(
        seen(opened, ("sensorsSection", "lambdaSection", "resultsSection", "hybridSelector", "modelCardBox"))
    )
    assert [getattr(ui, name).text for name in FUSION] == [
        "1. Data",
        "2. Coregister",
        "3. Fusion",
        "4. Device and worker",
        "5. Apply",
    ]
    assert (ui.ctSelectorLabel.text, ui.mrSelectorLabel.text) == ("First:", "Second:")
    assert "Inputs: first volume and second volume are there." in opened.text("methodInfo")
    assert ui.applyButton.enabled, ui.applyButton.toolTip
    opened.area.resize(420, 1400)
    settle()
    assert opened.area.horizontalScrollBar().maximum == 0
    panel_image(opened.area, "fusion")
    ui.methodSelector.currentIndex = 0
    settle()
    assert all(seen(opened, (*MSL, "resultsSection", "hybridSelector", "liveCheckBox")))
    assert not any(seen(opened, ("fusionSection", "fusionResultsSection", "compareAllButton", "fusionMethodSelector")))
    assert [getattr(ui, name).text for name in MSL][2:] == [
        "3. Sensor data",
        "4. Model",
        "5. Lambda",
        "6. Reconstruct",
    ]
    assert (ui.ctSelectorLabel.text, ui.mrSelectorLabel.text) == ("CT:", "MR:")


def test_methods_that_cannot_run_are_there_but_cannot_be_chosen(opened: Opened) -> None:
    selector = opened.ui.fusionMethodSelector
    table = {row["name"]: row for row in opened.panel.method.table.fusion()}
    for i in range(selector.count):
        row = table[selector.itemData(i)]
        assert selector.model().item(i).isEnabled() == row["ready"]
        assert ("needs" in selector.itemText(i)) == (not row["ready"])
    opened.parameters.fusion.method = "magic"
    settle()
    assert "method “magic” is not here" in opened.text("methodMessage")
    assert not opened.ui.applyButton.enabled


def test_each_method_keeps_its_own_pair(opened: Opened, scene: Any) -> None:
    from MSLFusionPanel.methodparameters import Method

    def pair_of(method: Method) -> tuple[Any, Any]:
        opened.parameters.choice.method = method
        settle()
        return opened.parameters.data.ct, opened.parameters.data.mr

    a, b = opened.parameters.data.ct, opened.parameters.data.mr
    assert pair_of(Method.MSL) == (None, None)
    ct, mr = opened.load_volumes()
    assert pair_of(Method.FUSION) == (a, b)
    scene.RemoveNode(mr)
    assert pair_of(Method.MSL) == (ct, None)


def test_a_script_may_choose_a_method_and_its_volumes_at_once(opened: Opened) -> None:
    from MSLFusionPanel.methodparameters import Method

    pair = opened.parameters.data.ct, opened.parameters.data.mr
    ct = volume("CT", textured(3))
    opened.parameters.choice.method = Method.MSL
    opened.parameters.data.ct = ct
    settle()
    assert opened.parameters.data.ct is ct
    opened.parameters.choice.method = Method.FUSION
    assert (opened.parameters.data.ct, opened.parameters.data.mr) == pair


def test_fusion_begins_with_the_pair_of_msl(slicer_app: Any) -> None:
    from MSLFusionPanel.methodparameters import Method

    opened = Opened()
    try:
        pair = opened.load_volumes()
        opened.parameters.choice.method = Method.FUSION
        settle()
        assert [opened.parameters.data.ct, opened.parameters.data.mr] == pair
    finally:
        opened.close()


# Apply.


def test_a_fused_volume_is_put_beside_the_two(opened: Opened, scene: Any, slicer_app: Any) -> None:
    import slicer

    from MSLFusionLib.scene import hierarchy

    data = opened.parameters.data
    press(opened)
    (node,) = results(opened).values()
    assert node.GetName() == "Fused (Laplacian pyramid)"
    array = slicer.util.arrayFromVolume(node)
    assert array.shape == SHAPE
    assert 0 <= array.min() < array.max() <= 1
    assert node.GetSpacing() == data.ct.GetSpacing()
    shown = [view.slice_logic.GetSliceCompositeNode() for view in slicer_app.layout.views.values()]
    ids = {composite.GetBackgroundVolumeID() for composite in shown}
    assert ids >= {data.ct.GetID(), data.mr.GetID(), node.GetID()}
    folder = hierarchy.place_of(scene, node)
    told = hierarchy.run_parameters(scene, folder)
    assert (told["Run"], told["first"], told["second"]) == ("fuse", "A", "B")
    assert json.loads(told["methods"]) == {"laplacian": {"levels": 4}}
    assert hierarchy.place_of(scene, opened.parameters.fusion.table) == folder
    assert list(rows(opened)) == ["Laplacian pyramid", "first alone", "second alone"]
    assert opened.ui.measuresTable.rowCount == 10
    assert opened.ui.measuresTable.columnCount == 3
    assert opened.worker.last("fuse").header["modalities"] == ["auto", "auto"]


def test_methods_stand_side_by_side_and_one_that_is_repeated_is_replaced(opened: Opened, scene: Any) -> None:
    press(opened)
    choose(opened, "alpha")
    press(opened)
    assert list(results(opened)) == ["laplacian", "alpha"]
    assert list(rows(opened)) == ["Laplacian pyramid", "Alpha blending", "first alone", "second alone"]
    node, before = results(opened)["alpha"], rows(opened)
    opened.panel.fusion.form.field("weight").value = 0.9
    settle()
    press(opened)
    assert opened.worker.last("fuse").header["settings"] == {"weight": 0.9}
    assert results(opened)["alpha"] is node
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1
    assert rows(opened)["Alpha blending"] != before["Alpha blending"]
    assert rows(opened)["Laplacian pyramid"] == before["Laplacian pyramid"]


def test_colours_come_as_a_volume_of_colours(opened: Opened) -> None:
    import slicer

    choose(opened, "overlay")
    for _twice in range(2):
        press(opened)
        node = results(opened)["overlay"]
        assert node.IsA("vtkMRMLVectorVolumeNode")
        array = slicer.util.arrayFromVolume(node)
        assert array.shape == (*SHAPE, 3)
        assert array.dtype == np.uint8
        assert len(np.unique(array)) > 10


def test_the_views_show_what_was_applied_or_chosen(opened: Opened, slicer_app: Any) -> None:
    def third() -> str | None:
        return slicer_app.layout.views["Yellow"].slice_logic.GetSliceCompositeNode().GetBackgroundVolumeID()

    press(opened)
    choose(opened, "maximum")
    press(opened)
    assert third() == results(opened)["maximum"].GetID()
    assert opened.ui.fusedSelector.currentText == "Fused (Maximum)"
    opened.ui.fusedSelector.currentIndex = 0
    settle()
    assert third() == results(opened)["laplacian"].GetID()
    assert opened.parameters.fusion.shown == "laplacian"


def test_measures_of_other_voxels_are_not_put_beside(opened: Opened) -> None:
    import slicer

    press(opened)
    slicer.util.updateVolumeFromArray(opened.parameters.data.mr, textured(5).astype(np.float32))
    settle()
    choose(opened, "alpha")
    press(opened)
    assert list(rows(opened)) == ["Alpha blending", "first alone", "second alone"]
    assert "measures of earlier results were removed" in opened.ui.logText.toPlainText()


def test_without_measures_there_is_no_table(opened: Opened) -> None:
    opened.ui.fusionMeasureCheckBox.click()
    settle()
    press(opened)
    assert list(results(opened)) == ["laplacian"]
    assert opened.parameters.fusion.table is None
    opened.ui.fusionMeasureCheckBox.click()
    opened.ui.slicewiseCheckBox.click()
    settle()
    press(opened)
    assert opened.worker.last("fuse").header["slicewise"] is True
    assert next(iter(rows(opened))) == "Laplacian pyramid"


def test_all_that_can_run_are_compared(opened: Opened) -> None:
    press(opened, opened.ui.compareAllButton)
    ready = [row["name"] for row in opened.panel.method.table.fusion() if row["ready"]]
    asked = [message.header["method"] for message in opened.worker.seen if message.type == "fuse"]
    assert asked == ready
    assert set(results(opened)) == set(ready) - {"dc2fusion"}
    assert len(rows(opened)) == len(results(opened)) + 2
    if "dc2fusion" in ready:  # no network is for two MR volumes
        assert "DC2Fusion was left out" in opened.ui.logText.toPlainText()
    assert opened.parameters.fusion.shown == "laplacian"


# Settings.


def test_settings_are_kept_by_method_and_saved(opened: Opened, scene: Any, tmp_path: Path) -> None:
    import slicer

    form = opened.panel.fusion.form
    form.field("levels").value = 2
    settle()
    choose(opened, "overlay")
    form.field("colours").currentIndex = 1
    form.field("opacity").value = 0.4
    settle()
    assert json.loads(opened.parameters.fusion.settings) == {
        "laplacian": {"levels": 2},
        "overlay": {"colours": "ice", "opacity": 0.4},
    }
    choose(opened, "laplacian")
    assert form.field("levels").value == 2
    press(opened)
    assert opened.worker.last("fuse").header["settings"] == {"levels": 2}
    before = rows(opened)
    assert slicer.util.saveScene(str(tmp_path / "fusion.mrb"))
    scene.Clear(False)
    settle()
    assert seen(opened, ("fusionSection",)) == [False]
    slicer.util.loadScene(str(tmp_path / "fusion.mrb"))
    settle()
    assert all(seen(opened, FUSION))
    assert form.field("levels").value == 2
    assert list(results(opened)) == ["laplacian"]
    assert rows(opened) == before
    assert opened.ui.fusedSelector.currentText == "Fused (Laplacian pyramid)"
    press(opened)
    assert rows(opened) == before


@pytest.mark.parametrize("text", ["", "[]", '{"laplacian": 3}', '{"laplacian": {"levels": "many", "other": 1}}'])
def test_settings_of_a_scene_that_are_none(opened: Opened, text: str) -> None:
    opened.parameters.fusion.settings = text
    settle()
    assert opened.panel.fusion.form.field("levels").value == 4


# What cannot be fused.


def test_inputs_that_are_missing_or_wrong_are_told_at_their_field(opened: Opened) -> None:
    from MSLFusionPanel.methodparameters import Kind

    data, fusion = opened.parameters.data, opened.parameters.fusion
    a, b = data.ct, data.mr

    def refused(label: str, words: str) -> None:
        settle()
        until(lambda: words in opened.text(label))
        settle()
        assert not opened.ui.applyButton.enabled
        assert not opened.ui.compareAllButton.enabled
        assert words in opened.ui.applyButton.toolTip

    data.mr = None
    refused("mrMessage", "Choose the second volume")
    assert "second volume is missing" in opened.text("methodInfo")
    data.mr = a
    refused("mrMessage", "This is the first volume already")
    data.mr = volume("Constant", np.full(SHAPE, 3.0))
    refused("mrMessage", "All voxels have the value 3")
    data.mr = volume("Coarse", textured(2, (10, 12, 10)))
    refused("registerMessage", "not on the first one's grid: register it")
    assert "not on its grid yet" in opened.text("methodInfo")
    data.mr = volume("Negative", textured(2) - 20)
    fusion.secondIs = Kind.PET
    refused("mrMessage", "no negative values")
    fusion.secondIs = Kind.MR
    settle()
    assert opened.ui.applyButton.enabled
    data.ct, data.mr = volume("Thin", textured(1, (4, 4, 20))), volume("Thin too", textured(2, (4, 4, 20)))
    refused("ctMessage", "too small")
    data.ct, data.mr = a, b
    fusion.firstIs = Kind.CT
    settle()
    until(lambda: "do not look like HU" in opened.text("ctMessage"))
    assert opened.kind("ctMessage") == "warning"
    assert opened.ui.applyButton.enabled


def test_a_network_for_other_modalities_is_refused_before_and_after(opened: Opened) -> None:
    from MSLFusionPanel.methodparameters import Kind

    if not opened.panel.method.table.row("dc2fusion")["ready"]:
        pytest.skip("no network of DC2Fusion is shipped")
    choose(opened, "dc2fusion")
    assert all(seen(opened, ("fusionModelSelector", "fusionModelSelectorLabel")))
    assert not opened.ui.slicewiseCheckBox.enabled
    fusion = opened.parameters.fusion
    fusion.firstIs = fusion.secondIs = Kind.PET
    settle()
    assert "no network here for PET and PET" in opened.text("fusionMessage")
    assert not opened.ui.applyButton.enabled
    assert opened.ui.compareAllButton.enabled
    fusion.firstIs = fusion.secondIs = Kind.AUTO
    settle()
    until(lambda: "no network here for MR and MR" in opened.text("fusionMessage"))
    fusion.secondIs = Kind.PET
    settle()
    opened.ui.applyButton.click()
    settle()
    assert opened.text("applyMessage") == "PyTorch is not there."  # only networks need it


def test_what_lies_elsewhere_is_resampled_or_registered(opened: Opened, scene: Any) -> None:
    from MSLFusionLib.scene import hierarchy
    from MSLFusionPanel.parameters import Alignment

    opened.parameters.data.mr = volume("Coarse", textured(2, (10, 12, 10)))
    opened.parameters.coregister.method = Alignment.ALIGNED
    settle()
    press(opened, opened.ui.registerButton)
    aligned = opened.parameters.coregister.aligned
    assert aligned.GetName() == "Second on first"
    assert "first volume's grid" in opened.text("registerInfo")
    import slicer

    slicer.util.updateVolumeFromArray(aligned, textured(2).astype(np.float32))  # the worker of the test is no help
    settle()
    press(opened)
    (node,) = results(opened).values()
    assert hierarchy.place_of(scene, aligned) == hierarchy.place_of(scene, node) != 0


# What happens meanwhile.


def contents(scene: Any) -> list[str]:
    return sorted(scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes()))


def hold(opened: Opened, button: Any) -> None:
    opened.worker.held = {"fuse"}
    button.click()
    until(lambda: opened.worker.waiting() == ["fuse"])
    settle()


@pytest.mark.parametrize("name", ["applyButton", "compareAllButton"])
def test_a_cancel_leaves_the_scene_as_it_was(opened: Opened, scene: Any, name: str) -> None:
    before, button = contents(scene), getattr(opened.ui, name)
    hold(opened, button)
    opened.worker.progress("pyramid", 1, 4, 3.0)
    settle()
    assert button.text == "Cancel (25 %)"
    assert "3 s left" in opened.text("progressInfo")
    assert ("(1 of" in opened.text("progressInfo")) == (name == "compareAllButton")
    assert not opened.ui.methodSelector.enabled
    button.click()
    settle()
    assert opened.panel.task is None
    assert contents(scene) == before
    assert button.enabled
    assert opened.ui.methodSelector.enabled
    opened.worker.held = set()


def test_a_volume_that_changes_or_goes_meanwhile(opened: Opened, scene: Any) -> None:
    hold(opened, opened.ui.applyButton)
    opened.parameters.data.mr.GetImageData().Modified()
    opened.worker.answer()
    until(lambda: opened.panel.task is None)
    settle()
    assert "was changed meanwhile" in opened.text("applyMessage")
    assert results(opened) == {}
    hold(opened, opened.ui.applyButton)
    scene.RemoveNode(opened.parameters.data.mr)
    opened.worker.answer()
    until(lambda: opened.panel.task is None)
    settle()
    assert "was removed meanwhile" in opened.ui.logText.toPlainText()
    assert not opened.ui.applyButton.enabled


def test_a_worker_that_fails_or_dies(opened: Opened) -> None:
    opened.worker.failures["fuse"] = "the memory is not enough"
    press(opened)
    assert opened.text("applyMessage") == "The memory is not enough."
    opened.worker.failures.clear()
    hold(opened, opened.ui.applyButton)
    opened.worker.die("The worker ended.")
    settle()
    assert "worker ended" in opened.text("applyMessage")
    opened.worker.held = set()
    press(opened)
    assert list(results(opened)) == ["laplacian"]


def test_a_scene_that_is_closed_while_something_is_fused(opened: Opened, scene: Any) -> None:
    hold(opened, opened.ui.applyButton)
    scene.Clear(False)
    settle()
    assert opened.panel.task is None
    assert opened.panel.messages.failures() == []
    opened.worker.held = set()


def test_a_table_of_somebody_else_is_left_alone(opened: Opened, scene: Any) -> None:
    own = scene.AddNewNodeByClass("vtkMRMLTableNode", "Mine")
    opened.parameters.fusion.table = own
    settle()
    assert "holds no measures" in opened.text("fusionResultsMessage")
    press(opened)
    assert opened.parameters.fusion.table is not own
    assert own.GetNumberOfRows() == 0


def test_a_remote_worker_tells_its_methods_once_it_is_connected(slicer_app: Any) -> None:
    from MSLFusionPanel.methodparameters import Method

    opened = Opened()
    try:
        opened.worker.use_remote(1234, "token")
        opened.parameters.choice.method = Method.FUSION
        settle()
        assert "methods" not in opened.worker.kinds()
        assert "when it is connected" in opened.text("methodMessage")
        opened.worker.ensure()
        settle()
        assert opened.worker.kinds().count("methods") == 1
        assert opened.text("methodMessage") == ""
    finally:
        opened.close()
