"""Which scans belong to which patient, in a folder or in a table."""

import csv
import fnmatch
import re
from pathlib import Path

from MSLFusionLib.errors import InputError
from MSLFusionLib.io import dicom
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionLib.io.rire import rire_folder
from MSLFusionTrainingLib.prepare.published import find_published
from MSLFusionTrainingLib.prepare.settings import SPLITS, Patient, check_id

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_SAME = {"ct": {"ct"}, "t1": {"t1", "t1w"}, "t2": {"t2", "t2w"}, "pet": {"pet", "pt"}, "mr": {"mr", "mri"}}
_TAGS = {"CT": "ct", "PT": "pet", "MR": "mr"}
_DEPTH = 3
_OWN_COLUMNS = {"patient", "id", "split"}


def table_modalities(source: Path) -> tuple[str, ...]:
    """The modalities that the columns of a CSV file name, in their order; InputError when it cannot be read."""
    return tuple(name for name in _rows(source)[0] if name not in _OWN_COLUMNS)


def find_patients(
    source: Path, modalities: tuple[str, ...], patterns: dict[str, str], ids: str, key_file: Path | None
) -> list[Patient]:
    """The patients of a CSV file or a folder, those with a missing scan too.

    Folder: a folder per patient; or files named after patient and modality side by side; or one patient's files; or
    the authors' slices. A scan is a file, a DICOM folder or a RIRE folder whose name has the modality as a word
    (ct.nii.gz, mr_T1/, p001_t1.nii), or fits its pattern. ids: "names" takes the folders' names as ids; "numbers"
    counts, and keeps in `key_file` which number is whose, so that they stay when folders are added; without one
    folders keep their names, too.
    Raises InputError when there is nothing.
    """
    if not source.exists():
        raise InputError(f"{source} does not exist: give a folder of scans or a CSV file.")
    if source.is_file():
        return _from_table(source, modalities)
    published = find_published(source, modalities)
    if published:
        return published
    found = _from_folder(source, modalities, patterns)
    if not found:
        raise InputError(
            f"The folder {source} holds no scans of {', '.join(modalities)}: their files or folders must have the "
            "modality in their names, or be named by --pattern."
        )
    if key_file is None:
        return found
    if ids == "names":
        for patient in found:
            check_id(patient.id)
        return found
    return _numbered(found, key_file)


def _from_table(source: Path, modalities: tuple[str, ...]) -> list[Patient]:
    columns, rows = _rows(source)
    absent = [name for name in modalities if name not in columns]
    if absent:
        raise InputError(f"The table {source} has no column '{absent[0]}'; it has {', '.join(columns)}.")
    patients: list[Patient] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        group = (row.get("patient") or row.get("id") or f"p{number:03d}").strip()
        check_id(group)
        seen[group] = seen.get(group, 0) + 1
        split = (row.get("split") or "").strip() or None
        if split is not None and split not in SPLITS:
            raise InputError(f"Row {number} of {source} has the split '{split}': use {', '.join(SPLITS)}.")
        scans = {name: source.parent / text for name in modalities if (text := (row.get(name) or "").strip())}
        gone = [name for name in modalities if name not in scans]
        missing = f"The {gone[0].upper()} of patient {group} is missing in the table." if gone else ""
        own = group if seen[group] == 1 else f"{group}-{seen[group]}"
        patients.append(Patient(own, scans, group, split, missing))
    return patients


