"""The learned step between two corrections towards the data, shared by all cascades of an unrolled network."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PLANES = 4
"""What it is told of each modality: the corrected image, what correcting changed, the sensor image, presence."""
_LEVELS = 3
_MULTIPLE = 2**_LEVELS


class Refiner(nn.Module):
    """A small U-Net that looks at all modalities at once and changes each image that was measured.

    It begins and ends at half resolution with 2 x 2 pixels as channels and has no normalisation, so that brightness
    is kept and crops equal whole slices. Before training it changes nothing. cascades: how often it is used.
    """

    def __init__(self, modalities: int, width: int, cascades: int = 1) -> None:
        super().__init__()
        self.modalities = modalities
        self.cascades = cascades
        w = width
        self.stem = nn.Conv2d(4 * _PLANES * modalities, w, 3, padding=1)
        self.fine = _Residual(w)
        self.down1 = nn.Conv2d(w, 2 * w, 2, 2)
        self.middle = _Residual(2 * w)
        self.down2 = nn.Conv2d(2 * w, 4 * w, 2, 2)
        self.coarse = nn.Sequential(_Residual(4 * w), _Residual(4 * w))
        self.up2 = nn.ConvTranspose2d(4 * w, 2 * w, 2, 2)
        self.middle_out = _Residual(2 * w)
        self.up1 = nn.ConvTranspose2d(2 * w, w, 2, 2)
        self.fine_out = _Residual(w)
        self.head = nn.Conv2d(w, 4 * modalities, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

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
        update = self._update(torch.cat(planes, 1))
        return [
            image if sensor is None else image + weight * part
            for image, sensor, weight, part in zip(images, sensors, weights, update.split(1, 1), strict=True)
        ]

    def _update(self, planes: Tensor) -> Tensor:
        rows, columns = planes.shape[-2:]
        right, below = -columns % _MULTIPLE, -rows % _MULTIPLE
        x = F.pad(planes, (0, right, 0, below), mode="replicate") if right or below else planes
        fine = self.fine(F.relu(self.stem(F.pixel_unshuffle(x, 2))))
        middle = self.middle(self.down1(fine))
        coarse = self.coarse(self.down2(middle))
        middle = self.middle_out(middle + self.up2(coarse))
        fine = self.fine_out(fine + self.up1(middle))
        return F.pixel_shuffle(self.head(fine), 2)[..., :rows, :columns]


class _Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return x + self.conv2(F.relu(self.conv1(x), inplace=True))
