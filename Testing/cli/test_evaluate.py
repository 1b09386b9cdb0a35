"""mslfusion evaluate: tables, page and differences of runs, on grids of every kind, and what it refuses."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from tiny import oval_head

from MSLFusionLib import cli


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def picked(rows, **wanted):
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


@pytest.fixture(scope="module")
def runs(files, tmp_path_factory):
    """The same reconstruction with data consistency and without."""
    folder = tmp_path_factory.mktemp("runs")
    assert cli.main(files.reconstruct(folder / "with", "--lambda", "0", "0.5", "1", "--save-sensor-images")) == 0
    assert cli.main(files.reconstruct(folder / "without", "--lambda", "0", "1", "--no-consistency")) == 0
    return folder


def test_two_runs_side_by_side(runs, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["evaluate", f"plain={runs / 'without'}", str(runs / "with"), "--output", str(out)]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "256 x 256 bins" in said
    assert "sigma 1.5" in said
    names = ["differences.csv", "evaluation.html", "evaluation.json", "slices.csv", "volumes.csv"]
    assert sorted(path.name for path in out.iterdir()) == names
    volumes, slices = table(out / "volumes.csv"), table(out / "slices.csv")
    assert {row["image"] for row in picked(volumes, run="with")} == {
        "lambda 0", "lambda 0.5", "lambda 1", "FBP", "zero-filled",
    }  # fmt: skip
    assert {row["target"] for row in picked(volumes, run="with", image="FBP")} == {"ct"}
    assert len(picked(slices, run="plain", image="lambda 0", target="ct", region="body")) == 6
    differences = table(out / "differences.csv")
    assert {row["image"] for row in differences} == {"lambda 0", "lambda 1"}
    (row,) = picked(differences, image="lambda 0", target="ct", region="body", figure="psnr")
    assert float(row["low"]) > 0, "data consistency mends a random network"
    assert row["nearer"] == "1.0"
    each = {
        run: [float(r["psnr"]) for r in picked(slices, run=run, image="lambda 0", target="ct", region="body")]
        for run in ("with", "plain")
    }
    assert float(row["mean"]) == pytest.approx(np.mean(each["with"]) - np.mean(each["plain"]), abs=1e-6)
    page = (out / "evaluation.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert page.count("<img") == 3
    content = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert content["conventions"]["NMI"].startswith("(H(a) + H(b))")


def test_the_figures_are_those_of_the_run_where_its_grid_is_the_networks(runs, tmp_path):
    """The record's figures are of the same images; its truth went through the network's grid."""
    assert cli.main(["evaluate", str(runs / "with"), "--output", str(tmp_path)]) == 0
    assert not (tmp_path / "differences.csv").exists()
    record = json.loads((runs / "with" / "run.json").read_text(encoding="utf-8"))
    for row in record["metrics"]["images"]:
        for target in ("ct", "mr"):
            if f"mae_{target}" in row:
                (found,) = picked(table(tmp_path / "volumes.csv"), image=row["image"], target=target, region="body")
                assert float(found["mae"]) == pytest.approx(row[f"mae_{target}"], rel=1e-3)
                assert float(found["psnr"]) == pytest.approx(row[f"psnr_{target}"], abs=0.01)


def test_oblique_anisotropic_and_larger_than_the_field_of_view(files, tmp_path):
    """A tilted, finely sampled volume, 330 mm wide, of which the network shows 256 mm, and with a fixed pixel 96 mm."""
    ct, mr = oval_head((4, 66, 60), 5.5)
    tilt = np.deg2rad(25.0)
    direction = (1, 0, 0, 0, math.cos(tilt), -math.sin(tilt), 0, math.sin(tilt), math.cos(tilt))
    for name, array in (("ct", ct), ("mr", mr)):
        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing((5.5, 5.0, 9.0))
        volume.SetDirection(direction)
        volume.SetOrigin((12.0, -80.0, 7.0))
        sitk.WriteImage(volume, str(tmp_path / f"{name}.nrrd"))
    base = ["reconstruct", "--ct", tmp_path / "ct.nrrd", "--mr", tmp_path / "mr.nrrd", "--model", files.model]
    base += ["--no-register", "--lambda", "0", "1", "--no-metrics"]
    for output, more in (("fits", []), ("cut", ["--pixel-mm", "1.5"])):
        assert cli.main([str(word) for word in [*base, *more, "--output", tmp_path / output]]) == 0
    out = tmp_path / "out"
    assert cli.main(["evaluate", str(tmp_path / "fits"), str(tmp_path / "cut"), "--output", str(out)]) == 0
    volumes = table(out / "volumes.csv")
    fits, cut = (picked(volumes, run=run, image="lambda 0", target="ct", region="body")[0] for run in ("fits", "cut"))
    assert float(fits["psnr"]) > 15
    assert float(cut["mae"]) > 1.2 * float(fits["mae"]), "what was left out of the field of view counts"
    assert len(picked(table(out / "slices.csv"), run="fits", image="lambda 0", target="ct", region="slice")) == 4


def test_one_modality_and_a_truth_that_is_given(files, runs, tmp_path):
    """A CT made from MR data alone can be compared with a CT that the run never saw."""
    made = tmp_path / "mr-only"
    words = ["reconstruct", "--mr", files.mr, "--modalities", "mr", "--model", files.model, "--lambda", "0", "1"]
    assert cli.main([str(word) for word in [*words, "--output", made]]) == 0
    out = tmp_path / "out"
    assert cli.main(["evaluate", str(made), "--output", str(out)]) == 0
    assert {row["target"] for row in table(out / "volumes.csv")} == {"mr"}
    words = ["evaluate", made, "--ct", files.ct, "--mr", files.mr, "--output", out]
    assert cli.main([str(word) for word in words]) == 0
    assert {row["target"] for row in table(out / "volumes.csv")} == {"ct", "mr"}


def test_what_cannot_be_evaluated_is_refused(files, runs, tmp_path, capsys):
    def said(*words):
        assert cli.main(["evaluate", *map(str, words), "--output", str(tmp_path / "out")]) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "no run.json" in said(tmp_path)
    assert "NAME=DIR" in said(runs / "with", f"with={runs / 'with'}")
    copy = tmp_path / "copy"
    shutil.copytree(runs / "without", copy)
    record = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    record["inputs"][0]["sha256"] = "0" * 64
    (copy / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert "has changed" in said(copy)
    record["inputs"][0]["path"] = "gone.nrrd"
    (copy / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert "--ct" in said(copy)
    (copy / "hybrid_lambda-0.00.nrrd").unlink()
    assert "is not there" in said(copy, "--ct", files.ct)
    (copy / "run.json").write_text("{", encoding="utf-8")
    assert "JSON" in said(copy)
    far = sitk.ReadImage(str(files.ct))
    far.SetOrigin((5000.0, 0.0, 0.0))
    sitk.WriteImage(far, str(tmp_path / "far.nrrd"))
    assert "overlap" in said(runs / "without", "--ct", tmp_path / "far.nrrd")
