"""The hybrid follows lambda: slices in view at once, the volume when all is at rest; the overlay does too."""

from collections.abc import Iterator
from typing import Any

import bare_qt  # noqa: F401 - first
import numpy as np
import pytest
from lambda_bench import SIZE, Bench, grid_image, look_at, paint, show
from turns import settle, until

from MSLFusionLib.scene import segmentations, volumes

DECODING = ("decode_slice", "decode_volume")


@pytest.fixture
def bench(slicer_app: Any) -> Iterator[Bench]:
    opened = Bench()
    yield opened
    opened.close()


@pytest.fixture
def hybrid(bench: Bench) -> Any:
    bench.load()
    return bench.apply(0.5)


def planes(node: Any) -> list[float]:
    """The value of each axial slice, whose voxels all have it."""
    import slicer

    array = slicer.util.arrayFromVolume(node)
    assert all(np.ptp(plane) == 0 for plane in array)
    return [round(float(plane[0, 0]), 4) for plane in array]


def asked(bench: Bench) -> list[tuple[str, Any]]:
    """What was asked of the worker: slices with their index, volumes."""
    return [(m.type, m.header.get("index")) for m in bench.worker.seen if m.type in DECODING]


def test_nothing_is_decoded_before_apply_nor_without_a_change(bench):
    bench.load()
    bench.parameters.lam.value = 0.3
    bench.rest()
    assert bench.worker.seen == []
    assert "Press Apply once" in bench.text("previewInfo")
    bench.apply(0.4)
    bench.changed()
    bench.rest()
    assert asked(bench) == []


def test_the_slice_in_view_comes_at_once_and_the_volume_at_rest(bench, hybrid):
    bench.worker.held = {"decode_volume"}
    bench.ui.lambdaSlider.value = 0.8
    until(lambda: planes(hybrid)[4] == 0.8)
    assert planes(hybrid) == [0.5] * 4 + [0.8] + [0.5] * 4
    until(lambda: "Slice 4 in" in bench.text("previewInfo"))
    until(lambda: bench.worker.waiting() == ["decode_volume"])
    bench.worker.progress("decode", 3, 9, 4.6)
    settle()
    assert bench.text("previewInfo") == "Volume at lambda 0.80: 3 of 9 slices, 5 s left."
    assert planes(hybrid)[0] == 0.5
    bench.worker.answer()
    bench.rest()
    assert planes(hybrid) == [0.8] * 9
    assert asked(bench) == [("decode_slice", 4), ("decode_volume", None)]
    assert bench.text("previewInfo") == "Volume at lambda 0.80."
    assert hybrid.GetAttribute("MSLFusion.Lambda") == "0.8"


def test_a_slider_that_moves_on_never_has_more_than_one_slice_under_way(bench, hybrid):
    bench.worker.held = {"decode_slice"}
    for step in range(10):
        bench.ui.lambdaSlider.value = 0.6 + step / 100
        settle()
        until(lambda: not bench.section._timer.isActive())
        assert len(bench.worker.waiting()) == 1
    assert [m.header["lambda"] for m in bench.worker.seen] == [0.6]
    bench.worker.held = set()
    bench.worker.answer()
    bench.rest()
    assert planes(hybrid) == [0.69] * 9
    slices = [m.header["lambda"] for m in bench.worker.seen if m.type == "decode_slice"]
    assert slices == [0.6, 0.69]


def test_the_next_change_stops_the_volume(bench, hybrid):
    bench.worker.held = {"decode_volume"}
    bench.ui.lambdaSlider.value = 0.8
    until(lambda: "decode_volume" in bench.worker.waiting())
    bench.ui.lambdaSlider.value = 0.9
    until(lambda: planes(hybrid)[4] == 0.9)
    assert bench.worker.waiting() == []
    assert planes(hybrid)[0] == 0.5
    bench.worker.held = set()
    bench.rest()
    assert planes(hybrid) == [0.9] * 9


def test_no_volume_while_a_mouse_button_is_down(bench, hybrid, monkeypatch):
    import qt

    pressed = [qt.Qt.LeftButton]
    monkeypatch.setattr("MSLFusionPanel.lambdas.pressed", lambda: bool(pressed))
    bench.ui.lambdaSlider.value = 0.8
    until(lambda: planes(hybrid)[4] == 0.8)
    section = bench.section
    section._rest.stop()
    section._rested()
    assert section._task is None
    assert section._rest.isActive()
    pressed.clear()
    bench.rest()
    assert planes(hybrid) == [0.8] * 9


