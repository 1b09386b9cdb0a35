"""Section 3: sampling in words, a sensors file and what can be wrong with it, images of the sensor data."""

import os

import pytest
from opened import Opened, write_model
from turns import settle

HDF5 = b"\x89HDF\r\n\x1a\n"
GEOMETRY = {"size": [8, 7, 6], "spacing_mm": [0.5, 0.5, 3.0], "origin_mm": [0, 0, 0]}
GEOMETRY["direction"] = [1, 0, 0, 0, 1, 0, 0, 0, 1]
CT = {"views": 32, "scan": "short", "bins": 100}
MR = {
    "columns": 50,
    "of": 384,
    "rate": 50 / 384,
    "acceleration": 384 / 50,
    "asked": 8.0,
    "mask": "official",
    "coils": 1,
}


def description(**achieved):
    """What the worker tells of a file."""
    return {
        "modalities": list(achieved),
        "achieved": achieved,
        "geometry": GEOMETRY,
        "slices": 6,
        "occupied": 6,
        "slice_axis": 0,
        "pixel_mm": 0.667,
        "plan": {"photons": None, "kspace_sigma": 0.0},
    }


@pytest.fixture
def opened(slicer_app, monkeypatch):
    from MSLFusionPanel import install

    monkeypatch.setattr(install, "missing_packages", list)
    one = Opened()
    yield one
    one.close()


@pytest.fixture
def volumes(opened):
    """A CT and an MR on one grid, chosen."""
    return opened.load_volumes()


@pytest.fixture
def measured(opened, tmp_path):
    """A sensors file that is chosen and that the worker knows."""
    path = tmp_path / "data.h5"
    path.write_bytes(HDF5 + b"rest")
    opened.worker.sensors = description(ct=CT, mr=MR)
    choose_file(opened, path)
    return path


def choose_file(opened, path):
    from MSLFusionPanel.parameters import SensorSource

    opened.parameters.sensors.source = SensorSource.FILE
    settle()
    opened.ui.sensorsFilePath.setCurrentPath(str(path))
    settle()


def apply_enabled(opened):
    return opened.ui.applyButton.enabled


def volume_names(scene):
    nodes = (scene.GetNthNodeByClass(i, "vtkMRMLScalarVolumeNode") for i in range(scene.GetNumberOfNodes()))
    return sorted(node.GetName() for node in nodes if node is not None)


# Simulated


def test_what_is_measured_is_said_in_plain_words(opened, volumes):
    from MSLFusionPanel.parameters import Mask, Modalities, Scan

    sensors, info = opened.parameters.sensors, opened.ui.sensorsInfo
    assert info.text == "Measured: 64 views over a full turn; 1/4 of k-space (96 of 384 columns)."
    sensors.views, sensors.scan, sensors.acceleration, sensors.mask = 1, Scan.SHORT, 2.5, Mask.EQUISPACED
    settle()
    assert info.text == "Measured: 1 view over a short scan; 40 % of k-space (154 of 384 columns)."
    sensors.ctNoise, sensors.mrNoise = True, True
    settle()
    assert info.text == (
        "Measured: 1 view over a short scan with noise; 40 % of k-space (154 of 384 columns) with noise."
    )
    sensors.ctNoise, sensors.mrNoise = False, False
    sensors.acceleration, sensors.mask, sensors.modalities = 4.0, Mask.OFFICIAL, Modalities.MR
    settle()
    assert info.text == "Measured: 1/4 of k-space (92 of 384 columns)."
    sensors.acceleration, sensors.modalities = 1.0, Modalities.CT
    settle()
    assert info.text == "Measured: 1 view over a short scan."
    assert apply_enabled(opened)


