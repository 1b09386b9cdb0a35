"""An MR as a scanner measured it: on its own matrix, in its own place, of several coils; and the slices it gives.

The coils' images are evaluated on the network's pixels straight from k-space (physics.mr_grid), combined to a
magnitude, and scaled to [0, 1] for the whole volume. Where the CT was measured in another frame, this volume, not what
was measured, is brought to the CT's slices through the transform between the two.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.coils import espirit_maps
from MSLFusionLib.physics.masks import PointMask, SamplingMask
from MSLFusionLib.physics.mr import CartesianMR, fourier, inverse_fourier, root_sum_of_squares
from MSLFusionLib.physics.mr_grid import GridMR
from MSLFusionLib.physics.total_variation import tv_mr
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.describe import transform_of
from MSLFusionLib.recon.grid import NetworkGrid
from MSLFusionLib.recon.scaling import HIGH_PERCENTILE, IntensityScale

COMBINATIONS = ("rss", "espirit", "sense-tv")
TV_WEIGHT, TV_STEPS = 2e-3, 60
_BODY = 0.1
"""Of the highest percentile: darker voxels are air, and do not count for the scale."""


class AcquiredMR:
    """The MR of a sensors file with `acquired` (see io.sensors) as network slices.

    data: an io.sensors.SensorReader or the like. grid: of the results. operator: between the MR's own network grid
    (own_grid) and its k-space. scale: what network values stand for, from 0. transform: from points of the results to
    where the MR was measured. image: the MR's own sensor images as a volume, from 0 to about 1. Raises InputError for
    descriptions that are not usable and an MR that does not overlap the grid.
    """

    def __init__(
        self, data: Any, mask: SamplingMask | PointMask, grid: NetworkGrid, device: torch.device, job: Job = NO_JOB
    ) -> None:
        header = data.header
        try:
            combination = str(header.acquired.get("combination", "rss"))
            fov = (float(header.acquired["fov_mm"][0]), float(header.acquired["fov_mm"][1]))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"The description of the acquired k-space is damaged: {error!r}.") from error
        if combination not in COMBINATIONS:
            raise InputError(f"Unknown combination of coils '{combination}': use one of {', '.join(COMBINATIONS)}.")
        shape = header.kspace_shape
        if not (np.isfinite(fov).all() and min(fov) > 0):
            raise InputError("The field of view of the acquired k-space is not possible.")
        self.own_grid, self.fov_mm = NetworkGrid.from_dict(header.acquired["grid"]), fov
        self.transform = _affine(transform_of(header))
        self.operator = grid_operator(mask, shape[2:], fov, self.own_grid, header.convention)
        full = grid_operator(SamplingMask(np.ones(shape[3], bool)), shape[2:], fov, self.own_grid, header.convention)
        volume = _magnitudes(data, self.operator, full, self.own_grid, combination, device, job)
        self.scale = IntensityScale(0.0, highest(volume))
        self.image = self.own_grid.volume.image(volume / np.float32(self.scale.high))
        self._volume = self.image
        if header.acquired.get("transform") is not None or not self.own_grid.volume.same_as(grid.volume):
            self._volume = _resampled(self.image, grid, self.transform)
        self._slices = grid.turned(sitk.GetArrayViewFromImage(self._volume))
        self._grid = grid

    def slices(self, numbers: np.ndarray) -> np.ndarray:
        """Sensor images float32 (n, H, W) in [0, 1] of the results' slices with these numbers."""
        return np.clip(self._grid.to_network(self._slices[numbers]), 0.0, 1.0)