def test_scrolling_shows_the_slices_at_the_present_lambda(bench, hybrid):
    bench.worker.held = {"decode_volume"}
    bench.ui.lambdaSlider.value = 0.8
    until(lambda: "decode_volume" in bench.worker.waiting())
    look_at("Red", hybrid, 7)
    until(lambda: ("decode_slice", 7) in asked(bench))
    bench.worker.answer()
    bench.rest()
    look_at("Red", hybrid, 2)
    bench.rest()
    assert ("decode_slice", 2) not in asked(bench)


def test_several_views_each_have_their_slice(bench, hybrid):
    show("Green", hybrid, 1)
    bench.rest()
    bench.ui.lambdaSlider.value = 0.8
    bench.rest()
    assert set(asked(bench)) == {("decode_slice", 4), ("decode_slice", 1), ("decode_volume", None)}
    assert {m.header["view"] for m in bench.worker.seen} == {"Red", "Green", "hybrid"}


def test_a_view_across_the_slices_waits_for_the_volume(bench, hybrid):
    import slicer

    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetOrientationToSagittal()
    bench.ui.lambdaSlider.value = 0.8
    bench.rest()
    assert asked(bench) == [("decode_volume", None)]
    assert planes(hybrid) == [0.8] * 9


def test_paint_changes_the_slice_and_then_the_volume(bench, hybrid):
    import slicer

    from MSLFusionPanel.parameters import LambdaMode

    ct = bench.parameters.data.ct
    bench.parameters.lam.mode = LambdaMode.PAINTED
    bench.parameters.lam.background = 0.2
    bench.ui.addSegmentButton.click()
    bench.rest()
    assert asked(bench) == []  # nothing is painted yet
    node = bench.parameters.lam.segmentation
    (segment_id,) = segmentations.segment_ids(node)
    bench.worker.held = {"decode_volume"}
    paint(node, segment_id, (slice(3, 6), slice(2, 6), slice(2, 9)), ct)
    until(lambda: asked(bench))
    settle()
    plane = bench.worker.last("decode_slice").arrays["lambda"]
    expected = np.full((9, 12, 14), 0.2, np.float32)
    expected[3:6, 2:6, 2:9] = 1.0
    np.testing.assert_array_equal(plane, expected[4])
    np.testing.assert_allclose(slicer.util.arrayFromVolume(hybrid)[4], expected[4])
    until(lambda: "decode_volume" in bench.worker.waiting())
    bench.worker.answer()
    bench.rest()
    np.testing.assert_allclose(slicer.util.arrayFromVolume(hybrid), expected)
    assert bench.text("previewInfo") == "Volume at the painted lambda."
    assert hybrid.GetAttribute("MSLFusion.Lambda") == "map"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: setattr(p.sensors, "views", 32), "The sampling changed"),
        (lambda p: setattr(p.data, "mr", None), "The MR changed"),
        (lambda p: p.data.ct.GetImageData().Modified(), "The CT changed"),
        (lambda p: setattr(p.model, "name", "other"), "The model changed"),
    ],
)
def test_other_inputs_need_apply_again(bench, hybrid, change, words):
    change(bench.parameters)
    bench.parameters.lam.value = 0.8
    bench.rest()
    assert asked(bench) == []
    assert words in bench.text("previewInfo")
    assert "press Apply" in bench.text("previewInfo")


def test_live_off_leaves_the_hybrid_alone(bench, hybrid):
    bench.parameters.output.live = False
    bench.parameters.lam.value = 0.8
    bench.rest()
    assert asked(bench) == []
    assert "is off" in bench.text("previewInfo")
    bench.parameters.output.live = True
    bench.rest()
    assert planes(hybrid) == [0.8] * 9


def test_a_worker_that_is_gone(bench, hybrid):
    bench.worker.held = {"decode_volume"}
    bench.parameters.lam.value = 0.8
    until(lambda: "decode_volume" in bench.worker.waiting())
    bench.worker.die()
    bench.worker.ensure()
    bench.changed()
    bench.rest()
    assert "started anew" in bench.text("previewInfo")
    assert planes(hybrid)[0] == 0.5
    count = len(asked(bench))
    bench.parameters.lam.value = 0.3
    bench.rest()
    assert len(asked(bench)) == count


