"""Where imported slices lie in the patient."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.recon.geometry import VolumeGeometry

_RIGHT_ANGLE = 1e-3


@dataclass(frozen=True)
class Placement:
    """centre_mm: the middle of the first slice in LPS. direction: 3 x 3 cosines row by row, whose columns are the
    directions of the image's columns (x, to the right), its rows (downwards) and the slices. slice_mm: their distance.
    """

    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    slice_mm: float = 1.0

    def volume(
        self, shape: tuple[int, int], pixel_mm: tuple[float, float], slices: int, middle: tuple[float, float]
    ) -> VolumeGeometry:
        """The volume of `slices` images of `shape` (rows, columns) whose pixel index `middle` lies at the centre."""
        cosines = np.array(self.direction).reshape(3, 3)
        back = cosines @ np.array([middle[1] * pixel_mm[1], middle[0] * pixel_mm[0], 0.0])
        origin = np.array(self.centre_mm) - back
        return VolumeGeometry(
            (shape[1], shape[0], slices),
            (pixel_mm[1], pixel_mm[0], self.slice_mm),
            (float(origin[0]), float(origin[1]), float(origin[2])),
            self.direction,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, in the words of the sidecar."""
        return {"centre_mm": list(self.centre_mm), "direction": list(self.direction), "slice_mm": self.slice_mm}


def placed(content: Mapping[str, Any], where: str) -> Placement:
    """The placement in a checked sidecar (or `to_dict`); InputError when its directions are no right angles."""
    centre = tuple(float(v) for v in content.get("centre_mm", (0.0, 0.0, 0.0)))
    direction = tuple(float(v) for v in content.get("direction", Placement.direction))
    matrix = np.array(direction).reshape(3, 3)
    if np.abs(matrix.T @ matrix - np.eye(3)).max() > _RIGHT_ANGLE:
        raise InputError(f'{where}: the columns of "direction" must be of length 1 and at right angles.')
    return Placement((centre[0], centre[1], centre[2]), direction, float(content.get("slice_mm", 1.0)))
