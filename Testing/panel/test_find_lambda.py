"""Section 5, "Find lambda": the map becomes the lambda that is used, the curve grows, a cancel keeps the best."""

from collections.abc import Iterator
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


def search(opened: Opened) -> None:
    """Press the button and let it come to the search, which gets no answer."""
    opened.worker.held = {"optimize_lambda"}
    assert opened.ui.findLambdaButton.enabled, opened.ui.findLambdaButton.toolTip
    opened.ui.findLambdaButton.click()
    until(lambda: opened.worker.waiting()[:1] == ["optimize_lambda"])
    settle()


def finish(opened: Opened) -> None:
    settle()
    until(lambda: opened.panel.task is None)
    settle()


def values(node: Any) -> np.ndarray:
    import slicer

    return np.array(slicer.util.arrayFromVolume(node))


def curve(scene: Any) -> list[tuple[float, float, float]]:
    """(evaluation, gain of the map, that of the best constant) of the curve's table."""
    kind = "vtkMRMLTableNode"
    nodes = [scene.GetNthNodeByClass(i, kind) for i in range(scene.GetNumberOfNodesByClass(kind))]
    (node,) = [one for one in nodes if one.GetAttribute("MSLFusion.Role") == "LambdaCurve"]
    table = node.GetTable()
    rows = range(table.GetNumberOfRows())
    return [tuple(table.GetValue(row, column).ToDouble() for column in range(3)) for row in rows]


def test_the_map_found_is_the_lambda_that_is_used(opened: Opened, scene: Any, panel_image: Any) -> None:
    from MSLFusionPanel.parameters import LambdaMode, Objective

    opened.ui.findLambdaBox.collapsed = False
    opened.parameters.lam.objective = Objective.ENTROPY
    opened.ui.alphaSpinBox.value = 0.0025
    opened.ui.searchStepsSpinBox.value = 20
    settle()
    search(opened)
    request = opened.worker.last("optimize_lambda").header
    assert request["objective"] == "entropy"
    assert request["alpha"] == pytest.approx(0.0025)
    assert request["steps"] == 20
    assert "slices" not in request
    panel_image(opened.ui.lambdaSection, "find lambda runs")
    opened.worker.held = set()
    opened.worker.answer()
    finish(opened)
    lam = opened.parameters.lam
    assert lam.mode is LambdaMode.VOLUME
    assert lam.volume.GetName() == "Found lambda map"
    assert (values(lam.volume) == np.float32(0.4)).all()
    assert opened.text("lambdaMessage") == ""
    assert "6 slices: 0.5000 above" in opened.text("findLambdaMessage")
    assert opened.ui.applyButton.enabled
    panel_image(opened.ui.lambdaSection, "find lambda done")
    # Apply decodes with the map.
    opened.ui.applyButton.click()
    finish(opened)
    sent = opened.worker.last("decode_volume").arrays["lambda"]
    assert (sent == np.float32(0.4)).all()


def test_the_curve_grows_while_it_runs_and_can_be_shown(opened: Opened, scene: Any) -> None:
    assert not opened.ui.lambdaCurveButton.enabled
    search(opened)
    opened.worker.search_part(2, [1.0])
    settle()
    assert not opened.ui.lambdaCurveButton.enabled  # one point makes no curve
    opened.worker.search_part(3, [1.0, 1.1])
    settle()
    assert np.allclose(curve(scene), [(0.0, 0.0, 0.0), (1.0, 0.1, 0.0)])
    opened.worker.search_part(3, [1.3])
    settle()
    assert np.allclose([row[1] for row in curve(scene)], [0.0, 0.1, 0.3])
    assert opened.ui.lambdaCurveButton.enabled
    opened.ui.lambdaCurveButton.click()
    settle()
    kind = "vtkMRMLPlotViewNode"
    views = [scene.GetNthNodeByClass(i, kind) for i in range(scene.GetNumberOfNodesByClass(kind))]
    charts = [node.GetPlotChartNode() for node in views if node.GetPlotChartNode() is not None]
    assert charts[0].GetTitle() == "Slice 3"
    assert charts[0].GetXAxisRange() == (0.0, 1.0)
    low, high = charts[0].GetYAxisRange()
    assert low < 0.0 < 0.3 < high
    opened.worker.search_part(3, [1.6])
    settle()
    assert charts[0].GetYAxisRange()[1] > 0.6  # Slicer itself would leave the axes as they were at first
    charts[0].SetXAxisRange(0.5, 0.75)
    opened.worker.search_part(3, [1.7])
    settle()
    assert charts[0].GetXAxisRange() == (0.5, 0.75)  # the user has zoomed
    opened.worker.search_part(4, [1.0, 1.2])
    settle()
    assert len(curve(scene)) == 2
    assert charts[0].GetTitle() == "Slice 4"
    assert charts[0].GetXAxisRange() == (0.0, 1.0)


