"""What networks that restore and enlarge an MR contrast are worth beside zero-filling and bicubic enlargement.

Whole volumes, measured in simulation at a lower resolution; figures as recon.restore_measure gives them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from MSLFusionLib.progress import NO_JOB, Job

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MSLFusionLib.recon.restore import Restored, Restorer
    from MSLFusionLib.recon.targets import RestorePlan

HEADS = (900001, 900002, 900003)
_SIZE, _PIXEL_MM, _SLICES = 256, 1.0, 20
_LOW_MM, _STEP_MM = -75.0, 8.5
_BASELINE = "zero-filled, bicubic"

Pair = tuple["sitk.Image", "sitk.Image"]


def generated(contrasts: Sequence[str], seeds: Sequence[int] = HEADS, job: Job = NO_JOB) -> list[Pair]:
    """Auxiliary and target of generated heads: 20 thin slices of each, 1 mm pixels."""
    import SimpleITK as sitk

    from MSLFusionLib.phantom import head_slices

    places = _LOW_MM + _STEP_MM * np.arange(_SLICES)
    side = -(_SIZE - 1) / 2 * _PIXEL_MM
    pairs = []
    for done, seed in enumerate(seeds):
        job.step("generate", done, len(seeds))
        head = head_slices(seed, places.tolist(), (_SIZE, _SIZE), _PIXEL_MM, job=Job(cancelled=job.cancelled))
        images = []
        for name in contrasts:
            image = sitk.GetImageFromArray(head[name].astype(np.float32))
            image.SetSpacing((_PIXEL_MM, _PIXEL_MM, _STEP_MM))
            image.SetOrigin((side, side, _LOW_MM))
            images.append(image)
        pairs.append((images[0], images[1]))
    return pairs


def run(
    restorers: Sequence["Restorer"],
    pairs: Sequence[Pair],
    plan: "RestorePlan",
    consistency: bool = False,
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Compare networks on pairs of volumes (auxiliary, target), which lie on one grid.

    Gives a row for zero-filling with bicubic enlargement at each scale, and one for each network: means over the
    volumes of PSNR, SSIM and NMSE, restored against the low-resolution truth and super-resolved against the fine one,
    and the smallest gain in dB of a volume over the first row. consistency: also a row of the images that were
    corrected towards the measurement. Raises InputError for pairs that cannot be measured, Cancelled.
    """
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    total, done = len(restorers) * len(pairs) * (1 + consistency), 0
    for restorer in restorers:
        for auxiliary, target in pairs:
            for corrected in (False, True)[: 1 + consistency]:
                job.step("compare", done, total)
                done += 1
                result = restorer.restore(
                    restorer.volume_target(target, plan), auxiliary, corrected, job=Job(cancelled=job.cancelled)
                )
                figures = _figures(result, job)
                name = f"{restorer.name}, corrected" if corrected else restorer.name
                found.setdefault((restorer.scale, name), []).append(figures["network"])
                baseline = found.setdefault((restorer.scale, _BASELINE), [])
                if not corrected and len(baseline) < len(pairs):
                    baseline.append(figures[_BASELINE])
    job.step("compare", total, total)
    names = {scale: [name for at, name in found if at == scale and name != _BASELINE] for scale, _ in found}
    rows = []
    for scale in sorted(names):
        baseline = found[scale, _BASELINE]
        for name in (_BASELINE, *names[scale]):
            rows.append({"scale": scale, "method": name, **_mean(found[scale, name], baseline)})
    return {"volumes": len(pairs), "plan": plan.to_dict(), "images": rows}


def _figures(result: "Restored", job: Job) -> dict[str, dict[str, float]]:
    """Of both images of the network, and of zero-filling with bicubic enlargement."""
    from MSLFusionLib.recon.restore import BICUBIC, RESTORED, SUPER_RESOLVED, ZERO_FILLED
    from MSLFusionLib.recon.restore_measure import measure

    rows = {row["image"]: row for row in measure(result, Job(cancelled=job.cancelled))}

    def both(low: str, fine: str) -> dict[str, float]:
        kinds = (("low", low), ("fine", fine))
        return {f"{key} {name}": rows[kind][key] for name, kind in kinds for key in ("psnr", "ssim", "nmse")}

    return {"network": both(RESTORED, SUPER_RESOLVED), _BASELINE: both(ZERO_FILLED, BICUBIC)}


def _mean(rows: Sequence[dict[str, float]], baseline: Sequence[dict[str, float]]) -> dict[str, float]:
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    gains = [row["psnr fine"] - other["psnr fine"] for row, other in zip(rows, baseline, strict=True)]
    return {**mean, "least gain dB": min(gains)}
