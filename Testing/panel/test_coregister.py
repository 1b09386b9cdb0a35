"""Section 2: each method, its outputs, cancel, undo, and a scene that changes meanwhile."""

import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from opened import Opened
from turns import settle, until

from MSLFusionLib.scene import volumes

MOVE = np.eye(4)
MOVE[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
MOVE[:3, 3] = [4.0, -3.0, 2.0]
"""From the CT's points to the MR's, in LPS."""


@pytest.fixture
def opened(slicer_app: Any) -> Iterator[Opened]:
    panel = Opened()
    yield panel
    panel.close()


@pytest.fixture
def pair(opened: Opened, scene: Any) -> tuple[Any, Any]:
    """A CT and an MR on another grid, chosen in section 1."""
    ct = volumes.node_from_image(scene, image((12, 10, 8), (1.0, 1.0, 2.0), -1000.0), "CT")
    mr = volumes.node_from_image(scene, image((6, 6, 6), (2.0, 2.0, 2.0)), "T1")
    opened.parameters.data.ct, opened.parameters.data.mr = ct, mr
    settle()
    return ct, mr


def image(size: tuple[int, int, int], spacing: tuple[float, ...], low: float = 0.0) -> sitk.Image:
    values = np.random.default_rng(0).random(size[::-1], dtype=np.float32) * 100 + low
    result = sitk.GetImageFromArray(values)
    result.SetSpacing(spacing)
    result.SetOrigin((3.0, -4.0, 5.0))
    return result


def choose(opened: Opened, method: str) -> None:
    from MSLFusionPanel.parameters import Alignment

    opened.parameters.coregister.method = Alignment[method]
    settle()


def press(opened: Opened) -> None:
    assert opened.ui.registerButton.enabled, opened.ui.registerButton.toolTip
    opened.ui.registerButton.click()


def finish(opened: Opened) -> None:
    until(lambda: opened.panel.task is None)
    settle()


def once(condition: Callable[[], Any], act: Callable[[], Any]) -> None:
    """Act in the first turn of the event loop in which the condition holds."""
    import qt

    qt.QTimer.singleShot(1, lambda: act() if condition() else once(condition, act))


def nodes(scene: Any) -> set[str]:
    return {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}


def placed(node: Any) -> np.ndarray:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToParent(matrix)
    return volumes.matrix_array(matrix)


def lps_to_ras(matrix: np.ndarray) -> np.ndarray:
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ matrix @ flip


def registers_as(opened: Opened, **more: Any) -> None:
    """The worker finds MOVE."""
    found = {"matrix": MOVE[:3, :3].tolist(), "shift_mm": MOVE[:3, 3].tolist(), "metric_nats": 0.61, "overlap": 0.93}
    answer = {**found, "warnings": [], **more}

    def register(message: Any) -> Any:
        return {"registration": answer}, {"moved": np.full(message.arrays["fixed"].shape, 7, np.float32)}

    opened.worker._register = register


def test_without_volumes_it_says_what_to_choose_and_is_quiet(opened: Opened) -> None:
    assert not opened.ui.registerButton.enabled
    assert "section 1" in opened.ui.registerButton.toolTip
    assert opened.text("registerMessage") == ""


def test_an_mr_on_another_grid_has_to_be_registered(opened: Opened, pair: Any) -> None:
    from MSLFusionPanel.parameters import Modalities

    assert "not on the CT's grid" in opened.text("registerMessage")
    assert opened.kind("registerMessage") == "needed"
    opened.parameters.sensors.modalities = Modalities.CT
    settle()
    assert opened.text("registerMessage") == ""


def test_an_mr_on_the_grid_needs_nothing(opened: Opened, pair: Any, scene: Any) -> None:
    mr = volumes.node_from_image(scene, volumes.image_from_node(pair[0]), "T1 there")
    opened.parameters.data.mr = mr
    settle()
    assert "nothing to do" in opened.text("registerInfo")
    assert opened.text("registerMessage") == ""


@pytest.mark.parametrize("method", ["SITK_RIGID", "SITK_AFFINE"])
def test_the_worker_registers(opened: Opened, pair: Any, panel_image: Any, method: str) -> None:
    from MSLFusionPanel.inputs import FIXED_ROLE, MOVING_ROLE, mr_on_grid, same_grid

    ct, mr = pair
    registers_as(opened, warnings=["the bodies hardly overlap"])
    choose(opened, method)
    press(opened)
    assert opened.ui.registerButton.text == "Cancel" or not settle()
    finish(opened)
    assert opened.worker.last("register").header["method"] == method.split("_")[1].lower()
    aligned, transform = opened.parameters.coregister.aligned, opened.parameters.coregister.transform
    assert (aligned.GetName(), transform.GetName()) == ("MR on CT grid", "MR to CT")
    assert same_grid(aligned, ct)
    assert mr_on_grid(opened.parameters) is aligned
    assert aligned.GetNodeReference(FIXED_ROLE) is ct
    assert aligned.GetNodeReference(MOVING_ROLE) is mr
    assert (volumes.array_from_vtk(aligned.GetImageData()) == 7).all()
    np.testing.assert_allclose(placed(transform), np.linalg.inv(lps_to_ras(MOVE)), atol=1e-9)
    assert mr.GetParentTransformNode() is None
    assert opened.text("registerMessage") == "The bodies hardly overlap."
    assert opened.kind("registerMessage") == "warning"
    told = opened.text("registerInfo")
    assert "turned by 90.0°" in told
    assert "0.61 nats" in told
    assert "93 %" in told
    assert "“T1” itself stays" in told
    panel_image(opened.root, f"coregister-{method.lower()}")


def test_the_transform_shows_an_mr_with_a_parent_of_its_own_on_the_ct(opened: Opened, pair: Any, scene: Any) -> None:
    """Put under the new transform in place of its own, the MR lies where the registration found it."""
    import vtk

    _ct, mr = pair
    own = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Own")
    turn = vtk.vtkTransform()
    turn.RotateX(20)
    turn.Translate(5, 6, 7)
    own.SetMatrixTransformToParent(turn.GetMatrix())
    mr.SetAndObserveTransformNodeID(own.GetID())
    seen = volumes.image_from_node(mr)
    registers_as(opened)
    press(opened)
    finish(opened)
    sent = opened.worker.last("register")
    np.testing.assert_allclose(sent.header["volumes"]["moving"]["origin_mm"], seen.GetOrigin(), atol=1e-6)
    mr.SetAndObserveTransformNodeID(opened.parameters.coregister.transform.GetID())
    moved = volumes.image_from_node(mr)
    point = seen.TransformIndexToPhysicalPoint((2, 3, 4))
    expected = (np.linalg.inv(MOVE) @ [*point, 1.0])[:3]
    np.testing.assert_allclose(moved.TransformIndexToPhysicalPoint((2, 3, 4)), expected, atol=1e-6)


def test_a_ct_under_a_linear_transform_keeps_its_grid(opened: Opened, pair: Any, scene: Any) -> None:
    from MSLFusionPanel.inputs import same_grid

    ct, _mr = pair
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "CT's")
    ct.SetAndObserveTransformNodeID(parent.GetID())
    press(opened)
    finish(opened)
    assert same_grid(opened.parameters.coregister.aligned, ct)


