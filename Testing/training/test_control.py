"""mslfusion train --background, --status, --stop and --kill, as typed, with a training in a process of its own."""

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tiny_run import fake_heads, write_settings

from MSLFusionLib.cli import main
from MSLFusionTrainingLib import launch, runfolder
from MSLFusionTrainingLib.state import read_facts


def until(condition: Callable[[], Any], process: subprocess.Popen, seconds: float = 120.0) -> None:
    """Wait for what a process does, or for its end."""
    deadline = time.monotonic() + seconds
    while not condition() and process.returncode is None:
        assert time.monotonic() < deadline, "it did not happen in time"
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)


def test_a_run_in_the_background(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    started: list[subprocess.Popen] = []
    real = launch.start

    def start(*arguments: Any) -> subprocess.Popen:
        started.append(real(*arguments))
        return started[-1]

    settings = write_settings(tmp_path / "train.toml", iterations=100_000, checkpoint_every=100_000, validate_every=5)
    cache, run = fake_heads(settings, tmp_path / "heads"), tmp_path / "run"
    monkeypatch.setattr(launch, "start", start)
    words = ["train", str(settings), "--output", str(run), "--cache", str(cache), "--device", "cpu"]
    assert main([*words, "--background"]) == 0
    try:
        (process,) = started
        process.returncode = None  # the command waits for it no longer, but we do
        until(lambda: (run / "sample.npz").exists() and runfolder.look(run).saved, process)
        assert main(["train", "--output", str(run), "--status", "--json"]) == 0
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert told["state"] in ("training", "validating")
        assert told["iteration"] >= 5
        assert told["best_score"] is not None
        assert main(words) == 2
        assert "Another training writes to" in capsys.readouterr().err
        assert main(["train", "--output", str(run), "--stop"]) == 0
        until(lambda: not runfolder.look(run).active, process)
        look = runfolder.look(run)
        assert look.state == "paused", runfolder.tail(run / runfolder.TRAIN_LOG)
        assert look.saved == look.status.iteration
        assert "Stopped as asked at iteration" in runfolder.tail(run / runfolder.TRAIN_LOG)
        assert not (run / runfolder.REQUEST).exists()
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_it_goes_on_with_its_own_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = write_settings(tmp_path / "train.toml", iterations=2, validate_every=2, schedule='"halving"')
    cache, run = fake_heads(settings, tmp_path / "heads"), tmp_path / "run"
    common = ["--output", str(run), "--cache", str(cache), "--device", "cpu"]
    assert main(["train", str(settings), *common]) == 0
    assert main(["train", *common, "--iterations", "3"]) == 0
    assert read_facts(run / "state.safetensors")["iteration"] == 3
    assert runfolder.look(run).state == "finished"
    assert runfolder.words_to_go_on(run, runfolder.look(run).status)[1:] == [*common[:2], *common[4:], *common[2:4]]
    capsys.readouterr()
    assert main(["train", "--output", str(run), "--status"]) == 0
    assert capsys.readouterr().out.startswith("finished; iteration 3 of 3; best ")


@pytest.mark.parametrize("word", ["--status", "--stop", "--kill"])
def test_where_nothing_runs(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--output", str(tmp_path), word]) == 2
    assert "no training run" in capsys.readouterr().err.lower()


def test_a_run_that_cannot_begin_leaves_no_folder_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--output", str(tmp_path / "run"), "--preset", "best", "--background"]) == 2
    assert "no preset 'best'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
