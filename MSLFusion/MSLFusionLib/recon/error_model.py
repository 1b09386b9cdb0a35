"""From the spread of resampled reconstructions to an error to expect, in units of the image.

What changes when data are left out tells where an image hangs on few of them, not how far it is off: an MR that a
network made up from CT data hardly changes at all. So the spread is put beside known errors, of generated heads that
the model was trained on, once and for all:

    log u = w_0 + sum_j w_j log(s_j + 0.001) + a(X_CT) + b(X_MR),

with u the expected |error|, s_j the spread averaged over neighbourhoods of two sizes, and a, b piecewise linear in the
two images, which tell tissues apart. The weights maximise the likelihood of errors with a Laplace distribution, a
convex problem. There is one such model for each image and for each set of modalities that it is made from.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import optimize
from torch import Tensor

from MSLFusionLib.errors import InputError

SIGMAS = (1.0, 3.0)
"""Gaussian neighbourhoods of the spread, in pixels."""
KNOTS = 9
"""Of a and b, evenly over [0, 1]."""
WEIGHTS = 1 + len(SIGMAS) + 2 * KNOTS
_LEAST = 1e-3
_RIDGE = 1e-3


@dataclass(frozen=True)
class ErrorModel:
    """weights: w_0, one for each of SIGMAS, a at its knots, b at its knots."""

    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.weights) != WEIGHTS or not np.isfinite(self.weights).all():
            raise InputError("The model's error statistics are damaged: make them again (mslfusion models statistics).")

    def expected(self, variance: Tensor, ct: Tensor, mr: Tensor) -> Tensor:
        """u in [0, 1] from the mean squared change of the image and the two images, all (n, 1, H, W)."""
        weights = torch.tensor(self.weights, dtype=torch.float32, device=variance.device)
        found = weights[0] + torch.zeros_like(variance)
        for weight, sigma in zip(weights[1:], SIGMAS, strict=False):
            found = found + weight * (blurred(variance, sigma).sqrt() + _LEAST).log()
        for number, image in enumerate((ct, mr)):
            first = 1 + len(SIGMAS) + number * KNOTS
            place = blurred(image, SIGMAS[0]).clamp(0.0, 1.0) * (KNOTS - 1)
            low = place.floor().clamp_max(KNOTS - 2)
            table = weights[first : first + KNOTS]
            left, right = table[low.long()], table[low.long() + 1]
            found = found + left + (place - low) * (right - left)
        return found.exp().clamp(0.0, 1.0)

    def to_list(self) -> list[float]:
        """For a model's card."""
        return [round(weight, 4) for weight in self.weights]


def features(variance: Tensor, ct: Tensor, mr: Tensor) -> np.ndarray:
    """What the weights are multiplied with, float64 (pixels, WEIGHTS), of one slice (1, 1, H, W) each."""
    columns = [torch.ones_like(variance).flatten()]
    columns += [(blurred(variance, sigma).sqrt() + _LEAST).log().flatten() for sigma in SIGMAS]
    for image in (ct, mr):
        place = blurred(image, SIGMAS[0]).clamp(0.0, 1.0).flatten() * (KNOTS - 1)
        columns += [(1.0 - (place - knot).abs()).clamp_min(0.0) for knot in range(KNOTS)]
    return torch.stack(columns, 1).double().cpu().numpy()


def fitted(samples: np.ndarray, errors: np.ndarray) -> ErrorModel:
    """The model of `features` (samples, WEIGHTS) and the absolute errors (samples,) that came with them."""
    errors = errors + 1e-4

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        log = samples @ weights
        ratio = errors * np.exp(-log)
        value = float((log + ratio).mean() + _RIDGE * (weights @ weights))
        return value, samples.T @ (1.0 - ratio) / len(errors) + 2.0 * _RIDGE * weights

    start = np.zeros(WEIGHTS)
    start[0] = np.log(errors.mean())
    found = optimize.minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return ErrorModel(tuple(found.x.tolist()))


def stored(table: Any) -> dict[tuple[str, str], ErrorModel]:
    """The models in a card's table {set of modalities: {image: weights}}; raises InputError for a damaged one."""
    if table is None:
        return {}
    try:
        return {
            (name, image): ErrorModel(tuple(float(weight) for weight in weights))
            for name, images in table.items()
            for image, weights in images.items()
        }
    except (AttributeError, TypeError, ValueError):
        raise InputError("The model's error statistics are damaged: make them again.") from None


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Each slice (n, 1, H, W) averaged with a Gaussian; edges count on."""
    reach = max(1, round(3 * sigma))
    line = torch.arange(-reach, reach + 1, dtype=torch.float32, device=image.device)
    kernel = (-0.5 * (line / sigma) ** 2).exp()
    kernel = kernel / kernel.sum()
    wide = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(wide, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
