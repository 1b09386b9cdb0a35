"""Where the slices of a reconstruction come from: volumes measured on the fly, or a file of sensor data."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.acquired import AcquiredMR
from MSLFusionLib.recon.body import HounsfieldScale
from MSLFusionLib.recon.describe import checked_parts
from MSLFusionLib.recon.grid import NetworkGrid
from MSLFusionLib.recon.noise_level import SensorNoise, estimated_noise, noise_of_plan
from MSLFusionLib.recon.own_grid import consistent_volume
from MSLFusionLib.recon.scaling import IntensityScale
from MSLFusionLib.recon.simulate import SamplingPlan, Scanners, SensorBatch
from MSLFusionLib.recon.slices import NetworkSlices, VolumeOptions

MODALITIES = ("ct", "mr")
_LOOKED_AT = 5
"""Slices whose noise is taken for that of a measurement."""


class SensorData(Protocol):
    """What a sensors file offers (io.sensors.SensorReader)."""

    @property
    def header(self) -> Any: ...

    def sinogram(self, slices: Sequence[int]) -> np.ndarray: ...

    def kspace(self, slices: Sequence[int]) -> np.ndarray: ...


class SliceSource(Protocol):
    """Slices to reconstruct, measured when asked for.

    grid: how they lie in the volume. scanners: how they are measured. occupied: numbers of the slices that hold
    something. mr_scale: what the MR's network values stand for. noise: how noisy the sensor data are.
    """

    grid: NetworkGrid
    scanners: Scanners
    occupied: np.ndarray
    mr_scale: IntensityScale | None

    @property
    def noise(self) -> SensorNoise: ...

    def measure(self, slices: np.ndarray, device: torch.device) -> SensorBatch:
        """Sensor data of the slices with these numbers, on `device`."""

    def truth(self, slices: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Ground truth CT and MR network slices float32 (n, H, W), where known."""

    def report(self) -> dict[str, Any]:
        """What a run record keeps about the source."""


