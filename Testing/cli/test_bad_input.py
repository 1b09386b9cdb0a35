"""Bad input: one clear line, exit code 2, and nothing written."""

import errno
import os
import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import save_file
from tiny import ORIGIN, SIZE, SPACING, image

from MSLFusionLib import cli

ROOT = Path(__file__).resolve().parents[2]


def written(path, array, **kwargs):
    """A volume file made of an array (z, y, x)."""
    sitk.WriteImage(image(array, **kwargs), str(path))
    return path


def noise(shape=SIZE[::-1]):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture
def refused(files, tmp_path, capsys):
    """Checks that words are refused: returns the line on standard error."""
    output = tmp_path / "output"

    def check(*words, exit_code=2, into=output, kept=()):
        before = sorted(into.iterdir()) if into.is_dir() else None
        stamps = [path.stat().st_mtime_ns for path in kept]
        capsys.readouterr()
        assert cli.main([str(word) for word in words]) == exit_code
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1, captured.err
        assert captured.err.startswith("mslfusion: error: ")
        assert "Traceback" not in captured.err
        assert (sorted(into.iterdir()) if into.is_dir() else None) == before
        assert [path.stat().st_mtime_ns for path in kept] == stamps
        return captured.err

    check.output = output
    return check


def test_missing_file(files, refused, tmp_path):
    line = refused("reconstruct", "--ct", tmp_path / "no.nrrd", "--mr", files.mr, "--model", files.model,
                   "--output", refused.output)  # fmt: skip
    assert "no.nrrd" in line


def bad_files(folder):
    """Name -> file that is no usable volume."""
    (folder / "text.nrrd").write_text("this is no image\n")
    (folder / "empty.nii.gz").write_bytes(b"")
    rgb = sitk.GetImageFromArray(np.zeros((6, 44, 40, 3), np.uint8), isVector=True)
    sitk.WriteImage(rgb, str(folder / "rgb.nrrd"))
    four = sitk.JoinSeries([image(noise()), image(noise())])
    sitk.WriteImage(four, str(folder / "4d.nrrd"))
    broken = noise()
    broken[3, 20, 20] = np.nan
    written(folder / "nan.nrrd", broken)
    written(folder / "constant.nrrd", np.full(SIZE[::-1], 7.0, np.float32))
    written(folder / "slice.nrrd", noise((1, 44, 40)))
    written(folder / "thin.nrrd", noise((6, 8, 40)))
    return folder


@pytest.mark.parametrize(
    "name",
    ["text.nrrd", "empty.nii.gz", "rgb.nrrd", "4d.nrrd", "nan.nrrd", "constant.nrrd", "slice.nrrd", "thin.nrrd"],
)
@pytest.mark.parametrize("role", ["ct", "mr"])
def test_unusable_volume(files, refused, tmp_path, name, role):
    bad = bad_files(tmp_path) / name
    other = {"ct": ("--mr", files.mr), "mr": ("--ct", files.ct)}[role]
    line = refused("reconstruct", f"--{role}", bad, *other, "--model", files.model, "--output", refused.output)
    assert name in line


def test_volumes_that_do_not_overlap(files, refused, tmp_path):
    far = sitk.ReadImage(str(files.mr))
    far.SetOrigin([o + 900.0 for o in far.GetOrigin()])
    sitk.WriteImage(far, str(tmp_path / "far.nrrd"))
    words = ["reconstruct", "--ct", files.ct, "--mr", tmp_path / "far.nrrd", "--model", files.model]
    assert "overlap" in refused(*words, "--no-register", "--output", refused.output)
    assert "overlap" in refused(*words, "--register-start", "header", "--output", refused.output)


