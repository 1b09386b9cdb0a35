"""A training loop on one device in one folder, whatever is trained: exact resume, logs, best state by validation.

The folder holds config.json, state.safetensors, best.safetensors, log.csv, validation.jsonl and samples/.
"""

import copy
import csv
import json
import math
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from MSLFusionLib import __version__
from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionLib.io.atomic import atomic_path, remove_parts
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.logs import LOG, SAMPLES, VALIDATION
from MSLFusionTrainingLib.state import BEST, LAST, load_state, read_facts, save_state

FREE = frozenset({"name", "validate_every", "checkpoint_every", "log_every", "checkpointing"})
"""Settings that the weights do not depend on."""


class RunLoop(ABC):
    """One run; a subclass says what a step and a validation are.

    config: has to_dict(), iterations, learning_rate, power, clip, validate_every, checkpoint_every and log_every. ema:
    decay of averaged weights, which are validated and exported; 0 for none.
    """

    kind: ClassVar[str]
    """Of the run, in the facts of its states."""
    terms: ClassVar[tuple[str, ...]]
    """The parts of the loss, in log.csv."""
    free: ClassVar[frozenset[str]] = FREE
    """Settings that may differ when it goes on."""
    score_name = "loss"
    """What `best` is the smallest of."""

    def __init__(
        self, config: Any, model: nn.Module, optimiser: torch.optim.Optimizer, folder: Path, ema: float = 0.0
    ) -> None:
        self.config, self.model, self.optimiser, self.folder = config, model, optimiser, folder
        self.device = next(model.parameters()).device
        self.averaged = copy.deepcopy(model).requires_grad_(False) if ema else None
        self._ema = ema
        self.iteration = 0
        self.best: dict[str, Any] = {"score": None, "iteration": 0}
        self._figures: dict[str, Any] = {}

    @abstractmethod
    def loss(self) -> tuple[Tensor, Tensor]:
        """The loss of the step at `iteration`, and its terms, stacked.

        All randomness comes from the seed and the iteration.
        """

    @abstractmethod
    def measure(self, model: nn.Module, job: Job) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
        """What a model in evaluation mode is worth, `score_name` among it, and rows of pictures (h, w) in [0, 1]."""

    def resume(self, job: Job = NO_JOB) -> bool:
        """Go on from the folder's state when there is one; InputError when it belongs to other settings."""
        path = self.folder / LAST
        if not path.exists():
            return False
        facts = read_facts(path)
        before, now = dict(facts["config"]), self.config.to_dict()
        changed = [key for key, value in now.items() if key not in self.free and before.get(key) != value]
        if changed:
            raise InputError(
                f"{self.folder} holds a run with another '{changed[0]}': use another folder or the same settings."
            )
        load_state(path, self.model, self.averaged, self.optimiser)
        self.iteration, self.best = int(facts["iteration"]), dict(facts["best"])
        self._figures = dict(facts["validation"])
        return True

    def run(self, job: Job = NO_JOB) -> None:
        """Train to the configured number of iterations.

        Writes the state every checkpoint_every iterations, after validations, at the end and when cancelled. Raises
        JobError when the loss is not finite; the last good state stays.
        """
        self._open()
        clock, since, config = time.monotonic(), self.iteration, self.config
        try:
            while self.iteration < config.iterations:
                job.step("train", self.iteration, config.iterations)
                values = self.step()
                done, last = self.iteration, self.iteration == config.iterations
                if done % config.log_every == 0 or last:
                    self._log(values, (time.monotonic() - clock) / (done - since))
                if done % config.validate_every == 0 or last:
                    self.validate(job)
                    self.save()
                elif done % config.checkpoint_every == 0:
                    self.save()
            job.step("train", self.iteration, config.iterations)
        except (Cancelled, KeyboardInterrupt):
            self.save()
            raise

    def step(self) -> dict[str, float]:
        """One optimisation step; the loss, its terms and the gradient's norm."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.iteration)
        self.optimiser.zero_grad(set_to_none=True)
        loss, terms = self.loss()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip or math.inf)
        names = ("loss", *self.terms, "gradient_norm")
        values = dict(zip(names, [loss.item(), *terms.tolist(), norm.item()], strict=True))
        if not all(math.isfinite(value) for value in values.values()):
            raise JobError(
                f"The loss is not finite at iteration {self.iteration}: lower the learning rate or set clip; the last "
                f"good state is kept in {self.folder}."
            )
        self.optimiser.step()
        self.iteration += 1
        self._average()
        return values

    def learning_rate(self, iteration: int) -> float:
        """learning_rate (1 - iteration / iterations)^power."""
        return self.config.learning_rate * (1 - iteration / self.config.iterations) ** self.config.power

    @torch.no_grad()
    def validate(self, job: Job = NO_JOB) -> dict[str, Any]:
        """Measure what is exported; the figures and pictures are logged, the best state so far is kept."""
        model = self.averaged or self.model
        model.eval()
        figures, pictures = self.measure(model, job)
        model.train()
        self._figures = {"iteration": self.iteration, **figures}
        with (self.folder / VALIDATION).open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._figures) + "\n")
        self._picture(pictures)
        score = figures[self.score_name]
        if self.best["score"] is None or score < self.best["score"]:
            self.best = {"score": score, "iteration": self.iteration}
            self._write(BEST, None)
        return figures

    def save(self) -> None:
        """Write the state of the run, whole or not at all."""
        self._write(LAST, self.optimiser)

    def _average(self) -> None:
        if self.averaged is None:
            return
        # Early averages are of few steps: the beginning is forgotten soon.
        keep = min(self._ema, self.iteration / (self.iteration + 9))
        with torch.no_grad():
            for mean, now in zip(self.averaged.state_dict().values(), self.model.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - keep)
                else:
                    mean.copy_(now)

    def _write(self, name: str, optimiser: torch.optim.Optimizer | None) -> None:
        facts = {
            "kind": self.kind,
            "iteration": self.iteration,
            "config": self.config.to_dict(),
            "version": __version__,
            "best": self.best,
            "validation": self._figures,
        }
        save_state(self.folder / name, self.model, self.averaged, optimiser, facts)

    def _open(self) -> None:
        """The folder and its logs, cut back to the iteration that the run goes on from."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (LAST, BEST):
            remove_parts(self.folder / name)
        with atomic_path(self.folder / "config.json") as temporary:
            temporary.write_text(json.dumps(self.config.to_dict(), indent=2), encoding="utf-8")
        if not (self.folder / LAST).exists():
            self.save()
        head = ["iteration", "learning_rate", "seconds_per_iteration", "loss", *self.terms, "gradient_norm"]
        rows = [row for row in _rows(self.folder / LOG, len(head)) if row[0].isdecimal()]
        rows = [row for row in rows if int(row[0]) <= self.iteration]
        with atomic_path(self.folder / LOG) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *rows])
        path = self.folder / VALIDATION
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["iteration"] <= self.iteration]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def _log(self, values: dict[str, float], seconds: float) -> None:
        row = [self.iteration, self.learning_rate(self.iteration - 1), round(seconds, 5), *values.values()]
        with (self.folder / LOG).open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)

    def _picture(self, rows: list[list[np.ndarray]]) -> None:
        """The pictures of a validation, one row below the other, of whatever sizes."""
        from matplotlib import image as files

        lines = [np.concatenate(row, 1) for row in rows]
        width = max(line.shape[1] for line in lines)
        mosaic = np.concatenate([np.pad(line, ((0, 0), (0, width - line.shape[1]))) for line in lines], 0).clip(0, 1)
        with atomic_path(self.folder / SAMPLES / f"iteration-{self.iteration:06d}.png") as temporary:
            files.imsave(temporary, mosaic, cmap="gray", vmin=0, vmax=1)


def _rows(path: Path, columns: int) -> list[list[str]]:
    """The whole rows of a log."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.reader(file) if len(row) == columns]
