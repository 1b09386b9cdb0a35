"""The figures of slices, and of the volume that they make up, gathered slice by slice.

A volume's figures are not means over its slices: its MAE, PSNR and SSIM run over all of its pixels, its mutual
information over the joint histogram of all of them.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from MSLFusionLib import metrics

BINS = 256
LIMITS = (0.0, 1.0)
BODY, WHOLE = "body", "slice"
REGIONS = (BODY, WHOLE)
NAMES = ("mae", "psnr", "ssim", "mi", "nmi")
HIGHER_IS_NEARER = {"mae": False, "psnr": True, "ssim": True, "mi": True, "nmi": True}

CONVENTIONS: Mapping[str, str] = {
    "images": "in [0, 1]; CT: attenuation between HU -1000 and 2125, scaled linearly; MR: scaled by percentiles of its "
    "body as the network has it; air and zero outside the body",
    "regions": "body: the pixels of the body mask; slice: all pixels of the slice",
    "MAE": "mean absolute difference",
    "PSNR": "10 log10(1 / mean squared difference), in dB; infinite for equal images",
    "SSIM": f"in slices: Gaussian window of sigma {metrics.SSIM_SIGMA}, {2 * metrics.SSIM_RADIUS + 1} pixels wide, K1 "
    "0.01, K2 0.03, data range 1, population covariance; windows that do not lie wholly in the slice are left out; the "
    "mean over windows whose centre is in the region",
    "MI": f"mutual information of the joint histogram of {BINS} x {BINS} bins over [0, 1], in nats (natural logarithm)",
    "NMI": "(H(a) + H(b)) / H(a, b) of the same histogram, from 1 (independent) to 2 (identical)",
    "volume": "over all pixels of all slices together, not the mean over slices",
}
"""What the figures mean, to be printed beside them."""


class Tally:
    """What a region's figures are made of, summed over slices."""

    def __init__(self) -> None:
        self._pixels = 0
        self._absolute = self._squared = self._ssim = 0.0
        self._windows = 0
        self._joint = np.zeros((BINS, BINS), np.int64)

    def add(self, image: np.ndarray, truth: np.ndarray, similar: np.ndarray, mask: np.ndarray | None) -> None:
        """A slice (rows, columns) and its truth. similar: their local SSIM, see metrics.local_ssim."""
        if mask is not None:
            similar = similar[mask[metrics.inner(2)]]
            image, truth = image[mask], truth[mask]
        self._ssim += float(similar.sum())
        self._windows += similar.size
        if image.size:
            difference = image.astype(np.float64) - truth
            self._pixels += image.size
            self._absolute += float(np.abs(difference).sum())
            self._squared += float(np.square(difference).sum())
            self._joint += metrics.joint_histogram(image, truth, BINS, limits=LIMITS)

    def join(self, other: "Tally") -> None:
        """Add the slices of another one."""
        self._pixels += other._pixels
        self._absolute += other._absolute
        self._squared += other._squared
        self._ssim += other._ssim
        self._windows += other._windows
        self._joint += other._joint

    def figures(self) -> dict[str, float | None]:
        """NAMES and their values; None where there is nothing to compare. PSNR is infinite for equal images."""
        if self._pixels == 0:
            return dict.fromkeys(NAMES)
        error = self._squared / self._pixels
        shared, normalised = metrics.information(self._joint)
        return {
            "mae": self._absolute / self._pixels,
            "psnr": math.inf if error == 0 else -10.0 * math.log10(error),
            "ssim": self._ssim / self._windows if self._windows else None,
            "mi": shared,
            "nmi": normalised,
        }


class Comparison:
    """One image of a run against one truth: figures of each slice and of the whole, per region."""

    def __init__(self) -> None:
        self._whole = {region: Tally() for region in REGIONS}

    def add(self, image: np.ndarray, truth: np.ndarray, body: np.ndarray) -> dict[str, dict[str, Any]]:
        """The figures of a slice (rows, columns), by region; `body` is its mask."""
        similar = metrics.local_ssim(image, truth)
        found = {}
        for region, mask in ((BODY, body), (WHOLE, None)):
            tally = Tally()
            tally.add(image, truth, similar, mask)
            self._whole[region].join(tally)
            found[region] = tally.figures()
        return found

    def figures(self) -> dict[str, dict[str, Any]]:
        """The figures of all slices together, by region."""
        return {region: tally.figures() for region, tally in self._whole.items()}
