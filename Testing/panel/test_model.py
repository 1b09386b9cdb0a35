"""Section 4: models and their cards, what they were not trained on, devices, and the worker's box."""

import json
import os
import socket
import subprocess

import pytest
from opened import Opened, write_model
from talk import COMMAND, ENVIRONMENT
from turns import settle, until

HDF5 = b"\x89HDF\r\n\x1a\n"
SENSORS = {"views": [32, 128], "acceleration": [2, 8], "masks": ["random", "equispaced"], "scan": "full"}


@pytest.fixture
def opened(slicer_app, monkeypatch):
    from MSLFusionPanel import install

    monkeypatch.setattr(install, "missing_packages", list)
    monkeypatch.delenv("MSLFUSION_MODELS", raising=False)
    one = Opened()
    one.load_volumes()
    yield one
    one.close()


@pytest.fixture
def folder(tmp_path):
    """The user's folder."""
    path = tmp_path / "models"
    path.mkdir()
    return path


def choose_folder(opened, folder):
    opened.ui.modelFolderPath.setCurrentPath(str(folder))
    settle()


def rows(selector):
    return [selector.itemText(i) for i in range(selector.count)]


def choose(selector, start):
    """As a user chooses the row that starts like this."""
    index = next(i for i, row in enumerate(rows(selector)) if row.startswith(start))
    selector.setCurrentIndex(index)
    settle()


def errors(opened):
    return opened.panel.messages.errors()


# Models


def test_the_shipped_model_is_chosen_and_described(opened):
    ui = opened.ui
    assert rows(ui.modelSelector) == ["msl-ct-t1"]
    assert ui.modelSelector.currentText == "msl-ct-t1"
    assert opened.parameters.model.name == ""
    card = ui.modelCard.toPlainText()
    for words in (
        "Trained on",
        "40 generated heads",
        "CT views",
        "32 to 128",
        "Licence",
        "MIT",
        "msl-ct-t1.safetensors",
    ):
        assert words in card
    assert errors(opened) == []
    assert opened.worker.kinds() == []  # nothing is started to look at models


def test_models_of_the_users_folder(opened, folder):
    write_model(folder / "mine.safetensors", name="My own", limits="For <b>me</b> & you")
    choose_folder(opened, folder)
    assert rows(opened.ui.modelSelector) == ["msl-ct-t1", "mine (My own)"]
    choose(opened.ui.modelSelector, "mine")
    assert opened.parameters.model.name == "mine"
    assert opened.parameters.model.folder == str(folder)
    assert "For <b>me</b> & you" in opened.ui.modelCard.toPlainText()
    choose(opened.ui.modelSelector, "msl")
    assert opened.parameters.model.name == ""


def test_folders_that_held_models_are_remembered(opened, folder, tmp_path):
    box = opened.ui.modelFolderPath.comboBox()
    other = tmp_path / "other"
    other.mkdir()
    for one in (folder, other):
        write_model(one / "mine.safetensors")
        choose_folder(opened, one)
    choose_folder(opened, tmp_path)
    assert opened.parameters.model.folder == str(tmp_path)
    assert [box.itemText(i) for i in range(box.count)] == [str(other), str(folder)]


def test_a_model_that_appears_later_is_found(opened, folder):
    choose_folder(opened, folder)
    assert "holds no model" in opened.text("modelMessage")
    assert opened.kind("modelMessage") == "info"
    write_model(folder / "new.safetensors")
    opened.panel.enter()
    settle()
    assert rows(opened.ui.modelSelector) == ["msl-ct-t1", "new"]
    assert opened.text("modelMessage") == ""


def test_the_default_is_the_first_that_takes_both_here_and_in_the_worker(opened, scene):
    opened.worker.models.insert(0, {"name": "ct", "path": "/models/ct.safetensors", "card": {"modalities": ["ct"]}})
    opened.worker.use_remote(9000, "token")
    opened.worker.ensure()
    settle()
    assert rows(opened.ui.modelSelector) == ["ct", "msl-ct-t1"]
    assert opened.ui.modelSelector.currentText == "msl-ct-t1"
    opened.ui.sensorImagesButton.click()
    settle()
    assert opened.worker.last("open_model").header["model"] == "/models/msl-ct-t1.safetensors"


def test_models_of_one_name_are_told_apart(opened, folder):
    write_model(folder / "msl-ct-t1.safetensors", limits="Another one")
    choose_folder(opened, folder)
    assert rows(opened.ui.modelSelector) == ["msl-ct-t1", f"msl-ct-t1, in {folder}"]
    choose(opened.ui.modelSelector, "msl-ct-t1, in")
    assert opened.parameters.model.name == str(folder / "msl-ct-t1.safetensors")
    assert "Another one" in opened.ui.modelCard.toPlainText()
    assert errors(opened) == []


