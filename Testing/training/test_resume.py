"""A run killed at any moment and resumed gives the weights of one that was not, bit for bit."""

import csv
import json
import multiprocessing
import os
import random
import signal
from pathlib import Path

import pytest
import torch
from training_bench import TINY, config, same_weights, trainer

from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.data import SliceSet
from MSLFusionTrainingLib.logs import LOG, VALIDATION, Logs
from MSLFusionTrainingLib.state import BEST, LAST, read_facts
from MSLFusionTrainingLib.trainer import Trainer

SETTINGS = {"iterations": 45, "checkpoint_every": 1, "validate_every": 5, "validation_slices": 1, "log_every": 1}


def train_quietly(settings: TrainConfig, slices: SliceSet, folder: Path) -> None:
    torch.set_num_threads(1)
    run = trainer(settings, slices, folder)
    run.resume()
    run.run()


def test_saved_and_resumed_run_gives_the_same_weights(heads: SliceSet, tmp_path: Path) -> None:
    settings = config(model=TINY | {"dropout": 0.1}, fusion_lambda="any")
    whole = trainer(settings, heads, tmp_path / "whole")
    whole.run()
    for stop in (2, 4):
        part = trainer(settings, heads, tmp_path / "part")
        part.resume()
        while part.iteration < stop:
            part.step()
        part.save()
        part.step()  # lost when the process is killed here
    last = trainer(settings, heads, tmp_path / "part")
    assert last.resume()
    assert last.iteration == 4
    last.run()
    assert whole.averaged is not None
    assert last.averaged is not None
    assert same_weights(whole.model, last.model)
    assert same_weights(whole.averaged, last.averaged)


def die(*_args: object, **_more: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_a_checkpoint(_tensors: object, path: Path, *_args: object, **_more: object) -> None:
    path.write_bytes(b"\x00" * 1000)
    die()


def half_a_row(self: Logs, iteration: int, *_args: object) -> None:
    with (self.folder / LOG).open("a") as file:
        file.write(f"{iteration},0.0")
    die()


def validated(self: Trainer, *args: object) -> None:
    VALIDATE(self, *args)  # type: ignore[arg-type]
    die()


VALIDATE = Trainer.validate
MOMENTS: dict[str, tuple[str, object]] = {
    "a checkpoint is half written": ("MSLFusionTrainingLib.state.write_tensors", half_a_checkpoint),
    "a checkpoint is written but not yet named": ("os.replace", die),
    "it validates": ("MSLFusionTrainingLib.quality.picture", die),
    "the best is kept, the last is not": ("MSLFusionTrainingLib.trainer.Trainer.validate", validated),
    "half a row is in the log": ("MSLFusionTrainingLib.logs.Logs.step", half_a_row),
    "gradients are there": ("torch.nn.utils.clip_grad_norm_", die),
}
"""Where a process kills itself: what is replaced, by what."""


def killed_when(moment: str, settings: TrainConfig, slices: SliceSet, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(*MOMENTS[moment])
        train_quietly(settings, slices, folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_killed_at_ten_moments(heads: SliceSet, tmp_path: Path) -> None:
    """kill -9 at six chosen moments and four random ones: no half-written file is ever read, the end is the same."""
    settings = config(**SETTINGS)
    train_quietly(settings, heads, tmp_path / "whole")
    chance = random.Random(5)
    folder, kills = tmp_path / "killed", 0
    processes = multiprocessing.get_context("fork")
    random_ones = [""] * 4
    moments = [*MOMENTS, *random_ones]
    chance.shuffle(moments)
    for moment in moments:
        before = iteration(folder)
        target, args = (killed_when, (moment,)) if moment else (train_quietly, ())
        process = processes.Process(target=target, args=(*args, settings, heads, folder))
        process.start()
        if not moment:  # after some steps, somewhere within one
            goal = before + 1 + chance.randrange(3)
            while process.is_alive() and iteration(folder) < goal:
                process.join(0.002)
            process.join(chance.random() * 0.03)
            process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert iteration(folder) >= before
    assert kills == len(moments) == 10
    assert iteration(folder) < settings.iterations
    train_quietly(settings, heads, folder)
    whole, killed = (trainer(settings, heads, tmp_path / name) for name in ("whole", "killed"))
    for run in (whole, killed):
        assert run.resume()
        assert run.iteration == settings.iterations
    assert same_weights(whole.model, killed.model)
    assert whole.averaged is not None
    assert killed.averaged is not None
    assert same_weights(whole.averaged, killed.averaged)
    assert whole.best == killed.best
    assert read_facts(tmp_path / "whole" / BEST) == read_facts(folder / BEST)
    assert losses(tmp_path / "whole") == losses(folder)
    lines = [json.loads(line)["iteration"] for line in (folder / VALIDATION).read_text().splitlines()]
    assert lines == list(range(5, settings.iterations + 1, 5))
    assert not list(folder.glob(".*"))


def iteration(folder: Path) -> int:
    return int(read_facts(folder / LAST)["iteration"]) if (folder / LAST).exists() else -1


def losses(folder: Path) -> list[tuple[str, str]]:
    with (folder / LOG).open(newline="") as file:
        return [(row["iteration"], row["loss"]) for row in csv.DictReader(file)]


def test_half_written_files_of_a_killed_run_are_removed(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(), heads, tmp_path)
    run.run()
    left = tmp_path / f".{LAST}.0a1b2c3d.part.safetensors"
    left.write_bytes(b"half")
    with (tmp_path / LOG).open("a") as file:
        file.write("7,0.001")
    again = trainer(config(), heads, tmp_path)
    assert again.resume()
    again.run()
    assert not left.exists()
    assert (tmp_path / LOG).read_text().splitlines()[-1].startswith("6,")
    assert (tmp_path / LAST).exists()


def test_other_number_of_iterations_of_a_halving_schedule_goes_on(heads: SliceSet, tmp_path: Path) -> None:
    settings = config("official", iterations=2, fusion_lambda="half")
    trainer(settings, heads, tmp_path).run()
    longer = trainer(config("official", iterations=3, fusion_lambda="half"), heads, tmp_path)
    assert longer.resume()
    longer.run()
    assert longer.iteration == 3
