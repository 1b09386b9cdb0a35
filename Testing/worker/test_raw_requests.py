"""Raw data through the worker: what they are, how they look, reconstructions from files alone."""

import json

import numpy as np
import pytest
import raw_files
import torch
from tiny import oval_head, write_model

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.mr import fourier
from MSLFusionLib.physics.units import hu_to_mu
from MSLFusionLib.progress import Job
from MSLFusionLib.recon.pictures import FLOOR_DB
from MSLFusionLib.wire import Message
from MSLFusionLib.worker.services import Services

FAN = FanBeamGeometry.covering((64, 64), 4.0, 40)
SHAPE = (4, 64, 64)


@pytest.fixture
def files(tmp_path):
    """A described sinogram and k-space of two coils of one head, the MR two slices higher."""
    ct, mr = oval_head(SHAPE)
    np.save(tmp_path / "ct.npy", ct_operator(FAN).forward(torch.from_numpy(hu_to_mu(ct))[:, None])[:, 0].numpy())
    raw_files.write_description(tmp_path / "ct.npy", {
        "kind": "sinogram", "beam": "flat", "pitch_mm": FAN.pitch_mm, "angles": np.degrees(FAN.angles).tolist(),
        "source_origin_mm": FAN.source_origin_mm, "slice_mm": 6, "centre_mm": [10, -20, 30],
        "source_detector_mm": FAN.source_origin_mm + FAN.origin_detector_mm, "field_of_view_mm": 256.0,
    })  # fmt: skip
    kspace = fourier(torch.from_numpy(mr)[:, None] * torch.tensor([1.0, 0.5j])[:, None, None])
    kspace[..., 1::2] = 0
    np.save(tmp_path / "mr.npy", kspace.numpy())
    raw_files.write_description(tmp_path / "mr.npy", {
        "kind": "kspace", "fov_mm": [256, 256], "slice_mm": 6, "centre_mm": [10, -20, 42],
    })  # fmt: skip
    return {"sinogram": str(tmp_path / "ct.npy"), "kspace": str(tmp_path / "mr.npy")}


@pytest.fixture
def ask():
    """Ask a worker's services: the result's header, the parts by kind, the warnings."""
    services = Services()

    def answer(kind, **header):
        parts: dict[str, list] = {}
        warnings: list[str] = []

        def part(head, arrays):
            parts.setdefault(head["kind"], []).extend(arrays["planes"])

        found, _arrays = services.handler(kind)(Message({"type": kind, **header}), Job(warn=warnings.append), part)
        return found, {name: np.stack(planes) for name, planes in parts.items()}, warnings

    yield answer
    services.close()


def test_both_files_are_described_with_where_they_lie(files, ask):
    found, _, _ = ask("describe_sensors", **files)
    assert found["modalities"] == ["ct", "mr"]
    assert found["achieved"]["mr"]["coils"] == 2
    assert found["files"]["sinogram"]["file"] == "ct.npy"
    assert 2.0 <= found["files"]["kspace"]["found"]["acceleration"] < 2.1
    assert found["warnings"] == []
    boxes = {name: np.array(box) for name, box in found["outline"]["boxes"].items()}
    np.testing.assert_allclose(boxes["ct"].mean(axis=0), [10, -20, 39])
    np.testing.assert_allclose(np.ptp(boxes["ct"], axis=0), [256, 256, 24])
    # the middle of a Fourier transform is the pixel n // 2
    pixel = 256 / 384
    np.testing.assert_allclose(boxes["mr"].mean(axis=0), [10 - pixel / 2, -20 - pixel / 2, 51])
    arc = np.array(found["outline"]["arc"])
    np.testing.assert_allclose(np.hypot(*(arc[:, :2] - [10, -20]).T), FAN.source_origin_mm)
    first = FAN.angles[0]
    # y of the scan points up: to anterior, against y of LPS
    lps = [10 + FAN.source_origin_mm * np.sin(first), -20 + FAN.source_origin_mm * np.cos(first), 39]
    np.testing.assert_allclose(arc[0], lps)
    source, ends = arc[0][:2], np.array(found["outline"]["detector"])[:, :2]
    np.testing.assert_allclose(np.linalg.norm(ends[1] - ends[0]), FAN.bins * FAN.pitch_mm)
    through = ends.mean(axis=0) - source
    np.testing.assert_allclose(np.linalg.norm(through), FAN.source_origin_mm + FAN.origin_detector_mm)


