"""The training loop of MSL: sensors simulated inside the step, equations 14 to 20, exact resume."""

import copy
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib import __version__
from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionLib.io.atomic import atomic_path, remove_parts
from MSLFusionLib.io.checkpoints import find_model, load_checkpoint
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.mslconfig import STRIDE
from MSLFusionLib.nets.presets import preset_config
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.devices import is_out_of_memory
from MSLFusionTrainingLib import quality
from MSLFusionTrainingLib.augment import randomise
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.consistent import consistent_loss
from MSLFusionTrainingLib.data import Slices
from MSLFusionTrainingLib.distribution import Processes
from MSLFusionTrainingLib.draws import SliceDraw, StepDraw, draw_slice, draw_step, mix, usual_sampling
from MSLFusionTrainingLib.logs import LOG, TERMS, VALIDATION, Logs
from MSLFusionTrainingLib.losses import LossTerms, random_weights
from MSLFusionTrainingLib.objective import Objective
from MSLFusionTrainingLib.refinement import corrected_slices, crops, refinement_loss
from MSLFusionTrainingLib.sensors import Scan, SensorSimulator
from MSLFusionTrainingLib.state import BEST, LAST, load_state, read_facts, save_state

_FREE = {
    *("name", "iterations", "validate_every", "validation_slices", "patience"),
    *("checkpoint_every", "log_every", "micro", "data"),
}
"""Settings that the weights up to now do not depend on."""


