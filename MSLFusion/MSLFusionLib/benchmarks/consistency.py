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

    from MSLFusionLib.experiments.classical import Classical
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
    classical: "Classical | None" = None,
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Compare on `slices` slices of each pair (CT in HU and MR on one grid; one may be absent), spread evenly.

    Gives per image means of PSNR (at most 100 dB) and SSIM, mean and worst gain in dB over the sensor image of the
    same slice, and how many slices lose; what remains of the sinogram's residual; seconds per slice from measuring to
    corrected images. classical: also total variation of the same slices, and under "against_tv" by how much the
    corrected images are better: mean and worst in dB and SSIM, and in how many slices.
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
        chosen = source.occupied[places]
        smooth = _total_variation(classical, source, chosen, plan, modalities, job)
        for done, part in enumerate(chosen[:, None]):
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
                shown = {f"{side} {name}": reconstructor.hybrid(one, lam)[0, 0] for name, one in encoded.items()}
                arrays = {name: one.cpu().numpy() for name, one in {sensor: image[0, 0], **shown}.items()}
                if side in smooth:
                    arrays[f"TV {side}"] = smooth[side][done]
                found = {name: _score(array, truth[0]) for name, array in arrays.items()}
                for name, score in found.items():
                    scores.setdefault(name, []).append((*score, score[0] - found[sensor][0]))
            if ct is not None:
                residuals += _residual(reconstructor, source, part, encoded)
    job.step("compare", len(pairs) * slices, len(pairs) * slices)
    figures: dict[str, Any] = {"slices": len(seconds), "sampling": plan.to_dict(), "images": _rows(scores)}
    if classical is not None:
        figures["against_tv"] = [_against(side, scores) for side in ("CT", "MR") if f"TV {side}" in scores]
        figures["tv_weights"] = {
            f"TV {side}": classical.weight(f"TV {side}", plan, job) for side in ("CT", "MR") if f"TV {side}" in scores
        }
    if residuals:
        figures["sinogram_residual"] = {"mean": float(np.mean(residuals)), "worst": max(residuals)}
    figures["seconds_per_slice"] = float(np.median(seconds))
    return figures


_ORDER = ("FBP", "TV CT", "CT network", "CT consistent", "zero-filled", "TV MR", "MR network", "MR consistent")


def _rows(scores: dict[str, list[tuple[float, float, float]]]) -> list[dict[str, Any]]:
    rows = []
    for name in _ORDER:
        if name in scores:
            psnr, ssim, gain = np.array(scores[name]).T
            row = {"image": name, "psnr": float(psnr.mean()), "ssim": float(ssim.mean())}
            if name not in ("FBP", "zero-filled"):
                row |= {"gain_db": float(gain.mean()), "worst_db": float(gain.min()), "worse": int((gain < 0).sum())}
            rows.append(row)
    return rows


def _total_variation(
    classical: "Classical | None",
    source: "SliceSource",
    numbers: np.ndarray,
    plan: "SamplingPlan",
    modalities: Sequence[str],
    job: Job,
) -> dict[str, np.ndarray]:
    """Images (n, H, W) by total variation, of "CT" and "MR" as far as they are there."""
    from MSLFusionLib.recon.sources import VolumeSource

    if classical is None or not isinstance(source, VolumeSource):
        return {}
    return {
        side: classical.images(f"TV {side}", source, numbers, plan, job)
        for side in ("CT", "MR")
        if side.lower() in modalities
    }


def _against(side: str, scores: dict[str, list[tuple[float, float, float]]]) -> dict[str, Any]:
    lead = np.array(scores[f"{side} consistent"])[:, :2] - np.array(scores[f"TV {side}"])[:, :2]
    return {
        "image": side,
        "lead_db": float(lead[:, 0].mean()),
        "worst_db": float(lead[:, 0].min()),
        "slices_ahead": int((lead[:, 0] > 0).sum()),
        "lead_ssim": float(lead[:, 1].mean()),
        "worst_ssim": float(lead[:, 1].min()),
        "slices": len(lead),
    }


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
