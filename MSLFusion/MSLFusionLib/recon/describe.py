"""What measured data are, without the data: for sensors files that somebody looks at before anything is computed."""

import math
from typing import Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.masks import PointMask, SamplingMask, mask_from_dict
from MSLFusionLib.recon.grid import NetworkGrid

_SAME_PIXEL = 1e-6
_MOST_SOURCES = 360


def ct_sampling(geometry: FanBeamGeometry) -> dict[str, Any]:
    """What a CT measures: views, scan, bins."""
    return {"views": geometry.views, "scan": geometry.scan, "bins": geometry.bins}


def mr_sampling(mask: SamplingMask | PointMask) -> dict[str, Any]:
    """What an MR measures: columns, rate, acceleration, mask.

    `asked` is the acceleration that the mask was made for, which whole columns only come near.
    """
    return {
        "columns": mask.kept,
        "of": mask.width,
        "rate": mask.achieved_rate,
        "acceleration": mask.achieved_acceleration,
        "asked": mask.acceleration,
        "mask": mask.kind,
    }


def checked_parts(header: Any) -> tuple[NetworkGrid, FanBeamGeometry | None, SamplingMask | PointMask | None]:
    """Grid, CT geometry and k-space mask of an io.sensors.SensorHeader; None for a modality that is absent.

    Raises InputError when a description is damaged or they do not fit each other.
    """
    grid = NetworkGrid.from_dict(header.grid)
    geometry = mask = None
    if header.geometry is not None:
        geometry = FanBeamGeometry.from_dict(header.geometry)
        same_pixel = abs(geometry.pixel_mm / grid.pixel_mm - 1) < _SAME_PIXEL
        if geometry.image_shape != grid.size or not same_pixel:
            raise InputError("The CT geometry of the sensors file does not fit its image grid.")
    if header.mask is not None:
        mask = mask_from_dict(header.mask)
        rows, columns = header.kspace_shape[2:]
        if mask.width != columns or (mask.pattern.ndim == 2 and mask.pattern.shape[0] != rows):
            raise InputError("The k-space mask of the sensors file does not fit its image grid.")
    return grid, geometry, mask


def described(header: Any) -> dict[str, Any]:
    """JSON-able description of an io.sensors.SensorHeader; raises InputError as `checked_parts` does.

    modalities: those measured. achieved: as Scanners.achieved. geometry: of the volume that a reconstruction gives.
    slices: network slices, `occupied` of them hold something. pixel_mm: of the network's slices. plan: what was
    simulated, None for a measurement.
    """
    grid, geometry, mask = checked_parts(header)
    achieved: dict[str, Any] = {}
    if geometry is not None:
        achieved["ct"] = ct_sampling(geometry)
    if mask is not None:
        achieved["mr"] = {**mr_sampling(mask), "coils": header.coils}
    return {
        "modalities": list(achieved),
        "achieved": achieved,
        "geometry": grid.volume.to_dict(),
        "slices": grid.slices,
        "occupied": grid.slices if header.occupied is None else len(header.occupied),
        "slice_axis": grid.slice_axis,
        "pixel_mm": grid.pixel_mm,
        "plan": header.plan,
    }


def outline(header: Any) -> dict[str, Any]:
    """Lines that show where the scans lie, JSON-able, each a list of points in mm (LPS).

    boxes: name ("ct", "mr") to the eight corners of the volume that this scan's images fill, as they lie in the frame
    of the results; corner 4 a + 2 b + c has a, b, c (0 or 1) along x, y, z of the volume. arc: where the source went,
    about the middle slice (of parallel beams, at the edge of the image); detector: its ends at the first view. Both
    empty without CT. Raises InputError as `checked_parts` does.
    """
    grid, geometry, mask = checked_parts(header)
    result: dict[str, Any] = {"boxes": {}, "arc": [], "detector": []}
    if geometry is not None:
        result["boxes"]["ct"] = _corners(grid)
        middle = (grid.slices - 1) / 2
        parallel = geometry.detector == "parallel"
        radius = 0.75 * max(grid.size) * grid.pixel_mm if parallel else geometry.source_origin_mm
        angles = np.array(geometry.angles)[:: math.ceil(geometry.views / _MOST_SOURCES)]
        result["arc"] = grid.to_mm(middle, radius * np.sin(angles), -radius * np.cos(angles)).tolist()
        # The bins run along (cos b, sin b), beyond the centre seen from the source.
        away = radius if parallel else geometry.origin_detector_mm
        ends = geometry.offset_mm + np.array([-0.5, 0.5]) * geometry.bins * geometry.pitch_mm
        sine, cosine = math.sin(geometry.angles[0]), math.cos(geometry.angles[0])
        result["detector"] = grid.to_mm(middle, -away * sine + ends * cosine, away * cosine + ends * sine).tolist()
    if mask is not None:
        own, matrix = grid, np.eye(4)
        if header.acquired is not None:
            own = NetworkGrid.from_dict(header.acquired["grid"])
            matrix = transform_of(header)
        corners = np.array(_corners(own)) - matrix[:3, 3]
        result["boxes"]["mr"] = (corners @ np.linalg.inv(matrix[:3, :3]).T).tolist()
    return result


def transform_of(header: Any) -> np.ndarray:
    """The 4 x 4 matrix from points of the results' frame to points where an acquired MR lies; InputError for none
    that can be."""
    values = header.acquired.get("transform")
    try:
        matrix = np.eye(4) if values is None else np.array(values, float).reshape(4, 4)
    except (TypeError, ValueError) as error:
        raise InputError(f"The description of the acquired k-space is damaged: {error!r}.") from error
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-6:
        raise InputError("The transform between CT and MR of the sensors file is not possible.")
    return matrix


def _corners(grid: NetworkGrid) -> list[list[float]]:
    """The outer corners of a grid's volume."""
    last = np.array(grid.volume.size) - 0.5
    places = [[x, y, z] for x in (-0.5, last[0]) for y in (-0.5, last[1]) for z in (-0.5, last[2])]
    return grid.volume.to_mm(np.array(places)).tolist()
