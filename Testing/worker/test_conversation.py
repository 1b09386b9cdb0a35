"""A whole conversation with a worker in a process of its own."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from talk import COMMAND, ENVIRONMENT, PLAN, TIMEOUT, head

from MSLFusionLib.client import Assembler, Grid, Volume
from MSLFusionLib.errors import InputError, JobError
from MSLFusionLib.io.checkpoints import load_checkpoint
from MSLFusionLib.io.sensors import SensorHeader, SensorWriter
from MSLFusionLib.progress import NO_JOB
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.reconstructor import Reconstructor
from MSLFusionLib.recon.simulate import SamplingPlan
from MSLFusionLib.recon.sources import VolumeSource
from MSLFusionLib.transport import SubprocessTransport
from MSLFusionLib.wire import Message
from MSLFusionLib.worker.machine import devices
from MSLFusionLib.worker.services import Services

ROUNDING = 2e-5


def image(volume: Volume) -> sitk.Image:
    return VolumeGeometry.from_dict(volume.geometry()).image(volume.array)


@pytest.fixture(scope="module")
def reconstructor(model_file) -> Reconstructor:
    return Reconstructor(load_checkpoint(model_file), "cpu")


@pytest.fixture(scope="module")
def session(worker) -> dict:
    """The header of a reconstruction of the head in the shared worker."""
    ct, mr = head()
    seen, warnings = [], []
    call = worker.client.reconstruct(ct, mr, PLAN, on_progress=seen.append, on_warning=warnings.append)
    header = worker.wait(call, TIMEOUT).header
    assert {"prepare", "reconstruct"} <= {progress["stage"] for progress in seen}
    assert seen[-1]["done"] == seen[-1]["total"]
    assert all({"seconds_left", "done", "total", "stage"} <= set(progress) for progress in seen)
    assert warnings == []
    return header


def test_hello_and_devices_and_models(worker, model_file):
    header = worker.wait(worker.client.hello(), TIMEOUT).header
    assert header["protocol"] == 1
    assert {"mslfusion", "python", "torch"} <= set(header["versions"])
    assert header["pid"] == worker.process.pid
    cpu = worker.wait(worker.client.devices(), TIMEOUT).header["devices"][0]
    assert cpu["name"] == "cpu"
    assert cpu["total_bytes"] > cpu["free_bytes"] > 0
    assert "core" in cpu["label"]
    models = worker.wait(worker.client.models([str(model_file.parent)]), TIMEOUT).header["models"]
    (tiny,) = [model for model in models if model["name"] == "tiny"]
    assert tiny["path"] == str(model_file)
    assert tiny["card"]["grid"] == {"size": [64, 64], "pixel_mm": 4.0}


def test_a_gpu_without_free_memory_is_listed_all_the_same(monkeypatch):
    def full(index):
        if index:
            raise RuntimeError("CUDA error: out of memory")
        return 3, 4

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", "GPU {}".format)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: SimpleNamespace(total_memory=8))
    monkeypatch.setattr("torch.cuda.mem_get_info", full)
    assert devices()[1:] == [
        {"name": "cuda:0", "label": "GPU 0", "free_bytes": 3, "total_bytes": 4},
        {"name": "cuda:1", "label": "GPU 1", "free_bytes": None, "total_bytes": 8},
    ]


@pytest.fixture(scope="module")
def sensors_file(reconstructor, tmp_path_factory) -> Path:
    """What scanners measure of the head, in a file."""
    ct, mr = head()
    path = tmp_path_factory.mktemp("sensors") / "s.h5"
    source = VolumeSource(image(ct), image(mr), SamplingPlan.from_dict(PLAN), reconstructor.options())
    with SensorWriter(path, SensorHeader(**source.header())) as writer:
        batch = source.measure(source.occupied, reconstructor.device)
        writer.write(source.occupied, batch.sinogram[:, 0].numpy(), batch.kspace.numpy())
    return path


def test_hello_needs_no_torch_and_a_missing_one_is_told(tmp_path, model_file, sensors_file):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module named torch', name='torch')")
    path = f"{tmp_path}:{ENVIRONMENT['PYTHONPATH']}"
    with SubprocessTransport(COMMAND, {**ENVIRONMENT, "PYTHONPATH": path}) as transport:
        assert transport.wait(transport.client.hello(), TIMEOUT).header["cores"] >= 1
        assert transport.wait(transport.client.models(), TIMEOUT).type == "result"
        assert transport.wait(transport.client.describe_sensors(str(sensors_file)), TIMEOUT).type == "result"
        with pytest.raises(JobError, match="torch is not installed"):
            transport.wait(transport.client.open_model(str(model_file)), TIMEOUT)


def test_a_generated_head_needs_no_torch_and_its_scans_lie_apart(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module named torch', name='torch')")
    path = f"{tmp_path}:{ENVIRONMENT['PYTHONPATH']}"
    grids = {"size": (24, 20, 12), "spacing_mm": (10.0, 11.0, 16.0)}
    moved = {"misalign_mm": 9.0, "moving_size": (20, 22, 10), "moving_spacing_mm": (11.0, 11.0, 18.0)}
    stages = []
    with SubprocessTransport(COMMAND, {**ENVIRONMENT, "PYTHONPATH": path}) as transport:
        phantom = transport.client.phantom
        call = phantom(3, **grids, **moved, on_progress=lambda progress: stages.append(progress["done"]))
        apart = transport.wait(call, TIMEOUT)
        again = transport.wait(phantom(3, **grids, tumour=False), TIMEOUT)
    assert apart.arrays["ct"].shape == (12, 20, 24)
    assert apart.arrays["mr"].shape == (10, 22, 20)
    assert apart.header["volumes"]["ct"]["spacing_mm"] == [10, 11, 16]
    assert apart.header["volumes"]["mr"]["size"] == [20, 22, 10]
    assert apart.header["seconds"] > 0
    assert stages[-1] == 22
    assert apart.arrays["ct"].max() > 300
    assert again.header["volumes"]["mr"] == again.header["volumes"]["ct"]


def test_a_generated_head_can_be_cancelled(worker):
    seen = []
    call = worker.client.phantom(size=(64, 64, 400), spacing_mm=(4.0, 4.0, 0.5), on_progress=seen.append)
    worker.until(lambda: seen, TIMEOUT)
    worker.client.cancel(call)
    worker.until(lambda: call.done, TIMEOUT)
    assert call.failure.reason == "cancelled"


def test_a_session_tells_where_its_planes_lie(session):
    ct, _ = head()
    assert session["geometry"] == ct.geometry()
    assert session["shape"] == list(ct.array.shape)
    assert session["slice_axis"] == 0
    assert session["occupied"] == [0, 1, 2, 3]
    assert session["achieved"]["ct"]["views"] == 32
    assert session["latents"]["slices"] == 4
    assert session["latents"]["precision"] == "float32"


def test_slices_and_volumes_are_the_reconstructors(worker, session, reconstructor):
    ct, mr = head()
    plan = SamplingPlan.from_dict(PLAN)
    hybrids = reconstructor.reconstruct([0.3, 1.0], ct=image(ct), mr=image(mr), plan=plan).hybrids
    for lam, (_, volume) in zip((0.3, 1.0), hybrids, strict=True):
        expected = sitk.GetArrayFromImage(volume)
        plane = worker.wait(worker.client.decode_slice(2, lam, session=session["session"]), TIMEOUT)
        assert plane.arrays["plane"] == pytest.approx(expected[2], abs=ROUNDING)
        assembler = Assembler(session["shape"], session["slice_axis"])
        worker.wait(worker.client.decode_volume(lam, on_part=assembler.add), TIMEOUT)
        assert assembler.volumes["hybrid"] == pytest.approx(expected, abs=ROUNDING)
        field = np.full(expected.shape, lam, np.float32)
        mapped = worker.wait(worker.client.decode_slice(2, field[2]), TIMEOUT)
        assert mapped.arrays["plane"] == pytest.approx(expected[2], abs=ROUNDING)
        assembler = Assembler(session["shape"], session["slice_axis"])
        worker.wait(worker.client.decode_volume(field, on_part=assembler.add), TIMEOUT)
        assert assembler.volumes["hybrid"] == pytest.approx(expected, abs=ROUNDING)


def test_without_consistency_slices_are_the_networks_own(model_file, reconstructor):
    ct, mr = head()
    plain = {"plan": SamplingPlan.from_dict(PLAN), "consistency": False}
    (_, expected), *_ = reconstructor.reconstruct([0.0], ct=image(ct), mr=image(mr), **plain).hybrids
    with SubprocessTransport(COMMAND, ENVIRONMENT) as transport:
        transport.wait(transport.client.open_model(str(model_file)), TIMEOUT)
        header = transport.wait(transport.client.reconstruct(ct, mr, PLAN, consistency=False), TIMEOUT).header
        assert header["consistency"] is False
        plane = transport.wait(transport.client.decode_slice(3, 0.0), TIMEOUT).arrays["plane"]
    whole = sitk.GetArrayFromImage(expected)
    assert plane == pytest.approx(whole.take(3, header["slice_axis"]), abs=ROUNDING)


def test_sensor_images_and_metrics(worker, session, reconstructor):
    ct, mr = head()
    others = reconstructor.reconstruct(
        [0], ct=image(ct), mr=image(mr), plan=SamplingPlan.from_dict(PLAN), sensor_images=True
    ).others
    assembler = Assembler(session["shape"], session["slice_axis"])
    worker.wait(worker.client.sensor_images(on_part=assembler.add), TIMEOUT)
    assert set(assembler.volumes) == set(others) == {"fbp", "zero-filled"}
    for kind, volume in others.items():
        assert assembler.volumes[kind] == pytest.approx(sitk.GetArrayFromImage(volume), abs=ROUNDING)
    rows = worker.wait(worker.client.metrics([0, 1]), TIMEOUT).header["rows"]
    assert [row["image"] for row in rows] == ["lambda 0", "lambda 1", "FBP", "zero-filled"]
    assert rows[0]["psnr_ct"] > rows[1]["psnr_ct"] > 0
    assert rows[1]["psnr_mr"] > rows[0]["psnr_mr"]


def test_a_sensors_file_is_described(worker, sensors_file):
    found = worker.wait(worker.client.describe_sensors(str(sensors_file)), TIMEOUT).header
    ct, mr = head()
    achieved = worker.wait(worker.client.reconstruct(ct, mr, PLAN), TIMEOUT).header["achieved"]
    assert found["modalities"] == ["ct", "mr"]
    assert found["achieved"]["ct"].items() <= achieved["ct"].items()
    assert found["achieved"]["mr"] == achieved["mr"] | {"coils": 1}
    assert found["geometry"] == ct.geometry()
    assert (found["slices"], found["occupied"], found["slice_axis"], found["pixel_mm"]) == (4, 4, 0, 4.0)
    assert found["plan"]["views"] == 32


def test_describing_a_sensors_file_reads_no_data(sensors_file, monkeypatch):
    def reads(*_):
        raise AssertionError("data were read")

    monkeypatch.setattr("h5py.Dataset.__getitem__", reads)
    request = Message({"type": "describe_sensors", "id": 1, "path": str(sensors_file)})
    header, arrays = Services().handler("describe_sensors")(request, NO_JOB, reads)
    assert (header["slices"], arrays) == (4, {})


def test_a_sensors_file_gives_what_its_volumes_give(worker, sensors_file):
    ct, mr = head()
    worker.wait(worker.client.reconstruct(ct, mr, PLAN), TIMEOUT)
    expected = worker.wait(worker.client.decode_slice(1, 0.6), TIMEOUT).arrays["plane"]
    call = worker.client.reconstruct(sensors=str(sensors_file), latent_mb=0)
    assert worker.wait(call, TIMEOUT).header["latents"]["slices"] == 1
    for index in (1, 0, 1):
        plane = worker.wait(worker.client.decode_slice(index, 0.6), TIMEOUT).arrays["plane"]
    assert plane == pytest.approx(expected, abs=5e-3)
    with pytest.raises(InputError, match="no ground truth"):
        worker.wait(worker.client.metrics([0]), TIMEOUT)


def test_registration_brings_the_mr_back(worker):
    ct, mr = head(slices=16, spacing=5.0, across=(36, 32))
    moved = Volume(mr.array, mr.spacing, tuple(np.add(mr.origin, (6.0, -4.0, 0.0))), mr.direction)
    stages = []
    call = worker.client.register(ct, moved, on_progress=lambda header: stages.append(header["stage"]))
    reply = worker.wait(call, TIMEOUT)
    found = reply.header["registration"]
    assert found["shift_mm"][:2] == pytest.approx([6, -4], abs=1.5)  # along z the head looks the same everywhere
    assert np.array(found["matrix"]) == pytest.approx(np.eye(3), abs=0.03)
    assert reply.arrays["moved"].shape == ct.array.shape
    inside = ct.array > -500
    assert np.abs(reply.arrays["moved"] - mr.array)[inside].mean() < np.abs(mr.array)[inside].mean() / 5
    assert "prepare" in stages


def test_an_mr_that_lies_right_is_brought_onto_the_cts_grid(worker):
    ct, mr = head()
    shifted = Volume(mr.array, mr.spacing, tuple(np.add(mr.origin, (8.0, -4.0, 5.0))), mr.direction)
    move = np.eye(4)
    move[:3, 3] = 8.0, -4.0, 5.0
    same = worker.wait(worker.client.resample(ct, shifted, move), TIMEOUT).arrays["moved"]
    assert np.array_equal(same, mr.array)
    grid = Grid(ct.array.shape[::-1], ct.spacing, ct.origin, ct.direction)
    moved = worker.wait(worker.client.resample(grid, shifted), TIMEOUT).arrays["moved"]
    assert moved.dtype == np.float32
    assert np.array_equal(moved[1:, :-1, 2:], mr.array[:-1, 1:, :-2])
    assert (moved[0] == mr.array.min()).all()
    filled = worker.wait(worker.client.resample(grid, shifted, fill=-7.0), TIMEOUT).arrays["moved"]
    assert (filled[0] == -7).all()
    with pytest.raises(InputError, match="too large"):
        worker.wait(worker.client.resample(grid, shifted, fill=1e40), TIMEOUT)
    finer = Grid((80, 22, 3), (2.0, 8.0, 5.0), ct.origin)
    half = worker.wait(worker.client.resample(finer, mr), TIMEOUT).arrays["moved"]
    assert np.array_equal(half[:, :, :78:2], mr.array[:3, ::2, :39])


@pytest.mark.parametrize(
    ("matrix", "fixed", "sentence"),
    [
        (np.eye(3), {}, "4 x 4 numbers"),
        (np.diag([1.0, 1.0, 0.0, 1.0]), {}, "cannot be turned back"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), {}, "last row 0 0 0 1"),
        (None, {"origin": (9999.0, 0.0, 0.0)}, "no point in common"),
        (None, {"size": (9999999, 99999, 9)}, "not possible"),
        (None, {"direction": (0.0,) * 9}, "three dimensions"),
    ],
)
def test_impossible_places_are_refused(worker, matrix, fixed, sentence):
    _, mr = head()
    grid = {"size": (40, 44, 4), "spacing": mr.spacing, "origin": mr.origin}
    with pytest.raises(InputError, match=sentence):
        worker.wait(worker.client.resample(Grid(**(grid | fixed)), mr, matrix), TIMEOUT)


@pytest.mark.parametrize(
    ("request_type", "parameters", "sentence"),
    [
        ("no such thing", {}, "Unknown request"),
        ("", {}, "Unknown request"),
        ("open_model", {}, "needs a text 'model'"),
        ("open_model", {"model": "nobody-made-this"}, "no model"),
        ("open_model", {"model": "/nowhere/m.safetensors"}, "does not exist"),
        ("register", {}, "send both volumes"),
        ("resample", {}, "send the volume 'moving'"),
        ("describe_sensors", {}, "needs a sensors file, or a sinogram or k-space"),
        ("describe_sensors", {"path": "/nowhere.h5"}, "does not exist"),
        ("reconstruct", {}, "Give a CT volume"),
        ("reconstruct", {"plan": {"views": 0}}, "number of views"),
        ("reconstruct", {"plan": {"colour": 1}}, "sampling plan is damaged"),
        ("reconstruct", {"plan": 7}, "must be a table"),
        ("reconstruct", {"sensors": "/nowhere.h5"}, "does not exist"),
        ("reconstruct", {"latent_mb": "much"}, "needs a number"),
        ("reconstruct", {"consistency": "no"}, "must be true or false"),
        ("decode_slice", {"index": 99, "lambda": 0.5}, "no slice 99"),
        ("decode_slice", {"index": 1, "lambda": 2}, "between 0"),
        ("decode_slice", {"index": True, "lambda": 1}, "whole number"),
        ("decode_slice", {"index": 1}, "needs a number 'lambda'"),
        ("metrics", {"lambdas": []}, "list of numbers"),
        ("metrics", {"lambdas": ["x"]}, "needs a number"),
        ("models", {"folders": "here"}, "list of texts"),
        ("phantom", {"size": [0, 64, 64]}, "size must be"),
        ("phantom", {"size": "large"}, "list of numbers"),
        ("phantom", {"tumour": 1}, "true or false"),
        ("phantom", {"misalign_mm": 500}, "from 0 to 100"),
    ],
)
def test_wrong_requests_get_one_sentence_and_harm_nothing(worker, session, request_type, parameters, sentence):
    failures = []
    call = worker.client.request(request_type, parameters, on_error=failures.append)
    worker.until(lambda: call.done, TIMEOUT)
    assert sentence in failures[0].sentence
    assert (failures[0].exit_code, failures[0].reason) == (2, "input")
    assert worker.wait(worker.client.decode_slice(1, 0.5), TIMEOUT).arrays["plane"].shape == (44, 40)


def test_volumes_that_are_not_possible_are_refused(worker):
    ct, mr = head()
    broken = ct.array.copy()
    broken[1, 2, 3] = np.nan
    request = worker.client.request
    for arrays, volumes, sentence in (
        ({"ct": ct.array}, {}, "where the volume 'ct' lies"),
        ({"ct": ct.array}, {"ct": {"size": [1, 2, 3]}}, "damaged"),
        ({"ct": ct.array[1:]}, {"ct": ct.geometry()}, "its geometry says"),
        ({"ct": broken}, {"ct": ct.geometry()}, "not numbers"),
        ({"ct": np.zeros_like(broken)}, {"ct": ct.geometry()}, "constant"),
        ({"ct": ct.array, "mr": mr.array[1:]}, {"ct": ct.geometry(), "mr": Volume(mr.array[1:]).geometry()}, "grid"),
    ):
        with pytest.raises(InputError, match=sentence):
            worker.wait(request("reconstruct", {"volumes": volumes}, arrays), TIMEOUT)


def test_requests_for_a_replaced_session_are_dropped(worker, session):
    ct, mr = head()
    newer = worker.wait(worker.client.reconstruct(ct, mr, PLAN, modalities=("mr",)), TIMEOUT).header["session"]
    assert newer > session["session"]
    dropped = []
    call = worker.client.decode_slice(1, 0.5, session=session["session"], on_dropped=lambda: dropped.append(True))
    worker.until(lambda: call.done, TIMEOUT)
    assert dropped == [True]
    assert worker.wait(worker.client.decode_slice(1, 0.5, session=newer), TIMEOUT).type == "result"


def test_trust_maps_come_in_parts_with_their_figures(worker, reconstructor):
    from MSLFusionLib.recon.trust import TrustPlan

    # A session of its own: another test replaces the shared one.
    session = worker.wait(worker.client.reconstruct(*head(), PLAN), TIMEOUT).header
    assert session["synthesised"] == []
    assert session["familiarity"]["score"] is None
    volumes, stages = Assembler(session["shape"], session["slice_axis"]), set()
    call = worker.client.trust(
        2, session=session["session"], on_part=volumes.add, on_progress=lambda progress: stages.add(progress["stage"])
    )
    header = worker.wait(call, TIMEOUT).header
    assert stages == {"trust maps"}
    assert header["trust"]["passes"] == 2
    assert set(header["trust"]["residual"]) == {"ct", "mr"}
    ct, mr = (image(volume) for volume in head())
    plan = SamplingPlan.from_dict(PLAN)
    expected = reconstructor.reconstruct([0], ct=ct, mr=mr, plan=plan, trust=TrustPlan(2)).others
    for kind, volume in volumes.volumes.items():
        np.testing.assert_allclose(volume, sitk.GetArrayFromImage(expected[kind]), atol=ROUNDING)
    assert len(volumes.volumes) == 4
    with pytest.raises(InputError, match="2 to 100 passes"):
        worker.wait(worker.client.trust(1, session=session["session"]), TIMEOUT)
