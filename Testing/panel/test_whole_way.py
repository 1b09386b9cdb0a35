"""From generated heads to hybrid volumes, word by word as typed: phantom, prepare, train, export, reconstruct;
the model is then in the panel's list."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from opened import Opened
from turns import settle

from MSLFusionLib.cli import main

ITERATIONS = 200
SETTINGS = f"""
preset = "msl-lite"
name = "small-head"
iterations = {ITERATIONS}
batch = 2
crop = 0
usual = 1.0
learning_rate = 5e-3
ema = 0.98
invert = 0.0
log_every = 1
validate_every = 100
validation_slices = 4
[model]
width = 8
token_dim = 32
heads = 2
head_dim = 16
mlp_dim = 64
embedding = 16
"""


@dataclass(frozen=True)
class Made:
    """What the words left."""

    heads: Path
    set: Path
    run: Path
    models: Path


def typed(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Six patients whose T1 lies elsewhere, a training set of them, a network, its model file."""
    folder = tmp_path_factory.mktemp("way")
    files = Made(folder / "heads", folder / "set.h5", folder / "run", folder / "models")
    for seed in range(6):
        head = ("phantom", "--seed", seed, "--size", 40, 48, 20, "--spacing", 4.5, 4.5, 7, "--output")
        typed(*head, files.heads / f"head{seed}", "--misalign", 5, "--misalign-degrees", 3)
    words = ("prepare", files.heads, "--pattern", "t1=t1_moved*", "--register-start", "header")
    typed(*words, "--size", 64, "--pixel-mm", 4, "--output", files.set)
    config = folder / "train.toml"
    config.write_text(SETTINGS, encoding="utf-8")
    typed("train", config, "--data", files.set, "--output", files.run, "--device", "cpu")
    files.models.mkdir()
    typed("export", files.run, "--output", files.models / "small-head.safetensors")
    return files


def test_the_loss_falls(made: Made) -> None:
    with (made.run / "log.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == ITERATIONS
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])


def test_the_network_improves_what_the_sensors_saw(made: Made) -> None:
    last = json.loads((made.run / "validation.jsonl").read_text().splitlines()[-1])
    assert last["iteration"] == ITERATIONS
    assert last["ct"]["gain_db"] > 0
    assert last["mr"]["gain_db"] > 0


def test_the_model_is_listed(made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MSLFUSION_MODELS", str(made.models))
    typed("models", "list")
    assert "small-head" in capsys.readouterr().out
    typed("models", "show", "small-head")
    assert "set.h5" in capsys.readouterr().out


def test_hybrids_lie_where_the_ct_lies(made: Made, tmp_path: Path) -> None:
    head, model = made.heads / "head0", made.models / "small-head.safetensors"
    volumes = ("--ct", head / "ct.nrrd", "--mr", head / "t1.nrrd", "--no-register", "--lambda", 0, 0.5, 1)
    typed("reconstruct", *volumes, "--model", model, "--device", "cpu", "--output", tmp_path)
    ct = sitk.ReadImage(str(head / "ct.nrrd"))
    hybrids = [sitk.ReadImage(str(path)) for path in sorted(tmp_path.glob("*lambda*.nrrd"))]
    assert len(hybrids) == 3
    arrays = [sitk.GetArrayFromImage(hybrid) for hybrid in hybrids]
    for hybrid, array in zip(hybrids, arrays, strict=True):
        assert hybrid.GetSize() == ct.GetSize()
        assert hybrid.GetSpacing() == pytest.approx(ct.GetSpacing())
        assert hybrid.GetOrigin() == pytest.approx(ct.GetOrigin())
        assert hybrid.GetDirection() == pytest.approx(ct.GetDirection())
        assert array.std() > 0.05
    # The dial turns from CT to MR.
    truth = np.clip(sitk.GetArrayFromImage(ct), -1000, 2125)
    likeness = [np.corrcoef(array.ravel(), truth.ravel())[0, 1] for array in arrays]
    assert likeness[0] > 0.9
    assert likeness[0] > likeness[1] > likeness[2]


def test_the_panel_offers_the_model(made: Made, slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MSLFUSION_MODELS", raising=False)
    opened = Opened()
    try:
        opened.load_volumes()
        opened.ui.modelFolderPath.setCurrentPath(str(made.models))
        settle()
        selector = opened.ui.modelSelector
        offered = [selector.itemText(i) for i in range(selector.count)]
        assert "small-head" in offered
        selector.setCurrentIndex(offered.index("small-head"))
        settle()
        assert opened.parameters.model.name == "small-head"
        assert "set.h5" in opened.ui.modelCard.toPlainText()
        assert opened.text("modelMessage") == ""
    finally:
        opened.close()
