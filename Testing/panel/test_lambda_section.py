"""Section 5: lambda as a number, painted, or a volume; the maps made of them."""

from collections.abc import Iterator
from typing import Any

import bare_qt  # noqa: F401 - first
import numpy as np
import pytest
import SimpleITK as sitk
from lambda_bench import Bench, grid_image, paint
from turns import settle

from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.lambdas import LambdaSegment, lambda_map_from_segments
from MSLFusionLib.scene import segmentations, volumes


@pytest.fixture
def bench(slicer_app: Any) -> Iterator[Bench]:
    opened = Bench()
    yield opened
    opened.close()


def made(steps: Any) -> Any:
    """What a generator of steps gives, and how often it let the application live."""
    turns = 0
    while True:
        try:
            next(steps)
            turns += 1
        except StopIteration as end:
            return end.value, turns


def mode(bench: Bench, name: str) -> None:
    from MSLFusionPanel.parameters import LambdaMode

    bench.parameters.lam.mode = LambdaMode[name]
    settle()


def painted(bench: Bench, ct: Any) -> Any:
    """Two feathered segments that overlap, made with the panel and painted on the CT's grid."""
    mode(bench, "PAINTED")
    bench.ui.addSegmentButton.click()
    bench.ui.addSegmentButton.click()
    node = bench.parameters.lam.segmentation
    first, second = segmentations.segment_ids(node)
    segmentations.tag_segment(node, first, 1.0, 4.0)
    segmentations.tag_segment(node, second, 0.3, 2.5)
    paint(node, first, (slice(2, 7), slice(2, 9), slice(3, 10)), ct)
    paint(node, second, (slice(4, 9), slice(5, 11), slice(1, 7)), ct)
    settle()
    return node


def test_a_number_is_always_fine(bench, panel_image):
    bench.load()
    assert bench.text("lambdaMessage") == ""
    assert bench.ui.numberFrame.visible
    assert not bench.ui.paintFrame.visible
    assert not bench.ui.volumeFrame.visible
    bench.ui.lambdaSlider.value = 0.25
    assert bench.parameters.lam.value == 0.25
    panel_image(bench.area, "lambda number")


def test_each_mode_shows_its_frame(bench):
    for name, frame in (("PAINTED", "paintFrame"), ("VOLUME", "volumeFrame"), ("NUMBER", "numberFrame")):
        mode(bench, name)
        shown = [f for f in ("numberFrame", "paintFrame", "volumeFrame") if getattr(bench.ui, f).visible]
        assert shown == [frame]


def test_planes_and_slabs_are_parts_of_the_map_of_the_whole_volume(bench):
    from MSLFusionPanel.lambdamap import lambda_plane, map_steps, result_grid

    ct, _mr = bench.load()
    node = painted(bench, ct)
    bench.parameters.lam.background = 0.1
    image = volumes.image_from_node(ct)
    segments = [LambdaSegment(*one) for one in segmentations.painted_segments(node, image)]
    whole = lambda_map_from_segments(segments, 0.1, VolumeGeometry.of(image)).volume
    grid = result_grid(bench.parameters)
    for axis in range(3):
        volume, turns = made(map_steps(bench.parameters, grid, axis))
        assert turns > 1
        np.testing.assert_array_equal(volume, whole)
        for index in range(whole.shape[axis]):
            plane = lambda_plane(bench.parameters, grid, axis, index)
            np.testing.assert_array_equal(plane, whole.take(index, axis))


def test_a_segmentation_on_another_grid_and_under_a_transform(bench):
    """Planes are those of the whole map there too."""
    import slicer

    from MSLFusionPanel.lambdamap import lambda_plane, map_steps, result_grid

    ct, _mr = bench.load()
    fine = grid_image(0.0, (30, 26, 20))
    fine.SetSpacing((0.4, 0.6, 0.9))
    node = painted(bench, volumes.node_from_image(slicer.mrmlScene, fine, "Fine"))
    parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Shift")
    node.SetAndObserveTransformNodeID(parent.GetID())
    image = volumes.image_from_node(ct)
    segments = [LambdaSegment(*one) for one in segmentations.painted_segments(node, image)]
    whole = lambda_map_from_segments(segments, 0.0, VolumeGeometry.of(image)).volume
    assert np.ptp(whole) > 0.5
    grid = result_grid(bench.parameters)
    np.testing.assert_array_equal(made(map_steps(bench.parameters, grid, 0))[0], whole)
    np.testing.assert_array_equal(lambda_plane(bench.parameters, grid, 0, 4), whole[4])


def test_what_is_painted_beside_the_ct_is_found_once(bench):
    import slicer

    from MSLFusionLib.errors import InputError
    from MSLFusionPanel.lambdamap import map_steps, result_grid

    bench.load()
    far = grid_image()
    far.SetOrigin((500.0, 500.0, 500.0))
    painted(bench, volumes.node_from_image(slicer.mrmlScene, far, "Far"))
    assert bench.text("lambdaMessage") == ""
    with pytest.raises(InputError, match="inside the CT"):
        made(map_steps(bench.parameters, result_grid(bench.parameters), 0))


