"""Section 3 with files of raw data: dropped or chosen, described, shown, kept in the scene; and the readers' look."""

import json
import sys
import zipfile
import zlib

import numpy as np
import pytest
import raw_files
from opened import ROOT, Opened
from test_readers import Parent
from test_sensors_section import CT, HDF5, MR, apply_enabled, description
from turns import settle

BOX = [[x, y, z] for x in (-10, 10) for y in (-10, 10) for z in (0, 30)]
OUTLINE = {"boxes": {"ct": BOX, "mr": BOX}, "arc": [[0, 50, 15], [30, 40, 15], [50, 0, 15]],
           "detector": [[-20, -40, 15], [20, -40, 15]]}  # fmt: skip
WARNING = 'ct.npy: The position is not told ("centre_mm"): the first slice is put at the origin.'


def told(**achieved):
    """What the worker tells of raw files."""
    files = {"sinogram": {"file": "ct.npy", "kind": "sidecar ct.npy.json", "found": {"views": 32}}}
    outline = OUTLINE | {"boxes": {name: BOX for name in achieved}}
    return description(**achieved) | {"plan": None, "outline": outline, "files": files, "warnings": []}


@pytest.fixture
def opened(slicer_app, monkeypatch):
    from MSLFusionPanel import install

    monkeypatch.setattr(install, "missing_packages", list)
    one = Opened()
    one.worker.sensors = told(ct=CT, mr=MR)
    yield one
    one.close()


@pytest.fixture
def files(tmp_path):
    """A described sinogram and k-space, and an array that nothing describes."""
    names = {}
    for name, content in (
        ("ct.npy", {"kind": "sinogram", "beam": "parallel", "pitch_mm": 1, "angles": [0]}),
        ("mr.npy", {"kind": "kspace", "fov_mm": [200, 200]}),
        ("bare.npy", None),
    ):
        np.save(tmp_path / name, np.zeros((2, 9)))
        if content is not None:
            raw_files.write_description(tmp_path / name, content)
        names[name.partition(".")[0]] = str(tmp_path / name)
    return names


def choose(opened, **paths):
    from MSLFusionPanel.parameters import SensorSource

    opened.parameters.sensors.source = SensorSource.RAW
    settle()
    for name, path in paths.items():
        getattr(opened.ui, name).setCurrentPath(path)
        settle()


def kept(scene):
    every = (
        scene.GetNthNodeByClass(i, "vtkMRMLTextNode") for i in range(scene.GetNumberOfNodesByClass("vtkMRMLTextNode"))
    )
    return [node for node in every if node.GetAttribute("MSLFusion.SensorData")]


def test_both_files_are_described_and_kept_in_the_scene(opened, files, scene):
    opened.ui.sensorsSection.collapsed = False
    choose(opened)
    assert opened.ui.rawFrame.visible
    assert not opened.ui.sensorsFileFrame.visible
    assert opened.text("sensorsMessage") == "Choose a sinogram, k-space, or both."
    assert opened.kind("sensorsMessage") == "needed"
    choose(opened, sinogramPath=files["ct"], kspacePath=files["mr"])
    header = opened.worker.last("describe_sensors").header
    assert (header["sinogram"], header["kspace"], header["coils"]) == (files["ct"], files["mr"], "rss")
    assert "path" not in header
    assert opened.ui.rawInfo.text.startswith("CT and MR for a volume of 8 x 7 x 6")
    assert opened.ui.rawInfo.text.endswith("measured.")
    assert opened.text("sensorsMessage") == ""
    assert apply_enabled(opened)
    nodes = kept(scene)
    assert [node.GetName() for node in nodes] == ["Sensor data: ct.npy, mr.npy"]
    assert "32 views" in nodes[0].GetText()
    assert json.loads(nodes[0].GetAttribute("MSLFusion.SensorData"))["kspace"] == files["mr"]
    assert opened.ui.importedSelector.currentNode() is nodes[0]
    lines = [nodes[0].GetNodeReference(f"MSLFusion.{name}Outline") for name in ("CT", "MR")]
    bounds = [0.0] * 6
    lines[0].GetPolyData().GetBounds(bounds)
    assert bounds == [-50, 20, -50, 40, 0, 30]  # RAS: the source's way and the detector, too
    lines[1].GetPolyData().GetBounds(bounds)
    assert bounds == [-10, 10, -10, 10, 0, 30]


