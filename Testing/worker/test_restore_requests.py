"""The worker's request to restore a contrast, answered without a process of its own, and once with one."""

import numpy as np
import pytest
from talk import TIMEOUT
from tiny import image, oval_head, write_restorer

from MSLFusionLib.client import Volume
from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.wire import Message
from MSLFusionLib.worker.services import Services

SHAPE = (3, 46, 41)
GRID = VolumeGeometry.of(image(np.zeros(SHAPE, np.float32)))


@pytest.fixture(scope="module")
def restorer(tmp_path_factory):
    return write_restorer(tmp_path_factory.mktemp("restorers") / "tiny-t1-t2-x2.safetensors")


@pytest.fixture(scope="module")
def pair():
    mr = oval_head(SHAPE)[1]
    return {"target": mr, "auxiliary": (1.5 * mr).astype(np.float32)}


def ask(arrays, grids=None, **fields):
    header = {"type": "restore", "id": 1, "device": "cpu", **fields}
    header["volumes"] = {name: (grids or {}).get(name, GRID).to_dict() for name in arrays}
    return Services().handler("restore")(Message(header, arrays), NO_JOB, lambda *_: None)


def test_a_volume_is_restored_with_geometry_and_figures(pair, restorer):
    header, arrays = ask(pair, model=str(restorer), plan={"acceleration": 3, "seed": 1}, compare=True)
    fine = {"super_resolved", "bicubic", "total_variation_bicubic"}
    assert set(arrays) == fine | {"restored", "zero_filled", "total_variation"}
    for name, array in arrays.items():
        described = VolumeGeometry.from_dict(header["volumes"][name])
        assert array.shape == described.shape == (SHAPE if name in fine else (3, 23, 21))
        assert array.dtype == np.float32
    assert VolumeGeometry.from_dict(header["volumes"]["super_resolved"]).same_as(GRID)
    assert header["volumes"]["restored"]["spacing_mm"] == [8.0, 8.0, 5.0]
    assert header["volumes"]["restored"]["origin_mm"] == [GRID.origin[0] + 2, GRID.origin[1] + 2, GRID.origin[2]]
    rows = {row["image"]: row for row in header["rows"]}
    assert rows["total variation"]["psnr"] > rows["zero-filled"]["psnr"]
    assert header["achieved"]["mr"]["asked"] == 3
    assert (header["scale"], header["contrasts"]) == (2, ["t1", "t2"])
    assert any("trained" in sentence for sentence in header["warnings"]) is False


def test_models_are_found_by_contrasts(pair, restorer, monkeypatch):
    monkeypatch.setenv("MSLFUSION_MODELS", str(restorer.parent))
    header, _ = ask(pair, contrasts=["T1", "t2"], scale=2, measure=False)
    assert header["rows"] == []
    with pytest.raises(InputError, match="No CMF-Net model for PD with the help of T1"):
        ask(pair, contrasts=["t1", "pd"])


def test_an_auxiliary_elsewhere_is_resampled(pair, restorer):
    moved = VolumeGeometry(GRID.size, GRID.spacing, (GRID.origin[0] + 4.0, *GRID.origin[1:]), GRID.direction)
    with pytest.raises(InputError, match="different grids"):
        ask(pair, {"auxiliary": moved}, model=str(restorer))
    header, arrays = ask(pair, {"auxiliary": moved}, model=str(restorer), place="resampled")
    assert np.allclose(arrays["auxiliary"][:, :, 1:], pair["auxiliary"][:, :, :-1], atol=1e-3)
    assert header["registration"] is None


def test_what_is_missing_or_wrong_is_told(pair, restorer):
    model = str(restorer)
    flat = {**pair, "auxiliary": np.zeros(SHAPE, np.float32)}
    ct = {**pair, "target": oval_head(SHAPE)[0]}
    for arrays, fields, words in (
        ({"target": pair["target"]}, {"model": model}, "send the volume 'auxiliary'"),
        ({"auxiliary": pair["auxiliary"]}, {"model": model}, "'target' or the name"),
        (pair, {"model": model, "sensors": "there.h5"}, "'target' or the name"),
        (flat, {"model": model}, "constant"),
        (ct, {"model": model}, "looks like a CT"),
        (pair, {"model": model, "plan": {"views": 64}}, "plan is damaged"),
        (pair, {"model": model, "place": "somewhere"}, "'place' must be"),
        (pair, {"model": model, "registration": {"seed": 1}}, "is about the place"),
        (pair, {"model": model, "place": "registered", "registration": {"x": 1}}, "damaged"),
        (pair, {"model": model, "scale": 4}, "2 times finer, not 4"),
        (pair, {"model": "msl-ct-t1"}, "is no CMF-Net"),
        ({"auxiliary": pair["auxiliary"]}, {"model": model, "sensors": "absent.h5"}, "does not exist"),
    ):
        with pytest.raises(InputError, match=words):
            ask(arrays, **fields)


def test_a_worker_restores_and_is_cancelled(worker, pair, restorer):
    volumes = {name: Volume(array, GRID.spacing, GRID.origin, GRID.direction) for name, array in pair.items()}
    told = []
    client = worker.client
    call = client.restore(
        volumes["auxiliary"], volumes["target"], {"seed": 2}, str(restorer), device="cpu", on_progress=told.append
    )
    worker.wait(call, TIMEOUT)
    assert call.result.arrays["super_resolved"].shape == SHAPE
    stopped = client.restore(volumes["auxiliary"], volumes["target"], model=str(restorer), device="cpu")
    client.cancel(stopped)
    with pytest.raises(Exception, match=r"[Cc]ancelled"):
        worker.wait(stopped, TIMEOUT)
    assert stopped.failure.reason == "cancelled"
