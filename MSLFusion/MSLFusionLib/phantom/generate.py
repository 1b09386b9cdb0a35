"""Generated heads as volumes and as single slices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MSLFusionLib.errors import InputError
from MSLFusionLib.phantom.anatomy import Anatomy, Sample
from MSLFusionLib.phantom.shapes import Array
from MSLFusionLib.progress import NO_JOB, Job

CHANNELS = ("ct", "t1", "t2", "pet", "labels")
AXIAL_RANGE_MM = (-80.0, 72.0)
"""Slice positions [mm above the head's centre] between which every head has tissue, jaw to vertex."""

_MAX_VOXELS = 2**30
_THICK_MM = 2.0


@dataclass(frozen=True)
class Head:
    """One generated head.

    ct [HU], t1, t2, pet [relative, 0 to about 1.5] float32 and labels uint8 (values: LABELS) share one
    grid: axial slices, k = superior, LPS directions, head centred on the origin. When a misaligned scan
    was asked for, `moving` and `moving_t2` are T1 and T2 as the MR scanner saw the moved head and
    `transform` (Euler3DTransform) maps points of the CT onto points of the moving images; else None.
    `description` holds all parameters as JSON-able values.
    """

    ct: sitk.Image
    t1: sitk.Image
    t2: sitk.Image
    pet: sitk.Image
    labels: sitk.Image
    moving: sitk.Image | None
    moving_t2: sitk.Image | None
    transform: sitk.Transform | None
    description: dict[str, object]


def generate_head(
    seed: int,
    size: Sequence[int] = (256, 256, 160),
    spacing: Sequence[float] = (0.8, 0.8, 1.2),
    *,
    tumour: bool | None = None,
    metal: bool = False,
    misalign_mm: float = 0.0,
    misalign_deg: float = 0.0,
    moving_size: Sequence[int] | None = None,
    moving_spacing: Sequence[float] | None = None,
    moving_centre: Sequence[float] = (0.0, 0.0, 0.0),
    job: Job = NO_JOB,
) -> Head:
    """The head of `seed` as CT, T1, T2, PET and label volumes of `size` (x, y, z) and `spacing` [mm].

    The anatomy is a function of position: the same seed gives the same head on every grid. Slices thicker
    than 2 mm are averaged over their thickness. tumour: None leaves it to the seed. misalign_mm and
    misalign_deg are the length of the shift and the angle of the turn (random direction and axis, through
    the head's centre) between CT and moving MR; a moving scan is also made when any of moving_size,
    moving_spacing, moving_centre is given (a grid smaller than the head is a partial field of view).
    Raises InputError for sizes, spacings or misalignments that make no sense, Cancelled through `job`.
    """
    seed = _checked_seed(seed)
    size, spacing = _checked_grid(size, spacing, "size", "spacing")
    for name, value, limit in (("misalign_mm", misalign_mm, 100.0), ("misalign_deg", misalign_deg, 90.0)):
        if not (math.isfinite(value) and 0.0 <= value <= limit):
            raise InputError(f"{name} must be a number from 0 to {limit:g}, not {value}.")
    centre = tuple(float(c) for c in moving_centre)
    if len(centre) != 3 or not all(math.isfinite(c) and abs(c) <= 300.0 for c in centre):
        raise InputError(f"moving_centre must be three numbers of mm within 300, not {tuple(moving_centre)}.")
    wanted = misalign_mm > 0 or misalign_deg > 0 or moving_size is not None or moving_spacing is not None or any(centre)
    moving_size, moving_spacing = _checked_grid(
        size if moving_size is None else moving_size,
        spacing if moving_spacing is None else moving_spacing,
        "moving_size",
        "moving_spacing",
    )
    anatomy = _anatomy(seed, tumour, metal)
    total = size[2] + (moving_size[2] if wanted else 0)
    fixed = _volumes(anatomy, size, spacing, (0.0, 0.0, 0.0), None, CHANNELS, 0, total, job)
    description: dict[str, object] = {
        "size": list(size),
        "spacing_mm": list(spacing),
        "tumour": anatomy.tumour is not None,
        "metal": metal,
        "head": anatomy.plan.describe(),
    }
    transform, moving = None, {"t1": None, "t2": None}
    if wanted:
        transform = _misalignment(seed, misalign_mm, misalign_deg)
        moving = _volumes(anatomy, moving_size, moving_spacing, centre, transform, ("t1", "t2"), size[2], total, job)
        description |= {
            "misalign_mm": misalign_mm,
            "misalign_deg": misalign_deg,
            "moving_size": list(moving_size),
            "moving_spacing_mm": list(moving_spacing),
            "moving_centre_mm": list(centre),
            "transform": {
                "matrix": [float(v) for v in transform.GetMatrix()],
                "translation_mm": [float(v) for v in transform.GetTranslation()],
            },
        }
    return Head(**fixed, moving=moving["t1"], moving_t2=moving["t2"], transform=transform, description=description)


def head_slices(
    seed: int,
    positions_mm: Sequence[float],
    size_xy: Sequence[int] = (384, 384),
    pixel_mm: float = 256.0 / 384.0,
    *,
    tumour: bool | None = None,
    metal: bool = False,
    rotation_deg: float = 0.0,
    tilt_deg: tuple[float, float] = (0.0, 0.0),
    offset_mm: tuple[float, float] = (0.0, 0.0),
    job: Job = NO_JOB,
) -> dict[str, NDArray]:
    """Thin axial slices of the head of `seed` at `positions_mm` above its centre (see AXIAL_RANGE_MM).

    size_xy: (columns, rows); rows run to the back, columns to the left, as in a radiological display.
    rotation_deg turns the head in the plane; tilt_deg nods it (about x) and leans it (about y);
    offset_mm moves it in the plane. Returns ct [HU], t1, t2, pet float32 and labels uint8, each
    (n, rows, columns). The last few heads are kept, so further slices of a seed cost no preparation.
    Raises InputError for unusable sizes or positions.
    """
    seed = _checked_seed(seed)
    (width, height, _), (pixel, _, _) = _checked_grid((*size_xy, 1), (pixel_mm, pixel_mm, 1.0), "size_xy", "pixel_mm")
    positions = np.asarray(positions_mm, np.float64)
    if positions.ndim != 1 or not len(positions) or not np.all(np.isfinite(positions)):
        raise InputError("positions_mm must be a list of one or more numbers.")
    pose = (rotation_deg, *tilt_deg, *offset_mm)
    if len(pose) != 5 or not all(math.isfinite(v) for v in pose):
        raise InputError(f"Rotation, two tilts and two offsets must be finite numbers, not {pose}.")
    anatomy = _anatomy(seed, tumour, metal)
    turn = _rotation(tilt_deg[0], tilt_deg[1], rotation_deg).astype(np.float32)
    u = ((np.arange(width) - (width - 1) / 2) * pixel - offset_mm[0]).astype(np.float32)
    v = ((np.arange(height) - (height - 1) / 2) * pixel - offset_mm[1]).astype(np.float32)
    uu, vv = (a.ravel() for a in np.meshgrid(u, v))
    result: dict[str, NDArray] = {
        name: np.empty((len(positions), height, width), np.uint8 if name == "labels" else np.float32)
        for name in CHANNELS
    }
    for i, position in enumerate(positions.astype(np.float32)):
        job.step("generate slices", i, len(positions))
        x, y, z = (turn[r, 0] * uu + turn[r, 1] * vv + turn[r, 2] * position for r in range(3))
        sample = anatomy.sample(x, y, z, _edge(pixel, pixel))
        for name in CHANNELS:
            result[name][i] = getattr(sample, name).reshape(height, width)
    job.step("generate slices", len(positions), len(positions))
    return result


@lru_cache(maxsize=3)
def _anatomy(seed: int, tumour: bool | None, metal: bool) -> Anatomy:
    return Anatomy(seed, tumour, metal)


def _edge(sx: float, sy: float) -> float:
    """Width of the soft edges: a pixel and a half, as a scanner's point spread."""
    return 1.4 * max(math.sqrt(sx * sy), 0.4)


def _volumes(
    anatomy: Anatomy,
    size: Sequence[int],
    spacing: Sequence[float],
    centre: Sequence[float],
    transform: sitk.Transform | None,
    channels: Sequence[str],
    done: int,
    total: int,
    job: Job,
) -> dict[str, sitk.Image]:
    """Evaluate slice by slice; `transform` takes points of the unmoved head to points of this grid."""
    nx, ny, nz = size
    origin = [c - (n - 1) / 2 * s for c, n, s in zip(centre, size, spacing, strict=True)]
    matrix, shift = np.eye(3), np.zeros(3)
    if transform is not None:
        inverse = transform.GetInverse()
        shift = np.array(inverse.TransformPoint((0.0, 0.0, 0.0)))
        matrix = np.stack([np.array(inverse.TransformPoint(tuple(e))) - shift for e in np.eye(3)], axis=1)
    arrays = {c: np.empty((nz, ny, nx), np.uint8 if c == "labels" else np.float32) for c in channels}
    x, y = np.meshgrid(origin[0] + np.arange(nx) * spacing[0], origin[1] + np.arange(ny) * spacing[1])
    parts = 1 if spacing[2] <= _THICK_MM else 2 * math.ceil(spacing[2] / 3.0) + 1
    within = (np.arange(parts) - (parts - 1) / 2) / parts * spacing[2]
    for k in range(nz):
        job.step("generate head", done + k, total)
        height = origin[2] + k * spacing[2]
        samples = []
        for z in height + within:
            px, py, pz = (
                (matrix[r, 0] * x + matrix[r, 1] * y + matrix[r, 2] * z + shift[r]).astype(np.float32).ravel()
                for r in range(3)
            )
            samples.append(anatomy.sample(px, py, pz, _edge(spacing[0], spacing[1])))
        for channel in channels:
            arrays[channel][k] = _average(samples, channel).reshape(ny, nx)
    job.step("generate head", done + nz, total)
    images = {}
    for channel, array in arrays.items():
        image = sitk.GetImageFromArray(array)
        image.SetSpacing([float(s) for s in spacing])
        image.SetOrigin([float(o) for o in origin])
        images[channel] = image
    return images


def _average(samples: list[Sample], channel: str) -> Array:
    """Mean over the slice's thickness; the middle one's labels."""
    values = [getattr(sample, channel) for sample in samples]
    if channel == "labels" or len(values) == 1:
        return values[len(values) // 2]
    return np.mean(values, axis=0, dtype=np.float32)


def _misalignment(seed: int, shift_mm: float, angle_deg: float) -> sitk.Euler3DTransform:
    """A shift of given length and a turn of given angle, in directions that the seed chooses."""
    rng = np.random.default_rng([seed, 0x30BE])
    direction = rng.standard_normal(3)
    direction *= shift_mm / np.linalg.norm(direction)
    axis = rng.standard_normal(3)
    axis /= np.linalg.norm(axis)
    versor = sitk.VersorRigid3DTransform()
    versor.SetRotation(tuple(axis), math.radians(angle_deg))
    transform = sitk.Euler3DTransform()
    transform.SetMatrix(versor.GetMatrix())
    transform.SetTranslation(tuple(direction))
    return transform


def _rotation(about_x: float, about_y: float, about_z: float) -> NDArray[np.float64]:
    """Rotation matrix Rx Ry Rz (degrees)."""
    euler = sitk.Euler3DTransform()
    matrix = np.eye(3)
    for angles in ((about_x, 0.0, 0.0), (0.0, about_y, 0.0), (0.0, 0.0, about_z)):
        euler.SetRotation(*(math.radians(a) for a in angles))
        matrix = matrix @ np.array(euler.GetMatrix()).reshape(3, 3)
    return matrix


def _checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"The seed must be a whole number from 0, not {seed!r}.")
    return int(seed)


def _checked_grid(
    size: Sequence[int], spacing: Sequence[float], size_name: str, spacing_name: str
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Size and spacing as tuples, or InputError that names the parameter."""
    try:
        n = tuple(int(v) for v in size)
        exact = all(float(v) == int(v) for v in size)
        s = tuple(float(v) for v in spacing)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{size_name} must be whole numbers and {spacing_name} numbers of mm.") from None
    if len(n) != 3 or not exact or not all(1 <= v <= 4096 for v in n):
        raise InputError(f"{size_name} must be whole numbers from 1 to 4096, not {tuple(size)}.")
    if math.prod(n) > _MAX_VOXELS:
        raise InputError(f"{size_name} {n} makes more than {_MAX_VOXELS} voxels; choose a smaller one.")
    if len(s) != 3 or not all(math.isfinite(v) and 0.05 <= v <= 50.0 for v in s):
        raise InputError(f"{spacing_name} must be from 0.05 to 50 mm, not {tuple(spacing)}.")
    return (n[0], n[1], n[2]), (s[0], s[1], s[2])