def test_one_file_gives_one_modality_and_says_so(opened, files, scene):
    from MSLFusionPanel.inputs import collect

    opened.worker.sensors = told(ct=CT) | {"warnings": [WARNING]}
    choose(opened, sinogramPath=files["ct"])
    assert collect(opened.parameters).modalities == ("ct",)
    assert "the MR is synthesised" in opened.text("sensorsRemark")
    assert "position is not told" in opened.text("sensorsRemark")
    assert opened.kind("sensorsRemark") == "warning"
    assert not opened.ui.registerRawCheckBox.enabled
    assert not opened.ui.coilsSelector.enabled
    assert kept(scene)[0].GetNodeReference("MSLFusion.MROutline") is None
    assert apply_enabled(opened)
    opened.ui.applyButton.click()
    settle()
    header = opened.worker.last("reconstruct").header
    assert header["modalities"] == ["ct"]
    assert header["sinogram"] == files["ct"]
    assert "kspace" not in header
    assert opened.parameters.output.hybrid.GetName() == "Hybrid (MR synthesised)"
    assert opened.parameters.output.hybrid.GetAttribute("MSLFusion.Synthesised") == "mr"


def test_what_is_used_and_not_there(opened, files):
    from MSLFusionPanel.parameters import Modalities

    choose(opened, sinogramPath=files["ct"])
    opened.parameters.sensors.modalities = Modalities.MR
    settle()
    assert opened.text("sensorsMessage") == (
        "No MR is chosen: choose “CT only (MR synthesised)” under Used, or a file."
    )
    assert not apply_enabled(opened)
    assert opened.ui.sensorPicturesButton.enabled  # they can be looked at all the same


def test_reconstruction_from_both_files(opened, files):
    from MSLFusionPanel.parameters import Coils

    choose(opened, sinogramPath=files["ct"], kspacePath=files["mr"])
    sensors = opened.parameters.sensors
    sensors.coils, sensors.select, sensors.register = Coils.ESPIRIT, "contrast=1, average=0", False
    settle()
    opened.ui.applyButton.click()
    settle()
    header = opened.worker.last("reconstruct").header
    assert header["select"] == {"contrast": 1, "average": 0}
    assert (header["coils"], header["register"]) == ("espirit", False)
    assert "plan" not in header
    assert opened.parameters.output.hybrid.GetSpacing() == (0.5, 0.5, 3.0)
    assert "registered" not in opened.ui.logText.toPlainText()
    assert "metrics" not in opened.worker.kinds()
    assert "no ground truth" in opened.ui.resultsInfo.text
    assert opened.worker.kinds().count("reconstruct") == 1
    opened.ui.sensorImagesButton.click()
    settle()
    assert opened.worker.kinds().count("reconstruct") == 1
    sensors.select = "contrast=2"
    settle()
    opened.ui.sensorImagesButton.click()
    settle()
    assert opened.worker.kinds().count("reconstruct") == 2


def test_a_registration_is_told(opened, files):
    choose(opened, sinogramPath=files["ct"], kspacePath=files["mr"])
    opened.ui.applyButton.click()
    settle()
    assert "moved by 2.0 -1.0 0.5 mm, overlap 90 %" in opened.ui.logText.toPlainText()


def test_a_part_that_reads_like_nothing(opened, files):
    choose(opened, kspacePath=files["mr"])
    opened.parameters.sensors.select = "slice 3"
    settle()
    assert "average, contrast, phase, repetition, set" in opened.text("sensorsMessage")
    assert not apply_enabled(opened)


def test_a_missing_description_is_named_and_asked_again_when_it_is_there(opened, files, scene, tmp_path):
    opened.worker.failures["describe_sensors"] = "bare.npy does not say how it was scanned"
    opened.worker.sensors = None
    opened.worker.failures.clear()
    choose(opened, sinogramPath=files["bare"])
    assert opened.text("sensorsMessage") == "The file is no sensors file."  # the worker's own sentence
    assert not apply_enabled(opened)
    assert not opened.ui.sensorPicturesButton.enabled
    assert kept(scene) == []
    opened.worker.sensors = told(ct=CT)
    raw_files.write_description(tmp_path / "bare.npy", {"kind": "sinogram"})
    opened.panel.update()
    settle()
    assert opened.text("sensorsMessage") == ""
    assert len(kept(scene)) == 1


@pytest.mark.parametrize("kind", ["gone", "folder", "relative"])
def test_a_file_that_cannot_be_used_is_told_without_the_worker(opened, tmp_path, kind):
    choose(opened, kspacePath={"folder": str(tmp_path), "relative": "mr.npy"}.get(kind, str(tmp_path / "gone.npy")))
    assert opened.text("sensorsMessage")
    assert not apply_enabled(opened)
    assert "describe_sensors" not in opened.worker.kinds()


