"""A run as a scene: sweep, table, plots, folder, views; saved as .mrb and opened again with everything in it."""

import json
import resource
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import vtk
from scene_images import oblique_image

from MSLFusionLib.errors import InputError, JobError
from MSLFusionLib.scene import (
    available,
    bootstrap,
    bundle,
    colors,
    hierarchy,
    run_scene,
    segmentations,
    sequences,
    tables,
    volumes,
)
from MSLFusionLib.scene.transforms import node_from_transform

LAMBDAS = (0.0, 0.25, 0.5, 1.0)
ROWS = [
    {"lambda": lam, "psnr_ct": 30.0 - lam, "psnr_mr": 20.0 + lam, "ssim_ct": 0.9, "note": f"row {lam}"}
    for lam in LAMBDAS
]


def _arrays_equal(node: Any, image: sitk.Image) -> None:
    back = volumes.image_from_node(node, in_world=False)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(image))
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(back, get)(), getattr(image, get)(), atol=1e-6)


def test_a_sweep_takes_volumes_in_any_order_and_shows_the_chosen_one(scene: Any) -> None:
    sweep = sequences.LambdaSweep(scene, "Hybrid")
    images = {lam: oblique_image(seed=index) for index, lam in enumerate(LAMBDAS)}
    sweep.add_all([(lam, images[lam]) for lam in (0.5, 0.0, 1.0, 0.25)])
    assert sequences.lambdas_of(sweep.sequence) == list(LAMBDAS)
    assert sweep.browser.GetProxyNode(sweep.sequence) is sweep.proxy
    for lam in LAMBDAS:
        sweep.select(lam)
        _arrays_equal(sweep.proxy, images[lam])
    sweep.select(0.3)
    _arrays_equal(sweep.proxy, images[0.25])
    assert sweep.proxy.GetName() == "Hybrid"
    assert sweep.proxy.GetDisplayNode().GetWindow() == pytest.approx(1.0)
    assert sweep.proxy.GetDisplayNode().GetLevel() == pytest.approx(0.5)


def test_the_same_lambda_again_replaces_its_volume(scene: Any) -> None:
    sweep = sequences.LambdaSweep(scene, "Hybrid")
    sweep.add(0.5, oblique_image(seed=1))
    sweep.add(0.5, oblique_image(seed=2))
    assert sequences.lambdas_of(sweep.sequence) == [0.5]
    _arrays_equal(sweep.proxy, oblique_image(seed=2))


def test_a_sweep_lies_on_one_grid(scene: Any) -> None:
    sweep = sequences.LambdaSweep(scene, "Hybrid")
    sweep.add(0.0, oblique_image())
    moved = oblique_image()
    moved.SetOrigin((0.0, 0.0, 0.0))
    for other in (oblique_image((9, 8, 6)), moved, sitk.Cast(oblique_image(), sitk.sitkInt16)):
        with pytest.raises(ValueError, match="one grid"):
            sweep.add(1.0, other)
    assert sequences.lambdas_of(sweep.sequence) == [0.0]


def test_lambdas_are_written_shortly() -> None:
    assert [sequences.index_value(lam) for lam in (0, 0.25, 1 / 3, 1.0)] == ["0", "0.25", "0.3333", "1"]


def test_numbers_make_numeric_columns_and_charts_by_metric(scene: Any) -> None:
    rows = [*ROWS, {"lambda": None, "psnr_ct": 25.0, "note": "painted"}]
    node = tables.metrics_table(scene, rows, "Metrics")
    table = node.GetTable()
    assert [table.GetColumnName(i) for i in range(table.GetNumberOfColumns())] == list(ROWS[0])
    assert table.GetValueByName(1, "psnr_mr").ToDouble() == 20.25
    assert np.isnan(table.GetValueByName(4, "lambda").ToDouble())
    assert table.GetValueByName(4, "note").ToString() == "painted"
    charts = tables.plots_over_lambda(scene, node, "Metrics")
    assert [chart.GetTitle() for chart in charts] == ["PSNR over lambda", "SSIM over lambda"]
    psnr = tables.series_of(charts[0])
    assert [(one.GetName(), one.GetYColumnName()) for one in psnr] == [("CT", "psnr_ct"), ("MR", "psnr_mr")]
    assert all(one.GetTableNode() is node and one.GetXColumnName() == "lambda" for one in psnr)