def test_what_does_not_apply_is_disabled_and_says_why(opened):
    from MSLFusionPanel.parameters import Mask, Modalities

    sensors, ui = opened.parameters.sensors, opened.ui
    assert ui.viewsSpinBox.enabled
    assert ui.accelerationSpinBox.enabled
    assert not ui.photonsSpinBox.enabled
    assert "no noise" in ui.photonsSpinBox.toolTip
    ui.ctNoiseCheckBox.click()
    ui.mrNoiseCheckBox.click()
    settle()
    assert opened.parameters.sensors.ctNoise
    assert ui.photonsSpinBox.enabled
    assert ui.photonsSpinBox.toolTip.startswith("Photons per detector bin")
    assert ui.kspaceNoiseSpinBox.enabled
    sensors.modalities = Modalities.MR
    settle()
    assert not ui.viewsSpinBox.enabled
    assert not ui.viewsSpinBoxLabel.enabled
    assert not ui.ctNoiseCheckBox.enabled
    assert not ui.photonsSpinBox.enabled
    assert ui.viewsSpinBox.toolTip == "Not used: the CT is not measured."
    assert ui.accelerationSpinBox.enabled
    sensors = opened.parameters.sensors
    sensors.modalities, sensors.ctNoise = Modalities.CT, False
    settle()
    assert ui.viewsSpinBox.enabled
    assert not ui.accelerationSpinBox.enabled
    assert not ui.maskSelector.enabled
    assert not ui.kspaceNoiseSpinBox.enabled
    assert not ui.seedSpinBox.enabled
    sensors.modalities, sensors.mask, sensors.mrNoise = Modalities.BOTH, Mask.OFFICIAL, False
    settle()
    assert not ui.seedSpinBox.enabled
    assert "at random" in ui.seedSpinBox.toolTip


def test_an_acceleration_that_the_network_is_too_narrow_for(opened, volumes, tmp_path):
    write_model(tmp_path / "narrow.safetensors", grid={"size": [32, 32], "pixel_mm": 8.0})
    opened.parameters.model.folder, opened.parameters.model.name = str(tmp_path), "narrow"
    opened.parameters.sensors.acceleration = 64.0
    settle()
    assert opened.text("sensorsMessage") == "Acceleration 64 is impossible for 32 k-space columns: give 1 to 32."
    assert not apply_enabled(opened)
    assert not opened.ui.sensorImagesButton.enabled
    assert not opened.ui.sensorsInfo.visible
    opened.parameters.sensors.acceleration = 8.0
    settle()
    assert opened.text("sensorsMessage") == ""
    assert "(4 of 32 columns)" in opened.ui.sensorsInfo.text


def test_a_network_of_unknown_width(opened, volumes, tmp_path):
    write_model(tmp_path / "unknown.safetensors", grid={"size": "large"})
    opened.parameters.model.folder, opened.parameters.model.name = str(tmp_path), "unknown"
    settle()
    assert opened.ui.sensorsInfo.text == "Measured: 64 views over a full turn; 1/4 of k-space."
    assert apply_enabled(opened)


def test_the_source_shows_its_own_fields(opened):
    from MSLFusionPanel.parameters import SensorSource

    ui = opened.ui
    ui.sensorsSection.collapsed = False
    assert ui.simulateFrame.visible
    assert not ui.sensorsFileFrame.visible
    opened.parameters.sensors.source = SensorSource.FILE
    settle()
    assert not ui.simulateFrame.visible
    assert ui.sensorsFileFrame.visible
    assert not ui.sensorsInfo.visible


# A file


def test_a_file_is_described_by_the_worker_and_only_once(opened, measured):
    assert opened.parameters.sensors.file == str(measured)
    assert opened.worker.last("describe_sensors").header["path"] == str(measured)
    text = opened.ui.sensorsFileInfo.text
    assert text == (
        "CT and MR for a volume of 8 x 7 x 6, 0.5 x 0.5 x 3 mm; 32 views over a short scan; "
        "13 % of k-space (50 of 384 columns); simulated."
    )
    assert opened.text("sensorsMessage") == ""
    opened.parameters.sensors.views = 12
    settle()
    assert opened.worker.kinds().count("describe_sensors") == 1
    measured.write_bytes(HDF5 + b"changed")
    opened.worker.sensors = description(ct=CT)
    opened.panel.enter()
    settle()
    assert opened.worker.kinds().count("describe_sensors") == 2
    assert "k-space" not in opened.ui.sensorsFileInfo.text


