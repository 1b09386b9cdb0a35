"""Sensor data as pictures for people: sinograms as they are, k-space as its magnitude in decibels."""

import numpy as np

FLOOR_DB = -100.0
SINOGRAM, KSPACE = "sinogram", "k-space"


def kspace_picture(kspace: np.ndarray) -> np.ndarray:
    """k-space (n, coils, ky, kx) as float32 (n, ky, kx): the root sum of squares over the coils, in decibels below
    the largest value of its slice; `FLOOR_DB` for what is smaller, or was not measured."""
    size = np.sqrt(np.square(np.abs(kspace.astype(np.complex128))).sum(axis=1))
    largest = size.max(axis=(1, 2), keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels = 20.0 * np.log10(size / largest)
    return np.maximum(np.nan_to_num(decibels, nan=FLOOR_DB, neginf=FLOOR_DB), FLOOR_DB).astype(np.float32)
