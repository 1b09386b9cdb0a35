"""mslfusion sensors and reconstruct from raw files: from files alone to hybrids in the patient."""

import json
from pathlib import Path

import numpy as np
import pytest
import raw_files
import SimpleITK as sitk
import torch

from MSLFusionLib.cli import main
from MSLFusionLib.io.sensors import SensorReader
from MSLFusionLib.io.sidecar import SCHEMA
from MSLFusionLib.physics.analytic import Ellipse, ellipse_image, ellipse_sinogram
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.mr import fourier

FAN = FanBeamGeometry.covering((64, 64), 4.0, 40)
ELLIPSES = [Ellipse(0.02, 70, 90), Ellipse(0.02, 16, 24, 40, 30)]
PLACE = {"centre_mm": [3, -4, 50], "slice_mm": 6.0}


@pytest.fixture
def raw(tmp_path) -> tuple[Path, Path]:
    """A sinogram and k-space of one head, three slices, placed by their descriptions."""
    ct, mr = tmp_path / "ct.npy", tmp_path / "mr.npy"
    np.save(ct, ellipse_sinogram(FAN, ELLIPSES)[0].numpy().repeat(3, axis=0))
    raw_files.write_description(
        ct,
        PLACE
        | {
            "kind": "sinogram",
            "beam": "flat",
            "source_origin_mm": FAN.source_origin_mm,
            "source_detector_mm": FAN.source_origin_mm + FAN.origin_detector_mm,
            "pitch_mm": FAN.pitch_mm,
            "angles": np.degrees(FAN.angles).tolist(),
            "field_of_view_mm": 256,
        },
    )
    image = ellipse_image(FAN, ELLIPSES)[0].repeat(3, 1, 1)[:, None] * 30
    np.save(mr, fourier(image).to(torch.complex64).numpy() * (np.arange(64) % 2 == 0))
    raw_files.write_description(mr, PLACE | {"kind": "kspace", "fov_mm": [256, 256]})
    return ct, mr


@pytest.fixture
def model(files) -> Path:
    return files.model


def run(capsys, *words) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_inspect(raw, capsys, tmp_path):
    code, out, err = run(capsys, "sensors", "inspect", raw[0], "--json")
    found = next(json.loads(line) for line in out.splitlines() if json.loads(line)["type"] == "result")
    assert code == 0
    assert found["modality"] == "ct"
    assert found["found"]["views"] == 40
    code, out, _ = run(capsys, "sensors", "inspect", raw[1])
    assert code == 0
    assert "acceleration             2.0" in out
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00")
    code, _, err = run(capsys, "sensors", "inspect", tmp_path / "broken.npy")
    assert code == 2
    assert "broken.npy is damaged" in err
    assert len(err.strip().splitlines()) == 1


def test_schema_is_the_documented_one(capsys):
    code, out, _ = run(capsys, "sensors", "schema")
    assert code == 0
    assert json.loads(out) == SCHEMA
    documented = Path(__file__).parents[2] / "Docs" / "sensors.schema.json"
    assert json.loads(documented.read_text(encoding="utf-8")) == SCHEMA


def test_convert_and_reconstruct_agree_with_the_files(raw, model, capsys, tmp_path):
    ct, mr = raw
    code, _, err = run(
        capsys, "sensors", "convert", "--sinogram", ct, "--kspace", mr, "--output", tmp_path / "s.h5",
        "--size", 64, "--pixel-mm", 4,
    )  # fmt: skip
    assert code == 0, err
    with SensorReader(tmp_path / "s.h5") as reader:
        assert reader.header.provenance["sinogram"]["file"] == "ct.npy"
        assert np.array_equal(reader.kspace([1])[0, 0], np.load(mr)[1, 0])
    common = ["--model", model, "--no-register", "--lambda", 0, 0.5, "--device", "cpu"]
    both = ["--sinogram", ct, "--kspace", mr]
    code, _, err = run(capsys, "reconstruct", *both, *common, "--output", tmp_path / "a")
    assert code == 0, err
    code, _, err = run(capsys, "reconstruct", "--sensors", tmp_path / "s.h5", *common, "--output", tmp_path / "b")
    assert code == 0, err
    one, other = (sitk.ReadImage(str(tmp_path / name / "hybrid_lambda-0.50.nrrd")) for name in "ab")
    assert np.array_equal(sitk.GetArrayViewFromImage(one), sitk.GetArrayViewFromImage(other))
    assert one.GetSize() == (64, 64, 3)
    np.testing.assert_allclose(one.GetSpacing(), (4, 4, 6))
    centre = one.TransformContinuousIndexToPhysicalPoint((31.5, 31.5, 0.0))
    np.testing.assert_allclose(centre, PLACE["centre_mm"], atol=1e-6)
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert record["details"]["sensors"]["kspace"]["found"]["acceleration"] == 2.0
    assert [entry["role"] for entry in record["inputs"]][:2] == ["sinogram", "kspace"]


