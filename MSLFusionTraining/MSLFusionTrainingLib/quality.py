"""How good a network is: sensor images and network against ground truth on slices it never saw."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.metrics import mae, mutual_information, psnr, ssim
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.consistent import corrected
from MSLFusionTrainingLib.data import Slices
from MSLFusionTrainingLib.draws import Sampling
from MSLFusionTrainingLib.sensors import Scan, SensorSimulator

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0)
SENSOR_NAMES = {"fan-beam": "fbp", "fourier": "zero_filled", "image": "image"}
PROBES = 3
"""Slices that are stored with a checkpoint, see `probe`."""


@torch.inference_mode()
def evaluate(
    model: MSL,
    slices: Slices,
    simulator: SensorSimulator,
    sampling: Sampling,
    *,
    single: bool = True,
    batch: int = 4,
    limit: int | None = None,
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Means over slices, whole slice, images in [0, 1].

    Returns, for CT and MR, {"ct": {"fbp", "network", "gain_db"}, "mr": {"zero_filled", "network", "gain_db"},
    "lambda": [rows], "single": {...}}, for other modalities the same under their names; each image has mae, psnr,
    ssim, mi (mutual information with the truth, 256 bins, nats). CT in a fan beam and MR in k-space also have
    "corrected", after data consistency, which is what users get. `lambda` rows hold mae and mi to every truth; with
    more than two modalities their lambda is a list of weights. `single`: also with one modality alone, as
    "mr_from_ct". limit: number of slices, spread evenly.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    roles = simulator.config.roles
    corrects = roles == ("ct", "mr") and simulator.config.measured == ("fan-beam", "fourier")
    names = dict(zip(roles, (SENSOR_NAMES[end] for end in simulator.config.measured), strict=True))
    dials = _dials(len(roles))
    sums: dict[tuple[str, str], list[dict[str, float]]] = {}
    rows: list[list[list[float]]] = [[] for _ in dials]
    indices = _spread(len(slices), limit)
    for start in range(0, len(indices), batch):
        job.step("validate", start, len(indices))
        truths = slices.batch(indices[start : start + batch], device)
        generators = _generators(len(truths), device)
        scans: list[Scan] = []
        if corrects:
            sensors, scans = simulator.scans(truths, [sampling] * len(truths), generators)
        else:
            sensors = simulator.images(truths, [sampling] * len(truths), generators)
        latent = model.encode(*sensors.split(1, 1))
        images = model.decode_all(latent, [torch.tensor([dial], device=device) for dial in dials])
        for image, found in zip(images, rows, strict=True):
            found += _against_all(image, truths)
        after = corrected(model, scans, sensors, (images[0], images[-1])) if scans else None
        for m, role in enumerate(roles):
            _collect(sums, (role, names[role]), sensors[:, m], truths[:, m])
            _collect(sums, (role, "network"), images[dials.index(_corner(m, len(roles)))][:, 0], truths[:, m])
            if after is not None:
                _collect(sums, (role, "corrected"), after[m][:, 0], truths[:, m])
            if single:
                alone = model.encode(*(sensors[:, i : i + 1] if i == m else None for i in range(len(roles))))
                for other, image in enumerate(model.decode_all(alone, _corners(len(roles), device))):
                    _collect(sums, ("single", f"{roles[other]}_from_{role}"), image[:, 0], truths[:, other])
    job.step("validate", len(indices), len(indices))
    model.train(was_training)
    result: dict[str, Any] = {"slices": len(indices)}
    for (group, name), values in sums.items():
        result.setdefault(group, {})[name] = {key: float(np.mean([v[key] for v in values])) for key in values[0]}
    for role in roles:
        result[role]["gain_db"] = result[role]["network"]["psnr"] - result[role][names[role]]["psnr"]
    keys = [f"{kind}_{role}" for kind in ("mae", "mi") for role in roles]
    result["lambda"] = [
        {"lambda": dial[1] if len(roles) == 2 else list(dial), **dict(zip(keys, np.mean(v, 0).tolist(), strict=True))}
        for dial, v in zip(dials, rows, strict=True)
    ]
    return result


def score(result: dict[str, Any], roles: Sequence[str]) -> float:
    """The figure by which checkpoints are compared: the mean PSNR over modalities."""
    return float(np.mean([result[role].get("corrected", result[role]["network"])["psnr"] for role in roles]))


@torch.inference_mode()
def picture(model: MSL, slices: Slices, simulator: SensorSimulator, sampling: Sampling) -> list[list[np.ndarray]]:
    """The middle slice: for each modality its sensor image, the network's and the truth, each (H, W)."""
    device = next(model.parameters()).device
    truths = slices.batch(torch.tensor([len(slices) // 2]), device)
    sensors = simulator.images(truths, [sampling], _generators(1, device))
    images = _decoded(model, sensors)
    parts = [np.asarray(x[0].float().cpu()) for x in (sensors, images, truths)]
    return [[part[m] for part in parts] for m in range(truths.shape[1])]


@torch.inference_mode()
def probe(slices: Slices, simulator: SensorSimulator, sampling: Sampling) -> dict[str, Tensor]:
    """Three slices with their sensor images, (3, n, H, W) each, by which a checkpoint can prove itself later."""
    truths = slices.batch(_spread(len(slices), PROBES), simulator.device)
    sensors = simulator.images(truths, [sampling] * len(truths), _generators(len(truths), simulator.device))
    return {"truths": truths, "sensors": sensors}


@torch.inference_mode()
def probe_figures(model: MSL, stored: dict[str, Tensor], roles: Sequence[str]) -> dict[str, dict[str, float]]:
    """{role: {"mae", "psnr"}} of a network on stored slices, float32 on the network's device."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    images = torch.cat([_probed(model, one.to(device)) for one in stored["sensors"].split(1)])
    model.train(was_training)
    errors = (images - stored["truths"].to(device)).double()
    return {
        role: {
            "mae": float(errors[:, m].abs().mean()),
            "psnr": float(-10 * errors[:, m].square().mean().clamp_min(1e-12).log10()),
        }
        for m, role in enumerate(roles)
    }


def _decoded(model: MSL, sensors: Tensor) -> Tensor:
    """Every modality as the network sees it, (N, n, H, W)."""
    was_training = model.training
    model.eval()
    latent = model.encode(*sensors.split(1, 1))
    images = torch.cat(model.decode_all(latent, _corners(sensors.shape[1], sensors.device)), 1)
    model.train(was_training)
    return images


def _probed(model: MSL, sensors: Tensor) -> Tensor:
    """Every modality as the network sees it, (1, n, H, W), after one of its learned steps where it has them."""
    images = _decoded(model, sensors)
    refiner = getattr(model, "refiner", None)
    if refiner is None:
        return images
    return torch.cat(refiner(images.split(1, 1), [None] * images.shape[1], sensors.split(1, 1)), 1)


def _spread(available: int, limit: int | None) -> Tensor:
    count = available if limit is None else min(limit, available)
    return torch.linspace(0, available - 1, count).round().long()


def _generators(count: int, device: torch.device) -> list[torch.Generator]:
    return [torch.Generator(device).manual_seed(i) for i in range(count)]


def _dials(modalities: int) -> list[tuple[float, ...]]:
    """The weights that are measured: five lambdas of two modalities, else each alone and all together."""
    if modalities == 2:
        return [(1 - lam, lam) for lam in LAMBDAS]
    return [*(_corner(m, modalities) for m in range(modalities)), (1 / modalities,) * modalities]


def _corner(modality: int, modalities: int) -> tuple[float, ...]:
    return tuple(float(m == modality) for m in range(modalities))


def _corners(modalities: int, device: torch.device) -> list[Tensor]:
    return [torch.tensor([_corner(m, modalities)], device=device) for m in range(modalities)]


def _against_all(images: Tensor, truths: Tensor) -> list[list[float]]:
    """For every slice MAE, then mutual information, to every truth."""
    out = []
    for x, targets in zip(_arrays(images[:, 0]), truths, strict=True):
        arrays = _arrays(targets)
        out.append([*(mae(x, t) for t in arrays), *(mutual_information(x, t) for t in arrays)])
    return out


def _collect(
    sums: dict[tuple[str, str], list[dict[str, float]]], key: tuple[str, str], images: Tensor, truths: Tensor
) -> None:
    for x, t in zip(_arrays(images), _arrays(truths), strict=True):
        figures = {"mae": mae(x, t), "psnr": psnr(x, t), "ssim": ssim(x, t), "mi": mutual_information(x, t)}
        sums.setdefault(key, []).append(figures)


def _arrays(images: Tensor) -> list[np.ndarray]:
    return list(images.float().cpu().numpy())
