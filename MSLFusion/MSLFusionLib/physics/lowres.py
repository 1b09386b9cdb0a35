"""What a scanner at a lower resolution measures: the centre of k-space, of an image or of a finer scan.

Low-resolution voxels lie on the centres of blocks of scale x scale fine ones, so both images fill the same field of
view: low-resolution voxel 0 is (scale - 1) / 2 fine voxels from fine voxel 0. With the unitary transforms of
`mr.fourier` a coefficient k of the n fine voxels along an axis becomes

    exp(2 pi i k d / n) / sqrt(scale),    d = scale (m // 2) + (scale - 1) / 2 - n // 2,    m = n / scale

and a constant image keeps its value.
"""

import math

import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.mr import fourier, inverse_fourier

SCALES = (2, 4)


class LowResolution:
    """The operator from images (N, 1, H, W) to k-space (N, 1, H / scale, W / scale); differentiable, on any device.

    published: the crop alone, as CMF-Net's code has it, without the factor (images come out `scale` times brighter)
    and without the phase (they lie (scale - 1) / 2 fine voxels off). Raises InputError for a scale below 1.
    """

    def __init__(self, scale: int, published: bool = False) -> None:
        if not isinstance(scale, int) or scale < 1:
            raise InputError(f"The resolution can be lowered by whole numbers from 1, not by {scale}.")
        self.scale = scale
        self.published = published

    @property
    def origin(self) -> float:
        """Where low-resolution voxel 0 lies, in fine voxels, along both axes."""
        return (self.scale - 1) / 2

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """The low-resolution size; InputError when the sides are no multiples of the scale."""
        if height % self.scale or width % self.scale:
            raise InputError(f"An image of {width} x {height} pixels cannot be lowered by {self.scale} without a rest.")
        return height // self.scale, width // self.scale

    def measure(self, image: Tensor) -> Tensor:
        """Complex k-space (N, 1, h, w), zero frequency at (h // 2, w // 2), of real or complex images (N, 1, H, W)."""
        low = self.shape(*image.shape[-2:])
        kspace = fourier(image)
        for axis, n in zip((-2, -1), low, strict=True):
            kspace = kspace.narrow(axis, image.shape[axis] // 2 - n // 2, n)
        return kspace * self._weights(low, kspace)

    def image(self, kspace: Tensor) -> Tensor:
        """Complex low-resolution images (N, 1, h, w) of k-space, what was not measured being zero."""
        return inverse_fourier(kspace)

    def adjoint(self, kspace: Tensor) -> Tensor:
        """A^H y: complex images (N, 1, H, W) with <A x, y> = <x, A^H y>."""
        low = (kspace.shape[-2], kspace.shape[-1])
        height, width = (n * self.scale for n in low)
        full = torch.zeros((*kspace.shape[:-2], height, width), dtype=kspace.dtype, device=kspace.device)
        top, left = height // 2 - low[0] // 2, width // 2 - low[1] // 2
        full[..., top : top + low[0], left : left + low[1]] = kspace * self._weights(low, kspace).conj()
        return inverse_fourier(full)

    def _weights(self, low: tuple[int, int], like: Tensor) -> Tensor:
        """What multiplies the cropped coefficients, (h, w) or a number."""
        if self.published:
            return torch.ones((), dtype=like.dtype, device=like.device)
        rows, columns = (self._phase(n) for n in low)
        return (rows[:, None] * columns[None, :] / self.scale).to(like.dtype).to(like.device)

    def _phase(self, n: int) -> Tensor:
        fine = n * self.scale
        away = self.scale * (n // 2) + self.origin - fine // 2
        k = torch.arange(n, dtype=torch.float64) - n // 2
        return torch.exp(1j * (2 * math.pi * away / fine) * k)