def test_a_chosen_model_that_is_gone(opened, folder):
    write_model(folder / "mine.safetensors")
    choose_folder(opened, folder)
    choose(opened.ui.modelSelector, "mine")
    os.remove(folder / "mine.safetensors")
    opened.panel.enter()
    settle()
    assert opened.text("modelMessage") == (
        "The model “mine” is not there: choose another one, or the folder that it lies in."
    )
    assert opened.kind("modelMessage") == "error"
    assert opened.ui.modelSelector.currentText == "mine (not found)"
    assert opened.ui.modelCard.toPlainText() == ""
    choose(opened.ui.modelSelector, "msl")
    assert errors(opened) == []
    assert rows(opened.ui.modelSelector) == ["msl-ct-t1"]


@pytest.mark.parametrize("kind", ["gone", "file", "relative", "nul"])
def test_a_folder_that_cannot_be_searched(opened, tmp_path, kind):
    path = {"relative": "models", "nul": "/a\0b"}.get(kind, str(tmp_path / "x"))
    if kind == "file":
        (tmp_path / "x").write_text("text")
    opened.parameters.model.folder = path
    settle()
    words = {"gone": "does not exist", "file": "is no folder", "relative": "whole path", "nul": "cannot be read"}
    assert words[kind] in opened.text("modelMessage")
    assert opened.kind("modelMessage") == "error"
    assert not opened.ui.applyButton.enabled
    opened.ui.modelFolderPath.comboBox().lineEdit().clear()
    settle()
    assert opened.parameters.model.folder == ""
    assert errors(opened) == []


def test_foreign_and_damaged_files_beside_models_do_no_harm(opened, folder):
    (folder / "text.safetensors").write_text("no model")
    write_model(folder / "odd.safetensors", name=5, grid=7, sensors=[1], modalities="ct", training="much")
    write_model(folder / "ranges.safetensors", sensors={"views": "many"}, grid={"size": [None, "x"]})
    choose_folder(opened, folder)
    assert rows(opened.ui.modelSelector) == ["msl-ct-t1", "odd", "ranges"]
    choose(opened.ui.modelSelector, "odd")
    assert "cannot use CT and MR" in opened.text("modelMessage")
    choose(opened.ui.modelSelector, "ranges")
    assert "its card is damaged" in opened.text("modelMessage")
    assert opened.kind("modelMessage") == "error"
    assert opened.text("modelWarning") == ""


def test_a_model_for_one_modality(opened, folder):
    from MSLFusionPanel.parameters import Modalities

    write_model(folder / "only-ct.safetensors", modalities=["ct"])
    choose_folder(opened, folder)
    choose(opened.ui.modelSelector, "only-ct")
    assert opened.text("modelMessage") == (
        "The model “only-ct” cannot use MR: choose another model, or other data under Used."
    )
    assert not opened.ui.applyButton.enabled
    opened.parameters.sensors.modalities = Modalities.CT
    settle()
    assert errors(opened) == []


# What it was not trained on


def test_a_sampling_outside_of_the_training_is_a_warning(opened):
    opened.parameters.sensors.views = 16
    settle()
    assert "trained on CT views from 32 to 128; 16 lies outside" in opened.text("modelWarning")
    assert opened.kind("modelWarning") == "warning"
    assert errors(opened) == []
    opened.parameters.sensors.ctNoise = True
    opened.parameters.sensors.photons = 100.0
    settle()
    assert "16 lies outside" in opened.text("modelWarning")
    assert "100 give more noise" in opened.text("modelWarning")
    from MSLFusionPanel.parameters import Modalities

    opened.parameters.sensors.modalities = Modalities.MR
    settle()
    assert opened.text("modelWarning") == ""


def test_a_file_outside_of_the_training_is_a_warning(opened, tmp_path):
    from MSLFusionPanel.parameters import SensorSource

    (tmp_path / "data.h5").write_bytes(HDF5)
    opened.worker.held = {"describe_sensors"}
    opened.worker.sensors = {
        "modalities": ["ct"],
        "achieved": {"ct": {"views": 20, "scan": "limited", "bins": 9}},
        "geometry": {"size": [8, 7, 6], "spacing_mm": [1, 1, 1]},
        "plan": {"photons": 1000.0},
        "pixel_mm": 2.0,
    }
    from MSLFusionPanel.parameters import Modalities

    sensors = opened.parameters.sensors
    sensors.source, sensors.modalities, sensors.file = SensorSource.FILE, Modalities.CT, str(tmp_path / "data.h5")
    settle()
    assert opened.text("modelWarning") == ""  # not known yet
    while opened.worker.waiting():
        opened.worker.answer()
        settle()
    for words in ("20 lies outside", "'limited'", "1,000 give more noise", "2.00 mm is another size"):
        assert words in opened.text("modelWarning")
    assert errors(opened) == []