def test_without_lambda_nothing_is_plotted(scene: Any) -> None:
    node = tables.metrics_table(scene, [{"image": "FBP", "psnr": 20.0}], "Metrics")
    assert tables.plots_over_lambda(scene, node, "Metrics") == []


def test_the_lambda_colours_are_one_table_from_blue_to_orange(scene: Any) -> None:
    table = colors.lambda_colors(scene)
    assert colors.lambda_colors(scene) is table
    ct, mr = [0.0] * 4, [0.0] * 4
    table.GetColor(0, ct)
    table.GetColor(table.GetNumberOfColors() - 1, mr)
    half_a_step = 0.5 / 255  # the table holds 8-bit colours
    np.testing.assert_allclose(ct[:3], colors.lambda_rgb(0.0), atol=half_a_step)
    np.testing.assert_allclose(mr[:3], colors.lambda_rgb(1.0), atol=half_a_step)
    assert ct[2] > ct[0]
    assert mr[0] > mr[2]
    assert table.GetColorName(0) == "0.000"


def test_windows_fit_the_kind_of_volume(scene: Any) -> None:
    image = oblique_image() * 900 + 100
    node = volumes.node_from_image(scene, image, "MR")
    colors.show_as(node, colors.Display.MR, image)
    display = node.GetDisplayNode()
    values = sitk.GetArrayFromImage(image)
    assert display.GetWindowLevelMin() == pytest.approx(values.min(), abs=1)
    assert display.GetWindowLevelMax() == pytest.approx(np.percentile(values, 99.5), abs=5)
    assert not display.GetAutoWindowLevel()
    colors.show_as(node, colors.Display.CT)
    assert (display.GetWindow(), display.GetLevel()) == (350.0, 40.0)
    colors.show_as(node, colors.Display.LAMBDA)
    assert display.GetColorNode() is colors.lambda_colors(scene)
    legend = colors.add_lambda_legend(node)
    assert legend.GetTitleText() == "lambda"
    assert legend.GetPrimaryDisplayNode() is display
    assert colors.lambda_legend(node) is legend
    constant = sitk.Image([3, 3, 3], sitk.sitkFloat32)
    colors.show_as(node, colors.Display.MR, constant)
    assert display.GetWindow() == 1.0


def test_a_folder_holds_a_run(scene: Any) -> None:
    first = volumes.node_from_image(scene, oblique_image(), "CT")
    second = volumes.node_from_image(scene, oblique_image(), "MR")
    tree = scene.GetSubjectHierarchyNode()
    tree.CreateItem(tree.GetSceneItemID(), first)
    parameters = {"views": 64, "preset": "msl", "mask": {"kind": "random"}, "none": None}
    folder = hierarchy.run_folder(scene, "Run", parameters)
    hierarchy.move_into(scene, folder, [first, second])
    assert [tree.GetItemParent(tree.GetItemByDataNode(node)) for node in (first, second)] == [folder, folder]
    assert tree.GetNumberOfItemChildren(folder) == 2
    read = hierarchy.run_parameters(scene, folder)
    assert read == {"views": "64", "preset": "msl", "mask": '{"kind": "random"}', "none": "null"}
    again = hierarchy.run_folder(scene, "Run", {})
    assert tree.GetItemName(again) != tree.GetItemName(folder)


