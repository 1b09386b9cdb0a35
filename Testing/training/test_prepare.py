"""`mslfusion prepare` as a library: slices, files, resuming, bad patients, processes, the page."""

import errno
import json
import multiprocessing
import os
import re
import signal
import sys
import types
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from scans import SETTINGS, arrays, patients, write_scans
from tiny import SPACING, image

from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.physics.units import hu_to_network
from MSLFusionLib.progress import Job
from MSLFusionTrainingLib.prepare import pools, run, store
from MSLFusionTrainingLib.prepare.page import ranges
from MSLFusionTrainingLib.prepare.patient import Outcome, prepare_patient
from MSLFusionTrainingLib.prepare.run import Splitting, prepare
from MSLFusionTrainingLib.prepare.settings import Patient, PrepareSettings
from MSLFusionTrainingLib.prepare.store import read_set


def slices_of(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        return file[f"patients/{name}/slices"][()]


def test_slices_are_what_reconstruction_makes_of_the_scans(tmp_path):
    """One code for both: the same volumes through recon.sources give the same numbers."""
    from MSLFusionLib.recon.simulate import SamplingPlan
    from MSLFusionLib.recon.sources import VolumeOptions, VolumeSource

    done = prepare(patients(tmp_path, 1), tmp_path / "set.h5", SETTINGS)
    stored = done.set.patients[0]
    ct, mr = (image(array) for array in arrays(0))
    source = VolumeSource(ct, mr, SamplingPlan(), VolumeOptions((64, 64), 4.0))
    with h5py.File(done.set.path) as file:
        numbers = file["patients/a/numbers"][()]
    truth = np.stack(source.truth(numbers), axis=1)
    values = slices_of(done.set.path, "a")
    assert values.dtype == np.uint16
    assert values.shape == (stored.slices, 2, 64, 64)
    np.testing.assert_allclose(values / 65535, truth, atol=0.5 / 65535 + 1e-6)
    assert values[:, 0].max() / 65535 == pytest.approx(hu_to_network(np.float32(940.0)), abs=0.03)


def test_the_file_says_what_it_holds_and_no_names(tmp_path):
    secret = tmp_path / "Meier_Hans"
    found = [replace(one, scans=one.scans) for one in patients(secret, 3)]
    done = prepare(found, tmp_path / "set.h5", SETTINGS, Splitting(validation=0.3))
    stored = read_set(tmp_path / "set.h5")
    assert (stored.modalities, stored.kinds, stored.size, stored.pixel_mm) == (("ct", "t1"), ("ct", "mr"), 64, 4.0)
    assert sorted(one.split for one in stored.patients) == ["train", "train", "validation"]
    assert done.set == stored
    assert re.fullmatch("[0-9a-f]{64}", stored.sha256)
    about = stored.patients[0].about
    assert set(about["inputs"]) == {"ct", "t1"}
    assert about["scales"]["t1"]["method"] == "percentile"
    assert about["grid"]["pixel_mm"] == 4.0
    content = b"".join(path.read_bytes() for path in tmp_path.glob("set.*"))
    assert b"Meier" not in content
    with h5py.File(stored.path) as one, h5py.File(stored.path) as other:  # many may read at once
        assert one["patients/a/slices"].chunks == (1, 1, 64, 64)
        np.testing.assert_array_equal(one["patients/a/slices"][0], other["patients/a/slices"][0])


def test_a_misplaced_mr_is_registered_onto_the_first(tmp_path):
    from MSLFusionLib.phantom import generate_head

    head = generate_head(3, (44, 52, 36), (4.5, 4.5, 5.0), misalign_mm=15, misalign_deg=10)
    for name, volume in (("ct", head.ct), ("moved", head.moving), ("t1", head.t1)):
        sitk.WriteImage(volume, str(tmp_path / f"{name}.nrrd"))
    settings = replace(SETTINGS, register=True, start="header")
    moved = Patient("a", {"ct": tmp_path / "ct.nrrd", "t1": tmp_path / "moved.nrrd"})
    aligned = Patient("a", {"ct": tmp_path / "ct.nrrd", "t1": tmp_path / "t1.nrrd"})
    images = {}
    for name, one, how in (
        ("registered", moved, settings),
        ("as it came", moved, replace(settings, register=False)),
        ("truth", aligned, replace(settings, register=False)),
    ):
        prepare([one], tmp_path / f"{name}.h5", how)
        with h5py.File(tmp_path / f"{name}.h5") as file:
            images[name] = dict(zip(file["patients/a/numbers"][()], file["patients/a/slices"][:, 1], strict=True))
    common = set.intersection(*(set(one) for one in images.values()))
    assert len(common) > 15

    def error(name):
        return np.mean([np.abs(images[name][k] / 65535 - images["truth"][k] / 65535).mean() for k in common])

    assert error("registered") < 0.4 * error("as it came")
    about = read_set(tmp_path / "registered.h5").patients[0].about
    assert about["registration"]["t1"]["overlap"] > 0.8


def test_slices_are_left_out_with_a_reason(tmp_path):
    ct, mr = arrays(0)
    ct, mr = np.repeat(ct, 2, axis=0), np.repeat(mr, 2, axis=0)
    ct[0] = -1000.0
    sitk.WriteImage(image(ct), str(tmp_path / "ct.nrrd"))
    part = image(mr[:8])
    sitk.WriteImage(part, str(tmp_path / "t1.nrrd"))
    one = Patient("a", {"ct": tmp_path / "ct.nrrd", "t1": tmp_path / "t1.nrrd"})
    about = prepare([one], tmp_path / "set.h5", SETTINGS).set.patients[0].about
    reasons = dict(map(tuple, about["rejected"]))
    assert reasons[0] == "shows less than 3 % body"
    assert reasons[11] == "the T1 covers only 0 % of the body"
    assert set(reasons) == {0, 8, 9, 10, 11}
    assert ranges(about["rejected"]) == [
        ("1", "shows less than 3 % body"),
        ("9-12", "the T1 covers only 0 % of the body"),
    ]


def test_finished_patients_are_taken_over_until_scans_or_settings_change(tmp_path):
    found, output = patients(tmp_path, 3), tmp_path / "set.h5"
    first = prepare(found[:2], output, SETTINGS)
    assert (first.done, first.kept) == (("a", "b"), ())
    again = prepare(found, output, SETTINGS)
    assert (again.done, again.kept) == (("c",), ("a", "b"))
    write_scans(tmp_path / "b", 5)
    changed = prepare(found, output, SETTINGS)
    assert (changed.done, changed.kept) == (("b",), ("a", "c"))
    assert not np.array_equal(slices_of(output, "b"), slices_of(output, "a"))
    other = prepare(found, output, replace(SETTINGS, least_body=0.05))
    assert (len(other.done), other.kept) == (3, ())
    renamed = prepare([replace(found[0], id="z")], output, replace(SETTINGS, least_body=0.05))
    assert (renamed.done, renamed.kept, renamed.set.patients[0].id) == ((), ("z",), "z")


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    found, output = patients(tmp_path, 3), tmp_path / "set.h5"
    reports = []
    job = Job(report=reports.append, cancelled=lambda: bool(reports) and reports[-1].done >= 2)
    with pytest.raises(Cancelled):
        prepare(found, output, SETTINGS, job=job)
    assert not output.exists()
    assert len(list((tmp_path / ".set.parts").glob("*.h5"))) == 2
    done = prepare(found, output, SETTINGS)
    assert (done.done, done.kept) == (("c",), ("a", "b"))
    assert not (tmp_path / ".set.parts").exists()
    whole = prepare(found, tmp_path / "whole.h5", SETTINGS)
    assert whole.set.sha256 == done.set.sha256


def die(*_args, **_more):
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(path, content):
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
    die()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_while_it_writes(tmp_path):
    """kill -9 while a patient, the set or the page is written: a set is whole or absent, the next run finishes it."""
    found, output = patients(tmp_path, 3), tmp_path / "set.h5"
    whole = prepare(found, tmp_path / "whole.h5", SETTINGS)
    moments = [
        (Path, "write_bytes", half_written),
        (store, "_copy", die),
        (h5py.File, "close", die),
        (os, "replace", die),
        (run, "read_set", die),
        (run, "write_page", die),
    ]
    process = multiprocessing.get_context("fork")
    for where, name, what in moments:

        def killed(where=where, name=name, what=what):
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(where, name, what)
                prepare(found, output, SETTINGS)

        child = process.Process(target=killed)
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL, name
        if output.exists():
            assert read_set(output).sha256 == whole.set.sha256
    done = prepare(found, output, SETTINGS)
    assert done.set.sha256 == whole.set.sha256
    assert (done.done, done.kept) == ((), ("a", "b", "c"))
    assert not list(tmp_path.glob(".*"))


def test_one_bad_patient_does_not_stop_the_others(tmp_path):
    found = patients(tmp_path, 5)
    (tmp_path / "a" / "t1.nrrd").write_bytes(b"NRRD0004\nbroken")
    (tmp_path / "b" / "ct.nrrd").unlink()
    far = image(arrays(2)[1], origin=(5000.0, 0.0, 0.0))
    sitk.WriteImage(far, str(tmp_path / "c" / "t1.nrrd"))
    found[3] = Patient("d", missing="There is no T1 of patient d.")
    warnings = []
    done = prepare(found, tmp_path / "set.h5", SETTINGS, job=Job(warn=warnings.append))
    assert [one.id for one in done.set.patients] == ["e"]
    failed = dict(done.failed)
    assert "not an image that can be read" in failed["a"]
    assert re.search(r"The CT file .*b.ct\.nrrd does not exist", failed["b"])
    assert "do not overlap" in failed["c"]
    assert failed["d"] == "There is no T1 of patient d."
    assert [w for w in warnings if w.startswith("Patient b is left out: ")]
    page = done.page.read_text(encoding="utf-8")
    assert "[ct] does not exist" in page
    assert str(tmp_path) not in page
    assert dict(done.set.failed)["d"] == failed["d"]
    with pytest.raises(InputError, match=r"None of the 2 patients can be used\. The first: The T1"):
        prepare(found[:2], tmp_path / "none.h5", SETTINGS)


def test_a_registration_that_fails_is_one_sentence(tmp_path, monkeypatch):
    from MSLFusionLib.errors import JobError
    from MSLFusionTrainingLib.prepare import patient

    def fail(*args, **kwargs):
        raise JobError("The registration ended at a worse match.")

    monkeypatch.setattr(patient, "register", fail)
    outcome = prepare_patient(patients(tmp_path, 1)[0], replace(SETTINGS, register=True), frozenset())
    assert (outcome.content, outcome.problem) == (None, "The registration ended at a worse match.")

    def break_down(*args, **kwargs):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(patient, "register", break_down)
    outcome = prepare_patient(patients(tmp_path, 1)[0], replace(SETTINGS, register=True), frozenset())
    assert outcome.problem == "ZeroDivisionError: oh (a fault of mslfusion)."


def test_dicom_with_a_gap_is_named(tmp_path):
    from test_prepare_find import write_dicom

    write_dicom(tmp_path / "ct", "1.2.3", "CT")
    (tmp_path / "ct" / "s1.dcm").unlink()
    write_scans(tmp_path / "x")
    one = Patient("a", {"ct": tmp_path / "ct", "t1": tmp_path / "x" / "t1.nrrd"})
    assert "missing or unevenly spaced slices" in prepare_patient(one, SETTINGS, frozenset()).problem


def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path, monkeypatch):
    found, output = patients(tmp_path, 2), tmp_path / "set.h5"
    prepare(found[:1], output, SETTINGS)
    before = output.read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(store, "_copy", full)
        with pytest.raises(InputError, match="disk is full"):
            prepare(found, output, SETTINGS)
    assert output.read_bytes() == before
    assert not list(tmp_path.glob(".*.part.h5"))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match="disk is full"):
            prepare([replace(found[1], id="x")], tmp_path / "other.h5", SETTINGS)
    done = prepare(found, output, SETTINGS)
    assert (done.done, done.kept) == ((), ("a", "b"))


