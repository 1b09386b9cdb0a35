"""The losses of MSL, equations 14 to 20 of Zhu et al., TPAMI 2024, each a small function of tensors."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def reconstruction_loss(x_ct: Tensor, x_mr: Tensor, ct: Tensor, mr: Tensor) -> Tensor:
    """Equation 14 (and 18 for the auxiliary pass): MAE(X_CT, CT*) + MAE(X_MR, MR*)."""
    return F.l1_loss(x_ct, ct) + F.l1_loss(x_mr, mr)


def fusion_loss(x: Tensor, lam: Tensor | float, ct: Tensor, mr: Tensor) -> Tensor:
    """(1 - lambda) MSE(X, CT*) + lambda MSE(X, MR*), voxel by voxel for a map: equation 15 at lambda = 1/2."""
    return ((1 - lam) * (x - ct).square() + lam * (x - mr).square()).mean()


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
    """The terms of equation 20 of one step; `aux` is None where no auxiliary pass was made."""

    reconstruction: Tensor
    fusion: Tensor
    feature: Tensor
    aux: Tensor | None

    def total(self, weight_fusion: float, weight_aux: float, weight_feature: float) -> Tensor:
        """Equation 20."""
        total = self.reconstruction + weight_fusion * self.fusion + weight_feature * self.feature
        return total if self.aux is None else total + weight_aux * self.aux

    def items(self) -> dict[str, float]:
        """The terms as numbers, for logs."""
        named = {"reconstruction": self.reconstruction, "fusion": self.fusion, "feature": self.feature}
        if self.aux is not None:
            named["aux"] = self.aux
        return {name: float(value.detach()) for name, value in named.items()}


def random_lambda(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Lambda for a batch of slices: one number each, or a smooth map for the whole batch, half of the time each.

    shape: (N, H, W). Returns (N, 1, 1, 1) or (N, 1, H, W) in [0, 1], on the generator's device.
    """
    n, height, width = shape
    device = generator.device
    if torch.rand((), generator=generator, device=device) < 0.5:
        return torch.rand((n, 1, 1, 1), generator=generator, device=device)
    coarse = torch.randn((n, 1, 4, 4), generator=generator, device=device) * 2
    return torch.sigmoid(F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False))
