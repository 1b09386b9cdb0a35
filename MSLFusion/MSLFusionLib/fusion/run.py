"""Fusing two volumes by one or several methods, with the ten measures of each result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.fusion import metrics
from MSLFusionLib.fusion.blend import luminance
from MSLFusionLib.fusion.interface import Method
from MSLFusionLib.fusion.prepare import Prepared
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.geometry import VolumeGeometry

FIRST, SECOND = "first alone", "second alone"
"""Rows of the table of measures for the sources themselves: what copying one scores."""


@dataclass(frozen=True)
class Fused:
    """One result: the method, its settings, and the image float32 in [0, 1] (z, y, x), colours as a fourth axis."""

    method: Method
    settings: dict[str, Any]
    image: np.ndarray

    @property
    def grey(self) -> np.ndarray:
        """The image, or how bright it is where it has colours."""
        return luminance(self.image) if self.method.colour else self.image


def fuse(
    prepared: Prepared,
    method: Method,
    given: Mapping[str, Any] | None = None,
    slicewise: bool = False,
    job: Job = NO_JOB,
) -> Fused:
    """Fuse by one method; given: its settings. slicewise: every slice for itself, as a 2-D image.

    Raises InputError for settings and inputs that the method refuses.
    """
    settings, pair = method.settings(given or {}), prepared.pair
    if not slicewise:
        return Fused(method, settings, method.fuse(pair, settings, job))
    axis = prepared.slice_axis
    result = np.empty((*pair.first.shape, 3) if method.colour else pair.first.shape, np.float32)
    quiet = Job(cancelled=job.cancelled, warn=job.warn)
    for index in range(pair.first.shape[axis]):
        job.step(method.name, index, pair.first.shape[axis])
        result[(slice(None),) * axis + (index,)] = method.fuse(pair.plane(axis, index), settings, quiet)
    job.step(method.name, pair.first.shape[axis], pair.first.shape[axis])
    return Fused(method, settings, result)


def volume_of(fused: Fused, geometry: VolumeGeometry) -> sitk.Image:
    """The result on the first volume's grid: float32, or red, green, blue as 8-bit values."""
    if not fused.method.colour:
        return geometry.image(fused.image)
    colours = sitk.GetImageFromArray(np.rint(fused.image * 255).astype(np.uint8), isVector=True)
    colours.CopyInformation(geometry.grid_only())
    return colours


def measure(prepared: Prepared, results: Sequence[Fused], job: Job = NO_JOB) -> list[dict[str, Any]]:
    """One row per result and one for each source alone: "image", "method" (None for sources), the ten measures.

    Measured within the box around the body, of a colour image its luminance.
    """
    pair = prepared.pair
    box = _box(pair.body, pair.first.shape)
    body = None if pair.body is None else pair.body[box]
    rows = []
    images: list[tuple[str, str | None, np.ndarray]] = [
        *((one.method.title, one.method.name, one.grey) for one in results),
        (FIRST, None, pair.first),
        (SECOND, None, pair.second),
    ]
    quiet = Job(cancelled=job.cancelled)
    for done, (title, name, image) in enumerate(images):
        job.step("measure", done, len(images))
        found = metrics.evaluate(
            pair.first[box], pair.second[box], image[box], pair.spacing, body, prepared.slice_axis, quiet
        )
        rows.append({"image": title, "method": name, **found})
    job.step("measure", len(images), len(images))
    return rows


def _box(body: np.ndarray | None, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The bounding box of the body."""
    if body is None:
        return (slice(None),) * len(shape)
    box = []
    for axis in range(len(shape)):
        hit = np.flatnonzero(body.any(axis=tuple(a for a in range(len(shape)) if a != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(None))
    return tuple(box)
