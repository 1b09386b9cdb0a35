"""Checkpoints: the card travels with the weights, and nothing foreign or damaged is loaded."""

import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import (
    CARD_KEYS,
    find_model,
    list_models,
    load_checkpoint,
    read_card,
    save_checkpoint,
)
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.presets import preset_config

CONFIG = preset_config("msl-lite", width=4, token_dim=16, heads=2, head_dim=8, mlp_dim=16, token_grid=(2, 2))


def card(**changes: Any) -> dict[str, Any]:
    values = dict.fromkeys(CARD_KEYS, "")
    return values | {"name": "tiny", "architecture": "msl", "config": CONFIG.to_dict()} | changes


@pytest.fixture
def model() -> MSL:
    torch.manual_seed(0)
    return MSL(CONFIG).eval()


def test_round_trip_is_exact(model: MSL, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, model, card())
    assert path.stat().st_mode & 0o044 == 0o044  # others may read a shared model
    loaded = load_checkpoint(path)
    assert loaded.card == card()
    assert loaded.name == "tiny"
    assert not loaded.model.training
    for ours, theirs in zip(model.state_dict().values(), loaded.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_half_is_half_the_size_and_nearly_the_same(model: MSL, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_checkpoint(whole, model, card())
    save_checkpoint(half, model, card(), half=True)
    assert half.stat().st_size < 0.65 * whole.stat().st_size
    loaded = load_checkpoint(half).model
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    for ours, theirs in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-6)


def test_incomplete_card_is_not_written(model: MSL, tmp_path: Path) -> None:
    values = card()
    del values["grid"]
    with pytest.raises(InputError, match="lacks 'grid'"):
        save_checkpoint(tmp_path / "x.safetensors", model, values)
    assert not list(tmp_path.iterdir())


def _foreign(kind: str, path: Path, model: MSL) -> str:
    """Write a file of some kind that is no model; returns what the error must say."""
    if kind == "missing":
        return "does not exist"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"network": 1}))
        return "PyTorch pickle"
    if kind == "pth":
        torch.save({"network": model.state_dict()}, path)
        return "PyTorch pickle"
    if kind == "empty":
        path.write_bytes(b"")
        return "not a safetensors file"
    if kind == "noise":
        path.write_bytes(bytes(range(256)) * 10)
        return "not a safetensors file"
    if kind == "huge header":
        path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
        return "not a safetensors file"
    if kind == "header is no table":
        path.write_bytes(struct.pack("<Q", 4) + b"[1] ")
        return "not a safetensors file"
    if kind == "no card":
        save_file({"a": torch.zeros(2)}, path)
        return "no model card"
    if kind == "card is no table":
        save_file({"a": torch.zeros(2)}, path, metadata={"mslfusion": "[]"})
        return "incomplete"
    if kind == "unknown architecture":
        save_checkpoint(path, model, card(architecture="unet"))
        return "'unet' is unknown"
    if kind == "absurd configuration":
        save_checkpoint(path, model, card(config=CONFIG.to_dict() | {"token_dim": 8000, "mlp_dim": 8000}))
        return "do not fit"
    if kind == "other configuration":
        save_checkpoint(path, model, card(config=CONFIG.to_dict() | {"depth": 3}))
        return "do not fit"
    if kind == "not finite":
        model.decoder.embed.bias.data[0] = float("nan")
        save_checkpoint(path, model, card())
        return "not finite"
    save_checkpoint(path, model, card())
    path.write_bytes(path.read_bytes()[:-1000])
    return "damaged"


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "pickle",
        "pth",
        "empty",
        "noise",
        "huge header",
        "header is no table",
        "no card",
        "card is no table",
        "unknown architecture",
        "absurd configuration",
        "other configuration",
        "not finite",
        "truncated",
    ],
)
def test_foreign_and_damaged_files_are_refused(kind: str, model: MSL, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    sentence = _foreign(kind, path, model)
    with pytest.raises(InputError, match=sentence) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_are_found_by_name(model: MSL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "mine.safetensors", model, card())
    (tmp_path / "broken.safetensors").write_text("nothing")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "mine.safetensors").read_bytes()[:-1])
    monkeypatch.setenv("MSLFUSION_MODELS", str(tmp_path))
    names = [info.name for info in list_models()]
    assert "mine" in names
    assert not {"broken", "cut"} & set(names)
    assert find_model("mine") == tmp_path / "mine.safetensors"
    assert find_model(tmp_path / "broken.safetensors") == tmp_path / "broken.safetensors"
    with pytest.raises(InputError, match=r"no model 'yours'.*mine"):
        find_model("yours")
    with pytest.raises(InputError, match="does not exist"):
        find_model(tmp_path / "none.safetensors")


def test_two_models_of_one_name_can_both_be_chosen(model: MSL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        save_checkpoint(folder / "mine.safetensors", model, card())
    monkeypatch.setenv("MSLFUSION_MODELS", str(first))
    paths = {info.name: info.path for info in list_models([second, first, second])}
    assert paths["mine"] == first / "mine.safetensors"
    other = str(second / "mine.safetensors")
    assert paths[other] == find_model(other) == second / "mine.safetensors"
    assert len([path for path in paths.values() if path.stem == "mine"]) == 2


def test_a_folder_of_something_else_costs_little(model: MSL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("MSLFusionLib.io.checkpoints.MAX_LISTED_HEADER", 20_000)
    os.mkfifo(tmp_path / "pipe.safetensors")  # opening it would wait for ever
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "large.safetensors").write_bytes(struct.pack("<Q", 20_001) + b" " * 20_001)
    save_checkpoint(tmp_path / "mine.safetensors", model, card())
    files = [tmp_path / "mine.safetensors", tmp_path / "none", tmp_path / "mine.safetensors" / "x"]
    found = [info.path for info in list_models([tmp_path, *files]) if info.path.parent == tmp_path]
    assert found == [tmp_path / "mine.safetensors"]
    monkeypatch.setattr("MSLFusionLib.io.checkpoints.MAX_ENTRIES", 0)
    assert not [info for info in list_models([tmp_path]) if info.path.parent == tmp_path]


def test_card_alone_can_be_read(model: MSL, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, model, card())
    assert read_card(path) == json.loads(json.dumps(card()))
