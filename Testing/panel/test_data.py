"""Section 1 on the stand-ins: what was chosen, what is wrong with it, samples with success, failure and cancel."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from opened import Opened
from turns import settle, until


@pytest.fixture
def opened(slicer_app: Any) -> Iterator[Opened]:
    panel = Opened()
    yield panel
    panel.close()


def volume(
    name: str = "CT", array: Any = None, spacing: tuple[float, ...] = (1.0, 1.0, 2.5), cls: str = "Scalar"
) -> Any:
    """A volume node with values like a CT's."""
    import slicer

    from MSLFusionLib.scene.volumes import vtk_image

    if array is None:
        array = np.linspace(-1000, 1500, 6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
    node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{cls}VolumeNode", name)
    node.SetSpacing(spacing)
    node.SetAndObserveImageData(vtk_image(array))
    return node


def choose(opened: Opened, ct: Any = None, mr: Any = None) -> None:
    opened.parameters.data.ct = ct
    opened.parameters.data.mr = mr
    settle()


def test_nothing_chosen_is_asked_for_where_it_is_needed(opened: Opened) -> None:
    from MSLFusionPanel.parameters import Modalities, SensorSource

    assert "Choose a CT" in opened.text("ctMessage")
    assert "Choose an MR" in opened.text("mrMessage")
    assert opened.kind("ctMessage") == opened.kind("mrMessage") == "needed"
    assert not opened.ui.applyButton.enabled
    opened.parameters.sensors.modalities = Modalities.CT
    settle()
    assert opened.text("ctMessage") != ""
    assert opened.text("mrMessage") == ""
    opened.parameters.sensors.modalities = Modalities.MR
    settle()
    assert opened.text("ctMessage") == ""
    assert opened.text("mrMessage") != ""
    opened.parameters.sensors.modalities = Modalities.BOTH
    opened.parameters.sensors.source = SensorSource.FILE
    settle()
    assert opened.text("ctMessage") == opened.text("mrMessage") == ""


def test_what_was_chosen_is_told_in_one_line(opened: Opened) -> None:
    import slicer
    import vtk

    ct = volume()
    choose(opened, ct, volume("MR", spacing=(1.0, 1.0, 1.0)))
    assert opened.ui.ctInfo.text == "8 x 7 x 6, 1 x 1 x 2.5 mm, axial"
    assert opened.text("ctMessage") == ""
    above = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "To world")
    turn = vtk.vtkTransform()
    turn.RotateX(20)
    above.SetMatrixTransformToParent(turn.GetMatrix())
    ct.SetAndObserveTransformNodeID(above.GetID())
    settle()
    assert opened.ui.ctInfo.text.endswith("oblique, near axial, under the transform “To world”")
    turn.RotateX(70)
    above.SetMatrixTransformToParent(turn.GetMatrix())
    settle()
    assert "coronal, under" in opened.ui.ctInfo.text
    choose(opened)
    assert not opened.ui.ctInfo.visible
    assert opened.ui.mrInfo.text == ""


def broken(kind: str) -> Any:
    import slicer
    import vtk

    array = np.linspace(-1000, 1500, 6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
    if kind == "empty":
        return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    if kind == "label":
        return volume(array=array.astype(np.uint8), cls="LabelMap")
    if kind == "slice":
        return volume(array=array[:1])
    if kind == "nan":
        array[3, 4, 5] = np.nan
    if kind == "infinite":
        array[5, 6, 7] = np.inf
    if kind == "constant":
        array[:] = 7
    node = volume(array=array, spacing=(1e-4, 1, 1) if kind == "spacing" else (1, 1, 2))
    if kind == "colour":
        data = vtk.vtkImageData()
        data.SetDimensions(4, 4, 4)
        data.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
        node.SetAndObserveImageData(data)
    if kind == "shear":
        above = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 1, 0.4)
        above.SetMatrixTransformToParent(matrix)
        node.SetAndObserveTransformNodeID(above.GetID())
    if kind == "warp":
        above = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
        above.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
        node.SetAndObserveTransformNodeID(above.GetID())
    if kind == "nowhere":
        node.SetOrigin(float("nan"), 0, 0)
    return node


