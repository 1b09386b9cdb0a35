"""Cartesian MR: image -> undersampled k-space of one or more coils, and back.

The forward model is y_c = M F (S_c x): coil sensitivity S_c, two-dimensional Fourier transform F in a stated
convention, mask M of columns or points. Conventions (store the name with the data):

centred-ortho: fftshift(fft2(ifftshift(x), norm="ortho")), the convention of fastMRI; F is unitary.
official: fftshift(fft2(x)), not normalised, as in the public MSL code; F^H = H*W * F^-1.
"""

import copy
from typing import Self

import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.masks import PointMask, SamplingMask

CONVENTIONS = ("centred-ortho", "official")
_PLANE = (-2, -1)


def fourier(image: Tensor, convention: str = "centred-ortho") -> Tensor:
    """k-space (..., H, W), zero frequency at (H // 2, W // 2), of an image (..., H, W) in that convention."""
    if _checked(convention) == "official":
        return torch.fft.fftshift(torch.fft.fft2(image), dim=_PLANE)
    centred = torch.fft.ifftshift(image, dim=_PLANE)
    return torch.fft.fftshift(torch.fft.fft2(centred, norm="ortho"), dim=_PLANE)


def inverse_fourier(kspace: Tensor, convention: str = "centred-ortho") -> Tensor:
    """The complex image (..., H, W) whose `fourier` in the same convention is `kspace`."""
    if _checked(convention) == "official":
        return torch.fft.ifft2(torch.fft.ifftshift(kspace, dim=_PLANE))
    image = torch.fft.ifft2(torch.fft.ifftshift(kspace, dim=_PLANE), norm="ortho")
    return torch.fft.fftshift(image, dim=_PLANE)


def root_sum_of_squares(coil_images: Tensor) -> Tensor:
    """Magnitude (N, 1, H, W) of coil images (N, coils, H, W), combined without sensitivities."""
    return torch.linalg.vector_norm(coil_images, dim=1, keepdim=True)


class CartesianMR:
    """The MR scanner as a linear operator; differentiable, batched, on the device of its input.

    mask: the measured columns, or points. coil_maps: complex sensitivities (coils, H, W) or (N, coils, H, W), or None
    for one coil of sensitivity 1. convention: one of CONVENTIONS.
    """

    def __init__(
        self, mask: SamplingMask | PointMask, coil_maps: Tensor | None = None, convention: str = "centred-ortho"
    ) -> None:
        self.mask = mask
        self.convention = _checked(convention)
        self.coil_maps = None if coil_maps is None else self._checked_maps(coil_maps)
        self._patterns: dict[torch.device, Tensor] = {}

    def with_mask(self, mask: SamplingMask | PointMask) -> Self:
        """The same scanner measuring other samples."""
        other = copy.copy(self)
        other.mask = mask
        other._patterns = {}
        return other

    def forward(self, image: Tensor) -> Tensor:
        """Masked k-space, complex (N, coils, H, W), of real or complex images (N, 1, H, W).

        float32 gives complex64, float64 complex128. Columns that are not measured are exactly zero.
        """
        if image.ndim != 4 or image.shape[1] != 1:
            raise InputError(f"Expected images of shape (N, 1, H, W), got {tuple(image.shape)}.")
        coils = image if self.coil_maps is None else image * self._maps(image)
        return self._sampled(self._to_kspace(coils))

    def adjoint(self, kspace: Tensor) -> Tensor:
        """A^H y: complex images (N, 1, H, W) with <A x, y> = <x, A^H y> exactly, in either convention."""
        image = self._transpose(self._sampled(kspace))
        if self.coil_maps is not None:
            return (image * self._maps(kspace).conj()).sum(dim=1, keepdim=True)
        if kspace.shape[1] != 1:
            raise InputError(f"{kspace.shape[1]} coils were measured: the adjoint needs their coil maps.")
        return image

    def zero_filled(self, kspace: Tensor) -> Tensor:
        """Magnitude image (N, 1, H, W) in the image's own scale, unmeasured columns taken as zero.

        With coil maps |sum_c conj(S_c) x_c| / sum_c |S_c|^2; several coils without maps: root sum of squares.
        """
        coils = self.coil_images(kspace)
        if self.coil_maps is None:
            return coils.abs() if coils.shape[1] == 1 else root_sum_of_squares(coils)
        maps = self._maps(kspace)
        power = maps.abs().square().sum(dim=1, keepdim=True)
        combined = (coils * maps.conj()).sum(dim=1, keepdim=True).abs()
        return torch.where(power > 0, combined / power.clamp_min(torch.finfo(power.dtype).tiny), 0.0)

    def coil_images(self, kspace: Tensor) -> Tensor:
        """Complex images (N, coils, H, W) in the image's own scale, what was not measured taken as zero."""
        return self._to_image(self._sampled(kspace))

    def _to_kspace(self, image: Tensor) -> Tensor:
        return fourier(image, self.convention)

    def _to_image(self, kspace: Tensor) -> Tensor:
        return inverse_fourier(kspace, self.convention)

    def _transpose(self, kspace: Tensor) -> Tensor:
        """The conjugate transpose of `_to_kspace`."""
        image = inverse_fourier(kspace, self.convention)
        # F^H = H*W * F^-1 without normalisation
        return image * (kspace.shape[-2] * kspace.shape[-1]) if self.convention == "official" else image

    def _checked_maps(self, maps: Tensor) -> Tensor:
        if maps.ndim not in (3, 4) or maps.shape[-1] != self.mask.width:
            raise InputError(
                f"Coil maps of shape {tuple(maps.shape)} do not fit: expected (coils, H, {self.mask.width})."
            )
        return maps if maps.ndim == 4 else maps.unsqueeze(0)

    def _sampled(self, kspace: Tensor) -> Tensor:
        rows = self.mask.pattern.shape[0] if self.mask.pattern.ndim == 2 else kspace.shape[-2]
        if kspace.ndim != 4 or kspace.shape[-1] != self.mask.width or kspace.shape[-2] != rows:
            raise InputError(
                f"Data of shape {tuple(kspace.shape)} do not fit a mask of {self.mask.width} columns: "
                f"expected (N, coils, H, {self.mask.width})."
            )
        pattern = self._patterns.get(kspace.device)
        if pattern is None:
            pattern = torch.tensor(self.mask.pattern, device=kspace.device)
            self._patterns[kspace.device] = pattern
        return kspace * pattern

    def _maps(self, like: Tensor) -> Tensor:
        assert self.coil_maps is not None
        double = like.dtype in (torch.float64, torch.complex128)
        return self.coil_maps.to(like.device, torch.complex128 if double else torch.complex64)


def _checked(convention: str) -> str:
    if convention not in CONVENTIONS:
        raise InputError(f"Unknown FFT convention '{convention}': choose one of {', '.join(CONVENTIONS)}.")
    return convention
