"""Learning what errors to expect (recon.expected_error) from slices whose truth is known.

Both the formula and the network maximise the likelihood of the absolute errors under a Laplace distribution,

    sum over pixels of log u + |e| / u,

whose optimum for one u is the mean of |e|: what they tell is an error in units of the image, not only an order.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon import error_model
from MSLFusionLib.recon.error_model import ErrorModel
from MSLFusionLib.recon.expected_error import IMAGES, ErrorNet, Evidence, ExpectedErrors, logs_of, planes_of
from MSLFusionLib.recon.familiarity import set_name

BODY = 0.05
"""A pixel belongs to the body where one of the two true images is brighter than this."""
_PIXELS = 3000
"""Of each slice that teach the formula, and a fifth as many of the surroundings."""
_CROP, _CROPS = 160, 6
"""Pixels along a side of what the network learns from at a time, and how many such parts."""
_OUTSIDE = 0.1
"""How much a pixel of the surroundings counts."""
_RATE = 2e-3
_FLOOR = 1e-4
"""Added to each error: errors of 0 have no logarithm."""


@dataclass
class Lessons:
    """Collects slices, and learns from them; kept in 16 bits, 3 MB for a slice of 384 x 384.

    width: of the network. steps: it learns for; 0 for the formula alone.
    """

    width: int = 8
    steps: int = 2000
    _kept: list[tuple[tuple[str, ...], Tensor, Tensor]] = field(default_factory=list)

    def see(self, evidence: Evidence, truth: Tensor) -> None:
        """Slices with their true CT and MR, (n, 2, H, W) in [0, 1]."""
        wrong = torch.cat([evidence.delivered[name] for name in IMAGES], 1) - truth
        body = (truth > BODY).any(1, keepdim=True)
        maps = []
        for name in IMAGES:
            sensor = evidence.sensors[name]
            maps += [evidence.delivered[name], evidence.network[name], evidence.variance[name].sqrt()]
            maps.append(torch.zeros_like(maps[0]) if sensor is None else sensor)
        together = torch.cat(maps, 1).half().cpu()
        targets = torch.cat([wrong.abs(), body], 1).half().cpu()
        for one, target in zip(together.split(1), targets.split(1), strict=True):
            self._kept.append((evidence.seen, one, target))

    def learned(self, seed: int = 0, job: Job = NO_JOB) -> ExpectedErrors:
        """What the slices teach; the same each time on one machine. Raises InputError for no slices, Cancelled."""
        if not self._kept:
            raise InputError("Errors can be learned from slices only: give at least one.")
        formulas = self._formulas(np.random.default_rng([seed, 0]))
        if not self.steps:
            return ExpectedErrors(formulas)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ErrorNet(self.width)
        self._teach(network, ExpectedErrors(formulas), np.random.default_rng([seed, 1]), job)
        return ExpectedErrors(formulas, network.eval().requires_grad_(False))

    def _formulas(self, random: np.random.Generator) -> dict[tuple[str, str], ErrorModel]:
        samples: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
        for seen, maps, target in self._kept:
            evidence = _evidence(seen, maps.float())
            body = target[0, -1].numpy().ravel() > 0.5
            groups = ((np.flatnonzero(body), _PIXELS), (np.flatnonzero(~body), _PIXELS // 5))
            places = np.concatenate([random.choice(some, count) for some, count in groups if len(some)])
            for number, name in enumerate(IMAGES):
                images = evidence.delivered["ct"], evidence.delivered["mr"]
                known = error_model.features(evidence.variance[name], *images)[places]
                wrong = target[0, number].numpy().ravel()[places].astype(np.float64)
                samples.setdefault((set_name(seen), name), []).append((known, wrong))
        return {
            key: error_model.fitted(*(np.concatenate(part) for part in zip(*pixels, strict=True)))
            for key, pixels in samples.items()
        }

    def _teach(self, network: ErrorNet, formulas: ExpectedErrors, random: np.random.Generator, job: Job) -> None:
        optimiser = torch.optim.Adam(network.parameters(), _RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, max(self.steps, 2), pct_start=0.1)
        for step in range(self.steps):
            job.step("learn errors", step, self.steps)
            parts = [self._part(formulas, random) for _ in range(_CROPS)]
            planes, logs, target = (torch.cat(part) for part in zip(*parts, strict=True))
            found = logs + network(planes)
            weight = _OUTSIDE + (1.0 - _OUTSIDE) * target[:, -1:]
            cost = ((found + (target[:, :-1] + _FLOOR) * (-found).exp()) * weight).sum() / weight.sum()
            optimiser.zero_grad()
            cost.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        job.step("learn errors", self.steps, self.steps)

    def _part(self, formulas: ExpectedErrors, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A part of a slice drawn at random, turned over or not: planes, log u_0, errors and body."""
        seen, maps, target = self._kept[int(random.integers(len(self._kept)))]
        rows, columns = (slice(low, low + _CROP) for low in (int(random.integers(max(n - _CROP, 0) // 2 + 1)) * 2
                                                             for n in maps.shape[-2:]))  # fmt: skip
        over = [axis for axis in (2, 3) if random.random() < 0.5]
        evidence = _evidence(seen, maps[..., rows, columns].float().flip(over))
        logs = logs_of(formulas.of(evidence))
        return planes_of(evidence, logs), logs, target[..., rows, columns].float().flip(over)


def _evidence(seen: tuple[str, ...], maps: Tensor) -> Evidence:
    """The evidence again that Lessons.see keeps."""
    groups = dict(zip(IMAGES, maps.split(4, 1), strict=True))
    return Evidence(
        seen,
        {name: part[:, 0:1] for name, part in groups.items()},
        {name: part[:, 1:2] for name, part in groups.items()},
        {name: part[:, 2:3].square() for name, part in groups.items()},
        {name: part[:, 3:4] if name in seen else None for name, part in groups.items()},
    )