# Devices


def test_devices_are_known_when_the_worker_has_told(opened):
    selector = opened.ui.deviceSelector
    assert rows(selector) == ["Automatic", "Processor"]
    assert opened.worker.kinds() == []
    opened.ui.refreshDevicesButton.click()
    settle()
    assert rows(selector) == [
        "Automatic",
        "Processor, 8 GB of 16 GB free",
        "A GPU (cuda:0), 20 GB of 24 GB free",
    ]
    choose(selector, "A GPU")
    assert opened.parameters.model.device == "cuda:0"
    assert errors(opened) == []
    opened.ui.refreshDevicesButton.click()
    settle()
    assert opened.worker.kinds().count("devices") == 2


def test_devices_are_asked_for_once_when_a_worker_is_there_and_idle(opened):
    opened.worker.ensure()
    settle()
    opened.panel.update()
    settle()
    assert opened.worker.kinds().count("devices") == 1
    assert len(rows(opened.ui.deviceSelector)) == 3


def test_while_it_looks_and_while_a_job_runs_refresh_waits(opened):
    from MSLFusionPanel.task import later

    button = opened.ui.refreshDevicesButton
    opened.worker.held = {"devices"}
    button.click()
    settle()
    assert not button.enabled
    assert "looking" in button.toolTip
    opened.worker.answer()
    settle()
    assert button.enabled

    def forever():
        while True:
            yield later(5)

    opened.panel.run(opened.ui.applyButton, forever(), print, print, "Something")
    settle()
    assert not button.enabled
    assert "Another job" in button.toolTip
    opened.panel.cancel()
    settle()
    assert button.enabled


def test_a_device_that_is_not_there(opened):
    opened.parameters.model.device = "cuda:3"
    settle()
    assert opened.ui.deviceSelector.currentText == "cuda:3 (not looked for yet)"
    assert errors(opened) == []
    opened.ui.refreshDevicesButton.click()
    settle()
    assert opened.text("deviceMessage") == "The device cuda:3 is not there: choose another one."
    assert opened.kind("deviceMessage") == "error"
    assert opened.ui.deviceSelector.currentText == "cuda:3 (not there)"
    assert not opened.ui.applyButton.enabled
    choose(opened.ui.deviceSelector, "Automatic")
    assert errors(opened) == []
    assert len(rows(opened.ui.deviceSelector)) == 3
    opened.parameters.model.device = "cuda"
    settle()
    assert opened.ui.deviceSelector.currentText.startswith("A GPU")
    assert errors(opened) == []


def test_a_device_that_cannot_be(opened):
    opened.parameters.model.device = "tpu<1>"
    settle()
    assert opened.text("deviceMessage") == "There is no device “tpu<1>”: choose another one."
    assert opened.ui.deviceSelector.currentText == "tpu<1> (not there)"
    assert not opened.ui.applyButton.enabled


def test_devices_could_not_be_looked_for(opened):
    opened.worker.failures["devices"] = "the driver is too old"
    opened.ui.refreshDevicesButton.click()
    settle()
    assert opened.text("deviceMessage") == "The driver is too old."
    assert opened.kind("deviceMessage") == "failure"
    assert errors(opened) == []
    opened.worker.failures.clear()
    opened.ui.refreshDevicesButton.click()
    settle()
    assert opened.text("deviceMessage") == ""


def test_missing_packages_are_told_beforehand(opened, monkeypatch):
    from MSLFusionPanel import install

    monkeypatch.setattr(install, "missing_packages", lambda: ["torch>=2.4"])
    opened.panel.enter()
    settle()
    assert opened.text("deviceMessage") == "PyTorch is not installed; Apply offers to install it."
    assert opened.kind("deviceMessage") == "info"
    assert not opened.ui.refreshDevicesButton.enabled
    assert errors(opened) == []
    monkeypatch.setattr(install, "missing_packages", lambda: ["torch>=2.4", "h5py"])
    opened.panel.enter()
    settle()
    assert opened.text("deviceMessage") == "PyTorch, h5py are not installed; Apply offers to install them."