def test_processes_give_the_same_set(tmp_path):
    found = patients(tmp_path, 3)
    one = prepare(found, tmp_path / "one.h5", SETTINGS)
    several = prepare(found, tmp_path / "several.h5", SETTINGS, workers=2)
    assert sorted(several.done) == ["a", "b", "c"]
    assert several.set.sha256 == one.set.sha256


def _killed(sender, do, patient, settings, known):
    if patient.id == "b":
        os.kill(os.getpid(), 9)
    sender.send(Outcome(patient.id, "key", b"", "", {}))


def test_a_process_that_is_killed_costs_its_patient_only(monkeypatch):
    monkeypatch.setattr(pools, "_work", _killed)
    found = pools.outcomes([Patient(name) for name in "abc"], SETTINGS, frozenset(), 2, None, Job())
    results = {one.id: one for one in found}
    assert "exit code -9" in results["b"].problem
    assert results["a"].problem == results["c"].problem == ""


def test_processes_end_when_cancelled(tmp_path):
    asked = []
    job = Job(cancelled=lambda: asked.append(1) or len(asked) > 1)
    with pytest.raises(Cancelled):
        list(pools.outcomes(patients(tmp_path, 4), SETTINGS, frozenset(), 2, None, job))
    import multiprocessing

    assert multiprocessing.active_children() == []


