"""A small U-Net that begins and ends at half resolution, with 2 x 2 pixels as channels."""

import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 3
_MULTIPLE = 2**_LEVELS


class HalfUNet(nn.Module):
    """(N, planes, H, W) -> (N, outputs, H, W), any H and W.

    Without normalisation, so that brightness is kept and crops equal whole slices. Before training it gives zeros.
    width: channels at half resolution; they double at each of the two downsamplings.
    """

    def __init__(self, planes: int, outputs: int, width: int) -> None:
        super().__init__()
        w = width
        self.stem = nn.Conv2d(4 * planes, w, 3, padding=1)
        self.fine = _Residual(w)
        self.down1 = nn.Conv2d(w, 2 * w, 2, 2)
        self.middle = _Residual(2 * w)
        self.down2 = nn.Conv2d(2 * w, 4 * w, 2, 2)
        self.coarse = nn.Sequential(_Residual(4 * w), _Residual(4 * w))
        self.up2 = nn.ConvTranspose2d(4 * w, 2 * w, 2, 2)
        self.middle_out = _Residual(2 * w)
        self.up1 = nn.ConvTranspose2d(2 * w, w, 2, 2)
        self.fine_out = _Residual(w)
        self.head = nn.Conv2d(w, 4 * outputs, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def through(self, planes: Tensor) -> Tensor:
        """The outputs (N, outputs, H, W) of planes (N, planes, H, W)."""
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
