"""Where the registration starts: a search over shifts and quarter turns on a coarse grid.

CT and MR may come from scanners whose frames differ, with other fields of view and, for specimens, another
orientation. Each candidate pose is scored on a 6 mm grid by mutual information times the share of the smaller body
that lies inside the other, so that a good match of a small overlap does not win.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.registration.images import Scan, index_matrix, mask_points, on_grid

_GRID_MM = 6.0
_BINS = 24
_SHIFT_STEP_MM = 20.0
_MOST_SHIFTS = 5
_RANKING_POINTS = 1500
_TURN_ADVANTAGE = 1.15
_STEPS = ((8.0, 8.0), (4.0, 4.0), (2.0, 2.0))  # mm and degrees of the local search
_KEPT, _KEPT_TURNED = 5, 3


@dataclass(frozen=True)
class Pose:
    """A rigid motion of fixed points p to moving points R (p - c) + c + t, with c the fixed body's centre."""

    rotation: np.ndarray
    shift: np.ndarray
    score: float = 0.0
    turned: bool = False

    def transform(self, body_centre: np.ndarray, about: np.ndarray) -> sitk.Euler3DTransform:
        """The same motion as an ITK transform that turns about the point `about` of the fixed volume."""
        away = about - body_centre
        result = sitk.Euler3DTransform()
        result.SetCenter([float(v) for v in about])
        result.SetMatrix([float(v) for v in self.rotation.ravel()], 1e-6)
        result.SetTranslation([float(v) for v in self.shift + self.rotation @ away - away])
        return result


