"""The training loop of MSL: sensors simulated inside the step, equations 14 to 20, exact resume."""

import copy
import csv
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from MSLFusionLib import __version__
from MSLFusionLib.errors import InputError, JobError
from MSLFusionLib.nets.msl import MSL, STRIDE, Latent
from MSLFusionLib.nets.presets import preset_config
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.augment import randomise
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.data import SliceSet
from MSLFusionTrainingLib.losses import (
    LossTerms,
    feature_loss,
    fusion_loss,
    random_lambda,
    reconstruction_loss,
    soft_clip,
)
from MSLFusionTrainingLib.quality import evaluate
from MSLFusionTrainingLib.sensors import Sampling, SensorSimulator
from MSLFusionTrainingLib.state import load_state, read_facts, save_state

STATE = "state.safetensors"
LOG = "log.csv"


def build_model(config: TrainConfig) -> MSL:
    """A freshly initialised network of the configuration's preset, seeded."""
    torch.manual_seed(config.seed)
    changes: dict[str, Any] = {"modalities": ("ct", "mr"), "token_grid": (config.size // STRIDE,) * 2}
    return MSL(preset_config(config.preset, **(changes | config.model)))


class Trainer:
    """One training run in one folder: state.safetensors, log.csv, validation.jsonl, config.json."""

    def __init__(
        self,
        config: TrainConfig,
        train: SliceSet,
        validation: SliceSet,
        folder: Path,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.train_set, self.validation_set = train, validation
        self.folder = folder
        self.device = torch.device(device)
        self.model = build_model(config).to(self.device).train()
        self.averaged = copy.deepcopy(self.model).eval() if config.ema else None
        self.optimiser = torch.optim.Adam(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
        self.simulator = SensorSimulator(config, self.device)
        self.iteration = 0

    def resume(self) -> bool:
        """Go on from the folder's state when there is one; InputError when it belongs to other settings."""
        path = self.folder / STATE
        if not path.exists():
            return False
        facts = read_facts(path)
        # How long to train and how often to look are not part of what the weights depend on so far.
        free = {"validate_every", "checkpoint_every", "iterations", "name"}
        changed = [k for k, v in self.config.to_dict().items() if k not in free and facts["config"].get(k) != v]
        if self.config.schedule == "cosine" and facts["config"]["iterations"] != self.config.iterations:
            changed.append("iterations")
        if changed:
            raise InputError(
                f"{self.folder} holds a run with another '{changed[0]}': use another folder or the same settings."
            )
        load_state(path, self.model, self.averaged, self.optimiser)
        self.iteration = int(facts["iteration"])
        return True

    def run(self, job: Job = NO_JOB, on_step: Callable[[int, dict[str, float]], None] | None = None) -> None:
        """Train to the configured number of iterations.

        Writes the state every checkpoint_every iterations, at the end and when cancelled. Raises JobError when a
        loss is not finite; the last good state then stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.json").write_text(json.dumps(self.config.to_dict(), indent=2), encoding="utf-8")
        started, since = time.monotonic(), self.iteration
        try:
            while self.iteration < self.config.iterations:
                job.step("train", self.iteration, self.config.iterations)
                terms = self.step()
                done = self.iteration
                if on_step is not None:
                    on_step(done, terms)
                if done % 10 == 0:
                    self._log(terms, (time.monotonic() - started) / (done - since))
                if done % self.config.checkpoint_every == 0:
                    self.save()
                if done % self.config.validate_every == 0 or done == self.config.iterations:
                    self.validate(job)
        finally:
            self.save()

    def step(self) -> dict[str, float]:
        """One optimisation step; returns the loss terms. All its randomness comes from (seed, iteration)."""
        config = self.config
        cpu = torch.Generator().manual_seed(_mix(config.seed, self.iteration))
        device = torch.Generator(self.device).manual_seed(_mix(config.seed + 1, self.iteration))
        torch.manual_seed(_mix(config.seed + 2, self.iteration))  # dropout
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.iteration)
        indices = torch.randint(0, len(self.train_set), (config.batch,), generator=cpu)
        ct, mr = self.train_set.batch(indices, self.device)
        with torch.no_grad():
            if config.augment:
                ct, mr = randomise(ct, mr, device)
            fbp, zero_filled = self.simulator.images(ct, mr, self.simulator.draw(cpu), device)
            origin = self._crop_origin(cpu)
            if origin is not None:
                ct, mr, fbp, zero_filled = (_crop(x, origin, config.crop) for x in (ct, mr, fbp, zero_filled))
        terms = self.losses(ct, mr, fbp, zero_filled, origin, cpu, device)
        loss = terms.total(config.weight_fusion, config.weight_aux, config.weight_feature)
        if not bool(torch.isfinite(loss)):
            raise JobError(
                f"The loss is not finite at iteration {self.iteration}: lower the learning rate; "
                "the last good state is kept."
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimiser.step()
        if self.averaged is not None:
            self._average()
        self.iteration += 1
        return {"loss": float(loss.detach()), **terms.items()}

    def losses(
        self,
        ct: Tensor,
        mr: Tensor,
        fbp: Tensor,
        zero_filled: Tensor,
        origin: tuple[int, int] | None,
        cpu: torch.Generator,
        device: torch.Generator,
    ) -> LossTerms:
        """The terms of equation 20 for one batch of (N, 1, H, W) slices."""
        config, model = self.config, self.model
        images = (fbp, zero_filled)
        tokens = None if origin is None else (origin[0] // STRIDE, origin[1] // STRIDE)
        features = model.features(images)
        both = model.presence(images, None)
        groups = model.interaction(features, both, tokens)
        latent = model.fuse(features, groups, both)
        lam: Tensor | float = 0.5
        if config.fusion_lambda == "any":
            lam = random_lambda((ct.shape[0], ct.shape[-2], ct.shape[-1]), device)
        aux = None
        if self.iteration % config.aux_every == 0:
            one = self._one_modality(ct.shape[0], cpu).to(self.device)
            seen = groups if config.aux == "leak" else model.interaction(features, one, tokens)
            alone = model.fuse(features, seen, one)
            aux = reconstruction_loss(self._decode(alone, 0.0), self._decode(alone, 1.0), ct, mr)
        return LossTerms(
            reconstruction_loss(self._decode(latent, 0.0), self._decode(latent, 1.0), ct, mr),
            fusion_loss(self._decode(latent, lam), lam, ct, mr),
            feature_loss(groups, len(model.modalities)),
            aux,
        )

    def learning_rate(self, iteration: int) -> float:
        """The rate of a step: halved every so often, or warm-up and cosine to a hundredth."""
        config = self.config
        if config.schedule == "halving":
            return config.learning_rate * 0.5 ** (iteration // config.halve_every)
        if iteration < config.warmup:
            return config.learning_rate * (iteration + 1) / config.warmup
        share = (iteration - config.warmup) / max(config.iterations - config.warmup, 1)
        return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))

    def validate(self, job: Job = NO_JOB) -> dict[str, Any]:
        """Quality on the validation heads with the usual, noise-free sampling, appended to validation.jsonl."""
        result = evaluate(
            self.averaged or self.model,
            self.validation_set,
            self.simulator,
            usual_sampling(self.config),
            limit=16,
            job=job,
        )
        with (self.folder / "validation.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"iteration": self.iteration, **result}) + "\n")
        return result

    def save(self) -> None:
        """Write the state of the run, whole or not at all."""
        facts = {"iteration": self.iteration, "config": self.config.to_dict(), "version": __version__}
        save_state(self.folder / STATE, self.model, self.averaged, self.optimiser, facts)

    def _decode(self, latent: Latent, lam: Tensor | float) -> Tensor:
        return soft_clip(self.model.decode(latent, lam), self.config.outside)

    @torch.no_grad()
    def _average(self) -> None:
        assert self.averaged is not None
        # A short memory at first, or the random start would linger in a short run.
        decay = min(self.config.ema, (1 + self.iteration) / (10 + self.iteration))
        pairs = zip(self.averaged.state_dict().values(), self.model.state_dict().values(), strict=True)
        for old, new in pairs:
            if old.is_floating_point():
                old.lerp_(new, 1 - decay)
            else:
                old.copy_(new)

    def _one_modality(self, n: int, cpu: torch.Generator) -> Tensor:
        """(n, 2) bool with one modality each: per slice, or one coin for the whole batch as published."""
        coins = 1 if self.config.aux == "leak" else n
        first = (torch.rand((coins,), generator=cpu) < 0.5).expand(n)
        return torch.stack([first, ~first], 1)

    def _crop_origin(self, cpu: torch.Generator) -> tuple[int, int] | None:
        """Corner of this step's crop, on the token grid; None for the whole slice."""
        config = self.config
        whole = self.iteration >= config.whole_from * config.iterations
        if not config.crop or config.crop == config.size or whole:
            return None
        steps = (config.size - config.crop) // STRIDE + 1
        row, column = torch.randint(0, steps, (2,), generator=cpu).tolist()
        return row * STRIDE, column * STRIDE

    def _log(self, terms: dict[str, float], seconds: float) -> None:
        path = self.folder / LOG
        new = not path.exists()
        names = ["loss", "reconstruction", "fusion", "feature", "aux"]
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["iteration", "learning_rate", "seconds_per_iteration", *names])
            values = [terms.get(name, "") for name in names]
            writer.writerow([self.iteration, self.learning_rate(self.iteration), round(seconds, 4), *values])


def usual_sampling(config: TrainConfig) -> Sampling:
    """The first of each sampling choice, without noise: what quality figures refer to."""
    return Sampling(config.views[0], config.accelerations[0], config.masks[0], 0, 0.0, 0.0)


def _crop(x: Tensor, origin: tuple[int, int], size: int) -> Tensor:
    return x[..., origin[0] : origin[0] + size, origin[1] : origin[1] + size]


def _mix(seed: int, iteration: int) -> int:
    """One 63-bit seed from two numbers, different for neighbouring pairs."""
    return (seed * 0x9E3779B97F4A7C15 + iteration * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & (2**63 - 1)