def test_a_ct_under_a_shearing_transform_is_refused(opened: Opened, pair: Any, scene: Any) -> None:
    import vtk

    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Shear")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 1, 0.5)
    parent.SetMatrixTransformToParent(matrix)
    pair[0].SetAndObserveTransformNodeID(parent.GetID())
    opened.panel.changed()
    settle()
    assert not opened.ui.registerButton.enabled
    assert "harden" in opened.ui.registerButton.toolTip


def test_already_aligned_only_resamples(opened: Opened, pair: Any) -> None:
    choose(opened, "ALIGNED")
    press(opened)
    finish(opened)
    request = opened.worker.last("resample")
    assert "matrix" not in request.header
    assert list(request.arrays) == ["moving"]
    assert opened.parameters.coregister.transform is None
    assert (volumes.array_from_vtk(opened.parameters.coregister.aligned.GetImageData()) == 5).all()
    assert "without registration" in opened.text("registerInfo")


def brains(slicer_app: Any, matrix: np.ndarray | None = MOVE) -> Any:
    """General Registration that finds `matrix` and, as the real one, puts its moving volume under the transform."""
    import vtk

    calls = []

    def work(parameters: dict[str, Any]) -> None:
        calls.append(parameters)
        if matrix is not None:
            found = vtk.vtkMatrix4x4()
            found.DeepCopy(np.linalg.inv(lps_to_ras(matrix)).ravel())
            parameters["linearTransform"].SetMatrixTransformToParent(found)
        parameters["movingVolume"].SetAndObserveTransformNodeID(parameters["linearTransform"].GetID())

    module = slicer_app.add_cli("brainsfit", work)
    module.calls = calls
    return module


