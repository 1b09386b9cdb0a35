"""mslfusion reconstruct and simulate: what is written, where it lies, and what the record says."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from tiny import SPACING, image

from MSLFusionLib import cli


def read(path):
    return sitk.ReadImage(str(path))


def array(path):
    return sitk.GetArrayFromImage(read(path))


def test_volumes_lie_where_the_ct_lay(files, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    assert cli.main(files.reconstruct(out, "--lambda", "0", "0.5", "1", "--hu", "--save-sensor-images", "--json")) == 0
    ct = read(files.ct)
    names = ["hybrid_lambda-0.00", "hybrid_lambda-0.50", "hybrid_lambda-1.00", "hybrid_lambda-0.00_hu"]
    names += ["mr_registered", "sensor_fbp", "sensor_zero-filled"]
    for name in names:
        volume = read(out / f"{name}.nrrd")
        assert volume.GetSize() == ct.GetSize()
        assert volume.GetSpacing() == ct.GetSpacing()
        assert volume.GetOrigin() == ct.GetOrigin()
        assert volume.GetDirection() == ct.GetDirection()
    assert sorted(p.name for p in out.iterdir()) == sorted([*(f"{n}.nrrd" for n in names), "run.json"])
    hybrid = array(out / "hybrid_lambda-0.00.nrrd")
    np.testing.assert_allclose(array(out / "hybrid_lambda-0.00_hu.nrrd"), hybrid * 3125 - 1000, atol=0.5)
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert records[-1]["type"] == "result"
    assert records[-1]["files"][0] == "hybrid_lambda-0.00.nrrd"


def test_the_record_says_what_was_done(files, tmp_path):
    assert cli.main(files.reconstruct(tmp_path, "--lambda", "0", "1", "--views", "32", "--seed", "5")) == 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert [entry["role"] for entry in record["inputs"]] == ["ct", "mr", "model"]
    assert all(len(entry["sha256"]) == 64 for entry in record["inputs"])
    assert record["sampling"]["ct"]["views"] == 32
    assert record["sampling"]["mr"]["rate"] == pytest.approx(0.25, abs=0.01)
    assert record["seeds"] == {"all": 5}
    assert {"registration", "reconstruction", "comparison", "total"} <= set(record["times_seconds"])
    rows = {row["image"]: row for row in record["metrics"]["images"]}
    assert set(rows) == {"lambda 0", "lambda 1", "FBP", "zero-filled"}
    assert rows["lambda 0"]["mae_ct"] < rows["lambda 1"]["mae_ct"]
    assert "mae_mr" not in rows["FBP"]


def test_comparison_can_be_left_out(files, tmp_path):
    assert cli.main(files.reconstruct(tmp_path, "--lambda", "0", "1", "--no-metrics", "--report")) == 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["metrics"] == {}
    assert "comparison" not in record["times_seconds"]
    assert (tmp_path / "report.html").is_file()


def test_the_same_seed_gives_the_same_volume(files, tmp_path):
    noise = ["--lambda", "0.5", "--photons", "1e4", "--kspace-noise", "0.01"]
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert cli.main(files.reconstruct(tmp_path / name, *noise, "--seed", seed)) == 0
    a, b, c = (array(tmp_path / name / "hybrid_lambda-0.50.nrrd") for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1e-3


def test_sensor_data_give_what_the_volumes_give(files, tmp_path):
    assert cli.main(files.reconstruct(tmp_path / "volumes", "--lambda", "0.3")) == 0
    words = ["reconstruct", "--sensors", files.sensors, "--lambda", "0.3", "--model", files.model]
    assert cli.main([str(w) for w in [*words, "--output", tmp_path / "sensors", "--report"]]) == 0
    name = "hybrid_lambda-0.30.nrrd"
    np.testing.assert_allclose(array(tmp_path / "sensors" / name), array(tmp_path / "volumes" / name), atol=2e-4)
    assert "metrics" in json.loads((tmp_path / "sensors" / "run.json").read_text())
    record = json.loads((files.folder / "sensors.run.json").read_text())
    assert record["sampling"]["mr"]["columns"] == 16


@pytest.mark.parametrize(("which", "ending"), [("ct", "nii.gz"), ("mr", "mha")])
def test_one_modality_alone(files, tmp_path, which, ending):
    words = ["reconstruct", f"--{which}", getattr(files, which), "--modalities", which, "--model", files.model]
    words += ["--lambda", "0", "--format", ending, "--output", tmp_path]
    assert cli.main([str(w) for w in words]) == 0
    mark = "" if which == "ct" else "_ct-synthesised"
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"hybrid_lambda-0.00{mark}.{ending}", "run.json"]


def test_data_consistency_is_on_unless_switched_off(files, tmp_path):
    volumes = {}
    for name, words in (("on", ["--report"]), ("off", ["--report", "--no-consistency"])):
        out = tmp_path / name
        assert cli.main(files.reconstruct(out, "--lambda", "0", "1", *words)) == 0
        record = json.loads((out / "run.json").read_text())
        assert record["parameters"]["consistency"] is (name == "on")
        assert record["details"]["reconstruction"]["consistency"] is (name == "on")
        said = "were not corrected" if name == "off" else "were corrected towards what was measured"
        assert said in (out / "report.html").read_text(encoding="utf-8")
        volumes[name] = {row["image"]: row for row in record["metrics"]["images"]}
    for hybrid, side in (("lambda 0", "ct"), ("lambda 1", "mr")):
        assert volumes["on"][hybrid][f"mae_{side}"] < volumes["off"][hybrid][f"mae_{side}"]


def test_a_lambda_map_is_followed_from_place_to_place(files, tmp_path):
    shape = array(files.ct).shape
    ramp = np.zeros(shape, np.float32)
    ramp[:, :, shape[2] // 2 :] = 1.0
    sitk.WriteImage(image(ramp), str(tmp_path / "map.nrrd"))
    out = tmp_path / "out"
    assert cli.main(files.reconstruct(out, "--lambda", "0", "1", "--lambda-map", tmp_path / "map.nrrd")) == 0
    followed, zero, one = (array(out / f"hybrid_{n}.nrrd") for n in ("map", "lambda-0.00", "lambda-1.00"))
    middle = shape[2] // 2
    np.testing.assert_allclose(followed[..., : middle - 8], zero[..., : middle - 8], atol=0.02)
    np.testing.assert_allclose(followed[..., middle + 8 :], one[..., middle + 8 :], atol=0.02)
    np.testing.assert_allclose(array(out / "lambda_map.nrrd"), ramp)


def test_a_lambda_map_on_another_grid_is_resampled_when_it_covers(files, tmp_path):
    coarse = np.full((12, 60, 60), 0.25, np.float32)
    coarse[:, :20] = 0.75
    volume = image(coarse, origin=(-110.0, -20.0, 16.0))
    sitk.WriteImage(volume, str(tmp_path / "map.nrrd"))
    assert cli.main(files.reconstruct(tmp_path / "out", "--lambda-map", tmp_path / "map.nrrd")) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "hybrid_map.nrrd", "lambda_map.nrrd", "mr_registered.nrrd", "run.json",
    ]  # fmt: skip
    assert np.unique(array(tmp_path / "out" / "lambda_map.nrrd")).min() == pytest.approx(0.25)


def test_painted_segments_with_report_and_scene(files, tmp_path):
    labels = np.zeros(array(files.ct).shape, np.uint8)
    labels[:, 10:20, 10:20] = 1
    labels[:, 25:30, 20:30] = 2
    sitk.WriteImage(image(labels), str(tmp_path / "painted.nrrd"))
    words = ["--lambda", "0", "--segmentation", tmp_path / "painted.nrrd", "--background-lambda", "0.2"]
    words += ["--segment-lambda", "label 1=1", "--segment-lambda", "label 2=0.6", "--feather-mm", "8"]
    pytest.importorskip("slicer")
    assert cli.main(files.reconstruct(tmp_path / "out", *words, "--mrb", "--report")) == 0
    painted = array(tmp_path / "out" / "lambda_map.nrrd")
    assert painted[3, 15, 15] == pytest.approx(1.0)
    assert painted[3, 27, 25] == pytest.approx(0.6)
    assert painted[3, 40, 5] == pytest.approx(0.2)
    assert (tmp_path / "out" / "run.mrb").stat().st_size > 1000
    text = (tmp_path / "out" / "report.html").read_text()
    assert "A painted lambda" in text
    assert "http://" not in text
    assert "https://" not in text


def test_registration_is_part_of_it(files, tmp_path):
    """An MR shifted by 12 mm comes back; the transform that says so is written."""
    moved = read(files.mr)
    moved.SetOrigin([o + d for o, d in zip(moved.GetOrigin(), (12.0, 0.0, 0.0), strict=True)])
    sitk.WriteImage(moved, str(tmp_path / "moved.nrrd"))
    words = ["register", "--fixed", files.ct, "--moving", tmp_path / "moved.nrrd", "--seed", "1"]
    words += ["--output", tmp_path / "out.nrrd", "--transform", tmp_path / "out.tfm"]
    assert cli.main([str(word) for word in words]) == 0
    transform = sitk.ReadTransform(str(tmp_path / "out.tfm"))
    point = (0.0, 95.0, 45.0)
    moved_by = np.subtract(transform.TransformPoint(point), point)
    assert moved_by[:2] == pytest.approx((12.0, 0.0), abs=SPACING[0] / 2)  # along z the object looks the same
    assert read(tmp_path / "out.nrrd").GetSize() == read(files.ct).GetSize()
    record = json.loads((tmp_path / "out.run.json").read_text())
    assert record["details"]["registration"]["turn_degrees"] < 3


def test_trust_maps_are_volumes_with_their_figures(files, tmp_path, capsys):
    words = ["--lambda", "0", "1", "--trust", "--trust-passes", "2", "--report", "--json"]
    assert cli.main(files.reconstruct(tmp_path, *words)) == 0
    ct = read(files.ct)
    kinds = ("uncertainty-ct", "uncertainty-mr", "residual-ct", "residual-mr")
    for kind in kinds:
        volume = read(tmp_path / f"trust_{kind}.nrrd")
        assert volume.GetSize() == ct.GetSize()
        assert volume.GetOrigin() == ct.GetOrigin()
        assert array(tmp_path / f"trust_{kind}.nrrd").max() > 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["parameters"]["trust_passes"] == 2
    found = record["details"]["reconstruction"]
    assert set(found["trust"]["uncertainty"]) == set(found["trust"]["residual"]) == {"ct", "mr"}
    assert found["familiarity"]["score"] is None
    assert found["synthesised"] == []
    assert {f"trust_{kind}.nrrd" for kind in kinds} <= set(record["outputs"])
    page = (tmp_path / "report.html").read_text()
    assert "How far to trust it" in page
    assert "no statistics stored" in page
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["trust"] == found["trust"]
    assert any("3 times" in line.get("stage", "") for line in lines)


def test_passes_without_trust_are_refused(files, tmp_path, capsys):
    assert cli.main(files.reconstruct(tmp_path, "--trust-passes", "3")) == 2
    assert "--trust" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("given", "absent", "measured_end"), [("ct", "mr", "0.00"), ("mr", "ct", "1.00")])
def test_one_modality_alone_is_marked_wherever_it_shows(files, tmp_path, given, absent, measured_end):
    words = ["reconstruct", f"--{given}", getattr(files, given), "--modalities", given, "--model", files.model]
    words += ["--lambda", "0", "0.5", "1", "--output", tmp_path, "--report", "--trust", "--trust-passes", "2"]
    assert cli.main([str(word) for word in words]) == 0
    mark = f"_{absent}-synthesised"
    names = {path.name for path in tmp_path.iterdir()}
    hybrids = {name for name in names if name.startswith("hybrid")}
    assert len(hybrids) == 3
    assert {name for name in hybrids if mark not in name} == {f"hybrid_lambda-{measured_end}.nrrd"}
    assert f"trust_uncertainty-{absent}{mark}.nrrd" in names
    assert f"trust_residual-{given}.nrrd" in names
    assert not any(name.startswith(f"trust_residual-{absent}") for name in names)
    volume = read(tmp_path / f"hybrid_lambda-0.50{mark}.nrrd")
    assert volume.GetMetaData("MSLFusion.Synthesised") == absent
    assert "not measured" in volume.GetMetaData("MSLFusion.Note")
    assert not read(tmp_path / f"hybrid_lambda-{measured_end}.nrrd").HasMetaDataKey("MSLFusion.Synthesised")
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["details"]["reconstruction"]["synthesised"] == [absent]
    assert any(f"The {absent.upper()} is synthesised" in sentence for sentence in record["warnings"])
    page = (tmp_path / "report.html").read_text()
    assert f"the {absent.upper()} in these images is synthesised" in page
