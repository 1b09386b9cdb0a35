"""How close two images are: MAE, NMSE, PSNR, SSIM, (normalised) mutual information. NumPy arrays of any number of axes.

Every function compares all elements, or those where the optional bool `mask` (same shape) is True, computes in
float64 and raises InputError when shapes differ or nothing is left to compare.
"""

import math
from typing import Any

import numpy as np
from scipy import ndimage

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job

Array = np.ndarray[Any, Any]

SSIM_SIGMA = 1.5
SSIM_TRUNCATE = 3.5
SSIM_RADIUS = int(SSIM_TRUNCATE * SSIM_SIGMA + 0.5)


def mae(a: Array, b: Array, mask: Array | None = None) -> float:
    """Mean absolute error, in the unit of the images."""
    first, second = _selected(a, b, mask)
    return float(np.abs(first - second).mean())


def psnr(a: Array, b: Array, data_range: float = 1.0, mask: Array | None = None) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(data_range^2 / MSE); infinite for equal images."""
    first, second = _selected(a, b, mask)
    error = float(np.square(first - second).mean())
    return math.inf if error == 0.0 else 10.0 * math.log10(data_range**2 / error)


def nmse(image: Array, truth: Array, mask: Array | None = None) -> float:
    """Normalised mean squared error |image - truth|^2 / |truth|^2; infinite for an empty truth that is not met."""
    first, second = _selected(image, truth, mask)
    error, power = float(np.square(first - second).sum()), float(np.square(second).sum())
    return 0.0 if error == 0.0 else error / power if power > 0.0 else math.inf


def ssim(
    a: Array,
    b: Array,
    data_range: float = 1.0,
    mask: Array | None = None,
    slice_axis: int | None = None,
    job: Job = NO_JOB,
) -> float:
    """Mean structural similarity (Wang et al., IEEE TIP 13:600, 2004) over the array's axes.

    Gaussian weights of sigma 1.5 cut at 3.5 sigma, K1 = 0.01, K2 = 0.03, population covariance; the border of 5
    elements that has no full window is left out. Equal to scikit-image's structural_similarity with
    gaussian_weights=True, use_sample_covariance=False. With `slice_axis` the windows lie in the slices across
    that axis (a volume's 2-D SSIM) and the mean runs over all slices; `job` may cancel between them.
    """
    _check(a, b, mask)
    first, second = np.asarray(a), np.asarray(b)
    if slice_axis is None:
        total, count = _ssim_sum(first, second, data_range, mask)
    else:
        total, count = 0.0, 0
        for index in range(first.shape[slice_axis]):
            job.check()
            inside = None if mask is None else np.take(mask, index, slice_axis)
            part, elements = _ssim_sum(
                np.take(first, index, slice_axis), np.take(second, index, slice_axis), data_range, inside
            )
            total, count = total + part, count + elements
    if count == 0:
        raise InputError("SSIM has nothing to compare: the images or their mask are smaller than its window.")
    return total / count


def mutual_information(
    a: Array,
    b: Array,
    bins: int = 256,
    base: float = math.e,
    mask: Array | None = None,
    limits: tuple[float, float] | None = None,
) -> float:
    """Mutual information I(a; b) = H(a) + H(b) - H(a, b) of the joint histogram, in units of log `base`.

    `bins` equal bins per image between `limits`, or between each image's own smallest and largest value.
    At least 0; 0 when one image is constant.
    """
    return information(joint_histogram(a, b, bins, mask, limits))[0] / math.log(base)


def normalised_mutual_information(
    a: Array, b: Array, bins: int = 256, mask: Array | None = None, limits: tuple[float, float] | None = None
) -> float:
    """(H(a) + H(b)) / H(a, b) (Studholme, Hill & Hawkes, Pattern Recognition 32:71, 1999), from 1 to 2.

    1 where the images tell nothing of each other, or are both constant; 2 where each is a function of the other.
    Bins as for `mutual_information`.
    """
    return information(joint_histogram(a, b, bins, mask, limits))[1]


def joint_histogram(
    a: Array, b: Array, bins: int = 256, mask: Array | None = None, limits: tuple[float, float] | None = None
) -> Array:
    """How many elements fall into each pair of bins, int64 (bins of a, bins of b); see `mutual_information`."""
    first, second = _selected(a, b, mask)
    ranges = [limits or (float(values.min()), float(values.max())) for values in (first, second)]
    indices = [_binned(values, bins, *edges) for values, edges in zip((first, second), ranges, strict=True)]
    return np.bincount(indices[0] * bins + indices[1], minlength=bins * bins).reshape(bins, bins)


def information(joint: Array) -> tuple[float, float]:
    """Mutual information in nats and normalised mutual information of a joint histogram that is not empty."""
    alone, together = _entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1)), _entropy(joint)
    return max(0.0, alone - together), (alone / together if together > 0 else 1.0)


def _binned(values: Array, bins: int, low: float, high: float) -> Array:
    if not high > low:
        return np.zeros(values.shape, dtype=np.int64)
    return np.clip((values - low) * (bins / (high - low)), 0, bins - 1).astype(np.int64)


def _entropy(counts: Array) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _ssim_sum(a: Array, b: Array, data_range: float, mask: Array | None) -> tuple[float, int]:
    """Sum and number of the local SSIM values that count."""
    values = local_ssim(a, b, data_range)
    kept = values if mask is None else values[np.asarray(mask, dtype=bool)[inner(a.ndim)]]
    return float(kept.sum()), int(kept.size)


def inner(axes: int) -> tuple[slice, ...]:
    """Where an array of so many axes has full windows of SSIM."""
    return (slice(SSIM_RADIUS, -SSIM_RADIUS),) * axes


def local_ssim(a: Array, b: Array, data_range: float = 1.0) -> Array:
    """The SSIM of each window that lies wholly within the arrays; see `ssim`. Empty where none does."""
    if min(a.shape) <= 2 * SSIM_RADIUS:
        return np.zeros([max(0, n - 2 * SSIM_RADIUS) for n in a.shape])
    a, b = a.astype(np.float64), b.astype(np.float64)

    def local_mean(values: Array) -> Array:
        return ndimage.gaussian_filter(values, SSIM_SIGMA, truncate=SSIM_TRUNCATE)

    mean_a, mean_b = local_mean(a), local_mean(b)
    variance_a = local_mean(a * a) - mean_a * mean_a
    variance_b = local_mean(b * b) - mean_b * mean_b
    covariance = local_mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    return values[inner(a.ndim)]


def _check(a: Array, b: Array, mask: Array | None) -> None:
    shapes = {np.shape(values) for values in (a, b, mask) if values is not None}
    if len(shapes) > 1:
        raise InputError(f"Images and mask to compare have different shapes: {', '.join(map(str, shapes))}.")


def _selected(a: Array, b: Array, mask: Array | None) -> tuple[Array, Array]:
    _check(a, b, mask)
    first, second = np.asarray(a), np.asarray(b)
    if mask is not None:
        inside = np.asarray(mask, dtype=bool)
        first, second = first[inside], second[inside]
    if first.size == 0:
        raise InputError("There is nothing to compare: the images or their mask are empty.")
    return first.ravel().astype(np.float64), second.ravel().astype(np.float64)