def test_the_worker_s_own_description_in_words(opened):
    """Of what a file of `mslfusion simulate` holds, and of a measurement with more coils."""
    import numpy as np
    import SimpleITK as sitk

    from MSLFusionLib.io.sensors import SensorHeader
    from MSLFusionLib.physics.geometry import FanBeamGeometry
    from MSLFusionLib.physics.masks import cartesian_mask
    from MSLFusionLib.recon.describe import described
    from MSLFusionLib.recon.grid import NetworkGrid
    from MSLFusionPanel.sensorwords import described_in_words

    volume = sitk.GetImageFromArray(np.zeros((6, 44, 40), np.float32))
    grid = NetworkGrid.for_volume(volume, None, (64, 64), 1.0)
    geometry = FanBeamGeometry.covering((64, 64), grid.pixel_mm, 24).to_dict()
    mask = cartesian_mask(64, 4).to_dict()
    both = described(SensorHeader(grid.to_dict(), geometry, mask, coils=3))
    assert described_in_words(both) == (
        "CT and MR for a volume of 40 x 44 x 6, 1 x 1 x 1 mm; 24 views over a full turn; "
        "1/4 of k-space (16 of 64 columns); 3 coils; measured."
    )
    only = described(SensorHeader(grid.to_dict(), geometry, None, plan={"views": 24}))
    assert described_in_words(only) == (
        "CT for a volume of 40 x 44 x 6, 1 x 1 x 1 mm; 24 views over a full turn; simulated."
    )


def test_while_the_worker_looks_the_size_is_known(opened, volumes, tmp_path):
    path = tmp_path / "data.h5"
    path.write_bytes(HDF5 + bytes(3000))
    opened.worker.held, opened.worker.sensors = {"describe_sensors"}, description(ct=CT, mr=MR)
    choose_file(opened, path)
    assert opened.ui.sensorsFileInfo.text == "2.94 kB. The worker looks into it ..."
    assert apply_enabled(opened)
    opened.worker.answer()
    settle()
    assert "32 views" in opened.ui.sensorsFileInfo.text


def test_the_answer_about_another_file_is_dropped(opened, tmp_path):
    for name in ("a.h5", "b.h5"):
        (tmp_path / name).write_bytes(HDF5)
    opened.worker.held, opened.worker.sensors = {"describe_sensors"}, description(ct=CT)
    choose_file(opened, tmp_path / "a.h5")
    choose_file(opened, tmp_path / "b.h5")
    opened.worker.answer()
    settle()
    assert "views" not in opened.ui.sensorsFileInfo.text
    while opened.worker.waiting():
        opened.worker.answer()
        settle()
    assert "views" in opened.ui.sensorsFileInfo.text


@pytest.mark.parametrize("kind", ["none", "gone", "folder", "text", "short", "relative", "nul"])
def test_a_file_that_cannot_be_used_is_told_without_the_worker(opened, volumes, tmp_path, kind):
    path = {"none": "", "relative": "data.h5", "nul": "/a\0b.h5"}.get(kind, str(tmp_path / "data.h5"))
    if kind == "folder":
        os.mkdir(path)
    elif kind in ("text", "short"):
        (tmp_path / "data.h5").write_bytes(b"hello, world" if kind == "text" else b"")
    choose_file(opened, path)
    if kind == "nul":  # such a text cannot be typed, but a damaged scene may hold it
        opened.parameters.sensors.file = path
        settle()
    words = {
        "none": "Choose a sensors file",
        "gone": "does not exist",
        "folder": "is a folder",
        "relative": "whole path",
        "nul": "cannot be read",
    }
    assert words.get(kind, "is not a sensors file") in opened.text("sensorsMessage")
    assert opened.kind("sensorsMessage") == ("needed" if kind == "none" else "error")
    assert not apply_enabled(opened)
    assert not opened.ui.sensorImagesButton.enabled
    assert opened.ui.sensorImagesButton.toolTip == opened.text("sensorsMessage")
    assert opened.worker.kinds() == []