class Scorer:
    """Scores poses of a pair of scans on the coarse grid, at all of its points or at `points` of them."""

    def __init__(self, fixed: Scan, moving: Scan, points: int | None = None, job: Job = NO_JOB) -> None:
        self.centre = fixed.centre
        fixed_image = on_grid(fixed.image, _GRID_MM, job=job)
        region = _nearest(fixed.region, fixed_image)
        chosen = sitk.GetArrayViewFromImage(region).astype(bool)
        every = 1 if points is None else max(1, np.count_nonzero(chosen) // points)
        self._points = mask_points(region)[::every]
        self._fixed_bins = _binned(sitk.GetArrayViewFromImage(fixed_image))[chosen][::every]
        # Copies, not views: these images are gone once the line has ended.
        in_body = sitk.GetArrayFromImage(_nearest(fixed.body, fixed_image)).astype(bool)[chosen]
        self._fixed_body = in_body[::every]
        moving_image = on_grid(moving.image, _GRID_MM, job=job)
        self._moving_bins = _binned(sitk.GetArrayViewFromImage(moving_image))
        self._moving_body = sitk.GetArrayFromImage(_nearest(moving.body, moving_image)).astype(bool)
        self._to_index = np.linalg.inv(index_matrix(moving_image))
        self._origin = np.array(moving_image.GetOrigin())
        volumes = [np.prod(fixed_image.GetSpacing()), np.prod(moving_image.GetSpacing())]
        smaller = min(in_body.sum() * volumes[0], self._moving_body.sum() * volumes[1])
        self._full_count = max(1.0, smaller / volumes[0] / every)

    def measure(self, rotation: np.ndarray, shift: np.ndarray) -> tuple[float, float]:
        """Mutual information in nats over the points inside both fields of view, and the body overlap in [0, 1]."""
        indices, inside = self._places(rotation, shift)
        if not inside.any():
            return 0.0, 0.0
        place = np.ravel_multi_index(tuple(indices[inside].T), self._moving_bins.shape)
        overlap = np.count_nonzero(self._moving_body.ravel()[place] & self._fixed_body[inside]) / self._full_count
        pairs = self._fixed_bins[inside] * _BINS + self._moving_bins.ravel()[place]
        joint = np.bincount(pairs, minlength=_BINS * _BINS).reshape(_BINS, _BINS) / len(pairs)
        product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        filled = joint > 0
        information = float((joint[filled] * np.log(joint[filled] / product[filled])).sum())
        return information, min(1.0, float(overlap))

    def common_centre(self, pose: Pose) -> np.ndarray:
        """Middle of the fixed points that both fields of view hold; turns about it hardly shift the match."""
        inside = self._places(pose.rotation, pose.shift)[1]
        return self._points[inside].mean(axis=0) if inside.any() else self.centre

    def _places(self, rotation: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Array indices (z, y, x) of the points in the moving grid, and which of them lie inside it."""
        matrix = self._to_index @ rotation
        offset = self._to_index @ (self.centre + shift - rotation @ self.centre - self._origin)
        indices = np.rint(self._points @ matrix.T + offset).astype(np.int64)[:, ::-1]
        return indices, ((indices >= 0) & (indices < self._moving_bins.shape)).all(axis=1)

    def scored(self, rotation: np.ndarray, shift: np.ndarray, turned: bool = False) -> Pose:
        """The pose with its score."""
        information, overlap = self.measure(rotation, shift)
        return Pose(rotation, shift, information * overlap, turned)

    def pose_of(self, transform: sitk.Transform) -> Pose:
        """The score of a linear transform (an affine one keeps its full matrix)."""
        zero = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
        matrix = np.stack([np.array(transform.TransformPoint(tuple(e))) - zero for e in np.eye(3)], axis=1)
        return self.scored(matrix, zero + matrix @ self.centre - self.centre)

    def improved(self, pose: Pose, job: Job = NO_JOB) -> Pose:
        """Local search: steps along and turns about each axis, halved when none helps."""
        pose = self.scored(pose.rotation, pose.shift, pose.turned)
        for step_mm, step_deg in _STEPS:
            better = True
            while better:
                job.check()
                better = False
                for axis, sign in itertools.product(range(3), (-1.0, 1.0)):
                    moved = self.scored(pose.rotation, pose.shift + sign * step_mm * np.eye(3)[axis], pose.turned)
                    turn = rotation_about(axis, sign * step_deg) @ pose.rotation
                    turned = self.scored(turn, pose.shift, pose.turned)
                    best = max(moved, turned, key=lambda candidate: candidate.score)
                    if best.score > pose.score * (1 + 1e-6):
                        pose, better = best, True
        return pose


def find_start(scorer: Scorer, fixed: Scan, moving: Scan, job: Job = NO_JOB) -> Pose:
    """The best pose; `turned` when it is a quarter or half turn against what the files' headers say.

    Such a turn is taken only when it is clearly better: scanners know how a patient lies.
    """
    quick = Scorer(fixed, moving, _RANKING_POINTS, job)
    rotations = quarter_turns()
    between = moving.centre - fixed.centre
    ranked: tuple[list[Pose], list[Pose]] = ([quick.scored(np.eye(3), np.zeros(3))], [])
    for done, rotation in enumerate(rotations):
        job.step("find start", done, len(rotations))
        # the bodies' middles differ by as much as one may stick out of the other's field of view
        reach = np.abs(np.abs(rotation) @ fixed.extent - moving.extent) / 2 + _SHIFT_STEP_MM
        for offset in itertools.product(*map(_offsets, reach)):
            pose = quick.scored(rotation, between + np.array(offset), done > 0)
            ranked[done > 0].append(pose)
    best = []
    for poses, kept in zip(ranked, (_KEPT, _KEPT_TURNED), strict=True):
        starts = _distinct(sorted(poses, key=lambda pose: -pose.score), kept)
        best.append(max((scorer.improved(pose, job) for pose in starts), key=lambda pose: pose.score))
    job.step("find start", len(rotations), len(rotations))
    return best[1] if best[1].score > _TURN_ADVANTAGE * best[0].score else best[0]


def rotation_about(axis: int, degrees: float) -> np.ndarray:
    """Rotation matrix about coordinate axis 0, 1 or 2."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cos
    matrix[first, second], matrix[second, first] = -sin, sin
    return matrix


def quarter_turns() -> list[np.ndarray]:
    """The 24 rotations of a cube, the identity first."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return found


def _offsets(reach: float) -> np.ndarray:
    count = min(_MOST_SHIFTS, 2 * int(reach / _SHIFT_STEP_MM) + 1)
    return np.linspace(-reach, reach, count) if count > 1 else np.zeros(1)


def _distinct(ranked: list[Pose], count: int) -> list[Pose]:
    """The first `count` poses that are not neighbours of a better one."""
    kept: list[Pose] = []
    for pose in ranked:
        near = any(
            np.linalg.norm(pose.shift - other.shift) < _SHIFT_STEP_MM
            and np.trace(pose.rotation.T @ other.rotation) > 2.8
            for other in kept
        )
        if not near:
            kept.append(pose)
        if len(kept) == count:
            break
    return kept


def _binned(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (_BINS / (high - low)) if high > low else np.zeros_like(values)
    return np.clip(scaled, 0, _BINS - 1).astype(np.int64)


def _nearest(mask: sitk.Image, grid: sitk.Image) -> sitk.Image:
    return sitk.Resample(mask, grid, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor, 0)