def _rows(source: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with open(source, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows = list(reader)
            columns = [name.strip() for name in reader.fieldnames or ()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table {source} cannot be read: {error}.") from error
    if not rows or len(set(columns) - _OWN_COLUMNS) < 2:
        raise InputError(
            f"The table {source} must be a CSV file with a column of paths for each modality, such as patient,ct,t1, "
            "and a row for each patient."
        )
    return columns, [{(k or "").strip(): v for k, v in row.items() if isinstance(v, str)} for row in rows]


def _from_folder(source: Path, modalities: tuple[str, ...], patterns: dict[str, str]) -> list[Patient]:
    flat = _side_by_side(source, modalities, patterns)
    folders = sorted(item for item in source.iterdir() if item.is_dir() and not item.name.startswith("."))
    inside = []
    for folder in folders:
        scans, problem = _scans_in(folder, modalities, patterns)
        if scans or problem:
            inside.append(_patient(folder.name, scans, modalities, problem))
    whole = [one for one in inside if not one.missing]
    if flat and not whole:
        return flat
    if not whole:  # RIRE or DICOM folders of one patient, named after the modalities
        scans, problem = _scans_in(source, modalities, patterns)
        if len(scans) == len(modalities) and not problem:
            return [_patient(source.resolve().name, scans, modalities, problem)]
    return flat + inside


def _patient(name: str, scans: dict[str, Path], modalities: tuple[str, ...], problem: str) -> Patient:
    gone = [one for one in modalities if one not in scans]
    if gone and not problem:
        problem = f"There is no {gone[0].upper()} of patient {name}."
    return Patient(name, {one: scans[one] for one in modalities if one in scans}, name, None, problem)


def _side_by_side(source: Path, modalities: tuple[str, ...], patterns: dict[str, str]) -> list[Patient]:
    """Files in one folder, told apart by what is left of their names without the modality."""
    groups: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(source.iterdir()):
        if not (path.is_file() and path.name.lower().endswith(_ENDINGS)):
            continue
        for modality in modalities:
            if _fits(path, modality, patterns):
                words = [w for w in _words(path) if w.lower() not in _SAME.get(modality, {modality})]
                rest = "" if modality in patterns else "_".join(words)
                groups.setdefault(rest, {}).setdefault(modality, []).append(path)
    patients = []
    for rest, scans in sorted(groups.items()):
        doubled = [name for name, paths in scans.items() if len(paths) > 1]
        problem = f"Several files fit {doubled[0].upper()}: name one with --pattern." if doubled else ""
        name = rest or source.resolve().name
        patients.append(_patient(name, {name: paths[0] for name, paths in scans.items()}, modalities, problem))
    return patients


def _scans_in(folder: Path, modalities: tuple[str, ...], patterns: dict[str, str]) -> tuple[dict[str, Path], str]:
    """The scans in a patient's folder and what is wrong with them."""
    entries = _entries(folder, _DEPTH)
    scans: dict[str, Path] = {}
    for modality in modalities:
        fitting = [path for path in entries if _fits(path, modality, patterns)]
        if len(fitting) > 1:  # ct.nrrd rather than ct_bone.nrrd, mr_T1 rather than mr_T1_rectified
            fewest = min(len(_words(path)) for path in fitting)
            fitting = [path for path in fitting if len(_words(path)) == fewest]
        if len(fitting) > 1:
            names = " and ".join(path.name for path in fitting[:2])
            return scans, f"{names} both fit {modality.upper()}: tell them apart with --pattern {modality}=GLOB."
        if fitting:
            scans[modality] = fitting[0]
    return scans or _by_tag(folder, modalities), ""


def _entries(folder: Path, depth: int) -> list[Path]:
    """Image files and folders that are one scan each (DICOM, RIRE), down to some depth."""
    entries: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.lower().endswith(_ENDINGS):
            entries.append(path)
        elif path.is_dir() and not path.name.startswith("."):
            if rire_folder(path) or any(dicom.header(file) for file in _some_files(path)):
                entries.append(path)
            elif depth > 1:
                entries += _entries(path, depth - 1)
    return entries


def _by_tag(folder: Path, modalities: tuple[str, ...]) -> dict[str, Path]:
    """DICOM series told apart by their modality tag: folders, or one file of each in a common folder."""
    found: dict[str, list[Path]] = {}
    for path in [folder, *(item for item in sorted(folder.rglob("*")) if item.is_dir())]:
        series: set[str] = set()
        for file in sorted(item for item in path.iterdir() if item.is_file()):
            tags = dicom.header(file)
            uid = tags.get("0020|000e", "")
            if uid and uid not in series:
                series.add(uid)
                found.setdefault(_TAGS.get(tags.get("0008|0060", ""), ""), []).append(file)
    scans = {}
    for modality in modalities:
        kind = modality if modality in ("ct", "pet") else "mr"
        if len(found.get(kind, ())) == 1 and sum(one not in ("ct", "pet") for one in modalities) < 2:
            scans[modality] = found[kind][0]
    return scans


def _some_files(folder: Path) -> list[Path]:
    return [item for item in sorted(folder.iterdir()) if item.is_file()][:2]


def _fits(path: Path, modality: str, patterns: dict[str, str]) -> bool:
    if modality in patterns:
        return fnmatch.fnmatch(path.name, patterns[modality]) or path.match(patterns[modality])
    return bool({word.lower() for word in _words(path)} & _SAME.get(modality, {modality}))


def _words(path: Path) -> list[str]:
    """The words of a file's name without its ending."""
    name = path.name
    for ending in _ENDINGS:
        if path.is_file() and name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    return [word for word in re.split(r"[^A-Za-z0-9]+", name) if word]


def _numbered(patients: list[Patient], key_file: Path) -> list[Patient]:
    """The patients with numbers as ids: those of the key file, and the next free ones for new names."""
    numbers: dict[str, str] = {}
    if key_file.is_file():
        with open(key_file, newline="", encoding="utf-8") as file:
            numbers = {row[1]: row[0] for row in csv.reader(file) if len(row) == 2 and row[0] != "id"}
    used = {int(text[1:]) for text in numbers.values() if text[:1] == "p" and text[1:].isdigit()}
    following = max(used, default=0)
    for patient in patients:
        if patient.id not in numbers:
            following += 1
            numbers[patient.id] = f"p{following:03d}"
    with atomic_path(key_file) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "name"])
        writer.writerows((number, name) for name, number in numbers.items())
    return [
        Patient(numbers[p.id], p.scans, numbers[p.id], p.split, p.missing.replace(p.id, numbers[p.id]), p.published)
        for p in patients
    ]
