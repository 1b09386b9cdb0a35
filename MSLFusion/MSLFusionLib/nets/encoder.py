"""The encoders of an MSL network: from a sensor image to features."""

from dataclasses import dataclass

from torch import Tensor, nn

from MSLFusionLib.nets.layers import ConvBlock, ResidualBlock
from MSLFusionLib.nets.mslconfig import MSLConfig


@dataclass
class Features:
    """What one encoder saw: the map that becomes tokens and the finer maps for the skip path.

    deep: (N, 4 width, H/4, W/4). fine: finest last, empty without skips. image: (N, 1, H, W), the sensor image.
    """

    deep: Tensor
    fine: tuple[Tensor, ...]
    image: Tensor


class Encoder(nn.Module):
    """Physics-informed encoder of one modality: E(FBP(y)) or E(|IFFT(y)|), equations 1 and 2."""

    def __init__(self, config: MSLConfig) -> None:
        super().__init__()
        w, norm = config.width, config.encoder_norm
        self.config = config
        if config.space_to_depth:
            self.stem = nn.Sequential(nn.PixelUnshuffle(2), ConvBlock(4, 2 * w, 3, norm=norm))
            self.fine: nn.Module = ResidualBlock(2 * w, norm)
            self.down = nn.ModuleList([ConvBlock(2 * w, 4 * w, 4, 2, norm=norm)])
        else:
            self.stem = nn.Sequential(ConvBlock(1, w, 7, norm=norm))
            self.fine = nn.Identity()
            self.down = nn.ModuleList([ConvBlock(w, 2 * w, 4, 2, norm=norm), ConvBlock(2 * w, 4 * w, 4, 2, norm=norm)])
        self.blocks = nn.Sequential(*[ResidualBlock(4 * w, norm) for _ in range(config.encoder_blocks)])

    def forward(self, image: Tensor) -> Features:
        """image (N, 1, H, W) in [0, 1]."""
        x = self.fine(self.stem(image))
        fine = []
        for down in self.down:
            fine.append(x)
            x = down(x)
        if self.config.encoder_blocks_used:
            x = self.blocks(x)
        return Features(x, tuple(fine) if self.config.skips else (), image)
