"""Fusion voxel by voxel: a weighted mean, the larger value, weights from principal components, colour over grey."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from MSLFusionLib.fusion.interface import Pair
from MSLFusionLib.progress import Job

_HEAT = np.array([[0.0, 0.0, 0.0], [0.75, 0.05, 0.0], [1.0, 0.65, 0.0], [1.0, 1.0, 0.85]], np.float32)
_ICE = np.array([[0.0, 0.0, 0.0], [0.05, 0.2, 0.75], [0.1, 0.75, 1.0], [0.9, 1.0, 1.0]], np.float32)
COLOURS = {"heat": _HEAT, "ice": _ICE}
"""Colours (red, green, blue) of the values 0, 1/3, 2/3 and 1, linear between them."""


def alpha(pair: Pair, settings: Mapping[str, Any], job: Job) -> np.ndarray:
    """(1 - w) first + w second."""
    job.check()
    weight = np.float32(settings["weight"])
    return (1 - weight) * pair.first + weight * pair.second


def maximum(pair: Pair, _settings: Mapping[str, Any], job: Job) -> np.ndarray:
    """The larger of the two values."""
    job.check()
    return np.maximum(pair.first, pair.second)


def pca(pair: Pair, _settings: Mapping[str, Any], job: Job) -> np.ndarray:
    """w1 first + w2 second with the weights of `pca_weights`."""
    job.check()
    first, second = (np.float32(weight) for weight in pca_weights(pair))
    return first * pair.first + second * pair.second


def pca_weights(pair: Pair) -> tuple[float, float]:
    """Weights from the principal axis (v1, v2) of the two images' values in the body: |v| / (|v1| + |v2|).

    The absolute values keep the weights positive where the images' contrasts are opposite. Equal for constant images.
    """
    inside = ... if pair.body is None or not pair.body.any() else pair.body
    values = np.stack([pair.first[inside].ravel(), pair.second[inside].ravel()]).astype(np.float64)
    _, vectors = np.linalg.eigh(np.cov(values))
    axis = np.abs(vectors[:, -1])
    if not values.std(axis=1).any():
        return 0.5, 0.5
    first, second = axis / axis.sum()
    return float(first), float(second)


def overlay(pair: Pair, settings: Mapping[str, Any], job: Job) -> np.ndarray:
    """The first image in grey with the second over it in colour, (..., 3).

    Where the second is 0 the grey shows alone; its share grows with the value v as opacity * sqrt(v).
    """
    job.check()
    colour = coloured(pair.second, settings["colours"])
    share = np.float32(settings["opacity"]) * np.sqrt(pair.second)[..., None]
    colour *= share
    colour += (1 - share) * pair.first[..., None]
    return colour


def coloured(values: np.ndarray, colours: str) -> np.ndarray:
    """Values in [0, 1] as colours float32 (..., 3)."""
    knots = COLOURS[colours]
    places = np.linspace(0.0, 1.0, len(knots))
    result = np.empty((*values.shape, 3), np.float32)
    for channel in range(3):
        result[..., channel] = np.interp(values, places, knots[:, channel])
    return result


def luminance(colour: np.ndarray) -> np.ndarray:
    """How bright colours (..., 3) are, in [0, 1] (Rec. 709)."""
    return colour @ np.array([0.2126, 0.7152, 0.0722], np.float32)
