"""mslfusion reconstruct with CMF-Net: what it writes, and everything it refuses without writing."""

import json

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from raw_files import write_description
from scipy import ndimage
from tiny import image, oval_head, write_restorer

from MSLFusionLib import cli, scene
from MSLFusionLib.errors import Cancelled
from MSLFusionLib.physics.masks import cartesian_mask
from MSLFusionLib.physics.mr import fourier
from MSLFusionLib.recon import restore

SHAPE = (3, 50, 45)


@pytest.fixture(scope="module")
def mr(tmp_path_factory):
    """Paths by name: T2, T1 on its grid, a coarser and a flat T1, a CT, and two models (scale 2 and 4)."""
    folder = tmp_path_factory.mktemp("contrasts")
    ct, t2 = oval_head(SHAPE)
    volumes = {"ct": image(ct), "t2": image(t2), "t1": image(np.where(t2 > 400, 350, 1.5 * t2).astype(np.float32))}
    volumes["coarse"] = sitk.Resample(
        volumes["t1"], (30, 30, 3), sitk.Transform(), sitk.sitkLinear, volumes["t1"].GetOrigin(), (6.0, 6.5, 5.0)
    )
    volumes["flat"] = volumes["t1"] * 0.0
    volumes["small"] = volumes["t2"][10:36, 10:40, :]
    volumes["single"] = volumes["t2"][:, :, 1]
    for name, volume in volumes.items():
        sitk.WriteImage(volume, str(folder / f"{name}.nrrd"))
    paths = {name: folder / f"{name}.nrrd" for name in volumes}
    return paths | {f"x{scale}": write_restorer(folder / f"x{scale}.safetensors", scale) for scale in (2, 4)}


def reconstruct(*words):
    return cli.main(["reconstruct", *(str(word) for word in words)])