def test_a_failure_is_said_and_not_repeated(bench, hybrid):
    bench.worker.failures["decode_slice"] = "The memory is not enough."
    bench.parameters.lam.value = 0.8
    bench.rest()
    assert asked(bench) == [("decode_slice", 4)]
    assert "The memory is not enough." in bench.text("previewInfo")
    bench.worker.failures.clear()
    bench.parameters.lam.value = 0.7
    bench.rest()
    assert planes(hybrid) == [0.7] * 9


def test_a_deleted_hybrid_ends_the_preview(bench, hybrid):
    import slicer

    bench.worker.held = {"decode_slice"}
    bench.parameters.lam.value = 0.8
    until(lambda: bench.worker.waiting())
    slicer.mrmlScene.RemoveNode(hybrid)
    bench.worker.answer()
    bench.rest()
    bench.parameters.lam.value = 0.3
    bench.rest()
    assert asked(bench) == [("decode_slice", 4)]
    assert "press apply" in bench.text("previewInfo").lower()


def test_another_output_volume_is_not_touched(bench, hybrid):
    import slicer

    other = volumes.node_from_image(slicer.mrmlScene, grid_image(0.1), "Other")
    bench.parameters.output.hybrid = other
    bench.parameters.lam.value = 0.8
    bench.rest()
    assert asked(bench) == []
    assert planes(other) == [0.1] * 9
    assert "another one" in bench.text("previewInfo")


def test_an_output_of_another_shape_is_not_touched(bench, hybrid):
    bench.worker.held = {"decode_slice"}
    bench.parameters.lam.value = 0.8
    until(lambda: bench.worker.waiting())
    volumes.update_node(hybrid, grid_image(0.1, (3, 4, 5)))
    bench.worker.answer()
    bench.rest()
    assert planes(hybrid) == [0.1] * 5
    assert "was changed" in bench.text("previewInfo")


def test_a_closed_scene_while_slices_are_under_way(bench, hybrid):
    bench.worker.held = {"decode_slice", "decode_volume"}
    bench.parameters.lam.value = 0.8
    until(lambda: bench.worker.waiting())
    bench.close_scene()
    bench.worker.held = set()
    while bench.worker.waiting():
        bench.worker.answer()
    bench.rest()
    assert "Press Apply once" in bench.text("previewInfo")


def test_no_volume_while_a_long_job_runs(bench, hybrid):
    bench.task = object()
    bench.parameters.lam.value = 0.8
    bench.rest()
    assert asked(bench) == [("decode_slice", 4)]
    bench.task = None
    bench.changed()
    bench.rest()
    assert planes(hybrid) == [0.8] * 9


def test_a_synthesised_modality_is_said(bench):
    from MSLFusionPanel.parameters import Modalities

    bench.parameters.sensors.modalities = Modalities.CT
    bench.load()
    bench.apply()
    settle()
    assert "The MR in it is synthesised" in bench.text("previewInfo")


# The overlay.


def overlay(bench: Bench) -> Any:
    return bench.section.overlay.node()


def composite(view: str) -> Any:
    import slicer

    return slicer.app.layoutManager().sliceWidget(view).mrmlSliceCompositeNode()


def test_the_map_lies_over_the_views_until_it_is_taken_away(bench, panel_image):
    import slicer

    ct, mr = bench.load()
    show("Red", ct)
    composite("Red").SetForegroundVolumeID(mr.GetID())
    composite("Red").SetForegroundOpacity(0.7)
    bench.parameters.lam.value = 0.25
    bench.ui.overlayCheckBox.checked = True
    bench.rest()
    node = overlay(bench)
    assert planes(node) == [0.25] * 9
    assert np.allclose(volumes.image_from_node(node).GetOrigin(), volumes.image_from_node(ct).GetOrigin())
    assert composite("Red").GetForegroundVolumeID() == node.GetID()
    assert composite("Red").GetForegroundOpacity() == pytest.approx(0.4)
    assert composite("Green").GetForegroundVolumeID() != node.GetID()  # it shows nothing of ours
    assert node.GetDisplayNode().GetColorNode().GetName() == "MSLFusion lambda"
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLColorLegendDisplayNode") is not None
    bench.ui.overlayOpacitySlider.value = 0.9
    bench.rest()
    assert composite("Red").GetForegroundOpacity() == pytest.approx(0.9)
    bench.ui.lambdaSlider.value = 0.75
    bench.rest()
    assert planes(node) == [0.75] * 9
    bench.ui.overlayCheckBox.checked = False
    bench.rest()
    assert overlay(bench) is None
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLColorLegendDisplayNode") is None
    assert composite("Red").GetForegroundVolumeID() == mr.GetID()
    assert composite("Red").GetForegroundOpacity() == pytest.approx(0.7)