def grid_operator(
    mask: SamplingMask | PointMask, matrix: tuple[int, int], fov_mm: tuple[float, float], grid: NetworkGrid,
    convention: str,
) -> GridMR:  # fmt: skip
    """The operator between network slices of `grid` and k-space (ky, kx) whose field of view has the same middle.

    The grid's volume has ky along its rows and kx along its columns, their pixel n // 2 in the middle.
    """
    positions = []
    for axis, flipped in ((grid.row_axis, grid.row_flipped), (grid.column_axis, grid.column_flipped)):
        n, count = grid.volume.shape[axis], matrix[axis - 1]
        index = (np.arange(n) - n // 2) * (grid.pixel_mm * count / fov_mm[axis - 1]) + count // 2
        positions.append(index[::-1] if flipped else index)
    return GridMR(mask, matrix, positions[0], positions[1], None, convention, grid.row_axis == 2)


def combined(
    kspace: Tensor, operator: CartesianMR, full: CartesianMR, combination: str = "rss", job: Job = NO_JOB
) -> Tensor:
    """Magnitudes (n, 1, H, W) on the operator's grid of k-space (n, coils, ky, kx).

    full: the same operator with everything measured. combination: "rss", root sum of squares; "espirit", with coil
    maps of each slice, whose images are combined as complex numbers (Roemer et al., Magn Reson Med 16:192, 1990);
    "sense-tv", the image with a little total variation that explains what all coils measured through these maps.
    Raises InputError where the centre of k-space is too small for coil maps, Cancelled.
    """
    if combination == "rss" or (combination == "espirit" and kspace.shape[1] == 1):
        return root_sum_of_squares(operator.coil_images(kspace))
    pattern = operator.mask.pattern
    measured = np.broadcast_to(pattern, kspace.shape[-2:])
    data = kspace * torch.tensor(pattern, device=kspace.device)
    result = []
    for coils in data:
        job.check()
        maps = espirit_maps(coils, measured) if len(coils) > 1 else torch.ones_like(coils)
        if operator.convention == "official":
            maps = torch.fft.ifftshift(maps, dim=(-2, -1))  # that image has its middle at the corner
        if combination == "sense-tv":
            scanner = CartesianMR(operator.mask, maps, operator.convention)
            image = tv_mr(scanner, coils[None], TV_WEIGHT, TV_STEPS, job=replace(job, report=None))[0, 0]
        else:
            image = (maps.conj() * inverse_fourier(coils, operator.convention)).sum(dim=0)
        result.append(full.coil_images(fourier(image, operator.convention)[None, None]).abs())
    return torch.cat(result)


def _magnitudes(
    data: Any, operator: CartesianMR, full: CartesianMR, grid: NetworkGrid, combination: str, device: torch.device,
    job: Job,
) -> np.ndarray:  # fmt: skip
    """All slices as a volume (z, y, x), float32, in the scanner's units."""
    volume = np.zeros(grid.volume.shape, np.float32)
    turned = grid.turned(volume)
    for number in range(grid.slices):
        job.step("read", number, grid.slices)
        kspace = torch.from_numpy(data.kspace([number])).to(device)
        turned[number] = combined(kspace, operator, full, combination, job)[0, 0].float().cpu().numpy()
    job.step("read", grid.slices, grid.slices)
    return volume


def highest(volume: np.ndarray) -> float:
    """What becomes 1: the percentile of recon.scaling within the body, which is brighter than a tenth of it.

    Raises InputError for an image without any signal.
    """
    high = float(np.percentile(volume, HIGH_PERCENTILE))
    body = volume[volume > _BODY * high]
    high = float(np.percentile(body, HIGH_PERCENTILE)) if body.size else 0.0
    if not (np.isfinite(high) and high > 0):
        raise InputError("The k-space gives an empty image: there is nothing to reconstruct.")
    return high


def _affine(matrix: np.ndarray) -> sitk.Transform:
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def _resampled(image: sitk.Image, grid: NetworkGrid, transform: sitk.Transform) -> sitk.Image:
    """The MR on the results' grid; the transform leads from there to where the MR was measured."""
    # A volume of one slice has nothing to interpolate across.
    if min(image.GetSize()) < 2:
        image = sitk.ConstantPad(image, [0, 0, 1], [0, 0, 1], 0.0)
    result = sitk.Resample(image, grid.volume.grid_only(), transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    if not sitk.GetArrayViewFromImage(result).any():
        raise InputError("The MR does not overlap the CT where the files place them: register them, or mend positions.")
    return result
