"""The benchmark compares like with like."""

import json
from pathlib import Path

import pytest
import torch
from training_bench import config, trainer

from MSLFusionLib.cli import main
from MSLFusionTrainingLib.benchmark import PublishedObjective
from MSLFusionTrainingLib.data import SliceSet


@pytest.mark.parametrize("preset", ["paper", "official", "msl", "msl-lite"])
def test_published_step_has_the_same_losses_and_gradients(
    preset: str, pair: torch.Tensor, heads: SliceSet, tmp_path: Path
) -> None:
    settings = config(preset, fusion_lambda="half")
    settings = config(preset, fusion_lambda="half", model=settings.model | {"dropout": 0.0})
    run = trainer(settings, heads, tmp_path)
    torch.nn.init.normal_(run.model.decoder.head[0].weight, std=0.05)
    published = PublishedObjective(run.model, settings)
    present = torch.tensor([[True, False], [True, False]])
    sensors = (pair * 0.9 + 0.05).clamp(0, 1)
    one, other = run.objective(sensors, pair, None, present), published(sensors, pair, present)
    for name in ("reconstruction", "fusion", "feature", "aux"):
        assert torch.isclose(getattr(one, name), getattr(other, name), rtol=1e-3)
    for terms in (one, other):
        terms.total(1, 1, 1, 0.5).backward()
    ours, theirs = (
        torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        for model in (run.model, published.model)
    )
    assert torch.nn.functional.cosine_similarity(ours, theirs, 0) > 0.999


def test_command_writes_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    words = ["--preset", "msl-lite", "--size", "32", "--batch", "1", "--repeats", "1", "--device", "cpu"]
    assert main(["benchmark", "train", *words, "--output", str(file)]) == 0
    figures = json.loads(file.read_text())
    assert [(row["step"], row["precision"]) for row in figures["steps"]][:2] == [
        ("published", "float32"),
        ("ours", "float32"),
    ]
    assert all(row["seconds"] > 0 and row["processor_seconds"] > 0 for row in figures["steps"])
    assert figures["steps"][0]["speed_up"] == figures["steps"][0]["processor_speed_up"] == 1
    assert figures["products_gflops"]["float32"] > 0
    assert "published" in capsys.readouterr().out
