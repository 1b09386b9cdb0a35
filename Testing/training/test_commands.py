"""mslfusion train and export, as typed."""

from pathlib import Path

import pytest
import torch
from training_bench import TINY

from MSLFusionLib.cli import main
from MSLFusionLib.io.checkpoints import load_checkpoint
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.state import BEST, LAST, load_extra, load_weights, read_facts, save_state
from MSLFusionTrainingLib.trainer import build_model

TOML = """
preset = "msl-lite"
name = "tiny"
size = 64
pixel_mm = 4.0
crop = 48
iterations = 4
batch = 2
heads = 1
validation_heads = 1
slices = 4
validation_slices = 3
validate_every = 2
[model]
"""


def test_from_settings_to_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, run, model = tmp_path / "train.toml", tmp_path / "run", tmp_path / "tiny.safetensors"
    settings.write_text(TOML + "\n".join(f"{name} = {value}" for name, value in TINY.items()))
    common = ["--output", str(run), "--device", "cpu"]
    assert main(["train", str(settings), *common]) == 0
    assert {LAST, BEST, "log.csv", "validation.jsonl", "samples", "config.json"} <= {p.name for p in run.iterdir()}
    assert main(["train", str(settings), "--iterations", "5", *common]) == 2
    assert "another 'iterations'" in capsys.readouterr().err
    assert main(["export", str(run), "--output", str(model), "--half", "--name", "mine"]) == 0
    loaded = load_checkpoint(model)
    assert loaded.name == "mine"
    assert loaded.card["modalities"] == ["ct", "mr"]
    assert loaded.card["metrics"]["ct"]["network"]["psnr"] > 0
    assert loaded.card["training"]["settings"]["iterations"] == 4
    spoil(run / BEST)
    assert main(["export", str(run), "--output", str(tmp_path / "other.safetensors")]) == 2
    assert "does not reproduce its recorded quality" in capsys.readouterr().err
    assert not (tmp_path / "other.safetensors").exists()


def spoil(checkpoint: Path) -> None:
    """Other weights under the same facts."""
    facts = read_facts(checkpoint)
    model = build_model(TrainConfig.from_dict(facts["config"]))
    load_weights(checkpoint, model)
    with torch.no_grad():
        model.decoder.head[0].bias += 0.3
    save_state(checkpoint, None, model, None, facts, load_extra(checkpoint))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "none.toml", "--output", "run"], "none.toml does not exist"),
        (["train", "--output", "run", "--preset", "best"], "no preset 'best'"),
        (["train", "--output", "run", "--device", "cpu", "--heads", "1", "--modalities", "ct", "flair"], "no 'flair'"),
        (["export", "run", "--output", "model.pth"], "must end in .safetensors"),
        (["export", "run", "--output", "m.safetensors"], "holds no training run"),
    ],
)
def test_bad_usage_is_one_line(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.strip().splitlines()) == 1


def test_unknown_key_is_named_with_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.toml").write_text("iteration = 5\n")
    assert main(["train", str(tmp_path / "train.toml"), "--output", str(tmp_path / "run")]) == 2
    assert "Did you mean 'iterations'?" in capsys.readouterr().err
