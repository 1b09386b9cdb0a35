"""How far the images of a reconstruction can be trusted, voxel by voxel.

Residual: what the network's image, before it is corrected, has against the measurement (recon.residual).
That image is looked at since a corrected one follows the data as far as it can: its map would be empty wherever the
network was set right. What remains after the correction is given in figures.

Uncertainty: the reconstruction is done again from random parts of the data (recon.resampled), with dropout where the
network has any. s^2, the mean squared difference to the image that is delivered, from all data, is put on the scale of
errors by what the model has learned of its errors (recon.expected_error); without that it is s itself, averaged over
a neighbourhood, and no error in size. Since the delivered image holds what was left out, s has the error of predicting
it as well as the spread. Only sums over the passes are kept.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.error_model import SIGMAS, blurred
from MSLFusionLib.recon.expected_error import Evidence, ExpectedErrors
from MSLFusionLib.recon.noise_level import SensorNoise
from MSLFusionLib.recon.resampled import GROUP, part_of
from MSLFusionLib.recon.residual import Residual, residuals
from MSLFusionLib.recon.simulate import Scanners, SensorBatch

if TYPE_CHECKING:
    from MSLFusionLib.recon.reconstructor import Encoded, Reconstructor
    from MSLFusionLib.recon.sources import SliceSource

PASSES = 4
MOST_PASSES = 100
UNCERTAINTY_CT, UNCERTAINTY_MR = "uncertainty-ct", "uncertainty-mr"
RESIDUAL_CT, RESIDUAL_MR = "residual-ct", "residual-mr"
KINDS = (UNCERTAINTY_CT, UNCERTAINTY_MR, RESIDUAL_CT, RESIDUAL_MR)
"""The volumes of a trust map, as kinds of recon.outputs; in units of the images, [0, 1]."""

_ENDS = {"ct": 0.0, "mr": 1.0}
_INSIDE = 0.05
"""A pixel counts in summaries where one of the two images is brighter than this."""
_BINS = 1000


@dataclass(frozen=True)
class TrustPlan:
    """passes: reconstructions from parts of the data, 2 or more. seed: of what is left out. Raises InputError."""

    passes: int = PASSES
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.passes, bool) or not isinstance(self.passes, int) or not 2 <= self.passes <= MOST_PASSES:
            raise InputError(f"Trust maps need 2 to {MOST_PASSES} passes, not {self.passes}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"The seed must be a whole number, 0 or more, not {self.seed}.")


def on_grid(source: "SliceSource", kind: str, numbers: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """Network slices (n, H, W) of a map on the volume's grid (n, rows, columns), turned as the network's slices are.

    The body outside of the field of view is as uncertain as can be: 1.
    """
    block = source.grid.from_network(slices)
    body = getattr(source, "body", None)
    if kind in (UNCERTAINTY_CT, UNCERTAINTY_MR) and body is not None and source.grid.fraction_outside(body) > 0:
        covered = source.grid.from_network(np.ones((1, *source.grid.size), np.float32))[0] > 0.5
        block[source.grid.turned(body)[numbers] & ~covered] = 1.0
    return block


@dataclass(frozen=True)
class Measured:
    """Some slices as they were measured and encoded.

    images: sensor images as Scanners.images gives them. modalities: those that the network may see.
    """

    scanners: Scanners
    data: SensorBatch
    noise: SensorNoise
    images: tuple[Tensor | None, Tensor | None]
    encoded: "Encoded"
    modalities: Sequence[str] = ("ct", "mr")
    consistency: bool = True

    @property
    def seen(self) -> tuple[str, ...]:
        """The modalities that the images were made from."""
        return tuple(
            name
            for name, image in zip(_ENDS, self.images, strict=True)
            if image is not None and name in self.modalities
        )


def evidence_of(reconstructor: "Reconstructor", measured: Measured, plan: TrustPlan, job: Job = NO_JOB) -> Evidence:
    """What tells of the errors of some slices, reconstructed again from parts of their data as the plan says.

    What is left out in a pass depends on the plan's seed and the pass alone. Raises Cancelled between the passes.
    """
    delivered = {name: reconstructor.hybrid(measured.encoded, lam) for name, lam in _ENDS.items()}
    sums = {name: torch.zeros_like(image) for name, image in delivered.items()}
    for number in range(plan.passes):
        job.check()
        scanners, data = part_of(measured.scanners, measured.data, np.random.default_rng([plan.seed, number]))
        with _dropout(reconstructor.model, plan.seed + number), torch.inference_mode():
            images = scanners.images(data)
            encoded = reconstructor.encoded_from(
                scanners, data, measured.noise, images, measured.modalities, measured.consistency, job
            )
        for name, lam in _ENDS.items():
            sums[name] += (reconstructor.hybrid(encoded, lam) - delivered[name]).square()
    return Evidence(
        measured.seen,
        delivered,
        {name: reconstructor.decode(measured.encoded.latent, lam) for name, lam in _ENDS.items()},
        {name: total / plan.passes for name, total in sums.items()},
        {name: image if name in measured.seen else None for name, image in zip(_ENDS, measured.images, strict=True)},
    )


def trust_maps(
    reconstructor: "Reconstructor",
    measured: Measured,
    plan: TrustPlan,
    errors: ExpectedErrors,
    summary: "TrustSummary",
    job: Job = NO_JOB,
) -> dict[str, Tensor]:
    """The maps of some slices by kind, each (n, 1, H, W) in [0, 1]; their figures are added to `summary`.

    errors: what the model knows of them; where that is nothing the spread is what is given.
    """
    with torch.inference_mode():
        evidence = evidence_of(reconstructor, measured, plan, job)
        delivered = evidence.delivered
        shown = {name: image if name in measured.seen else None for name, image in evidence.network.items()}
        before = residuals(measured.scanners, measured.data, measured.noise, shown["ct"], shown["mr"])
        job.check()
        shown = {name: image if name in measured.seen else None for name, image in delivered.items()}
        after = residuals(measured.scanners, measured.data, measured.noise, shown["ct"], shown["mr"])
        inside = (delivered["ct"] > _INSIDE) | (delivered["mr"] > _INSIDE)
        maps = {f"residual-{name}": residual.map for name, residual in before.items()}
        expected = errors.of(evidence)
        for name, changed in evidence.variance.items():
            spread = blurred(changed, SIGMAS[0]).sqrt().clamp(0.0, 1.0)
            maps[f"uncertainty-{name}"] = expected.get(name, spread)
        # Last, when nothing can fail any more: a batch that does not fit the memory comes again in parts.
        for name in _ENDS:
            summary.see_uncertainty(name, maps[f"uncertainty-{name}"][inside], name in expected)
        for name, residual in before.items():
            summary.see_residual(name, residual, after[name], residual.map[inside])
        return maps


class _Values:
    """Mean and percentiles of values in [0, 1] that come in parts."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self._sum = 0.0

    def see(self, values: Tensor) -> None:
        found = values.float().cpu().numpy()
        self._counts += np.histogram(found, _BINS, (0.0, 1.0))[0]
        self._sum += float(found.sum(dtype=np.float64))

    def figures(self) -> dict[str, float]:
        count = int(self._counts.sum())
        if not count:
            return {"mean": 0.0, "p95": 0.0}
        place = int(np.searchsorted(np.cumsum(self._counts), 0.95 * count))
        return {"mean": round(self._sum / count, 6), "p95": round((place + 1) / _BINS, 4)}