# The worker's box


def test_the_worker_is_described(opened):
    ui = opened.ui
    assert ui.workerInfo.text == "Not running; it starts by itself when it is needed."
    opened.worker.ensure()
    settle()
    assert ui.workerInfo.text == (
        "Running on this machine (process 4711), PyTorch 2.13.0, 2 cores, 8 GB of memory free at its start."
    )
    generation = opened.worker.generation
    ui.workerRestartButton.click()
    settle()
    assert opened.worker.generation == generation + 1
    assert opened.text("workerMessage") == ""
    assert not ui.workerConnectButton.enabled
    assert not ui.tokenLineEdit.enabled


def test_what_the_worker_says_is_shown_until_it_is_over(opened):
    opened.ui.workerBox.collapsed = True
    opened.worker.ensure()
    settle()
    opened.worker.die("the worker crashed")
    settle()
    assert opened.text("workerMessage") == "The worker crashed."
    assert opened.kind("workerMessage") == "failure"
    assert not opened.ui.workerBox.collapsed
    assert errors(opened) == []
    opened.ui.workerRestartButton.click()
    settle()
    assert opened.text("workerMessage") == ""


def test_a_worker_that_the_user_started(opened, scene):
    import qt

    ui = opened.ui
    ui.remoteCheckBox.click()
    settle()
    assert ui.workerInfo.text.startswith("Enter port and token")
    assert opened.worker.where == "local"
    assert not ui.workerRestartButton.enabled
    ui.workerConnectButton.click()
    settle()
    assert opened.text("workerMessage").startswith("Enter the token")
    assert errors(opened) == []
    ui.portSpinBox.value = 9000
    ui.tokenLineEdit.text = " s3cret-token "
    opened.worker.models = [{"name": "there", "path": "/far/there.safetensors", "card": {"modalities": ["ct", "mr"]}}]
    ui.workerConnectButton.click()
    settle()
    assert (opened.worker.where, opened.worker.token) == ("127.0.0.1:9000", "s3cret-token")
    assert ui.workerInfo.text.startswith("Connected at 127.0.0.1:9000 (process 4711 there), PyTorch 2.13.0")
    assert rows(ui.modelSelector) == ["there"]
    assert "/far/there.safetensors" in ui.modelCard.toPlainText()
    assert opened.worker.last("models").header["folders"] == []
    choose_folder(opened, "/far/more")
    assert opened.worker.last("models").header["folders"] == ["/far/more"]
    assert "machine that the worker runs on" in opened.text("modelMessage")
    assert "machine that the worker runs on" in ui.modelFolderPath.toolTip
    assert len(rows(ui.deviceSelector)) == 3
    # The token is nowhere but in its field.
    nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    assert "sensors.views" in str(opened.parameters.parameterNode)  # parameters are printed
    kept = (
        " ".join(str(node) for node in nodes) + opened.parameters.parameterNode.GetParameterNamesAsCommaSeparatedList()
    )
    kept += " ".join(str(qt.QSettings().value(key)) for key in qt.QSettings().allKeys())
    assert "s3cret" not in kept
    ui.remoteCheckBox.click()
    settle()
    assert opened.worker.where == "local"
    assert rows(ui.modelSelector) == ["msl-ct-t1"]
    assert "does not exist" in opened.text("modelMessage")  # the folder was one of that machine


def test_a_remote_worker_that_is_not_connected_or_lacks_pytorch(opened):
    opened.parameters.model.name = "there"
    opened.worker.use_remote(9000, "token")
    opened.panel.update()
    assert opened.ui.workerInfo.text == "Not connected to 127.0.0.1:9000."
    assert opened.ui.modelSelector.currentText == "there (not known yet)"
    assert "shown when it is connected" in opened.text("modelMessage")
    assert errors(opened) == []
    opened.worker.ensure()
    opened.worker.info["torch"] = False
    settle()
    assert opened.text("deviceMessage") == "PyTorch is not installed where the worker runs: install it there."
    assert "without PyTorch" in opened.ui.workerInfo.text
    assert "“there” is not there" in opened.text("modelMessage")
    assert not opened.ui.applyButton.enabled


