"""mslfusion fuse: methods side by side, options, and everything it refuses without writing."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib import cli
from MSLFusionLib.fusion.metrics import COPYING, METRICS
from MSLFusionLib.fusion.registry import METHODS


def fuse(*words):
    return cli.main(["fuse", *(str(word) for word in words)])


def test_methods_side_by_side_on_one_page(files, tmp_path, capsys):
    out = tmp_path / "fused"
    words = [files.ct, files.mr, "--output", out, "--method", "alpha", "--method", "overlay", "--json"]
    assert fuse(*words, "--set", "alpha.weight=0.3") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    names = {path.name for path in out.iterdir()}
    assert names == set(result["files"]) == {"fused_alpha.nrrd", "fused_overlay.nrrd", "report.html", "run.json"}
    assert result["note"] == COPYING
    record = json.loads((out / "run.json").read_text())
    assert record["parameters"]["methods"]["alpha"] == {"weight": 0.3}
    assert record["parameters"]["modalities"] == ["ct", "mr"]
    rows = record["metrics"]["fusion"]
    assert [row["method"] for row in rows] == ["alpha", "overlay", None, None]
    assert all(metric.key in row for metric in METRICS for row in rows)
    fused, ct = sitk.ReadImage(str(out / "fused_alpha.nrrd")), sitk.ReadImage(str(files.ct))
    assert fused.GetPixelID() == sitk.sitkFloat32
    assert (fused.GetSize(), fused.GetOrigin(), fused.GetSpacing()) == (ct.GetSize(), ct.GetOrigin(), ct.GetSpacing())
    page = (out / "report.html").read_text()
    assert COPYING.split(":")[0] in page
    assert page.count("data:image/png") == 4
    assert f"<td>second</td><td><code>{files.mr}</code></td>" in page


def test_different_grids_need_a_word_and_then_work(files, tmp_path, capsys):
    mr = sitk.ReadImage(str(files.mr))
    coarse = sitk.Resample(mr, [n // 2 for n in mr.GetSize()], sitk.Transform(), sitk.sitkLinear, mr.GetOrigin(),
                           [2 * mm for mm in mr.GetSpacing()], mr.GetDirection())  # fmt: skip
    sitk.WriteImage(coarse, str(tmp_path / "coarse.nrrd"))
    out = tmp_path / "out"
    words = [files.ct, tmp_path / "coarse.nrrd", "--output", out, "--method", "maximum"]
    assert fuse(*words) == 2
    error = capsys.readouterr().err
    assert "different grids" in error
    assert "--register" in error
    assert not out.exists()
    assert fuse(*words, "--resample") == 0
    assert sitk.ReadImage(str(out / "second_on_first.nrrd")).GetSize() == mr.GetSize()
    far = sitk.Image(coarse)
    far.SetOrigin((5000.0, 0.0, 0.0))
    sitk.WriteImage(far, str(tmp_path / "far.nrrd"))
    assert fuse(files.ct, tmp_path / "far.nrrd", "--output", tmp_path / "none", "--resample") == 2
    assert "do not overlap" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_bad_input_gets_one_line_and_nothing_is_written(files, tmp_path, capsys):
    mr = sitk.ReadImage(str(files.mr))
    cases = {
        "negative.nrrd": (sitk.Cast(mr, sitk.sitkFloat32) - 100.0, ["--modalities", "ct", "pet"], "negative values"),
        "constant.nrrd": (mr * 0, [], "constant"),
        "small.nrrd": (mr[:8, :8, :], [], "16"),
        "single.nrrd": (mr[:, :, 3], [], "single slice"),
    }
    for name, (image, more, words) in cases.items():
        sitk.WriteImage(image, str(tmp_path / name))
        out = tmp_path / f"{name}-out"
        assert fuse(files.ct, tmp_path / name, "--output", out, *more) == 2
        error = capsys.readouterr().err.strip()
        assert words in error
        assert "\n" not in error
        assert not out.exists()
    for words, told in (
        ([files.ct, "--output", tmp_path / "x"], "Two volumes"),
        ([files.ct, files.mr], "--output DIR is missing"),
        ([files.ct, files.mr, "--output", tmp_path / "x", "--method", "magic"], "There is no fusion method 'magic'"),
        ([files.ct, files.mr, "--output", tmp_path / "x", "--set", "weight=2", "--method", "alpha"], "from 0 to 1"),
        ([files.ct, files.mr, "--output", tmp_path / "x", "--set", "weight=1"], "none of the methods"),
        ([files.ct, files.mr, "--output", tmp_path / "x", "--register-start", "header"], "need --register"),
        ([files.ct, tmp_path / "no.nrrd", "--output", tmp_path / "x"], "does not exist"),
    ):
        assert fuse(*words) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def activity(files):
    """A volume that could be a PET: the MR without its few values below zero."""
    return sitk.Clamp(sitk.Cast(sitk.ReadImage(str(files.mr)), sitk.sitkFloat32), lowerBound=0.0)


def spoiled(image, change):
    """A volume that cannot be fused with the one that it was made from."""
    array = sitk.GetArrayFromImage(image)
    if change == "nan":
        array[2, 5, 5] = np.nan
    elif change == "infinite":
        array[2, 5, 5] = np.inf
    elif change == "constant":
        array[:] = 7.0
    elif change == "negative":
        array -= 100.0
    elif change == "4-D":
        return sitk.JoinSeries([image, image])
    elif change == "small":
        return image[:12, :12, :]
    elif change == "single":
        return image[:, :, 2:3]
    new = sitk.GetImageFromArray(array)
    new.CopyInformation(image)
    if change == "moved":
        new.SetOrigin([mm + 0.5 for mm in image.GetOrigin()])
    elif change == "turned":
        new.SetDirection((0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    elif change == "coarse":
        new.SetSpacing([2 * mm for mm in image.GetSpacing()])
    return new


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("nan", "has 1 voxels that are NaN or infinite"),
        ("infinite", "has 1 voxels that are NaN or infinite"),
        ("constant", "is constant (7 everywhere)"),
        ("negative", "negative values (lowest -100)"),
        ("4-D", "is 4-D (40 x 44 x 6 x 2): extract one 3-D volume"),
        ("small", "has only 12 x 12 x 6 voxels"),
        ("single", "is a single slice"),
        ("moved", "of one size and spacing, but up to 0.866 mm apart"),
        ("turned", "of one size and spacing, but up to"),
        ("coarse", "6 voxels of 4 x 4 x 5 mm and 40 x 44 x 6 voxels of 8 x 8 x 10 mm"),
    ],
)
@pytest.mark.parametrize("method", ["dc2fusion", "laplacian"])
def test_a_pet_that_cannot_be_fused_is_one_line_and_leaves_nothing(files, tmp_path, capsys, change, words, method):
    sitk.WriteImage(spoiled(activity(files), change), str(tmp_path / "pet.nrrd"))
    more = ["--modalities", "mr", "pet", "--method", method, "--output", tmp_path / "out"]
    assert fuse(files.mr, tmp_path / "pet.nrrd", *more) == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert "\n" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["pet.nrrd"]


def test_contrasts_that_no_network_is_for_are_one_line(files, tmp_path, capsys):
    sitk.WriteImage(activity(files), str(tmp_path / "pet.nrrd"))
    for modalities, words in (
        (("ct", "pet"), "No DC2Fusion model for ct and pet is installed (there is: "),
        (("mr", "auto"), "No DC2Fusion model for mr and mr is installed"),
    ):
        more = ["--modalities", *modalities, "--method", "dc2fusion", "--output", tmp_path / "out"]
        assert fuse(files.mr, tmp_path / "pet.nrrd", *more) == 2
        error = capsys.readouterr().err.strip()
        assert words in error
        assert "\n" not in error
    assert fuse(files.mr, files.mr, "--method", "dc2fusion", "--slicewise", "--output", tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def test_one_image_given_twice_is_told(files, tmp_path, capsys):
    assert fuse(files.mr, files.mr, "--method", "alpha", "--output", tmp_path / "out") == 0
    assert "the same image" in capsys.readouterr().err
    assert any("the same image" in w for w in json.loads((tmp_path / "out" / "run.json").read_text())["warnings"])


def test_the_network_sees_voxels_however_they_lie(files, tmp_path):
    """Oblique, permuted and very long voxels: the same values, and the first volume's grid to the last digit."""
    mr = activity(files)
    pet = sitk.GetImageFromArray(sitk.GetArrayFromImage(mr)[:, ::-1].copy())
    results = {}
    for name, direction, spacing in (
        ("straight", (1, 0, 0, 0, 1, 0, 0, 0, 1), (4, 4, 5)),
        ("oblique", (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1), (4, 4, 5)),
        ("permuted", (0, 0, 1, 1, 0, 0, 0, 1, 0), (4, 4, 5)),
        ("long", (1, 0, 0, 0, 1, 0, 0, 0, 1), (0.5, 0.5, 40)),
    ):
        for image, kind in ((mr, "mr"), (pet, "pet")):
            image.SetOrigin((3.0, -7.0, 11.0))
            image.SetDirection([float(n) for n in direction])
            image.SetSpacing([float(n) for n in spacing])
            sitk.WriteImage(image, str(tmp_path / f"{name}-{kind}.nrrd"))
        out = tmp_path / name
        more = ["--modalities", "mr", "pet", "--method", "dc2fusion", "--device", "cpu", "--output", out]
        assert fuse(tmp_path / f"{name}-mr.nrrd", tmp_path / f"{name}-pet.nrrd", *more) == 0
        fused = sitk.ReadImage(str(out / "fused_dc2fusion.nrrd"))
        assert np.allclose(fused.GetDirection(), mr.GetDirection(), atol=1e-9)
        assert (fused.GetSpacing(), fused.GetOrigin()) == (mr.GetSpacing(), mr.GetOrigin())
        results[name] = sitk.GetArrayFromImage(fused)
    for name in ("oblique", "permuted"):
        assert np.array_equal(results[name], results["straight"])
    assert np.abs(results["long"] - results["straight"]).mean() < 0.01