def test_pictures_lie_nowhere_in_the_patient(opened, files, scene):
    choose(opened, sinogramPath=files["ct"], kspacePath=files["mr"])
    opened.ui.sensorPicturesButton.click()
    settle()
    sinogram, kspace = (
        scene.GetFirstNodeByName("Sinogram (bins x views)"),
        scene.GetFirstNodeByName("k-space (kx x ky, dB)"),
    )
    assert sinogram.GetImageData().GetDimensions() == (9, 5, 3)
    assert kspace.GetImageData().GetDimensions() == (7, 6, 2)
    for node in (sinogram, kspace):
        assert node.GetSpacing() == (1.0, 1.0, 1.0)
        assert "no position in the patient" in node.GetDescription()
    assert sinogram.GetAttribute("MSLFusion.Axes") == "bins, views, slices"
    display = kspace.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-80.0, 0.0)
    assert not display.GetInterpolate()
    before = scene.GetNumberOfNodes()
    opened.ui.sensorPicturesButton.click()
    settle()
    assert scene.GetNumberOfNodes() == before


def test_images_are_called_what_they_are(opened, files, scene):
    from MSLFusionPanel.parameters import Coils
    from MSLFusionPanel.sensorwords import image_names

    assert image_names({"ct": {"scan": "limited"}}, {})["fbp"] == "Limited-angle CT (total variation)"
    choose(opened, kspacePath=files["mr"])
    opened.ui.sensorImagesButton.click()
    settle()
    node = scene.GetFirstNodeByName("Zero-filled MR")
    opened.parameters.sensors.coils = Coils.SENSE_TV
    settle()
    opened.ui.sensorImagesButton.click()
    settle()
    assert node.GetName() == "MR (total variation)"


def test_pictures_can_be_cancelled(opened, files, scene):
    choose(opened, sinogramPath=files["ct"])
    before = scene.GetNumberOfNodes()
    opened.worker.held = {"sensor_pictures"}
    opened.ui.sensorPicturesButton.click()
    settle()
    assert opened.ui.sensorPicturesButton.text == "Cancel"
    assert not opened.ui.sensorImagesButton.enabled
    opened.ui.sensorPicturesButton.click()
    settle()
    assert opened.panel.task is None
    assert scene.GetNumberOfNodes() == before


def test_nodes_are_chosen_removed_saved_and_opened(opened, files, scene, tmp_path):
    from MSLFusionLib.scene import bundle
    from MSLFusionPanel.parameters import SensorSource

    choose(opened, sinogramPath=files["ct"])
    choose(opened, kspacePath=files["mr"])
    assert len(kept(scene)) == 1  # the second file completed the first one's node
    both = kept(scene)[0]
    choose(opened, sinogramPath="")
    assert [node.GetName() for node in kept(scene)] == ["Sensor data: ct.npy, mr.npy", "Sensor data: mr.npy"]
    box = next(child for child in opened.ui.importedSelector.children() if child.inherits("QComboBox"))
    box.activated.emit(box.findData(both.GetID()))
    settle()
    assert opened.ui.sinogramPath.currentPath == opened.parameters.sensors.sinogram == files["ct"]
    bundle.save_bundle(scene, tmp_path / "saved.mrb")
    scene.Clear(False)
    settle()
    assert opened.parameters.sensors.sinogram == ""
    bundle.load_bundle(scene, tmp_path / "saved.mrb")
    settle()
    assert opened.parameters.sensors.source is SensorSource.RAW
    assert opened.ui.kspacePath.currentPath == files["mr"]
    assert opened.ui.importedSelector.currentNode().GetName() == "Sensor data: ct.npy, mr.npy"
    assert len(kept(scene)) == 2
    scene.RemoveNode(opened.ui.importedSelector.currentNode())
    settle()
    assert opened.ui.importedSelector.currentNode() is None
    assert opened.parameters.sensors.kspace == files["mr"]


def test_the_text_of_a_damaged_node_changes_nothing(opened, scene):
    for text in ("{", "[]", '{"file": 3}', '{"sinogram": 1, "kspace": null}'):
        node = scene.AddNewNodeByClass("vtkMRMLTextNode", "x")
        node.SetAttribute("MSLFusion.SensorData", text)
        from MSLFusionPanel import sensornode

        sensornode.choose(node, opened.parameters.sensors)
        assert (opened.parameters.sensors.file, opened.parameters.sensors.sinogram) == ("", "")


