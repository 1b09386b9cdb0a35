"""Trust maps in the panel: made by Apply, in the run's folder, over the slices, with their figures and a warning."""

import json
from typing import Any

import numpy as np
import pytest
from opened import Opened
from turns import settle

KINDS = ("uncertainty-ct", "uncertainty-mr", "residual-ct", "residual-mr")


def maps_of(hybrid: Any) -> dict[str, Any]:
    from MSLFusionPanel import trust

    return trust.maps_of(hybrid)


@pytest.fixture
def opened(scene: Any) -> Any:
    panel = Opened()
    yield panel
    panel.close()


@pytest.fixture
def ready(opened: Opened) -> Opened:
    """With a pair of volumes and trust maps wanted."""
    opened.load_volumes()
    opened.parameters.output.trust = True
    opened.parameters.output.metrics = False
    settle()
    return opened


def apply(opened: Opened) -> Any:
    opened.ui.applyButton.click()
    settle()
    return opened.parameters.output.hybrid


def entries(opened: Opened) -> list[str]:
    selector = opened.ui.trustOverlaySelector
    return [selector.itemText(i) for i in range(selector.count)]


def choose(opened: Opened, text: str) -> None:
    opened.ui.trustOverlaySelector.setCurrentIndex(entries(opened).index(text))
    settle()


def test_without_the_box_there_are_no_maps(ready: Opened) -> None:
    ready.parameters.output.trust = False
    settle()
    hybrid = apply(ready)
    assert "trust" not in ready.worker.kinds()
    assert maps_of(hybrid) == {}
    assert not ready.ui.trustOverlaySelector.enabled
    assert not ready.ui.trustPassesSpinBox.enabled
    assert not ready.ui.trustInfo.text


def test_maps_lie_in_the_runs_folder_in_their_colours(ready: Opened) -> None:
    import slicer

    from MSLFusionLib.scene import hierarchy

    ready.parameters.output.trustPasses = 6
    hybrid = apply(ready)
    assert ready.worker.last("trust").header["passes"] == 6
    maps = maps_of(hybrid)
    assert tuple(maps) == KINDS
    folder = hierarchy.place_of(slicer.mrmlScene, hybrid)
    for kind, node in maps.items():
        assert hierarchy.place_of(slicer.mrmlScene, node) == folder
        assert slicer.util.arrayFromVolume(node).max() == pytest.approx(0.2)
        display = node.GetDisplayNode()
        assert display.GetColorNode().GetName() == "MSLFusion trust"
        assert 0.15 < display.GetWindowLevelMax() <= 0.2
        assert node.GetName() == f"{kind.split('-')[0].capitalize()} {kind.split('-')[1].upper()}"
        assert display.GetApplyThreshold()
        assert 0.0 < display.GetLowerThreshold() < 0.05
        assert display.GetUpperThreshold() >= 0.2
    told = ready.ui.trustInfo.text
    assert "CT: error of 0.100 to expect" in told
    assert "residual 3.0 %, 0.1 % as delivered" in told
    parameters = hierarchy.run_parameters(slicer.mrmlScene, folder)
    assert json.loads(parameters["trust"])["passes"] == 6


def test_a_map_goes_over_the_slices_and_away_again(ready: Opened) -> None:
    from MSLFusionPanel import slices

    hybrid = apply(ready)
    assert entries(ready) == ["Nothing", "Uncertainty CT", "Uncertainty MR", "Residual CT", "Residual MR"]
    views = [view for view in slices.views() if view.composite.GetBackgroundVolumeID() == hybrid.GetID()]
    assert views
    before = [(view.composite.GetForegroundVolumeID(), view.composite.GetForegroundOpacity()) for view in views]
    for text, kind in (("Uncertainty MR", "uncertainty-mr"), ("Residual CT", "residual-ct")):
        choose(ready, text)
        for view in views:
            assert view.composite.GetForegroundVolumeID() == maps_of(hybrid)[kind].GetID()
            assert view.composite.GetForegroundOpacity() == pytest.approx(0.6)
    views[0].composite.SetForegroundOpacity(0.3)
    ready.panel.update()
    assert views[0].composite.GetForegroundOpacity() == pytest.approx(0.3)  # the user's own choice
    choose(ready, "Nothing")
    after = [(view.composite.GetForegroundVolumeID(), view.composite.GetForegroundOpacity()) for view in views]
    assert after == before


def test_lambda_map_and_trust_map_take_turns(ready: Opened) -> None:
    apply(ready)
    choose(ready, "Uncertainty CT")
    ready.parameters.lam.overlay = True
    settle()
    assert ready.ui.trustOverlaySelector.currentIndex == 0
    choose(ready, "Residual MR")
    assert not ready.parameters.lam.overlay
    assert ready.ui.trustOverlaySelector.currentIndex == 4


