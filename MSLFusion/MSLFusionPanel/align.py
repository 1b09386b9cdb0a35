"""The ways in which an MR comes onto the grid of a CT."""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from slicer.i18n import tr as _

from MSLFusionLib.client import Grid, Volume
from MSLFusionPanel import brains, elastix
from MSLFusionPanel.inputs import volume_from_node
from MSLFusionPanel.parameters import Alignment
from MSLFusionPanel.task import ask, later

if TYPE_CHECKING:
    import SimpleITK as sitk

_WORKER = {Alignment.SITK_RIGID: "rigid", Alignment.SITK_AFFINE: "affine"}
_BRAINS = (Alignment.BRAINS_RIGID, Alignment.BRAINS_AFFINE)
_AIR_HU, _BONE_HU = -1000.0, 1500.0


@dataclass(frozen=True, eq=False)
class Found:
    """An MR on the grid of a CT.

    array: (z, y, x) in the CT's voxels. matrix: 4 x 4 from the CT's points to the MR's in LPS, in the world; None
    where nothing was registered. centre: of the CT's grid. metric in nats, overlap in [0, 1], where the method tells.
    """

    method: Alignment
    array: np.ndarray
    matrix: np.ndarray | None
    centre: np.ndarray
    seconds: float
    metric: float | None = None
    overlap: float | None = None
    warnings: list[str] = field(default_factory=list)

    def shift_mm(self) -> float:
        """How far the registration moved the MR at the centre of the CT."""
        if self.matrix is None:
            return 0.0
        return float(np.linalg.norm(self.matrix[:3, :3] @ self.centre + self.matrix[:3, 3] - self.centre))

    def turn_deg(self) -> float:
        """By which angle the registration turned the MR; the nearest rotation of an affine transform."""
        if self.matrix is None:
            return 0.0
        left, _scales, right = np.linalg.svd(self.matrix[:3, :3])
        return float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1.0) / 2.0, -1.0, 1.0))))


def missing(method: Alignment) -> str:
    """Why this method cannot be used here, and what to use instead; empty when it can."""
    if method in _BRAINS and not brains.available():
        return _(
            "General Registration (BRAINS) is not loaded: this Slicer was started without its command-line modules. "
            "Choose a SimpleITK method."
        )
    if method is Alignment.ELASTIX and not elastix.available():
        return _(
            "The Elastix extension is not installed: install SlicerElastix in the Extensions Manager, or choose a "
            "SimpleITK method."
        )
    return ""


def align_steps(
    method: Alignment, ct: Any, mr: Any, progress: Callable[[int], None], stopping: Callable[[], bool]
) -> Generator[Any, Any, Found]:
    """Steps of a task: bring the MR onto the CT as both appear in the world.

    progress: percent, of methods that run in Slicer. stopping: whether the task was cancelled.
    """
    started = time.monotonic()
    fixed = volume_from_node(ct)
    yield later()
    moving = volume_from_node(mr)
    yield later()
    points = _lattice(fixed)
    centre = points.mean(axis=0)
    if method in _WORKER:
        answer = yield ask("register", fixed, moving, _WORKER[method])
        told = answer.header["registration"]
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = told["matrix"], told["shift_mm"]
        figures = (told["metric_nats"], told["overlap"], list(told["warnings"]))
        return Found(method, answer.arrays["moved"], matrix, centre, time.monotonic() - started, *figures)
    found = None
    if method is not Alignment.ALIGNED:
        images = _prepared(fixed, _AIR_HU, _BONE_HU), _prepared(moving)
        yield later()
        if method in _BRAINS:
            affine = method is Alignment.BRAINS_AFFINE
            found = yield from brains.brains_steps(*images, affine, points, progress)
        else:
            found = yield from elastix.elastix_steps(*images, points, stopping)
    grid = Grid(fixed.array.shape[::-1], fixed.spacing, fixed.origin, fixed.direction)
    answer = yield ask("resample", grid, moving, found)
    return Found(method, answer.arrays["moved"], found, centre, time.monotonic() - started)


def _lattice(volume: Volume) -> np.ndarray:
    """27 points (n, 3) in LPS that are spread over the inner part of a volume."""
    steps = np.array([0.15, 0.5, 0.85])
    shares = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = shares * (np.array(volume.array.shape[::-1]) - 1)
    axes = np.reshape(volume.direction, (3, 3)) * np.asarray(volume.spacing)
    return voxels @ axes.T + np.asarray(volume.origin)


def _prepared(volume: Volume, low: float | None = None, high: float | None = None) -> "sitk.Image":
    """The volume with air at 0, cut to [low, high] where it reaches below: centres of mass need it so."""
    import SimpleITK as sitk

    array = volume.array
    darkest = float(array.min())
    if low is not None and darkest < low / 2:  # else it is not in HU
        array = np.clip(array, low, high)
        darkest = max(darkest, low)
    image = sitk.GetImageFromArray(array - np.float32(darkest))
    image.SetSpacing([float(value) for value in volume.spacing])
    image.SetOrigin([float(value) for value in volume.origin])
    image.SetDirection([float(value) for value in volume.direction])
    return image
