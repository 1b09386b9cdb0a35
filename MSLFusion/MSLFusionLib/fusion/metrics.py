"""How good a fused image is, by ten measures that are always reported together (NumPy, images in [0, 1]).

F is the fused image, A and B its sources. None of the measures knows a right answer. Several of them (MI, normalised
MI, FMI, Qabf, SSIM) grow when one source is simply copied and the other forgotten; therefore no measure stands alone,
and the sources themselves belong into every table, as what copying scores. See COPYING.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from MSLFusionLib import metrics
from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import NO_JOB, Job

COPYING = (
    "MI, normalised MI, FMI, Qabf and SSIM reward an image that merely copies one of its sources, and entropy, spatial "
    "frequency and average gradient reward noise: read all ten together, beside the rows of the sources themselves."
)
_BINS = 256
_FMI_BINS = 8
_FMI_WINDOW = {2: 16, 3: 8}
_VIF_SCALES = 4
_VIF_NOISE = 2.0 / 255.0**2
_VIF_LEAST = 41

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Metric:
    """One measure: key in tables, name, what it is, and how it treats a volume."""

    key: str
    name: str
    meaning: str
    in_3d: str = "3-D"


METRICS = (
    Metric("mi", "MI", "I(A;F) + I(B;F): information that F shares with both [nats]"),
    Metric("nmi", "NMI", "2 I(A;F)/(H(A)+H(F)) + 2 I(B;F)/(H(B)+H(F)), 0 to 2"),
    Metric("fmi", "FMI", "normalised MI of gradient magnitudes in local windows, mean of both sources, 0 to 1"),
    Metric("qabf", "Qabf", "edges of A and B that F keeps in strength and direction, weighed by strength, 0 to 0.975"),
    Metric("ssim", "SSIM", "mean of SSIM(F, A) and SSIM(F, B)"),
    Metric("scd", "SCD", "r(F - B, A) + r(F - A, B): what F adds to one source comes from the other, -2 to 2"),
    Metric("vif", "VIFp", "visual information fidelity in the pixel domain, mean of both sources", "slice mean"),
    Metric("en", "EN", "entropy of F's histogram [bits], 0 to 8"),
    Metric("sf", "SF", "spatial frequency: root of the summed mean squared differences of neighbours"),
    Metric("ag", "AG", "average gradient: mean of the root mean squared difference along the axes"),
)


def evaluate(
    first: Array,
    second: Array,
    fused: Array,
    spacing: tuple[float, ...] | None = None,
    body: Array | None = None,
    slice_axis: int = 0,
    job: Job = NO_JOB,
) -> dict[str, float | None]:
    """All ten measures by key; a value is None where its definition finds nothing to measure.

    first, second, fused: in [0, 1], 2-D or 3-D, of one shape. spacing: mm along each axis, for the directions of
    edges; cubes when None. body: bool, the elements that count; None for all. slice_axis: of a volume, across which
    VIFp takes its slices. Raises InputError when shapes differ or nothing is left.
    """
    spacing = spacing or (1.0,) * first.ndim
    shapes = {first.shape, second.shape, fused.shape} | (set() if body is None else {body.shape})
    if len(shapes) > 1 or len(spacing) != first.ndim:
        raise InputError(f"Images to compare must have one shape, not {', '.join(map(str, sorted(shapes)))}.")
    if body is not None and not body.any():
        raise InputError("There is nothing to compare: the body mask is empty.")
    first, second, fused = (np.asarray(image, np.float32) for image in (first, second, fused))
    measures: Mapping[str, Callable[[], float | None]] = {
        "mi": lambda: shared_information(first, second, fused, body)[0],
        "nmi": lambda: shared_information(first, second, fused, body)[1],
        "fmi": lambda: feature_information(first, second, fused, spacing, body),
        "qabf": lambda: edge_preservation(first, second, fused, spacing, body, job),
        "ssim": lambda: similarity(first, second, fused, body, slice_axis, job),
        "scd": lambda: correlations_of_differences(first, second, fused, body),
        "vif": lambda: fidelity(first, second, fused, body, slice_axis, job),
        "en": lambda: entropy(fused, body),
        "sf": lambda: spatial_frequency(fused, body),
        "ag": lambda: average_gradient(fused, body),
    }
    found: dict[str, float | None] = {}
    for done, (key, measure) in enumerate(measures.items()):
        job.step("measure", done, len(measures))
        found[key] = measure()
    job.step("measure", len(measures), len(measures))
    return found


def _inside(image: Array, body: Array | None) -> Array:
    return image.ravel() if body is None else image[body]


def entropy(image: Array, body: Array | None = None) -> float:
    """-sum p log2 p of the histogram of 256 bins over [0, 1], in bits."""
    return _entropy(_bins(_inside(image, body), _BINS), _BINS) / math.log(2)


def shared_information(first: Array, second: Array, fused: Array, body: Array | None = None) -> tuple[float, float]:
    """MI = I(A;F) + I(B;F) in nats (Qu et al. 2002) and Hossny's normalised form of it (2008), 0 to 2."""
    total = normalised = 0.0
    fused_bins = _bins(_inside(fused, body), _BINS)
    for source in (first, second):
        source_bins = _bins(_inside(source, body), _BINS)
        own = _entropy(source_bins, _BINS), _entropy(fused_bins, _BINS)
        information = max(0.0, sum(own) - _entropy(source_bins * _BINS + fused_bins, _BINS * _BINS))
        total += information
        normalised += 2 * information / sum(own) if sum(own) > 0 else 0.0
    return total, normalised


