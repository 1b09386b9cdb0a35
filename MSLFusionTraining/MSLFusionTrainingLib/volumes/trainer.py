"""The training loop of DC2Fusion: patches or whole volumes, exact resume, best state by the validation loss."""

import csv
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib import __version__
from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionLib.io.atomic import atomic_path, remove_parts
from MSLFusionLib.nets.dc2fusion import DC2Fusion
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.draws import mix
from MSLFusionTrainingLib.state import BEST, LAST, load_state, read_facts, save_state
from MSLFusionTrainingLib.volumes.config import LOSS_WEIGHTS, VolumeConfig
from MSLFusionTrainingLib.volumes.losses import TERMS, fusion_loss

LOG, VALIDATION = "log.csv", "validation.jsonl"
_COLUMNS = ("iteration", "learning_rate", "seconds_per_iteration", "loss", *TERMS, "gradient_norm")
_FREE = {"name", "validate_every", "checkpoint_every", "log_every", "checkpointing"}
"""Settings that the weights do not depend on."""


class VolumeTrainer:
    """One training run in one folder: config.json, states, log.csv, validation.jsonl, samples.

    train, validation: pairs (heads, 2, z, y, x) in [0, 1], any floating type.
    """

    score_name = "loss"
    """What `best` is the smallest of."""

    def __init__(
        self, config: VolumeConfig, train: Tensor, validation: Tensor, folder: Path, device: torch.device | None = None
    ) -> None:
        self.config, self.folder = config, folder
        self.device = device or torch.device("cpu")
        self.train_set, self.validation_set = train, validation
        torch.manual_seed(config.seed)
        self.model = DC2Fusion(config.network()).to(self.device).train()
        self.model.set_checkpointing(config.checkpointing)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        self.iteration = 0
        self.best: dict[str, Any] = {"score": None, "iteration": 0}
        self._figures: dict[str, Any] = {}
        self._weights = {name: float(getattr(config, name)) for name in LOSS_WEIGHTS}

    def resume(self, job: Job = NO_JOB) -> bool:
        """Go on from the folder's state when there is one; InputError when it belongs to other settings."""
        path = self.folder / LAST
        if not path.exists():
            return False
        facts = read_facts(path)
        before, now = dict(facts["config"]), self.config.to_dict()
        changed = [key for key, value in now.items() if key not in _FREE and before.get(key) != value]
        if changed:
            raise InputError(
                f"{self.folder} holds a run with another '{changed[0]}': use another folder or the same settings."
            )
        load_state(path, self.model, None, self.optimiser)
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
        """One optimisation step; the loss, its terms and the gradient's norm.

        All randomness comes from the seed and the iteration.
        """
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.iteration)
        pair = torch.stack([self._patch(place) for place in range(config.batch)]).to(self.device)
        torch.manual_seed(mix(config.seed, self.iteration, 1))  # blocks left out
        self.optimiser.zero_grad(set_to_none=True)
        loss, terms = fusion_loss(self.model(pair[:, :1], pair[:, 1:]), pair, self._weights)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip or math.inf)
        values = dict(zip(("loss", *TERMS, "gradient_norm"), [loss.item(), *terms.tolist(), norm.item()], strict=True))
        if not all(math.isfinite(value) for value in values.values()):
            raise JobError(
                f"The loss is not finite at iteration {self.iteration}: lower the learning rate or set clip; the last "
                f"good state is kept in {self.folder}."
            )
        self.optimiser.step()
        self.iteration += 1
        return values

    def learning_rate(self, iteration: int) -> float:
        """learning_rate (1 - iteration / iterations)^power."""
        return self.config.learning_rate * (1 - iteration / self.config.iterations) ** self.config.power

    def _patch(self, place: int) -> Tensor:
        """One drawn patch (2, z, y, x) float32; of three drawn places the one that shows most of the head."""
        config = self.config
        rng = np.random.default_rng(mix(config.seed, self.iteration, place + 2))
        pair = self.train_set[int(rng.integers(len(self.train_set)))]
        if config.crop:
            drawn = []
            for _ in range(3):
                z, y, x = (int(rng.integers(n - config.crop + 1)) for n in pair.shape[1:])
                drawn.append(pair[:, z : z + config.crop, y : y + config.crop, x : x + config.crop])
            pair = max(drawn, key=lambda patch: float((patch[0] > 0.05).float().mean()))
        flip = config.mirror and rng.random() < 0.5
        return (pair.flip(-1) if flip else pair).float()

    @torch.no_grad()
    def validate(self, job: Job = NO_JOB) -> dict[str, float]:
        """The loss and its terms on whole held-out volumes; the best state so far is kept."""
        self.model.eval()
        total, pictures = torch.zeros(1 + len(TERMS)), []
        for pair in self.validation_set:
            job.check()
            pair = pair[None].float().to(self.device)
            fused = self.model.fuse_blocks(pair[:, :1], pair[:, 1:])
            loss, terms = fusion_loss(fused, pair, self._weights)
            total += torch.cat([loss[None], terms]).cpu() / len(self.validation_set)
            pictures.append(torch.cat([pair[0], fused[0]])[:, pair.shape[2] // 2].cpu().numpy())
        self.model.train()
        figures = dict(zip(("loss", *TERMS), total.tolist(), strict=True))
        self._figures = {"iteration": self.iteration, **figures}
        with (self.folder / VALIDATION).open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._figures) + "\n")
        self._picture(pictures)
        if self.best["score"] is None or figures["loss"] < self.best["score"]:
            self.best = {"score": figures["loss"], "iteration": self.iteration}
            self._write(BEST, None)
        return figures

    def save(self) -> None:
        """Write the state of the run, whole or not at all."""
        self._write(LAST, self.optimiser)

    def _write(self, name: str, optimiser: torch.optim.Optimizer | None) -> None:
        facts = {
            "kind": "volumes",
            "iteration": self.iteration,
            "config": self.config.to_dict(),
            "version": __version__,
            "best": self.best,
            "validation": self._figures,
        }
        save_state(self.folder / name, self.model, None, optimiser, facts)

    def _open(self) -> None:
        """The folder and its logs, cut back to the iteration that the run goes on from."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (LAST, BEST):
            remove_parts(self.folder / name)
        with atomic_path(self.folder / "config.json") as temporary:
            temporary.write_text(json.dumps(self.config.to_dict(), indent=2), encoding="utf-8")
        if not (self.folder / LAST).exists():
            self.save()
        rows = [row for row in _rows(self.folder / LOG) if row[0].isdecimal() and int(row[0]) <= self.iteration]
        with atomic_path(self.folder / LOG) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([_COLUMNS, *rows])
        path = self.folder / VALIDATION
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["iteration"] <= self.iteration]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def _log(self, values: dict[str, float], seconds: float) -> None:
        row = [self.iteration, self.learning_rate(self.iteration - 1), round(seconds, 5), *values.values()]
        with (self.folder / LOG).open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)

    def _picture(self, pictures: list[np.ndarray]) -> None:
        """First, second and fused side by side, a row for each validation head."""
        from matplotlib import image as files

        mosaic = np.concatenate([np.concatenate(list(row), 1) for row in pictures], 0).clip(0, 1)
        with atomic_path(self.folder / "samples" / f"iteration-{self.iteration:06d}.png") as temporary:
            files.imsave(temporary, mosaic, cmap="gray", vmin=0, vmax=1)


def _rows(path: Path) -> list[list[str]]:
    """The whole rows of a log."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.reader(file) if len(row) == len(_COLUMNS)]
