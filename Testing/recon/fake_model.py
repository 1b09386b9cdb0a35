"""A network with nothing learned: lambda blends the sensor images, so that tests know what to expect."""

from dataclasses import dataclass, field
from typing import Any

import SimpleITK as sitk
import torch
from torch import Tensor, nn


class BlendNet(nn.Module):
    """encode keeps the sensor images (zeros for an absent one), decode blends them; calls are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[int] = []
        self.decoded: list[int] = []

    def encode(self, ct: Tensor | None, mr: Tensor | None, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        some = ct if ct is not None else mr
        assert some is not None
        self.encoded.append(len(some))
        zero = torch.zeros_like(some)
        return (zero if ct is None else ct), (zero if mr is None else mr)

    def decode(self, latent: tuple[Tensor, Tensor], lam: Any) -> Tensor:
        self.decoded.append(len(latent[0]))
        return (1 - lam) * latent[0] + lam * latent[1]


@dataclass
class FakeLoaded:
    """What io.checkpoints.LoadedModel offers."""

    model: Any = field(default_factory=BlendNet)
    name: str = "blend"
    card: dict[str, Any] = field(
        default_factory=lambda: {
            "modalities": ["ct", "mr"],
            "preset": "msl",
            "grid": {"size": [48, 48], "pixel_mm": 4.0},
            "normalisation": {"ct": "hu -1000..2125", "mr": "percentile"},
            "sensors": {"views": [16, 128], "acceleration": [2, 16]},
        }
    )


def ellipsoids(
    size: tuple[int, int, int] = (40, 44, 6),
    spacing: tuple[float, float, float] = (4.0, 4.0, 5.0),
    direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> tuple[sitk.Image, sitk.Image]:
    """A CT in HU and an MR on one grid: a head-sized ellipse with a dense ring and two different insets."""
    import numpy as np

    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size[::-1]), indexing="ij")
    x, y, z = x * spacing[0], y * spacing[1], z * spacing[2]
    radius = np.sqrt((x / 65) ** 2 + (y / 75) ** 2 + (z / 400) ** 2)
    ct = np.where(radius < 1, 40.0, -1000.0)
    ct[(radius > 0.8) & (radius < 0.92)] = 900.0
    ct[(x - 20) ** 2 + (y + 20) ** 2 < 15**2] = 200.0
    mr = np.where(radius < 1, 300.0, 2.0)
    mr[(radius > 0.8) & (radius < 0.92)] = 30.0
    mr[(x + 20) ** 2 + (y - 10) ** 2 < 15**2] = 600.0
    images = []
    for array in (ct, mr):
        image = sitk.GetImageFromArray(array.astype(np.float32))
        image.SetSpacing(spacing)
        image.SetOrigin((-70.0, 12.5, 31.0))
        image.SetDirection(direction)
        images.append(image)
    return images[0], images[1]