def test_another_lambda_keeps_the_maps_and_other_data_remove_them(ready: Opened) -> None:
    import slicer

    hybrid = apply(ready)
    first = maps_of(hybrid)
    ready.parameters.lam.value = 0.9
    settle()
    assert apply(ready) is hybrid
    assert ready.worker.kinds().count("trust") == 1
    assert maps_of(hybrid) == first
    ready.parameters.sensors.seed = 5
    settle()
    apply(ready)
    assert ready.worker.kinds().count("trust") == 2
    assert maps_of(hybrid) == first  # the same nodes, filled anew
    ready.parameters.sensors.seed = 6
    ready.parameters.output.trust = False
    settle()
    apply(ready)
    assert maps_of(hybrid) == {}
    assert not any(slicer.mrmlScene.IsNodePresent(node) for node in first.values())
    assert not ready.ui.trustInfo.text


@pytest.mark.parametrize(("used", "absent"), [("CT", "MR"), ("MR", "CT")])
def test_a_synthesised_modality_has_no_residual_and_says_so(ready: Opened, used: str, absent: str) -> None:
    from MSLFusionPanel.parameters import Modalities

    ready.parameters.sensors.modalities = Modalities[used]
    settle()
    apply(ready)
    assert set(entries(ready)[1:]) == {f"Uncertainty {used}", f"Uncertainty {absent} (synthesised)", f"Residual {used}"}
    assert f"{absent}: error of 0.100 to expect on average, 95 % below 0.190; synthesised." in (ready.ui.trustInfo.text)


def test_a_foreign_input_is_warned_of(ready: Opened) -> None:
    sentence = "The input does not look like what the model was trained on."
    ready.worker.familiarity = {"score": 2.5, "unfamiliar": True, "sentence": sentence}
    ready.parameters.output.trust = False
    settle()
    hybrid = apply(ready)
    assert ready.text("trustMessage") == sentence
    assert ready.kind("trustMessage") == "warning"
    assert ready.ui.applyButton.enabled
    ready.worker.familiarity = {"score": 0.5, "unfamiliar": False, "sentence": "It looks familiar."}
    ready.parameters.sensors.seed = 7
    settle()
    assert apply(ready) is hybrid
    assert not ready.text("trustMessage")


def test_cancel_leaves_the_scene_as_it_was(ready: Opened) -> None:
    import slicer

    ready.worker.held = {"trust"}
    ready.ui.applyButton.click()
    settle()
    assert ready.worker.waiting() == ["trust"]
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    ready.worker.progress("trust maps", 1, 6)
    settle()
    assert "Reconstructing from parts of the data" in ready.text("progressInfo")
    ready.ui.applyButton.click()
    settle()
    assert ready.parameters.output.hybrid is None
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


def test_a_failure_is_told(ready: Opened) -> None:
    ready.worker.failures["trust"] = "A single slice does not fit the memory of the CPU."
    assert apply(ready) is None
    assert "does not fit" in ready.text("applyMessage")


def test_removed_maps_and_a_closed_scene_leave_nothing_behind(ready: Opened) -> None:
    import slicer

    hybrid = apply(ready)
    choose(ready, "Uncertainty CT")
    slicer.mrmlScene.RemoveNode(maps_of(hybrid)["uncertainty-ct"])
    settle()
    assert entries(ready) == ["Nothing", "Uncertainty MR", "Residual CT", "Residual MR"]
    assert ready.ui.trustOverlaySelector.currentIndex == 0
    slicer.mrmlScene.Clear(0)
    settle()
    assert not ready.ui.trustInfo.text
    assert entries(ready) == ["Nothing"]


def test_a_saved_scene_knows_its_maps(ready: Opened, tmp_path) -> None:
    import slicer

    apply(ready)
    choose(ready, "Residual CT")
    told = ready.ui.trustInfo.text
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    for node in maps_of(ready.parameters.output.hybrid).values():
        node.SetAndObserveStorageNodeID(None)
    xml = tmp_path / "scene.mrml"
    assert slicer.mrmlScene.Commit(str(xml))
    text = xml.read_text()
    assert "MSLFusion.TrustShown" in text
    assert "MSLFusion.TrustFigures" in text
    assert "to expect" in told


def test_figures_that_are_none_say_nothing(opened: Opened) -> None:
    from MSLFusionPanel.trust import summary

    assert summary({}) == ""
    spread = {"uncertainty": {"ct": {"mean": 0.01, "p95": 0.02}}, "residual": {"ct": {"network": np.float64(0.5)}}}
    assert summary(spread) == "CT: spread 0.010 on average, 95 % below 0.020; residual 50.0 %, " + (
        "0.0 % as delivered."
    )


def test_a_damaged_attribute_is_no_obstacle(ready: Opened) -> None:
    hybrid = apply(ready)
    for text in ("[1]", "{", '{"uncertainty": 3}'):
        hybrid.SetAttribute("MSLFusion.TrustFigures", text)
        ready.panel.update()
        assert not ready.ui.trustInfo.text