def test_linked_views_get_their_opacity_back(bench):
    ct, mr = bench.load()
    for view in ("Red", "Green", "Yellow"):
        show(view, ct).SetLinkedControl(True)
    composite("Red").SetForegroundVolumeID(mr.GetID())
    composite("Red").SetForegroundOpacity(0.3)
    assert composite("Yellow").GetForegroundOpacity() == pytest.approx(0.3)
    for _ in range(2):
        bench.parameters.lam.overlay = True
        bench.rest()
        assert composite("Red").GetForegroundOpacity() == pytest.approx(0.4)
        assert overlay(bench).GetName() == "Lambda map"
        bench.parameters.lam.overlay = False
        bench.rest()
        shown = [(composite(v).GetForegroundVolumeID(), composite(v).GetForegroundOpacity()) for v in ("Red", "Green")]
        assert shown == [(mr.GetID(), pytest.approx(0.3)), (None, pytest.approx(0.3))]


def test_the_legend_is_told_where_the_map_is_seen(bench):
    # The application's views look at a legend again only when it changes, not when a program sets their layers.
    import slicer

    ct, mr = bench.load()
    show("Red", ct)
    bench.parameters.lam.overlay = True
    bench.rest()
    legend = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLColorLegendDisplayNode")
    told = []
    legend.AddObserver("ModifiedEvent", lambda *_: told.append(composite("Green").GetForegroundVolumeID()))
    bench.parameters.lam.value = 0.3
    bench.rest()
    assert told == []
    show("Green", mr)
    bench.rest()
    assert told[-1] == overlay(bench).GetID()
    show("Green", volumes.node_from_image(slicer.mrmlScene, grid_image(1.0), "Other"))
    bench.rest()
    assert told[-1] is None


def test_the_map_follows_paint_the_slice_first(bench):
    import slicer

    from MSLFusionPanel.parameters import LambdaMode

    ct, _mr = bench.load()
    show("Red", ct)
    bench.parameters.lam.mode = LambdaMode.PAINTED
    bench.ui.addSegmentButton.click()
    bench.parameters.lam.overlay = True
    settle()
    node = bench.parameters.lam.segmentation
    paint(node, segmentations.segment_ids(node)[0], (slice(3, 6), slice(2, 6), slice(2, 9)), ct)
    until(lambda: overlay(bench) is not None and slicer.util.arrayFromVolume(overlay(bench))[4].any())
    array = slicer.util.arrayFromVolume(overlay(bench))
    assert not array[3].any()
    bench.rest()
    expected = np.zeros((9, 12, 14), np.float32)
    expected[3:6, 2:6, 2:9] = 1.0
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(overlay(bench)), expected)


def test_the_map_follows_another_ct_and_goes_with_it(bench):
    import slicer

    bench.load()
    bench.parameters.lam.overlay = True
    bench.rest()
    node = overlay(bench)
    bench.parameters.data.ct = volumes.node_from_image(slicer.mrmlScene, grid_image(1.0, (5, 6, 7)), "CT 2")
    bench.rest()
    assert overlay(bench) is node
    assert node.GetImageData().GetDimensions() == (5, 6, 7)
    bench.parameters.data.ct = bench.parameters.data.mr = None
    bench.rest()
    assert overlay(bench) is None
    assert bench.parameters.lam.overlay


def test_paint_beside_the_ct_is_said_and_nothing_is_decoded(bench, hybrid):
    import slicer

    from MSLFusionPanel.parameters import LambdaMode

    far = grid_image()
    far.SetOrigin((500.0, 500.0, 500.0))
    far = volumes.node_from_image(slicer.mrmlScene, far, "Far")
    bench.parameters.lam.mode = LambdaMode.PAINTED
    bench.parameters.lam.overlay = True
    bench.ui.addSegmentButton.click()
    node = bench.parameters.lam.segmentation
    (segment_id,) = segmentations.segment_ids(node)
    paint(node, segment_id, (slice(3, 6), slice(2, 6), slice(2, 9)), far)
    bench.rest()
    assert "inside the CT" in bench.text("lambdaMessage")
    assert bench.messages.errors()
    assert "decode_volume" not in bench.worker.kinds()
    bench.parameters.lam.overlay = False
    bench.rest()
    assert overlay(bench) is None
    paint(node, segment_id, (slice(3, 6), slice(2, 6), slice(2, 9)), bench.parameters.data.ct)
    bench.rest()
    assert bench.text("lambdaMessage") == ""
    assert bench.worker.kinds()[-1] == "decode_volume"


