"""Sensitivities of receiver coils from the fully measured centre of their own k-space: ESPIRiT.

Uecker et al., Magn Reson Med 71:990 (2014): small patches of k-space of all coils lie in a space of few dimensions;
projecting onto it is, in the image, a small matrix at each pixel whose eigenvector of eigenvalue 1 holds the
sensitivities there. Where there is no signal no eigenvalue comes near 1, and the maps are zero.
"""

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.mr import inverse_fourier

KERNEL = 6
CALIBRATION = 24
_NULL_SPACE = 0.02
_PATCHES = 20_000
_ROWS_AT_ONCE = 32


def calibration_region(measured: np.ndarray, most: int = CALIBRATION) -> tuple[slice, slice]:
    """The largest fully measured rectangle around the centre of a mask (ky, kx), at most `most` a side.

    Grown on all sides at once and then each way alone. Raises InputError when it is smaller than a kernel.
    """
    height, width = measured.shape
    middle = (height // 2, width // 2)

    def region(rows: int, columns: int) -> tuple[slice, slice]:
        first = (max(0, middle[0] - rows // 2), max(0, middle[1] - columns // 2))
        return slice(first[0], first[0] + rows), slice(first[1], first[1] + columns)

    rows = columns = 0
    limits = min(most, height), min(most, width)
    grown = True
    while grown:
        grown = False
        for step in ((1, 1), (1, 0), (0, 1)):
            more = rows + step[0], columns + step[1]
            if more[0] <= limits[0] and more[1] <= limits[1] and measured[region(*more)].all():
                rows, columns = more
                grown = True
                break
    if min(rows, columns) < KERNEL + 1:
        raise InputError(
            f"The centre of k-space is fully measured over {rows} x {columns} points only: coil maps need at least "
            f"{KERNEL + 1} x {KERNEL + 1}. Combine the coils by root sum of squares."
        )
    return region(rows, columns)


def espirit_maps(kspace: Tensor, measured: np.ndarray, threshold: float = 0.9) -> Tensor:
    """Sensitivities complex64 (coils, H, W) of one slice's centred k-space (coils, H, W).

    measured: bool (H, W). Their root sum of squares is 1, and 0 where the largest eigenvalue lies below `threshold`;
    the phase is that of the first coil. Raises InputError when the centre is not measured or without signal.
    """
    coils, height, width = kspace.shape
    rows, columns = calibration_region(measured)
    centre = kspace[:, rows, columns].to(torch.complex64)
    size = min(KERNEL, centre.shape[1] - 1, centre.shape[2] - 1)
    patches = centre.unfold(1, size, 1).unfold(2, size, 1)
    patches = patches.permute(1, 2, 0, 3, 4).reshape(-1, coils * size * size)[:_PATCHES]
    _, values, basis = torch.linalg.svd(patches, full_matrices=False)
    if not float(values[0]) > 0:
        raise InputError("The centre of k-space is empty: there is nothing to find coil maps from.")
    # Rows of V^H are the conjugate directions; the patches themselves lie along their transpose.
    kernels = basis[values > _NULL_SPACE * values[0]].reshape(-1, coils, size, size)
    padded = kernels.new_zeros((coils, height, width))
    power = kernels.new_zeros((height, width, coils, coils))
    top, left = (height - size) // 2, (width - size) // 2
    for kernel in kernels:
        padded[:, top : top + size, left : left + size] = kernel
        image = inverse_fourier(padded).permute(1, 2, 0) * (height * width) ** 0.5 / size
        for first in range(0, height, _ROWS_AT_ONCE):
            part = image[first : first + _ROWS_AT_ONCE]
            power[first : first + _ROWS_AT_ONCE] += part[..., :, None] * part[..., None, :].conj()
    strength, vectors = torch.linalg.eigh(power)
    maps = vectors[..., -1] * (strength[..., -1:] > threshold)
    first_coil = maps[..., :1]
    maps = maps * torch.where(first_coil.abs() > 0, first_coil.conj() / first_coil.abs().clamp(min=1e-20), 1.0)
    return maps.permute(2, 0, 1).contiguous()