BROKEN = {
    "empty": "no voxels",
    "label": "label map",
    "slice": "single slice",
    "nan": "no numbers",
    "infinite": "no numbers",
    "constant": "the value 7",
    "spacing": "0.0001 x 1 x 1 mm cannot be right",
    "colour": "several values per voxel",
    "shear": "sheared or warped",
    "warp": "sheared or warped",
    "nowhere": "origin is no number",
}


@pytest.mark.parametrize("role", ["ct", "mr"])
def test_a_volume_that_cannot_be_used_is_told_at_its_field(opened: Opened, role: str) -> None:
    label = f"{role}Message"
    choose(opened, volume(), volume("MR"))
    sound = getattr(opened.parameters.data, role)
    for kind, sentence in BROKEN.items():
        setattr(opened.parameters.data, role, broken(kind))
        settle()
        assert sentence in opened.text(label), kind
        assert opened.kind(label) == "error"
        assert not opened.ui.applyButton.enabled
    setattr(opened.parameters.data, role, sound)
    settle()
    assert opened.text(label) == ""


def test_values_that_change_are_looked_at_again(opened: Opened) -> None:
    from MSLFusionLib.scene.volumes import vtk_image

    node = volume(array=np.full((4, 4, 4), 3.0, np.float32))
    choose(opened, node, volume("MR"))
    assert "the value 3" in opened.text("ctMessage")
    node.SetAndObserveImageData(vtk_image(np.linspace(-900, 900, 64, dtype=np.float32).reshape(4, 4, 4)))
    settle()
    assert opened.text("ctMessage") == ""


