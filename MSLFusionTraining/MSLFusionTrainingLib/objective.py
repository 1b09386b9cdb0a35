"""What a step minimises: one forward pass, two decodes and a fusion, two auxiliary decodes."""

import torch
from torch import Tensor, nn

from MSLFusionLib.nets.decoder import Latent
from MSLFusionLib.nets.encoder import Features
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.mslconfig import STRIDE
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.losses import (
    LossTerms,
    equal_weights,
    feature_loss,
    fusion_loss,
    reconstruction_loss,
    soft_clip,
)


class Objective(nn.Module):
    """The terms of equation 20 of a batch, as one module that torch.compile can take whole."""

    def __init__(self, model: MSL, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(
        self,
        sensors: Tensor,
        truths: Tensor,
        weights: Tensor | None = None,
        present: Tensor | None = None,
        origin: tuple[int, int] | None = None,
    ) -> LossTerms:
        """sensors, truths: (N, n, H, W) in [0, 1].

        weights: of the fused image, see losses; None for equal ones. present: (N, n) bool, what the auxiliary pass
        may see; None leaves it out. origin: corner of a crop in pixels. The loss is float32 under autocast too.
        """
        model = self.model
        n = len(model.modalities)
        tokens = None if origin is None else (origin[0] // STRIDE, origin[1] // STRIDE)
        if weights is None:
            weights = equal_weights(n, truths.device)
        features = model.features(sensors.split(1, 1))
        groups = model.interaction(features, None, tokens)
        everything = torch.ones(sensors.shape[0], n, dtype=torch.bool, device=sensors.device)
        latent = model.fuse(features, groups, everything)
        *alone, fused = self._decode(latent, [*_corners(n, truths), weights])
        aux = truths.new_zeros(())
        if present is not None:
            aux = self._auxiliary(features, groups, present, tokens, truths)
        return LossTerms(
            reconstruction_loss(alone, truths),
            fusion_loss(fused, weights, truths),
            feature_loss(groups.float(), n),
            aux,
        )

    def _auxiliary(
        self,
        features: list[Features | None],
        groups: Tensor,
        present: Tensor,
        tokens: tuple[int, int] | None,
        truths: Tensor,
    ) -> Tensor:
        """Equations 16 to 18: every modality from those that are present."""
        model = self.model
        seen = groups if self.config.aux == "leak" else model.interaction(features, present, tokens)
        latent = model.fuse(features, seen, present)
        loss = reconstruction_loss(self._decode(latent, _corners(len(model.modalities), truths)), truths)
        return loss / len(model.modalities) if self.config.aux_mean else loss

    def _decode(self, latent: Latent, weights: list[Tensor]) -> list[Tensor]:
        images = self.model.decode_all(latent, weights)
        return [soft_clip(image.float(), self.config.outside) for image in images]


def _corners(modalities: int, like: Tensor) -> list[Tensor]:
    """The weights that ask for each modality alone: lambda = 0 and 1 of two."""
    return list(torch.eye(modalities, device=like.device)[:, None, :, None, None])
