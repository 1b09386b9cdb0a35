"""run.json: everything needed to repeat a run, nothing about the patient."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from MSLFusionLib import __version__
from MSLFusionLib.errors import InputError
from MSLFusionLib.io.runs import RunRecord, content_hash


def test_content_hash_is_sha256_and_ignores_names(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    assert content_hash(tmp_path / "a") == hashlib.sha256(b"one").hexdigest()
    for folder, names in (("x", "12"), ("y", "43")):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, (b"one", b"two"), strict=True):
            (tmp_path / folder / name).write_bytes(content)
    assert content_hash(tmp_path / "x") == content_hash(tmp_path / "y")
    (tmp_path / "y" / "4").write_bytes(b"three")
    assert content_hash(tmp_path / "x") != content_hash(tmp_path / "y")
    with pytest.raises(InputError, match="Cannot read"):
        content_hash(tmp_path / "missing")


def test_a_record_is_written_whole(tmp_path):
    (tmp_path / "ct.nrrd").write_bytes(b"voxels")
    record = RunRecord("reconstruct", {"lambda": (0.0, np.float32(0.5)), "output": Path("out")}, {"noise": 3})
    record.add_input("CT", tmp_path / "ct.nrrd")
    with record.stage("decode"):
        pass
    with record.stage("decode"):
        pass
    record.sampling = {"views": 64, "acceleration": {"asked": 4, "achieved": 384 / 92}}
    record.metrics = {"psnr": float("inf"), "map": np.eye(2)}
    path = record.write(tmp_path / "out")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["command"] == "reconstruct"
    assert content["parameters"] == {"lambda": [0.0, 0.5], "output": "out"}
    assert content["seeds"] == {"noise": 3}
    assert content["inputs"] == [
        {"role": "CT", "path": str(tmp_path / "ct.nrrd"), "sha256": hashlib.sha256(b"voxels").hexdigest()}
    ]
    assert content["metrics"] == {"psnr": None, "map": [[1.0, 0.0], [0.0, 1.0]]}
    assert content["times_seconds"]["decode"] >= 0
    assert content["versions"]["mslfusion"] == __version__
    assert {"python", "torch", "numpy", "SimpleITK"} <= set(content["versions"])
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["run.json"]