@pytest.mark.parametrize(
    "words",
    [
        ["--views", "0"],
        ["--views", "2.5"],
        ["--acceleration", "0.5"],
        ["--acceleration", "1000"],
        ["--acceleration", "nan"],
        ["--acceleration", "8", "--centre-fraction", "0.9"],
        ["--centre-fraction", "1.5"],
        ["--photons", "0"],
        ["--kspace-noise", "-1"],
        ["--lambda", "1.01"],
        ["--lambda", "-0.1"],
        ["--lambda", "nan"],
        ["--lambda", "half"],
        ["--lambda"],
        ["--model", "no-such-model"],
        ["--model", "no/such.safetensors"],
        ["--device", "gpu"],
        ["--device", "cuda:99"],
        ["--segment-lambda", "label 1=0.5"],
        ["--segmentation", "no.seg.nrrd"],
        ["--lambda-map", "no.nrrd"],
        ["--pixel-mm", "0"],
        ["--hu", "--lambda", "1"],
        ["--hu", "--lambda-map", "README.md"],
        ["--sensors", "x.h5"],
        ["--format", "png"],
    ],
)
def test_impossible_option(files, refused, words):
    refused(*files.reconstruct(refused.output, *words))


def test_neither_volumes_nor_sensors(files, refused):
    assert "--mr" in refused("reconstruct", "--ct", files.ct, "--model", files.model, "--output", refused.output)


def test_cuda_asked_for_and_absent(files, refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "CUDA" in refused(*files.reconstruct(refused.output, "--device", "cuda"))


def foreign_models(folder, tiny):
    """Name -> file that is no model of ours."""
    whole = tiny.read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "text.safetensors").write_text("weights")
    save_file({"w": torch.zeros(3)}, folder / "foreign.safetensors")
    torch.save({"w": torch.zeros(3)}, folder / "weights.pth")
    (folder / "pickle.safetensors").write_bytes(pickle.dumps({"w": [1, 2, 3]}))
    return folder


@pytest.mark.parametrize(
    "name", ["cut.safetensors", "text.safetensors", "foreign.safetensors", "weights.pth", "pickle.safetensors"]
)
def test_file_that_is_no_model(files, refused, tmp_path, name):
    bad = foreign_models(tmp_path, files.model) / name
    assert name in refused(*files.reconstruct(refused.output, "--model", bad))


def test_models_words_refuse_too(files, refused, tmp_path):
    foreign_models(tmp_path, files.model)
    refused("models", "show", "no-such-model")
    refused("models", "show", tmp_path / "weights.pth")
    refused("models", "import-official", tmp_path / "weights.pth", "--output", tmp_path / "new.safetensors")
    refused("models", "import-official", tmp_path / "no.pth")
    assert not (tmp_path / "new.safetensors").exists()


@pytest.mark.parametrize("case", ["outside", "range", "constant nan"])
def test_unusable_lambda_map(files, refused, tmp_path, case):
    ramp = np.linspace(0, 1, np.prod(SIZE), dtype=np.float32).reshape(SIZE[::-1])
    origin = ORIGIN
    if case == "outside":
        origin = (ORIGIN[0] + 3 * SPACING[0], *ORIGIN[1:])
    elif case == "range":
        ramp = ramp * 2
    else:
        ramp = ramp * np.nan
    written(tmp_path / "map.nrrd", ramp, origin=origin)
    assert "map.nrrd" in refused(*files.reconstruct(refused.output, "--lambda-map", tmp_path / "map.nrrd"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "label 1"),
        (["--segment-lambda", "label 1=2"], "outside"),
        (["--segment-lambda", "skull=0.5"], "skull"),
        (["--segment-lambda", "label 1"], "NAME=LAMBDA"),
    ],
)
def test_unusable_segmentation(files, refused, tmp_path, words, said):
    labels = np.zeros(SIZE[::-1], np.uint8)
    labels[:, 10:20, 10:20] = 1
    written(tmp_path / "painted.nrrd", labels)
    line = refused(*files.reconstruct(refused.output, "--segmentation", tmp_path / "painted.nrrd", *words))
    assert said in line