def test_a_number_needs_no_map(bench):
    from MSLFusionPanel.lambdamap import lambda_plane, map_steps

    bench.parameters.lam.value = 0.7
    assert made(map_steps(bench.parameters, None, 0)) == (0.7, 0)
    assert lambda_plane(bench.parameters, None, 0, 3) == 0.7


def lambda_volume(image: sitk.Image) -> Any:
    import slicer

    return volumes.node_from_image(slicer.mrmlScene, image, "Lambdas")


def test_a_volume_of_lambdas_on_any_grid(bench):
    """Lambda grows along z in mm; the planes are those of the whole map."""
    from MSLFusionLib.recon import lambdas
    from MSLFusionPanel.lambdamap import lambda_plane, map_steps, result_grid

    ct, _mr = bench.load()
    array = np.broadcast_to(np.linspace(0, 1, 40, dtype=np.float32)[:, None, None], (40, 30, 30))
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetOrigin((-12.0, -12.0, -10.0))
    mode(bench, "VOLUME")
    assert "Choose a volume" in bench.text("lambdaMessage")
    bench.parameters.lam.volume = lambda_volume(image)
    settle()
    assert bench.text("lambdaMessage") == ""
    grid = result_grid(bench.parameters)
    whole = lambdas.lambda_volume(image, VolumeGeometry.of(volumes.image_from_node(ct))).volume
    for axis in range(3):
        np.testing.assert_allclose(made(map_steps(bench.parameters, grid, axis))[0], whole, atol=1e-6)
        np.testing.assert_allclose(lambda_plane(bench.parameters, grid, axis, 3), whole.take(3, axis), atol=1e-6)


@pytest.mark.parametrize(
    ("value", "words"),
    [(1.5, "0.2 to 1.5"), (-0.5, "-0.5 to"), (np.nan, "not numbers"), (np.inf, "not numbers")],
)
def test_a_volume_with_other_values_is_refused_until_it_is_mended(bench, value, words):
    import slicer

    bench.load()
    mode(bench, "VOLUME")
    node = lambda_volume(grid_image(0.2))
    bench.parameters.lam.volume = node
    slicer.util.arrayFromVolume(node)[1, 2, 3] = value
    slicer.util.arrayFromVolumeModified(node)
    settle()
    assert words in bench.text("lambdaMessage")
    assert bench.messages.errors() == [bench.text("lambdaMessage")]
    slicer.util.arrayFromVolume(node)[1, 2, 3] = 0.3
    slicer.util.arrayFromVolumeModified(node)
    settle()
    assert bench.text("lambdaMessage") == ""


def test_a_volume_that_does_not_cover_the_ct_is_refused(bench):
    bench.load()
    mode(bench, "VOLUME")
    image = grid_image(0.2)
    image.SetOrigin((0.0, 0.0, 0.0))
    bench.parameters.lam.volume = lambda_volume(image)
    settle()
    assert "does not cover the CT" in bench.text("lambdaMessage")


def test_the_hybrid_cannot_be_its_own_lambda(bench):
    bench.load()
    mode(bench, "VOLUME")
    node = lambda_volume(grid_image(0.2))
    bench.parameters.lam.volume = bench.parameters.output.hybrid = node
    settle()
    assert "made from lambda itself" in bench.text("lambdaMessage")


def test_the_state_of_lambda_changes_with_everything_that_counts(bench):
    from MSLFusionPanel.lambdamap import lambda_state

    ct, _mr = bench.load()
    seen = [lambda_state(bench.parameters)]

    def changes() -> bool:
        seen.append(lambda_state(bench.parameters))
        return seen[-1] != seen[-2]

    bench.parameters.lam.value = 0.8
    assert changes()
    node = painted(bench, ct)
    assert changes()
    first, second = segmentations.segment_ids(node)
    paint(node, first, (slice(0, 2), slice(0, 2), slice(0, 2)), ct)
    assert changes()
    segmentations.tag_segment(node, second, 0.4, 2.5)
    assert changes()
    segmentations.tag_segment(node, second, 0.4, 3.5)
    assert changes()
    segmentations.move_segment(node, second, -1)
    assert changes()
    bench.parameters.lam.background = 0.2
    assert changes()
    node.GetSegmentation().GetSegment(first).SetName("Another name")
    node.GetSegmentation().GetSegment(first).SetColor(0.1, 0.2, 0.3)
    assert not changes()


def test_another_scene(bench):
    ct, _mr = bench.load()
    painted(bench, ct)
    bench.close_scene()
    assert bench.parameters.lam.segmentation is None
    assert bench.text("lambdaMessage") == ""
    mode(bench, "PAINTED")
    assert "press Add" in bench.text("lambdaMessage")
    assert bench.ui.segmentsTable.rowCount == 0
