"""What measured k-space tells by itself: rings of frequency, whether an image has a phase, and which.

Complex tensors (N, coils, ky, kx) with zero frequency at (H // 2, W // 2), as physics.mr gives them.
"""

import torch
from torch import Tensor

from MSLFusionLib.physics.mr import CartesianMR, inverse_fourier

_BAND = 16
"""The shorter side of an image holds as many bands of radius in k-space as this many pixels go into it."""
_TINY = 1e-20


class Rings:
    """Means over rings of equal width around the centre of k-space (N, 1, ky, kx); the corners are in the last one."""

    def __init__(self, like: Tensor) -> None:
        height, width = like.shape[-2:]
        rows = torch.arange(height, device=like.device) - height // 2
        columns = torch.arange(width, device=like.device) - width // 2
        # In units of the highest frequency of either axis, so that the rings suit images that are not square.
        radius = torch.hypot(2.0 * rows[:, None] / height, 2.0 * columns / width)
        self.count = max(1, min(height, width) // _BAND)
        self._shape = (height, width)
        self._index = (radius * self.count).long().clamp_max(self.count - 1).flatten()

    def mean(self, values: Tensor, where: Tensor) -> Tensor:
        """Means (N, rings) of real values over samples where `where` (N, 1, ky, kx) is 1; 0 where there are none."""
        return self._sum(values * where) / self._sum(where.expand(values.shape)).clamp_min(1.0)

    def spread(self, rings: Tensor) -> Tensor:
        """Values (N, rings) at each sample: (N, 1, ky, kx)."""
        return rings[:, self._index].view(len(rings), 1, *self._shape)

    def _sum(self, values: Tensor) -> Tensor:
        return values.new_zeros((len(values), self.count)).index_add(1, self._index, values.flatten(1))


def trust(rings: Rings, samples: Tensor, network: Tensor, known: Tensor, noise: Tensor) -> Tensor:
    """How much of the network's k-space to keep in each ring, (N, rings) in [0, 1].

    The factor that brings it nearest to the samples. A network that copied noise would seem to be right: it has no
    more to keep than the samples hold beyond the noise.
    """
    power = rings.mean(network.abs().square(), known)
    common = rings.mean((samples.conj() * network).real, known)
    signal = (rings.mean(samples.abs().square(), known) - rings.mean(noise, known)).clamp_min(0.0)
    safe = power.clamp_min(_TINY)
    best = torch.minimum((common / safe).clamp(0.0, 1.0), (signal / safe).clamp_min(_TINY).sqrt())
    return torch.where(power > 0, best, torch.ones_like(best))


def mirrored(kspace: Tensor) -> Tensor:
    """The sample opposite the centre, conjugated: what k-space of a real image holds there."""
    shifts = [1 if size % 2 == 0 else 0 for size in kspace.shape[-2:]]
    turned = torch.roll(torch.flip(kspace, (-2, -1)), shifts, (-2, -1))
    return turned.conj() if turned.is_complex() else turned


def coarse_image(operator: CartesianMR, kspace: Tensor, measured: Tensor) -> Tensor:
    """A coarse complex image (N, 1, H, W) of the fully measured square in the centre of k-space."""
    height, width = measured.shape[-2:]
    radius, middle = 0, (height // 2, width // 2)
    most = min(middle[0], middle[1], (height - 1) // 2, (width - 1) // 2)

    def square(size: int) -> tuple[slice, slice]:
        return slice(middle[0] - size, middle[0] + size + 1), slice(middle[1] - size, middle[1] + size + 1)

    while radius < most and bool((measured[0, 0][square(radius + 1)] > 0).all()):
        radius += 1
    window = torch.hann_window(2 * radius + 3, periodic=False, device=kspace.device, dtype=measured.dtype)[1:-1]
    centre = torch.zeros_like(measured[0, 0])
    centre[square(radius)] = window[:, None] * window
    coils = inverse_fourier(kspace * centre, operator.convention)
    if operator.coil_maps is None:
        return coils
    return (coils * operator.coil_maps.to(coils).conj()).sum(dim=1, keepdim=True)


def phase_of(image: Tensor) -> Tensor:
    size = image.abs()
    return torch.where(size > 0, image / size.clamp_min(_TINY), torch.ones_like(image)).detach()


def pattern_of(operator: CartesianMR, kspace: Tensor) -> Tensor:
    """The mask as numbers (1, 1, ky, kx)."""
    sampled = torch.tensor(operator.mask.pattern, device=kspace.device)
    return sampled.to(kspace.real.dtype).expand(1, 1, *kspace.shape[-2:])


def without_phase(kspace: Tensor, measured: Tensor, sigma: float) -> Tensor:
    """Whether k-space is that of a real image, (N, 1, 1, 1), judged by what was measured on both sides of zero.

    The highest frequency of an even number has no other side: of an object between pixels it need not be real.
    """
    with torch.no_grad():
        height, width = kspace.shape[-2:]
        kspace, measured = (part[..., 1 - height % 2 :, 1 - width % 2 :] for part in (kspace, measured))
        pairs = measured * mirrored(measured)
        difference = ((kspace - mirrored(kspace)).abs().square() * pairs).sum(dim=(1, 2, 3), keepdim=True)
        energy = (kspace.abs().square() * pairs).sum(dim=(1, 2, 3), keepdim=True)
        # Both sides have noise in two parts each; a sum over thousands of samples is within half of what is expected.
        expected = 4.0 * sigma**2 * pairs.sum()
        return difference <= 1e-6 * energy + 1.5 * expected
