"""Outputs appear whole or not at all."""

import subprocess
import sys

import pytest

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path, writable_folder

FULL_DISK = """
import resource, sys
import numpy as np, SimpleITK as sitk
from MSLFusionLib.errors import InputError
from MSLFusionLib.io.runs import RunRecord
from MSLFusionLib.io.volumes import write_volume
image = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(20, 40, 40)).astype(np.float32))
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    if sys.argv[1].endswith("json"):
        RunRecord("test", {"long": "x" * 30000}).write(*sys.argv[1].rsplit("/", 1))
    else:
        write_volume(image, sys.argv[1])
except InputError as error:
    sys.exit(f"refused: {error}")
"""


def test_the_file_appears_at_the_end(tmp_path):
    with atomic_path(tmp_path / "new" / "a.seg.nrrd") as temporary:
        temporary.write_text("whole")
        assert temporary.name.endswith(".seg.nrrd")
        assert not (tmp_path / "new" / "a.seg.nrrd").exists()
    assert (tmp_path / "new" / "a.seg.nrrd").read_text() == "whole"
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_after_an_error_the_old_file_is_untouched(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fail():
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_folder_or_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write"), atomic_path(tmp_path / "file" / "a.txt") as temporary:
        temporary.write_text("x")
    with pytest.raises(InputError, match="a folder of that name"), atomic_path(tmp_path) as temporary:
        temporary.write_text("x")
    with pytest.raises(InputError, match="file of that name"):
        writable_folder(tmp_path / "file" / "sub")


def test_the_output_folder_is_made_and_left_empty(tmp_path):
    assert list(writable_folder(tmp_path / "a" / "b").iterdir()) == []
    with pytest.raises(InputError, match="too full"):
        writable_folder(tmp_path, needed_bytes=10**18)


def test_no_right_to_write_is_said(tmp_path, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", denied)
    with pytest.raises(InputError, match="no right to write"):
        writable_folder(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on file sizes that plays the full disk is Linux's")
@pytest.mark.parametrize("name", ["a.nrrd", "a.nii", "a.nii.gz", "a.mha", "run.json"])
def test_a_full_disk_leaves_nothing(tmp_path, name):
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / name)], capture_output=True, encoding="utf-8", check=False
    )
    assert result.returncode == 1
    assert f"refused: Cannot write {tmp_path / name}" in result.stderr
    assert "full" in result.stderr
    assert list(tmp_path.iterdir()) == []