def test_a_foreground_chosen_later_stays(bench):
    ct, mr = bench.load()
    show("Red", ct)
    bench.parameters.lam.overlay = True
    bench.rest()
    composite("Red").SetForegroundVolumeID(mr.GetID())
    bench.rest()
    assert composite("Red").GetForegroundVolumeID() == mr.GetID()
    bench.parameters.lam.overlay = False
    bench.rest()
    assert composite("Red").GetForegroundVolumeID() == mr.GetID()


def test_a_deleted_map_comes_back_while_it_is_wanted(bench):
    import slicer

    ct, _mr = bench.load()
    show("Red", ct)
    bench.parameters.lam.overlay = True
    bench.rest()
    slicer.mrmlScene.RemoveNode(overlay(bench))
    bench.changed()
    bench.rest()
    assert planes(overlay(bench)) == [0.5] * 9
    assert composite("Red").GetForegroundVolumeID() == overlay(bench).GetID()


def test_a_saved_scene_opens_with_the_map(bench, tmp_path):
    import slicer

    ct, _mr = bench.load()
    show("Red", ct)
    bench.parameters.lam.value = 0.25
    bench.parameters.lam.overlay = True
    bench.rest()
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    bench.close_scene()
    bench.use(None)
    assert slicer.mrmlScene.ReadFromMRB(path, True)
    bench.use(bench.logic.getParameterNode())
    bench.rest()
    assert bench.parameters.lam.overlay
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if "map" in node.GetName()]
    assert nodes == [overlay(bench)]
    assert planes(overlay(bench)) == [0.25] * 9
    bench.parameters.lam.overlay = False
    bench.rest()
    assert overlay(bench) is None


def test_what_a_view_shows(bench):
    import slicer

    from MSLFusionPanel import slices

    ct, _mr = bench.load()
    show("Red", ct, 6)
    view = next(view for view in slices.views() if view.name == "Red")
    assert view.plane(ct) == (0, 6)
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    node.SetOrientationToSagittal()
    assert view.plane(ct)[0] == 2
    node.SetOrientationToCoronal()
    assert view.plane(ct)[0] == 1
    node.GetSliceToRAS().DeepCopy((0.8, 0.0, 0.6, 0, 0.0, 1.0, 0.0, 0, -0.6, 0.0, 0.8, 0, 0, 0, 0, 1))
    node.UpdateMatrices()
    assert view.plane(ct) is None
    look_at("Red", ct, 6)
    node.SetOrientationToAxial()
    node.JumpSlice(0, 0, 500)
    assert view.plane(ct) is None
    assert ct.GetImageData().GetDimensions() == SIZE


# The whole panel.


def test_apply_then_the_slider_in_the_whole_panel(slicer_app, monkeypatch, panel_image):
    import slicer
    from opened import Opened

    monkeypatch.setattr("MSLFusionPanel.install.ready", lambda *_args: "")
    opened = Opened()
    try:
        opened.load_volumes()
        opened.parameters.output.metrics = False
        settle()
        assert opened.ui.applyButton.enabled, opened.ui.applyButton.toolTip
        opened.ui.applyButton.click()
        until(lambda: opened.panel.task is None and opened.parameters.output.hybrid is not None)
        settle()
        lambdas, hybrid = opened.panel.lambdas, opened.parameters.output.hybrid

        def rest() -> None:
            settle()
            until(lambda: not lambdas._timer.isActive() and not lambdas._rest.isActive() and lambdas._task is None)

        rest()
        assert planes(hybrid) == [0.5] * 6
        opened.worker.seen.clear()
        opened.parameters.lam.overlay = True
        opened.ui.lambdaSlider.value = 0.9
        rest()
        assert planes(hybrid) == planes(lambdas.overlay.node()) == [0.9] * 6
        kinds = opened.worker.kinds()
        assert kinds[-1] == "decode_volume"
        assert set(kinds) == {"decode_slice", "decode_volume"}
        panel_image(opened.area, "whole panel")
        slicer.mrmlScene.Clear(False)
        settle()
        assert lambdas.overlay.node() is None
    finally:
        opened.close()
