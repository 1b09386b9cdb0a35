"""Where a volume lies in the patient: size, spacing, origin and direction, without its voxels."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError

_SAME_MM = 1e-3
_MAX_AXIS = 16384
_MAX_VOXELS = 2**30


@dataclass(frozen=True)
class VolumeGeometry:
    """The grid of a 3-D volume in physical space.

    size: voxels along x, y, z (the array is (z, y, x)). spacing: mm per voxel. origin: position of voxel
    (0, 0, 0) in mm, LPS. direction: row-major 3 x 3 cosines, as SimpleITK gives them.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image) -> "VolumeGeometry":
        """The grid of a 3-D image; raises InputError when it has another number of dimensions."""
        if image.GetDimension() != 3:
            raise InputError(f"A 3-D volume is needed, this image has {image.GetDimension()} dimensions.")
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the array, (z, y, x)."""
        return self.size[2], self.size[1], self.size[0]

    def image(self, array: np.ndarray) -> sitk.Image:
        """The array (z, y, x) as an image on this grid."""
        return self._placed(sitk.GetImageFromArray(array))

    def grid_only(self) -> sitk.Image:
        """An image on this grid whose voxels say nothing, with a byte for each."""
        return self._placed(sitk.Image(self.size, sitk.sitkUInt8))

    def _placed(self, image: sitk.Image) -> sitk.Image:
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image

    def corners_mm(self) -> np.ndarray:
        """Physical positions (8, 3) in mm of the centres of the eight corner voxels."""
        last = np.array(self.size) - 1
        index = np.array([[x, y, z] for x in (0, last[0]) for y in (0, last[1]) for z in (0, last[2])], float)
        return self.to_mm(index)

    def to_mm(self, index: np.ndarray) -> np.ndarray:
        """Physical positions (n, 3) in mm of continuous voxel indices (n, 3) in x, y, z order."""
        matrix = np.array(self.direction).reshape(3, 3) * np.array(self.spacing)
        return index @ matrix.T + np.array(self.origin)

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """Continuous voxel indices (n, 3) in x, y, z order of physical positions (n, 3) in mm."""
        matrix = np.array(self.direction).reshape(3, 3) * np.array(self.spacing)
        return (points - np.array(self.origin)) @ np.linalg.inv(matrix).T

    def same_as(self, other: "VolumeGeometry") -> bool:
        """True when both grids have the same size and their voxels coincide within a micrometre."""
        if self.size != other.size:
            return False
        return bool(np.abs(self.corners_mm() - other.corners_mm()).max() <= _SAME_MM)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, read back by `from_dict`."""
        return {
            "size": list(self.size),
            "spacing_mm": list(self.spacing),
            "origin_mm": list(self.origin),
            "direction": list(self.direction),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "VolumeGeometry":
        """The grid described by `to_dict`; raises InputError when the description is not usable."""
        try:
            size = tuple(int(n) for n in data["size"])
            spacing, origin, direction = (
                tuple(float(v) for v in data[key]) for key in ("spacing_mm", "origin_mm", "direction")
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"The description of the volume's grid is damaged: {error!r}.") from error
        if (len(size), len(spacing), len(origin), len(direction)) != (3, 3, 3, 9):
            raise InputError("The description of the volume's grid does not have three dimensions.")
        if min(size) < 1 or max(size) > _MAX_AXIS or size[0] * size[1] * size[2] > _MAX_VOXELS:
            raise InputError(f"The volume's grid of {size} voxels is not possible.")
        numbers = np.array([*spacing, *origin, *direction])
        if not np.isfinite(numbers).all() or min(spacing) <= 0:
            raise InputError("The volume's grid has a spacing, origin or direction that is not possible.")
        if abs(np.linalg.det(np.array(direction).reshape(3, 3))) < 1e-6:
            raise InputError("The volume's directions do not span three dimensions.")
        return cls(
            cast(tuple[int, int, int], size),
            cast(tuple[float, float, float], spacing),
            cast(tuple[float, float, float], origin),
            direction,
        )
