"""Sinograms and k-space from files as sensor data that a reconstruction takes: on the network's grid, in the patient.

The network's grid is laid around the axis of rotation of the CT and the middle of the MR's field of view; the scans
are seen from there by their operators. What was measured is put in order and mirrored, never interpolated.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.kspaces import KspaceFile, open_kspace
from MSLFusionLib.io.placement import Placement
from MSLFusionLib.io.sensors import SensorHeader, SensorWriter
from MSLFusionLib.io.sinograms import Scan, SinogramFile, open_sinogram
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.grid import NetworkGrid

if TYPE_CHECKING:
    from MSLFusionLib.pipeline import Registering

_SAME_PIXEL = 1e-4


@dataclass(frozen=True)
class ImportSettings:
    """The network's slices (rows, columns), their pixel in mm, whether it is kept where the scan sees more, and how
    coils are combined (recon.acquired.COMBINATIONS)."""

    size: tuple[int, int] = (384, 384)
    pixel_mm: float = 256.0 / 384.0
    fixed_pixel: bool = False
    combination: str = "rss"


class ImportedSensors:
    """Sensor data of files, with the interface of io.sensors.SensorReader: header, sinogram(slices), kspace(slices)."""

    def __init__(
        self, sinogram: SinogramFile | None, kspace: KspaceFile | None, settings: ImportSettings, job: Job = NO_JOB
    ) -> None:
        if sinogram is None and kspace is None:
            raise InputError("Give a sinogram, k-space, or both.")
        self._sinogram, self._kspace = sinogram, kspace
        self._mirrored = False
        grid = geometry = acquired = mask = None
        provenance: dict[str, Any] = {}
        self.warnings: list[str] = []
        for given in (sinogram, kspace):
            if given is not None:
                self.warnings += [f"{given.path.name}: {sentence}" for sentence in given.warnings]
        for sentence in self.warnings:
            job.warning(sentence)
        if sinogram is not None:
            field = sinogram.field_of_view_mm or sinogram.scan.field_of_view_mm
            grid = _grid(sinogram.placement, settings, field, sinogram.slices, "sinogram", job)
            scan, self._mirrored = turned_scan(sinogram.scan, grid)
            geometry = scan.geometry(grid.size, grid.pixel_mm).to_dict()
            provenance["sinogram"] = {"file": sinogram.path.name, "kind": sinogram.kind, "found": sinogram.found}
        if kspace is not None:
            own = _grid(kspace.placement, settings, max(kspace.fov_mm), kspace.shape[0], "k-space", job)
            grid = grid or own
            mask = kspace.mask.to_dict()
            acquired = {
                "matrix": list(kspace.shape[2:]),
                "fov_mm": list(kspace.fov_mm),
                "grid": own.to_dict(),
                "transform": None,
                "combination": settings.combination,
            }
            provenance["kspace"] = {"file": kspace.path.name, "kind": kspace.kind, "found": kspace.found}
        assert grid is not None
        self.header = SensorHeader(
            grid=grid.to_dict(),
            geometry=geometry,
            mask=mask,
            convention="centred-ortho" if kspace is None else kspace.convention,
            coils=1 if kspace is None else kspace.shape[1],
            acquired=acquired,
            provenance=provenance,
        )

    def sinogram(self, slices: Sequence[int]) -> np.ndarray:
        """Sinograms float32 (n, views, bins) of the slices with these numbers."""
        assert self._sinogram is not None
        values = self._sinogram.sinogram(slices)
        return np.ascontiguousarray(values[..., ::-1]) if self._mirrored else values

    def kspace(self, slices: Sequence[int]) -> np.ndarray:
        """k-space complex64 (n, coils, ky, kx) of the MR's own slices with these numbers."""
        assert self._kspace is not None
        return self._kspace.kspace(slices)

    def write(self, path: Path, job: Job = NO_JOB) -> None:
        """Write a sensors file, slice by slice."""
        header = self.header
        shapes = header.sinogram_shape, header.kspace_shape
        total = sum(shape[0] for shape in shapes if shape is not None)
        done = 0
        with SensorWriter(path, header) as writer:
            for shape, read in zip(shapes, (self.sinogram, self.kspace), strict=True):
                for number in range(0 if shape is None else shape[0]):
                    job.step("convert", done, total)
                    values = read([number])
                    if read == self.sinogram:
                        writer.write([number], values, None)
                    else:
                        writer.write([number], None, values)
                    done += 1
        job.step("convert", total, total)


def import_files(
    stack: ExitStack,
    sinogram: Path | None,
    kspace: Path | None,
    settings: ImportSettings,
    sinogram_sidecar: Path | None = None,
    kspace_sidecar: Path | None = None,
    select: dict[str, int] | None = None,
    job: Job = NO_JOB,
) -> ImportedSensors:
    """Open the files (closed by `stack`) as sensor data; raises InputError as the readers do."""
    ct = None if sinogram is None else stack.enter_context(open_sinogram(sinogram, sinogram_sidecar))
    mr = None if kspace is None else stack.enter_context(open_kspace(kspace, kspace_sidecar, select))
    return ImportedSensors(ct, mr, settings, job)