def build_model(config: TrainConfig) -> MSL:
    """A freshly initialised network of the configuration's preset, seeded."""
    torch.manual_seed(config.seed)
    changes: dict[str, Any] = {"modalities": config.roles, "token_grid": (config.size // STRIDE,) * 2}
    if config.cascades:
        changes |= {"cascades": config.cascades, "refine_width": config.refine_width}
    return MSL(preset_config(config.preset, **(changes | config.model)))


def started(model: MSL, config: TrainConfig) -> MSL:
    """The network with the weights of the model that the configuration starts from, where it names one.

    Parts that the other model does not have keep their own first weights. Raises InputError when the two do not
    agree in what they share.
    """
    if not config.start:
        return model
    other = load_checkpoint(find_model(config.start))
    weights = other.model.state_dict()
    mine = model.state_dict()
    if list(other.card.get("modalities", [])) != list(config.roles):
        raise InputError(f"The model '{config.start}' is for other modalities: it cannot be the start of this one.")
    wrong = [name for name, value in weights.items() if name not in mine or mine[name].shape != value.shape]
    if wrong:
        raise InputError(f"The model '{config.start}' has another network ('{wrong[0]}'): it cannot be the start here.")
    model.load_state_dict(mine | {name: value.to(mine[name].dtype) for name, value in weights.items()})
    return model


class Trainer:
    """One training run in one folder: state and best checkpoint, log.csv, validation.jsonl, samples, config.json."""

    def __init__(
        self,
        config: TrainConfig,
        train: Slices,
        validation: Slices,
        folder: Path,
        processes: Processes | None = None,
    ) -> None:
        self.config = config
        self.folder = folder
        self.processes = processes or Processes(torch.device("cpu"))
        self.device = self.processes.device
        self.train_set, self.validation_set = _held(train, self.device), validation
        self.model = started(build_model(config), config).to(self.device).train()
        self.averaged = copy.deepcopy(self.model).eval() if config.ema else None
        self.objective = Objective(self.model, config)
        self._compiled = torch.compile(self.objective) if config.compile else self.objective
        if config.only_refinement:
            self.model.requires_grad_(False)
            self.model.refiner.requires_grad_(True)
        self.optimiser = torch.optim.Adam(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.simulator = SensorSimulator(config, self.device)
        self._corrected: np.ndarray | None = None
        self.iteration = 0
        self.micro = config.micro or config.batch
        self.best: dict[str, Any] = {"score": None, "iteration": 0, "stale": 0}
        self._figures: dict[str, Any] = {}
        self._probe: dict[str, Tensor] | None = None
        self._bad: Tensor = torch.full((1 + len(TERMS),), -1.0, device=self.device)

    def resume(self, job: Job = NO_JOB) -> bool:
        """Go on from the folder's state when there is one; InputError when it belongs to other settings."""
        path = self.folder / LAST
        if not path.exists():
            return False
        facts = read_facts(path)
        before = TrainConfig.from_dict(facts["config"]).to_dict()
        changed = [k for k, v in self.config.to_dict().items() if k not in _FREE and before.get(k) != v]
        if self.config.schedule == "cosine" and before["iterations"] != self.config.iterations:
            changed.append("iterations")
        if changed:
            raise InputError(
                f"{self.folder} holds a run with another '{changed[0]}': use another folder or the same settings."
            )
        if facts.get("processes", 1) != self.processes.world:
            job.warning(f"The run had {facts['processes']} processes before: its batch is another now.")
        load_state(path, self.model, self.averaged, self.optimiser)
        self.iteration = int(facts["iteration"])
        self.best, self._figures = dict(facts["best"]), dict(facts["validation"])
        self.micro = min(int(facts["micro"]), self.micro)
        return True

    def run(self, job: Job = NO_JOB) -> None:
        """Train to the configured number of iterations, or until the patience is over.

        Writes the state every checkpoint_every iterations, after validations, at the end and when cancelled. Raises
        JobError when the loss is not finite or one slice needs more memory than there is; the last good state stays.
        """
        logs = self._open()
        if self.config.only_refinement and self.config.crop:
            place = self.folder if self.processes.world == 1 else self.folder / f"process-{self.processes.rank}"
            self._corrected = corrected_slices(self.config, self.model, self.train_set, self.simulator, place, job)
        clock, since = time.monotonic(), self.iteration
        try:
            if self._owes_validation():
                self.validate(logs, job)
                self.save()
            while not self.finished:
                self._check_in(job)
                terms = self.step(job)
                done = self.iteration
                last = done == self.config.iterations
                looked = done % self.config.validate_every == 0 or last
                if done % self.config.log_every == 0 or last:
                    values = dict(zip(TERMS, self.processes.mean(terms).tolist(), strict=True))
                    self._check_finite()
                    if logs is not None:
                        seconds = (time.monotonic() - clock) / (done - since)
                        logs.step(done, self.learning_rate(done - 1), seconds, values)
                if looked:
                    self._check_finite()
                    self.validate(logs, job)
                if looked or done % self.config.checkpoint_every == 0:
                    self.save()
            if self.iteration < self.config.iterations:
                job.warning(
                    f"Stopped at iteration {self.iteration}: no better since iteration {self.best['iteration']}."
                )
        except (Cancelled, KeyboardInterrupt):
            self.save()
            raise
        finally:
            if logs is not None:
                logs.close()

    def _owes_validation(self) -> bool:
        """Whether the run was stopped after a step and in the midst of the validation that follows it."""
        done = self.iteration
        due = done > 0 and (done % self.config.validate_every == 0 or done == self.config.iterations)
        return bool(self.processes.agree(due and self._figures.get("iteration") != done))

    @property
    def finished(self) -> bool:
        """Whether all iterations are done, or the validations have not improved for too long."""
        patience = self.config.patience
        return self.iteration >= self.config.iterations or bool(patience and self.best["stale"] >= patience)

    def step(self, job: Job = NO_JOB) -> Tensor:
        """One optimisation step; returns (loss, terms, gradient norm) in the order of logs.TERMS, on the device.

        All randomness comes from the seed, the iteration and each slice's place in the batch. When memory runs out,
        the batch is taken in smaller parts, whose gradients are added: the step stays the same, but for batch
        normalisation, which sees the parts.
        """
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.iteration)
        step = draw_step(config, self.iteration, STRIDE)
        first = self.processes.rank * config.batch
        drawn = [
            draw_slice(config, step, self.iteration, first + place, len(self.train_set))
            for place in range(config.batch)
        ]
        while True:
            try:
                terms = self._gradients(step, drawn)
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(job)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        self.processes.average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.clip or math.inf)
        terms = torch.cat([terms, norm.reshape(1).to(terms.dtype)])
        # The device keeps the first step that went wrong; asking it now would make it wait.
        wrong = (~torch.isfinite(terms)).any() & (self._bad[0] < 0)
        now = torch.cat([terms.new_tensor([float(self.iteration)]), terms])
        self._bad = torch.where(wrong, now, self._bad)
        self.optimiser.step()
        if self.averaged is not None:
            self._average(self.averaged)
        self.iteration += 1
        if self.device.type == "cpu":
            self._check_finite()
        return terms

    def _gradients(self, step: StepDraw, drawn: list[SliceDraw]) -> Tensor:
        """Gradients of the whole batch in the parameters; the loss and its terms in the order of logs.TERMS."""
        config = self.config
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros(len(TERMS) - 1, device=self.device)
        for start in range(0, len(drawn), self.micro):
            part = drawn[start : start + self.micro]
            place = self.processes.rank * config.batch + start
            torch.manual_seed(mix(config.seed, self.iteration, place + 1, 1))  # dropout
            terms = self.terms(step, part)
            loss = terms.total(
                config.weight_reconstruction,
                config.weight_fusion,
                config.weight_aux,
                config.weight_feature,
                config.weight_consistent,
            )
            share = len(part) / len(drawn)
            (loss * share).backward()
            values = (loss, terms.reconstruction, terms.fusion, terms.feature, terms.aux, terms.consistent)
            total += torch.stack([value.detach().to(self.device) for value in values]) * share
        return total

    def terms(self, step: StepDraw, drawn: list[SliceDraw]) -> LossTerms:
        """The loss terms of some slices of a step."""
        config, device = self.config, self.device
        if self._corrected is not None:
            planes = crops(self._corrected, config, [one.uniforms for one in drawn], device)
            nothing = torch.zeros((), device=device)
            return LossTerms(nothing, nothing, nothing, nothing, refinement_loss(self.model.refiner, planes))
        sensors, truths, generators, scans = self.measure(drawn)
        consistent = torch.zeros((), device=device)
        if scans:
            seen = torch.tensor([one.seen for one in drawn]).to(device, non_blocking=True)
            consistent = consistent_loss(self.model, sensors, scans, truths, seen, config.only_refinement)
        if config.only_refinement:
            nothing = torch.zeros((), device=device)
            return LossTerms(nothing, nothing, nothing, nothing, consistent)
        if step.origin is not None:
            row, column = step.origin
            rows, columns = slice(row, row + config.crop), slice(column, column + config.crop)
            sensors, truths = sensors[..., rows, columns], truths[..., rows, columns]
        weights = None
        if config.fusion_lambda == "any":
            shape = (truths.shape[-2], truths.shape[-1])
            weights = random_weights(len(config.modalities), shape, step.maps, generators)
        present = None
        if self.iteration % config.aux_every == 0 and config.weight_aux:
            present = torch.tensor([one.present for one in drawn]).to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            terms: LossTerms = self._compiled(sensors, truths, weights, present, step.origin)
        return replace(terms, consistent=consistent)

    @torch.no_grad()
    def measure(self, drawn: list[SliceDraw]) -> tuple[Tensor, Tensor, list[torch.Generator], list[Scan]]:
        """Sensor images and truths of drawn slices, (N, n, H, W) each, and the slices' generators and, for cascades,
        their scans."""
        config, device = self.config, self.device
        generators = [torch.Generator(device).manual_seed(one.seed) for one in drawn]
        truths = self.train_set.batch(torch.tensor([one.index for one in drawn]), device)
        if config.augment or config.pad or config.affine or config.elastic or config.invert:
            uniforms = torch.stack([one.uniforms for one in drawn]).to(device, non_blocking=True)
            truths = randomise(truths, config, uniforms, generators)
        samplings = [one.sampling for one in drawn]
        if config.cascades:
            sensors, scans = self.simulator.scans(truths, samplings, generators)
            return sensors, truths, generators, scans
        return self.simulator.images(truths, samplings, generators), truths, generators, []

    def learning_rate(self, iteration: int) -> float:
        """The rate of a step: halved every so often, or warm-up and cosine to a hundredth."""
        config = self.config
        if config.schedule == "halving":
            return config.learning_rate * 0.5 ** (iteration // config.halve_every)
        if iteration < config.warmup:
            return config.learning_rate * (iteration + 1) / config.warmup
        share = (iteration - config.warmup) / max(config.iterations - config.warmup, 1)
        return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))))

    def validate(self, logs: Logs | None = None, job: Job = NO_JOB) -> dict[str, Any]:
        """Quality on held-out patients with the usual, noise-free sampling; the best state so far is kept.

        The first process measures for all; the others get an empty result.
        """
        result: dict[str, Any] = {}
        if self.processes.first:
            model, sampling = self.judged, usual_sampling(self.config)
            limit = self.config.validation_slices
            result = quality.evaluate(model, self.validation_set, self.simulator, sampling, limit=limit, job=job)
            if logs is not None:
                images = quality.picture(model, self.validation_set, self.simulator, sampling)
                logs.validation(self.iteration, result, self.config.roles, images)
            self._figures = {"iteration": self.iteration, **result}
            now = quality.score(result, self.config.roles)
            if self.best["score"] is None or now > self.best["score"]:
                self.best = {"score": now, "iteration": self.iteration, "stale": 0}
                self._write(BEST, None)
            else:
                self.best = {**self.best, "stale": self.best["stale"] + 1}
        self.best = self.processes.agree(self.best)
        return result

    @property
    def judged(self) -> MSL:
        """The network that is validated and exported: the averaged one where there is one."""
        return self.model if self.averaged is None else self.averaged

    def save(self) -> None:
        """Write the state of the run, whole or not at all; never one that is not finite."""
        self._check_finite()
        if self.processes.first:
            self._write(LAST, self.optimiser)

    def _write(self, name: str, optimiser: torch.optim.Optimizer | None) -> None:
        if self._probe is None:
            self._probe = quality.probe(self.validation_set, self.simulator, usual_sampling(self.config))
        facts = {
            "iteration": self.iteration,
            "config": self.config.to_dict(),
            "version": __version__,
            "best": self.best,
            "micro": self.micro,
            "processes": self.processes.world,
            "validation": self._figures,
            "probe": quality.probe_figures(self.judged, self._probe, self.config.roles),
        }
        model = self.model if optimiser is not None or self.averaged is None else None
        save_state(self.folder / name, model, self.averaged, optimiser, facts, self._probe)

    def _open(self) -> Logs | None:
        """The folder and its logs, for the process that writes; a first state, so that there always is one."""
        if not self.processes.first:
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (LAST, BEST, LOG, VALIDATION, "config.json"):
            remove_parts(self.folder / name)
        with atomic_path(self.folder / "config.json") as temporary:
            temporary.write_text(json.dumps(self.config.to_dict(), indent=2), encoding="utf-8")
        if not (self.folder / LAST).exists():
            self.save()
        return Logs(self.folder, self.iteration)

    def _check_in(self, job: Job) -> None:
        """Report progress; with several processes all stop at the same step."""
        if self.processes.world == 1:
            job.step("train", self.iteration, self.config.iterations)
        elif self.iteration % self.config.log_every == 0:
            stop: Cancelled | None = None
            try:
                job.step("train", self.iteration, self.config.iterations)
            except Cancelled as error:
                stop = error
            if self.processes.agree(stop is not None):
                raise stop or Cancelled("Cancelled by the first process.")

    def _check_finite(self) -> None:
        where, *values = self._bad.tolist()
        if where < 0:
            return
        names = [name.replace("_", " ") for name, value in zip(TERMS, values, strict=True) if not math.isfinite(value)]
        raise JobError(
            f"The loss is not finite at iteration {int(where)} ({', '.join(names)}): lower the learning rate or set "
            f"clip; the last good state is kept in {self.folder}."
        )

    def _shrink(self, job: Job) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.micro == 1:
            raise JobError(
                f"The memory of {self.device} does not hold one slice of this network at iteration {self.iteration}: "
                "set crop, precision = 'bf16' or a smaller preset; the last good state is kept."
            )
        self.micro = (min(self.micro, self.config.batch) + 1) // 2
        job.warning(
            f"Out of memory: {self.micro} of {self.config.batch} slices are taken at a time from iteration "
            f"{self.iteration} on; the step stays the same."
        )

    @torch.no_grad()
    def _average(self, averaged: MSL) -> None:
        # A short memory at first, or the random start would linger in a short run.
        decay = min(self.config.ema, (1 + self.iteration) / (10 + self.iteration))
        old: list[Tensor] = list(averaged.parameters())
        new: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(old, new, 1 - decay)
        for kept, current in zip(averaged.buffers(), self.model.buffers(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(current, 1 - decay)
            else:
                kept.copy_(current)


def _held(slices: Slices, device: torch.device) -> Slices:
    """The training set in the device's memory where it takes at most half of what is free."""
    if device.type != "cuda":
        return slices
    free, _ = torch.cuda.mem_get_info(device)
    return slices.to(device) if slices.nbytes < free / 2 else slices
