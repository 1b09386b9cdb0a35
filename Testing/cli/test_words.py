"""The other words: demo, phantom, models, benchmark."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib import cli
from MSLFusionLib.commands.benchmark import as_text
from MSLFusionLib.commands.results import hybrid_name


def result_of(capsys):
    """The result object of a --json run."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_demo_does_the_whole_job(files, tmp_path, capsys):
    pytest.importorskip("slicer")
    out, pictures = tmp_path / "demo", tmp_path / "pictures"
    words = ["demo", "--output", out, "--figures", pictures, "--model", files.model, "--json"]
    words += ["--size", "64", "64", "20", "--spacing", "3.6", "3.6", "8"]
    assert cli.main([str(word) for word in words]) == 0
    result = result_of(capsys)
    names = {path.name for path in out.iterdir()}
    assert names == set(result["files"])
    assert {f"hybrid_lambda-{lam}.nrrd" for lam in ("0.00", "0.25", "0.50", "0.75", "1.00")} < names
    assert {"hybrid_map.nrrd", "head.mrb", "report.html", "run.json", "mr_to_ct.tfm"} < names
    assert "lambda.png" in {path.name for path in pictures.iterdir()}
    record = json.loads((out / "run.json").read_text())
    assert record["details"]["registration"]["true_error_mean_mm"] < 8.0
    assert record["parameters"]["painted"]["brain"]["lambda"] == 0.6
    rows = {row["image"]: row for row in record["metrics"]["images"]}
    assert rows["lambda 0"]["mae_ct"] < rows["lambda 1"]["mae_ct"]
    assert rows["lambda 1"]["mae_mr"] < rows["lambda 0"]["mae_mr"]


def test_phantom_writes_one_grid_and_the_moved_scans(tmp_path, capsys):
    words = ["phantom", "--seed", "3", "--output", tmp_path, "--size", "32", "32", "6", "--spacing", "7", "7", "25"]
    assert cli.main([str(w) for w in [*words, "--misalign", "5", "--format", "nii.gz", "--json"]]) == 0
    volumes = {name: sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in ("ct", "t1", "t2", "pet", "labels")}
    assert {v.GetSize() for v in volumes.values()} == {(32, 32, 6)}
    assert len({v.GetOrigin() for v in volumes.values()}) == 1
    transform = sitk.ReadTransform(str(tmp_path / "ct_to_moved_points.tfm"))
    assert np.linalg.norm(transform.TransformPoint((0.0, 0.0, 0.0))) == pytest.approx(5.0, abs=1e-3)
    assert result_of(capsys)["files"][-1] == "run.json"


def test_models_are_listed_and_shown(files, capsys, monkeypatch):
    monkeypatch.setenv("MSLFUSION_MODELS", str(files.folder))
    assert cli.main(["models", "list", "--json"]) == 0
    assert "tiny" in [model["name"] for model in result_of(capsys)["models"]]
    assert cli.main(["models", "list"]) == 0
    assert "tiny" in capsys.readouterr().out
    assert cli.main(["models", "show", "tiny"]) == 0
    assert "architecture: msl" in capsys.readouterr().out


def test_benchmark_prints_and_writes_its_figures(tmp_path, capsys, monkeypatch):
    figures = {"setting": {"views": 8}, "rows": [{"method": "ours", "forward_ms": 1.23456}], "notes": []}
    monkeypatch.setattr("MSLFusionLib.benchmarks.operators.run", lambda *args: figures)
    path = tmp_path / "figures.json"
    assert cli.main(["benchmark", "operators", "--views", "8", "--output", str(path)]) == 0
    assert json.loads(path.read_text()) == figures
    shown = capsys.readouterr().out
    assert "1.235" in shown
    assert "notes" not in shown


def test_benchmark_text_is_a_table():
    shown = as_text({"runs": [{"a": 1, "b": None}, {"a": 20, "c": [1, 2]}], "ratio": 1.5})
    assert shown.splitlines() == ["runs:", "  a   b     c", "  1   -     -", "  20  -  1, 2", "ratio: 1.5"]


@pytest.mark.parametrize(
    ("lam", "name"),
    [(0.0, "hybrid_lambda-0.00.mha"), (0.25, "hybrid_lambda-0.25.mha"), (0.333, "hybrid_lambda-0.333.mha")],
)
def test_hybrids_are_named_by_their_lambda(lam, name):
    assert hybrid_name(lam, "mha") == name
    assert hybrid_name(None, "mha") == "hybrid_map.mha"