class VolumeSource:
    """A CT and an MR volume on one grid (one of them may be absent), measured slice by slice on the fly.

    Raises InputError for volumes on different grids, constant ones, and plans that cannot be measured.
    """

    def __init__(
        self,
        ct: sitk.Image | None,
        mr: sitk.Image | None,
        plan: SamplingPlan,
        options: VolumeOptions | None = None,
        device: str = "cpu",
        job: Job = NO_JOB,
    ) -> None:
        given = [(name, image) for name, image in zip(MODALITIES, (ct, mr), strict=True) if image is not None]
        self._slices = NetworkSlices(given, options, job)
        self.grid, self.occupied = self._slices.grid, self._slices.occupied
        scales = {one.kind: one.scale for one in self._slices.modalities}
        hounsfield, intensity = scales.get("ct"), scales.get("mr")
        self._hounsfield = hounsfield if isinstance(hounsfield, HounsfieldScale) else HounsfieldScale()
        self.mr_scale = intensity if isinstance(intensity, IntensityScale) else None
        self.scanners = Scanners.of_plan(
            plan,
            self.grid.size,
            self.grid.pixel_mm,
            device,
            [name for name, _ in given],
            self._slices.options.official_fbp,
        )
        self._plan = plan

    @property
    def body(self) -> np.ndarray:
        """Where the body is, bool (z, y, x)."""
        return self._slices.body

    @property
    def noise(self) -> SensorNoise:
        """The noise that the plan adds."""
        return SensorNoise(self._plan.photons, self._plan.kspace_sigma)

    def truth(self, slices: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """CT and MR network slices float32 (n, H, W) in [0, 1]; None where the modality is absent."""
        kinds = [one.kind for one in self._slices.modalities]
        images = dict(zip(kinds, self._slices.network(slices), strict=True))
        return images.get("ct"), images.get("mr")

    def measure(self, slices: np.ndarray, device: torch.device) -> SensorBatch:
        """Sensor data of the slices with these numbers, on `device`."""
        ct, mr = (None if block is None else _tensor(block, device)[:, None] for block in self.truth(slices))
        return self.scanners.measure(ct, mr, slices.tolist())

    def header(self) -> dict[str, Any]:
        """The fields of an io.sensors.SensorHeader that describe this source's sensor data."""
        ct, mr = self.scanners.ct, self.scanners.mr
        return {
            "grid": self.grid.to_dict(),
            "geometry": None if ct is None else ct.geometry.to_dict(),
            "mask": None if mr is None else mr.mask.to_dict(),
            "convention": "centred-ortho" if mr is None else mr.convention,
            "mr_scale": None if self.mr_scale is None else self.mr_scale.to_dict(),
            "coils": 1,
            "occupied": self.occupied.tolist(),
            "plan": self._plan.to_dict(),
        }

    def report(self) -> dict[str, Any]:
        """What a run record keeps: grid, units of the CT, scaling of the MR, what happens outside the body."""
        return {
            "grid": self.grid.report(self._slices.body),
            "ct_units": "HU" if self._hounsfield.knots is None else {"read_as_hu": self._hounsfield.knots},
            "mr_scale": None if self.mr_scale is None else self.mr_scale.to_dict(),
            "outside_body": "set to air" if self._slices.options.mask_outside else "kept",
            "plan": self._plan.to_dict(),
        }


class FileSource:
    """Slices measured before and kept in a sensors file; raises InputError when its descriptions are not usable."""

    def __init__(self, data: SensorData, device: str = "cpu", official_fbp: bool = False, job: Job = NO_JOB) -> None:
        header = data.header
        self._data = data
        self.grid, geometry, mask = checked_parts(header)
        ct = None if geometry is None else ct_operator(geometry, device=device)
        self._acquired: AcquiredMR | None = None
        self.mr_scale = None if header.mr_scale is None else IntensityScale.from_dict(header.mr_scale)
        mr: CartesianMR | None = None
        if mask is not None and header.acquired is not None:
            self._acquired = AcquiredMR(data, mask, self.grid, torch.device(device), job)
            mr, self.mr_scale = self._acquired.operator, self._acquired.scale
        elif mask is not None:
            mr = CartesianMR(mask, convention=header.convention)
        self.scanners = Scanners(ct, mr, None, official_fbp)
        occupied = range(self.grid.slices) if header.occupied is None else header.occupied
        self.occupied = np.array(occupied, dtype=int)
        self._noise = noise_of_plan(header.plan)
        self._corrected: np.ndarray | None = None
        self._device = torch.device(device)

    @property
    def needs_network(self) -> bool:
        """Whether data consistency of the MR waits for `correct`: it was measured on a grid of its own."""
        return self._acquired is not None and self._corrected is None

    def correct(self, network: np.ndarray, job: Job = NO_JOB) -> None:
        """Correct the network's MR, all slices float32 (slices, H, W) in [0, 1], towards what was measured on a grid
        of its own; `measure` gives it from then on. Raises Cancelled."""
        assert self._acquired is not None
        self._corrected = consistent_volume(self._data, self._acquired, self.grid, network, self._device, job)

    @property
    def noise(self) -> SensorNoise:
        """The noise that the file's plan tells, else what some slices from its middle show."""
        if self._noise is None:
            count = len(self.occupied)
            some = self.occupied[count // 2 - min(count, _LOOKED_AT) // 2 :][:_LOOKED_AT]
            batch = self.measure(some, torch.device("cpu"))
            self._noise = estimated_noise(batch.sinogram, batch.kspace, self.scanners.mr)
        return self._noise

    def measure(self, slices: np.ndarray, device: torch.device) -> SensorBatch:
        """Sensor data of the slices with these numbers, on `device`."""
        sinogram = kspace = None
        if self.scanners.ct is not None:
            sinogram = _tensor(self._data.sinogram(slices.tolist()), device)[:, None]
        if self._acquired is not None:
            image = _tensor(self._acquired.slices(slices), device)[:, None]
            corrected = None if self._corrected is None else _tensor(self._corrected[slices], device)[:, None]
            return SensorBatch(sinogram, None, image, corrected)
        if self.scanners.mr is not None:
            kspace = _tensor(self._data.kspace(slices.tolist()), device)
        return SensorBatch(sinogram, kspace)

    def truth(self, slices: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """A sensors file knows no ground truth."""
        return None, None

    def report(self) -> dict[str, Any]:
        """What a run record keeps: grid, scaling of the MR, the plan that the file names."""
        plan: Mapping[str, Any] | None = self._data.header.plan
        return {
            "grid": self.grid.report(),
            "mr_scale": None if self.mr_scale is None else self.mr_scale.to_dict(),
            "plan": plan,
        }


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