def feature_information(
    first: Array, second: Array, fused: Array, spacing: tuple[float, ...], body: Array | None = None
) -> float | None:
    """Feature mutual information (after Haghighat et al., Comput Electr Eng 37:744, 2011) of gradient magnitudes.

    In windows side by side (16 x 16 pixels, 8 x 8 x 8 voxels, at least half inside the body) the gradient magnitudes
    of F and of a source are put into 8 bins between the window's smallest and largest; 2 I / (H + H) is averaged over
    the windows that hold anything and over both sources. 1 when F's gradients follow from those of both sources. Few
    values in a window give unrelated images a little more than 0.
    """
    window = _FMI_WINDOW[fused.ndim]
    features = [_windows(gradient(image, spacing)[0], window) for image in (first, second, fused)]
    kept = None if body is None else _windows(body, window).mean(axis=1) >= 0.5
    binned = [_window_bins(f if kept is None else f[kept]) for f in features]
    shares = []
    for source in binned[:2]:
        joint = _window_entropies(source * _FMI_BINS + binned[2], _FMI_BINS**2)
        own = _window_entropies(source, _FMI_BINS) + _window_entropies(binned[2], _FMI_BINS)
        real = own > 1e-9
        if real.any():
            shares.append(float(np.mean(2 * np.maximum(0.0, own[real] - joint[real]) / own[real])))
    return float(np.mean(shares)) if shares else None


def edge_preservation(
    first: Array,
    second: Array,
    fused: Array,
    spacing: tuple[float, ...],
    body: Array | None = None,
    job: Job = NO_JOB,
) -> float | None:
    """Qabf (Xydeas & Petrovic, Electronics Letters 36:308, 2000), for any number of axes.

    g: magnitude of the Sobel gradient; G = smaller / larger g of F and source; O = 1 - angle / (pi/2), the angle
    between the lines along which the two gradients lie. Q = Gamma_g / (1 + exp(k_g (G - s_g))) times the same of O
    with Gamma .9994, .9879, k -15, -22, s .5, .8; the mean of Q over elements and both sources weighed by the
    source's g. A perfect copy of both reaches 0.9748. None where no source has an edge.
    """
    strength_f, direction_f = gradient(fused, spacing)
    above = below = 0.0
    for source in (first, second):
        job.check()
        strength, direction = gradient(source, spacing)
        larger = np.maximum(strength, strength_f)
        ratio = np.divide(np.minimum(strength, strength_f), larger, out=np.zeros_like(larger), where=larger > 0)
        product = strength * strength_f
        cosine = sum(a * b for a, b in zip(direction, direction_f, strict=True))
        cosine = np.divide(np.abs(cosine), product, out=np.zeros_like(product), where=product > 0)
        aligned = 1 - np.arccos(np.clip(cosine, 0.0, 1.0)) / (math.pi / 2)
        kept = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5))) * 0.9879 / (1 + np.exp(-22 * (aligned - 0.8)))
        above += float(_inside(kept * strength, body).sum(dtype=np.float64))
        below += float(_inside(strength, body).sum(dtype=np.float64))
    return above / below if below > 0 else None


