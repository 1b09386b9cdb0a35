"""The losses of MSL, equations 14 to 20 of Zhu et al., TPAMI 2024, each a small function of tensors.

Truths are (N, n, H, W), one channel per modality: with n = 2 CT first, then MR, as published. Weights of the
modalities are (N, n, 1, 1), or (N, n, H, W) for a map, and sum to one: (1 - lambda, lambda) with n = 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor


def reconstruction_loss(images: Sequence[Tensor], truths: Tensor) -> Tensor:
    """Equations 14 and 18: the sum over modalities of MAE(X_m, truth_m), each image (N, 1, H, W)."""
    terms = [F.l1_loss(image, truths[:, m : m + 1]) for m, image in enumerate(images)]
    return torch.stack(terms).sum()


def fusion_loss(image: Tensor, weights: Tensor, truths: Tensor) -> Tensor:
    """The mean of w_m (X - truth_m)^2 summed over modalities: equation 15 where all weights are equal."""
    return ((image - truths).square() * weights).sum(1).mean()


def soft_clip(x: Tensor, slope: float) -> Tensor:
    """x within [0, 1], and what lies outside only to a share `slope`: decoded images are clipped in the end.

    Air, where the truth is exactly 0, is then learned at once instead of being fitted from both sides.
    """
    inside = x.clamp(0, 1)
    return inside + slope * (x - inside)


def feature_loss(groups: Tensor, modalities: int) -> Tensor:
    """Equation 19: the inter-modality features resemble the intra-modality ones of the modality they serve.

    groups: (N, n * n, tokens, D), group i * n + j being modality i's share for modality j. The sum over ordered
    pairs of MAE(intra_j, inter_i->j), divided by n - 1 so that n = 2 is the published sum.
    """
    shares = groups.unflatten(1, (modalities, modalities))
    total = groups.new_zeros(())
    for i in range(modalities):
        for j in range(modalities):
            if i != j:
                total = total + F.l1_loss(shares[:, i, j], shares[:, j, j])
    return total / (modalities - 1)


@dataclass(frozen=True)
class LossTerms:
    """The terms of equation 20 of one step; `aux` is zero where no auxiliary pass was made, `consistent` where images
    were not corrected towards the data."""

    reconstruction: Tensor
    fusion: Tensor
    feature: Tensor
    aux: Tensor
    consistent: Tensor = field(default_factory=lambda: torch.zeros(()))

    def total(
        self, reconstruction: float, fusion: float, aux: float, feature: float, consistent: float = 1.0
    ) -> Tensor:
        """Equation 20 with its four weights; published are 1, 1, 1, 0.5. Then that of the corrected images."""
        weighted = reconstruction * self.reconstruction + fusion * self.fusion
        return weighted + aux * self.aux + feature * self.feature + consistent * self.consistent


def equal_weights(modalities: int, device: torch.device) -> Tensor:
    """(1, n, 1, 1): lambda = 0.5 of two modalities."""
    return torch.full((1, modalities, 1, 1), 1 / modalities, device=device)


def random_weights(
    modalities: int, shape: tuple[int, int], maps: bool, generators: Sequence[torch.Generator]
) -> Tensor:
    """Weights for a batch of slices: one set each, or a smooth map each.

    shape: (H, W); generators: one per slice. Returns (N, n, 1, 1) or (N, n, H, W) on the generators' device, evenly
    spread over the simplex, for two modalities (1 - lambda, lambda) with lambda uniform.
    """
    if not maps:
        spread = [
            -torch.rand((modalities, 1, 1), generator=g, device=g.device).clamp_min(1e-7).log() for g in generators
        ]
        drawn = torch.stack(spread)
        return drawn / drawn.sum(1, keepdim=True)
    coarse = torch.stack([torch.randn((modalities, 4, 4), generator=g, device=g.device) for g in generators])
    smooth = F.interpolate(coarse * 2**0.5, shape, mode="bicubic", align_corners=False)
    return smooth.softmax(1)
