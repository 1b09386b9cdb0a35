"""The built-in CT operator: sparse matrices of Joseph weights and of filtered backprojection."""

import math
from functools import partial

import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.fbp import backprojection_matrix, check_fbp, filter_sinogram, widened
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.joseph import joseph_matrix
from MSLFusionLib.physics.sparse import Blocks, ranges

_BLOCK_BYTES = 64 * 2**20
"""The memory of one block's matrix on the fly."""
_BYTES_PER_ENTRY = 8
_CACHED_PIXELS = 2**15
"""Pixels under one matrix: eight to sixteen slices of them stay in a processor's second-level cache."""


def matrix_bytes_per_view(geometry: FanBeamGeometry) -> int:
    """About the memory that one view takes in one matrix (the largest of them): index and weight of each entry.

    A view crosses the image with bins one isocentre pitch apart, stepping a pixel and touching two at each step.
    """
    height, width = geometry.image_shape
    rays_across = min(
        geometry.pixel_mm * geometry.magnification / geometry.pitch_mm, geometry.bins / min(height, width)
    )
    return math.ceil(2 * _BYTES_PER_ENTRY * height * width * max(rays_across, 1.0))


class BuiltinOperator:
    """Projections of slices (N, 1, H, W) to sinograms (N, 1, views, bins), in image units times mm.

    The adjoint is the transpose of the forward matrix, on both paths. stored: keep the matrices after their first
    use ("sparse"), or make them in blocks of views at each use ("onthefly"). Everything is float32, linear and
    differentiable; inputs of other precision are converted. Raises InputError for tensors that do not fit.
    """

    def __init__(self, geometry: FanBeamGeometry, device: str | torch.device = "cpu", stored: bool = True) -> None:
        self.geometry = geometry
        self.device = torch.device(device)
        self.name = "sparse" if stored else "onthefly"
        height, width = geometry.image_shape
        views_at_once = geometry.views if stored else max(1, _BLOCK_BYTES // matrix_bytes_per_view(geometry))
        # Only matrices that are kept earn back the time that many small ones take to make.
        small = stored and self.device.type == "cpu"
        rows_at_once = max(1, _CACHED_PIXELS // width) if small else height
        grid = (ranges(geometry.views, views_at_once), ranges(height, rows_at_once), width, geometry.bins, stored)
        self._projection = Blocks(partial(joseph_matrix, geometry, device=self.device), True, *grid)
        wide = widened(geometry)
        grid = (*grid[:3], wide.bins, stored)
        self._backprojections = {
            official: Blocks(partial(backprojection_matrix, wide, device=self.device, official=official), False, *grid)
            for official in (False, True)
        }

    @property
    def stored_bytes(self) -> int:
        """The memory of the matrices made and kept so far."""
        return sum(blocks.stored_bytes for blocks in (self._projection, *self._backprojections.values()))

    def forward(self, image: Tensor) -> Tensor:
        """The line integrals of slices (N, 1, H, W): a sinogram (N, 1, views, bins)."""
        pixels = checked_input(image, self.geometry.image_shape, "image", self.device)
        return self._projection.to_views(pixels.flatten(1)).view(-1, 1, self.geometry.views, self.geometry.bins)

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """The transpose of `forward`: (N, 1, views, bins) -> (N, 1, H, W)."""
        shape = (self.geometry.views, self.geometry.bins)
        data = checked_input(sinogram, shape, "sinogram", self.device)
        return self._projection.to_pixels(data.flatten(1)).view(-1, 1, *self.geometry.image_shape)

    def fbp(self, sinogram: Tensor, official: bool = False) -> Tensor:
        """Filtered backprojection (N, 1, views, bins) -> (N, 1, H, W), in image units.

        official: the authors' unweighted variant, which misreads a uniform disc by up to 2 %, more the larger it is.
        Raises InputError for a limited scan.
        """
        check_fbp(self.geometry)
        shape = (self.geometry.views, self.geometry.bins)
        data = checked_input(sinogram, shape, "sinogram", self.device)
        filtered = filter_sinogram(self.geometry, data, official)
        pixels = self._backprojections[official].to_pixels(filtered.flatten(1))
        return pixels.view(-1, 1, *self.geometry.image_shape)


def checked_input(tensor: Tensor, shape: tuple[int, int], name: str, device: torch.device) -> Tensor:
    """The tensor as float32 when it has the shape (N, 1, *shape) and lies on the device; InputError otherwise."""
    if tensor.ndim != 4 or tuple(tensor.shape[1:]) != (1, *shape):
        raise InputError(
            f"The {name} has shape {tuple(tensor.shape)}, but this scan needs (N, 1, {shape[0]}, {shape[1]})."
        )
    if tensor.is_complex():
        raise InputError(f"The {name} must be real, not {tensor.dtype}.")
    if tensor.device.type != device.type:
        raise InputError(f"The {name} is on {tensor.device}, but this operator works on {device}.")
    return tensor.to(torch.float32)
