"""Which scans belong to whom: folders, files side by side, tables, DICOM, RIRE, ids and splits."""

import gzip
import shutil
from pathlib import Path

import pytest
import SimpleITK as sitk
from scans import write_scans

from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.prepare.find import find_patients, table_modalities
from MSLFusionTrainingLib.prepare.settings import Patient, PrepareSettings, split_patients


def find(source: Path, modalities=("ct", "t1"), patterns=None, ids="names") -> dict[str, Patient]:
    found = find_patients(source, modalities, patterns or {}, ids, source.parent / "key.csv")
    return {one.id: one for one in found}


def names(patient: Patient) -> list[str]:
    return [path.name for path in patient.scans.values()]


def test_a_folder_for_each_patient(tmp_path):
    write_scans(tmp_path / "root" / "anna")
    write_scans(tmp_path / "root" / "bert" / "day-1", ending="nii.gz")
    write_scans(tmp_path / "root" / "carl", modalities=("ct", "t2"))
    (tmp_path / "root" / "anna" / "ct_bone.nrrd").write_bytes(b"not asked for")
    found = find(tmp_path / "root")
    assert names(found["anna"]) == ["ct.nrrd", "t1.nrrd"]
    assert names(found["bert"]) == ["ct.nii.gz", "t1.nii.gz"]
    assert found["carl"].missing == "There is no T1 of patient carl."


def test_files_side_by_side_and_one_patient(tmp_path):
    root = write_scans(tmp_path / "root", modalities=("p001_ct", "p001_t1"), ending="nii")
    write_scans(root, modalities=("p002_T1", "p002_CT"), ending="nii")
    write_scans(root, modalities=("p003_ct", "p003_pd"), ending="nii")
    found = find(root)
    assert names(found["p001"]) == ["p001_ct.nii", "p001_t1.nii"]
    assert names(found["p002"]) == ["p002_CT.nii", "p002_T1.nii"]
    assert "no T1" in found["p003"].missing
    alone = find(write_scans(tmp_path / "alone"))
    assert names(alone["alone"]) == ["ct.nrrd", "t1.nrrd"]


def test_a_pattern_names_what_is_not_called_by_its_modality(tmp_path):
    root = write_scans(tmp_path / "root", modalities=("scct", "T1"))
    assert find_patients_fails(root)
    assert names(find(root, patterns={"ct": "scct*"})["root"]) == ["scct.nrrd", "T1.nrrd"]


def find_patients_fails(root):
    return all(one.missing for one in find(root).values())


def test_two_that_fit_are_not_guessed(tmp_path):
    folder = write_scans(tmp_path / "root" / "anna")
    for name in ("t1", "ct"):
        (folder / f"{name}.nrrd").rename(folder / f"{name}_a.nrrd")
        shutil.copy(folder / f"{name}_a.nrrd", folder / f"{name}_b.nrrd")
    assert (
        "ct_a.nrrd and ct_b.nrrd both fit CT: tell them apart with --pattern" in find(tmp_path / "root")["anna"].missing
    )


def write_rire(folder: Path, suffix: str) -> None:
    folder.mkdir(parents=True)
    (folder / "header.ascii").write_text(
        "Rows := 20\nColumns := 20\nSlices := 3\nPixel size := 1.25 : 1.25\nSlice thickness := 4.0\n"
    )
    content = bytes(range(240)) * 10
    (folder / f"image.bin{suffix}").write_bytes(gzip.compress(content) if suffix else content)


def test_rire_folders(tmp_path):
    for name in ("ct", "mr_T1", "mr_T1_rectified"):
        write_rire(tmp_path / "rire" / "patient_001" / name, ".gz" if name == "ct" else "")
    assert names(find(tmp_path / "rire")["patient_001"]) == ["ct", "mr_T1"]
    assert names(find(tmp_path / "rire" / "patient_001")["patient_001"]) == ["ct", "mr_T1"]


def write_dicom(folder: Path, uid: str, modality: str, prefix: str = "s") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(4):
        one = sitk.Image(18, 18, 1, sitk.sitkInt16) + k
        tags = {"0008|0060": modality, "0020|000d": "1.2.3", "0020|000e": uid, "0020|0013": str(k)}
        tags |= {"0020|0032": f"0\\0\\{3 * k}", "0020|0037": "1\\0\\0\\0\\1\\0", "0008|0018": f"{uid}.{k}"}
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{prefix}{k}.dcm"))
        writer.Execute(one)


