"""mslfusion prepare --list: what there is, without writing anything."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MSLFusionLib.cli import main
from MSLFusionTrainingLib import commands
from MSLFusionTrainingLib.prepare.settings import PrepareSettings
from MSLFusionTrainingLib.prepare.store import PreparedPatient, packed, write_set


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and last record of a command."""
    code = main(["prepare", *words, "--list", "--json"], providers=[commands])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def scan(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.nii.gz").write_bytes(b"not looked into")


def test_a_folder_is_listed_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan(tmp_path / "scans" / "anna", "ct", "t1")
    scan(tmp_path / "scans" / "ben", "ct")
    code, found = told(capsys, str(tmp_path / "scans"))
    assert code == 0
    assert (found["kind"], found["modalities"]) == ("scans", ["ct", "t1"])
    rows = {row["id"]: row for row in found["patients"]}
    assert rows["anna"]["problem"] == ""
    assert Path(rows["anna"]["scans"]["t1"]).name == "t1.nii.gz"
    assert "T1" in rows["ben"]["problem"]
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]


def test_a_table_tells_its_modalities_and_which_files_are_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan(tmp_path / "anna", "ct", "pet")
    table = tmp_path / "scans.csv"
    table.write_text("patient,ct,pet\na1,anna/ct.nii.gz,anna/pet.nii.gz\na2,anna/ct.nii.gz,gone.nii.gz\n")
    _code, found = told(capsys, str(table))
    assert found["modalities"] == ["ct", "pet"]
    assert [bool(row["problem"]) for row in found["patients"]] == [False, True]
    assert "gone.nii.gz does not exist" in found["patients"][1]["problem"]


def test_a_folder_of_which_nothing_can_be_used_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan(tmp_path / "scans" / "ben", "ct")
    code, found = told(capsys, str(tmp_path / "scans"))
    assert code == 2
    assert "no T1" in found["message"]


def test_a_training_set_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts, splits = {}, {}
    for name, split in (("p001", "train"), ("p002", "validation")):
        rejected = [[0, "is blank"], [1, "is blank"], [2, "the T1 covers only 3 % of the body"]]
        about: dict[str, Any] = {"key": name, "rejected": rejected, "warnings": ["They hardly overlap."]}
        slices = np.zeros((3, 2, 16, 16), np.uint16)
        patient = PreparedPatient(name, ("ct", "t1"), slices, [3, 4, 5], about, b"", np.zeros((2, 4)))
        (tmp_path / f"{name}.h5").write_bytes(packed(patient))
        parts[name], splits[name] = (tmp_path / f"{name}.h5", name), split
    path = tmp_path / "set.h5"
    write_set(path, PrepareSettings(size=16), parts, splits, [("p003", "There is no T1.")])
    code, found = told(capsys, str(path))
    assert code == 0
    assert (found["kind"], found["slices"], found["size"], found["page"]) == ("set", 6, 16, "")
    assert [row["split"] for row in found["patients"]] == ["train", "validation"]
    assert found["patients"][0]["left_out"] == [["is blank", 2], ["the T1 covers only 3 % of the body", 1]]
    assert found["patients"][0]["warnings"] == ["They hardly overlap."]
    assert found["failed"] == [{"id": "p003", "problem": "There is no T1."}]
    assert main(["prepare", str(path), "--list"], providers=[commands]) == 0
    assert "2 left out: is blank" in capsys.readouterr().out


def test_what_is_no_training_set_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.h5"
    path.write_bytes(b"something else")
    code, found = told(capsys, str(path))
    assert code == 2
    assert "damaged or no HDF5 file" in found["message"]


def test_without_an_output_nothing_is_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", str(tmp_path)], providers=[commands]) == 2
    assert "--output" in capsys.readouterr().err
