"""Data consistency of an MR that was measured in a place and on a matrix of its own, not on the network's slices.

The network's MR is brought to where the scanner's slices lie (through the transform between the two frames, where CT
and MR have one each), from there to the scanner's own matrix by the operator of the measurement, and corrected there
(recon.consistency). What that changes goes the same way back and is added: what was measured is never resampled, and
what the network knows beyond the scanner's resolution stays. All slices are needed at once, since those of the two
scanners may cut through one another.
"""

from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from MSLFusionLib.physics.masks import SamplingMask
from MSLFusionLib.physics.mr import CartesianMR, fourier, inverse_fourier
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.acquired import AcquiredMR, grid_operator
from MSLFusionLib.recon.consistency import corrected_mr
from MSLFusionLib.recon.grid import NetworkGrid
from MSLFusionLib.recon.noise_level import estimated_sigma

STAGE = "data consistency of the MR"
_COVERED = 0.999


def consistent_volume(
    data: Any, acquired: AcquiredMR, grid: NetworkGrid, network: np.ndarray, device: torch.device, job: Job = NO_JOB
) -> np.ndarray:
    """The network's MR corrected towards what was measured: slices float32 (slices, H, W) in [0, 1] of `grid`.

    network: its slices, all of `grid`. data: what `acquired` was made from. Where the MR's slices lie outside the
    results' volume they are corrected from their own sensor image, and change nothing. Raises Cancelled.
    """
    own = acquired.own_grid
    volume = np.zeros(grid.volume.shape, np.float32)
    grid.turned(volume)[:] = grid.from_network(network)
    there = own.volume.grid_only()
    back = acquired.transform.GetInverse()
    moved, covered = (
        own.to_network(own.turned(_resampled(image, there, back)))
        for image in (grid.volume.image(volume), grid.volume.image(np.ones(grid.volume.shape, np.float32)))
    )
    change = _changes(data, acquired, moved, covered > _COVERED, device, job)
    changed = np.zeros(own.volume.shape, np.float32)
    own.turned(changed)[:] = own.from_network(change)
    here = _resampled(own.volume.image(changed), grid.volume.grid_only(), acquired.transform)
    return np.clip(network + grid.to_network(grid.turned(here)), 0.0, 1.0).astype(np.float32)


def _changes(
    data: Any, acquired: AcquiredMR, moved: np.ndarray, covered: np.ndarray, device: torch.device, job: Job
) -> np.ndarray:
    """What the measurement changes on the MR's own slices (slices, H, W), 0 where nothing is `covered`."""
    operator, own = acquired.operator, acquired.own_grid
    convention, matrix = operator.convention, operator.matrix
    everything = SamplingMask(np.ones(matrix[1], bool))
    evaluate = grid_operator(everything, matrix, acquired.fov_mm, own, convention)
    plain = CartesianMR(operator.mask, convention=convention)
    sensor_image = own.to_network(own.turned(sitk.GetArrayViewFromImage(acquired.image)))
    result = np.zeros(moved.shape, np.float32)
    sigma: float | None = None
    for number in range(own.slices):
        job.step(STAGE, number, own.slices)
        if not covered[number].any():
            continue
        kspace = torch.from_numpy(data.kspace([number])).to(device) / acquired.scale.high
        sigma = estimated_sigma(kspace, plain) if sigma is None else sigma
        image = torch.from_numpy(np.where(covered[number], moved[number], sensor_image[number]))[None, None].to(device)
        # The network's image on the scanner's matrix: real, as the network knows no phase.
        mr = inverse_fourier(evaluate.forward(image), convention).real.clamp(0.0, 1.0)
        better = corrected_mr(plain, kspace, mr, sigma, job)
        difference = evaluate.coil_images(fourier(better - mr, convention)).real
        result[number] = difference[0, 0].float().cpu().numpy() * covered[number]
    job.step(STAGE, own.slices, own.slices)
    return result


def _resampled(image: sitk.Image, grid: sitk.Image, transform: sitk.Transform) -> np.ndarray:
    """The image's array on another grid; 0 outside. One slice is as thick as the distance to the next one would be."""
    if image.GetSize() == grid.GetSize() and _is_identity(transform) and _same_place(image, grid):
        return sitk.GetArrayFromImage(image)
    return sitk.GetArrayFromImage(sitk.Resample(image, grid, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32))


def _is_identity(transform: sitk.Transform) -> bool:
    points = ((0.0, 0.0, 0.0), (100.0, 0.0, 0.0), (0.0, 100.0, 0.0), (0.0, 0.0, 100.0))
    return all(np.allclose(transform.TransformPoint(point), point, atol=1e-6) for point in points)


def _same_place(a: sitk.Image, b: sitk.Image) -> bool:
    pairs = ((a.GetOrigin(), b.GetOrigin()), (a.GetSpacing(), b.GetSpacing()), (a.GetDirection(), b.GetDirection()))
    return all(np.allclose(one, other, atol=1e-6) for one, other in pairs)
