"""DC2Fusion on a person's own pairs: what becomes of their scans, patches from files, and the whole way."""

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scans import write_scans
from test_control import until
from test_fusion_training import TINY
from tiny import image, oval_head

from MSLFusionLib.cli import main
from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion.prepare import prepare
from MSLFusionTrainingLib import launch, runfolder
from MSLFusionTrainingLib.prepare.settings import Patient
from MSLFusionTrainingLib.volumes.config import VolumeConfig
from MSLFusionTrainingLib.volumes.pairs import PairSettings, prepare_pair, read_about, read_picture
from MSLFusionTrainingLib.volumes.sets import HeadPairs, StoredPairs, load_sets, recorded
from MSLFusionTrainingLib.volumes.trainer import VolumeTrainer

SETTINGS = PairSettings(("ct", "t1"), register=False)
SIZE = (44, 48, 20)
"""x, y, z of the invented scans."""


def write_pair(folder: Path, number: int = 0) -> Patient:
    """A patient's folder with a CT, and an MR on a coarser grid."""
    folder.mkdir(parents=True)
    ct, mr = oval_head(SIZE[::-1])
    ct[:, 20 + number : 24 + number, 15:22] += 40 + 5 * number
    first, second = image(ct), image(mr * (1 + 0.1 * number))
    size, spacing = [22, 24, 20], [n * mm for n, mm in zip((2, 2, 1), second.GetSpacing(), strict=True)]
    coarse = sitk.Resample(second, size, sitk.Transform(), sitk.sitkLinear, second.GetOrigin(), spacing)
    sitk.WriteImage(first, str(folder / "ct.nrrd"))
    sitk.WriteImage(coarse, str(folder / "t1.nrrd"))
    return Patient(folder.name, {"ct": folder / "ct.nrrd", "t1": folder / "t1.nrrd"}, folder.name)


def stored(outcome, folder: Path) -> Path:
    assert outcome.problem == ""
    path = folder / f"{outcome.key}.h5"
    path.write_bytes(outcome.content)
    return path


def test_a_pair_is_what_fuse_makes_of_the_scans(tmp_path: Path) -> None:
    patient = write_pair(tmp_path / "Meier")
    outcome = prepare_pair(patient, SETTINGS, frozenset())
    path = stored(outcome, tmp_path)
    about = read_about(path)
    first = sitk.ReadImage(str(patient.scans["ct"]))
    second = sitk.Resample(sitk.ReadImage(str(patient.scans["t1"])), first, sitk.Transform(), sitk.sitkLinear,
                           0.0, sitk.sitkFloat32)  # fmt: skip
    ready = prepare(first, second, ("ct", "mr")).pair
    box = tuple(slice(*side) for side in about["box"])
    whole = StoredPairs([path]).box(0, (slice(None), slice(None), slice(None)))
    assert whole.shape[1:] == tuple(about["shape"]) == StoredPairs([path]).shape(0)
    np.testing.assert_allclose(whole[0], ready.first[box].clip(0, 1), atol=1e-5)
    np.testing.assert_allclose(whole[1], ready.second[box].clip(0, 1), atol=1e-5)
    assert ready.body is not None
    assert ready.body[box].sum() == ready.body.sum()
    part = StoredPairs([path]).box(0, (slice(2, 9), slice(5, 20), slice(0, 16)))
    assert torch.equal(part, whole[:, 2:9, 5:20, :16])
    assert StoredPairs([path]).spacing(0) == tuple(reversed(first.GetSpacing()))
    assert read_picture(path).startswith(b"\x89PNG")
    assert b"Meier" not in path.read_bytes()
    again = prepare_pair(patient, SETTINGS, frozenset([outcome.key]))
    assert (again.key, again.content) == (outcome.key, None)
    other = prepare_pair(patient, PairSettings(("ct", "t1"), register=False, seed=1), frozenset([outcome.key]))
    assert other.content is not None


def spoiled(folder: Path, change: str) -> Patient:
    patient = write_pair(folder)
    path = patient.scans["t1"]
    mr = sitk.ReadImage(str(path))
    if change == "far":
        mr.SetOrigin((900.0, 0.0, 0.0))
    elif change == "half":
        mr.SetOrigin((mr.GetOrigin()[0] + 60.0, *mr.GetOrigin()[1:]))
    elif change == "constant":
        mr = mr * 0
    elif change == "nan":
        array = sitk.GetArrayFromImage(mr)
        array[3, 3, 3] = np.nan
        broken = sitk.GetImageFromArray(array)
        broken.CopyInformation(mr)
        mr = broken
    if change == "gone":
        path.unlink()
    elif change == "text":
        path.write_text("no image")
    else:
        sitk.WriteImage(mr, str(path))
    return patient


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("far", "do not overlap"),
        ("half", "covers only"),
        ("constant", "constant"),
        ("nan", "NaN"),
        ("gone", "does not exist"),
        ("text", "t1.nrrd"),
    ],
)
def test_scans_that_cannot_be_used_are_one_sentence(change: str, words: str, tmp_path: Path) -> None:
    outcome = prepare_pair(spoiled(tmp_path / "a", change), SETTINGS, frozenset())
    assert words in outcome.problem
    assert "fault of mslfusion" not in outcome.problem
    assert outcome.content is None


def test_slices_of_the_published_layout_are_no_volumes(tmp_path: Path) -> None:
    outcome = prepare_pair(Patient("a", published=(tmp_path / "p1_1_ct.png",)), SETTINGS, frozenset())
    assert "no volumes" in outcome.problem