def test_a_file_that_the_worker_refuses(opened, volumes, tmp_path):
    (tmp_path / "data.h5").write_bytes(HDF5)
    choose_file(opened, tmp_path / "data.h5")
    assert opened.text("sensorsMessage") == "The file is no sensors file."
    assert opened.kind("sensorsMessage") == "error"
    from MSLFusionPanel.parameters import SensorSource

    opened.parameters.sensors.source = SensorSource.SIMULATE
    settle()
    assert opened.text("sensorsMessage") == ""
    assert apply_enabled(opened)


def test_an_emptied_path_is_empty_and_no_dot(opened, measured):
    opened.ui.sensorsFilePath.comboBox().lineEdit().clear()
    settle()
    assert opened.parameters.sensors.file == ""
    assert opened.parameters.parameterNode.GetParameter("sensors.file") == ""
    assert "Choose a sensors file" in opened.text("sensorsMessage")


def test_a_path_of_another_ending_is_taken_as_typed(opened):
    choose_file(opened, "/data/scan.hdf")
    line = opened.ui.sensorsFilePath.comboBox().lineEdit()
    for letter in "5x":
        line.insert(letter)
        settle()
    assert opened.parameters.sensors.file == opened.ui.sensorsFilePath.currentPath == "/data/scan.hdf5x"


def test_what_was_chosen_last_time_does_not_choose_a_file_now(slicer_app, opened, measured):
    opened.close()
    slicer_app.scene.Clear(False)
    again = Opened()
    assert again.parameters.sensors.file == ""
    assert again.ui.sensorsFilePath.currentPath == ""
    assert again.ui.sensorsFilePath.comboBox().count == 1
    again.close()


def test_a_modality_that_the_file_lacks(opened, volumes, measured):
    from MSLFusionPanel.parameters import Modalities

    opened.worker.sensors = description(ct=CT)
    os.utime(measured, (1, 1))
    opened.panel.update()
    settle()
    assert opened.text("sensorsMessage") == (
        "The file holds no MR: choose “CT only (MR synthesised)” under Used, or another file."
    )
    assert not apply_enabled(opened)
    opened.parameters.sensors.modalities = Modalities.CT
    settle()
    assert opened.text("sensorsMessage") == ""


def test_the_worker_dies_while_it_looks(opened, volumes, tmp_path):
    (tmp_path / "data.h5").write_bytes(HDF5)
    opened.worker.held, opened.worker.sensors = {"describe_sensors"}, description(ct=CT, mr=MR)
    choose_file(opened, tmp_path / "data.h5")
    opened.worker.die("the worker crashed")
    settle()
    assert opened.text("sensorsMessage") == "The worker crashed."
    assert opened.kind("sensorsMessage") == "failure"
    assert apply_enabled(opened)
    assert opened.worker.kinds().count("describe_sensors") == 1  # not again and again
    opened.worker.held = set()
    opened.panel.enter()
    settle()
    assert opened.text("sensorsMessage") == ""
    assert "32 views" in opened.ui.sensorsFileInfo.text


def test_without_the_packages_nothing_is_asked(opened, volumes, tmp_path, monkeypatch):
    from MSLFusionPanel import install

    monkeypatch.setattr(install, "missing_packages", lambda: ["torch>=2.4", "h5py>=3"])
    opened.panel.enter()
    (tmp_path / "data.h5").write_bytes(HDF5)
    choose_file(opened, tmp_path / "data.h5")
    assert opened.worker.kinds() == []
    assert opened.ui.sensorsFileInfo.text == "8 bytes. PyTorch, h5py must be installed first; Apply offers it."
    assert apply_enabled(opened)
    monkeypatch.setattr(install, "ready", lambda tell: "Not installed: torch.")
    opened.ui.sensorImagesButton.click()
    settle()
    assert opened.text("sensorsMessage") == "Not installed: torch."
    assert opened.panel.task is None


