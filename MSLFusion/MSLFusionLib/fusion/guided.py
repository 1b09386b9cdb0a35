"""Fusion with guided filters (Li, Kang & Hu, IEEE Trans Image Proc 22:2864, 2013), in 2-D and 3-D, lengths in mm.

Each image is split into a smooth base and its details. Which image is more salient (smoothed magnitude of the
Laplacian) gives two binary maps; guided by the images they follow their edges, widely for the bases, closely for the
details, and weigh the two.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from MSLFusionLib.fusion.interface import Pair
from MSLFusionLib.progress import Job

_BASE_EPS, _DETAIL_EPS = 0.3, 1e-6
_STEPS = 6


def guided(pair: Pair, settings: Mapping[str, Any], job: Job) -> np.ndarray:
    """The fused image; settings: base_mm, weight_mm, detail_mm, saliency_mm (see the registry)."""
    spacing = pair.spacing
    images = [pair.first.astype(np.float32), pair.second.astype(np.float32)]
    job.step("guided filter", 0, _STEPS)
    salient = [saliency(image, spacing, settings["saliency_mm"]) for image in images]
    chosen = salient[0] >= salient[1]
    del salient
    result = np.zeros_like(images[0])
    scales = (("base", settings["weight_mm"], _BASE_EPS), ("detail", settings["detail_mm"], _DETAIL_EPS))
    done = 1
    for part, radius, eps in scales:
        total = np.full_like(result, 1e-12)
        mixed = np.zeros_like(result)
        for image, mask in zip(images, (chosen, ~chosen), strict=True):
            job.step("guided filter", done, _STEPS)
            done += 1
            weight = guided_filter(image, mask.astype(np.float32), spacing, radius, eps)
            np.clip(weight, 0.0, 1.0, out=weight)
            base = box_mean(image, spacing, settings["base_mm"])
            mixed += weight * (base if part == "base" else image - base)
            total += weight
        # Where neither image is wanted (weights of zero) they count alike.
        result += np.where(total > 1e-6, mixed / total, _mean_of(images, part, spacing, settings["base_mm"]))
    job.step("guided filter", _STEPS, _STEPS)
    return result


def _mean_of(images: list[np.ndarray], part: str, spacing: tuple[float, ...], radius: float) -> np.ndarray:
    mean = (images[0] + images[1]) / 2
    base = box_mean(mean, spacing, radius)
    return base if part == "base" else mean - base


def saliency(image: np.ndarray, spacing: tuple[float, ...], sigma_mm: float) -> np.ndarray:
    """Smoothed magnitude of the Laplacian in units of the shortest voxel side."""
    finest = min(spacing)
    bend = np.zeros_like(image)
    for axis, mm in enumerate(spacing):
        bend += ndimage.correlate1d(image, [1.0, -2.0, 1.0], axis, mode="nearest") * np.float32((finest / mm) ** 2)
    return ndimage.gaussian_filter(np.abs(bend), [sigma_mm / mm for mm in spacing], mode="nearest", truncate=2.0)


def guided_filter(
    guide: np.ndarray, image: np.ndarray, spacing: tuple[float, ...], radius_mm: float, eps: float
) -> np.ndarray:
    """He, Sun & Tang's guided filter: `image` smoothed so that its edges are those of `guide` (float32, one shape).

    a = cov(guide, image) / (var(guide) + eps) and b = mean(image) - a mean(guide) in boxes of half-width radius_mm;
    the result is mean(a) guide + mean(b).
    """
    mean_guide, mean_image = box_mean(guide, spacing, radius_mm), box_mean(image, spacing, radius_mm)
    a = box_mean(guide * image, spacing, radius_mm) - mean_guide * mean_image
    variance = box_mean(guide * guide, spacing, radius_mm) - mean_guide * mean_guide
    a /= np.maximum(variance, 0.0) + np.float32(eps)
    b = mean_image - a * mean_guide
    return box_mean(a, spacing, radius_mm) * guide + box_mean(b, spacing, radius_mm)


def box_mean(image: np.ndarray, spacing: tuple[float, ...], radius_mm: float) -> np.ndarray:
    """Means in boxes that reach radius_mm to each side (to the nearest whole voxel), edges repeated."""
    for axis, mm in enumerate(spacing):
        reach = min(round(radius_mm / mm), image.shape[axis] - 1)
        if reach:
            image = ndimage.uniform_filter1d(image, 2 * reach + 1, axis, mode="nearest")
    return image
