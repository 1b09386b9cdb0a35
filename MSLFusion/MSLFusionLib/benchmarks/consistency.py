"""What data consistency is worth: sensor images, the network's and the corrected ones against the truth, by slice.

Whole network slices in [0, 1], sensors simulated. What counts is the worst slice as much as the mean: a network that is
better on average may still spoil what the measurement alone shows.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from MSLFusionLib import metrics
from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MSLFusionLib.recon.reconstructor import Encoded, Reconstructor
    from MSLFusionLib.recon.simulate import SamplingPlan
    from MSLFusionLib.recon.sources import SliceSource

HEADS = (900001, 900002, 900003)
_HEAD_SIZE, _HEAD_SPACING = (320, 320, 20), (0.8, 0.8, 8.5)
_CAP_DB = 100.0
"""Of a PSNR: beyond, two images are the same, and their difference in dB says nothing."""

Pair = tuple["sitk.Image | None", "sitk.Image | None"]


def generated(seeds: Sequence[int] = HEADS, job: Job = NO_JOB) -> list[Pair]:
    """CT and T1 of generated heads, 20 slices of each."""
    from MSLFusionLib.phantom import generate_head

    heads = (generate_head(seed, size=_HEAD_SIZE, spacing=_HEAD_SPACING, job=job) for seed in seeds)
    return [(head.ct, head.t1) for head in heads]


def run(
    reconstructor: "Reconstructor",
    pairs: Sequence[Pair],
    plan: "SamplingPlan",
    slices: int = 20,
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Compare on `slices` slices of each pair (CT in HU and MR on one grid; one may be absent), spread evenly.

    Gives per image means of PSNR (at most 100 dB) and SSIM, mean and worst gain in dB over the sensor image of the
    same slice, and how many slices lose; what remains of the sinogram's residual; seconds per slice from measuring to
    corrected images.
    Raises InputError for pairs that cannot be measured, Cancelled.
    """
    if slices < 1:
        raise InputError("The comparison needs at least one slice.")
    from MSLFusionLib.recon.consistency import Changes

    scores: dict[str, list[tuple[float, float, float]]] = {}
    residuals: list[float] = []
    seconds: list[float] = []
    for number, (ct, mr) in enumerate(pairs):
        modalities = [name for name, image in (("ct", ct), ("mr", mr)) if image is not None]
        source = reconstructor.source(ct=ct, mr=mr, plan=plan, modalities=modalities, job=job)
        places = np.linspace(0, len(source.occupied) - 1, min(slices, len(source.occupied))).round().astype(int)
        for done, part in enumerate(source.occupied[places][:, None]):
            job.step("compare", number * slices + done, len(pairs) * slices)
            # The first slice makes the operators' matrices.
            for _ in range(1 if done else 2):
                started = time.perf_counter()
                images, corrected = reconstructor.encoded(source, part, modalities, True, job)
            seconds.append(time.perf_counter() - started)
            encoded = {"network": replace(corrected, changes=Changes()), "consistent": corrected}
            truths = source.truth(part)
            for lam, side, sensor, image, truth in zip(
                (0.0, 1.0), ("CT", "MR"), ("FBP", "zero-filled"), images, truths, strict=True
            ):
                if image is None or truth is None:
                    continue
                own = _score(image[0, 0].cpu().numpy(), truth[0])
                scores.setdefault(sensor, []).append((*own, 0.0))
                for name, one in encoded.items():
                    found = _score(reconstructor.hybrid(one, lam)[0, 0].cpu().numpy(), truth[0])
                    scores.setdefault(f"{side} {name}", []).append((*found, found[0] - own[0]))
            if ct is not None:
                residuals += _residual(reconstructor, source, part, encoded)
    job.step("compare", len(pairs) * slices, len(pairs) * slices)
    rows = []
    for name in ("FBP", "CT network", "CT consistent", "zero-filled", "MR network", "MR consistent"):
        if name in scores:
            psnr, ssim, gain = np.array(scores[name]).T
            row = {"image": name, "psnr": float(psnr.mean()), "ssim": float(ssim.mean())}
            if name not in ("FBP", "zero-filled"):
                row |= {"gain_db": float(gain.mean()), "worst_db": float(gain.min()), "worse": int((gain < 0).sum())}
            rows.append(row)
    figures: dict[str, Any] = {"slices": len(seconds), "sampling": plan.to_dict(), "images": rows}
    if residuals:
        figures["sinogram_residual"] = {"mean": float(np.mean(residuals)), "worst": max(residuals)}
    figures["seconds_per_slice"] = float(np.median(seconds))
    return figures


def _score(image: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    return min(_CAP_DB, metrics.psnr(image, truth)), metrics.ssim(image, truth)


def _residual(
    reconstructor: "Reconstructor", source: "SliceSource", part: np.ndarray, encoded: "dict[str, Encoded]"
) -> list[float]:
    """The sinogram's residual of the corrected CT as a share of the network's; nothing where there is none."""
    from MSLFusionLib.physics.units import MU_MAX

    scanner, sinogram = source.scanners.ct, source.measure(part, reconstructor.device).sinogram
    assert scanner is not None
    assert sinogram is not None
    before, after = (
        float((scanner.forward(reconstructor.hybrid(encoded[name], 0.0) * MU_MAX) - sinogram).norm())
        for name in ("network", "consistent")
    )
    return [after / before] if before > 0 and math.isfinite(after) else []
