"""Statistics of an exported model from the slices of its training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import oval_head, write_model

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import load_checkpoint, read_card
from MSLFusionLib.physics.units import hu_to_network
from MSLFusionTrainingLib import statistics
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.data import SliceSet
from MSLFusionTrainingLib.statistics import add_statistics

CONFIG = TrainConfig(preset="msl-lite", size=64, pixel_mm=4.0, crop=48, heads=2, head_seed=5, validation_heads=1)


def slices(count: int) -> SliceSet:
    """Oval heads of 64 x 64 pixels, each a little brighter than the last."""
    ct, mr = oval_head((count, 64, 64))
    pairs = np.stack([hu_to_network(ct), mr / 900 * np.linspace(0.7, 1, count)[:, None, None]], 1)
    return SliceSet(torch.from_numpy((pairs.clip(0, 1) * 65535).astype(np.uint16)))


def test_statistics_of_a_runs_own_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def heads(_config, seeds, cache, job) -> SliceSet:
        asked.append((list(seeds), cache))
        return slices(20)

    monkeypatch.setattr(statistics, "load_heads", heads)
    monkeypatch.setattr(statistics, "ERROR_SLICES", 1)
    monkeypatch.setattr(statistics, "ERROR_STEPS", 2)
    path = write_model(tmp_path / "tiny.safetensors")
    before = load_checkpoint(path)
    add_statistics(path, CONFIG, tmp_path / "heads", "cpu")
    after = load_checkpoint(path)
    assert asked == [([5, 6], tmp_path / "heads"), ([7], tmp_path / "heads")]
    assert "ct+mr.mean" in after.statistics
    table = read_card(path)["statistics"]
    assert table["data"] == "generated heads 5 to 6; limit from 7 to 7; errors from 500000 to 500000"
    assert (table["slices"], table["held_out"]) == (20, 20)
    for name, value in before.model.state_dict().items():
        torch.testing.assert_close(after.model.state_dict()[name], value, rtol=0, atol=0)


def test_a_set_of_slices_or_other_scanners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "tiny.safetensors")
    kept = path.read_bytes()
    monkeypatch.setattr(statistics, "load_prepared", lambda path, job: (slices(20), slices(3)))
    with pytest.raises(InputError, match="at least 16"):
        add_statistics(path, replace(CONFIG, data=str(tmp_path / "set.h5")), tmp_path, "cpu")
    with pytest.raises(InputError, match="models of CT and MR"):
        add_statistics(path, replace(CONFIG, modalities=("t1", "t2")), tmp_path, "cpu")
    assert path.read_bytes() == kept
