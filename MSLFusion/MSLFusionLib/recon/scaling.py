"""The network's scale of MR values: [0, 1] between two levels that the body's values give.

"percentile" (ours): the 0.5th and 99.5th percentile within the body, so that a few bright voxels do not darken the
rest. "minmax" (paper and official presets): lowest and highest value after what lies outside the body was set to
the volume's lowest.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError

METHODS = ("percentile", "minmax")
LOW_PERCENTILE = 0.5
HIGH_PERCENTILE = 99.5
_SAMPLES = 4_000_000


@dataclass(frozen=True)
class IntensityScale:
    """value -> (value - low) / (high - low), clipped to [0, 1]; kept with the result so that it can be undone."""

    low: float
    high: float
    method: str = "percentile"

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.high > self.low):
            raise InputError(f"An intensity scale from {self.low:g} to {self.high:g} is not possible.")

    def to_network(self, values: np.ndarray) -> np.ndarray:
        """[0, 1], float32, of values of any shape."""
        scaled = (values.astype(np.float32) - np.float32(self.low)) / np.float32(self.high - self.low)
        return np.clip(scaled, 0.0, 1.0, out=scaled)

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """The image's own values, float32, of network values in [0, 1]."""
        return values.astype(np.float32) * np.float32(self.high - self.low) + np.float32(self.low)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, read back by `from_dict`."""
        return {"low": self.low, "high": self.high, "method": self.method}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "IntensityScale":
        """The scale described by `to_dict`; raises InputError when it is damaged."""
        try:
            return cls(float(data["low"]), float(data["high"]), str(data["method"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"The description of the MR scaling is damaged: {error!r}.") from error


def mr_scale(mr: sitk.Image, body: np.ndarray | None, method: str = "percentile") -> IntensityScale:
    """The scale of an MR volume from the values in its body mask (z, y, x), or in all of it for None.

    Raises InputError for an unknown method and for a body of one constant value.
    """
    if method not in METHODS:
        raise InputError(f"Unknown MR scaling '{method}': use one of {', '.join(METHODS)}.")
    array = sitk.GetArrayViewFromImage(mr)
    values = array[body] if body is not None else array.ravel()
    if values.size == 0:
        raise InputError("The body mask of the MR is empty: there is nothing to reconstruct.")
    if method == "minmax":
        low, high = float(array.min()), float(values.max())
    else:
        part = values[:: max(1, values.size // _SAMPLES)]
        low, high = (float(v) for v in np.percentile(part, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    if not high > low:
        raise InputError(f"The MR volume is constant ({low:g}) within the body: there is nothing to reconstruct.")
    return IntensityScale(low, high, method)