def test_dicom_series_are_told_apart_by_their_tag(tmp_path):
    root = tmp_path / "root"
    write_dicom(root / "anna", "1.2.7", "CT", "a")
    write_dicom(root / "anna", "1.2.8", "MR", "b")
    write_dicom(root / "bert" / "SER1", "1.2.9", "CT")
    write_dicom(root / "bert" / "SER2", "1.2.10", "MR")
    write_dicom(root / "carl" / "ct", "1.2.11", "CT")
    write_dicom(root / "carl" / "t1 head", "1.2.12", "MR")
    found = find(root)
    assert names(found["anna"]) == ["a0.dcm", "b0.dcm"]
    assert [path.parent.name for path in found["bert"].scans.values()] == ["SER1", "SER2"]
    assert names(found["carl"]) == ["ct", "t1 head"]


def test_a_table_of_paths(tmp_path):
    write_scans(tmp_path / "x")
    table = tmp_path / "pairs.csv"
    table.write_text(
        "patient, ct, t1, split\nA1, x/ct.nrrd, x/t1.nrrd, test\nA1, x/ct.nrrd, x/t1.nrrd,\nB2, x/ct.nrrd,,\n"
    )
    assert table_modalities(table) == ("ct", "t1")
    found = find(table)
    assert list(found) == ["A1", "A1-2", "B2"]
    assert (found["A1"].split, found["A1-2"].split, found["A1-2"].group) == ("test", None, "A1")
    assert found["A1"].scans["ct"] == tmp_path / "x" / "ct.nrrd"
    assert found["B2"].missing == "The T1 of patient B2 is missing in the table."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a column of paths for each modality"),
        ("patient,ct\nA,b", "a column of paths for each modality"),
        ("patient,ct,t2\nA,b,c", "no column 't1'"),
        ("patient,ct,t1\nDr. Who?,b,c", "cannot be a patient's id"),
        ("patient,ct,t1,split\nA,b,c,all", "the split 'all'"),
        ("patient,ct,t1\n\xff", "cannot be read"),
    ],
)
def test_bad_tables(tmp_path, text, sentence):
    table = tmp_path / "pairs.csv"
    table.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=sentence):
        find(table)


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no scans of ct, t1"):
        find(tmp_path / "empty")
    with pytest.raises(InputError, match="does not exist"):
        find(tmp_path / "none")


def test_numbers_stay_when_folders_are_added(tmp_path):
    root = tmp_path / "root"
    for name in ("Meier, Hans", "Zappa"):
        write_scans(root / name)
    first = find(root, ids="numbers")
    write_scans(root / "Abel")
    (root / "Gone").mkdir()
    second = find(root, ids="numbers")
    assert list(first) == ["p001", "p002"]
    assert {one: second[one].scans for one in first} == {one: first[one].scans for one in first}
    assert second["p003"].scans["ct"].parent.name == "Abel"
    assert not any("Meier" in one.id + one.group + one.missing for one in second.values())
    with pytest.raises(InputError, match="cannot be a patient's id"):
        find(root)


def test_splits_depend_on_seed_and_names_alone():
    everyone = [Patient(f"p{n:02d}") for n in range(20)]
    first = split_patients(everyone, 0.2, 0.1, 3)
    assert first == split_patients(everyone[::-1], 0.2, 0.1, 3)
    assert first != split_patients(everyone, 0.2, 0.1, 4)
    counts = {name: list(first.values()).count(name) for name in ("train", "validation", "test")}
    assert counts == {"train": 14, "validation": 4, "test": 2}
    more = split_patients([*everyone, Patient("p99")], 0.2, 0.1, 3)
    assert sum(more[name] != first[name] for name in first) <= 3


def test_splits_keep_groups_together_and_what_is_fixed():
    everyone = [Patient(f"a-{n}", group="a") for n in range(5)] + [Patient("b"), Patient("c", split="validation")]
    chosen = split_patients(everyone, 0.4, 0.0, 0)
    assert len({chosen[f"a-{n}"] for n in range(5)}) == 1
    assert chosen["c"] == "validation"
    assert set(split_patients([Patient("a"), Patient("b")], 0.1, 0, 0).values()) == {"train", "validation"}
    assert split_patients([Patient("a")], 0.15, 0, 0) == {"a": "train"}
    with pytest.raises(InputError, match="No patient is left to train on"):
        split_patients([Patient("a", split="test")], 0.1, 0, 0)
    with pytest.raises(InputError, match="leave nothing to train on"):
        split_patients(everyone, 0.6, 0.4, 0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"modalities": ("ct",)}, "at least two modalities"),
        ({"modalities": ("ct", "ct")}, "named twice"),
        ({"modalities": ("ct", "T 1")}, "no name for a modality"),
        ({"size": 100}, "multiple of 16"),
        ({"least_body": 1.0}, "must lie in"),
    ],
)
def test_settings_that_cannot_be(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        PrepareSettings(**changes)
