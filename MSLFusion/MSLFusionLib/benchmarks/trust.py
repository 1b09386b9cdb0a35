"""Whether trust maps deserve theirs: a tumour that only the MR shows, errors beside uncertainties, foreign inputs.

The heads are generated, of seeds that no model was trained on; their MR has a tumour and their CT has none. Slices
are those through the middle of the tumour. An image is compared with the truth over the whole slice and within the
head; the area under the curve (AUC) tells how well the uncertainty finds the tenth of the pixels whose |error| is
largest: 1 always, 0.5 by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MSLFusionLib.recon.reconstructor import Reconstructor
    from MSLFusionLib.recon.simulate import SamplingPlan
    from MSLFusionLib.recon.trust import TrustPlan

HEADS = (900011, 900012, 900013, 900014)
SETS = (("ct", "mr"), ("ct",), ("mr",))
Pair = tuple[np.ndarray | None, np.ndarray | None]
"""CT and MR of a slice, (H, W)."""
_TUMOUR = ("tumour", "tumour_rim", "necrosis", "oedema")
_CORE = ("tumour", "tumour_rim", "necrosis")
_RING_PIXELS = (4, 14)
_BODY = 0.05
_WORST = 90


@dataclass(frozen=True)
class TumourSlice:
    """ct without, mr with the tumour, float32 (H, W) in [0, 1]. core: its pixels; ring: brain around it."""

    seed: int
    ct: np.ndarray
    mr: np.ndarray
    core: np.ndarray
    ring: np.ndarray


def tumour_slice(seed: int, size: tuple[int, int], pixel_mm: float) -> TumourSlice:
    """The slice of a generated head that shows most of its tumour."""
    from scipy import ndimage

    from MSLFusionLib.phantom import LABELS, head_slices
    from MSLFusionLib.physics.units import hu_to_network

    shape = (size[1], size[0])
    heights = np.linspace(-4, 60, 9)
    coarse = head_slices(seed, heights.tolist(), (64, 64), pixel_mm * size[0] / 64, tumour=True)
    codes = [LABELS[name] for name in _CORE if name in LABELS]
    height = float(heights[np.isin(coarse["labels"], codes).sum((1, 2)).argmax()])
    ill = head_slices(seed, [height, -40.0, 0.0], shape, pixel_mm, tumour=True)
    well = head_slices(seed, [height], shape, pixel_mm, tumour=False)
    mr = ill["t1"].astype(np.float32)
    low, high = np.percentile(mr[mr > 0.05 * mr.max()], (0.5, 99.5))
    labels = ill["labels"][0]
    core = ndimage.binary_erosion(np.isin(labels, codes), iterations=2)
    if not core.any():
        raise InputError(f"The tumour of the generated head {seed} cannot be seen in any slice: choose another.")
    lesion = np.isin(labels, [LABELS[name] for name in _TUMOUR if name in LABELS])
    near, far = (ndimage.binary_dilation(lesion, iterations=n) for n in _RING_PIXELS)
    brain = np.isin(labels, [LABELS[name] for name in ("white_matter", "grey_matter") if name in LABELS])
    return TumourSlice(
        seed,
        hu_to_network(well["ct"][0].astype(np.float32)),
        np.clip((mr[0] - low) / (high - low), 0.0, 1.0).astype(np.float32),
        core,
        far & ~near & brain,
    )


def contrast(image: np.ndarray, one: TumourSlice) -> float:
    """Mean of the tumour's core minus mean of the brain around it."""
    return float(image[one.core].mean() - image[one.ring].mean())