@pytest.mark.parametrize("method", ["BRAINS_RIGID", "BRAINS_AFFINE"])
def test_general_registration(opened: Opened, pair: Any, slicer_app: Any, scene: Any, method: str) -> None:
    module = brains(slicer_app)
    choose(opened, method)
    before = nodes(scene)
    press(opened)
    finish(opened)
    assert module.calls[0]["useAffine"] is (method == "BRAINS_AFFINE")
    assert module.calls[0]["useRigid"] is True
    made = {opened.parameters.coregister.aligned, opened.parameters.coregister.transform}
    new = nodes(scene) - before
    assert {node.GetID() for node in made} <= new
    assert {scene.GetNodeByID(name).GetClassName() for name in new} == {
        "vtkMRMLScalarVolumeNode", "vtkMRMLLinearTransformNode", "vtkMRMLScalarVolumeDisplayNode",
    }  # fmt: skip
    assert pair[1].GetParentTransformNode() is None
    sent = np.reshape(opened.worker.last("resample").header["matrix"], (4, 4))
    np.testing.assert_allclose(sent, MOVE, atol=1e-6)
    np.testing.assert_allclose(
        placed(opened.parameters.coregister.transform), np.linalg.inv(lps_to_ras(MOVE)), atol=1e-6
    )


def test_general_registration_sees_hidden_copies_with_air_at_zero(
    opened: Opened, pair: Any, slicer_app: Any, scene: Any
) -> None:
    module = brains(slicer_app)
    module.hold = True
    choose(opened, "BRAINS_RIGID")
    press(opened)
    until(lambda: module.parameters)
    given = next(iter(module.parameters.values()))
    for name in ("fixedVolume", "movingVolume"):
        assert given[name].GetHideFromEditors()
        assert not given[name].GetSaveWithScene()
        assert volumes.array_from_vtk(given[name].GetImageData()).min() == 0
        assert given[name] not in pair
    module.hold = False
    finish(opened)


def test_general_registration_that_fails_leaves_the_scene(
    opened: Opened, pair: Any, slicer_app: Any, scene: Any
) -> None:
    def work(_parameters: dict[str, Any]) -> None:
        raise ValueError("BRAINSFit ran\nToo few samples map inside the moving image")

    slicer_app.add_cli("brainsfit", work)
    choose(opened, "BRAINS_RIGID")
    before = nodes(scene)
    press(opened)
    finish(opened)
    assert nodes(scene) == before
    assert opened.text("registerMessage") == (
        "General Registration failed: Too few samples map inside the moving image."
    )
    choose(opened, "SITK_RIGID")
    assert "not on the CT's grid" in opened.text("registerMessage")


def test_general_registration_without_a_result_is_a_failure(opened: Opened, pair: Any, slicer_app: Any) -> None:
    brains(slicer_app, None)
    choose(opened, "BRAINS_RIGID")
    press(opened)
    finish(opened)
    assert "gave no transform" in opened.text("registerMessage")


def test_general_registration_is_cancelled(opened: Opened, pair: Any, slicer_app: Any, scene: Any) -> None:
    module = brains(slicer_app)
    module.hold = True
    choose(opened, "BRAINS_RIGID")
    before = nodes(scene)
    press(opened)
    until(lambda: module.parameters)
    settle()
    assert opened.ui.registerButton.text == "Cancel"
    assert opened.ui.registerButton.enabled
    opened.ui.registerButton.click()
    assert opened.panel.task is None
    until(lambda: nodes(scene) == before)
    assert not module.calls
    settle()
    assert opened.ui.registerButton.text == "Register"


def test_the_scene_is_closed_while_general_registration_runs(
    opened: Opened, pair: Any, slicer_app: Any, scene: Any
) -> None:
    module = brains(slicer_app)
    module.hold = True
    choose(opened, "BRAINS_RIGID")
    press(opened)
    until(lambda: module.parameters)
    settle()
    scene.Clear(False)
    settle()
    assert opened.panel.task is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert opened.parameters.data.ct is None


def test_without_general_registration_it_says_what_to_choose(opened: Opened, pair: Any) -> None:
    choose(opened, "BRAINS_RIGID")
    assert not opened.ui.registerButton.enabled
    assert "SimpleITK" in opened.ui.registerButton.toolTip