def test_the_methods_are_listed(capsys):
    assert fuse("--list", "--json") == 0
    methods = json.loads(capsys.readouterr().out.splitlines()[-1])["methods"]
    assert [method["name"] for method in methods] == list(METHODS)
    assert {method["task"] for method in methods} == {"fuse"}
    assert {one["role"] for one in methods[0]["inputs"]} == {"first", "second"}
    assert fuse("--list") == 0
    text = capsys.readouterr().out
    assert "guided" in text
    assert "weight=0.5" in text


def test_registration_brings_the_second_onto_the_first(files, tmp_path):
    mr = sitk.ReadImage(str(files.mr))
    moved = sitk.Image(mr)
    moved.SetOrigin([o + s for o, s in zip(mr.GetOrigin(), (6.0, -4.0, 0.0), strict=True)])
    sitk.WriteImage(moved, str(tmp_path / "moved.nrrd"))
    out = tmp_path / "out"
    assert fuse(files.ct, tmp_path / "moved.nrrd", "--output", out, "--method", "alpha", "--register") == 0
    assert (out / "second_to_first.tfm").exists()
    found = json.loads((out / "run.json").read_text())["details"]["registration"]
    assert np.allclose(found["shift_mm"][:2], (6.0, -4.0), atol=3.0)


@pytest.mark.parametrize("word", ["--slicewise"])
def test_two_dimensional_fusion(files, tmp_path, word):
    assert fuse(files.ct, files.mr, "--output", tmp_path / "out", word) == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["parameters"]["slicewise"] is True