def test_a_file_of_a_remote_worker_is_not_looked_for_here(opened):
    opened.worker.use_remote(8765, "token")
    opened.worker.sensors = description(ct=CT, mr=MR)
    choose_file(opened, "/data/of/that/machine.h5")
    assert opened.text("sensorsMessage") == ""
    assert opened.worker.kinds() == []
    assert "machine that the worker runs on" in opened.ui.sensorsFileInfo.text
    assert "machine that the worker runs on" in opened.ui.sensorsFilePath.toolTip
    opened.worker.ensure()
    settle()
    assert "32 views" in opened.ui.sensorsFileInfo.text


# Images of the sensor data


def test_sensor_images_are_shown_side_by_side(opened, volumes, scene, slicer_app):
    opened.ui.sensorImagesButton.click()
    settle()
    assert opened.panel.task is None
    assert volume_names(scene) == ["CT", "MR", "Sparse-view FBP", "Zero-filled MR"]
    fbp, zero = scene.GetFirstNodeByName("Sparse-view FBP"), scene.GetFirstNodeByName("Zero-filled MR")
    assert fbp.GetImageData().GetDimensions() == (8, 7, 6)
    assert fbp.GetImageData().GetScalarRange()[1] == pytest.approx(0.3)
    assert (fbp.GetDisplayNode().GetWindowLevelMin(), fbp.GetDisplayNode().GetWindowLevelMax()) == (0.0, 1.0)
    shown = [slicer_app.layout.sliceWidget(name).sliceLogic().GetSliceCompositeNode() for name in ("Red", "Green")]
    assert [one.GetBackgroundVolumeID() for one in shown] == [fbp.GetID(), zero.GetID()]


def test_sensor_images_replace_those_of_the_last_time(opened, volumes, scene):
    opened.ui.sensorImagesButton.click()
    settle()
    scene.RemoveNode(scene.GetFirstNodeByName("Zero-filled MR"))
    fbp = scene.GetFirstNodeByName("Sparse-view FBP")
    fbp.SetName("My FBP")
    opened.ui.sensorImagesButton.click()
    settle()
    assert volume_names(scene) == ["CT", "MR", "My FBP", "Zero-filled MR"]
    assert opened.worker.kinds().count("reconstruct") == 1  # the session was still there
    opened.parameters.sensors.views = 32
    settle()
    opened.ui.sensorImagesButton.click()
    settle()
    assert opened.worker.kinds().count("reconstruct") == 2
    assert volume_names(scene) == ["CT", "MR", "My FBP", "Zero-filled MR"]


@pytest.mark.parametrize("held", ["open_model", "reconstruct", "sensor_images"])
def test_cancel_leaves_the_scene_as_it_was(opened, volumes, scene, held):
    before = scene.GetNumberOfNodes()
    opened.worker.held = {held}
    opened.ui.sensorImagesButton.click()
    settle()
    assert opened.worker.waiting() == [held]
    assert opened.ui.sensorImagesButton.text == "Cancel"
    assert opened.ui.sensorImagesButton.enabled
    opened.ui.sensorImagesButton.click()
    settle()
    assert opened.panel.task is None
    assert scene.GetNumberOfNodes() == before
    assert opened.ui.sensorImagesButton.text == "Show sensor images"
    assert opened.text("sensorsMessage") == ""


def test_a_failure_is_told_at_the_field_until_the_next_attempt(opened, volumes, scene):
    opened.worker.failures["sensor_images"] = "out of memory"
    opened.ui.sensorImagesButton.click()
    settle()
    assert opened.text("sensorsMessage") == "Out of memory."
    assert opened.kind("sensorsMessage") == "failure"
    assert apply_enabled(opened)
    opened.worker.failures.clear()
    opened.ui.sensorImagesButton.click()
    settle()
    assert opened.text("sensorsMessage") == ""
    assert "Sparse-view FBP" in volume_names(scene)


