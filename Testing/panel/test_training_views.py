"""Curves and pictures of a training in the scene and the views, on the stand-ins."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_bench import Bench, until, use_fake
from turns import settle

from MSLFusionTrainingLib.logs import LATEST, VALIDATION, Logs
from MSLFusionTrainingLib.status import Status, write_status

KINDS = ("Table", "PlotChart", "PlotSeries", "ScalarVolume", "ScalarVolumeDisplay")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that was stopped after its second validation."""
    folder = tmp_path / "run"
    log(folder, 1, 20)
    (folder / "config.json").write_text(json.dumps({"pixel_mm": 2.0}))
    write_status(folder, Status("paused", 1, "", "", 0.0, 0.0, name="mine"))
    validate(folder, 10)
    validate(folder, 20)
    return folder


def log(folder: Path, first: int, last: int) -> None:
    logs = Logs(folder, first - 1)
    for iteration in range(first, last + 1):
        terms = {"loss": 1 / iteration, "reconstruction": 0.5 / iteration, "fusion": 0.0, "feature": float("nan")}
        logs.step(iteration, 1e-3, 0.1, terms)
    logs.close()


def validate(folder: Path, iteration: int) -> None:
    group = {"fbp": {"psnr": 20.0}, "network": {"psnr": 20.0 + iteration}, "gain_db": 10.0}
    mr = {"zero_filled": {"psnr": 15.0}, "network": {"psnr": 16.0 + iteration}, "gain_db": 10.0}
    with (folder / VALIDATION).open("a") as file:
        file.write(json.dumps({"iteration": iteration, "ct": group, "mr": mr}) + "\n")
    images = np.zeros((2, 3, 4, 6), np.float32)
    images[0, 1] = 0.32 * iteration / 20
    images[1, 2, 0, 0] = 1.0
    np.savez(folder / LATEST, iteration=iteration, roles=["ct", "mr"], images=images)


