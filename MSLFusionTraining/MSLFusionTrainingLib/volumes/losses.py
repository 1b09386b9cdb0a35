"""The losses of DC2Fusion: local correlation, structural similarity and absolute difference to both images."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

TERMS = ("lncc", "ssim", "l1")
_LNCC_SIDE = 3
_LNCC_LEAST = 1e-5
_SSIM_SIDE, _SSIM_SIGMA = 11, 1.5
_SALIENCY_SIDE, _SALIENCY_LEAST = 5, 0.01


def lncc(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared local correlation of images (N, 1, D, H, W) in boxes of 3^3 voxels, 0 to 1; weight: of each voxel.

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
    return _mean(cross * cross / (var_a * var_b), weight)


def dissimilarity(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """1 - mean structural similarity of images (N, 1, D, H, W) in [0, 1]; weight: of each voxel.

    Gaussian window of 11^3, sigma 1.5, where it lies inside; an axis shorter than the window takes all of its length.
    """
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a, var_b = _smooth(a * a) - mean_a**2, _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    found = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    found = found / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    if weight is not None:
        z, y, x = ((n - left) // 2 for n, left in zip(a.shape[2:], found.shape[2:], strict=True))
        weight = weight[..., z : z + found.shape[2], y : y + found.shape[3], x : x + found.shape[4]]
    return _mean(1 - found, weight)


def saliency(pair: Tensor, power: float) -> Tensor:
    """How much each voxel of each image counts, (N, 2, D, H, W), 1 in the mean of both.

    2 s^power / (s1^power + s2^power), s: standard deviation in a box of 5^3 voxels, at least 0.01 so that noise in
    even places counts for little.
    """

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool3d(x, _SALIENCY_SIDE, 1, _SALIENCY_SIDE // 2, count_include_pad=False)

    detail = (mean(pair * pair) - mean(pair) ** 2).clamp(min=_SALIENCY_LEAST**2) ** (power / 2)
    return 2 * detail / detail.sum(dim=1, keepdim=True)


def fusion_loss(fused: Tensor, pair: Tensor, weights: Mapping[str, float], power: float = 0.0) -> tuple[Tensor, Tensor]:
    """The loss and its three terms (weighed), stacked in the order of TERMS.

    fused: (N, 1, D, H, W). pair: (N, 2, D, H, W). weights: lncc_first, lncc_second, ssim_..., l1_...; the loss is
    a1 (-LNCC(F, first)) + a2 (-LNCC(F, second)) + b1 (1 - SSIM) + b2 (1 - SSIM) + g1 L1 + g2 L1. power: above 0 all
    terms are weighed voxel by voxel with the saliency of their source, so that each image is followed where it shows
    more; with 0, as published, all voxels count alike.
    """
    terms = torch.zeros(len(TERMS), device=fused.device)
    counts: Sequence[Tensor | None] = saliency(pair, power).split(1, 1) if power else (None, None)
    for source, side, count in zip(pair.split(1, 1), ("first", "second"), counts, strict=True):
        found = (
            -lncc(fused, source, count),
            dissimilarity(fused, source, count),
            _mean((fused - source).abs(), count),
        )
        terms = terms + torch.stack(
            [weights[f"{name}_{side}"] * value for name, value in zip(TERMS, found, strict=True)]
        )
    return terms.sum(), terms


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    return values.mean() if weight is None else (values * weight).mean()


def _smooth(x: Tensor) -> Tensor:
    for axis in (2, 3, 4):
        side = min(_SSIM_SIDE, x.shape[axis])
        places = torch.arange(side, dtype=x.dtype, device=x.device) - (side - 1) / 2
        taps = torch.exp(-0.5 * (places / _SSIM_SIGMA) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[axis] = side
        x = F.conv3d(x, (taps / taps.sum()).reshape(shape))
    return x
