"""The table of painted segments, and the Segment Editor below it."""

from collections.abc import Iterator
from typing import Any

import bare_qt  # noqa: F401 - first
import pytest
from lambda_bench import Bench, paint
from turns import settle

from MSLFusionLib.scene import segmentations
from MSLFusionLib.scene.colors import lambda_rgb


@pytest.fixture
def bench(slicer_app: Any) -> Iterator[Bench]:
    opened = Bench()
    yield opened
    opened.close()


@pytest.fixture
def ct(bench: Bench) -> Any:
    from MSLFusionPanel.parameters import LambdaMode

    ct, _mr = bench.load()
    bench.parameters.lam.mode = LambdaMode.PAINTED
    settle()
    return ct


def cells(bench: Bench, column: int) -> list[str]:
    table = bench.ui.segmentsTable
    return [table.item(row, column).text() for row in range(table.rowCount)]


def write(bench: Bench, row: int, column: int, text: str) -> None:
    bench.ui.segmentsTable.item(row, column).setText(text)
    settle()


def add(bench: Bench, count: int = 1) -> Any:
    for _ in range(count):
        bench.ui.addSegmentButton.click()
        settle()
    return bench.parameters.lam.segmentation


def editor(bench: Bench) -> Any:
    return bench.section.paint._editor


def test_add_makes_a_segmentation_on_the_grid_of_the_ct(bench, ct, panel_image):
    assert "press Add" in bench.text("lambdaMessage")
    node = add(bench)
    assert node.GetName() == "Painted lambda"
    assert node.GetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole()) == ct.GetID()
    assert node.GetDisplayNode() is not None
    assert (cells(bench, 0), cells(bench, 2), cells(bench, 3)) == (["Region 1"], ["1"], ["0"])
    assert "empty: paint" in bench.text("lambdaMessage")
    add(bench)
    assert cells(bench, 2) == ["1", "0.5"]
    paint(node, segmentations.segment_ids(node)[0], (slice(2, 4), slice(2, 4), slice(2, 4)), ct)
    settle()
    assert bench.text("lambdaMessage") == ""
    panel_image(bench.area, "lambda painted")
    panel_image(bench.ui.lambdaSection, "lambda painted section")


def test_a_segmentation_made_in_the_selector_is_ready_to_paint(bench, ct):
    bench.ui.segmentationSelector.addNode()
    settle()
    node = bench.parameters.lam.segmentation
    assert node is not None
    assert node.GetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole()) == ct.GetID()
    assert cells(bench, 2) == ["1"]


def test_cells_write_names_and_tags_and_colours_follow(bench, ct):
    import qt

    node = add(bench)
    (segment_id,) = segmentations.segment_ids(node)
    write(bench, 0, 0, "Tumour")
    write(bench, 0, 2, "0,25")
    write(bench, 0, 3, "3.5")
    segment = node.GetSegmentation().GetSegment(segment_id)
    assert segment.GetName() == "Tumour"
    assert segmentations.segment_lambda(node, segment_id) == 0.25
    assert segmentations.segment_feather(node, segment_id) == 3.5
    assert segment.GetColor() == pytest.approx(lambda_rgb(0.25))
    color = bench.ui.segmentsTable.item(0, 1).data(qt.Qt.DecorationRole)
    assert [color.red(), color.green(), color.blue()] == [round(255 * part) for part in lambda_rgb(0.25)]


@pytest.mark.parametrize(
    ("column", "text", "words"),
    [
        (2, "1.5", "from 0 (CT) to 1 (MR), not '1.5'"),
        (2, "much", "not 'much'"),
        (2, "nan", "not 'nan'"),
        (2, "", "not ''"),
        (3, "-2", "0 or more, not '-2'"),
        (3, "wide", "not 'wide'"),
        (3, "inf", "not 'inf'"),
        (0, " ", "needs a name"),
    ],
)
def test_what_cannot_be_is_said_and_taken_back(bench, ct, column, text, words):
    node = add(bench)
    paint(node, segmentations.segment_ids(node)[0], (slice(2, 4), slice(2, 4), slice(2, 4)), ct)
    settle()
    before = [cells(bench, c) for c in (0, 2, 3)]
    write(bench, 0, column, text)
    assert words in bench.text("lambdaMessage")
    assert bench.messages.errors() == []  # nothing is wrong with what is there now
    assert [cells(bench, c) for c in (0, 2, 3)] == before
    write(bench, 0, 2, "0.75")
    assert bench.text("lambdaMessage") == ""


