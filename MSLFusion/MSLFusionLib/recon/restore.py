"""CMF-Net at work: a target contrast of few, undersampled pixels becomes a whole volume, and a finer one.

    measured k-space --> zero-filled magnitudes --.
                                                  CMF-Net --> restored, super-resolved --> corrected towards k-space
    auxiliary on the fine grid --> made as coarse --'

Data consistency is that of recon.consistency at both resolutions. The k-space of the super-resolved slices holds the
measurement in its centre: what is measured there replaces the network's, with weights where there is noise.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from MSLFusionLib.cards import outside_mr
from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import LoadedModel
from MSLFusionLib.nets.cmfnet import enhance
from MSLFusionLib.nets.unet import bicubic
from MSLFusionLib.physics.lowres import LowResolution
from MSLFusionLib.physics.masks import PointMask, SamplingMask
from MSLFusionLib.physics.mr import CartesianMR, fourier
from MSLFusionLib.physics.total_variation import tv_mr
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.acquired import combined
from MSLFusionLib.recon.batches import in_batches
from MSLFusionLib.recon.consistency import consistent_images
from MSLFusionLib.recon.devices import choose_device, device_name, reproducible, starting_batch
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.targets import MeasuredTarget, RestorePlan, Target, VolumeTarget, measured
from MSLFusionLib.recon.two_grids import TwoGrids

RESTORED, SUPER_RESOLVED = "restored", "super-resolved"
ZERO_FILLED, BICUBIC = "zero-filled", "zero-filled, bicubic"
TOTAL_VARIATION, TV_BICUBIC = "total variation", "total variation, bicubic"
TRUTH_LOW, TRUTH = "truth, low resolution", "truth"
LOW, FINE = (ZERO_FILLED, RESTORED, TOTAL_VARIATION, TRUTH_LOW), (BICUBIC, SUPER_RESOLVED, TV_BICUBIC, TRUTH)
"""What a result may hold at either resolution."""
NAMES = {
    ZERO_FILLED: "zero_filled",
    RESTORED: "restored",
    TOTAL_VARIATION: "total_variation",
    TRUTH_LOW: "truth_low",
    BICUBIC: "bicubic",
    SUPER_RESOLVED: "super_resolved",
    TV_BICUBIC: "total_variation_bicubic",
    TRUTH: "truth",
}
"""What each is called in files and messages."""
TV_WEIGHT, TV_STEPS = 2e-3, 200
"""Of the total variation that is compared with, for k-space without noise; see physics.total_variation."""
_CPU_PIXELS = 2**17
"""Low-resolution pixels that a processor works on at a time, so that memory stays below some hundred MB."""


@dataclass(frozen=True)
class Restored:
    """What a restoration gave.

    images: float32 volumes in the target's own values by kind (see LOW and FINE), each on its grid. sampling: what was
    measured. report: grids, scale of values, consistency and contrasts (auxiliary, target), for the record.
    """

    images: dict[str, sitk.Image]
    grids: TwoGrids
    sampling: dict[str, Any]
    report: dict[str, Any]
    device: str
    batch: int


class Restorer:
    """A network that restores, on a device.

    loaded: an io.checkpoints.LoadedModel. batch: slices at a time (None: by memory). Raises InputError for a network
    of another kind and a device that is not there.
    """

    def __init__(self, loaded: LoadedModel, device: str = "auto", batch: int | None = None) -> None:
        card = loaded.card
        if not hasattr(loaded.model, "config") or not hasattr(loaded.model.config, "contrasts"):
            raise InputError(f"The model '{loaded.name}' is no CMF-Net: it cannot restore one MR contrast by another.")
        self.device = choose_device(device)
        self.model = loaded.model.to(self.device)
        self.card, self.name = card, loaded.name
        config = self.model.config
        self.scale = int(config.scale)
        self.contrasts: tuple[str, str] = (config.contrasts[0], config.contrasts[1])
        self.published = bool(getattr(config, "published", False))
        self._batch = batch

    @property
    def operator(self) -> LowResolution:
        """The measurement that the network was made for."""
        return LowResolution(self.scale, self.published)

    def volume_target(self, image: sitk.Image, plan: RestorePlan) -> VolumeTarget:
        """The volume as what is to be measured in simulation; raises InputError as VolumeTarget."""
        return VolumeTarget(image, plan, self.operator)

    def measured_target(self, data: Any, job: Job = NO_JOB) -> MeasuredTarget:
        """Sensor data as what is to be restored; raises InputError as MeasuredTarget, Cancelled."""
        return MeasuredTarget(data, self.scale, job)

    def restore(
        self,
        target: Target,
        auxiliary: sitk.Image,
        consistency: bool = True,
        compare: bool = False,
        job: Job = NO_JOB,
    ) -> Restored:
        """Restore and enlarge all slices of the target.

        auxiliary: the other contrast, on the grid of the fine result (target.grids.fine), see recon.beside.
        consistency: correct both images towards what was measured. compare: also total variation of the same k-space,
        and that enlarged bicubically. Raises InputError for an auxiliary on another grid, JobError when a single slice
        does not fit the memory, Cancelled.
        """
        grids = target.grids
        if not VolumeGeometry.of(auxiliary).same_as(grids.fine):
            raise InputError("The auxiliary does not lie on the grid of the result: resample or register it.")
        for sentence in self.unfamiliar(target):
            job.warning(sentence)
        beside = grids.turned(sitk.GetArrayViewFromImage(auxiliary))
        known = target.truth(np.array([0])) is not None
        kinds = [kind for kind in (*LOW, *FINE) if _wanted(kind, compare, known)]
        volumes = {kind: np.zeros(_shape(grids, kind), np.float32) for kind in kinds}
        turned = {kind: grids.turned(volume) for kind, volume in volumes.items()}

        def work(numbers: np.ndarray) -> None:
            found = self._slices(target, numbers, beside[numbers], consistency, compare, job)
            for kind, images in found.items():
                planes = images[:, 0].float().cpu().numpy()
                turned[kind][numbers] = (grids.cropped(planes) if kind in FINE else planes) * np.float32(
                    target.scale.high - target.scale.low
                ) + np.float32(target.scale.low)

        batch = self._batch or self._starting_batch(grids.low_size)
        batch = in_batches(np.arange(grids.slices), work, batch, self.device, "restore", job)
        images = {kind: (grids.low if kind in LOW else grids.fine).image(volume) for kind, volume in volumes.items()}
        return Restored(
            images,
            grids,
            target.sampling(),
            {
                "grids": grids.report(),
                "scale": target.scale.to_dict(),
                "consistency": consistency,
                "contrasts": list(self.contrasts),
            },
            device_name(self.device),
            batch,
        )

    def unfamiliar(self, target: Target) -> list[str]:
        """One sentence for each setting of the measurement that the network was not trained on."""
        sampling = target.sampling()
        settings = {**sampling["mr"], "kspace_sigma": target.sigma, "pixel_mm": float(np.mean(target.grids.pixel_mm))}
        return outside_mr(self.card, settings)

    def _slices(
        self, target: Target, numbers: np.ndarray, beside: np.ndarray, consistency: bool, compare: bool, job: Job
    ) -> dict[str, Tensor]:
        """Images (n, 1, ., .) of some slices by kind, about 1 at their brightest; fine ones on the padded grid."""
        grids, operator = target.grids, self.operator
        with reproducible():
            kspace = target.kspace(numbers).to(self.device)
            low = target.zero_filled(kspace, job)
            helper = torch.from_numpy(grids.padded(np.ascontiguousarray(beside)))[:, None].to(self.device)
            helper = operator.image(measured(operator, helper)).abs()
            over = [axis for axis, turn in zip((-2, -1), grids.turned_over, strict=True) if turn]
            job.check()
            gain = float(operator.scale) if self.published else 1.0
            restored, fine = enhance(self.model, (low * gain).flip(over), helper.flip(over))
            restored, fine = restored.float().flip(over) / gain, fine.float().flip(over)
            job.check()
            if consistency:
                quiet = replace(job, report=None)
                restored = corrected_low(target.mask, kspace, restored, target.sigma, quiet).abs()
                fine = corrected_fine(operator, target.mask, kspace, fine, target.sigma, quiet).abs()
            found = {ZERO_FILLED: low, BICUBIC: bicubic(low, self.scale), RESTORED: restored, SUPER_RESOLVED: fine}
            if compare:
                found[TOTAL_VARIATION] = total_variation(target, kspace, job)
                found[TV_BICUBIC] = bicubic(found[TOTAL_VARIATION], self.scale)
            truth = target.truth(numbers)
            if truth is not None:
                found[TRUTH] = torch.from_numpy(truth)[:, None]
                found[TRUTH_LOW] = operator.image(measured(operator, found[TRUTH])).abs()
            return found

    def _starting_batch(self, size: tuple[int, int]) -> int:
        if self.device.type == "cuda":
            return starting_batch(self.device, (self.scale * size[0], self.scale * size[1]))
        return min(starting_batch(self.device, size), max(1, _CPU_PIXELS // (size[0] * size[1])))


def corrected_low(
    mask: SamplingMask | PointMask, kspace: Tensor, images: Tensor, sigma: float = 0.0, job: Job = NO_JOB
) -> Tensor:
    """Restored images (n, 1, h, w) corrected towards k-space (n, coils, h, w): complex, show their magnitude."""
    return consistent_images(CartesianMR(mask), kspace, images, sigma, job)


def corrected_fine(
    operator: LowResolution,
    mask: SamplingMask | PointMask,
    kspace: Tensor,
    images: Tensor,
    sigma: float = 0.0,
    job: Job = NO_JOB,
) -> Tensor:
    """Super-resolved images (n, 1, H, W) whose low-resolution k-space is corrected towards k-space (n, coils, h, w).

    Complex (n, 1, H, W). What was measured is the centre of the k-space of the fine images, but for a factor and a
    phase (physics.lowres): put there, it is measured k-space as any other.
    """
    height, width = images.shape[-2:]
    rows, columns = kspace.shape[-2:]
    pattern = np.zeros((height, width), bool)
    top, left = height // 2 - rows // 2, width // 2 - columns // 2
    pattern[top : top + rows, left : left + columns] = mask.pattern
    brightness = operator.scale if operator.published else operator.scale**2
    centre = fourier(operator.adjoint(kspace)) * brightness * torch.tensor(pattern, device=kspace.device)
    return consistent_images(
        CartesianMR(PointMask(pattern)), centre.to(kspace.dtype), images, operator.scale * sigma, job
    )


def total_variation(target: Target, kspace: Tensor, job: Job = NO_JOB) -> Tensor:
    """Magnitudes (n, 1, h, w) that explain k-space (n, coils, h, w) with little total variation.

    Of simulated k-space real ones without negative values, which is what was measured. Raises Cancelled.
    """
    if target.without_phase:
        return tv_mr(CartesianMR(target.mask), kspace, TV_WEIGHT, TV_STEPS, True, job=replace(job, report=None))
    full = CartesianMR(SamplingMask(np.ones(target.mask.width, bool)))
    return combined(kspace, CartesianMR(target.mask), full, "sense-tv", job)


def _wanted(kind: str, compare: bool, known: bool) -> bool:
    if kind in (TOTAL_VARIATION, TV_BICUBIC):
        return compare
    return known if kind in (TRUTH, TRUTH_LOW) else True


def _shape(grids: TwoGrids, kind: str) -> tuple[int, int, int]:
    return grids.low.shape if kind in LOW else grids.fine.shape