def _run(path: Path) -> tuple[Path, dict[str, Any]]:
    """A whole run saved at `path`, and what went into it."""
    ct = oblique_image((20, 16, 10)) * 2000 - 1000
    mask = ct > 500
    turn = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, 0.2, -0.1, (4.0, 5.0, -6.0))
    parts: dict[str, Any] = {
        "ct": ct,
        "mr_registered": oblique_image((20, 16, 10), seed=1) * 300,
        "hybrids": [(lam, oblique_image((20, 16, 10), seed=10 + i)) for i, lam in enumerate(LAMBDAS)],
        "painted": run_scene.Painted(
            [(mask, 0.25, 3.0), segmentations.PaintedSegment(ct > 0, 0.9, 0.0, "tumour")],
            oblique_image((20, 16, 10), seed=2),
            oblique_image((20, 16, 10), seed=3),
        ),
        "transform": turn,
        "sensor_images": {"Sparse CT": oblique_image((20, 16, 10), seed=4)},
        "metrics_rows": ROWS,
        "parameters": {"views": 64, "model": "msl-ct-t1"},
    }
    return run_scene.build_run_scene(path, **parts, name="Test run"), parts


def test_a_saved_run_opens_again_with_everything(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, parts = _run(tmp_path / "run.mrb")
    assert [file.name for file in tmp_path.iterdir()] == ["run.mrb"]
    with bootstrap.application() as scene:
        bundle.load_bundle(scene, path)

        for name, image in (
            ("CT", parts["ct"]),
            ("MR on CT grid", parts["mr_registered"]),
            ("Painted hybrid", parts["painted"].hybrid),
            ("Lambda map", parts["painted"].lambda_map),
            ("Sparse CT", parts["sensor_images"]["Sparse CT"]),
        ):
            _arrays_equal(scene.GetFirstNodeByName(name), image)
        assert scene.GetFirstNodeByName("CT").GetDisplayNode().GetWindow() == 350.0

        sequence = scene.GetFirstNodeByClass("vtkMRMLSequenceNode")
        browser = scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
        assert sequences.lambdas_of(sequence) == list(LAMBDAS)
        assert sequence.GetIndexName() == "lambda"
        proxy = browser.GetProxyNode(sequence)
        assert browser.GetMasterSequenceNode() is sequence
        for index, (_lam, image) in enumerate(parts["hybrids"]):
            browser.SetSelectedItemNumber(index)
            bootstrap.module_logic(scene, "Sequences").UpdateProxyNodesFromSequences(browser)
            _arrays_equal(proxy, image)

        painted = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        segments = segmentations.painted_segments(painted, parts["ct"])
        assert [(one.lam, one.feather_mm, one.name) for one in segments] == [
            (0.25, 3.0, "lambda 0.25"),
            (0.9, 0.0, "tumour"),
        ]
        for one, mask in zip(segments, (parts["ct"] > 500, parts["ct"] > 0), strict=True):
            np.testing.assert_array_equal(sitk.GetArrayFromImage(one.mask), sitk.GetArrayFromImage(mask))

        table = scene.GetFirstNodeByClass("vtkMRMLTableNode").GetTable()
        assert table.GetNumberOfRows() == len(ROWS)
        assert table.GetColumnByName("psnr_mr").IsNumeric()
        assert table.GetValueByName(1, "psnr_mr").ToDouble() == 20.25
        charts = scene.GetNodesByClass("vtkMRMLPlotChartNode")
        assert charts.GetNumberOfItems() == 2
        assert len(tables.series_of(charts.GetItemAsObject(0))) == 2

        _assert_transform_moves_like(scene.GetFirstNodeByName("MR to CT"), parts["transform"])

        tree = scene.GetSubjectHierarchyNode()
        folder = tree.GetItemByName("Test run")
        assert hierarchy.run_parameters(scene, folder) == {"views": "64", "model": "msl-ct-t1"}
        assert tree.GetItemParent(tree.GetItemByDataNode(painted)) == folder
        assert tree.GetItemParent(tree.GetItemByDataNode(proxy)) == folder

        shown = [
            scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode").GetBackgroundVolumeID()
            for view in ("Red", "Green", "Yellow")
        ]
        assert shown == [scene.GetFirstNodeByName(name).GetID() for name in ("CT", "MR on CT grid")] + [proxy.GetID()]
        layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        assert layout.GetViewArrangement() == layout.SlicerLayoutThreeOverThreePlotView
        plot_view = scene.GetSingletonNode("PlotView1", "vtkMRMLPlotViewNode")
        assert plot_view.GetPlotChartNode() is charts.GetItemAsObject(0)
    log = capfd.readouterr().err
    assert " ERR|" not in log, log
    assert "WARN|" not in log, log


def _assert_transform_moves_like(node: Any, fixed_to_moving: sitk.Transform) -> None:
    """The node takes a point of the moving volume (RAS) to where registration says it lies on the fixed one."""
    fixed_lps = (12.0, -7.0, 30.0)
    moving_lps = fixed_to_moving.TransformPoint(fixed_lps)
    to_parent = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToParent(to_parent)
    matrix = volumes.matrix_array(to_parent)
    flip = np.array([-1.0, -1.0, 1.0])
    moved = matrix[:3, :3] @ (flip * np.asarray(moving_lps)) + matrix[:3, 3]
    np.testing.assert_allclose(moved, flip * np.asarray(fixed_lps), atol=1e-5)


def test_a_chain_of_linear_transforms_is_linear(scene: Any) -> None:
    chain = sitk.CompositeTransform(
        [sitk.AffineTransform(3), sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, 0.2, -0.1, (4.0, 5.0, -6.0))]
    )
    _assert_transform_moves_like(node_from_transform(scene, chain, "chain"), chain)


