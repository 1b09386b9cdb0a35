"""mslfusion optimize-lambda: its files, what the record says, a map that can be used, Ctrl-C, wrong options."""

import csv
import json
import os
import signal

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib import cli
from MSLFusionLib.recon import optimise


def words(files, output, *more):
    given = ["--ct", files.ct, "--mr", files.mr, "--model", files.model, "--no-register", "--output", output]
    return [str(word) for word in ["optimize-lambda", *given, "--objective", "entropy", "--steps", "5", *more]]


def array(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_map_hybrid_curve_record_and_page(files, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(words(files, out, "--slices", "2", "3", "--report", "--json")) == 0
    names = ["lambda_map.nrrd", "hybrid_map.nrrd", "objective.csv", "report.html"]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "run.json"])
    ct = sitk.ReadImage(str(files.ct))
    for name in names[:2]:
        volume = sitk.ReadImage(str(out / name))
        assert (volume.GetSize(), volume.GetOrigin()) == (ct.GetSize(), ct.GetOrigin())
    record = json.loads((out / "run.json").read_text())
    found = record["details"]["optimisation"]
    assert found["complete"]
    assert [one["slice"] for one in found["slices"]] == [2, 3]
    assert all(one["value"] > one["best_constant"]["value"] for one in found["slices"])
    assert record["parameters"]["objective"] == "entropy"
    rows = list(csv.DictReader((out / "objective.csv").open()))
    curve = [float(row["value"]) for row in rows if row["slice"] == "3" and row["what"] == "map"]
    assert curve == pytest.approx(found["slices"][1]["curve"])
    assert "best constant" in (out / "report.html").read_text()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["type"] == "result"
    assert last["value"] > last["best_constants"]
    # The map is one that reconstruct takes, and gives the same hybrid.
    again = files.reconstruct(tmp_path / "again", "--lambda-map", out / "lambda_map.nrrd", "--no-metrics")
    assert cli.main(again) == 0
    np.testing.assert_allclose(array(tmp_path / "again" / "hybrid_map.nrrd"), array(out / "hybrid_map.nrrd"), atol=1e-4)


def test_sensor_data_and_a_function_of_ones_own(files, tmp_path, capsys):
    mine = tmp_path / "mine.py"
    mine.write_text("def bright(hybrid, ct, mr, weight):\n    return (weight * hybrid).sum()\n")
    given = ["--sensors", files.sensors, "--model", files.model, "--objective", f"{mine}:bright", "--steps", "2"]
    command = ["optimize-lambda", *given, "--slices", "2", "2", "--output", tmp_path / "out"]
    assert cli.main([str(word) for word in command]) == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["parameters"]["objective"] == "bright"


def test_regions_count_by_their_weights(files, tmp_path):
    labels = np.zeros(array(files.ct).shape, np.uint8)
    labels[2, 15:30, 12:28] = 1
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(sitk.ReadImage(str(files.ct)))
    sitk.WriteImage(image, str(tmp_path / "regions.nrrd"))
    more = ["--segmentation", tmp_path / "regions.nrrd", "--segment-weight", "label 1=2", "--background-weight", "0"]
    assert cli.main(words(files, tmp_path / "out", *more)) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [one["slice"] for one in record["details"]["optimisation"]["slices"]] == [2]
    assert record["parameters"]["weights"] == {"label 1": 2.0, "background": 0.0}


def test_one_ctrl_c_writes_what_was_found(files, tmp_path, monkeypatch, capsys):
    climb = optimise.climb

    def interrupted(*arguments):
        for step in climb(*arguments):
            if step.evaluations == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield step

    monkeypatch.setattr(optimise, "climb", interrupted)
    assert cli.main(words(files, tmp_path / "out")) == 128 + signal.SIGINT
    assert "was written to" in capsys.readouterr().err
    found = json.loads((tmp_path / "out" / "run.json").read_text())["details"]["optimisation"]
    assert not found["complete"]
    assert len(found["slices"]) == 1
    assert found["slices"][0]["value"] >= found["slices"][0]["best_constant"]["value"]
    assert array(tmp_path / "out" / "hybrid_map.nrrd").max() > 0


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--objective", "beauty"], "no objective 'beauty'"),
        (["--objective", "absent.py:f"], "does not exist"),
        (["--alpha", "-1"], "at least 0"),
        (["--slices", "4", "2"], "behind the last"),
        (["--slices", "4", "99"], "slices 0 to"),
        (["--segment-weight", "a=1"], "needs --segmentation"),
        (["--segmentation", "absent.seg.nrrd"], "does not exist"),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(files, tmp_path, capsys, more, says):
    assert cli.main(words(files, tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert says in error[0]
    assert not (tmp_path / "out").exists()
