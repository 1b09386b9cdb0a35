"""The trainer on a prepared set: in memory and from the file, what the set decides, another set, the command line."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch
from scans import SETTINGS, patients, write_scans
from training_bench import TINY

from MSLFusionLib import cli
from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import Job
from MSLFusionTrainingLib import commands
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.data import SliceSet
from MSLFusionTrainingLib.prepare.run import Splitting, prepare
from MSLFusionTrainingLib.prepared import StoredSlices, load_prepared, note_data, with_data

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Three patients, one of them for validation."""
    folder = tmp_path_factory.mktemp("scans")
    return prepare(patients(folder, 3), folder / "set.h5", SETTINGS, Splitting(0.3)).set.path


def run(*words: object) -> int:
    return cli.main([str(word) for word in words], [commands])


def test_memory_and_file_give_the_same_batches(prepared):
    held = load_prepared(prepared)
    warnings = []
    read = load_prepared(prepared, Job(warn=warnings.append), memory=1000)
    assert isinstance(held[0], SliceSet)
    assert isinstance(read[0], StoredSlices)
    assert "is read from the disk" in warnings[0]
    for one, other in zip(held, read, strict=True):
        assert len(one) == len(other) > 0
        assert one.nbytes == other.nbytes
        some = torch.tensor([len(one) - 1, 0, 0, len(one) // 2])
        assert torch.equal(one.batch(some, CPU), other.batch(some, CPU))
    sent = pickle.loads(pickle.dumps(read[0]))
    assert torch.equal(sent.batch(torch.tensor([1]), CPU), held[0].batch(torch.tensor([1]), CPU))
    assert read[0].to(CPU) is read[0]


def test_patients_for_validation_are_never_trained_on(prepared):
    train, validation = load_prepared(prepared)
    with h5py.File(prepared) as file:
        counts = {"train": 0, "validation": 0}
        for group in file["patients"].values():
            counts[group.attrs["split"]] += len(group["slices"])
    assert (len(train), len(validation)) == (counts["train"], counts["validation"])


def test_one_patient_is_watched_on_itself_with_a_warning(tmp_path):
    prepare(patients(tmp_path, 1), tmp_path / "set.h5", SETTINGS)
    warnings = []
    train, validation = load_prepared(tmp_path / "set.h5", Job(warn=warnings.append))
    assert validation is train
    assert "no patient for validation" in warnings[0]


def test_the_set_decides_grid_and_modalities(prepared):
    config = with_data(TrainConfig(data=str(prepared)))
    assert (config.size, config.pixel_mm, config.modalities, config.name) == (64, 4.0, ("ct", "t1"), "msl-ct-t1")
    assert with_data(replace(config, name="mine")).name == "mine"
    with pytest.raises(InputError, match="has size = 64, the settings say 128"):
        with_data(replace(config, size=128, crop=0))
    with pytest.raises(InputError, match="has modalities = ct t1, the settings say t1 t2"):
        with_data(replace(config, modalities=("t1", "t2")))
    with pytest.raises(InputError, match="does not exist"):
        with_data(replace(config, data="none.h5"))


def test_a_run_does_not_go_on_with_another_set(prepared, tmp_path):
    note_data(tmp_path / "run", prepared)
    note_data(tmp_path / "run", prepared)
    other = prepare(patients(tmp_path, 1), tmp_path / "other.h5", SETTINGS).set.path
    with pytest.raises(InputError, match="begun with another training set"):
        note_data(tmp_path / "run", other)
    (tmp_path / "run" / "data.json").write_text("{")
    with pytest.raises(InputError, match="begun with another training set"):
        note_data(tmp_path / "run", prepared)


def test_a_set_that_is_damaged_while_training_is_named(tmp_path):
    path = prepare(patients(tmp_path, 1), tmp_path / "set.h5", SETTINGS).set.path
    slices = load_prepared(path, memory=0)[0]
    path.unlink()
    with pytest.raises(InputError, match="does not exist any more"):
        slices.batch(torch.tensor([0]), CPU)


@pytest.mark.parametrize("modalities", [("ct", "t1"), ("t1", "t2"), ("t1", "pet")])
def test_from_folders_to_a_trained_network(tmp_path, capsys, modalities):
    for number, name in enumerate(("Anna", "Bert", "Carl")):
        write_scans(tmp_path / "scans" / name, number, modalities)
    (tmp_path / "scans" / "Carl" / f"{modalities[1]}.nrrd").unlink()
    output = tmp_path / "set.h5"
    words = ("prepare", tmp_path / "scans", "--output", output, "--modalities", *modalities, "--no-register")
    assert run(*words, "--size", 64, "--pixel-mm", 4) == 0
    said = capsys.readouterr()
    assert "train       1 patients" in said.out
    assert f"left out: p003: There is no {modalities[1].upper()} of patient p003." in said.out
    assert "Patient p003 is left out" in said.err
    assert output.with_suffix(".html").is_file()
    assert "p002,Bert" in output.with_suffix(".patients.csv").read_text()
    record = json.loads((tmp_path / "set.run.json").read_text())
    assert record["details"]["patients"]["p001"]["slices"] > 0
    assert "Anna" not in json.dumps(record)
    folder = tmp_path / "run"
    train = ("train", "--data", output, "--output", folder, "--model", json.dumps(TINY), "--iterations", 3)
    assert run(*train, "--batch", 2, "--validate-every", 3, "--device", "cpu") == 0
    assert "Trained" in capsys.readouterr().out
    assert json.loads((folder / "config.json").read_text())["modalities"] == list(modalities)
    assert json.loads((folder / "data.json").read_text())["name"] == "set.h5"


def test_words_that_cannot_be(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for words, sentence in (
        ((tmp_path / "empty", "--output", tmp_path / "set.h5"), "holds no scans of ct, t1"),
        ((tmp_path / "none", "--output", tmp_path / "set.h5"), "does not exist"),
        ((tmp_path / "empty", "--output", tmp_path / "set.txt"), "must end in .h5"),
        ((tmp_path / "empty", "--output", tmp_path / "set.h5", "--pattern", "pet=x*"), "names no modality"),
        ((tmp_path / "empty", "--output", tmp_path / "set.h5", "--pattern", "pet"), "not of the form NAME=GLOB"),
    ):
        assert run("prepare", *words) == 2
        assert sentence in capsys.readouterr().err


def test_scans_of_different_people_are_no_pair(tmp_path, capsys):
    folder = tmp_path / "scans"
    for number, (person, modality, other) in enumerate((("anna", "ct", "t1"), ("bert", "t1", "ct"))):
        write_scans(folder, number)
        (folder / f"{modality}.nrrd").rename(folder / f"{person}_{modality}.nrrd")
        (folder / f"{other}.nrrd").unlink()
    assert run("prepare", folder, "--output", tmp_path / "set.h5") == 2
    said = capsys.readouterr().err
    assert "Patient p001 is left out: There is no T1 of patient p001." in said
    assert "None of the 2 patients can be used." in said
    assert not (tmp_path / "set.h5").exists()


def trained(output: Path) -> dict[str, float]:
    """A few iterations on a set; the figures of its validation."""
    folder = output.with_suffix("")
    words = ("train", "--data", output, "--output", folder, "--model", json.dumps(TINY), "--iterations", 2)
    assert run(*words, "--batch", 1, "--validate-every", 2, "--validation-slices", 2, "--device", "cpu") == 0
    figures = json.loads((folder / "validation.jsonl").read_text())
    roles = json.loads((folder / "config.json").read_text())["modalities"]
    return {name: figures["mr" if name not in figures else name]["network"]["psnr"] for name in roles}


def test_two_modalities_of_the_shared_brain(tmp_path, shared_data):
    output = tmp_path / "set.h5"
    words = ("prepare", shared_data / "brain_t1t2flair", "--output", output, "--modalities", "t1", "t2")
    assert run(*words, "--no-register", "--size", 64, "--pixel-mm", 4) == 0
    assert len(load_prepared(output)[0]) > 100
    assert all(psnr > 10 for psnr in trained(output).values())


def test_pairs_of_the_shared_templates(tmp_path, shared_data):
    source = shared_data / "templates_mni"
    for modalities, more in ((("ct", "t1"), ["--pattern", "ct=scct*"]), (("t1", "t2"), []), (("t1", "pet"), [])):
        output = tmp_path / f"{'-'.join(modalities)}.h5"
        words = ("prepare", source, "--output", output, "--modalities", *modalities, *more, "--no-register")
        assert run(*words, "--size", 64, "--pixel-mm", 4) == 0
        assert len(load_prepared(output)[0]) > 70
        psnr = trained(output)
        assert tuple(psnr) == modalities
        assert all(value > 10 for value in psnr.values())