def test_pictures_are_line_integrals_and_decibels(files, ask):
    found, parts, _ = ask("sensor_pictures", **files)
    assert np.array_equal(parts["sinogram"], np.load(files["sinogram"]))
    assert found["pictures"]["sinogram"] == {"shape": [4, 40, FAN.bins], "first": 0, "count": 4}
    kspace = np.load(files["kspace"])
    size = np.sqrt((np.abs(kspace) ** 2).sum(axis=1))
    assert parts["k-space"].shape == SHAPE
    assert (parts["k-space"][..., 1::2] == FLOOR_DB).all()
    measured = size[..., ::2]
    with np.errstate(divide="ignore"):
        expected = 20 * np.log10(measured / size.max(axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(parts["k-space"][..., ::2], np.maximum(expected, FLOOR_DB), atol=1e-3)


def test_only_slices_from_the_middle_of_what_is_too_much(files, ask, monkeypatch):
    from MSLFusionLib.worker import raw

    monkeypatch.setattr(raw, "_MOST_BYTES", 2 * 4 * 64 * 64)
    found, parts, _ = ask("sensor_pictures", kspace=files["kspace"])
    assert found["pictures"] == {"k-space": {"shape": list(SHAPE), "first": 1, "count": 2}}
    assert len(parts["k-space"]) == 2


@pytest.mark.parametrize("given", [("sinogram", "kspace"), ("sinogram",), ("kspace",)])
def test_hybrids_from_files_alone(files, ask, tmp_path, given):
    ask("open_model", model=str(write_model(tmp_path / "tiny.safetensors")), device="cpu")
    chosen = {name: files[name] for name in given}
    modalities = [{"sinogram": "ct", "kspace": "mr"}[name] for name in given]
    found, _, _ = ask("reconstruct", **chosen, modalities=modalities, coils="rss", register=False)
    assert found["registration"] is None
    assert list(found["achieved"]) == modalities
    assert found["geometry"]["size"] == [64, 64, 4]
    assert found["geometry"]["spacing_mm"] == [4, 4, 6]
    _, parts, _ = ask("decode_volume", **{"lambda": 0.5})
    assert parts["hybrid"].shape == SHAPE
    _, images, _ = ask("sensor_images")
    assert sorted(images) == [{"ct": "fbp", "mr": "zero-filled"}[name] for name in modalities]


def test_a_wedge_is_reconstructed_and_told(files, ask, tmp_path):
    """A third of a turn: outside of what filtered backprojection, and the network, can do well."""
    path = tmp_path / "wedge.npy"
    np.save(path, np.load(files["sinogram"])[:2, :14])
    content = json.loads((tmp_path / "ct.npy.json").read_text())
    raw_files.write_description(path, content | {"angles": content["angles"][:14]})
    ask("open_model", model=str(write_model(tmp_path / "tiny.safetensors")), device="cpu")
    found, _, warnings = ask("reconstruct", sinogram=str(path), modalities=["ct"])
    assert found["achieved"]["ct"]["scan"] == "limited"
    assert any("126.0 of 360 degrees" in sentence for sentence in warnings)
    _, parts, _ = ask("decode_volume", **{"lambda": 0.0})
    assert np.isfinite(parts["hybrid"]).all()


def test_an_mr_in_a_frame_of_its_own_is_registered(files, ask, tmp_path):
    ask("open_model", model=str(write_model(tmp_path / "tiny.safetensors")), device="cpu")
    found, _, _ = ask("reconstruct", **files)
    assert found["registration"]["method"] == "rigid"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({}, "needs a sensors file"),
        ({"path": "a.h5", "kspace": "b.npy"}, "not both"),
        ({"sinogram": "KSPACE"}, "describes k-space"),
        ({"sinogram": 3}, "needs a text 'sinogram'"),
        ({"kspace": "KSPACE", "select": {"average": "x"}}, "whole number 'average'"),
        ({"kspace": "KSPACE", "select": {"average": 1}}, "ISMRMRD"),
        ({"sinogram": "BARE"}, r'"beam", "angles", "pitch_mm"'),
        ({"kspace": "BARE"}, '"kind": "kspace" and "fov_mm"'),
    ],
)
def test_what_cannot_be_read_is_said(files, ask, tmp_path, header, words):
    np.save(tmp_path / "bare.npy", np.zeros((4, 5)))
    names = {"KSPACE": files["kspace"], "BARE": str(tmp_path / "bare.npy")}
    given = {key: names.get(value, value) if isinstance(value, str) else value for key, value in header.items()}
    with pytest.raises(InputError, match=words):
        ask("describe_sensors", **given)
