"""The losses of DC2Fusion: local correlation, structural similarity and absolute difference to both images."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

TERMS = ("lncc", "ssim", "l1")
_LNCC_SIDE = 3
_LNCC_LEAST = 1e-5
_SSIM_SIDE, _SSIM_SIGMA = 11, 1.5


def lncc(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared local correlation of images (N, 1, D, H, W) in boxes of 3^3 voxels, 0 to 1.

    cross^2 / (var(a) var(b)) with sums over the box (zeros beyond the border) and variances of at least 1e-5, as
    MONAI's LocalNormalizedCrossCorrelationLoss with a rectangular kernel of 3; that loss is the negative of this.
    """
    voxels = float(_LNCC_SIDE**3)

    def total(x: Tensor) -> Tensor:
        return F.avg_pool3d(x, _LNCC_SIDE, 1, _LNCC_SIDE // 2) * voxels

    sum_a, sum_b = total(a), total(b)
    cross = total(a * b) - sum_a * sum_b / voxels
    var_a = (total(a * a) - sum_a * sum_a / voxels).clamp(min=_LNCC_LEAST)
    var_b = (total(b * b) - sum_b * sum_b / voxels).clamp(min=_LNCC_LEAST)
    return (cross * cross / (var_a * var_b)).mean()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of images (N, 1, D, H, W) in [0, 1]: Gaussian window of 11^3, sigma 1.5, where it
    lies inside; an axis shorter than the window takes all of its length."""
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a, var_b = _smooth(a * a) - mean_a**2, _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    found = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (found / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean()


def fusion_loss(fused: Tensor, pair: Tensor, weights: Mapping[str, float]) -> tuple[Tensor, Tensor]:
    """The loss and its three terms (weighed), stacked in the order of TERMS.

    fused: (N, 1, D, H, W). pair: (N, 2, D, H, W). weights: lncc_first, lncc_second, ssim_..., l1_...; the loss is
    a1 (-LNCC(F, first)) + a2 (-LNCC(F, second)) + b1 (1 - SSIM) + b2 (1 - SSIM) + g1 L1 + g2 L1.
    """
    terms = torch.zeros(len(TERMS), device=fused.device)
    for source, side in zip(pair.split(1, 1), ("first", "second"), strict=True):
        found = (-lncc(fused, source), 1 - ssim(fused, source), (fused - source).abs().mean())
        terms = terms + torch.stack(
            [weights[f"{name}_{side}"] * value for name, value in zip(TERMS, found, strict=True)]
        )
    return terms.sum(), terms


def _smooth(x: Tensor) -> Tensor:
    for axis in (2, 3, 4):
        side = min(_SSIM_SIDE, x.shape[axis])
        places = torch.arange(side, dtype=x.dtype, device=x.device) - (side - 1) / 2
        taps = torch.exp(-0.5 * (places / _SSIM_SIGMA) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[axis] = side
        x = F.conv3d(x, (taps / taps.sum()).reshape(shape))
    return x