def area_under_curve(score: np.ndarray, positive: np.ndarray) -> float:
    """Of the receiver's operating characteristic, by ranks (Hanley & McNeil, Radiology 143:29, 1982); 0.5 where there
    is only one kind."""
    from scipy import stats

    ranks, ones = stats.rankdata(score), int(positive.sum())
    zeros = positive.size - ones
    if not ones or not zeros:
        return 0.5
    return float((ranks[positive.ravel()].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def run(
    reconstructor: "Reconstructor",
    plan: "SamplingPlan",
    trust: "TrustPlan",
    seeds: Sequence[int] = HEADS,
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Figures of CT and MR from both modalities and from either alone, means over the heads.

    images: mae in the head; expected, the mean of the uncertainty there; auc of the whole slice and auc_head within
    it, with the worst head's. tumour: its contrast in the MR that is measured and in those reconstructed.
    Raises InputError for heads without a visible tumour, Cancelled.
    """
    table = _Table()
    contrasts: dict[str, list[float]] = {}
    for done, seed in enumerate(seeds):
        one = tumour_slice(int(seed), reconstructor.options().size, reconstructor.options().pixel_mm)
        contrasts.setdefault("measured MR", []).append(contrast(one.mr, one))
        for part, seen in enumerate(SETS):
            job.step("trust", done * len(SETS) + part, len(seeds) * len(SETS))
            pixel = reconstructor.options().pixel_mm
            images = table.see(reconstructor, (one.ct, one.mr), pixel, plan, trust, seen, one.seed, job)
            contrasts.setdefault(f"MR from {_names(seen)}", []).append(contrast(images["mr"], one))
    job.step("trust", len(seeds) * len(SETS), len(seeds) * len(SETS))
    truth_contrast = np.array(contrasts["measured MR"])
    tumour = [
        {
            "image": name,
            "contrast": float(np.mean(found)),
            "share": float(np.mean(np.array(found) / truth_contrast)),
            "largest_share": float(np.max(np.abs(np.array(found) / truth_contrast))),
        }
        for name, found in contrasts.items()
        if name != "MR from MR"
    ]
    return {
        "heads": list(map(int, seeds)),
        "sampling": plan.to_dict(),
        "passes": trust.passes,
        "images": table.rows(),
        "tumour": tumour,
    }


def errors(
    reconstructor: "Reconstructor",
    ct: "sitk.Image | None",
    mr: "sitk.Image | None",
    plan: "SamplingPlan",
    trust: "TrustPlan",
    slices: int = 3,
    job: Job = NO_JOB,
) -> list[dict[str, Any]]:
    """The rows "images" of `run` for a CT and an MR on one grid, or one of them, of slices evenly over the middle half
    of them."""
    given = [kind for kind, image in (("ct", ct), ("mr", mr)) if image is not None]
    sets = [seen for seen in SETS if set(seen) <= set(given)]
    source = reconstructor.source(ct=ct, mr=mr, plan=plan, modalities=given)
    count = len(source.occupied)
    numbers = source.occupied[np.linspace(count / 4, 3 * (count - 1) / 4, slices).round().astype(int)]
    table = _Table()
    for done, number in enumerate(numbers.tolist()):
        truth = [None if image is None else image[0] for image in source.truth(np.array([number]))]
        for part, seen in enumerate(sets):
            job.step("trust", done * len(sets) + part, slices * len(sets))
            pair = (truth[0], truth[1])
            table.see(reconstructor, pair, source.grid.pixel_mm, plan, trust, seen, number, job)
    job.step("trust", slices * len(sets), slices * len(sets))
    return table.rows()


class _Table:
    """Errors beside uncertainties, image by image."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[float, float, float, float]]] = {}
        self._calibrated = True

    def see(
        self,
        reconstructor: "Reconstructor",
        pair: Pair,
        pixel_mm: float,
        plan: "SamplingPlan",
        trust: "TrustPlan",
        seen: Sequence[str],
        number: int,
        job: Job,
    ) -> dict[str, np.ndarray]:
        """One slice from some of its modalities: its CT and MR, (H, W)."""
        images, maps, calibrated = reconstructed(reconstructor, pair, plan, trust, seen, pixel_mm, number, job)
        self._calibrated &= calibrated
        truths = {kind: truth for kind, truth in zip(("ct", "mr"), pair, strict=True) if truth is not None}
        head = np.any([truth > _BODY for truth in truths.values()], axis=0)
        for kind, truth in truths.items():
            error, uncertainty = np.abs(images[kind] - truth), maps[f"uncertainty-{kind}"]
            whole = area_under_curve(uncertainty, error > np.percentile(error, _WORST))
            inside = area_under_curve(uncertainty[head], error[head] > np.percentile(error[head], _WORST))
            found = (float(error[head].mean()), float(uncertainty[head].mean()), whole, inside)
            self._rows.setdefault(f"{kind.upper()} from {_names(seen)}", []).append(found)
        return images

    def rows(self) -> list[dict[str, Any]]:
        """Means over the slices, and the worst slice's areas under the curve."""
        rows = []
        for title, values in self._rows.items():
            error, expected, whole, inside = np.mean(values, axis=0).tolist()
            worst = np.min(values, axis=0).tolist()
            row = {"image": title, "mae": error, "expected" if self._calibrated else "spread": expected}
            areas = {"auc": whole, "auc_worst": worst[2], "auc_head": inside, "auc_head_worst": worst[3]}
            rows.append(row | areas)
        return rows


def _names(seen: Sequence[str]) -> str:
    return " and ".join(kind.upper() for kind in seen)


def reconstructed(
    reconstructor: "Reconstructor",
    pair: Pair,
    plan: "SamplingPlan",
    trust: "TrustPlan",
    seen: Sequence[str],
    pixel_mm: float,
    number: int = 0,
    job: Job = NO_JOB,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], bool]:
    """CT and MR, the trust maps by kind, all (H, W), and whether the uncertainty is an expected error.

    pair: CT and MR of a slice, float32 (H, W) in [0, 1], None for one that is not among those seen. number: of the
    slice, which its noise depends on.
    """
    import torch

    from MSLFusionLib.recon.noise_level import SensorNoise
    from MSLFusionLib.recon.simulate import Scanners
    from MSLFusionLib.recon.trust import Measured, TrustSummary, trust_maps

    device = reconstructor.device
    rows, columns = next(image.shape for image in pair if image is not None)
    size = int(rows), int(columns)
    scanners = Scanners.of_plan(plan, size, pixel_mm, str(device), seen, reconstructor.official_fbp)
    ct, mr = (
        torch.from_numpy(np.ascontiguousarray(image))[None, None].to(device)
        if image is not None and kind in seen
        else None
        for kind, image in zip(("ct", "mr"), pair, strict=True)
    )
    noise = SensorNoise(plan.photons, plan.kspace_sigma)
    with torch.inference_mode():
        data = scanners.measure(ct, mr, [number])
        images = scanners.images(data)
        encoded = reconstructor.encoded_from(scanners, data, noise, images, seen, True, job)
    measured = Measured(scanners, data, noise, images, encoded, seen)
    summary = TrustSummary(trust)
    maps = trust_maps(reconstructor, measured, trust, reconstructor.errors, summary, job)
    found = {kind: reconstructor.hybrid(encoded, lam)[0, 0].cpu().numpy() for kind, lam in (("ct", 0.0), ("mr", 1.0))}
    calibrated = all(values["calibrated"] for values in summary.to_dict()["uncertainty"].values())
    return found, {kind: slices[0, 0].cpu().numpy() for kind, slices in maps.items()}, calibrated


def noise_like(ct: "sitk.Image", mr: "sitk.Image", seed: int = 0) -> "tuple[sitk.Image, sitk.Image]":
    """Uniform noise in the place and the range of a CT and an MR."""
    import SimpleITK as sitk

    random = np.random.default_rng([seed, 0x2015])
    found = []
    for image in (ct, mr):
        values = sitk.GetArrayViewFromImage(image)
        noise = sitk.GetImageFromArray(random.uniform(values.min(), values.max(), values.shape).astype(np.float32))
        noise.CopyInformation(image)
        found.append(noise)
    return found[0], found[1]


def familiarity(
    reconstructor: "Reconstructor",
    volumes: "Sequence[tuple[str, sitk.Image | None, sitk.Image | None]]",
    plan: "SamplingPlan",
    slices: int = 12,
    job: Job = NO_JOB,
) -> list[dict[str, Any]]:
    """Out-of-distribution scores of volumes (name, CT, MR on one grid), on some slices of each, evenly spread."""
    from MSLFusionLib.recon.familiarity import Judge

    rows = []
    for number, (name, ct, mr) in enumerate(volumes):
        modalities = [kind for kind, image in (("ct", ct), ("mr", mr)) if image is not None]
        source = reconstructor.source(ct=ct, mr=mr, plan=plan, modalities=modalities)
        judge = Judge(reconstructor.statistics(source, modalities))
        places = np.linspace(0, len(source.occupied) - 1, min(slices, len(source.occupied))).round().astype(int)
        for done, part in enumerate(source.occupied[places][:, None]):
            job.step("familiarity", number * slices + done, len(volumes) * slices)
            judge.see(part.tolist(), reconstructor.encode(reconstructor.measure(source, part, job), modalities))
        verdict = judge.verdict()
        row = {"input": name, "from": _names(modalities), "score": verdict.score}
        rows.append(row | {"beyond": verdict.beyond, "slices": verdict.slices})
    return rows