def gradient(image: Array, spacing: tuple[float, ...]) -> tuple[Array, list[Array]]:
    """Magnitude and components of the Sobel gradient, per length of the shortest voxel side."""
    finest = min(spacing)
    parts = [ndimage.sobel(image, axis, mode="nearest") * np.float32(finest / mm) for axis, mm in enumerate(spacing)]
    return np.sqrt(sum(part * part for part in parts)), parts


def similarity(
    first: Array, second: Array, fused: Array, body: Array | None = None, slice_axis: int = 0, job: Job = NO_JOB
) -> float | None:
    """Mean SSIM of F with A and with B (see metrics.ssim); 3-D windows, or 2-D ones where a volume has fewer than 11
    slices. None for images smaller than the window."""
    thin = fused.ndim == 3 and fused.shape[slice_axis] <= 2 * metrics.SSIM_RADIUS
    axis = slice_axis if thin else None
    try:
        return sum(metrics.ssim(fused, source, mask=body, slice_axis=axis, job=job) for source in (first, second)) / 2
    except InputError:
        return None


def correlations_of_differences(first: Array, second: Array, fused: Array, body: Array | None = None) -> float:
    """SCD (Aslantas & Bendes, AEU 69:1890, 2015): r(F - B, A) + r(F - A, B); a correlation with nothing counts 0."""
    a, b, f = (_inside(image, body).astype(np.float64) for image in (first, second, fused))
    return _correlation(f - b, a) + _correlation(f - a, b)


def fidelity(
    first: Array, second: Array, fused: Array, body: Array | None = None, slice_axis: int = 0, job: Job = NO_JOB
) -> float | None:
    """Mean over both sources of VIFp; for a volume over its slices of at least 41 x 41 pixels that show the body.

    None when there is no such slice.
    """
    volumes = [
        np.moveaxis(image, slice_axis, 0) if image.ndim == 3 else image[None] for image in (first, second, fused)
    ]
    shown = None if body is None else np.moveaxis(body, slice_axis, 0) if body.ndim == 3 else body[None]
    if min(volumes[0].shape[1:]) < _VIF_LEAST:
        return None
    values = []
    for index, planes in enumerate(zip(*volumes, strict=True)):
        if shown is not None and not shown[index].any():
            continue
        job.check()
        scores = [visual_information(source, planes[2]) for source in planes[:2]]
        values += [score for score in scores if score is not None]
    return float(np.mean(values)) if values else None


