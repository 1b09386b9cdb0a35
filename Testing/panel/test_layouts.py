"""Arrangements of the views on Slicer's own layout logic."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from turns import settle


@pytest.fixture
def volumes(slicer_app: Any) -> list[Any]:
    import slicer

    from MSLFusionLib.scene.volumes import vtk_image

    nodes = []
    for name in ("CT", "MR", "hybrid"):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetAndObserveImageData(vtk_image(np.zeros((6, 20, 30), np.float32)))
        nodes.append(node)
    return nodes


def background(view: str) -> str | None:
    import slicer

    return slicer.mrmlScene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode").GetBackgroundVolumeID()


def layout() -> Any:
    import slicer

    return slicer.app.layoutManager().layoutLogic().GetLayoutNode()


def visible() -> list[str]:
    """The views of the present arrangement."""
    import slicer

    views = slicer.app.layoutManager().layoutLogic().GetViewNodes()
    return [views.GetItemAsObject(i).GetSingletonTag() for i in range(views.GetNumberOfItems())]


def test_what_there_is_stands_side_by_side(volumes: list[Any]) -> None:
    from MSLFusionPanel import layouts

    ct, mr, hybrid = volumes
    layouts.side_by_side(ct, mr, hybrid)
    settle()
    assert visible() == ["Red", "Green", "Yellow"]
    assert [background(view) for view in visible()] == [node.GetID() for node in volumes]
    layouts.side_by_side(ct, mr, None)
    settle()
    assert visible() == ["Red", "Green"]
    layouts.side_by_side(None, mr, hybrid)
    settle()
    assert visible() == ["Green", "Yellow"]
    arrangement = layout().GetViewArrangement()
    layouts.side_by_side(None, None, None)
    assert layout().GetViewArrangement() == arrangement
    layouts.hybrid_large(hybrid)
    settle()
    assert visible() == ["Yellow"]
    assert background("Yellow") == hybrid.GetID()


def test_a_volume_that_vanishes_meanwhile_does_no_harm(volumes: list[Any]) -> None:
    import slicer

    from MSLFusionPanel import layouts

    layouts.side_by_side(*volumes)
    slicer.mrmlScene.RemoveNode(volumes[1])
    settle()
    assert background("Red") == volumes[0].GetID()


def test_tables_and_charts_stand_below_the_slices(volumes: list[Any]) -> None:
    import slicer

    from MSLFusionPanel import layouts

    layouts.side_by_side(*volumes)
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    layouts.show_table(table)
    settle()
    assert visible() == ["Red", "Green", "Yellow", "TableView1"]
    assert slicer.mrmlScene.GetSingletonNode("TableView1", "vtkMRMLTableViewNode").GetTableNode() is table
    charts = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode") for _metric in range(4)]
    layouts.show_plots(charts)
    settle()
    plots = ["PlotView1", "PlotView2", "PlotView3", "PlotView4"]
    assert visible() == ["Red", "Green", "Yellow", *plots]
    views = [slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLPlotViewNode") for name in plots]
    assert [view.GetPlotChartNode() for view in views] == charts
    assert background("Yellow") == volumes[2].GetID()


def test_registering_twice_keeps_what_is_there_and_needs_no_window(
    slicer_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MSLFusionPanel import layouts

    layouts.register()
    known = layout().GetLayoutDescription(layouts._FIRST + 7)
    layouts.register()
    assert layout().GetLayoutDescription(layouts._FIRST + 7) == known
    assert known.count("<view") == 3
    without_window = SimpleNamespace(app=SimpleNamespace(layoutManager=lambda: None))
    monkeypatch.setattr(layouts, "slicer", without_window)
    layouts.register()
