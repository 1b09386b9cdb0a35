"""Section 7 on the stand-ins: the table of metrics, its plots and the folder of a run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opened import Opened
from turns import settle, until


@pytest.fixture
def opened(slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    from MSLFusionPanel import install

    monkeypatch.setattr(install, "missing_packages", lambda: [])
    panel = Opened()
    panel.parameters.output.live = False
    panel.load_volumes()
    yield panel
    panel.close()


def press(opened: Opened) -> None:
    """Apply, until nothing runs any more."""
    assert opened.ui.applyButton.enabled, opened.ui.applyButton.toolTip
    opened.ui.applyButton.click()
    for _once in range(2):
        settle()
        until(lambda: opened.panel.task is None)


def count(scene: Any, *classes: str) -> list[int]:
    return [scene.GetNumberOfNodesByClass(f"vtkMRML{cls}Node") for cls in classes]


def folder_of(node: Any) -> int:
    import slicer

    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    return int(tree.GetItemParent(tree.GetItemByDataNode(node)))


def saved_and_loaded(opened: Opened, scene: Any, folder: Path) -> None:
    from MSLFusionLib.scene import bundle

    path = bundle.save_bundle(scene, folder / "run.mrb")
    scene.Clear(False)
    settle()
    bundle.load_bundle(scene, path)
    settle()


def test_before_anything_was_measured_it_says_why(opened: Opened) -> None:
    from MSLFusionPanel.parameters import SensorSource

    assert "Apply measures" in opened.ui.resultsInfo.text
    assert not opened.ui.showTableButton.enabled
    assert not opened.ui.showPlotsButton.enabled
    assert "no metrics" in opened.ui.showTableButton.toolTip
    opened.parameters.output.metrics = False
    settle()
    assert "switched off" in opened.ui.resultsInfo.text
    opened.parameters.sensors.source = SensorSource.FILE
    settle()
    assert "no ground truth" in opened.ui.resultsInfo.text
    assert not opened.ui.metricsCheckBox.enabled


def test_without_metrics_nothing_is_measured(opened: Opened) -> None:
    opened.parameters.output.metrics = False
    settle()
    press(opened)
    assert "metrics" not in opened.worker.kinds()
    assert opened.parameters.output.table is None


def test_metrics_become_a_table_plots_and_a_sentence(opened: Opened, scene: Any) -> None:
    press(opened)
    table = opened.parameters.output.table
    assert table.GetNumberOfRows() == 7
    info = opened.ui.resultsInfo.text
    assert info == "PSNR at lambda 0: CT 36.0 dB (FBP 36.0 dB); lambda 1: MR 36.0 dB (zero-filled 26.0 dB)."
    assert info in opened.ui.logText.toPlainText()
    assert count(scene, "PlotChart", "PlotSeries") == [4, 8]
    assert opened.ui.showTableButton.enabled
    assert opened.ui.showPlotsButton.enabled


def test_the_numbers_have_the_digits_that_mean_something(scene: Any) -> None:
    from MSLFusionLib.scene import tables

    row = {"lambda": 1 / 3, "mae_ct": 0.0123456, "psnr_ct": 31.23456, "ssim_ct": 0.987654, "mi_ct": 1.23456}
    data = tables.metrics_table(scene, [row], "Metrics").GetTable()
    shown = {data.GetColumnName(i): data.GetValue(0, i).ToString() for i in range(1, 5)}
    assert shown == {"mae_ct": "0.0123", "psnr_ct": "31.23", "ssim_ct": "0.9877", "mi_ct": "1.235"}
    assert data.GetValueByName(0, "lambda").ToDouble() == 1 / 3


def test_a_new_reconstruction_replaces_table_and_plots(opened: Opened, scene: Any) -> None:
    press(opened)
    kinds = ("Table", "PlotChart", "PlotSeries", "ScalarVolume", "ScalarVolumeDisplay")
    first, before, folder = (
        opened.parameters.output.table,
        count(scene, *kinds),
        folder_of(opened.parameters.output.hybrid),
    )
    opened.parameters.sensors.views = 32
    settle()
    press(opened)
    assert count(scene, *kinds) == before
    assert opened.parameters.output.table is not first
    assert opened.worker.kinds().count("metrics") == 2
    assert folder_of(opened.parameters.output.hybrid) == folder_of(opened.parameters.output.table) == folder


def test_a_table_of_another_reconstruction_does_not_stay_beside_its_hybrid(opened: Opened, scene: Any) -> None:
    press(opened)
    opened.parameters.sensors.views = 32
    opened.parameters.output.metrics = False
    settle()
    press(opened)
    assert opened.parameters.output.table is None
    assert count(scene, "Table", "PlotChart", "PlotSeries") == [0, 0, 0]


def test_a_run_into_a_new_volume_keeps_the_run_before(opened: Opened, scene: Any) -> None:
    press(opened)
    first = opened.parameters.output.hybrid
    opened.parameters.output.hybrid = None
    opened.parameters.sensors.views = 32
    settle()
    press(opened)
    assert count(scene, "Table", "PlotChart") == [2, 8]
    assert folder_of(first) != folder_of(opened.parameters.output.hybrid)


def test_a_table_of_the_users_is_left_alone(opened: Opened, scene: Any) -> None:
    import vtk

    own = scene.AddNewNodeByClass("vtkMRMLTableNode", "Mine")
    column = vtk.vtkStringArray()
    column.SetName("patient")
    column.InsertNextValue("x")
    own.AddColumn(column)
    opened.parameters.output.table = own
    settle()
    assert opened.text("resultsMessage") == "This table holds no metrics of a run."
    assert opened.kind("resultsMessage") == "info"
    assert not opened.ui.resultsInfo.visible
    assert opened.ui.showTableButton.enabled
    assert not opened.ui.showPlotsButton.enabled
    press(opened)
    assert scene.IsNodePresent(own)
    assert opened.parameters.output.table is not own
    opened.parameters.output.table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Empty")
    settle()
    assert opened.text("resultsMessage") != ""


def test_a_hybrid_that_is_removed_while_it_is_measured(opened: Opened, scene: Any) -> None:
    opened.worker.held = {"metrics"}
    opened.ui.applyButton.click()
    until(lambda: opened.worker.waiting() == ["metrics"])
    scene.RemoveNode(opened.parameters.output.hybrid)
    settle()
    opened.worker.answer()
    settle()
    assert opened.panel.task is None
    assert opened.parameters.output.table is None
    assert "was removed" in opened.ui.logText.toPlainText()


def test_a_table_that_is_removed_is_not_missed(opened: Opened, scene: Any) -> None:
    press(opened)
    scene.RemoveNode(opened.parameters.output.table)
    settle()
    assert not opened.ui.showTableButton.enabled
    press(opened)
    assert opened.parameters.output.table is not None


def test_the_folder_tells_how_the_run_was_made(opened: Opened, scene: Any) -> None:
    from MSLFusionLib.scene import hierarchy

    opened.parameters.output.sweep = True
    settle()
    press(opened)
    output = opened.parameters.output
    folder = folder_of(output.hybrid)
    told = hierarchy.run_parameters(scene, folder)
    assert told["Run"] == "reconstruct"
    assert json.loads(told["modalities"]) == ["ct", "mr"]
    assert json.loads(told["plan"])["views"] == 64
    assert json.loads(told["sampling"])["ct"] == {"views": 64}
    assert json.loads(told["grid"])["size"] == [8, 7, 6]
    assert (told["lambda"], told["ct"], told["mr"], told["sensors"]) == ("0.5", "CT", "MR", "simulated")
    sweep = scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    proxy = sweep.GetProxyNode(scene.GetFirstNodeByClass("vtkMRMLSequenceNode"))
    assert folder_of(output.table) == folder_of(proxy) == folder
    opened.parameters.lam.value = 0.75
    settle()
    press(opened)
    assert folder_of(output.hybrid) == folder
    assert hierarchy.run_parameters(scene, folder)["lambda"] == "0.75"


def test_what_was_coregistered_lies_in_the_first_folder_that_it_is_part_of(opened: Opened, scene: Any) -> None:
    opened.ui.registerButton.click()
    settle()
    until(lambda: opened.panel.task is None)
    aligned = opened.parameters.coregister.aligned
    press(opened)
    folder = folder_of(opened.parameters.output.hybrid)
    assert folder_of(aligned) == folder_of(opened.parameters.coregister.transform) == folder
    opened.parameters.output.hybrid = None
    settle()
    press(opened)
    assert folder_of(opened.parameters.output.hybrid) != folder
    assert folder_of(aligned) == folder


def test_the_live_preview_keeps_the_folder_true(opened: Opened, scene: Any) -> None:
    from MSLFusionLib.scene import hierarchy

    opened.parameters.output.live = True
    settle()
    press(opened)
    folder = folder_of(opened.parameters.output.hybrid)
    opened.parameters.lam.value = 0.25
    until(lambda: hierarchy.run_parameters(scene, folder)["lambda"] == "0.25")
    assert opened.parameters.output.hybrid.GetAttribute("MSLFusion.Lambda") == "0.25"


def test_a_hybrid_that_was_moved_out_of_its_folder_gets_a_new_one(opened: Opened, scene: Any) -> None:
    press(opened)
    tree = scene.GetSubjectHierarchyNode()
    hybrid = opened.parameters.output.hybrid
    first = folder_of(hybrid)
    tree.SetItemParent(tree.GetItemByDataNode(hybrid), tree.GetSceneItemID())
    press(opened)
    assert folder_of(hybrid) not in (first, tree.GetSceneItemID())


def test_table_and_plots_are_shown_below_the_slices(opened: Opened, scene: Any) -> None:
    press(opened)
    opened.ui.showTableButton.click()
    settle()
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    views = [scene.GetNthNodeByClass(i, "vtkMRMLTableViewNode") for i in range(count(scene, "TableView")[0])]
    shown = [selection.GetActiveTableID(), *(view.GetTableNodeID() for view in views)]
    assert opened.parameters.output.table.GetID() in shown
    opened.ui.showPlotsButton.click()
    settle()
    views = [scene.GetNthNodeByClass(i, "vtkMRMLPlotViewNode") for i in range(count(scene, "PlotView")[0])]
    charts = {view.GetPlotChartNodeID() for view in views if view.GetPlotChartNodeID()}
    assert len(charts) == 4


def test_a_saved_scene_tells_the_same(opened: Opened, scene: Any, tmp_path: Path) -> None:
    from MSLFusionLib.scene import hierarchy

    opened.parameters.output.sweep, opened.parameters.output.sweepCount = True, 3
    settle()
    press(opened)
    info = opened.ui.resultsInfo.text
    kinds = ("Table", "PlotChart", "PlotSeries", "Sequence", "SequenceBrowser", "ScalarVolume")
    before = count(scene, *kinds)
    saved_and_loaded(opened, scene, tmp_path)
    output = opened.parameters.output
    assert count(scene, *kinds) == before
    assert output.hybrid.GetAttribute("MSLFusion.Lambda") == "0.5"
    assert opened.ui.resultsInfo.text == info
    assert opened.ui.showPlotsButton.enabled
    column = output.table.GetTable().GetColumnByName("psnr_ct")
    assert column.IsNumeric()
    assert json.loads(hierarchy.run_parameters(scene, folder_of(output.hybrid))["plan"])["views"] == 64
    press(opened)  # into the hybrid that was loaded
    assert count(scene, *kinds) == before
    assert opened.ui.resultsInfo.text == info
