"""The check in the slice views: what is shown, and that all of it goes away again."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from opened import Opened
from turns import settle, until

from MSLFusionLib.scene import bundle, volumes
from MSLFusionLib.scene.colors import Display, show_as

SIZE = (16, 12, 10)


@pytest.fixture
def opened(slicer_app: Any) -> Iterator[Opened]:
    panel = Opened()
    yield panel
    panel.close()


@pytest.fixture
def pair(opened: Opened, scene: Any) -> tuple[Any, Any]:
    """A CT that is white, and an MR on its grid that is black."""
    ct = volumes.node_from_image(scene, image(1000.0), "CT")
    mr = volumes.node_from_image(scene, image(0.0), "T1")
    show_as(ct, Display.CT)
    mr.GetDisplayNode().AutoWindowLevelOff()
    mr.GetDisplayNode().SetWindowLevelMinMax(0.0, 50.0)
    opened.parameters.data.ct, opened.parameters.data.mr = ct, mr
    for view in views():
        view.SetBackgroundVolumeID(mr.GetID())
        view.SetForegroundOpacity(0.25)
    settle()
    return ct, mr


def image(value: float, size: tuple[int, int, int] = SIZE, spacing: tuple[float, ...] = (1.0, 1.0, 2.0)) -> Any:
    """Hardly below `value`, and not constant: section 1 would refuse it."""
    result = sitk.GetImageFromArray(value - np.random.default_rng(0).random(size[::-1], dtype=np.float32))
    result.SetSpacing(spacing)
    result.SetOrigin((3.0, -4.0, 5.0))
    return result


def views() -> list[Any]:
    from MSLFusionPanel.sliceviews import slice_composites

    return slice_composites()


def choose(opened: Opened, check: str) -> None:
    from MSLFusionPanel.compare import Check

    opened.ui.checkSelector.currentIndex = list(Check).index(Check[check])
    settle()


def shown() -> set[tuple[Any, ...]]:
    return {
        (v.GetBackgroundVolumeID(), v.GetForegroundVolumeID(), v.GetForegroundOpacity(), v.GetCompositing())
        for v in views()
    }


def board(scene: Any) -> np.ndarray:
    (background, foreground, _opacity, _compositing) = shown().pop()
    assert foreground is None
    return volumes.array_from_vtk(scene.GetNodeByID(background).GetImageData())


def result(steps: Any) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def hidden(scene: Any) -> list[Any]:
    nodes = (scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes()))
    return [node for node in nodes if (node.GetName() or "").startswith("MSL Fusion check")]


def has_board(scene: Any) -> bool:
    return bool(hidden(scene))


def test_the_selector_offers_four_and_fade_has_a_slider(opened: Opened, pair: Any, panel_image: Any) -> None:
    selector = opened.ui.checkSelector
    assert [selector.itemData(i) for i in range(selector.count)] == ["off", "checkerboard", "fade", "red-cyan"]
    assert not opened.ui.fadeSlider.isVisibleTo(opened.root)
    choose(opened, "FADE")
    assert opened.ui.fadeSlider.isVisibleTo(opened.root)
    panel_image(opened.root, "coregister-fade")


def test_fading(opened: Opened, pair: Any) -> None:
    ct, mr = pair
    before = shown()
    choose(opened, "FADE")
    opened.ui.fadeSlider.value = 0.75
    assert shown() == {(ct.GetID(), mr.GetID(), 0.75, 0)}
    choose(opened, "OFF")
    assert shown() == before == {(mr.GetID(), None, 0.25, 0)}


def test_red_and_cyan_leave_the_volumes_as_they_are(opened: Opened, pair: Any, scene: Any) -> None:
    ct, mr = pair
    before, nodes = shown(), scene.GetNumberOfNodes()
    looks = [(n.GetDisplayNode().GetColorNodeID(), n.GetDisplayNode().GetWindowLevelMax()) for n in pair]
    choose(opened, "RED_CYAN")
    ((background, foreground, opacity, compositing),) = shown()
    red, cyan = scene.GetNodeByID(background), scene.GetNodeByID(foreground)
    assert (opacity, compositing) == (1.0, views()[0].Add)
    assert red.GetDisplayNode().GetColorNodeID().endswith("Red")
    assert cyan.GetDisplayNode().GetColorNodeID().endswith("Cyan")
    assert red.GetDisplayNode().GetColorNode() is not None
    assert cyan.GetDisplayNode().GetColorNode() is not None
    assert red.GetImageData() is ct.GetImageData()
    assert cyan.GetDisplayNode().GetWindowLevelMax() == mr.GetDisplayNode().GetWindowLevelMax() == 50.0
    for node in (red, cyan):
        assert node.GetHideFromEditors()
        assert not node.GetSaveWithScene()
        assert not node.GetDisplayNode().GetSaveWithScene()
    choose(opened, "OFF")
    assert shown() == before
    assert scene.GetNumberOfNodes() == nodes
    assert looks == [(n.GetDisplayNode().GetColorNodeID(), n.GetDisplayNode().GetWindowLevelMax()) for n in pair]


def test_a_new_window_is_followed(opened: Opened, pair: Any, scene: Any) -> None:
    choose(opened, "RED_CYAN")
    pair[1].GetDisplayNode().SetWindowLevelMinMax(0.0, 80.0)
    settle()
    ((_background, foreground, _opacity, _compositing),) = shown()
    assert scene.GetNodeByID(foreground).GetDisplayNode().GetWindowLevelMax() == 80.0
    assert len(hidden(scene)) == 4


def test_the_checkerboard_has_tiles_of_both(opened: Opened, pair: Any, scene: Any) -> None:
    ct, _mr = pair
    before, nodes = shown(), scene.GetNumberOfNodes()
    choose(opened, "CHECKERBOARD")
    until(lambda: has_board(scene))
    settle()
    tiles = board(scene)
    # The width of 16 mm gives tiles of 2 mm: two voxels in the plane, one slice.
    z, y, x = np.meshgrid(*(np.arange(n) for n in SIZE[::-1]), indexing="ij")
    np.testing.assert_array_equal(tiles, np.where((z + y // 2 + x // 2) % 2, 0, 255))
    ((background, _foreground, _opacity, _compositing),) = shown()
    node = scene.GetNodeByID(background)
    assert node.GetHideFromEditors()
    assert not node.GetSaveWithScene()
    assert node.GetOrigin() == ct.GetOrigin()
    assert opened.text("checkMessage") == ""
    choose(opened, "OFF")
    assert shown() == before
    assert scene.GetNumberOfNodes() == nodes


def test_the_checkerboard_shows_an_mr_that_lies_elsewhere_where_it_lies(opened: Opened, pair: Any, scene: Any) -> None:
    """An oblique MR under a transform of its own, against SimpleITK's resampling."""
    import vtk

    from MSLFusionPanel.checkerboard import checkerboard_steps

    ct, _mr = pair
    oblique = image(0.0, (9, 8, 7), (1.5, 2.0, 2.5))
    values = np.random.default_rng(1).random((7, 8, 9), dtype=np.float32) * 50
    oblique = sitk.GetImageFromArray(values)
    oblique.SetSpacing((1.5, 2.0, 2.5))
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.2, -0.1, 0.3)
    oblique.SetDirection(turn.GetMatrix())
    oblique.SetOrigin((1.0, -2.0, 4.0))
    mr = volumes.node_from_image(scene, oblique, "Oblique")
    mr.GetDisplayNode().AutoWindowLevelOff()
    mr.GetDisplayNode().SetWindowLevelMinMax(0.0, 50.0)
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Parent")
    move = vtk.vtkTransform()
    move.RotateZ(15)
    move.Translate(1, 2, -1)
    parent.SetMatrixTransformToParent(move.GetMatrix())
    mr.SetAndObserveTransformNodeID(parent.GetID())
    tiles = result(checkerboard_steps(ct, mr))
    expected = sitk.Resample(volumes.image_from_node(mr), volumes.image_from_node(ct))
    expected = np.clip(sitk.GetArrayFromImage(expected) * (255.0 / 50.0), 0, 255)
    z, y, x = np.meshgrid(*(np.arange(n) for n in SIZE[::-1]), indexing="ij")
    theirs = ((z + y // 2 + x // 2) % 2).astype(bool)
    inside = theirs & (expected > 0)
    assert inside.sum() > 50
    assert np.abs(tiles[inside] - expected[inside]).max() < 2
    assert (tiles[~theirs] == 255).all()


def test_a_big_volume_is_made_in_portions(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from MSLFusionPanel import checkerboard

    monkeypatch.setattr(checkerboard, "_VOXELS_A_TURN", 3 * SIZE[0] * SIZE[1])
    assert len(list(checkerboard.checkerboard_steps(*pair))) == 4  # 10 slices, 3 a turn


def test_off_before_the_board_is_there_shows_nothing_of_it(opened: Opened, pair: Any, scene: Any) -> None:
    before = shown()
    opened.ui.checkSelector.currentIndex = 1
    opened.ui.checkSelector.currentIndex = 0
    settle()
    assert shown() == before
    assert not hidden(scene)


def test_the_resampled_mr_is_taken_once_it_is_there(opened: Opened, pair: Any, scene: Any) -> None:
    ct, mr = pair
    far = volumes.node_from_image(scene, image(0.0, (8, 8, 8)), "Far")
    opened.parameters.data.mr = far
    settle()
    choose(opened, "FADE")
    assert {entry[1] for entry in shown()} == {far.GetID()}
    opened.ui.registerButton.click()
    until(lambda: opened.panel.task is None)
    settle()
    aligned = opened.parameters.coregister.aligned
    assert {entry[:2] for entry in shown()} == {(ct.GetID(), aligned.GetID())}
    opened.ui.undoRegisterButton.click()
    settle()
    assert {entry[1] for entry in shown()} == {far.GetID()}
    choose(opened, "OFF")
    assert {entry[0] for entry in shown()} == {mr.GetID()}


def test_with_one_volume_there_is_nothing_to_compare(opened: Opened, pair: Any) -> None:
    before = shown()
    choose(opened, "FADE")
    opened.parameters.data.mr = None
    settle()
    assert "nothing to compare" in opened.text("checkMessage")
    assert opened.kind("checkMessage") == "info"
    assert shown() == before


def test_a_removed_volume_leaves_the_views_in_order(opened: Opened, pair: Any, scene: Any) -> None:
    choose(opened, "RED_CYAN")
    scene.RemoveNode(pair[1])
    settle()
    assert not hidden(scene)
    assert {entry[:2] for entry in shown()} == {(None, None)}
    assert "nothing to compare" in opened.text("checkMessage")


def test_what_the_user_chose_meanwhile_stays(opened: Opened, pair: Any, scene: Any) -> None:
    choose(opened, "FADE")
    other = volumes.node_from_image(scene, image(5.0), "Other")
    first = views()[0]
    first.SetBackgroundVolumeID(other.GetID())
    choose(opened, "OFF")
    assert first.GetBackgroundVolumeID() == other.GetID()
    assert views()[1].GetBackgroundVolumeID() == pair[1].GetID()


def test_linked_views_stay_linked(opened: Opened, pair: Any) -> None:
    views()[0].SetLinkedControl(True)
    choose(opened, "RED_CYAN")
    choose(opened, "OFF")
    assert [view.GetLinkedControl() for view in views()[:2]] == [1, 0]


def test_another_layout_shows_it_too(opened: Opened, pair: Any, slicer_app: Any) -> None:
    import slicer

    choose(opened, "FADE")
    few = len(views())
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView)
    settle()
    assert len(views()) > few
    assert {entry[:2] for entry in shown()} == {tuple(node.GetID() for node in pair)}


def test_a_closed_scene_switches_it_off(opened: Opened, pair: Any, scene: Any) -> None:
    choose(opened, "RED_CYAN")
    scene.Clear(False)
    settle()
    assert opened.ui.checkSelector.currentIndex == 0
    assert not hidden(scene)
    assert opened.text("checkMessage") == ""


def test_a_scene_saved_meanwhile_opens_without_it(opened: Opened, pair: Any, scene: Any, tmp_path: Any) -> None:
    choose(opened, "RED_CYAN")
    bundle.save_bundle(scene, tmp_path / "scene.mrb")
    scene.Clear(False)
    settle()
    bundle.load_bundle(scene, tmp_path / "scene.mrb")
    settle()
    assert not hidden(scene)
    mr = opened.parameters.data.mr
    saved = scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    saved.UnRegister(None)
    first = saved.GetItemAsObject(0)
    assert first.GetBackgroundVolumeID() == mr.GetID()
    assert first.GetForegroundVolumeID() is None
    assert first.GetCompositing() == first.Alpha
    assert opened.ui.checkSelector.currentIndex == 0


def test_it_stays_when_the_module_is_left_and_goes_when_it_ends(opened: Opened, pair: Any, scene: Any) -> None:
    before = shown()
    choose(opened, "RED_CYAN")
    opened.panel.exit()
    settle()
    assert shown() != before
    opened.panel.cleanup()
    assert shown() == before
    assert not hidden(scene)


def test_a_warped_mr_has_no_checkerboard(opened: Opened, pair: Any, scene: Any) -> None:
    import slicer
    import vtk

    warp = vtk.vtkThinPlateSplineTransform()
    node = slicer.vtkMRMLTransformNode()
    node.SetAndObserveTransformToParent(warp)
    scene.AddNode(node)
    pair[1].SetAndObserveTransformNodeID(node.GetID())
    choose(opened, "CHECKERBOARD")
    assert "warping" in opened.text("checkMessage")
    assert not hidden(scene)
