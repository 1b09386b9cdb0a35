"""Volumes of several modalities as the network sees them: on its grid, without surroundings, in [0, 1].

The one place where this happens, for reconstruction and for training sets alike: what a network is trained on is what
it meets later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.units import hu_to_network
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.body import HounsfieldScale, body_mask, hounsfield_scale
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.grid import NetworkGrid, slice_axis_of
from MSLFusionLib.recon.scaling import IntensityScale, mr_scale

KINDS = ("ct", "mr", "pet")
"""What a modality is: CT has a scale of its own (HU), MR and PET are scaled by what their body shows."""


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


@dataclass(frozen=True)
class Modality:
    """One volume, turned to the network's orientation (slice, row, column).

    scale: from stored values to HU (CT) or to [0, 1] (the others). mask: where the body is, None to keep all.
    """

    kind: str
    array: np.ndarray
    scale: HounsfieldScale | IntensityScale
    mask: np.ndarray | None

    def values(self, slices: np.ndarray) -> np.ndarray:
        """Network values float32 of the slices with these numbers, on the volume's own pixels; 0 outside the body."""
        block = self.array[slices]
        if isinstance(self.scale, HounsfieldScale):
            block = hu_to_network(self.scale.to_hu(block))
        else:
            block = self.scale.to_network(block)
        return block if self.mask is None else np.where(self.mask[slices], block, np.float32(0.0))


class NetworkSlices:
    """Volumes on one grid and the network's slices of them.

    grid: how the slices lie in the volumes, chosen by the body in the first one. body: its mask (z, y, x).
    occupied: numbers of the slices that hold something. Where a later modality has signal outside its own body mask
    but within that of the first, it is kept: bone is dark in MR, and not outside.
    Raises InputError for no volumes, volumes on different grids, constant ones, and unknown kinds.
    """

    def __init__(
        self, volumes: Sequence[tuple[str, sitk.Image]], options: VolumeOptions | None = None, job: Job = NO_JOB
    ) -> None:
        self.options = options or VolumeOptions()
        if not volumes:
            raise InputError("Give a CT volume, an MR volume, or both.")
        first = volumes[0][1]
        geometry = VolumeGeometry.of(first)
        for kind, image in volumes:
            if kind not in KINDS:
                raise InputError(f"The modality must be {', '.join(KINDS[:-1])} or {KINDS[-1]}, not {kind!r}.")
            if not VolumeGeometry.of(image).same_as(geometry):
                raise InputError(
                    f"The {kind.upper()} is not on the {volumes[0][0].upper()}'s grid: register or resample it onto "
                    f"the {volumes[0][0].upper()} first."
                )
        axis = slice_axis_of(geometry)
        found: list[tuple[HounsfieldScale | IntensityScale, np.ndarray]] = []
        for done, (kind, image) in enumerate(volumes):
            job.step("prepare", done, len(volumes) + 1)
            scale, mask = self._looked_at(kind, image, axis, job)
            if found:
                mask |= found[0][1]
            found.append((scale, mask))
        job.step("prepare", len(volumes), len(volumes) + 1)
        self.body = found[0][1]
        self.grid = NetworkGrid.for_volume(
            first, self.body, self.options.size, self.options.pixel_mm, self.options.fixed_pixel, job
        )
        self._keep_alive = [image for _, image in volumes]
        masked = self.options.mask_outside
        self.modalities = [
            Modality(
                kind,
                self.grid.turned(sitk.GetArrayViewFromImage(image)),
                scale,
                self.grid.turned(mask) if masked else None,
            )
            for (kind, image), (scale, mask) in zip(volumes, found, strict=True)
        ]
        masks = [one.mask for one in self.modalities if one.mask is not None]
        filled = [mask.any(axis=(1, 2)) for mask in masks]
        self.occupied = np.flatnonzero(np.any(filled, axis=0)) if masks else np.arange(self.grid.slices)
        job.step("prepare", len(volumes) + 1, len(volumes) + 1)

    def network(self, slices: np.ndarray) -> list[np.ndarray]:
        """Per modality the network's slices with these numbers, float32 (n, H, W) in [0, 1]."""
        return [np.clip(self.grid.to_network(one.values(slices)), 0.0, 1.0) for one in self.modalities]

    def _looked_at(
        self, kind: str, image: sitk.Image, axis: int, job: Job
    ) -> tuple[HounsfieldScale | IntensityScale, np.ndarray]:
        """A volume's scale and body mask (z, y, x)."""
        if kind == "ct":
            units = hounsfield_scale(image, job)
            return units, body_mask(image, "ct", units, axis, job)
        body = body_mask(image, "mr", slice_axis=axis, job=job)
        return mr_scale(image, body, self.options.mr_scaling), body