def tiny(**changes: object) -> VolumeConfig:
    return VolumeConfig.from_dict(TINY | {"contrasts": ["ct", "t1"], "register": False} | changes)


def test_volumes_of_different_sizes_make_batches_of_patches(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.rand(1, 2, *shape, generator=generator) for shape in ((12, 20, 24), (30, 40, 17))]

    class Two(HeadPairs):
        def __len__(self) -> int:
            return 2

        def shape(self, index: int) -> tuple[int, int, int]:
            return HeadPairs(values[index]).shape(0)

        def box(self, index: int, box: tuple[slice, slice, slice]) -> torch.Tensor:
            return HeadPairs(values[index]).box(0, box)

    both = Two(values[0])
    trainer = VolumeTrainer(tiny(batch=3, crop=24, iterations=2, validate_every=2), both, both, tmp_path)
    assert trainer._sides == (12, 20, 17)
    trainer.run()
    assert len(list((tmp_path / "samples").iterdir())) == 1
    with pytest.raises(InputError, match="make no batch"):
        VolumeTrainer(tiny(batch=2, crop=0), both, both, tmp_path / "other")


def test_from_a_table_of_scans_to_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three patients, one of them spoiled, one scanned twice: both of its pairs are on one side of the split."""
    write_pair(tmp_path / "one", 0)
    write_pair(tmp_path / "two", 1)
    write_pair(tmp_path / "later", 2)
    spoiled(tmp_path / "bad", "constant")
    with open(tmp_path / "scans.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["patient", "ct", "t1"])
        for name, folder in (("one", "one"), ("two", "two"), ("two", "later"), ("bad", "bad")):
            rows.writerow([name, f"{folder}/ct.nrrd", f"{folder}/t1.nrrd"])
    settings = {**TINY, "data": str(tmp_path / "scans.csv"), "contrasts": ["ct", "t1"], "register": False}
    settings |= {"iterations": 2, "validation": 0.4}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    run, model = tmp_path / "run", tmp_path / "mine.safetensors"
    common = ["train", "--output", str(run), "--device", "cpu"]
    assert main([*common, "--set", "method=dc2fusion", *words]) == 0
    told = capsys.readouterr()
    assert "Patient bad is left out" in told.err
    assert "patients left out: 1" in told.out + told.err
    record = recorded(run)
    splits = {one["id"]: one["split"] for one in record["pairs"]}
    assert set(splits) == {"one", "two", "two-2"}
    assert splits["two"] == splits["two-2"] != splits["one"]
    assert [name for name, _ in record["failed"]] == ["bad"]
    assert str(tmp_path) not in (run / "pairs.json").read_text()
    assert {path.name for path in (run / "pairs").iterdir()} == {f"{name}.png" for name in splits}
    assert main([*common, "--set", "iterations=2"]) == 0  # nothing is left to do; the method and data are its own
    assert main(["export", str(run), "--output", str(model), "--half", "--json"]) == 0
    card = json.loads(capsys.readouterr().out.splitlines()[-1])["card"]
    assert card["modalities"] == ["ct", "mr"]
    assert card["metrics"]["data"] == "the run's validation volumes, never trained on"
    assert card["training"]["settings"]["data"] == "scans.csv"
    assert str(tmp_path) not in json.dumps(card)
    assert "generated" not in card["limits"]
    # Other scans in the same place are another training.
    write_pair(tmp_path / "one-again", 5).scans["ct"].replace(tmp_path / "one" / "ct.nrrd")
    assert main(common) == 2
    assert "begun with other volumes" in capsys.readouterr().err
    assert main([*common, "--set", 'data=""']) == 2
    assert "begun with other volumes" in capsys.readouterr().err


def test_a_run_in_the_background_is_watched_and_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of MSL, and on its own data: the process prepares the pairs, too."""
    started: list[subprocess.Popen] = []
    real = launch.start

    def start(*arguments: object) -> subprocess.Popen:
        started.append(real(*arguments))
        return started[-1]

    monkeypatch.setattr(launch, "start", start)
    for number in range(2):
        write_pair(tmp_path / "scans" / f"p{number}", number)
    settings = {**TINY, "data": str(tmp_path / "scans"), "contrasts": ["ct", "t1"], "register": False}
    settings |= {"iterations": 100_000, "checkpoint_every": 100_000, "method": "dc2fusion"}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    run = tmp_path / "run"
    assert main(["train", "--output", str(run), "--device", "cpu", *words, "--background"]) == 0
    try:
        (process,) = started
        process.returncode = None  # the command waits for it no longer, but we do
        until(lambda: (now := runfolder.look(run).status) is not None and now.best_score is not None, process)
        capsys.readouterr()
        assert main(["train", "--output", str(run), "--status"]) == 0
        told = capsys.readouterr().out
        assert told.startswith(("training", "validating"))
        assert "best loss" in told
        assert main(["train", "--output", str(run), "--stop"]) == 0
        until(lambda: not runfolder.look(run).active, process)
        look = runfolder.look(run)
        assert look.state == "paused", runfolder.tail(run / runfolder.TRAIN_LOG)
        assert look.saved == look.status.iteration >= 2
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_folder_of_bad_scans_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scans(tmp_path / "scans" / "a", modalities=("ct", "t1"))
    (tmp_path / "scans" / "a" / "t1.nrrd").write_text("no image")
    config = tiny(data=str(tmp_path / "scans"))
    with pytest.raises(InputError, match="None of the 1 patients can be used"):
        load_sets(config, tmp_path / "run", tmp_path / "cache")
    with pytest.raises(InputError, match="does not exist"):
        load_sets(tiny(data=str(tmp_path / "none")), tmp_path / "run", tmp_path / "cache")
