"""Fusion scale by scale: the Laplacian pyramid and wavelets, for images and volumes with voxels of any shape.

From level to level only those axes are halved along which the voxels are not clearly longer than the shortest ones,
so that after a few levels thick slices and fine pixels meet at cubes. Sizes need not be even.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion.interface import Pair
from MSLFusionLib.progress import Job

_LONGER = 1.5
_SHORTEST_AXIS = 8
_BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16.0


def halved_axes(shape: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[int, ...]:
    """The axes that the next level halves: long enough, and with voxels at most 1.5 times the shortest of these."""
    possible = [axis for axis, n in enumerate(shape) if n >= _SHORTEST_AXIS]
    if not possible:
        return ()
    finest = min(spacing[axis] for axis in possible)
    return tuple(axis for axis in possible if spacing[axis] <= _LONGER * finest)


def stronger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of two details the one of larger magnitude, the first where they are equal."""
    return np.where(np.abs(a) >= np.abs(b), a, b)


def laplacian(pair: Pair, settings: Mapping[str, Any], job: Job) -> np.ndarray:
    """Burt and Adelson's pyramid: of each detail the stronger one, of the coarsest level the mean.

    Burt & Kolczynski, ICCV 1993; the 5-tap binomial kernel of Burt & Adelson, IEEE Trans Comm 31:532, 1983.
    """
    a, b = pair.first.astype(np.float32), pair.second.astype(np.float32)
    spacing, details = list(pair.spacing), []
    for level in range(settings["levels"]):
        job.step("pyramid", level, settings["levels"])
        axes = halved_axes(a.shape, tuple(spacing))
        if not axes:
            break
        small_a, small_b = reduced(a, axes), reduced(b, axes)
        detail = stronger(a - expanded(small_a, a.shape, axes), b - expanded(small_b, b.shape, axes))
        details.append((detail, axes))
        a, b = small_a, small_b
        for axis in axes:
            spacing[axis] *= 2
    result = (a + b) / 2
    for detail, axes in reversed(details):
        job.check()
        result = expanded(result, detail.shape, axes) + detail
    return result


def reduced(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The next coarser level: smoothed, every second sample along `axes`."""
    for axis in axes:
        array = ndimage.correlate1d(array, _BINOMIAL, axis, mode="mirror")
        array = array[tuple(slice(None, None, 2 if a == axis else 1) for a in range(array.ndim))]
    return np.ascontiguousarray(array)


def expanded(array: np.ndarray, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """A level interpolated to the `shape` of the next finer one."""
    for axis in axes:
        spread = np.zeros([shape[a] if a == axis else n for a, n in enumerate(array.shape)], np.float32)
        spread[tuple(slice(None, None, 2 if a == axis else 1) for a in range(array.ndim))] = array
        array = ndimage.correlate1d(spread, 2 * _BINOMIAL, axis, mode="mirror")
    return array


def wavelet(pair: Pair, settings: Mapping[str, Any], job: Job) -> np.ndarray:
    """The discrete wavelet transform: of each detail coefficient the stronger one, of the approximation the mean.

    Li, Manjunath & Mitra, Graph Models Image Proc 57:235, 1995. Raises InputError when PyWavelets is not installed
    and for an unknown wavelet.
    """
    try:
        import pywt
    except ModuleNotFoundError:
        raise InputError(
            "The method wavelet needs PyWavelets: pip install PyWavelets (in Slicer: PythonSlicer -m pip install "
            "PyWavelets), or choose another method."
        ) from None
    if settings["wavelet"] not in pywt.wavelist(kind="discrete"):
        raise InputError(f"There is no wavelet '{settings['wavelet']}': use sym4, db2, bior4.4, haar, ...")
    kind = pywt.Wavelet(settings["wavelet"])
    a, b = pair.first.astype(np.float32), pair.second.astype(np.float32)
    spacing, levels = list(pair.spacing), []
    for level in range(settings["levels"]):
        job.step("wavelets", level, settings["levels"])
        axes = halved_axes(a.shape, tuple(spacing))
        if not axes:
            break
        shape = a.shape
        parts_a, parts_b = pywt.dwtn(a, kind, axes=axes), pywt.dwtn(b, kind, axes=axes)
        a, b = parts_a.pop("a" * len(axes)), parts_b.pop("a" * len(axes))
        levels.append(({key: stronger(part, parts_b[key]) for key, part in parts_a.items()}, axes, shape))
        for axis in axes:
            spacing[axis] *= 2
    result = (a + b) / 2
    for details, axes, shape in reversed(levels):
        job.check()
        result = pywt.idwtn(details | {"a" * len(axes): result}, kind, axes=axes)
        result = result[tuple(slice(0, n) for n in shape)]  # odd sizes come back one longer
    return result