def test_an_unlinear_transform_is_refused(scene: Any) -> None:
    warp = sitk.DisplacementFieldTransform(sitk.Image([4, 4, 4], sitk.sitkVectorFloat64))
    with pytest.raises(InputError, match="not linear"):
        node_from_transform(scene, warp, "warp")


def test_a_run_without_extras_can_be_saved(tmp_path: Path) -> None:
    path = run_scene.build_run_scene(tmp_path / "small.mrb", oblique_image(), oblique_image(seed=1))
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    assert {"small/small.mrml", "small/Data/CT.nrrd", "small/Data/MR on CT grid.nrrd"} <= set(names)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 40 kB, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("count", [1, 3])
def test_a_failed_save_keeps_the_older_file(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One large volume cannot be written at all; three small ones can, but not the archive of them."""
    size = (40, 40, 40) if count == 1 else (18, 18, 18)
    target = tmp_path / "run.mrb"
    target.write_bytes(b"older")
    with bootstrap.application() as scene:
        for index in range(count):
            volumes.node_from_image(scene, oblique_image(size, seed=index), "CT")
        with pytest.raises(JobError, match="could not save"):
            bundle.save_bundle(scene, target)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
        with pytest.raises(InputError, match="disk is full"):
            bundle.save_bundle(scene, target)
    assert target.read_bytes() == b"older"
    assert [file.name for file in tmp_path.iterdir()] == ["run.mrb"]
    assert " ERR|" not in capfd.readouterr().err


def test_unusable_names_and_files_are_refused(scene: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ends so"):
        bundle.save_bundle(scene, tmp_path / "run.zip")
    with pytest.raises(InputError, match="choose another folder"):
        bundle.save_bundle(scene, tmp_path / "nowhere" / "run.mrb")
    with pytest.raises(InputError, match="no such file"):
        bundle.load_bundle(scene, tmp_path / "missing.mrb")
    text = tmp_path / "text.mrb"
    text.write_text("no archive")
    with pytest.raises(InputError, match="not a Slicer scene"):
        bundle.load_bundle(scene, text)
    empty = tmp_path / "empty.mrb"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("readme.txt", "no scene")
    with pytest.raises(InputError, match="not a Slicer scene"):
        bundle.load_bundle(scene, empty)


def test_a_bundle_can_be_added_to_a_scene(scene: Any, tmp_path: Path) -> None:
    volumes.node_from_image(scene, oblique_image(), "mine")
    path = bundle.save_bundle(scene, tmp_path / "mine.mrb")
    bundle.load_bundle(scene, path, clear=False)
    assert scene.GetNodesByClass("vtkMRMLScalarVolumeNode").GetNumberOfItems() == 2
    bundle.load_bundle(scene, path)
    assert scene.GetNodesByClass("vtkMRMLScalarVolumeNode").GetNumberOfItems() == 1


def test_the_headless_application_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import slicer

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with bootstrap.application() as outer:
        with bootstrap.application() as inner:
            assert inner is outer
        assert slicer.mrmlScene is outer
        assert len(list(tmp_path.iterdir())) == 1
    assert not hasattr(slicer, "mrmlScene")
    assert not hasattr(slicer, "modules")
    assert list(tmp_path.iterdir()) == []


def test_scenes_are_available_here_and_inside_slicer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available()
    monkeypatch.setattr("MSLFusionLib.scene.find_spec", lambda name: None)
    assert not available()
    monkeypatch.setitem(sys.modules, "slicer", SimpleNamespace(app=object()))
    assert available()


def test_without_slicer_core_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slicer", None)
    with pytest.raises(JobError, match="slicer-core"), bootstrap.application():
        pass


def test_a_missing_module_is_named(scene: Any) -> None:
    with pytest.raises(JobError, match="Markups"):
        bootstrap.module_logic(scene, "Markups")


def test_parameters_are_those_of_run_json(tmp_path: Path) -> None:
    parameters = json.loads('{"lambda": [0, 0.5], "sampling": {"views": 64}, "note": "é"}')
    path = run_scene.build_run_scene(
        tmp_path / "run.mrb", oblique_image(), oblique_image(), parameters=parameters, name="Run"
    )
    with bootstrap.application() as scene:
        bundle.load_bundle(scene, path)
        folder = scene.GetSubjectHierarchyNode().GetItemByName("Run")
        read = hierarchy.run_parameters(scene, folder)
    assert json.loads(read["lambda"]) == [0, 0.5]
    assert json.loads(read["sampling"]) == {"views": 64}
    assert read["note"] == "é"


def test_what_takes_the_place_of_a_removed_node_gets_its_name(scene: Any) -> None:
    for _attempt in range(3):
        table = tables.metrics_table(scene, ROWS, "Metrics")
        assert table.GetName() == "Metrics"
        assert tables.metrics_table(scene, ROWS, "Metrics").GetName() == "Metrics_1"
        scene.RemoveNode(scene.GetFirstNodeByName("Metrics_1"))
        scene.RemoveNode(table)


def test_trust_maps_and_what_is_synthesised_are_told_by_names(scene: Any) -> None:
    maps = {"uncertainty-mr": oblique_image(seed=3), "residual-ct": oblique_image(seed=4)}
    hybrids = [(0.0, oblique_image()), (1.0, oblique_image(seed=1))]
    ct = oblique_image()
    nodes = run_scene.add_run(scene, ct, ct, hybrids, None, None, {}, (), {}, "Run", maps, ("mr",))
    assert nodes.sweep is not None
    assert nodes.sweep.proxy.GetName() == "Hybrid (MR synthesised)"
    names = {kind: node.GetName() for kind, node in nodes.trust.items()}
    assert names == {"uncertainty-mr": "Uncertainty MR (synthesised)", "residual-ct": "Residual CT"}
    for kind, node in nodes.trust.items():
        _arrays_equal(node, maps[kind])
        assert node.GetDisplayNode().GetColorNode().GetName() == colors.TRUST_COLORS_NAME
        assert hierarchy.place_of(scene, node) == nodes.folder
    assert scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode") >= 1
    assert colors.trust_colors(scene) is nodes.trust["residual-ct"].GetDisplayNode().GetColorNode()
