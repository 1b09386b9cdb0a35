"""Entropy and mutual information of images, with gradients: histograms whose counts are spread over nearby bins.

Values in [0, 1], natural logarithm. Each pixel counts in every bin by a Gaussian of half a bin's width around the
pixel's value (Parzen windows), so that a histogram follows a small change of an image smoothly.
"""

import torch
from torch import Tensor

BINS = 64
_WIDTH = 0.5
"""Standard deviation of the windows in bins."""
_TINY = 1e-12


def windows(values: Tensor, bins: int = BINS) -> Tensor:
    """(n, bins): the share of each of the values (n,) in each bin; rows sum to 1."""
    centres = (torch.arange(bins, device=values.device, dtype=values.dtype) + 0.5) / bins
    shares = torch.exp(-0.5 * ((values[:, None] - centres) * (bins / _WIDTH)).square())
    return shares / shares.sum(1, keepdim=True)


def entropy(shares: Tensor) -> Tensor:
    """Entropy in nats, float64, of a histogram of any shape that sums to 1."""
    shares = shares.double()
    return -(shares * shares.clamp_min(_TINY).log()).sum()


class Histogram:
    """The histogram of one image.

    values: (n,) in [0, 1]. weights: (n,) that sum to 1, how much each pixel counts.
    """

    def __init__(self, values: Tensor, weights: Tensor, bins: int = BINS) -> None:
        self.windows = windows(values, bins)
        self._weighted = self.windows * weights[:, None]

    def entropy(self) -> Tensor:
        """In nats."""
        return entropy(self._weighted.sum(0))

    def mutual_information(self, other: "Histogram") -> Tensor:
        """I = H(a) + H(b) - H(a, b) in nats, of images of the same pixels."""
        joint = self._weighted.T @ other.windows
        return entropy(joint.sum(1)) + entropy(joint.sum(0)) - entropy(joint)