def test_without_elastix_it_says_what_to_choose(opened: Opened, pair: Any) -> None:
    choose(opened, "ELASTIX")
    assert not opened.ui.registerButton.enabled
    assert "SlicerElastix" in opened.ui.registerButton.toolTip


class Elastix:
    """The extension's module: `program` is what its process runs (Python), `matrix` what it finds."""

    def __init__(self, folder: Any, program: str = "print('Iteration 1')", matrix: np.ndarray = MOVE) -> None:
        self.program, self.matrix = program, matrix
        parameters = folder / "Resources" / "RegistrationParameters"
        parameters.mkdir(parents=True)
        (parameters / "Parameters_Rigid.txt").write_text('(Transform "EulerTransform")')
        self.module = ModuleType("Elastix")
        self.module.ElastixLogic = lambda: ElastixLogic(self, folder)
        self.calls: list[Any] = []

    def find(self, transform: Any) -> None:
        import vtk

        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(np.linalg.inv(lps_to_ras(self.matrix)).ravel())
        transform.SetMatrixTransformToParent(matrix)


class ElastixLogic:
    """What the panel uses of Elastix.ElastixLogic, in the order of the extension's own registerVolumes."""

    def __init__(self, extension: Elastix, folder: Any) -> None:
        self.extension, self.scriptPath, self.cancelRequested = extension, str(folder), False

    def registerVolumes(
        self,
        fixedVolumeNode: Any,
        movingVolumeNode: Any,
        parameterFilenames: Any = None,
        outputVolumeNode: Any = None,
        outputTransformNode: Any = None,
        fixedVolumeMaskNode: Any = None,
        movingVolumeMaskNode: Any = None,
        forceDisplacementFieldOutputTransform: bool = True,
        initialTransformNode: Any = None,
    ) -> None:
        import subprocess

        self.extension.calls.append((fixedVolumeNode, movingVolumeNode, parameterFilenames))
        process = subprocess.Popen(
            [sys.executable, "-c", self.extension.program],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        self.extension.process = process
        self.logProcessOutput(process)
        if self.cancelRequested:
            return
        self.extension.find(outputTransformNode)


@pytest.fixture
def elastix(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Elastix:
    extension = Elastix(tmp_path / "elastix")
    monkeypatch.setitem(sys.modules, "Elastix", extension.module)
    return extension


def test_elastix(opened: Opened, pair: Any, scene: Any, elastix: Elastix) -> None:
    choose(opened, "ELASTIX")
    before = nodes(scene)
    press(opened)
    finish(opened)
    np.testing.assert_allclose(
        placed(opened.parameters.coregister.transform), np.linalg.inv(lps_to_ras(MOVE)), atol=1e-6
    )
    assert os.path.basename(elastix.calls[0][2][0]) == "Parameters_Rigid.txt"
    assert len(nodes(scene) - before) == 3  # volume, its display, transform


def test_elastix_that_fails_tells_its_last_line(opened: Opened, pair: Any, scene: Any, elastix: Elastix) -> None:
    elastix.program = "print('reading'); print('itk::ExceptionObject: no overlap'); raise SystemExit(1)"
    choose(opened, "ELASTIX")
    before = nodes(scene)
    press(opened)
    finish(opened)
    assert opened.text("registerMessage") == "Elastix failed: itk::ExceptionObject: no overlap."
    assert nodes(scene) == before


def test_elastix_may_not_deform(opened: Opened, pair: Any, scene: Any, elastix: Elastix) -> None:
    import vtk

    def bend(transform: Any) -> None:
        points, moved = vtk.vtkPoints(), vtk.vtkPoints()
        for point in np.random.default_rng(2).random((20, 3)) * 20:
            points.InsertNextPoint(point)
            moved.InsertNextPoint(point + np.sin(point))
        spline = vtk.vtkThinPlateSplineTransform()
        spline.SetBasisToR()
        spline.SetSourceLandmarks(points)
        spline.SetTargetLandmarks(moved)
        transform.SetAndObserveTransformFromParent(spline)

    elastix.find = bend
    choose(opened, "ELASTIX")
    before = nodes(scene)
    press(opened)
    finish(opened)
    assert "not linear" in opened.text("registerMessage")
    assert nodes(scene) == before


def test_an_elastix_without_rigid_parameters(opened: Opened, pair: Any, elastix: Elastix, tmp_path: Any) -> None:
    os.remove(tmp_path / "elastix" / "Resources" / "RegistrationParameters" / "Parameters_Rigid.txt")
    choose(opened, "ELASTIX")
    press(opened)
    finish(opened)
    assert "no parameters for a rigid" in opened.text("registerMessage")


def test_the_scene_is_closed_while_elastix_runs(opened: Opened, pair: Any, scene: Any, elastix: Elastix) -> None:
    elastix.program = "input()"
    choose(opened, "ELASTIX")
    press(opened)
    once(lambda: elastix.calls, lambda: scene.Clear(False))
    finish(opened)
    assert elastix.process.returncode is not None
    assert opened.parameters.data.ct is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_elastix_is_cancelled_while_it_says_nothing(opened: Opened, pair: Any, scene: Any, elastix: Elastix) -> None:
    elastix.program = "input()"  # waits, in silence, until it is killed
    choose(opened, "ELASTIX")
    before = nodes(scene)
    press(opened)
    once(lambda: elastix.calls, opened.ui.registerButton.click)
    finish(opened)
    assert elastix.process.returncode is not None
    assert nodes(scene) == before
    assert opened.parameters.coregister.aligned is None
    assert opened.kind("registerMessage") == "needed"
    assert "Elastix" not in opened.text("registerMessage")


def test_the_workers_registration_is_cancelled(opened: Opened, pair: Any, scene: Any) -> None:
    opened.worker.held = {"register"}
    before = nodes(scene)
    press(opened)
    until(lambda: opened.worker.waiting() == ["register"])
    settle()
    opened.ui.registerButton.click()
    settle()
    assert opened.panel.task is None
    assert nodes(scene) == before
    assert opened.worker.waiting() == []
    assert opened.ui.registerButton.text == "Register"


def test_the_resampling_is_cancelled(opened: Opened, pair: Any, scene: Any) -> None:
    choose(opened, "ALIGNED")
    opened.worker.held = {"resample"}
    before = nodes(scene)
    press(opened)
    until(lambda: opened.worker.waiting() == ["resample"])
    settle()
    opened.ui.registerButton.click()
    settle()
    assert nodes(scene) == before


def test_a_failure_is_shown_until_something_else_is_chosen(opened: Opened, pair: Any, scene: Any) -> None:
    opened.worker.failures["register"] = "the volumes do not overlap"
    press(opened)
    finish(opened)
    assert opened.text("registerMessage") == "The volumes do not overlap."
    assert opened.kind("registerMessage") == "error"  # the MR still has to come onto the grid
    choose(opened, "ALIGNED")
    assert "not on the CT's grid" in opened.text("registerMessage")


def test_the_ct_is_removed_meanwhile(opened: Opened, pair: Any, scene: Any) -> None:
    opened.worker.held = {"register"}
    press(opened)
    until(lambda: opened.worker.waiting() == ["register"])
    scene.RemoveNode(pair[0])
    opened.worker.answer()
    finish(opened)
    assert opened.parameters.coregister.aligned is None
    assert scene.GetFirstNodeByName("MR on CT grid") is None


def test_the_ct_gets_another_grid_meanwhile(opened: Opened, pair: Any) -> None:
    opened.worker.held = {"register"}
    press(opened)
    until(lambda: opened.worker.waiting() == ["register"])
    pair[0].SetSpacing(3, 3, 3)
    opened.worker.answer()
    finish(opened)
    assert "changed meanwhile" in opened.text("registerMessage")
    assert opened.parameters.coregister.aligned is None


def test_undo_removes_what_was_made(opened: Opened, pair: Any, scene: Any) -> None:
    before = nodes(scene)
    assert not opened.ui.undoRegisterButton.enabled
    press(opened)
    finish(opened)
    assert opened.ui.undoRegisterButton.enabled
    opened.ui.undoRegisterButton.click()
    settle()
    assert nodes(scene) == before
    assert opened.parameters.coregister.aligned is None
    assert opened.parameters.coregister.transform is None
    assert not opened.ui.undoRegisterButton.enabled
    assert "not on the CT's grid" in opened.text("registerMessage")


def test_a_view_of_the_mr_shows_the_resampled_one_until_it_is_undone(opened: Opened, pair: Any) -> None:
    from MSLFusionPanel.sliceviews import slice_composites

    ct, mr = pair
    first, second = slice_composites()[:2]
    first.SetBackgroundVolumeID(ct.GetID())
    second.SetBackgroundVolumeID(mr.GetID())
    press(opened)
    finish(opened)
    assert first.GetBackgroundVolumeID() == ct.GetID()
    assert second.GetBackgroundVolumeID() == opened.parameters.coregister.aligned.GetID()
    opened.ui.undoRegisterButton.click()
    settle()
    assert second.GetBackgroundVolumeID() == mr.GetID()


def test_undo_restores_what_was_replaced(opened: Opened, pair: Any, scene: Any) -> None:
    import vtk

    from MSLFusionPanel.inputs import FIXED_ROLE

    press(opened)
    finish(opened)
    coregister = opened.parameters.coregister
    aligned, transform = coregister.aligned, coregister.transform
    first, told = placed(transform), opened.text("registerInfo")
    registers_as(opened)
    press(opened)
    finish(opened)
    assert coregister.aligned is aligned
    assert coregister.transform is transform
    assert not np.allclose(placed(transform), first)
    aligned_now = volumes.array_from_vtk(aligned.GetImageData())
    assert (aligned_now == 7).all()
    choose(opened, "ALIGNED")
    press(opened)
    finish(opened)
    assert (volumes.array_from_vtk(aligned.GetImageData()) == 5).all()
    opened.ui.undoRegisterButton.click()
    settle()
    assert (volumes.array_from_vtk(aligned.GetImageData()) == 7).all()
    assert aligned.GetNodeReference(FIXED_ROLE) is pair[0]
    assert opened.text("registerInfo") != told
    assert "90.0°" in opened.text("registerInfo")
    matrix = vtk.vtkMatrix4x4()
    aligned.GetIJKToRASMatrix(matrix)
    assert coregister.aligned is aligned


def test_undo_is_over_when_its_nodes_are_gone(opened: Opened, pair: Any, scene: Any) -> None:
    press(opened)
    finish(opened)
    scene.RemoveNode(opened.parameters.coregister.transform)
    settle()
    assert not opened.ui.undoRegisterButton.enabled


def test_a_closed_scene_forgets_the_registration(opened: Opened, pair: Any, scene: Any) -> None:
    press(opened)
    finish(opened)
    scene.Clear(False)
    settle()
    assert not opened.ui.undoRegisterButton.enabled
    assert opened.text("registerInfo") == ""
    assert opened.text("registerMessage") == ""


@pytest.mark.parametrize("which", ["ct", "mr"])
def test_the_result_may_not_replace_its_input(opened: Opened, pair: Any, which: str) -> None:
    opened.parameters.coregister.aligned = getattr(opened.parameters.data, which)
    settle()
    assert f"This is the {which.upper()}" in opened.text("alignedMessage")
    assert opened.kind("alignedMessage") == "error"
    assert not opened.ui.registerButton.enabled


def test_a_transform_above_the_mr_is_not_written_into(opened: Opened, pair: Any, scene: Any) -> None:
    above = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Above")
    between = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Between")
    between.SetAndObserveTransformNodeID(above.GetID())
    pair[1].SetAndObserveTransformNodeID(between.GetID())
    opened.parameters.coregister.transform = above
    settle()
    assert "under this transform" in opened.text("transformMessage")
    assert not opened.ui.registerButton.enabled
    assert opened.kind("transformMessage") == "warning"  # what is there can be reconstructed


def test_another_mr_makes_the_resampled_one_stale(opened: Opened, pair: Any, scene: Any) -> None:
    press(opened)
    finish(opened)
    other = volumes.node_from_image(scene, image((6, 6, 6), (2.0, 2.0, 2.0)), "T2")
    opened.parameters.data.mr = other
    settle()
    assert "made from another" in opened.text("registerMessage")
    assert opened.text("registerInfo") == ""


def test_a_saved_scene_knows_its_registration(opened: Opened, pair: Any, scene: Any, tmp_path: Any) -> None:
    from MSLFusionLib.scene import bundle

    press(opened)
    finish(opened)
    told = opened.text("registerInfo")
    bundle.save_bundle(scene, tmp_path / "scene.mrb")
    scene.Clear(False)
    settle()
    bundle.load_bundle(scene, tmp_path / "scene.mrb")
    settle()
    assert opened.parameters.coregister.aligned.GetName() == "MR on CT grid"
    assert opened.text("registerInfo") == told
    assert not opened.ui.undoRegisterButton.enabled