def test_a_cancel_keeps_the_best_until_then(opened: Opened) -> None:
    from MSLFusionPanel.parameters import LambdaMode

    search(opened)
    opened.worker.search_part(2, [1.0, 1.25], finished=True, lam=0.9)
    opened.worker.search_part(3, [1.0, 1.1], lam=0.7)
    settle()
    assert "Cancel" in opened.ui.findLambdaButton.text
    opened.ui.findLambdaButton.click()
    finish(opened)
    lam = opened.parameters.lam
    assert lam.mode is LambdaMode.VOLUME
    found = values(lam.volume)
    assert [float(plane[0, 0]) for plane in found] == pytest.approx([0.9, 0.9, 0.4, 0.4, 0.7, 0.7])
    assert opened.text("findLambdaMessage").startswith("Stopped. 2 slices")


def test_a_cancel_before_anything_was_found_changes_nothing(opened: Opened) -> None:
    from MSLFusionPanel.parameters import LambdaMode

    search(opened)
    opened.ui.findLambdaButton.click()
    finish(opened)
    assert opened.parameters.lam.mode is LambdaMode.NUMBER
    assert opened.parameters.lam.volume is None
    assert opened.ui.findLambdaButton.text == "Find lambda"


def test_the_map_before_can_be_chosen_again(opened: Opened, scene: Any) -> None:
    for _ in range(2):
        opened.ui.findLambdaButton.click()
        finish(opened)
    kind = "vtkMRMLScalarVolumeNode"
    nodes = [scene.GetNthNodeByClass(i, kind) for i in range(scene.GetNumberOfNodesByClass(kind))]
    found = [node for node in nodes if node.GetAttribute("MSLFusion.Objective")]
    assert len(found) == 2
    assert opened.parameters.lam.volume is found[1]
    opened.parameters.lam.volume = found[0]
    settle()
    assert opened.text("lambdaMessage") == ""


def test_one_slice_is_the_one_in_view(opened: Opened) -> None:
    from lambda_bench import show

    show("Red", opened.parameters.data.ct, 4)
    opened.ui.oneSliceCheckBox.checked = True
    settle()
    search(opened)
    request = opened.worker.last("optimize_lambda").header
    assert request["slices"] == [4, 4]
    assert request["start"] == 4


def test_a_failure_is_told_and_changes_nothing(opened: Opened) -> None:
    opened.worker.failures["optimize_lambda"] = "None of these slices shows enough of what counts."
    opened.ui.findLambdaButton.click()
    finish(opened)
    assert "enough of what counts" in opened.text("findLambdaMessage")
    assert opened.parameters.lam.volume is None
    assert opened.ui.applyButton.enabled


def test_without_volumes_it_cannot_be_pressed_but_without_a_lambda_it_can(opened: Opened) -> None:
    from MSLFusionPanel.parameters import LambdaMode

    opened.parameters.lam.mode = LambdaMode.VOLUME
    settle()
    assert not opened.ui.applyButton.enabled
    assert opened.ui.findLambdaButton.enabled
    opened.parameters.data.ct = None
    settle()
    assert not opened.ui.findLambdaButton.enabled
    assert opened.ui.findLambdaButton.toolTip


def test_a_closed_scene_ends_it(opened: Opened, scene: Any) -> None:
    search(opened)
    opened.worker.search_part(2, [1.0, 1.25])
    settle()
    scene.Clear(False)
    settle()
    assert opened.panel.task is None
    assert opened.parameters.lam.volume is None
    assert not opened.ui.lambdaCurveButton.enabled
