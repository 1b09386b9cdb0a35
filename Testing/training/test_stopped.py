"""A run that is watched and stopped from outside: its status, its lock, requests to stop, exact resume."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from training_bench import config, same_weights, trainer

from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib import runfolder
from MSLFusionTrainingLib.data import SliceSet
from MSLFusionTrainingLib.facts import BEST, read_facts
from MSLFusionTrainingLib.processes import identity
from MSLFusionTrainingLib.status import Status, read_status, write_status
from MSLFusionTrainingLib.watched import Watched

SETTINGS = config(iterations=6, validate_every=2, validation_slices=1, checkpoint_every=100)


def watched(folder: Path, job: Job = NO_JOB) -> Watched:
    run = Watched(folder, "mine", 6, job, lambda error: f"it was {error}", "cpu")
    run.begin()
    return run


def train(heads: SliceSet, folder: Path, stop_when: Callable[[Status], bool] = lambda _status: False) -> None:
    """Train in a folder, asking for a stop from outside as soon as the status is such."""

    def look(*_arguments: object) -> None:
        status = read_status(folder)
        if status is not None and status.active and stop_when(status):
            runfolder.request_stop(folder)

    with watched(folder, Job(report=look)) as run:
        machine = trainer(SETTINGS, heads, folder)
        machine.resume()
        run.follow(machine)
        machine.run(run.job)


def test_stopped_in_the_midst_of_a_validation_it_goes_on_exactly(
    heads: SliceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("MSLFusionTrainingLib.watched._ASK_EVERY_S", -1.0)
    monkeypatch.setattr("MSLFusionTrainingLib.watched._TELL_EVERY_S", -1.0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(heads, whole)
    train(heads, parts, lambda status: (status.state, status.iteration) == ("training", 0))
    assert runfolder.look(parts).state == "paused"
    assert runfolder.look(parts).saved == 1
    for at in (2, 4, 6):
        train(heads, parts, lambda status, at=at: (status.state, status.iteration) == ("validating", at))
        look = runfolder.look(parts)
        assert (look.state, look.saved, look.resumable) == ("paused", at, True)
    train(heads, parts)
    assert runfolder.look(parts).state == "finished"
    one, other = (trainer(SETTINGS, heads, folder) for folder in (whole, parts))
    assert one.resume()
    assert other.resume()
    assert same_weights(one.model, other.model)
    assert one.best == other.best
    assert read_facts(whole / BEST) == read_facts(parts / BEST)
    lines = [[json.loads(line) for line in (f / "validation.jsonl").read_text().splitlines()] for f in (whole, parts)]
    assert lines[0] == lines[1]
    assert [line["iteration"] for line in lines[0]] == [2, 4, 6]


def test_the_status_says_how_it_ended(tmp_path: Path) -> None:
    with pytest.raises(JobError), watched(tmp_path):
        raise JobError("too hot")
    assert (read_status(tmp_path).state, read_status(tmp_path).message) == ("failed", "it was too hot")
    with pytest.raises(Cancelled, match="the same command goes on"), watched(tmp_path):
        raise Cancelled("Ctrl-C")
    assert read_status(tmp_path).state == "paused"
    with pytest.raises(KeyboardInterrupt), watched(tmp_path):
        raise KeyboardInterrupt
    assert read_status(tmp_path).state == "paused"
    with watched(tmp_path) as run:
        assert read_status(tmp_path).state == "starting"
        run.job.step("generate heads", 1, 3)
        assert (read_status(tmp_path).stage, read_status(tmp_path).done) == ("generate heads", 1)
        run.job.warning("Out of memory: 1 of 2 slices.")
    status = read_status(tmp_path)
    assert (status.state, status.message, status.host) == (
        "finished",
        "Out of memory: 1 of 2 slices.",
        socket.gethostname(),
    )


def test_two_trainings_never_write_one_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from MSLFusionLib.progress import NO_JOB;"
        "from MSLFusionTrainingLib.watched import Watched;"
        "run = Watched(Path(sys.argv[1]), 'other', 1, NO_JOB, str); run.begin(); print('have it', flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "have it\n"
    with pytest.raises(InputError, match="Another training writes to"):
        watched(tmp_path)
    assert runfolder.look(tmp_path).state == "starting"
    runfolder.kill(tmp_path)
    other.communicate()
    assert runfolder.look(tmp_path).state == runfolder.KILLED
    with watched(tmp_path), pytest.raises(InputError, match="Another training"):
        watched(tmp_path)
    with watched(tmp_path):
        assert runfolder.look(tmp_path).state == "starting"


def test_where_the_disk_has_no_locks_the_status_protects_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_arguments: object, **_more: object) -> None:
        raise OSError(38, "no locks here")

    monkeypatch.setattr("MSLFusionTrainingLib.lock._lock", no_locks)
    parent = os.getppid()
    before = Status("training", parent, identity(parent), socket.gethostname(), 0.0, 0.0)
    write_status(tmp_path, before)
    with pytest.raises(InputError, match=f"trained by the process {parent}"):
        watched(tmp_path)
    write_status(tmp_path, replace(before, process="an earlier one of this number"))
    with watched(tmp_path):
        assert read_status(tmp_path).pid == os.getpid()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "not json",
        '{"state": "training"}',
        '{"state": "flying"}',
        "\xff",
        '{"state": "paused", "pid": "x"}',
    ],
)
def test_a_status_of_nobody_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "status.json").write_bytes(text.encode("latin-1"))
    assert read_status(tmp_path) is None
    assert runfolder.look(tmp_path).state == "none"


def test_a_training_on_another_machine_that_says_nothing_has_ended(tmp_path: Path) -> None:
    import time

    now = time.time()
    status = Status("training", 1, "there", "elsewhere", now, now, iteration=3, iterations=9)
    write_status(tmp_path, status)
    assert runfolder.look(tmp_path).active
    with pytest.raises(InputError, match="runs on elsewhere"):
        runfolder.kill(tmp_path)
    write_status(tmp_path, replace(status, updated=now - 1000))
    assert runfolder.look(tmp_path).state == runfolder.KILLED
