"""The whole preparation: find patients, do those that are not done, write the set and its quality page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path, remove_parts, writable_folder
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.prepare.page import write_page
from MSLFusionTrainingLib.prepare.pools import outcomes
from MSLFusionTrainingLib.prepare.settings import Patient, PrepareSettings, split_patients
from MSLFusionTrainingLib.prepare.store import StoredSet, known_keys, read_set, write_set


@dataclass(frozen=True)
class Splitting:
    """Shares of the patients for validation and test, drawn by the seed."""

    validation: float = 0.15
    test: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Prepared:
    """What a run gave. set: the file as written. page: its quality page. done, kept: patients prepared now and before.

    failed: (id, sentence) of each patient that is not in the set.
    """

    set: StoredSet
    page: Path
    done: tuple[str, ...]
    kept: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


def prepare(
    patients: Sequence[Patient],
    output: Path,
    settings: PrepareSettings,
    splitting: Splitting | None = None,
    workers: int = 1,
    dask: str | None = None,
    job: Job = NO_JOB,
) -> Prepared:
    """Prepare the patients and write `output` (.h5), its page beside it as .html.

    Patients that an earlier run finished, or an interrupted one, are taken over when scans and settings are the same.
    A patient that fails is named and left out. Raises InputError when none can be used, when two have one id, and
    when the disk is full (what is finished stays for the next run); Cancelled.
    """
    splitting = splitting or Splitting()
    names = [one.id for one in patients]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise InputError(f"Two patients are called '{doubled}': give them different ids.")
    split_patients(list(patients), splitting.validation, splitting.test, splitting.seed)
    writable_folder(output.absolute().parent)
    folder = output.with_name(f".{output.stem}.parts")
    older = {key: output for key in known_keys(output)} if output.exists() else {}
    parts = {path.stem: path for path in folder.glob("*.h5")} if folder.is_dir() else {}
    known = frozenset(older) | frozenset(parts)
    found: dict[str, tuple[Path, str]] = {}
    done, kept, failed = [], [], []
    by_id = {one.id: one for one in patients}
    job.step("prepare patients", 0, len(patients))
    for number, outcome in enumerate(outcomes(patients, settings, known, workers, dask, job), 1):
        if outcome.problem:
            failed.append((outcome.id, outcome.problem))
            job.warning(f"Patient {outcome.id} is left out: {outcome.problem}")
        elif outcome.content is None:
            kept.append(outcome.id)
            found[outcome.id] = (older.get(outcome.key) or parts[outcome.key], outcome.key)
        else:
            part = folder / f"{outcome.key}.h5"
            with atomic_path(part) as temporary:
                temporary.write_bytes(outcome.content)
            done.append(outcome.id)
            found[outcome.id] = (part, outcome.key)
            for sentence in outcome.about["warnings"]:
                job.warning(f"Patient {outcome.id}: {sentence}")
        job.step("prepare patients", number, len(patients))
    if not found:
        raise InputError(f"None of the {len(patients)} patients can be used. The first: {failed[0][1]}")
    used = [replace(one, missing="") for one in patients if one.id in found]
    splits = split_patients(used, splitting.validation, splitting.test, splitting.seed)
    nameless = [(name, by_id[name].nameless(sentence)) for name, sentence in failed]
    write_set(output, settings, found, splits, nameless)
    for path in folder.glob("*.h5") if folder.is_dir() else ():
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    stored = read_set(output)
    page = output.with_suffix(".html")
    write_page(page, stored)
    for written in (output, page):
        remove_parts(written)
    return Prepared(stored, page, tuple(done), tuple(kept), tuple(failed))
