"""One measured input that is looked at again and again: latents are kept, any slice or volume decoded on demand.

Planes and volumes lie on the CT's own grid: a plane is what the volume's array (z, y, x) holds at one number along
the slice axis. Sensor data are measured again when needed; the same slice always gives the same ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.familiarity import Judge, Verdict
from MSLFusionLib.recon.lambdas import check_lambda, lambda_array
from MSLFusionLib.recon.latents import DEFAULT_CAP, LatentStore, joined, split
from MSLFusionLib.recon.outputs import FBP, HYBRID, TRUTH_CT, TRUTH_MR, ZERO_FILLED
from MSLFusionLib.recon.reconstructor import Encoded, Reconstructor
from MSLFusionLib.recon.sources import SliceSource, VolumeSource
from MSLFusionLib.recon.trust import Measured, TrustPlan, TrustSummary, on_grid, trust_maps

Put = Callable[[str, np.ndarray, np.ndarray], None]
"""Takes planes: what they show (a kind of recon.outputs), slice numbers (n,), planes float32 (n, ., .) in [0, 1]."""


class Session:
    """A source of slices (Reconstructor.source) with the latents of as many slices as `cap` bytes hold.

    modalities: those the network may see. consistency: correct images towards the measurement; what that changes is
    kept beside each latent. All else is encoded again each time it is asked for.
    """

    def __init__(
        self,
        reconstructor: Reconstructor,
        source: SliceSource,
        modalities: Sequence[str] = ("ct", "mr"),
        cap: int = DEFAULT_CAP,
        consistency: bool = True,
    ) -> None:
        self.source = source
        self.grid = source.grid
        self.latents = LatentStore(cap, len(source.occupied))
        self._reconstructor = reconstructor
        self._modalities = tuple(modalities)
        self._consistency = consistency
        self._judge = Judge(reconstructor.statistics(source, modalities))
        self._occupied = frozenset(int(number) for number in source.occupied)
        # On a CPU a batch gains nothing, and between single slices there is time for something more urgent.
        self._at_a_time = 1 if reconstructor.device.type == "cpu" else None

    @property
    def plane_shape(self) -> tuple[int, ...]:
        """Shape of a plane."""
        return tuple(n for axis, n in enumerate(self.grid.volume.shape) if axis != self.grid.slice_axis)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self._reconstructor.device

    @property
    def model(self) -> Any:
        """The network."""
        return self._reconstructor.model

    def encoded(self, number: int, job: Job = NO_JOB) -> Encoded:
        """What the hybrids of one slice are made of, on the device; kept from then on. Raises Cancelled."""
        return self._kept(np.array([number]), True, job)

    def encode(self, job: Job = NO_JOB) -> None:
        """Fill the store, from the first slice that holds something on. Raises JobError, Cancelled."""
        self._reconstructor.prepare(self.source, self._modalities, self._consistency, job)
        numbers = self.source.occupied

        def work(part: np.ndarray) -> None:
            self.latents.put(part.tolist(), self._encoded(part, job))

        # The first slice tells how much memory one takes.
        self._batches(numbers[:1], work, "reconstruct", 1, replace(job, report=None))
        fitting = numbers[: self.latents.capacity()]
        # Several at a time: the steps of data consistency read the CT operator's matrices once for all of them.
        self._batches(fitting, work, "reconstruct", None, job)

    def plane(self, number: int, lam: float | np.ndarray, job: Job = NO_JOB) -> np.ndarray:
        """The hybrid's plane at one slice number; lam: a number or a map in the plane.

        Background where the slice holds nothing. Raises InputError for a number or lambda that is not possible.
        """
        if not 0 <= number < self.grid.slices:
            raise InputError(f"There is no slice {number}: the volume has {self.grid.slices} slices.")
        shape = self.plane_shape
        lam = lambda_array(lam, shape)[None] if isinstance(lam, np.ndarray) else check_lambda(lam)
        found = np.zeros((1, *shape), np.float32)

        def work(part: np.ndarray) -> None:
            found[:] = self._decoded(part, lam, job, evict=True)

        if number in self._occupied:
            self._batches(np.array([number]), work, "decode", 1, replace(job, report=None))
        return found[0]

    def hybrid(self, lam: float | np.ndarray, put: Put, job: Job = NO_JOB) -> None:
        """All planes that are not background, part by part; lam: a number or a map (z, y, x)."""
        if isinstance(lam, np.ndarray):
            lam = np.moveaxis(lambda_array(lam, self.grid.volume.shape), self.grid.slice_axis, 0)
        else:
            lam = check_lambda(lam)

        def work(part: np.ndarray) -> None:
            put(HYBRID, part, self._decoded(part, lam[part] if isinstance(lam, np.ndarray) else lam, job))

        self._batches(self.source.occupied, work, "decode", self._at_a_time, job)

    def sensor_images(self, put: Put, job: Job = NO_JOB) -> None:
        """Planes of what the sensor data give without a network: "fbp" and "zero-filled", where measured."""

        def work(part: np.ndarray) -> None:
            images = self._reconstructor.measure(self.source, part)
            for kind, image in zip((FBP, ZERO_FILLED), images, strict=True):
                if image is not None:
                    put(kind, part, self._planes(image))

        self._batches(self.source.occupied, work, "sensor images", self._at_a_time, job)

    def trust(self, put: Put, plan: TrustPlan, job: Job = NO_JOB) -> dict[str, Any]:
        """Planes of the trust maps (recon.trust.KINDS, those that there are); returns their figures."""
        reconstructor, source, summary = self._reconstructor, self.source, TrustSummary(plan)

        def work(part: np.ndarray) -> None:
            encoded = self._kept(part, False, job)
            data, images = reconstructor.sensor_data(source, part, job)
            measured = Measured(
                source.scanners, data, source.noise, images, encoded, self._modalities, self._consistency
            )
            for kind, slices in trust_maps(reconstructor, measured, plan, reconstructor.errors, summary, job).items():
                put(kind, part, self.placed(on_grid(source, kind, part, slices[:, 0].float().cpu().numpy())))

        self._batches(source.occupied, work, "trust maps", self._at_a_time, job)
        return summary.to_dict()

    def verdict(self) -> Verdict:
        """Whether the slices that were encoded so far are like those that the network was trained on."""
        return self._judge.verdict()

    @property
    def synthesised(self) -> tuple[str, ...]:
        """Modalities ("ct", "mr") that were not measured, or must not be seen."""
        return self._reconstructor.synthesised(self.source, self._modalities)

    def ground_truth(self, put: Put, job: Job = NO_JOB) -> None:
        """Planes of what was measured: "truth-ct", "truth-mr". Raises InputError for measurements from a file."""
        if not isinstance(self.source, VolumeSource):
            raise InputError("A sensors file holds no ground truth.")

        def work(part: np.ndarray) -> None:
            for kind, slices in zip((TRUTH_CT, TRUTH_MR), self.source.truth(part), strict=True):
                if slices is not None:
                    put(kind, part, self._on_grid(slices))

        self._batches(self.source.occupied, work, "ground truth", self._at_a_time, job)

    def _batches(
        self, numbers: np.ndarray, work: Callable[[np.ndarray], None], stage: str, batch: int | None, job: Job
    ) -> None:
        self._reconstructor.in_batches(self.source, numbers, work, stage, batch, job)

    def _encoded(self, numbers: np.ndarray, job: Job = NO_JOB) -> Encoded:
        encoded = self._reconstructor.encoded(self.source, numbers, self._modalities, self._consistency, job)[1]
        self._judge.see(numbers.tolist(), encoded.latent)
        return encoded

    def _kept(self, numbers: np.ndarray, evict: bool, job: Job) -> Encoded:
        """These slices encoded, some of them before and some now."""
        singles = {number: self.latents.get(number) for number in numbers.tolist()}
        missing = np.array([number for number, one in singles.items() if one is None], dtype=int)
        if len(missing):
            encoded = self._encoded(missing, job)
            self.latents.put(missing.tolist(), encoded, evict)
            if len(missing) == len(numbers):
                return encoded
            singles |= zip(missing.tolist(), split(encoded, len(missing)), strict=True)
        return joined(list(singles.values()), self._reconstructor.device)

    def _decoded(self, numbers: np.ndarray, lam: float | np.ndarray, job: Job, evict: bool = False) -> np.ndarray:
        """Planes of slices at a number or maps (n, ., .); evict: keep new latents in place of old ones."""
        encoded = self._kept(numbers, evict, job)
        given: float | Tensor
        if isinstance(lam, np.ndarray):
            turned = self.grid.turned(np.moveaxis(lam, 0, self.grid.slice_axis))
            given = self._reconstructor.network_lambda(self.source, turned)
        else:
            given = lam
        return self._planes(self._reconstructor.hybrid(encoded, given))

    def _planes(self, images: Tensor) -> np.ndarray:
        return self._on_grid(images[:, 0].float().cpu().numpy())

    def _on_grid(self, slices: np.ndarray) -> np.ndarray:
        """Network slices (n, H, W) as planes (n, ., .) on the CT's grid."""
        return self.placed(self.grid.from_network(slices))

    def placed(self, turned: np.ndarray) -> np.ndarray:
        """Slices on the CT's grid (n, rows, columns), turned as the network's are, as planes (n, ., .)."""
        shape = list(self.grid.volume.shape)
        shape[self.grid.slice_axis] = len(turned)
        block = np.zeros(shape, np.float32)
        self.grid.turned(block)[:] = turned
        return np.ascontiguousarray(np.moveaxis(block, self.grid.slice_axis, 0))