@dataclass
class TrustSummary:
    """The figures of the maps of many slices, within the object: JSON-able by `to_dict`."""

    plan: TrustPlan
    _uncertainty: dict[str, _Values] = field(default_factory=dict)
    _calibrated: dict[str, bool] = field(default_factory=dict)
    _residual: dict[str, _Values] = field(default_factory=dict)
    _sums: dict[str, np.ndarray] = field(default_factory=dict)

    def see_uncertainty(self, name: str, values: Tensor, calibrated: bool) -> None:
        """Values of the map of one image, of some pixels."""
        self._uncertainty.setdefault(name, _Values()).see(values)
        self._calibrated[name] = calibrated

    def see_residual(self, name: str, before: Residual, after: Residual, values: Tensor) -> None:
        """Residuals of the network's image and of that delivered; values: of the map, of some pixels."""
        self._residual.setdefault(name, _Values()).see(values)
        sums = np.array([before.squared, after.squared, before.of_data, before.of_noise])
        self._sums[name] = self._sums.get(name, np.zeros(4)) + sums

    def to_dict(self) -> dict[str, Any]:
        """passes, seed, left_out (share of views and outer samples in each pass), and by modality:

        uncertainty: mean and p95 (95th percentile) of the map in units of the image, calibrated (whether it is an
        expected error). residual: mean and p95 of the map; network, delivered: norm of the residual as a share of
        the measurement's; noise: what of that the noise alone would make, None where no noise is known of.
        """
        uncertainty = {
            name: {**values.figures(), "calibrated": self._calibrated[name]}
            for name, values in self._uncertainty.items()
        }
        residual: dict[str, dict[str, float | None]] = {}
        for name, values in self._residual.items():
            network, delivered, data, noise = self._sums[name]
            shares = [round(float(np.sqrt(one / data)), 6) if data > 0 else 0.0 for one in (network, delivered, noise)]
            residual[name] = {**values.figures(), "network": shares[0], "delivered": shares[1]}
            residual[name]["noise"] = shares[2] if noise > 0 else None
        return {
            "passes": self.plan.passes,
            "seed": self.plan.seed,
            "left_out": 1.0 / GROUP,
            "uncertainty": uncertainty,
            "residual": residual,
        }


@contextmanager
def _dropout(model: Any, seed: int) -> Iterator[None]:
    """The network's dropout at work, reproducibly, where it has any."""
    part = getattr(model, "interaction", None)
    if not isinstance(part, nn.Module) or not getattr(getattr(model, "config", None), "dropout", 0.0):
        yield
        return
    devices = [one.device for one in part.parameters() if one.device.type == "cuda"][:1]
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        part.train()
        try:
            yield
        finally:
            part.eval()
