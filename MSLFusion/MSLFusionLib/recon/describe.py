"""What measured data are, without the data: for sensors files that somebody looks at before anything is computed."""

from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.masks import PointMask, SamplingMask, mask_from_dict
from MSLFusionLib.recon.grid import NetworkGrid

_SAME_PIXEL = 1e-6


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