def test_sensor_file_that_is_none(files, refused, tmp_path):
    (tmp_path / "bad.h5").write_text("no HDF5")
    words = ["reconstruct", "--sensors", tmp_path / "bad.h5", "--model", files.model, "--output", refused.output]
    assert "bad.h5" in refused(*words)


def test_output_folder_that_cannot_be_made(files, refused, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "file" in refused(*files.reconstruct(tmp_path / "file"))
    assert "file" in refused(*files.reconstruct(tmp_path / "file" / "below"))
    assert (tmp_path / "file").read_text() == "in the way"


def test_output_folder_without_write_permission(files, refused, tmp_path, monkeypatch):
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "run.json").write_text("older")
    if os.geteuid() == 0:  # root may write everywhere: say no in its place

        def no(*args, **kwargs):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))

        monkeypatch.setattr("tempfile.mkdtemp", no)
    else:
        folder.chmod(0o500)
    refused(*files.reconstruct(folder), into=folder, kept=[folder / "run.json"])


def test_disk_too_full_is_told_before_the_work(files, refused, monkeypatch):
    monkeypatch.setattr("MSLFusionLib.commands.outputs.free_bytes", lambda folder: 1000)
    assert "full" in refused(*files.reconstruct(refused.output))
    assert not refused.output.exists()


def test_disk_that_fills_up_leaves_the_earlier_result(files, refused, monkeypatch):
    """The write of the second volume fails; the files of an earlier run stay as they are."""
    assert cli.main(files.reconstruct(refused.output, "--lambda", "0", "1")) == 0
    kept = sorted(refused.output.iterdir())
    real, calls = sitk.WriteImage, []

    def full(volume, name, **kwargs):
        calls.append(name)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", name)
        real(volume, name, **kwargs)

    monkeypatch.setattr(sitk, "WriteImage", full)
    line = refused(*files.reconstruct(refused.output, "--lambda", "0.2", "0.4"), kept=kept, into=refused.output)
    assert "full" in line


def test_a_file_larger_than_allowed_leaves_nothing(files, tmp_path):
    """The operating system itself refuses the data, as on a full disk."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))

    path = os.pathsep.join([str(ROOT / "MSLFusion"), str(ROOT / "MSLFusionTraining")])
    done = subprocess.run(
        [sys.executable, "-m", "MSLFusionLib.cli", *files.reconstruct(tmp_path / "out", "--lambda", "0.5")],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limit,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "out").exists()


def test_inputs_are_never_overwritten(files, refused, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    mr = folder / "mr_registered.nrrd"
    mr.write_bytes(files.mr.read_bytes())
    words = ["reconstruct", "--ct", files.ct, "--mr", mr, "--model", files.model, "--no-register", "--output", folder]
    assert "input" in refused(*words, into=folder, kept=[mr])
    assert mr.read_bytes() == files.mr.read_bytes()


def test_register_and_simulate_refuse_too(files, refused, tmp_path):
    out = tmp_path / "o.nrrd"
    refused("register", "--fixed", files.ct, "--moving", tmp_path / "no.nrrd", "--output", out)
    refused("register", "--fixed", files.ct, "--moving", files.mr, "--output", tmp_path / "o.png")
    refused("register", "--fixed", files.ct, "--moving", files.mr, "--output", files.mr, kept=[files.mr])
    refused("register", "--fixed", files.ct, "--moving", files.mr, "--output", out, "--transform", tmp_path / "o.xyz")
    pair = ("--ct", files.ct, "--mr", files.mr, "--no-register")
    refused("simulate", "--output", tmp_path / "s.h5")
    refused("simulate", *pair, "--output", tmp_path / "s.nrrd")
    refused("simulate", *pair, "--output", tmp_path / "s.h5", "--size", "64", "--acceleration", "100")
    refused("phantom", "--output", refused.output, "--size", "0", "10", "10")
    refused("demo", "--output", refused.output, "--model", "no-such-model")
    assert not list(tmp_path.glob("[os].*"))