def test_volumes_record_and_page_are_written(mr, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--model", mr["x2"], "--target", mr["t2"], "--auxiliary", mr["t1"], "--output", out, "--report"]
    assert reconstruct(*words, "--compare", "--seed", 5, "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    names = set(restore.NAMES.values()) - {"truth"}
    assert set(told["files"]) == {f"{name}.nrrd" for name in names} | {"report.html", "run.json"}
    assert {path.name for path in out.iterdir()} == set(told["files"])
    fine, t2 = sitk.ReadImage(str(out / "super_resolved.nrrd")), sitk.ReadImage(str(mr["t2"]))
    for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(fine, get)() == getattr(t2, get)()
    low = sitk.ReadImage(str(out / "restored.nrrd"))
    assert low.GetSize() == (23, 25, 3)
    assert low.GetSpacing() == (8.0, 8.0, 5.0)
    record = json.loads((out / "run.json").read_text())
    assert [one["role"] for one in record["inputs"]] == ["target", "auxiliary", "model"]
    assert all(len(one["sha256"]) == 64 for one in record["inputs"])
    assert record["seeds"] == {"all": 5}
    assert record["parameters"]["contrasts"] == {"auxiliary": "t1", "target": "t2"}
    mask = record["sampling"]["mr"]
    assert mask["rate"] == mask["columns"] / mask["of"] == pytest.approx(0.25, abs=0.05)
    rows = record["metrics"]["restoration"]
    assert {row["image"] for row in rows} == set(restore.NAMES) - {restore.TRUTH, restore.TRUTH_LOW}
    assert all(set(row) == {"image", "resolution", "nmse", "psnr", "ssim"} for row in rows)
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 6
    assert "total variation" in page
    # The same command gives the same numbers.
    assert reconstruct(*[tmp_path / "again" if word == out else word for word in words], "--compare", "--seed", 5) == 0
    again = json.loads((tmp_path / "again" / "run.json").read_text())
    assert again["metrics"] == record["metrics"]


def test_a_model_is_found_by_contrasts_and_scale(mr, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MSLFUSION_MODELS", str(mr["x2"].parent))
    words = ["--method", "cmf-net", "--target", mr["t2"], "--auxiliary", mr["coarse"], "--output", tmp_path / "out"]
    assert reconstruct(*words) == 2
    error = capsys.readouterr().err
    assert "different grids" in error
    assert "--resample" in error
    assert not (tmp_path / "out").exists()
    assert reconstruct(*words, "--resample", "--no-metrics", "--no-consistency", "--scale", 2) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["parameters"]["scale"] == 2
    assert record["parameters"]["consistency"] is False
    assert record["metrics"] == {}
    moved = sitk.ReadImage(str(tmp_path / "out" / "auxiliary_on_target.nrrd"))
    assert moved.GetSize() == (45, 50, 3)


def test_measured_k_space_is_restored_in_its_own_place(mr, tmp_path, capsys):
    sensors, out = tmp_path / "sensors.h5", tmp_path / "out"
    words = ["simulate", "--ct", mr["ct"], "--mr", mr["t2"], "--no-register", "--size", 48, "--output", sensors]
    assert cli.main([str(word) for word in words]) == 0
    words = ["--model", mr["x2"], "--sensors", sensors, "--auxiliary", mr["t1"], "--output", out]
    assert reconstruct(*words, "--acceleration", 8, "--resample") == 2
    assert "--acceleration is about simulated k-space" in capsys.readouterr().err
    assert reconstruct(*words, "--resample", "--report") == 0
    assert {path.stem for path in out.iterdir()} == {
        "restored", "super_resolved", "zero_filled", "bicubic", "auxiliary_on_target", "run", "report",
    }  # fmt: skip
    low, fine = (sitk.ReadImage(str(out / f"{name}.nrrd")) for name in ("restored", "super_resolved"))
    assert fine.GetSpacing()[0] == pytest.approx(low.GetSpacing()[0] / 2)
    values = sitk.GetArrayFromImage(sitk.Resample(low, sitk.ReadImage(str(mr["t2"]))))
    assert np.corrcoef(values.ravel(), oval_head(SHAPE)[1].ravel())[0, 1] > 0.8
    with h5py.File(sensors, "a") as file:
        del file["mr"]
    assert reconstruct(*words, "--resample") == 2
    assert "hold no k-space" in capsys.readouterr().err


@pytest.mark.parametrize("coils", ["rss", "espirit"])
def test_k_space_of_several_coils_is_restored(mr, tmp_path, coils):
    # Blurred, for its corners of k-space to tell that there is no noise.
    t2 = ndimage.gaussian_filter(oval_head((2, 48, 44))[1], (0, 0.8, 0.8))
    columns = cartesian_mask(44, 2.0, centre_fraction=0.35).columns
    rows, across = np.meshgrid(np.linspace(-1, 1, 48), np.linspace(-1, 1, 44), indexing="ij")
    maps = np.stack([np.exp(-((rows - a) ** 2) + 1j * across * a) for a in (-1, 0, 1)])
    maps /= np.linalg.norm(maps, axis=0)
    kspace = fourier(torch.from_numpy(maps * t2[:, None])).numpy() * columns
    np.save(tmp_path / "raw.npy", kspace.astype(np.complex64))
    described = {"kind": "kspace", "axes": ["slices", "coils", "ky", "kx"], "fov_mm": [192, 176], "slice_mm": 5}
    # Pixel 22, 24 of the oval lies here.
    described["centre_mm"] = [22 * 4 - 70, 24 * 4 + 12.5, 31]
    write_description(tmp_path / "raw.npy", described)
    out = tmp_path / "out"
    words = ["--model", mr["x2"], "--kspace", tmp_path / "raw.npy", "--coils", coils, "--auxiliary", mr["t1"]]
    assert reconstruct(*words, "--resample", "--compare", "--output", out) == 0
    low = sitk.ReadImage(str(out / "restored.nrrd"))
    assert low.GetOrigin() == pytest.approx((-70.0, 12.5, 31.0))
    assert low.GetSpacing() == pytest.approx((4.0, 4.0, 5.0))
    off = {
        name: np.abs(sitk.GetArrayFromImage(sitk.ReadImage(str(out / f"{name}.nrrd"))) - t2).mean()
        for name in ("zero_filled", "restored", "total_variation")
    }
    assert off["restored"] < 0.7 * off["zero_filled"], off
    assert json.loads((out / "run.json").read_text())["sampling"]["mr"]["coils"] == 3


def test_bad_input_gets_one_line_and_nothing_is_written(mr, tmp_path, capsys, files):
    t2, t1, model = ["--target", mr["t2"]], ["--auxiliary", mr["t1"]], ["--model", mr["x2"]]
    for words, told in (
        ([*model, *t1], "--target FILE is missing"),
        ([*model, *t2], "--auxiliary FILE is missing"),
        ([*model, *t2, "--auxiliary", tmp_path / "no.nrrd"], "does not exist"),
        ([*model, *t2, "--auxiliary", mr["coarse"]], "different grids"),
        ([*model, *t2, "--auxiliary", mr["flat"]], "constant"),
        ([*model, "--target", mr["ct"], *t1], "looks like a CT"),
        ([*model, *t2, "--auxiliary", mr["ct"]], "looks like a CT"),
        ([*model, "--target", mr["small"], "--auxiliary", mr["small"]], "too small"),
        ([*model, "--target", mr["single"], *t1], "single slice"),
        ([*model, *t2, *t1, "--scale", 4], "2 times finer, not 4"),
        ([*model, *t2, *t1, "--contrasts", "t1", "flair"], "restores T2 with the help of T1, not FLAIR"),
        (["--method", "cmf-net", "--model", files.model, *t2, *t1], "is no CMF-Net"),
        (["--model", files.model, *t2, *t1], "is no CMF-Net"),
        (["--method", "msl", "--model", mr["x2"], "--ct", mr["ct"], "--mr", mr["t2"]], "use it with 'mslfusion recon"),
        (["--method", "cmf-net", *t2, *t1, "--contrasts", "pd", "t2"], "No CMF-Net model for T2 with the help of PD"),
        ([*model, *t2, *t1, "--ct", mr["ct"]], "--ct does not apply to CMF-Net"),
        ([*model, *t2, *t1, "--lambda", 0.5], "--lambda does not apply"),
        ([*model, *t2, *t1, "--views", 32], "--views does not apply"),
        ([*model, *t2, *t1, "--trust"], "--trust does not apply"),
        ([*model, *t2, *t1, "--sensors", files.sensors], "Give one target"),
        ([*model, *t2, *t1, "--register-preset", "paper"], "--register-preset needs --register"),
        ([*model, *t2, *t1, "--register", "--resample"], "not allowed with"),
        (["--method", "msl", *t2, *t1], "--target is about CMF-Net"),
        ([*model, *t2, *t1, "--acceleration", 40], "Acceleration 40 is impossible"),
    ):
        out = tmp_path / "out"
        assert reconstruct(*words, "--output", out) == 2, words
        error = capsys.readouterr().err.strip()
        assert told in error, words
        assert len(error.splitlines()) == 1
        assert not out.exists()


def test_the_auxiliary_is_registered_to_the_target(mr, tmp_path, files):
    volume = sitk.ReadImage(str(files.mr))
    volume.SetOrigin([at + by for at, by in zip(volume.GetOrigin(), (9.0, -6.0, 0.0), strict=True)])
    sitk.WriteImage(volume, str(tmp_path / "moved.nrrd"))
    out = tmp_path / "out"
    words = ["--model", mr["x2"], "--target", files.mr, "--auxiliary", tmp_path / "moved.nrrd", "--output", out]
    assert reconstruct(*words, "--register") == 0
    assert np.allclose(
        sitk.ReadTransform(str(out / "auxiliary_to_target.tfm")).TransformPoint((0, 0, 40))[:2], (9, -6), atol=3
    )
    record = json.loads((out / "run.json").read_text())
    assert record["parameters"]["registration"]["preset"] == "msl"
    assert record["details"]["registration"]["overlap"] > 0.5


def test_a_cancel_leaves_nothing(mr, tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise Cancelled("Cancelled: nothing was written.")

    monkeypatch.setattr(restore, "enhance", stop)
    out = tmp_path / "out"
    words = ["--model", mr["x2"], "--target", mr["t2"], "--auxiliary", mr["t1"], "--output", out]
    assert reconstruct(*words) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.skipif(not scene.available(), reason="needs Slicer's Python or slicer-core")
def test_the_scene_holds_the_run(mr, tmp_path):
    import zipfile

    out = tmp_path / "out"
    words = ["--model", mr["x4"], "--target", mr["t2"], "--auxiliary", mr["t1"], "--output", out, "--mrb"]
    assert reconstruct(*words) == 2  # 45 x 50 pixels are too few for four times finer ones
    big = tmp_path / "big.nrrd"
    _, t2 = oval_head((2, 68, 72), 2.5)
    sitk.WriteImage(image(t2, (2.5, 2.5, 5.0)), str(big))
    assert reconstruct("--model", mr["x4"], "--target", big, "--auxiliary", big, "--output", out, "--mrb") == 0
    names = zipfile.ZipFile(out / "run.mrb").namelist()
    for name in ("Super-resolved", "Restored", "Zero-filled", "Auxiliary", "Target"):
        assert any(f"{name}.nrrd" in one for one in names), name
    assert any(one.endswith(".mrml") for one in names)
