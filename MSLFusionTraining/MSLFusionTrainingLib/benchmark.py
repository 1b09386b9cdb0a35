"""Our training step beside one done the published way: same network, same weights, same batch, in one run.

The published way (Zhu et al., TPAMI 2024, public code): a first forward pass with decodes at lambda 0 and 1, and
both again from one modality; a second one at lambda 0.5, again with its auxiliary image, which no loss uses. Two
forward passes and six decodes; attention through its whole matrix; norms from single operations; torch's own
dropout and convolutions, of all channels; plain Adam.
"""

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from MSLFusionLib.nets.layers import (
    Attention,
    ConditionalInstanceNorm,
    Dropout,
    ImageConv,
    InstanceNormAffine,
    PatchProjection,
)
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.processor import HalvingConv
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.devices import device_name
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.draws import StepDraw, draw_slice
from MSLFusionTrainingLib.losses import (
    LossTerms,
    equal_weights,
    feature_loss,
    fusion_loss,
    reconstruction_loss,
    soft_clip,
)
from MSLFusionTrainingLib.objective import Objective
from MSLFusionTrainingLib.sensors import SensorSimulator
from MSLFusionTrainingLib.trainer import build_model


class ExplicitAttention(Attention):
    """Attention that makes its whole matrix."""

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """As Attention.forward."""
        n, length, _ = x.shape
        q, k, v = (part.reshape(n, length, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if keys is not None:
            scores = scores.masked_fill(~keys[:, None, None, :], -torch.inf)
        shares = F.dropout(scores.softmax(-1), self.dropout, self.training)
        out = (shares @ v).transpose(1, 2).reshape(n, length, -1)
        return F.dropout(self.out(out), self.dropout, self.training)


class UnfusedInstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation from single operations."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return _normalised(x, self.eps, False)


class UnfusedAffineNorm(InstanceNormAffine):
    """The same with a learned scale and shift."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return _normalised(x, 1e-5, False) * self.scale[:, None, None] + self.shift[:, None, None]


class UnfusedConditionalNorm(ConditionalInstanceNorm):
    """Equation 11 as it is written, of all channels: embedding, gamma and beta, norm, scale, shift."""

    def split(self, lam: Tensor, embed: nn.Linear) -> None:
        """No channel is left out."""
        return

    def forward(self, x: Tensor, lam: Tensor, embed: nn.Linear, *, rectify: bool = False) -> Tensor:
        """As ConditionalInstanceNorm.forward, for numbers (N, K, 1, 1)."""
        s = embed(lam[:, :, 0, 0])
        gamma, beta = self.gamma(s)[:, :, None, None], self.beta(s)[:, :, None, None]
        if self.relu:
            gamma, beta = F.relu(gamma), F.relu(beta)
        y = gamma * _normalised(x, 1e-5, self.unbiased) + beta
        return F.relu(y) if rectify else y


class PlainConv(nn.Conv2d):
    """A convolution as torch does it."""


class PlainDropout(Dropout):
    """Dropout as torch does it."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return F.dropout(x, self.share, self.training)


def _normalised(x: Tensor, eps: float, unbiased: bool) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    variance = x.var((2, 3), correction=int(unbiased), keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


_PUBLISHED: dict[type[nn.Module], type[nn.Module]] = {
    Attention: ExplicitAttention,
    nn.InstanceNorm2d: UnfusedInstanceNorm,
    InstanceNormAffine: UnfusedAffineNorm,
    ConditionalInstanceNorm: UnfusedConditionalNorm,
    ImageConv: PlainConv,
    HalvingConv: PlainConv,
    PatchProjection: PlainConv,
    Dropout: PlainDropout,
}


class PublishedObjective(nn.Module):
    """The terms of equation 20 the published way, of a copy of a network."""

    def __init__(self, model: MSL, config: TrainConfig) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.config = config
        for module in self.model.modules():
            # The same parameters under the published arithmetic.
            module.__class__ = _PUBLISHED.get(type(module), type(module))

    def forward(self, sensors: Tensor, truths: Tensor, present: Tensor) -> LossTerms:
        """sensors, truths: (N, 2, H, W); present: (N, 2) bool."""
        (ct, mr, aux_ct, aux_mr), groups = self._pass(sensors, present, (0.0, 1.0), (0.0, 1.0))
        (fused, _unused), _ = self._pass(sensors, present, (0.5,), (0.5,))
        aux = reconstruction_loss([aux_ct, aux_mr], truths)
        return LossTerms(
            reconstruction_loss([ct, mr], truths),
            fusion_loss(fused, equal_weights(2, truths.device), truths),
            feature_loss(groups.float(), 2),
            aux / 2 if self.config.aux_mean else aux,
        )

    def _pass(
        self, sensors: Tensor, present: Tensor, lams: tuple[float, ...], aux_lams: tuple[float, ...]
    ) -> tuple[list[Tensor], Tensor]:
        model = self.model
        features = model.features(sensors.split(1, 1))
        groups = model.interaction(features, None)
        latent = model.fuse(features, groups, torch.ones_like(present))
        seen = groups if self.config.aux == "leak" else model.interaction(features, present)
        alone = model.fuse(features, seen, present)
        images = [model.decode(latent, lam) for lam in lams] + [model.decode(alone, lam) for lam in aux_lams]
        return [soft_clip(image.float(), self.config.outside) for image in images], groups


def compare_steps(
    preset: str,
    size: int,
    batch: int,
    repeats: int,
    device: torch.device,
    compiled: bool = False,
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Seconds of a step, from sensor images to updated weights: the published way, ours, ours in bf16.

    size: pixels of a side, a multiple of 16; `repeats` steps of each, taken in turns, whose median counts. bf16 is
    left out where the processor has no instructions for it; the speed-up is over the published way in float32.
    processor_seconds: what all threads together computed, which other programs on the machine change less than the
    clock's seconds. sensors_seconds: what our step needs beside that to simulate the batch's sensors.
    products_gflops: how fast the device multiplies matrices of each precision, the most that a step can gain by it.
    """
    config = TrainConfig.from_dict({"preset": preset, "size": size, "batch": batch, "crop": 0})
    model = build_model(config).to(device).train()
    drawn = [draw_slice(config, StepDraw(None, False, 0), 0, place, 1) for place in range(batch)]
    truths = torch.rand((batch, 2, size, size), generator=torch.Generator().manual_seed(0)).to(device)
    simulator, generators = SensorSimulator(config, device), [torch.Generator(device) for _ in drawn]
    samplings = [one.sampling for one in drawn]
    sensors = simulator.images(truths, samplings, generators)  # the operators are made at their first use
    measuring = min(
        _seconds(lambda: simulator.images(truths, samplings, generators), device)[0] for _ in range(repeats)
    )
    present = torch.tensor([one.present for one in drawn], device=device)
    published = PublishedObjective(model, config).to(device)
    ours = Objective(model, config)
    plain = torch.optim.Adam(published.parameters(), config.learning_rate, config.betas, weight_decay=1e-4)
    fused = torch.optim.Adam(ours.parameters(), config.learning_rate, config.betas, weight_decay=1e-4, fused=True)
    steps: dict[tuple[str, str], Callable[[], object]] = {
        ("published", "float32"): lambda: _step(lambda: published(sensors, truths, present), plain, False, config),
        ("ours", "float32"): lambda: _step(lambda: ours(sensors, truths, None, present), fused, False, config),
    }
    if has_bf16(device):
        steps["ours", "bf16"] = lambda: _step(lambda: ours(sensors, truths, None, present), fused, True, config)
    if compiled:
        whole = torch.compile(ours)
        steps["ours, compiled", "float32"] = lambda: _step(
            lambda: whole(sensors, truths, None, present), fused, False, config
        )
    times: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in steps}
    memory: dict[tuple[str, str], float | None] = dict.fromkeys(steps)
    for turn in range(repeats + 1):
        for key, step in steps.items():
            job.step("benchmark", turn, repeats + 1)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            seconds = _seconds(step, device)
            if turn:  # the first of each warms up
                times[key].append(seconds)
            if device.type == "cuda":
                memory[key] = torch.cuda.max_memory_allocated(device) / 2**30
    rows = []
    base = [statistics.median(column) for column in zip(*times["published", "float32"], strict=True)]
    for (name, precision), found in times.items():
        seconds, computed = (statistics.median(column) for column in zip(*found, strict=True))
        row = {"step": name, "precision": precision, "seconds": seconds, "speed_up": base[0] / seconds}
        if device.type == "cpu":
            row |= {"processor_seconds": computed, "processor_speed_up": base[1] / computed}
        rows.append(row | {"hours_100000": seconds * 1e5 / 3600, "peak_gib": memory[name, precision]})
    return {
        "settings": {"preset": preset, "size": size, "batch": batch, "repeats": repeats, "device": device_name(device)},
        "steps": rows,
        "sensors_seconds": measuring,
        "products_gflops": _products(device),
    }


def _products(device: torch.device) -> dict[str, float]:
    """Products of matrices of 1024 x 1024 numbers, in 1e9 operations a second."""
    kinds = {"float32": torch.float32} | ({"bf16": torch.bfloat16} if has_bf16(device) else {})
    found: dict[str, float] = {}
    for name, kind in kinds.items():
        a, b = (torch.ones((1024, 1024), dtype=kind, device=device) for _ in range(2))
        found[name] = round(2 * 1024**3 / min(_seconds(lambda: a @ b, device)[0] for _ in range(10)) / 1e9)  # noqa: B023
    return found


def has_bf16(device: torch.device) -> bool:
    """Whether the processor or GPU computes in bfloat16 itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _step(
    objective: Callable[[], LossTerms], optimiser: torch.optim.Optimizer, bf16: bool, config: TrainConfig
) -> None:
    device = optimiser.param_groups[0]["params"][0].device
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        terms = objective()
    weights = (config.weight_reconstruction, config.weight_fusion, config.weight_aux, config.weight_feature)
    terms.total(*weights).backward()
    optimiser.step()


def _seconds(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of the clock and of all threads of this process."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start[0], time.process_time() - start[1]