def test_files_are_looked_at_shortly(tmp_path, files, slicer_app):
    from MSLFusionPanel.rawlook import KSPACE, SINOGRAM, kind_of

    assert kind_of(files["ct"]) == SINOGRAM
    assert kind_of(files["mr"]) == KSPACE
    assert kind_of(files["bare"]) is None
    xml = raw_files.ismrmrd_xml((8, 8), (80, 80, 5))
    kspace = np.ones((1, 1, 8, 8), np.complex64)
    assert kind_of(str(raw_files.write_fastmri(tmp_path / "fast.h5", kspace, xml))) == KSPACE
    lines = [raw_files.acquisition(kspace[0, :, :, k], kspace_encode_step_1=k) for k in range(8)]
    assert kind_of(str(raw_files.write_ismrmrd(tmp_path / "mrd.h5", xml, lines))) == KSPACE
    with zipfile.ZipFile(tmp_path / "authors.npz", "w") as archive:
        for name in ("kspace", "sino", "t1"):
            archive.writestr(f"{name}.npy", b"")
    assert kind_of(str(tmp_path / "authors.npz")) == KSPACE
    struct = zlib.compress(b"..CtDataLimited\0type\0\0\0\0sinogram\0\0\0parameters\0\0" + bytes(300))
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"\x0f\0\0\0" + len(struct).to_bytes(4, "little")
    (tmp_path / "scan.mat").write_bytes(head + struct)
    assert kind_of(str(tmp_path / "scan.mat")) == SINOGRAM
    for name, content in (
        ("a.mat", head + b"\xff" * 50), ("b.mat", b""), ("c.h5", HDF5 + b"other" * 99), ("d.npz", b"PK\3\4rest"),
        ("e.txt", b"kspace"), ("f.nrrd", b"NRRD0004"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        assert kind_of(str(tmp_path / name)) is None
    (tmp_path / "f.nrrd.json").write_text('{"Modality": "MR"}')  # of another program
    assert kind_of(str(tmp_path / "f.nrrd")) is None
    assert kind_of(str(tmp_path / "absent.h5")) is None


def test_damaged_files_are_nothing_to_the_look(tmp_path, files, slicer_app):
    from MSLFusionPanel.rawlook import kind_of

    rng = np.random.default_rng(0)
    xml = raw_files.ismrmrd_xml((8, 8), (80, 80, 5))
    sound = raw_files.write_fastmri(tmp_path / "fast.h5", np.ones((1, 1, 8, 8), np.complex64), xml).read_bytes()
    np.savez(tmp_path / "all.npz", kspace=np.zeros(9), sino=np.zeros(9), t1=np.zeros(9))
    for ending, content in (("h5", sound), ("npz", (tmp_path / "all.npz").read_bytes()), ("npy", b"\x93NUMPY")):
        for number in range(40):
            damaged = bytearray(content[: int(rng.integers(0, len(content) + 1))])
            for place in rng.integers(0, max(1, len(damaged)), 5 if damaged else 0):
                damaged[place] = int(rng.integers(0, 256))
            path = tmp_path / f"{number}.{ending}"
            path.write_bytes(bytes(damaged))
            path.with_name(f"{path.name}.json").write_bytes(rng.bytes(30) if number % 2 else b'{"kind": ["kspace"]}')
            assert kind_of(str(path)) in (None, "kspace")


def test_dropped_files_are_chosen_together(slicer_app, files, scene, tmp_path):
    from MSLFusionPanel.parameters import SensorSource

    widget = slicer_app.open_module(ROOT / "MSLFusion" / "MSLFusion.py")
    reader = sys.modules["MSLFusion"].MSLFusionFileReader(Parent())
    assert any("*.npz" in text and "*.nii.gz" in text for text in reader.extensions())
    assert reader.canLoadFileConfidence(files["ct"]) > 0.6
    assert reader.canLoadFileConfidence(files["bare"]) == 0
    widget.panel.ui.sensorsSection.collapsed = True
    for name in ("ct", "mr"):
        assert reader.load({"fileName": files[name]}) is True
    sensors = widget.logic.getParameterNode().sensors
    assert sensors.source is SensorSource.RAW
    assert (sensors.sinogram, sensors.kspace) == (files["ct"], files["mr"])
    assert not widget.panel.ui.sensorsSection.collapsed
    nodes = kept(scene)
    assert [node.GetName() for node in nodes] == ["Sensor data: ct.npy, mr.npy"]
    assert reader.parent.loadedNodes == [nodes[0].GetID()]
    assert reader.load({"fileName": files["bare"]}) is False
    assert "describes it" in reader.parent.messages.said[0]
    settle()


def test_pictures_of_the_section(opened, files, panel_image):
    opened.ui.sensorsSection.collapsed = False
    opened.worker.sensors = told(ct=CT) | {"warnings": [WARNING]}
    choose(opened, sinogramPath=files["ct"])
    assert opened.ui.sensorsRemark.visible
    panel_image(opened.root, "sensors-raw")