def test_dask_missing_and_dask_not_answering(tmp_path, monkeypatch):
    found = patients(tmp_path, 2)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="pip install distributed"):
        prepare(found, tmp_path / "set.h5", SETTINGS, dask="tcp://127.0.0.1:1")

    def client(*args, **kwargs):
        raise OSError("Timed out")

    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(Client=client))
    with pytest.raises(InputError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1: Timed out"):
        prepare(found, tmp_path / "set.h5", SETTINGS, dask="tcp://127.0.0.1:1")


def test_a_dask_cluster_gives_the_same_set(tmp_path):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    found = patients(tmp_path, 2)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        there = prepare(found, tmp_path / "there.h5", SETTINGS, dask=cluster.scheduler_address)
    assert there.set.sha256 == prepare(found, tmp_path / "here.h5", SETTINGS).set.sha256


@pytest.mark.parametrize("what", ["text", "other", "half", "shape"])
def test_files_that_are_no_sets_are_refused(tmp_path, what):
    path = tmp_path / "set.h5"
    prepare(patients(tmp_path, 1), path, SETTINGS)
    if what == "text":
        path.write_text("no HDF5")
    elif what == "other":
        with h5py.File(path, "w") as file:
            file["x"] = 1
    elif what == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        with h5py.File(path, "a") as file:
            file.attrs["size"] = 32
    with pytest.raises(InputError, match=r"damaged|no training set"):
        read_set(path)
    assert prepare(patients(tmp_path, 1), path, SETTINGS).kept == ()
    with pytest.raises(InputError, match="does not exist"):
        read_set(tmp_path / "none.h5")


def test_two_patients_of_one_name_are_refused(tmp_path):
    found = patients(tmp_path, 1)
    with pytest.raises(InputError, match="Two patients are called 'a'"):
        prepare([*found, *found], tmp_path / "set.h5", SETTINGS)


def test_three_modalities_and_pet(tmp_path):
    ct, mr = arrays(0)
    for name, array in (("t1", mr), ("t2", 700 - mr), ("pet", mr**2 / 1000)):
        sitk.WriteImage(image(np.where(ct > -500, array, 0).astype(np.float32)), str(tmp_path / f"{name}.nrrd"))
    names = ("t1", "t2", "pet")
    one = Patient("a", {name: tmp_path / f"{name}.nrrd" for name in names})
    settings = PrepareSettings(names, 64, 4.0, register=False)
    done = prepare([one], tmp_path / "set.h5", settings)
    assert done.set.kinds == ("mr", "mr", "pet")
    values = slices_of(done.set.path, "a")
    assert values.shape[1] == 3
    assert (values.max(axis=(0, 2, 3)) == 65535).all()


def test_slices_in_the_authors_layout(tmp_path):
    from MSLFusionTrainingLib.prepare.find import find_patients

    rng = np.random.default_rng(0)
    t1 = np.zeros((64, 64), np.float32)
    t1[16:48, 20:40] = rng.uniform(0.1, 1, (32, 20))
    hu = np.where(t1 > 0, 400 * t1, -1000).astype(np.float32)

    def png(path, values):
        path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(np.round(values * 255).astype(np.uint8)), str(path))

    for name, folder, number in (("p001", "train", 3), ("p001", "train", 12), ("p102", "test", 7)):
        png(tmp_path / folder / f"{name}_{number}_ct.png", (hu / 1000 * 0.192 + 0.192).clip(0))
        png(tmp_path / folder / f"{name}_{number}_ct_fbpct.png", t1)
        png(tmp_path / folder / f"{name}_{number}_t1.png", t1)
    raw = tmp_path / "train" / "p001_3_ct_raw_4X64P.npz"
    np.savez_compressed(raw, ct=hu, t1=t1, fbp=t1)
    found = find_patients(tmp_path, ("ct", "t1"), {}, "numbers", tmp_path / "key.csv")
    assert [(one.id, one.split, len(one.published)) for one in found] == [("p001", "train", 2), ("p102", "test", 1)]
    done = prepare(found, tmp_path / "set.h5", SETTINGS)
    values = slices_of(done.set.path, "p001") / 65535
    np.testing.assert_allclose(values[0, 0], hu_to_network(hu).T, atol=1e-4)
    np.testing.assert_allclose(values[0, 1], t1.T, atol=1e-4)
    np.testing.assert_allclose(values[1], values[0], atol=0.012)  # from 8-bit pictures
    assert {one.split for one in done.set.patients} == {"train", "test"}
    raw.write_bytes(raw.read_bytes()[:300])
    assert "damaged" in prepare_patient(found[0], SETTINGS, frozenset()).problem
    wrong = prepare_patient(found[1], replace(SETTINGS, size=32), frozenset())
    assert "64 x 64 pixels, not 32 x 32: give --size" in wrong.problem
    (tmp_path / "test" / "p102_7_t1.png").unlink()
    assert "p102_7_t1.png: No such file" in prepare_patient(found[1], SETTINGS, frozenset()).problem


def test_the_page_shows_each_patient(tmp_path):
    done = prepare(patients(tmp_path, 2), tmp_path / "set.h5", SETTINGS)
    text = done.page.read_text(encoding="utf-8")
    assert "Patient a" in text
    assert "Patient b" in text
    assert text.count("data:image/png") == 4  # a montage each, the histograms for a light and a dark page
    assert "http" not in re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    settings = json.loads(h5py.File(done.set.path).attrs["settings"])
    assert settings["size"] == 64
    assert SPACING[0] == settings["pixel_mm"]