def test_a_segment_from_elsewhere_needs_a_lambda(bench, ct):
    node = add(bench)
    plain = node.GetSegmentation().AddEmptySegment("", "Plain")
    settle()
    assert cells(bench, 2) == ["1", ""]
    assert "'Plain' has no lambda" in bench.text("lambdaMessage")
    assert bench.messages.errors()
    write(bench, 1, 3, "2")
    assert cells(bench, 3) == ["0", "0"]
    write(bench, 1, 2, "0.4")
    assert segmentations.segment_lambda(node, plain) == 0.4
    paint(node, plain, (slice(2, 4), slice(2, 4), slice(2, 4)), ct)
    settle()
    assert bench.text("lambdaMessage") == ""


def test_an_unusable_tag_is_said(bench, ct):
    node = add(bench)
    segment = node.GetSegmentation().GetNthSegment(0)
    segment.SetTag(segmentations.LAMBDA_TAG, "2")
    settle()
    assert "it must lie in [0, 1]" in bench.text("lambdaMessage")
    assert cells(bench, 2) == [""]
    write(bench, 0, 2, "0.2")
    assert "must lie" not in bench.text("lambdaMessage")


def test_segments_move_and_go(bench, ct):
    node = add(bench, 3)
    first, second, third = segmentations.segment_ids(node)
    bench.ui.segmentsTable.setCurrentCell(0, 0)
    settle()
    assert not bench.ui.segmentUpButton.enabled
    bench.ui.segmentDownButton.click()
    settle()
    assert segmentations.segment_ids(node) == [second, first, third]
    assert bench.ui.segmentsTable.currentRow() == 1
    bench.ui.segmentDownButton.click()
    settle()
    assert segmentations.segment_ids(node) == [second, third, first]
    assert not bench.ui.segmentDownButton.enabled
    bench.ui.segmentUpButton.click()
    settle()
    bench.ui.removeSegmentButton.click()
    settle()
    assert segmentations.segment_ids(node) == [second, third]
    bench.ui.removeSegmentButton.click()
    settle()
    bench.ui.removeSegmentButton.click()
    settle()
    assert "no segment" in bench.text("lambdaMessage")
    assert not bench.ui.removeSegmentButton.enabled


def test_table_and_editor_choose_the_same_segment(bench, ct):
    node = add(bench, 2)
    first, second = segmentations.segment_ids(node)
    assert editor(bench).currentSegmentID() == second
    bench.ui.segmentsTable.setCurrentCell(0, 0)
    settle()
    assert editor(bench).currentSegmentID() == first
    editor(bench).setCurrentSegmentID(second)
    settle()
    assert bench.ui.segmentsTable.currentRow() == 1


def test_the_editor_has_its_own_node_and_our_volumes(bench, ct):
    import slicer

    node = add(bench)
    own = slicer.mrmlScene.GetSingletonNode("MSLFusionSegmentEditor", "vtkMRMLSegmentEditorNode")
    assert editor(bench).mrmlSegmentEditorNode() is own
    assert editor(bench).segmentationNode() is node
    assert editor(bench).sourceVolumeNode() is ct
    assert not editor(bench).segmentationNodeSelectorVisible
    assert not editor(bench).sourceVolumeNodeSelectorVisible
    assert not editor(bench).autoShowSourceVolumeNode
    assert editor(bench).effectNameOrder()[0] == "Paint"
    assert not editor(bench).unorderedEffectsVisible


