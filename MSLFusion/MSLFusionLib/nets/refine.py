"""The learned step between two corrections towards the data, shared by all cascades of an unrolled network."""

from collections.abc import Sequence

import torch
from torch import Tensor

from MSLFusionLib.nets.half_unet import HalfUNet

_PLANES = 4
"""What it is told of each modality: the corrected image, what correcting changed, the sensor image, presence."""


class Refiner(HalfUNet):
    """A small U-Net that looks at all modalities at once and changes each image that was measured.

    Before training it changes nothing. cascades: how often it is used.
    """

    def __init__(self, modalities: int, width: int, cascades: int = 1) -> None:
        super().__init__(_PLANES * modalities, modalities, width)
        self.modalities = modalities
        self.cascades = cascades

    def forward(
        self,
        images: Sequence[Tensor],
        changed: Sequence[Tensor | None],
        sensors: Sequence[Tensor | None],
        here: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """Refined images, one (N, 1, H, W) per modality, not clipped; those without a sensor come back as they were.

        images: (N, 1, H, W) of each modality. changed: what the last correction added to it; sensors: its sensor
        image; both None where the modality was not measured. here: for each modality (N,) bool, which slices of the
        batch were measured; all by default.
        """
        planes: list[Tensor] = []
        weights: list[Tensor | float] = []
        for m, (image, change, sensor) in enumerate(zip(images, changed, sensors, strict=True)):
            nothing, presence = torch.zeros_like(image), torch.ones_like(image)
            if here is not None:
                presence = presence * here[m][:, None, None, None]
            planes += [image, nothing if change is None else change, nothing if sensor is None else sensor]
            planes.append(nothing if sensor is None else presence)
            weights.append(1.0 if here is None else presence)
        update = self.through(torch.cat(planes, 1))
        return [
            image if sensor is None else image + weight * part
            for image, sensor, weight, part in zip(images, sensors, weights, update.split(1, 1), strict=True)
        ]