def test_large_volumes_are_looked_at_in_portions(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from MSLFusionPanel import voxels

    monkeypatch.setattr(voxels, "_PORTION", 10)
    array = np.linspace(-1000, 1500, 4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    array[-1, -1, -1] = np.nan
    node = volume(array=array)
    opened.parameters.data.ct = node
    settle(3)
    assert opened.text("ctMessage") == ""
    settle(30)
    assert "no numbers" in opened.text("ctMessage")
    values = voxels.VoxelValues(lambda: None)
    assert values.of(node) is None
    values.forget()
    settle()
    assert values.of(node) is None
    values.forget()


def test_a_ct_that_is_not_in_hu_is_remarked_on(opened: Opened) -> None:
    choose(opened, volume(array=np.linspace(0, 3000, 64, dtype=np.int16).reshape(4, 4, 4)), volume("MR"))
    assert "Values from 0 to 3000 do not look like HU" in opened.text("ctMessage")
    assert opened.kind("ctMessage") == "warning"
    assert "exchanged" in opened.text("mrMessage")
    assert opened.kind("mrMessage") == "warning"
    choose(opened, opened.parameters.data.mr, opened.parameters.data.ct)
    assert opened.text("ctMessage") == opened.text("mrMessage") == ""


def test_one_volume_cannot_be_both(opened: Opened) -> None:
    node = volume()
    choose(opened, node, node)
    assert "the CT already" in opened.text("mrMessage")
    assert opened.kind("mrMessage") == "error"


def test_a_deleted_volume_and_a_closed_scene_leave_nothing(opened: Opened) -> None:
    import slicer

    ct, mr = volume(), volume("MR")
    choose(opened, ct, mr)
    slicer.mrmlScene.RemoveNode(ct)
    settle()
    assert opened.parameters.data.ct is None
    assert opened.ui.ctSelector.currentNode() is None
    assert opened.parameters.data.mr is mr
    assert "Choose a CT" in opened.text("ctMessage")
    assert opened.text("mrMessage") == ""
    slicer.mrmlScene.Clear(False)
    settle()
    assert "Choose an MR" in opened.text("mrMessage")
    assert opened.ui.mrInfo.text == ""
    choose(opened, volume(), volume("MR"))
    assert opened.text("ctMessage") == ""


def test_every_parameter_that_is_a_node_is_known() -> None:
    import typing

    from MSLFusionPanel import parameters

    found = set()
    for pack_name, pack in typing.get_type_hints(parameters.MSLFusionParameterNode).items():
        for name, kind in typing.get_type_hints(pack).items():
            if kind.__name__.startswith("vtkMRML"):
                found.add((pack_name, name))
    assert found == set(parameters.NODES)


def test_a_saved_scene_brings_its_volumes_back(opened: Opened, tmp_path: Any) -> None:
    import slicer

    choose(opened, volume(), volume("MR"))
    path = str(tmp_path / "saved.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    slicer.mrmlScene.Clear(False)
    settle()
    from MSLFusionLib.scene import bundle

    bundle.load_bundle(slicer.mrmlScene, path)
    settle()
    assert opened.parameters.data.ct.GetName() == "CT"
    assert "axial" in opened.ui.mrInfo.text


def test_the_generated_head_is_loaded_and_shown(opened: Opened) -> None:
    import slicer

    opened.ui.sampleHeadButton.click()
    until(lambda: opened.parameters.data.mr is not None)
    settle()
    ct, mr = opened.parameters.data.ct, opened.parameters.data.mr
    assert (ct.GetName(), mr.GetName()) == ("Generated head CT", "Generated head T1")
    asked = opened.worker.last("phantom").header
    assert asked["size"] == [192, 192, 96]
    assert asked["misalign_mm"] == 9
    assert slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode").GetBackgroundVolumeID() == ct.GetID()
    assert slicer.mrmlScene.GetSingletonNode("Green", "vtkMRMLSliceCompositeNode").GetBackgroundVolumeID() == mr.GetID()
    assert (ct.GetDisplayNode().GetWindow(), ct.GetDisplayNode().GetLevel()) == (350, 40)
    assert opened.ui.sampleHeadButton.text == "Generated head"
    log = opened.ui.logText.toPlainText()
    assert "The generated head started." in log
    assert "The generated head is done." in log


def test_the_generated_head_can_be_cancelled(opened: Opened) -> None:
    import slicer

    opened.worker.held = {"phantom"}
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    opened.ui.sampleHeadButton.click()
    settle()
    assert opened.ui.sampleHeadButton.text == "Cancel"
    assert "on its way" in opened.text("dataMessage")
    assert not opened.ui.sampleRireButton.enabled
    assert "Another job" in opened.ui.sampleRireButton.toolTip
    opened.panel.data.load_rire()
    assert "Another job" in opened.text("dataMessage")
    opened.ui.sampleHeadButton.click()
    settle()
    assert opened.panel.task is None
    assert opened.text("dataMessage") == ""
    assert opened.ui.sampleHeadButton.text == "Generated head"
    assert opened.ui.sampleRireButton.enabled
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == before
    assert "was cancelled" in opened.ui.logText.toPlainText()


def test_a_head_that_fails_is_told(opened: Opened) -> None:
    opened.worker.failures["phantom"] = "no memory is left"
    opened.ui.sampleHeadButton.click()
    until(lambda: opened.kind("dataMessage") == "failure")
    assert opened.text("dataMessage") == "No memory is left."


def test_a_scene_closed_while_a_head_is_made_stays_empty(opened: Opened) -> None:
    import slicer

    opened.worker.held = {"phantom"}
    opened.ui.sampleHeadButton.click()
    settle()
    slicer.mrmlScene.Clear(False)
    settle()
    assert opened.panel.task is None
    assert opened.parameters.data.ct is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_the_section_looks_well(opened: Opened, panel_image: Any) -> None:
    choose(opened, volume(), broken("nan"))
    assert opened.text("mrMessage")
    panel_image(opened.ui.dataSection, "data")
