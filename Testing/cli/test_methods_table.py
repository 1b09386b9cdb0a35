"""The table of all methods: what each takes, which models it has, and what is missing."""

import importlib.util
import json
from pathlib import Path

from MSLFusionLib import cli, methods
from MSLFusionLib.fusion.registry import METHODS
from MSLFusionLib.io.checkpoints import ModelInfo
from MSLFusionLib.progress import NO_JOB
from MSLFusionLib.wire import Message
from MSLFusionLib.worker.services import Services


def info(architecture, modalities, **card):
    card = {"architecture": architecture, "modalities": modalities, **card}
    return ModelInfo(f"a-{architecture}", Path(f"/models/a-{architecture}.safetensors"), card)


MODELS = [info("msl", ["ct", "mr"]), info("cmf-net", ["t1", "t2"], scale=2), info("dc2fusion", ["mr", "pet"])]


def test_every_method_is_in_it_with_its_models():
    rows = {row.name: row for row in methods.all_methods(MODELS)}
    assert list(rows) == ["msl", "cmf-net", *METHODS]
    assert [row.name for row in rows.values() if row.task == methods.FUSE] == list(METHODS)
    assert rows["cmf-net"].models[0].scale == 2
    assert rows["cmf-net"].modalities == (("t1", "t2"),)
    assert [one.role for one in rows["cmf-net"].inputs] == ["target", "auxiliary"]
    assert rows["dc2fusion"].modalities == (("mr", "pet"),)
    assert rows["alpha"].any
    assert not rows["dc2fusion"].any
    assert all(row.ready for row in rows.values() if row.name != "wavelet")


def test_what_is_missing_is_said(monkeypatch):
    rows = {row.name: row for row in methods.all_methods([])}
    for name in ("msl", "cmf-net", "dc2fusion"):
        assert not rows[name].ready
        assert "model is installed" in rows[name].missing[0]
    assert rows["laplacian"].ready
    real = importlib.util.find_spec
    absent = {"torch", "pywt"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in absent else real(name, *more))
    rows = {row.name: row for row in methods.all_methods(MODELS)}
    assert "PyTorch" in rows["cmf-net"].missing[0]
    assert "PyWavelets" in rows["wavelet"].missing[0]
    assert rows["laplacian"].ready
    text = "\n".join(methods.lines([row.to_dict() for row in rows.values()]))
    assert text.count("NOT READY") == 4


def test_a_panel_can_build_fields_from_the_settings():
    rows = {row.name: {one["name"]: one for one in row.settings} for row in methods.all_methods(MODELS)}
    assert rows["laplacian"]["levels"] | {"meaning": ""} == {
        "name": "levels",
        "default": 4,
        "possible": "1 to 8",
        "meaning": "",
        "kind": "whole number",
        "low": 1,
        "high": 8,
    }
    assert rows["alpha"]["weight"]["kind"] == "number"
    assert rows["overlay"]["colours"]["choices"] == ["heat", "ice"]
    assert rows["wavelet"]["wavelet"]["choices"] == []


def test_the_command_line_and_the_worker_tell_the_same(capsys):
    assert cli.main(["models", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["methods"]
    header, _ = Services().handler("methods")(Message({"type": "methods", "id": 1}, {}), NO_JOB, lambda *_: None)
    assert json.loads(json.dumps(header["methods"])) == told
    assert {row["task"] for row in told} == set(header["tasks"])
    assert cli.main(["models", "list"]) == 0
    text = capsys.readouterr().out
    assert "cmf-net" in text
    assert "Takes the target contrast" in text