def visual_information(source: Array, image: Array) -> float | None:
    """VIFp of a 2-D image against its source (Sheikh & Bovik, IEEE Trans Image Proc 15:430, 2006, pixel domain).

    Four scales, Gaussian windows of 17, 9, 5, 3 pixels (sigma a fifth of that), noise variance 2 for values 0..255.
    1 for the source itself, above 1 where contrast grows; None for a source without any.
    """
    a, b = source.astype(np.float64), image.astype(np.float64)
    above = below = 0.0
    for scale in range(_VIF_SCALES):
        size = 2 ** (_VIF_SCALES - scale) + 1
        taps = np.exp(-0.5 * ((np.arange(size) - size // 2) / (size / 5.0)) ** 2)
        taps /= taps.sum()
        if scale:
            a, b = _valid(a, taps)[::2, ::2], _valid(b, taps)[::2, ::2]
        mean_a, mean_b = _valid(a, taps), _valid(b, taps)
        var_a = np.maximum(_valid(a * a, taps) - mean_a**2, 0.0)
        var_b = np.maximum(_valid(b * b, taps) - mean_b**2, 0.0)
        gain = (_valid(a * b, taps) - mean_a * mean_b) / (var_a + 1e-10)
        flat_a, flat_b = var_a < 1e-10, var_b < 1e-10
        gain[flat_a | flat_b] = 0.0
        rest = var_b - gain * (_valid(a * b, taps) - mean_a * mean_b)
        rest = np.where(flat_a | (gain < 0), var_b, rest)
        rest = np.maximum(np.where(flat_b, 0.0, rest), 1e-10)
        gain = np.maximum(gain, 0.0)
        var_a = np.where(flat_a, 0.0, var_a)
        above += float(np.log1p(gain**2 * var_a / (rest + _VIF_NOISE)).sum())
        below += float(np.log1p(var_a / _VIF_NOISE).sum())
    return above / below if below > 0 else None


def spatial_frequency(image: Array, body: Array | None = None) -> float:
    """Root of the sum over the axes of the mean squared difference of neighbours (Eskicioglu & Fisher 1995)."""
    return math.sqrt(sum(float(np.square(step, dtype=np.float64).mean()) for step in _steps(image, body)))


def average_gradient(image: Array, body: Array | None = None) -> float:
    """Mean over elements of the root mean squared forward difference along the axes, 0 beyond the last element."""
    total = np.zeros(image.shape, np.float32)
    for axis in range(image.ndim):
        step = np.diff(image, axis=axis)
        total[tuple(slice(0, n) for n in step.shape)] += step * step
    return float(_inside(np.sqrt(total / image.ndim), body).mean(dtype=np.float64))


def _steps(image: Array, body: Array | None) -> list[Array]:
    """Differences of neighbours along each axis, of those that both lie in the body."""
    found = []
    for axis in range(image.ndim):
        step = np.diff(image, axis=axis)
        if body is not None:
            low = tuple(slice(0, -1) if a == axis else slice(None) for a in range(image.ndim))
            high = tuple(slice(1, None) if a == axis else slice(None) for a in range(image.ndim))
            step = step[body[low] & body[high]]
        if step.size:
            found.append(step)
    return found


def _bins(values: Array, bins: int) -> Array:
    return np.clip(values * bins, 0, bins - 1).astype(np.int64)


def _entropy(binned: Array, bins: int) -> float:
    """Entropy in nats."""
    counts = np.bincount(binned, minlength=bins)
    shares = counts[counts > 0] / binned.size
    return float(-(shares * np.log(shares)).sum())


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 1e-12 * a.size else 0.0


def _windows(image: Array, size: int) -> Array:
    """The image cut into windows side by side, (windows, elements); what is left over at the far ends is dropped.

    An axis shorter than a window is one window.
    """
    sides = [min(size, n) for n in image.shape]
    cut = image[tuple(slice(0, n - n % side) for n, side in zip(image.shape, sides, strict=True))]
    split = cut.reshape([m for n, side in zip(cut.shape, sides, strict=True) for m in (n // side, side)])
    order = [*range(0, split.ndim, 2), *range(1, split.ndim, 2)]
    return split.transpose(order).reshape(-1, math.prod(sides))


def _window_bins(windows: Array) -> Array:
    """Bin numbers between each window's smallest and largest value."""
    low, high = windows.min(axis=1, keepdims=True), windows.max(axis=1, keepdims=True)
    scaled = (windows - low) / np.maximum(high - low, 1e-6)
    return np.minimum(scaled * _FMI_BINS, _FMI_BINS - 1).astype(np.int64)


def _window_entropies(binned: Array, bins: int) -> Array:
    """Entropy of each row in nats."""
    rows, elements = binned.shape
    flat = (binned + bins * np.arange(rows)[:, None]).ravel()
    shares = np.bincount(flat, minlength=rows * bins).reshape(rows, bins) / elements
    return -np.sum(shares * np.log(np.where(shares > 0, shares, 1.0)), axis=1)


def _valid(image: Array, taps: Array) -> Array:
    """The image filtered with `taps` along both axes, where the window lies inside."""
    reach = len(taps) // 2
    for axis in (0, 1):
        image = ndimage.correlate1d(image, taps, axis)
    return image[reach : image.shape[0] - reach, reach : image.shape[1] - reach]