def test_the_editor_is_flat(bench, ct):
    import qt

    add(bench)
    shown = editor(bench)
    assert not shown.findChild("QFrame", "SegmentsTableResizableFrame").visible
    assert shown.findChild("QGroupBox", "MaskingGroupBox").collapsed
    tools, undo = (shown.findChild("QFrame", name) for name in ("EffectsGroupBox", "UndoRedoGroupBox"))
    assert len({button.y for button in tools.findChildren("QToolButton") if button.visible}) == 2
    assert undo.mapTo(shown, qt.QPoint(0, 0)).x() > tools.mapTo(shown, qt.QPoint(0, 0)).x()
    options = shown.findChild("QGroupBox", "OptionsGroupBox")
    options.show()
    settle()
    assert options.mapTo(shown, qt.QPoint(0, 0)).y() >= tools.mapTo(shown, qt.QPoint(0, 0)).y() + tools.height
    assert options.width > 0.9 * shown.width
    masking = shown.findChild("QGroupBox", "MaskingGroupBox")
    below = shown.height - masking.mapTo(shown, qt.QPoint(0, 0)).y() - masking.height
    assert below < 20  # nothing blank


def test_the_editor_works_only_while_it_is_seen(bench, ct):
    from MSLFusionPanel.parameters import LambdaMode

    add(bench)
    shown = editor(bench)
    assert shown._q.shortcuts
    shown.setActiveEffectByName("Paint")
    bench.parameters.lam.mode = LambdaMode.NUMBER
    settle()
    assert not shown._q.shortcuts
    assert shown.activeEffect() is None
    bench.parameters.lam.mode = LambdaMode.PAINTED
    settle()
    assert shown._q.shortcuts
    shown.setActiveEffectByName("Draw")
    bench.section.exit()
    assert not shown._q.shortcuts
    assert shown.activeEffect() is None
    bench.section.enter()
    bench.changed()
    settle()
    assert shown._q.shortcuts


def test_no_editor_before_it_is_needed(bench):
    assert editor(bench) is None
    bench.load()
    assert editor(bench) is None


def test_a_deleted_segmentation_is_let_go(bench, ct):
    import slicer

    slicer.mrmlScene.RemoveNode(add(bench))
    settle()
    assert bench.parameters.lam.segmentation is None
    assert bench.ui.segmentsTable.rowCount == 0
    assert editor(bench).segmentationNode() is None
    add(bench)
    assert cells(bench, 0) == ["Region 1"]


def test_a_closed_scene_and_the_next_one(bench, ct):
    from MSLFusionPanel.parameters import LambdaMode

    add(bench)
    bench.close_scene()
    bench.load()
    bench.parameters.lam.mode = LambdaMode.PAINTED
    settle()
    node = add(bench, 2)
    assert editor(bench).segmentationNode() is node
    assert cells(bench, 2) == ["1", "0.5"]


def test_no_tool_is_held_after_a_scene_was_closed_or_opened(bench, ct, tmp_path):
    import slicer

    from MSLFusionPanel.parameters import LambdaMode

    add(bench)
    editor(bench).setActiveEffectByName("Paint")
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    bench.close_scene()
    assert bench.parameters.lam.mode is LambdaMode.NUMBER
    assert editor(bench).activeEffect() is None
    assert not editor(bench)._q.views
    bench.use(None)
    assert slicer.mrmlScene.ReadFromMRB(path, True)
    bench.use(bench.logic.getParameterNode())
    settle()
    assert bench.parameters.lam.mode is LambdaMode.PAINTED
    assert editor(bench).activeEffect() is None
    editor(bench).setActiveEffectByName("Paint")
    assert editor(bench)._q.views


def test_a_scene_opened_over_a_held_tool(bench, ct, tmp_path):
    import slicer

    add(bench)
    editor(bench).setActiveEffectByName("Paint")
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    bench.use(None)
    bench.section.scene_closed()
    assert slicer.mrmlScene.ReadFromMRB(path, True)
    bench.use(bench.logic.getParameterNode())
    settle()
    assert editor(bench).activeEffect() is None
    editor(bench).setActiveEffectByName("Paint")
    assert editor(bench)._q.views
