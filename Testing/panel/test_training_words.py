"""What the training panel says of a run."""

import socket
import time
from pathlib import Path
from typing import Any

import bare_qt  # noqa: F401 - first
import pytest

from MSLFusionTrainingLib.runfolder import Look
from MSLFusionTrainingLib.status import Status


def look(state: str, saved: int | None = 40, stopping: bool = False, **changes: Any) -> Look:
    now = time.time()
    known = {"iteration": 50, "iterations": 200, "name": "mine", "host": socket.gethostname(), "updated": now}
    last = "training" if state == "killed" else state
    status = Status(last, 1, "p", began=now, **(known | changes))
    return Look(state, status, saved, None, stopping)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Look("none"), ""),
        (Look("starting"), "Starting ..."),
        (Look("paused", None, 7), "A run at iteration 7; Resume goes on from there."),
        (look("starting", stage="generate heads", done=2, total=9), "Starting: generating heads, 2 of 9."),
        (look("starting", stage="{odd} words", done=2, total=9), "Starting: {odd} words, 2 of 9."),
        (look("training"), "Training: iteration 50 of 200."),
        (
            look("training", seconds_per_iteration=0.0214, seconds_left=3700.0, best_score=31.234, best_iteration=40),
            "Training: iteration 50 of 200, 21 ms each, 1:01:40 left. Best so far: 31.23 dB at iteration 40.",
        ),
        (look("training", stopping=True), "Training: iteration 50 of 200. It saves its state and stops."),
        (look("validating", host="elsewhere"), "Validating at iteration 50 of 200. It runs on elsewhere."),
        (look("training", updated=0.0), "Training: iteration 50 of 200. It has said nothing for "),
        (look("paused"), "Stopped at iteration 50 of 200. Resume continues from iteration 40."),
        (look("failed", saved=None), "Failed at iteration 50 of 200."),
        (look("killed"), "It was killed at iteration 50 of 200. Resume continues from iteration 40."),
        (look("finished", best_score=30.0, best_iteration=20), "Finished after 50 iterations. Best: 30.00 dB at "),
    ],
)
def test_how_a_run_stands(slicer_app: Any, given: Look, said: str) -> None:
    from MSLFusionTrainingPanel import runwords

    told = runwords.state_in_words(given)
    assert told.startswith(said) if said else told == ""


def test_the_memory_of_the_gpu(slicer_app: Any) -> None:
    from MSLFusionTrainingPanel import runwords

    used = {"memory_used": 12 * 2**30, "memory_total": 140 * 2**30, "memory_own": 8 * 2**30}
    text = runwords.memory_in_words(look("training", device_name="NVIDIA H200", **used))
    assert text == "NVIDIA H200: 12 GB of 140 GB of GPU memory in use, 8 GB by this training."
    assert runwords.memory_in_words(look("training", device_name="CPU")) == "Device: CPU."
    assert runwords.memory_in_words(look("paused", device_name="CPU")) == ""


@pytest.mark.parametrize(
    ("given", "log", "said", "kind"),
    [
        (
            look("failed", message="out of memory: use a smaller crop"),
            [],
            "Out of memory: use a smaller crop.",
            "failure",
        ),
        (look("training", message="Out of memory: 2 of 4."), [], "Out of memory: 2 of 4.", "warning"),
        (look("killed"), ["x", "Bus error", ""], "the last line of its log: Bus error.", "warning"),
        (
            look("killed"),
            ["== now ==", "  train: 3.0 s"],
            "it was killed, or the computer was switched off.",
            "warning",
        ),
        (Look("none"), ["== now ==", "mslfusion: error: torch is missing"], "Torch is missing.", "failure"),
        (Look("none"), ["== now =="], "", "info"),
        (look("finished", message="No better since 5."), [], "", "info"),
    ],
)
def test_what_went_wrong(slicer_app: Any, given: Look, log: list[str], said: str, kind: str) -> None:
    from MSLFusionTrainingPanel import runwords

    sentence, found = runwords.message(given, log)
    assert sentence.endswith(said) if said else sentence == ""
    assert found == kind


def test_a_process_that_ended_before_it_told_of_itself(slicer_app: Any) -> None:
    from MSLFusionTrainingPanel import runwords

    assert "exit code 139" in runwords.why_it_did_not_start(["== now =="], 139)
    assert runwords.why_it_did_not_start(["mslfusion: error: no torch"], 1) == "The training did not start: No torch."


def test_long_paths_show_their_end(slicer_app: Any) -> None:
    from MSLFusionTrainingPanel import runwords

    assert runwords.short("/a/run") == "/a/run"
    assert runwords.short("/long" * 20 + "/run").endswith("/long/run")
    assert len(runwords.short("/long" * 20)) == 48
    assert runwords.trouble(Path("/gone/run"), "") == "The disk of /gone/run does not answer."