@pytest.fixture
def bench(slicer_app: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    use_fake(monkeypatch)
    panel = Bench()
    panel.open(folder)
    until(lambda: panel.run.state == "paused")
    settle()
    yield panel
    panel.close()


def count(scene: Any) -> list[int]:
    return [scene.GetNumberOfNodesByClass(f"vtkMRML{kind}Node") for kind in KINDS]


def columns(table: Any) -> dict[str, list[float]]:
    data = table.GetTable()
    found = [data.GetColumn(i) for i in range(data.GetNumberOfColumns())]
    return {column.GetName(): [column.GetValue(i) for i in range(column.GetNumberOfTuples())] for column in found}


def press(bench: Bench, name: str, done: Any) -> None:
    getattr(bench.ui, name).click()
    until(done)
    settle()


def test_nothing_comes_into_the_scene_unasked(bench: Bench, scene: Any) -> None:
    assert count(scene) == [0, 0, 0, 0, 0]
    assert bench.ui.curvesButton.enabled
    assert bench.ui.samplesButton.enabled


def test_curves(bench: Bench, scene: Any, folder: Path) -> None:
    press(bench, "curvesButton", lambda: count(scene)[1] == 2)
    loss, validation = (scene.GetNthNodeByClass(i, "vtkMRMLTableNode") for i in range(2))
    assert columns(loss) == {
        "iteration": list(range(1, 21)),
        "loss": [1 / i for i in range(1, 21)],
        "reconstruction": [0.5 / i for i in range(1, 21)],
    }  # what is zero or missing everywhere is no curve
    assert columns(validation) == {
        **{"iteration": [10, 20], "CT network": [30, 40], "CT FBP": [20, 20]},
        **{"MR network": [26, 36], "MR zero-filled": [15, 15]},
    }
    charts = [scene.GetNthNodeByClass(i, "vtkMRMLPlotChartNode") for i in range(2)]
    assert [chart.GetTitle() for chart in charts] == ["mine: loss", "mine: validation"]
    assert [chart.GetNumberOfPlotSeriesNodes() for chart in charts] == [2, 4]
    assert charts[0].GetYAxisLogScale()
    assert charts[0].GetXAxisRange() == charts[1].GetXAxisRange() == (0.0, 20.0)
    assert charts[1].GetYAxisRange() == pytest.approx((13.75, 41.25))
    kept = [scene.GetNthNodeByClass(i, f"vtkMRML{kind}Node") for kind in KINDS[:3] for i in range(2)]
    assert not any(node.GetSaveWithScene() for node in kept)
    before = count(scene)
    log(folder, 15, 30)  # cut back, and on
    validate(folder, 30)
    until(lambda: len(columns(loss)["loss"]) == 30)
    assert columns(validation)["iteration"] == [10, 30]  # 20 was cut off with the log
    assert count(scene) == before
    assert charts[0].GetXAxisRange() == (0.0, 30.0)


def test_who_has_zoomed_is_left_there_until_all_is_asked_for_again(bench: Bench, scene: Any, folder: Path) -> None:
    press(bench, "curvesButton", lambda: count(scene)[1] == 2)
    chart = scene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
    chart.SetXAxisRange(5.0, 8.0)
    log(folder, 15, 30)
    until(lambda: len(columns(scene.GetFirstNodeByClass("vtkMRMLTableNode"))["loss"]) == 30)
    assert chart.GetXAxisRange() == (5.0, 8.0)
    log(folder, 25, 40)
    press(bench, "curvesButton", lambda: chart.GetXAxisRange() == (0.0, 40.0))


def test_the_chart_of_the_validation_is_shown_once_there_is_something_in_it(
    bench: Bench, scene: Any, folder: Path
) -> None:
    import slicer

    (folder / VALIDATION).rename(folder / "later")
    press(bench, "curvesButton", lambda: count(scene)[1] == 2)
    alone = slicer.app.layoutManager().layout
    (folder / "later").rename(folder / VALIDATION)
    until(lambda: slicer.app.layoutManager().layout == alone + 1)


def test_pictures(bench: Bench, scene: Any, folder: Path) -> None:
    import slicer

    press(bench, "samplesButton", lambda: count(scene)[3] == 6)
    nodes = [scene.GetNthNodeByClass(i, "vtkMRMLScalarVolumeNode") for i in range(6)]
    assert [node.GetName() for node in nodes] == [
        f"{role} {kind} 20" for role in ("CT", "MR") for kind in ("sensor", "network", "truth")
    ]
    assert nodes[0].GetSpacing() == (2.0, 2.0, 2.0)
    assert float(slicer.util.arrayFromVolume(nodes[1]).max()) == pytest.approx(0.0, abs=0.1)  # 0.32 is water
    assert float(slicer.util.arrayFromVolume(nodes[5]).max()) == 1.0
    corner = np.array(nodes[5].GetOrigin()) + 0
    assert corner[:2] == pytest.approx([5.0, 3.0])  # the first pixel is right and front of the head
    assert not any(node.GetSaveWithScene() for node in nodes)
    names = [composite_of(scene, f"Training{kind}{row}") for row in (1, 2) for kind in ("Sensor", "Network", "Truth")]
    assert names == [node.GetName() for node in nodes]
    before = count(scene)
    validate(folder, 30)
    until(lambda: nodes[0].GetName() == "CT sensor 30")
    assert count(scene) == before


def composite_of(scene: Any, tag: str) -> str:
    composite = scene.GetSingletonNode(tag, "vtkMRMLSliceCompositeNode")
    return scene.GetNodeByID(composite.GetBackgroundVolumeID()).GetName()


def test_with_the_scene_they_go_and_stay_away(bench: Bench, scene: Any, folder: Path) -> None:
    import slicer

    from MSLFusionTrainingPanel import layouts

    press(bench, "curvesButton", lambda: count(scene)[1] == 2)
    press(bench, "samplesButton", lambda: count(scene)[3] == 6)
    assert layouts.shown()
    scene.Clear(False)
    settle()
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    validate(folder, 30)
    until(lambda: bench.run.state == "paused")
    settle()
    assert count(scene) == [0, 0, 0, 0, 0]
    press(bench, "curvesButton", lambda: count(scene)[1] == 2)


def test_removed_by_hand_they_do_not_come_back(bench: Bench, scene: Any, folder: Path) -> None:
    press(bench, "curvesButton", lambda: count(scene)[1] == 2)
    scene.RemoveNode(scene.GetFirstNodeByClass("vtkMRMLPlotChartNode"))
    log(folder, 15, 30)
    bench.run.tick()
    until(lambda: not bench.run.display.curves)
    press(bench, "curvesButton", lambda: count(scene)[:3] == [2, 2, 6])


def test_the_panel_takes_them_along_when_it_ends(bench: Bench, scene: Any) -> None:
    press(bench, "curvesButton", lambda: count(scene)[1] == 2)
    press(bench, "samplesButton", lambda: count(scene)[3] == 6)
    bench.panel.cleanup()
    settle()
    assert count(scene) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("spoilt", [b"", b"PK\x03\x04nonsense", None])
def test_a_damaged_picture_is_no_picture(spoilt: bytes | None, bench: Bench, scene: Any, folder: Path) -> None:
    if spoilt is None:
        np.savez(folder / LATEST, iteration=1, roles=["ct"], images=np.zeros((2, 2)))
    else:
        (folder / LATEST).write_bytes(spoilt)
    press(bench, "samplesButton", lambda: bench.run._watcher.waits_s == 0)
    press(bench, "curvesButton", lambda: count(scene)[1] == 2)  # and everything else works
    assert count(scene)[3] == 0


def test_another_run_takes_their_place(bench: Bench, scene: Any, folder: Path, tmp_path: Path) -> None:
    from MSLFusionTrainingPanel import layouts

    press(bench, "curvesButton", lambda: count(scene)[1] == 2)
    press(bench, "samplesButton", lambda: count(scene)[3] == 6)
    bench.open(tmp_path / "other")
    until(lambda: not layouts.shown())
    assert count(scene)[3] == 0
    bench.open(folder)
    until(lambda: count(scene)[3] == 6 and layouts.shown())
    assert count(scene)[:3] == [2, 2, 6]