def register_sensors(data: Any, how: "Registering", device: str = "cpu", job: Job = NO_JOB) -> Any:
    """Find where the MR lies in the CT's frame from both sensor images, and keep it in the header of `data`.

    data: ImportedSensors or an open io.sensors.SensorReader. Returns the registration; None where there is none to
    make: one modality, a single slice, not wanted.
    """
    from MSLFusionLib.recon.sources import FileSource
    from MSLFusionLib.registration import register

    header = data.header
    if header.geometry is None or header.acquired is None or not how.wanted:
        return None
    acquired = header.acquired | {"transform": None}
    mr_data = _View(data, replace(header, geometry=None, grid=acquired["grid"], acquired=acquired))
    mr_source = FileSource(mr_data, device, job=job)
    ct_source = FileSource(_View(data, replace(header, mask=None, acquired=None)), device)
    if min(mr_source.grid.slices, ct_source.grid.slices) < 2:
        job.warning("CT or MR is a single slice: they are not registered, but placed as the files say.")
        return None
    images = [sensor_volumes(one, device, job) for one in (ct_source, mr_source)]
    ct, mr = images[0]["ct"], images[1]["mr"]
    found = register(ct, mr, how.preset, how.method, how.seed, how.start, job)
    data.header = replace(header, acquired=acquired | {"transform": _matrix(found.transform)})
    return found


class _View:
    """Sensor data under another header."""

    def __init__(self, data: Any, header: SensorHeader) -> None:
        self.header, self.sinogram, self.kspace = header, data.sinogram, data.kspace


def sensor_volumes(source: Any, device: str = "cpu", job: Job = NO_JOB) -> dict[str, Any]:
    """What a recon.sources.FileSource's data show without a network, as volumes: "ct" in HU, "mr" in network values,
    those of them that were measured. Raises Cancelled."""
    import torch

    from MSLFusionLib.physics.units import network_to_hu

    volumes: dict[str, np.ndarray] = {}
    for number in range(source.grid.slices):
        job.step("sensor images", number, source.grid.slices)
        with torch.inference_mode():
            batch = source.measure(np.array([number]), torch.device(device))
            images = source.scanners.images(batch, job)
        for name, image in zip(("ct", "mr"), images, strict=True):
            if image is not None:
                volume = volumes.setdefault(name, np.zeros(source.grid.volume.shape, np.float32))
                slices = source.grid.from_network(image[:, 0].float().cpu().numpy())
                source.grid.turned(volume)[number] = slices[0]
    job.step("sensor images", source.grid.slices, source.grid.slices)
    if "ct" in volumes:
        volumes["ct"] = network_to_hu(volumes["ct"])
    return {name: source.grid.volume.image(volume) for name, volume in volumes.items()}


def _matrix(transform: Any) -> list[float]:
    """A linear SimpleITK transform as 16 numbers."""
    corners = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    moved = np.array([transform.TransformPoint(point.tolist()) for point in corners])
    result = np.eye(4)
    result[:3, :3] = (moved[1:] - moved[0]).T
    result[:3, 3] = moved[0]
    return [float(value) for value in result.ravel()]


def _grid(
    placement: Placement, settings: ImportSettings, field_mm: float, slices: int, who: str, job: Job
) -> NetworkGrid:
    """Network slices around the placement's centre; the pixel is enlarged where the scan's field is larger."""
    pixel = settings.pixel_mm
    needed = field_mm / min(settings.size)
    if needed > pixel * (1 + _SAME_PIXEL):
        if settings.fixed_pixel:
            job.warning(
                f"The {who} sees {field_mm:.0f} mm, the network's slices with pixels of {pixel:.2f} mm only "
                f"{min(settings.size) * pixel:.0f} mm: what lies outside is missing."
            )
        else:
            job.warning(
                f"In-plane pixel enlarged from {pixel:.2f} to {needed:.2f} mm so that the {field_mm:.0f} mm that the "
                f"{who} sees fit the model's {settings.size[0]} x {settings.size[1]} slice."
            )
            pixel = needed
    # The middle of rotation lies between pixels, that of a Fourier transform on one.
    middle = tuple((n - 1) / 2 if who == "sinogram" else n // 2 for n in settings.size)
    volume = placement.volume(settings.size, (pixel, pixel), slices, (middle[0], middle[1]))
    return NetworkGrid.of_slices(VolumeGeometry.from_dict(volume.to_dict()))


def turned_scan(scan: Scan, grid: NetworkGrid) -> tuple[Scan, bool]:
    """The scan as network slices see it, which may be turned or mirrored images, and whether its bins are to be
    reversed for that."""
    # The scan's x and y (upwards) for steps along the network's x and y.
    signs = -1.0 if grid.column_flipped else 1.0, -1.0 if grid.row_flipped else 1.0
    # Turned, network columns run along the image's rows, which count downwards.
    turn = np.diag(signs) if grid.row_axis == 1 else np.array([[0.0, -signs[1]], [-signs[0], 0.0]])
    back = turn.T
    mirrored = bool(np.linalg.det(turn) < 0)
    sense = -1.0 if mirrored else 1.0
    start = back @ np.array([sense, 0.0])
    angle = math.atan2(start[1], start[0])
    angles = tuple(sense * value + angle for value in scan.angles)
    return replace(scan, angles=angles, offset_mm=sense * scan.offset_mm), mirrored