@pytest.mark.parametrize("which", ["sinogram", "kspace"])
def test_one_of_the_two_gives_its_own_result(raw, model, capsys, tmp_path, which):
    path = raw[0] if which == "sinogram" else raw[1]
    code, _, err = run(
        capsys, "reconstruct", f"--{which}", path, "--model", model, "--lambda", 0.5, "--save-sensor-images",
        "--device", "cpu", "--output", tmp_path / "o",
    )  # fmt: skip
    assert code == 0, err
    names = {file.name for file in (tmp_path / "o").iterdir()}
    own, absent = ("sensor_fbp.nrrd", "sensor_zero-filled.nrrd")[:: 1 if which == "sinogram" else -1]
    assert own in names
    assert absent not in names
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "o" / own)))
    assert image[1, 32, 32] > 0.2


def test_the_image_of_a_quarter_turn_is_not_called_filtered_backprojection(raw, model, capsys, tmp_path):
    ct = raw[0]
    described = json.loads(Path(f"{ct}.json").read_text())
    raw_files.write_description(ct, described | {"angles": described["angles"][:10]})
    np.save(ct, np.load(ct)[:1, :10])
    code, _, err = run(
        capsys, "reconstruct", "--sinogram", ct, "--model", model, "--lambda", 0, "--save-sensor-images",
        "--device", "cpu", "--output", tmp_path / "o",
    )  # fmt: skip
    assert code == 0, err
    names = {file.name for file in (tmp_path / "o").iterdir()}
    assert "sensor_total-variation.nrrd" in names
    assert "sensor_fbp.nrrd" not in names
    assert json.loads((tmp_path / "o" / "run.json").read_text())["sampling"]["ct"]["image"] == "total variation"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["reconstruct", "--sinogram", "CT", "--ct", "x.nrrd"], "not both"),
        (["reconstruct", "--kspace", "MR", "--sensors", "x.h5"], "not both"),
        (["reconstruct", "--kspace", "CT"], "describes a sinogram"),
        (["reconstruct", "--kspace", "MR", "--sinogram-sidecar", "CT"], "needs --sinogram"),
        (["reconstruct", "--sinogram", "CT", "--select", "average=0"], "needs --kspace"),
        (["reconstruct", "--kspace", "MR", "--select", "average=0"], "ISMRMRD"),
        (["reconstruct", "--kspace", "MR", "--select", "average"], "WHAT=N"),
        (["reconstruct", "--sinogram", "absent.npz"], "does not exist"),
    ],
)
def test_what_does_not_go_together(raw, model, capsys, tmp_path, words, sentence):
    given = [{"CT": raw[0], "MR": raw[1]}.get(word, word) for word in words]
    code, _, err = run(capsys, *given, "--model", model, "--output", tmp_path / "o")
    assert code == 2
    assert sentence in err
    assert not (tmp_path / "o").exists()


def test_convert_refuses_what_it_cannot_write(raw, capsys, tmp_path):
    code, _, err = run(capsys, "sensors", "convert", "--sinogram", raw[0], "--output", tmp_path / "x.npz")
    assert code == 2
    assert "end its name" in err
    code, _, err = run(capsys, "sensors", "convert", "--output", tmp_path / "x.h5")
    assert code == 2
    assert "--sinogram FILE, --kspace FILE" in err


def test_images_without_a_network(raw, capsys, tmp_path):
    """Of both files, by filtered backprojection and iteratively; from a sensors file they are the same."""
    ct, mr = raw
    grid = ["--size", 64, "--pixel-mm", 4]
    common = [*grid, "--no-register", "--format", "nii.gz"]
    images = {}
    for method in ("auto", "tv"):
        words = ["--sinogram", ct, "--kspace", mr, "--coils", "sense-tv", "--ct-method", method, *common]
        code, out, err = run(capsys, "sensors", "images", *words, "--output", tmp_path / method)
        assert code == 0, err
        assert "ct.nii.gz, mr.nii.gz" in out
        images[method] = [sitk.ReadImage(str(tmp_path / method / f"{name}.nii.gz")) for name in ("ct", "mr")]
    (fbp, zero), (tv, _) = images["auto"], images["tv"]
    np.testing.assert_allclose(fbp.GetSpacing(), (4, 4, 6))
    middle = sitk.GetArrayFromImage(fbp)[1, 20:44, 20:44].mean()
    assert sitk.GetArrayFromImage(tv)[1, 20:44, 20:44].mean() == pytest.approx(middle, abs=40)
    # air is emptier where the image was made to explain all views
    outside = [np.abs(sitk.GetArrayFromImage(image)[1, :6] + 1000).mean() for image in (fbp, tv)]
    assert outside[1] < outside[0]
    assert 0.3 < sitk.GetArrayFromImage(zero)[1].max() <= 1
    code, _, err = run(capsys, "sensors", "convert", "--sinogram", ct, *grid, "--output", tmp_path / "s.h5")
    assert code == 0, err
    code, _, err = run(capsys, "sensors", "images", "--sensors", tmp_path / "s.h5", "--output", tmp_path / "again")
    assert code == 0, err
    again = sitk.ReadImage(str(tmp_path / "again" / "ct.nrrd"))
    np.testing.assert_allclose(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(fbp), atol=1e-3)
    for words, sentence in (
        ([], "Give --sensors"),
        (["--sensors", tmp_path / "s.h5", "--kspace", mr], "Give --sensors"),
    ):
        code, _, err = run(capsys, "sensors", "images", *words, "--output", tmp_path / "none")
        assert code == 2
        assert sentence in err
