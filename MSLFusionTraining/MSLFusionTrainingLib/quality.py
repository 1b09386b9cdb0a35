"""How good a network is: sensor images and network against ground truth on heads it never saw."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.metrics import mae, mutual_information, psnr, ssim
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionTrainingLib.data import SliceSet
from MSLFusionTrainingLib.sensors import Sampling, SensorSimulator

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0)


@torch.inference_mode()
def evaluate(
    model: MSL,
    heads: SliceSet,
    simulator: SensorSimulator,
    sampling: Sampling,
    *,
    single: bool = True,
    batch: int = 4,
    limit: int | None = None,
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Means over slices, whole slice, images in [0, 1].

    Returns {"ct": {"fbp", "network", "gain_db"}, "mr": {"zero_filled", "network", "gain_db"}, "lambda": [rows],
    "single": {...}}; each image has mae, psnr, ssim. `lambda` rows hold mae and mutual information (256 bins, nats)
    to both truths. `single`: also with one modality alone. limit: number of slices, spread evenly.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    count = len(heads) if limit is None else min(limit, len(heads))
    indices = torch.linspace(0, len(heads) - 1, count).round().long()
    generator = torch.Generator(device).manual_seed(0)
    sums: dict[str, list[dict[str, float]]] = {}
    rows: dict[float, list[tuple[float, ...]]] = {lam: [] for lam in LAMBDAS}
    for start in range(0, count, batch):
        job.step("validate", start, count)
        ct, mr = heads.batch(indices[start : start + batch], device)
        fbp, zero_filled = simulator.images(ct, mr, sampling, generator)
        latent = model.encode(fbp, zero_filled)
        images = {lam: model.decode(latent, lam) for lam in LAMBDAS}
        _collect(sums, "fbp", fbp, ct)
        _collect(sums, "zero_filled", zero_filled, mr)
        _collect(sums, "ct", images[0.0], ct)
        _collect(sums, "mr", images[1.0], mr)
        for lam, image in images.items():
            for x, a, b in zip(_arrays(image), _arrays(ct), _arrays(mr), strict=True):
                rows[lam].append((mae(x, a), mae(x, b), mutual_information(x, a), mutual_information(x, b)))
        if single:
            only_ct, only_mr = model.encode(fbp, None), model.encode(None, zero_filled)
            _collect(sums, "ct_from_ct", model.decode(only_ct, 0.0), ct)
            _collect(sums, "mr_from_ct", model.decode(only_ct, 1.0), mr)
            _collect(sums, "ct_from_mr", model.decode(only_mr, 0.0), ct)
            _collect(sums, "mr_from_mr", model.decode(only_mr, 1.0), mr)
    job.step("validate", count, count)
    model.train(was_training)
    means = {
        key: {name: float(np.mean([v[name] for v in values])) for name in values[0]} for key, values in sums.items()
    }
    names = ("mae_ct", "mae_mr", "mi_ct", "mi_mr")
    result: dict[str, Any] = {
        "slices": count,
        "ct": {
            "fbp": means["fbp"],
            "network": means["ct"],
            "gain_db": means["ct"]["psnr"] - means["fbp"]["psnr"],
        },
        "mr": {
            "zero_filled": means["zero_filled"],
            "network": means["mr"],
            "gain_db": means["mr"]["psnr"] - means["zero_filled"]["psnr"],
        },
        "lambda": [
            {"lambda": lam, **dict(zip(names, map(float, np.mean(values, 0)), strict=True))}
            for lam, values in rows.items()
        ],
    }
    if single:
        result["single"] = {key: means[key] for key in ("ct_from_ct", "mr_from_ct", "ct_from_mr", "mr_from_mr")}
    return result


def _collect(sums: dict[str, list[dict[str, float]]], name: str, images: Tensor, truth: Tensor) -> None:
    for x, t in zip(_arrays(images), _arrays(truth), strict=True):
        sums.setdefault(name, []).append({"mae": mae(x, t), "psnr": psnr(x, t), "ssim": ssim(x, t)})


def _arrays(images: Tensor) -> list[np.ndarray]:
    return list(images[:, 0].float().cpu().numpy())
