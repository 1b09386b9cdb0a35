"""Section 6 on the stand-ins: Apply, its messages, its failures, and cancels that leave the scene as it was."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opened import Opened
from turns import settle, until


@pytest.fixture
def opened(slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    from MSLFusionPanel import install

    monkeypatch.setattr(install, "missing_packages", lambda: [])
    panel = Opened()
    panel.load_volumes()
    yield panel
    panel.close()


def press(opened: Opened) -> None:
    """Apply, until nothing runs any more."""
    assert opened.ui.applyButton.enabled, opened.ui.applyButton.toolTip
    opened.ui.applyButton.click()
    finish(opened)


def finish(opened: Opened) -> None:
    settle()
    until(lambda: opened.panel.task is None)
    settle()
    until(lambda: opened.panel.task is None)


def hold(opened: Opened, kind: str) -> None:
    """Press Apply and let it come to the request of this kind, which gets no answer."""
    opened.worker.held = {kind}
    opened.ui.applyButton.click()
    until(lambda: opened.worker.waiting()[:1] == [kind])
    settle()


def release(opened: Opened) -> None:
    """Answer what is held, and everything after it."""
    opened.worker.held = set()
    opened.worker.answer()
    finish(opened)


def contents(scene: Any) -> dict[str, Any]:
    """All nodes that a user can see, their voxels, and when those changed last."""
    found = {}
    for i in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(i)
        voxels = None
        if node.IsA("vtkMRMLScalarVolumeNode") and node.GetImageData() is not None:
            import slicer

            array = slicer.util.arrayFromVolume(node)
            voxels = (node.GetImageData().GetMTime(), array.tobytes())
        found[node.GetID()] = (node.GetName(), voxels)
    return found


def painted(opened: Opened) -> Any:
    """A segmentation with a box at lambda 0.75, chosen to be mixed by."""
    import slicer

    from MSLFusionLib.scene.segmentations import tag_segment
    from MSLFusionPanel.parameters import LambdaMode

    ct = opened.parameters.data.ct
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Painted")
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    segment = node.GetSegmentation().AddEmptySegment()
    mask = np.zeros((6, 7, 8), np.uint8)
    mask[2:4, 2:5, 2:6] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, ct)
    tag_segment(node, segment, 0.75)
    opened.parameters.lam.segmentation = node
    opened.parameters.lam.mode = LambdaMode.PAINTED
    settle()
    return node


def values(node: Any) -> np.ndarray:
    import slicer

    return np.array(slicer.util.arrayFromVolume(node))


def sweeps(scene: Any) -> list[Any]:
    return [scene.GetNthNodeByClass(i, "vtkMRMLSequenceNode") for i in range(count(scene, "vtkMRMLSequenceNode"))]


def count(scene: Any, cls: str) -> int:
    return int(scene.GetNumberOfNodesByClass(cls))


# Success.


def test_a_number_gives_a_hybrid_that_says_what_it_is(opened: Opened, scene: Any) -> None:
    from MSLFusionPanel.run import LAMBDA_ATTRIBUTE, MODEL_ATTRIBUTE, SYNTHESISED_ATTRIBUTE

    opened.parameters.lam.value = 0.25
    press(opened)
    hybrid = opened.parameters.output.hybrid
    assert hybrid.GetName() == "Hybrid"
    assert values(hybrid).shape == (6, 7, 8)
    assert np.all(values(hybrid) == np.float32(0.25))
    assert hybrid.GetAttribute(LAMBDA_ATTRIBUTE) == "0.25"
    assert hybrid.GetAttribute(MODEL_ATTRIBUTE) == "/models/msl-ct-t1.safetensors"
    assert hybrid.GetAttribute(SYNTHESISED_ATTRIBUTE) is None
    display = hybrid.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
    asked = opened.worker.last("reconstruct").header
    assert asked["modalities"] == ["ct", "mr"]
    assert asked["plan"]["views"] == 64
    assert opened.text("applyMessage") == ""
    assert not opened.ui.progressBar.visible
    assert opened.ui.applyButton.text == "Apply"
    assert opened.ui.hybridLargeButton.enabled


def test_a_painted_map_goes_to_the_worker_as_it_was_painted(opened: Opened) -> None:
    painted(opened)
    press(opened)
    hybrid = opened.parameters.output.hybrid
    assert hybrid.GetAttribute("MSLFusion.Lambda") == "map"
    assert values(hybrid)[3, 3, 3] == pytest.approx(0.75)
    assert values(hybrid)[0, 0, 0] == 0.0


def test_a_lambda_volume_is_used(opened: Opened, scene: Any) -> None:
    import slicer

    from MSLFusionPanel.parameters import LambdaMode

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Lambda")
    slicer.util.updateVolumeFromArray(node, np.linspace(0, 1, 336, dtype=np.float32).reshape(6, 7, 8))
    opened.parameters.lam.volume, opened.parameters.lam.mode = node, LambdaMode.VOLUME
    settle()
    press(opened)
    np.testing.assert_allclose(values(opened.parameters.output.hybrid), values(node), atol=1e-6)
    opened.parameters.output.hybrid = node  # would replace the map by the hybrid
    settle()
    assert not opened.ui.applyButton.enabled
    assert opened.kind("hybridMessage") == "error"


def test_a_sweep_becomes_a_sequence_and_the_next_one_takes_its_place(opened: Opened, scene: Any) -> None:
    from MSLFusionLib.scene.sequences import lambdas_of

    opened.parameters.output.sweep, opened.parameters.output.sweepCount = True, 3
    settle()
    press(opened)
    (first,) = sweeps(scene)
    assert lambdas_of(first) == [0.0, 0.5, 1.0]
    assert opened.worker.last("metrics").header["lambdas"] == [0.0, 0.5, 1.0]
    nodes = scene.GetNumberOfNodes()
    opened.parameters.output.sweepCount = 2
    settle()
    press(opened)
    (second,) = sweeps(scene)
    assert lambdas_of(second) == [0.0, 1.0]
    assert scene.GetNumberOfNodes() == nodes
    opened.parameters.output.hybrid = None  # another run, beside it
    settle()
    press(opened)
    assert len(sweeps(scene)) == 2


def test_another_lambda_uses_the_session_and_the_metrics_again(opened: Opened) -> None:
    opened.parameters.output.live = False
    press(opened)
    table = opened.parameters.output.table
    assert table is not None
    opened.worker.seen.clear()
    opened.parameters.lam.value = 0.75
    settle()
    press(opened)
    assert opened.worker.kinds() == ["hello", "decode_volume"]
    assert np.all(values(opened.parameters.output.hybrid) == np.float32(0.75))
    assert opened.parameters.output.table is table


@pytest.mark.parametrize("what", ["views", "voxels", "direction", "transform", "device", "consistency"])
def test_what_the_latents_depend_on_asks_for_new_ones(opened: Opened, scene: Any, what: str) -> None:
    import slicer

    press(opened)
    ct, mr = opened.parameters.data.ct, opened.parameters.data.mr
    if what == "views":
        opened.parameters.sensors.views = 48
    elif what == "voxels":
        slicer.util.arrayFromVolume(ct)[0, 0, 0] = 3
        slicer.util.arrayFromVolumeModified(ct)
    elif what == "direction":
        for node in (ct, mr):
            node.SetIJKToRASDirections(0, 1, 0, -1, 0, 0, 0, 0, 1)
    elif what == "transform":
        above = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Above")
        for node in (ct, mr):
            node.SetAndObserveTransformNodeID(above.GetID())
    elif what == "device":
        opened.parameters.model.device = "cpu"
    else:
        assert opened.worker.last("reconstruct").header["consistency"] is True
        opened.ui.consistencyCheckBox.click()
    settle()
    press(opened)
    assert opened.worker.kinds().count("reconstruct") == 2
    assert opened.worker.last("reconstruct").header["consistency"] is (what != "consistency")
    assert opened.worker.kinds().count("open_model") == (2 if what == "device" else 1)


# Where it goes.


def test_a_chosen_volume_is_filled_and_keeps_its_window(opened: Opened, scene: Any, slicer_app: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Mine")
    opened.parameters.output.hybrid = node
    opened.parameters.output.live = False
    settle()
    press(opened)
    assert opened.parameters.output.hybrid is node
    assert values(node).shape == (6, 7, 8)
    shown = [view.slice_logic.GetSliceCompositeNode() for view in slicer_app.layout.views.values()]
    assert node.GetID() in [composite.GetBackgroundVolumeID() for composite in shown]
    node.GetDisplayNode().SetWindowLevelMinMax(0.2, 0.6)
    opened.parameters.lam.value = 1.0
    settle()
    press(opened)
    assert node.GetDisplayNode().GetWindowLevelMin() == pytest.approx(0.2)
    assert node.GetName() == "Mine"


@pytest.mark.parametrize("which", ["ct", "mr"])
def test_an_input_cannot_be_the_output(opened: Opened, which: str) -> None:
    opened.parameters.output.hybrid = getattr(opened.parameters.data, which)
    settle()
    assert which.upper() in opened.text("hybridMessage")
    assert opened.kind("hybridMessage") == "error"
    assert not opened.ui.applyButton.enabled
    assert opened.text("hybridMessage") in opened.ui.applyButton.toolTip
    assert opened.text("hybridMessage") in opened.text("applyMessage")
    opened.parameters.output.hybrid = None
    settle()
    assert opened.text("hybridMessage") == opened.text("applyMessage") == ""
    assert opened.ui.applyButton.enabled


def test_what_shows_the_sweep_cannot_be_the_output(opened: Opened, scene: Any) -> None:
    opened.parameters.output.sweep = True
    settle()
    press(opened)
    browser = scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    opened.parameters.output.hybrid = browser.GetProxyNode(sweeps(scene)[0])
    settle()
    assert "sequence" in opened.text("hybridMessage")
    assert not opened.ui.applyButton.enabled


def test_an_output_that_is_deleted_meanwhile_is_made_anew(opened: Opened, scene: Any) -> None:
    press(opened)
    old = opened.parameters.output.hybrid
    opened.parameters.sensors.views = 32
    settle()
    hold(opened, "decode_volume")
    scene.RemoveNode(old)
    settle()
    release(opened)
    hybrid = opened.parameters.output.hybrid
    assert hybrid is not None
    assert hybrid is not old
    assert values(hybrid).shape == (6, 7, 8)


def test_an_output_that_becomes_an_input_meanwhile_is_not_overwritten(opened: Opened, scene: Any) -> None:
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Both")
    slicer.util.updateVolumeFromArray(node, np.linspace(-1000, 900, 336, dtype=np.float32).reshape(6, 7, 8))
    opened.parameters.output.hybrid = node
    settle()
    before = values(node)
    hold(opened, "decode_volume")
    opened.parameters.data.ct = node
    settle()
    release(opened)
    assert np.array_equal(values(node), before)
    assert opened.parameters.output.hybrid is not node


def test_another_choice_meanwhile_does_not_change_where_it_goes(opened: Opened, scene: Any) -> None:
    press(opened)
    first = opened.parameters.output.hybrid
    opened.parameters.lam.value = 0.9
    settle()
    hold(opened, "decode_volume")
    opened.parameters.output.hybrid = opened.parameters.data.mr
    before = values(opened.parameters.data.mr)
    settle()
    release(opened)
    assert opened.parameters.output.hybrid is first
    assert np.array_equal(values(opened.parameters.data.mr), before)


# Modalities.


@pytest.mark.parametrize(("used", "missing"), [("CT", "MR"), ("MR", "CT")])
def test_one_modality_alone_says_that_the_other_is_synthesised(opened: Opened, used: str, missing: str) -> None:
    from MSLFusionPanel.parameters import Modalities

    opened.parameters.sensors.modalities = Modalities[used]
    settle()
    press(opened)
    hybrid = opened.parameters.output.hybrid
    assert hybrid.GetName() == f"Hybrid ({missing} synthesised)"
    assert hybrid.GetAttribute("MSLFusion.Synthesised") == missing.lower()
    assert opened.worker.last("reconstruct").header["modalities"] == [used.lower()]
    assert f"The {missing} in it is synthesised" in opened.text("previewInfo")
    assert f"The {missing} in the hybrid is synthesised" in opened.ui.logText.toPlainText()
    opened.parameters.sensors.modalities = Modalities.BOTH
    settle()
    press(opened)
    assert opened.parameters.output.hybrid is hybrid
    assert hybrid.GetName() == "Hybrid"
    assert hybrid.GetAttribute("MSLFusion.Synthesised") is None


def test_a_single_volume_is_enough_for_its_own_modality(opened: Opened) -> None:
    from MSLFusionPanel.parameters import Modalities

    opened.parameters.data.ct = None
    opened.parameters.sensors.modalities = Modalities.MR
    settle()
    press(opened)
    assert sorted(opened.worker.last("reconstruct").header["volumes"]) == ["mr"]
    assert opened.parameters.output.hybrid is not None


def test_a_sensors_file_is_reconstructed_without_metrics(opened: Opened, tmp_path: Path) -> None:
    from MSLFusionLib.scene import hierarchy
    from MSLFusionPanel.parameters import SensorSource

    path = tmp_path / "scan.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(3000))
    geometry = {"size": [8, 7, 6], "spacing_mm": [0.5, 0.5, 3.0], "origin_mm": [0, 0, 0]}
    geometry["direction"] = [1, 0, 0, 0, 1, 0, 0, 0, 1]
    opened.worker.sensors = {
        "modalities": ["ct", "mr"],
        "achieved": {
            "ct": {"views": 32, "scan": "full", "bins": 100},
            "mr": {"columns": 96, "of": 384, "rate": 0.25, "acceleration": 4.0, "mask": "random", "coils": 1},
        },
        "geometry": geometry,
        "slices": 6,
        "occupied": 6,
        "slice_axis": 0,
        "pixel_mm": 0.667,
        "plan": None,
    }
    opened.parameters.sensors.source, opened.parameters.sensors.file = SensorSource.FILE, str(path)
    settle()
    assert not opened.ui.metricsCheckBox.enabled
    press(opened)
    asked = opened.worker.last("reconstruct")
    assert asked.header["sensors"] == str(path)
    assert "plan" not in asked.header
    assert asked.arrays == {}
    hybrid = opened.parameters.output.hybrid
    assert hybrid.GetSpacing() == (0.5, 0.5, 3.0)
    assert "metrics" not in opened.worker.kinds()
    assert "no ground truth" in opened.ui.resultsInfo.text
    tree = slicer_tree()
    told = hierarchy.run_parameters(hybrid.GetScene(), tree.GetItemParent(tree.GetItemByDataNode(hybrid)))
    assert (told["sensors"], told["sensors_file"], told["plan"]) == ("file", "scan.h5", "null")


def slicer_tree() -> Any:
    import slicer

    return slicer.mrmlScene.GetSubjectHierarchyNode()


# Failures.


@pytest.mark.parametrize("kind", ["models", "open_model", "reconstruct", "decode_volume", "metrics"])
def test_a_failure_is_told_and_the_next_apply_works(opened: Opened, scene: Any, kind: str) -> None:
    if kind == "models":
        opened.parameters.model.device = "cpu"
        settle()
    opened.worker.failures[kind] = "the memory is not enough"
    before = contents(scene)
    press(opened)
    assert opened.text("applyMessage") == "The memory is not enough."
    assert opened.kind("applyMessage") == "failure"
    assert opened.ui.applyButton.text == "Apply"
    assert opened.ui.applyButton.enabled
    assert "memory" in opened.ui.logText.toPlainText()
    if kind == "metrics":
        assert opened.parameters.output.hybrid is not None
    else:
        assert contents(scene) == before
    opened.worker.failures.clear()
    press(opened)
    assert opened.text("applyMessage") == ""
    assert opened.parameters.output.hybrid is not None
    assert opened.parameters.output.table is not None


def test_a_volume_of_nothing_but_background_is_told(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened.worker, "_parts", lambda message, volumes: None)
    press(opened)
    assert "Nothing but background" in opened.text("applyMessage")
    assert opened.parameters.output.hybrid is None


@pytest.mark.parametrize("kind", ["hello", "open_model", "reconstruct", "decode_volume", "metrics"])
def test_a_worker_that_dies_is_told_and_started_again(opened: Opened, kind: str) -> None:
    hold(opened, kind)
    opened.worker.die("The worker ended: out of memory.")
    opened.worker.held = set()
    finish(opened)
    assert opened.text("applyMessage") == "The worker ended: out of memory."
    assert opened.kind("applyMessage") == "failure"
    press(opened)
    assert opened.worker.kinds().count("reconstruct") == (1 if kind in ("hello", "open_model") else 2)
    assert opened.parameters.output.hybrid is not None


def test_an_answer_of_a_worker_that_is_gone_is_not_used(opened: Opened) -> None:
    hold(opened, "reconstruct")
    opened.worker.generation += 1  # it ended behind its answer, and another one started
    release(opened)
    assert "started anew" in opened.text("applyMessage")
    assert opened.logic.session is None
    press(opened)
    assert opened.parameters.output.hybrid is not None


def test_a_worker_without_torch_says_what_to_do(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.worker.ensure()
    opened.worker.info["torch"] = False
    press(opened)
    assert "PyTorch is not installed" in opened.text("applyMessage")
    assert "reconstruct" not in opened.worker.kinds()


def test_missing_packages_are_asked_for_and_refusing_is_told(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from MSLFusionPanel import install

    asked = []
    monkeypatch.setattr(install, "ready", lambda tell, parent=None: asked.append(1) or "Not installed: torch>=2.4.")
    opened.ui.applyButton.click()
    settle()
    assert opened.text("applyMessage") == "Not installed: torch>=2.4."
    assert opened.kind("applyMessage") == "failure"
    assert opened.worker.kinds() == []
    assert opened.ui.applyButton.enabled
    opened.worker.where = "127.0.0.1:8765"  # there it is another machine's packages that count
    press(opened)
    assert len(asked) == 1
    assert opened.parameters.output.hybrid is not None


def test_what_changes_while_the_user_is_asked_is_heeded(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    from MSLFusionPanel import install

    def ready(_tell: Any, _parent: Any = None) -> str:
        slicer.mrmlScene.RemoveNode(opened.parameters.data.ct)
        return ""

    monkeypatch.setattr(install, "ready", ready)
    opened.ui.applyButton.click()
    settle()
    assert opened.panel.task is None
    assert opened.worker.kinds() == []
    assert "Choose a CT" in opened.text("applyMessage")


def test_segments_that_are_deleted_meanwhile_are_told_of(opened: Opened, scene: Any) -> None:
    node = painted(opened)
    hold(opened, "reconstruct")
    scene.RemoveNode(node)
    settle()
    release(opened)
    assert opened.panel.task is None
    assert opened.parameters.output.hybrid is None
    assert "fault" not in opened.text("applyMessage") + opened.ui.logText.toPlainText()


# Cancel.


@pytest.mark.parametrize("kind", ["hello", "models", "open_model", "reconstruct", "decode_volume"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "again"])
def test_a_cancel_leaves_the_scene_as_it_was(opened: Opened, scene: Any, kind: str, first: bool) -> None:
    opened.parameters.output.sweep, opened.parameters.output.live = True, False
    settle()
    if not first:
        press(opened)
        opened.parameters.model.device = "cpu"
        settle()
    before = contents(scene)
    hold(opened, kind)
    assert opened.ui.applyButton.text == "Cancel"
    assert opened.ui.applyButton.enabled
    assert not opened.ui.sampleHeadButton.enabled
    opened.ui.applyButton.click()
    assert opened.panel.task is None
    opened.worker.held = set()
    settle()
    assert contents(scene) == before
    assert opened.ui.applyButton.text == "Apply"
    assert opened.text("applyMessage") == opened.text("progressInfo") == ""
    assert not opened.ui.progressBar.visible
    press(opened)
    assert opened.parameters.output.hybrid is not None


def test_a_cancel_while_the_sweep_comes_into_the_scene_takes_it_away(opened: Opened, scene: Any) -> None:
    opened.parameters.output.sweep, opened.parameters.output.sweepCount = True, 9
    settle()
    before = contents(scene)
    opened.ui.applyButton.click()
    until(lambda: sweeps(scene) and sweeps(scene)[0].GetNumberOfDataNodes() > 2)
    opened.ui.applyButton.click()
    settle()
    assert opened.panel.task is None
    after = contents(scene)
    assert after == before


def test_cancelled_metrics_keep_the_hybrid(opened: Opened, scene: Any) -> None:
    hold(opened, "metrics")
    hybrid = opened.parameters.output.hybrid
    assert hybrid is not None
    assert opened.ui.applyButton.text == "Cancel"
    before = contents(scene)
    opened.ui.applyButton.click()
    opened.worker.held = set()
    settle()
    assert contents(scene) == before
    assert opened.parameters.output.hybrid is hybrid
    assert opened.parameters.output.table is None
    opened.parameters.lam.value = 0.1
    settle()
    press(opened)
    assert opened.parameters.output.table is not None  # measured now


@pytest.mark.parametrize("kind", ["reconstruct", "decode_volume", "metrics"])
def test_a_scene_that_is_closed_meanwhile_ends_it(opened: Opened, scene: Any, kind: str) -> None:
    hold(opened, kind)
    scene.Clear(False)
    opened.worker.held = set()
    settle()
    assert opened.panel.task is None
    assert opened.logic.session is None
    assert opened.ui.applyButton.text == "Apply"
    assert not opened.ui.applyButton.enabled
    assert count(scene, "vtkMRMLScalarVolumeNode") == 0
    opened.load_volumes()
    press(opened)
    assert opened.parameters.output.hybrid is not None


@pytest.mark.parametrize("kind", ["reconstruct", "decode_volume"])
def test_inputs_that_are_deleted_meanwhile_disturb_nothing(opened: Opened, scene: Any, kind: str) -> None:
    hold(opened, kind)
    scene.RemoveNode(opened.parameters.data.ct)
    settle()
    release(opened)
    assert opened.parameters.output.hybrid is not None  # what was asked for
    assert not opened.ui.applyButton.enabled


# Progress.


def test_progress_is_told_in_words_with_the_time_left(opened: Opened) -> None:
    hold(opened, "reconstruct")
    bar, label = opened.ui.progressBar, "progressInfo"
    assert bar.visible
    assert opened.text(label).startswith("Reconstruction")
    opened.worker.progress("reconstruct", 12, 40)
    assert opened.text(label) == "Reconstruction: Encoding slices, 12 of 40."
    assert (bar.value, bar.maximum) == (12, 40)
    for seconds, said in ((0.2, "1 s"), (75, "75 s"), (95, "2 min"), (3600, "60 min"), (7200, "2 h")):
        opened.worker.progress("reconstruct", 13, 40, seconds)
        assert opened.text(label) == f"Reconstruction: Encoding slices, 13 of 40, {said} left."
    release(opened)
    assert not bar.visible
    assert opened.text(label) == ""


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf, 1e9])
def test_times_that_nobody_would_believe_are_not_told(opened: Opened, seconds: float) -> None:
    opened.panel.apply.show_progress("Reconstruction", "decode", 1, 40, seconds)
    assert opened.text("progressInfo") == "Reconstruction: Decoding slices, 1 of 40."
    opened.panel.apply.show_progress(None)


@pytest.mark.parametrize(("done", "total", "value"), [(41, 40, 40), (-1, 40, 0), (0, 40, 0)])
def test_the_bar_stays_within_its_ends(opened: Opened, done: int, total: int, value: int) -> None:
    opened.panel.apply.show_progress("Reconstruction", "decode", done, total)
    assert (opened.ui.progressBar.value, opened.ui.progressBar.maximum) == (value, total)
    opened.panel.apply.show_progress("Reconstruction", "open model", 0, 0)
    assert opened.ui.progressBar.maximum == 0
    assert opened.text("progressInfo") == "Reconstruction: Opening the model."
    opened.panel.apply.show_progress(None)


def test_every_stage_of_the_library_has_words(slicer_app: Any) -> None:
    import re

    from opened import ROOT

    from MSLFusionPanel.apply import _stage_words

    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "MSLFusion" / "MSLFusionLib").rglob("*.py")]
    stages = {stage for text in texts for stage in re.findall(r'(?:step\(\s*|stage: str = )"([^"]+)"', text)}
    assert "reconstruct" in stages
    # Of commands that the panel does not give.
    alone = {"SIRT", "CGLS", "total variation", "benchmark", "write", "generate slices", "read", "convert"}
    alone |= {"statistics", "trust", "familiarity", "evaluate", "robustness"}
    alone |= {"generate", "learn errors", "lessons in errors"}
    assert [one for one in stages - alone if _stage_words(one).lower() == one] == []


# Layouts.


def test_the_layouts_can_be_had_when_there_is_something_to_show(opened: Opened, slicer_app: Any) -> None:
    assert opened.ui.sideBySideButton.enabled
    assert not opened.ui.hybridLargeButton.enabled
    press(opened)
    opened.ui.hybridLargeButton.click()
    settle()
    shown = [view for view in slicer_app.layout.views.values() if view.node.IsMappedInLayout()]
    assert len(shown) == 1
    hybrid = opened.parameters.output.hybrid
    assert shown[0].slice_logic.GetSliceCompositeNode().GetBackgroundVolumeID() == hybrid.GetID()
    opened.ui.sideBySideButton.click()
    settle()
    shown = [view for view in slicer_app.layout.views.values() if view.node.IsMappedInLayout()]
    assert len(shown) == 3
