"""Where the slices of a reconstruction come from: volumes measured on the fly, or a file of sensor data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.physics.units import hu_to_network
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.body import HounsfieldScale, body_mask, hounsfield_scale
from MSLFusionLib.recon.describe import checked_parts
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.grid import NetworkGrid, slice_axis_of
from MSLFusionLib.recon.scaling import IntensityScale, mr_scale
from MSLFusionLib.recon.simulate import SamplingPlan, Scanners, SensorBatch

MODALITIES = ("ct", "mr")


class SensorData(Protocol):
    """What a sensors file offers (io.sensors.SensorReader)."""

    @property
    def header(self) -> Any: ...

    def sinogram(self, slices: Sequence[int]) -> np.ndarray: ...

    def kspace(self, slices: Sequence[int]) -> np.ndarray: ...


class SliceSource(Protocol):
    """Slices to reconstruct, measured when asked for.

    grid: how they lie in the volume. scanners: how they are measured. occupied: numbers of the slices that hold
    something. mr_scale: what the MR's network values stand for.
    """

    grid: NetworkGrid
    scanners: Scanners
    occupied: np.ndarray
    mr_scale: IntensityScale | None

    def measure(self, slices: np.ndarray, device: torch.device) -> SensorBatch:
        """Sensor data of the slices with these numbers, on `device`."""

    def truth(self, slices: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Ground truth CT and MR network slices float32 (n, H, W), where known."""

    def report(self) -> dict[str, Any]:
        """What a run record keeps about the source."""


@dataclass(frozen=True)
class VolumeOptions:
    """How volumes are brought to the network.

    size, pixel_mm: the model's grid. fixed_pixel: keep the pixel even where the body does not fit. mask_outside:
    set what lies outside the body to air and zero. mr_scaling: see recon.scaling. official_fbp: see Scanners.
    """

    size: tuple[int, int] = (384, 384)
    pixel_mm: float = 256.0 / 384.0
    fixed_pixel: bool = False
    mask_outside: bool = True
    mr_scaling: str = "percentile"
    official_fbp: bool = False


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
        options = options or VolumeOptions()
        reference = ct if ct is not None else mr
        if reference is None:
            raise InputError("Give a CT volume, an MR volume, or both.")
        geometry = VolumeGeometry.of(reference)
        if ct is not None and mr is not None and not VolumeGeometry.of(mr).same_as(geometry):
            raise InputError("The MR is not on the CT's grid: register or resample it onto the CT first.")
        self._options = options
        axis = slice_axis_of(geometry)
        job.step("prepare", 0, 3)
        self._hounsfield = hounsfield_scale(ct, job) if ct is not None else HounsfieldScale()
        body = ct_body = None
        if ct is not None:
            body = ct_body = body_mask(ct, "ct", self._hounsfield, axis, job)
        job.step("prepare", 1, 3)
        self.mr_scale: IntensityScale | None = None
        mr_body = None
        if mr is not None:
            mr_body = body_mask(mr, "mr", slice_axis=axis, job=job)
            # MR signal within the CT's body is kept even where it is dark, and beyond the CT's edges too.
            self.mr_scale = mr_scale(mr, mr_body, options.mr_scaling)
            if body is not None:
                mr_body |= body
            body = mr_body if body is None else body
        job.step("prepare", 2, 3)
        self.grid = NetworkGrid.for_volume(reference, body, options.size, options.pixel_mm, options.fixed_pixel, job)
        self.scanners = Scanners.of_plan(
            plan,
            self.grid.size,
            self.grid.pixel_mm,
            device,
            [name for name, image in zip(MODALITIES, (ct, mr), strict=True) if image is not None],
            options.official_fbp,
        )
        self._plan = plan
        self._body = body
        self._ct = self._turned(ct), self._masked(ct_body)
        self._mr = self._turned(mr), self._masked(mr_body)
        self._keep_alive = ct, mr
        masks = [mask for _, mask in (self._ct, self._mr) if mask is not None]
        filled = [mask.any(axis=(1, 2)) for mask in masks]
        self.occupied = np.flatnonzero(np.any(filled, axis=0)) if masks else np.arange(self.grid.slices)
        job.step("prepare", 3, 3)

    def truth(self, slices: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """CT and MR network slices float32 (n, H, W) in [0, 1]; None where the modality is absent."""
        ct = mr = None
        array, mask = self._ct
        if array is not None:
            block = hu_to_network(self._hounsfield.to_hu(array[slices]))
            ct = np.clip(self.grid.to_network(_inside(block, mask, slices)), 0.0, 1.0)
        array, mask = self._mr
        if array is not None and self.mr_scale is not None:
            block = self.mr_scale.to_network(array[slices])
            mr = np.clip(self.grid.to_network(_inside(block, mask, slices)), 0.0, 1.0)
        return ct, mr

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
            "grid": self.grid.report(self._body),
            "ct_units": "HU" if self._hounsfield.knots is None else {"read_as_hu": self._hounsfield.knots},
            "mr_scale": None if self.mr_scale is None else self.mr_scale.to_dict(),
            "outside_body": "set to air" if self._options.mask_outside else "kept",
            "plan": self._plan.to_dict(),
        }

    def _turned(self, image: sitk.Image | None) -> np.ndarray | None:
        return None if image is None else self.grid.turned(sitk.GetArrayViewFromImage(image))

    def _masked(self, mask: np.ndarray | None) -> np.ndarray | None:
        return None if mask is None or not self._options.mask_outside else self.grid.turned(mask)


class FileSource:
    """Slices measured before and kept in a sensors file; raises InputError when its descriptions are not usable."""

    def __init__(self, data: SensorData, device: str = "cpu", official_fbp: bool = False) -> None:
        header = data.header
        self._data = data
        self.grid, geometry, mask = checked_parts(header)
        ct = None if geometry is None else ct_operator(geometry, device=device)
        mr = None if mask is None else CartesianMR(mask, convention=header.convention)
        self.scanners = Scanners(ct, mr, None, official_fbp)
        self.mr_scale = None if header.mr_scale is None else IntensityScale.from_dict(header.mr_scale)
        occupied = range(self.grid.slices) if header.occupied is None else header.occupied
        self.occupied = np.array(occupied, dtype=int)

    def measure(self, slices: np.ndarray, device: torch.device) -> SensorBatch:
        """Sensor data of the slices with these numbers, on `device`."""
        sinogram = kspace = None
        if self.scanners.ct is not None:
            sinogram = _tensor(self._data.sinogram(slices.tolist()), device)[:, None]
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


def _inside(block: np.ndarray, mask: np.ndarray | None, slices: np.ndarray) -> np.ndarray:
    """The block with zeros outside the mask, where there is one."""
    return block if mask is None else np.where(mask[slices], block, np.float32(0.0))


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
