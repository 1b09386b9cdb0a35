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
from MSLFusionLib.recon.expected_error import IMAGES, ErrorNet, Evidence, ExpectedErrors, features
from MSLFusionLib.recon.familiarity import set_name

_BODY = 0.05
"""A pixel belongs to the body where one of the two true images is brighter than this."""
_PIXELS = 3000
"""Of each slice, and a fifth as many of the surroundings."""
_AT_ONCE = 1024
_RATE, _DECAY = 5e-3, 0.1
_SHARE = 0.7
"""Of what a network adds: on heads that it did not learn from its direction is surer than its size."""
_FLOOR = 1e-4
"""Added to each error: errors of 0 have no logarithm."""


@dataclass
class Lessons:
    """Collects some pixels of slices, and learns from them. steps: of each network, 0 for the formula alone."""

    steps: int = 1600
    _samples: dict[tuple[str, str], list[tuple[np.ndarray, Tensor, np.ndarray]]] = field(default_factory=dict)

    def see(self, evidence: Evidence, truth: Tensor, seed: int = 0) -> None:
        """Slices with their true CT and MR, (n, 2, H, W) in [0, 1]; seed: of the choice of pixels."""
        random = np.random.default_rng(seed)
        images = evidence.delivered["ct"], evidence.delivered["mr"]
        planes = features(evidence).cpu().flatten(2)
        for number, true in enumerate(truth):
            body = (true > _BODY).any(0).cpu().numpy().ravel()
            groups = ((np.flatnonzero(body), _PIXELS), (np.flatnonzero(~body), _PIXELS // 5))
            places = np.concatenate([random.choice(some, count) for some, count in groups if len(some)])
            one = slice(number, number + 1)
            for image, wanted in zip(IMAGES, true, strict=True):
                known = error_model.features(evidence.variance[image][one], *(each[one] for each in images))
                wrong = (evidence.delivered[image][number, 0] - wanted).abs().cpu().numpy().ravel()
                part = known[places], planes[number][:, places].T.clone(), wrong[places].astype(np.float64)
                self._samples.setdefault((set_name(evidence.seen), image), []).append(part)

    def learned(self, seed: int = 0, job: Job = NO_JOB) -> ExpectedErrors:
        """What the slices teach; the same each time on one machine. Raises InputError for no slices, Cancelled."""
        if not self._samples:
            raise InputError("Errors can be learned from slices only: give at least one.")
        formulas, networks = {}, {}
        for done, (key, parts) in enumerate(self._samples.items()):
            job.step("learn errors", done, len(self._samples))
            known, wrong = (np.concatenate([part[one] for part in parts]) for one in (0, 2))
            formulas[key] = error_model.fitted(known, wrong)
            if self.steps:
                logs = torch.from_numpy((known @ np.array(formulas[key].weights)).astype(np.float32))
                errors = torch.from_numpy((wrong + _FLOOR).astype(np.float32))
                networks[key] = self._taught(torch.cat([part[1] for part in parts]), logs, errors, seed, job)
        job.step("learn errors", len(self._samples), len(self._samples))
        return ExpectedErrors(formulas, networks)

    def _taught(self, samples: Tensor, logs: Tensor, errors: Tensor, seed: int, job: Job) -> ErrorNet:
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(seed)
            network = ErrorNet()
            network.centre.copy_(samples.mean(0))
            network.scale.copy_(samples.std(0).clamp_min(1e-2))
            optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, max(self.steps, 2))
            for _ in range(self.steps):
                job.check()
                some = torch.randint(len(samples), (_AT_ONCE,), generator=generator)
                found = logs[some] + network(samples[some])
                cost = (found + errors[some] * (-found).exp()).mean()
                optimiser.zero_grad()
                cost.backward()
                optimiser.step()
                schedule.step()
            network.eval().requires_grad_(False)
            for parameter in network.last.parameters():
                parameter.mul_(_SHARE)
        return network
