"""The run section on the stand-ins: start, watch, pause, resume, kill, and finding a run again."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_bench import Bench, until, use_fake
from turns import settle

from MSLFusionTrainingLib import runfolder
from MSLFusionTrainingLib.status import read_status


@pytest.fixture
def bench(slicer_app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    """The panel; no training that it started outlives the test."""
    use_fake(monkeypatch)
    panel = Bench()
    yield panel
    panel.close()
    for folder in tmp_path.iterdir():
        if folder.is_dir() and runfolder.look(folder).active:
            runfolder.kill(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_without_a_folder_nothing_can_be_pressed(bench: Bench) -> None:
    assert bench.can() == set()
    assert bench.message == "Choose a folder for the run."
    assert bench.state == ""


def test_started_paused_resumed_and_killed(bench: Bench, slicer_app: Any, folder: Path, panel_image: Any) -> None:
    bench.open(folder)
    assert bench.can() == {"start"}
    bench.ui.startButton.click()
    settle()
    assert bench.run.state == "starting"
    assert bench.can() == set()
    bench.wait("training")
    until(lambda: bench.run.look.saved)
    settle()
    assert bench.can() == {"pause", "kill"}
    assert "Training: iteration" in bench.state
    assert "of 100000" in bench.state
    assert bench.ui.runProgressBar.visible
    assert (folder / "train.toml").read_text() == 'name = "mine"\n'
    until(lambda: "left" in bench.state)
    panel_image(bench.area, "training-run")
    bench.ui.pauseButton.click()
    bench.wait("paused")
    at = bench.run.look.saved
    assert at
    assert f"Resume continues from iteration {at}." in bench.state
    assert bench.can() == {"resume"}
    assert not bench.ui.runProgressBar.visible
    bench.ui.resumeButton.click()
    bench.wait("training")
    assert f"going on at {at}" in bench.ui.logTextEdit.toPlainText()
    slicer_app.dialogs.answers = [False, True]
    bench.ui.killButton.click()
    settle()
    assert bench.run.look.active
    bench.ui.killButton.click()
    bench.wait("killed")
    assert bench.state.startswith("It was killed at iteration")
    assert bench.message == ""
    assert bench.can() == {"resume"}
    assert bench.told == ["The training was started.", "The training was resumed.", "The training was killed."]


def test_found_again_by_another_panel(bench: Bench, folder: Path) -> None:
    bench.open(folder)
    bench.ui.startButton.click()
    bench.wait("training")
    bench.close()
    assert runfolder.look(folder).active
    other = Bench()
    try:
        assert other.run.folder == folder
        other.wait("training")
        assert other.can() == {"pause", "kill"}
        assert other.ui.knownRunsComboBox.count == 2
        other.ui.pauseButton.click()
        other.wait("paused")
    finally:
        other.close()


def test_a_process_of_the_same_number_is_not_taken_for_the_training(bench: Bench, folder: Path) -> None:
    """Its number went to another process: it was killed, and nobody else is."""
    folder.mkdir()
    status = {"state": "training", "pid": os.getpid(), "process": "another start", "iteration": 7, "iterations": 9}
    status |= {"host": os.uname().nodename, "began": 0.0, "updated": 0.0}
    (folder / "status.json").write_text(json.dumps(status))
    bench.open(folder)
    assert bench.run.state == "killed"
    assert bench.state.startswith("It was killed at iteration 7 of 9.")
    with pytest.raises(Exception, match="No training runs"):
        runfolder.kill(folder)


@pytest.mark.parametrize(
    ("plan", "state", "sentence"),
    [
        ({"refuse": "The training setting 'iteration' is unknown."}, "none", "'iteration' is unknown."),
        ({"fail_at": 13, "sentence": "the loss is not finite at iteration 13"}, "failed", "The loss is not finite at"),
        ({"die_at": 13}, "killed", "Segmentation fault"),
    ],
)
def test_what_ended_it_is_told(
    plan: dict, state: str, sentence: str, bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_fake(monkeypatch, **plan)
    bench.open(folder)
    bench.ui.startButton.click()
    until(lambda: bench.run.state == state)
    until(lambda: sentence in bench.message)
    assert bench.can() == ({"start"} if state == "none" else {"resume"})
    if state != "none":
        assert "Resume continues from iteration 10." in bench.state


def test_a_finished_run(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_fake(monkeypatch, iterations=20)
    bench.open(folder)
    bench.ui.startButton.click()
    bench.wait("finished")
    assert bench.state == "Finished after 20 iterations. Best: 40.00 dB at iteration 20."
    assert bench.can() == set()
    assert "All of its iterations are done." in bench.ui.resumeButton.toolTip
    assert "choose another one" in bench.ui.startButton.toolTip


def test_a_folder_with_other_files_is_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    bench.open(tmp_path / "mine")
    assert "holds other files" in bench.message
    assert bench.can() == set()


def test_a_disk_that_is_gone_is_told(bench: Bench, tmp_path: Path) -> None:
    bench.run.open(tmp_path / "gone" / "run")
    until(lambda: "is not there" in bench.message)
    assert bench.can() == set()
    assert bench.run.state == "unknown"


def test_a_disk_that_hangs_does_not_hang_the_panel(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from MSLFusionTrainingPanel import run, watch

    answers = threading.Event()
    monkeypatch.setattr(watch, "look", lambda _folder: answers.wait() and runfolder.Look("none"))
    monkeypatch.setattr(run, "_SILENCE_S", 0.05)
    bench.run.open(folder)
    until(lambda: "does not answer" in bench.message)
    assert bench.run.state == "unknown"
    assert bench.can() == set()
    answers.set()
    until(lambda: bench.can() == {"start"})


def test_what_is_wrong_elsewhere_keeps_start_from_being_pressed(bench: Bench, folder: Path) -> None:
    bench.open(folder)
    bench.panel.messages.show("scansMessage", "Choose a folder of scans.", "needed")
    bench.panel.changed()
    settle()
    assert bench.can() == set()
    assert bench.ui.startButton.toolTip == "Choose a folder of scans."


def test_it_goes_on_while_the_scene_is_closed(bench: Bench, scene: Any, folder: Path) -> None:
    bench.open(folder)
    bench.ui.startButton.click()
    bench.wait("training")
    scene.Clear(False)
    settle()
    assert bench.run.folder == folder  # though the parameters went with the scene
    bench.wait("training")
    assert read_status(folder).active


def test_killed_from_outside(bench: Bench, folder: Path) -> None:
    bench.open(folder)
    bench.ui.startButton.click()
    until(lambda: bench.run.look.saved)
    os.kill(read_status(folder).pid, signal.SIGKILL)
    bench.wait("killed")
    assert "without a word" in bench.message
    assert bench.can() == {"resume"}


def test_with_a_real_training(bench: Bench, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started, seen, paused, and found, resumed and killed by another panel."""
    import sys

    from tiny_run import fake_heads, write_settings

    from MSLFusionPanel import process
    from MSLFusionTrainingPanel import run

    settings = write_settings(tmp_path / "mine.toml", iterations=100_000, validate_every=5)
    cache = fake_heads(settings, tmp_path / "heads")
    monkeypatch.setattr(run, "batch_command", lambda *words: [sys.executable, *process.batch_command(*words)[1:]])
    bench.panel.config_text = settings.read_text
    bench.panel.train_words = lambda: ["--device", "cpu", "--cache", str(cache)]
    bench.open(folder)
    bench.ui.startButton.click()
    until(lambda: bench.run.look.best or bench.message)
    assert bench.message == ""
    bench.ui.curvesButton.click()
    until(lambda: bench.run.display._curves.present)
    bench.ui.pauseButton.click()
    bench.wait("paused")
    at = bench.run.look.saved
    bench.close()
    other = Bench()
    try:
        other.wait("paused")
        other.ui.resumeButton.click()
        until(lambda: other.run.look.active and other.run.look.status.iteration > at)
        settle()
        assert f"Going on at iteration {at} of 100000." in other.ui.logTextEdit.toPlainText()
        runfolder.kill(folder)
        other.wait("killed")
        assert f"Resume continues from iteration {other.run.look.saved}." in other.state
    finally:
        other.close()