def test_nobody_listens_at_the_port(slicer_app, opened):
    from MSLFusionPanel.process import Worker

    opened.close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # bound and not listening: it refuses
        one = Opened(Worker())
        one.ui.remoteCheckBox.click()
        settle()
        one.ui.portSpinBox.value = port
        one.ui.tokenLineEdit.text = "s3cret"
        one.ui.workerConnectButton.click()
        until(lambda: one.worker.state == "stopped" and one.text("workerMessage"))
        assert f"No worker answers at 127.0.0.1:{port}" in one.text("workerMessage")
        assert f"mslfusion worker --port {port}" in one.text("workerMessage")
        assert "s3cret" not in one.ui.logText.plainText
        settle()
        assert one.worker.state == "stopped"  # not tried again and again
        one.ui.remoteCheckBox.click()
        settle()
        assert one.text("workerMessage") == ""
        one.close()


def test_a_worker_on_a_port_wants_the_right_token(opened):
    """The real one, in a process."""
    from MSLFusionPanel.process import Worker

    opened.close()
    environment = {**ENVIRONMENT, "MSLFUSION_TOKEN": "the-token-of-this-test"}
    command = [*COMMAND, "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as server:
        try:
            one = Opened(Worker())
            one.ui.remoteCheckBox.click()
            settle()
            one.ui.portSpinBox.value = json.loads(server.stdout.readline())["port"]
            one.ui.tokenLineEdit.text = "another-token-altogether"
            one.ui.workerConnectButton.click()
            until(lambda: one.text("workerMessage"))
            assert one.text("workerMessage") == "The token is wrong: use the one that the worker printed."
            assert one.ui.workerInfo.text.startswith("Not connected")
            one.ui.tokenLineEdit.text = "the-token-of-this-test"
            one.ui.workerConnectButton.click()
            until(lambda: one.ui.modelSelector.count)
            assert one.text("workerMessage") == ""
            assert one.ui.workerInfo.text.startswith("Connected at 127.0.0.1:")
            assert rows(one.ui.modelSelector) == ["msl-ct-t1"]
            one.close()
        finally:
            server.kill()


def test_the_worker_cannot_be_changed_under_a_job(opened):
    from MSLFusionPanel.task import later

    def forever():
        while True:
            yield later(5)

    opened.panel.run(opened.ui.applyButton, forever(), print, print, "Something")
    settle()
    assert not opened.ui.remoteCheckBox.enabled
    assert "A job is running" in opened.ui.remoteCheckBox.toolTip
    assert opened.ui.workerRestartButton.enabled  # for a worker that hangs
    opened.panel.cancel()
    settle()
    assert opened.ui.remoteCheckBox.enabled


# The scene


def test_a_saved_scene_comes_back_with_model_and_device(opened, folder, scene, tmp_path):
    from MSLFusionLib.scene import bundle

    write_model(folder / "mine.safetensors")
    choose_folder(opened, folder)
    choose(opened.ui.modelSelector, "mine")
    opened.parameters.model.device = "cpu"
    settle()
    bundle.save_bundle(scene, tmp_path / "saved.mrb")
    scene.Clear(False)
    settle()
    assert rows(opened.ui.modelSelector) == ["msl-ct-t1"]
    assert opened.ui.modelFolderPath.currentPath == ""
    assert opened.ui.deviceSelector.currentText == "Automatic"
    bundle.load_bundle(scene, tmp_path / "saved.mrb")
    settle()
    assert opened.ui.modelSelector.currentText == "mine"
    assert opened.ui.modelFolderPath.currentPath == str(folder)
    assert opened.ui.deviceSelector.currentText == "Processor"
    assert errors(opened) == []


def test_a_new_panel_shows_what_the_scene_holds_and_forgets_the_token(opened, folder):
    write_model(folder / "mine.safetensors")
    choose_folder(opened, folder)
    choose(opened.ui.modelSelector, "mine")
    opened.ui.remoteCheckBox.click()
    opened.ui.tokenLineEdit.text = "s3cret"
    opened.close()
    again = Opened()
    assert again.ui.modelSelector.currentText == "mine"
    assert again.ui.modelFolderPath.currentPath == str(folder)
    assert again.ui.tokenLineEdit.text == ""
    assert not again.ui.remoteCheckBox.checked
    again.close()


def test_pictures(opened, folder, panel_image):
    write_model(folder / "mine.safetensors", modalities=["ct"], training={"data": "A long line of words " * 5})
    for name in ("modelSection", "modelCardBox", "workerBox"):
        getattr(opened.ui, name).collapsed = False
    choose_folder(opened, folder)
    opened.worker.ensure()
    opened.parameters.sensors.views = 12
    settle()
    panel_image(opened.root, "model")
    choose(opened.ui.modelSelector, "mine")
    opened.worker.die("the worker crashed")
    settle()
    panel_image(opened.root, "model-errors")
    assert opened.ui.modelMessage.visible