def test_the_button_waits_for_other_jobs_and_for_usable_input(opened, volumes):
    def forever():
        from MSLFusionPanel.task import later

        while True:
            yield later(5)

    opened.panel.run(opened.ui.applyButton, forever(), print, print, "Something")
    settle()
    assert not opened.ui.sensorImagesButton.enabled
    assert "Another job" in opened.ui.sensorImagesButton.toolTip
    opened.panel.cancel()
    settle()
    assert opened.ui.sensorImagesButton.enabled
    opened.parameters.model.name = "no such model"
    settle()
    assert not opened.ui.sensorImagesButton.enabled
    assert "no such model" in opened.ui.sensorImagesButton.toolTip


def test_the_scene_is_closed_while_images_are_made(opened, volumes, scene):
    opened.worker.held = {"sensor_images"}
    opened.ui.sensorImagesButton.click()
    settle()
    scene.Clear(False)
    settle()
    assert opened.panel.task is None
    assert volume_names(scene) == []
    assert opened.ui.sensorsInfo.text.startswith("Measured: 64 views")


def test_images_of_a_file_lie_where_it_says(opened, measured, scene):
    opened.worker.sensors |= {"geometry": GEOMETRY}
    opened.ui.sensorImagesButton.click()
    settle()
    assert opened.worker.last("reconstruct").header["sensors"] == str(measured)
    assert scene.GetFirstNodeByName("Sparse-view FBP").GetSpacing() == (0.5, 0.5, 3.0)


def test_images_join_the_folder_of_the_run(opened, volumes, scene):
    import slicer

    from MSLFusionLib.scene import hierarchy

    hybrid = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Hybrid")
    folder = hierarchy.run_folder(scene, "Run", {"Run": "reconstruct"})
    hierarchy.move_into(scene, folder, [hybrid])
    opened.parameters.output.hybrid = hybrid
    opened.ui.sensorImagesButton.click()
    settle()
    tree = scene.GetSubjectHierarchyNode()
    item = tree.GetItemByDataNode(scene.GetFirstNodeByName("Sparse-view FBP"))
    assert tree.GetItemParent(item) == folder


def test_a_saved_scene_comes_back_with_settings_and_images(opened, volumes, scene, tmp_path):
    from MSLFusionLib.scene import bundle
    from MSLFusionPanel.parameters import Modalities, SensorSource

    sensors = opened.parameters.sensors
    sensors.views, sensors.ctNoise, sensors.photons = 33, True, 5000.0
    settle()
    opened.ui.sensorImagesButton.click()
    settle()
    sensors.file, sensors.source, sensors.modalities = "/data/old.h5", SensorSource.FILE, Modalities.CT
    settle()
    bundle.save_bundle(scene, tmp_path / "saved.mrb")
    scene.Clear(False)
    settle()
    assert opened.parameters.sensors.views == 64
    assert opened.ui.sensorsFilePath.currentPath == ""
    bundle.load_bundle(scene, tmp_path / "saved.mrb")
    settle()
    assert opened.ui.sensorsFilePath.currentPath == "/data/old.h5"
    assert "does not exist" in opened.text("sensorsMessage")
    opened.parameters.sensors.source, opened.parameters.sensors.modalities = SensorSource.SIMULATE, Modalities.BOTH
    settle()
    assert opened.ui.viewsSpinBox.value == 33
    assert opened.ui.photonsSpinBox.enabled
    opened.ui.sensorImagesButton.click()
    settle()
    assert volume_names(scene) == ["CT", "MR", "Sparse-view FBP", "Zero-filled MR"]


def test_pictures(opened, volumes, measured, panel_image):
    opened.ui.sensorsSection.collapsed = False
    settle()
    assert opened.ui.sensorsFileInfo.visible
    assert not opened.ui.simulateFrame.visible
    assert not opened.ui.sensorsMessage.visible
    panel_image(opened.root, "sensors-file")
