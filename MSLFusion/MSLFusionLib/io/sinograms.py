"""Sinograms from files, with the scan that they were measured in: described by a sidecar, or by the file itself.

Whatever the file's own conventions, what comes out follows physics.geometry: angles counterclockwise, bins along
the detector's direction, lengths in mm, values as line integrals without unit. Axes are put in order and flipped,
counts become line integrals; nothing is interpolated.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.arrays import ArrayFile, StoredArray, listed
from MSLFusionLib.io.placement import Placement, placed
from MSLFusionLib.io.sidecar import LEAST, read_sidecar, sidecar_path
from MSLFusionLib.physics.geometry import MAX_BINS, MAX_VIEWS, FanBeamGeometry, scan_kind
from MSLFusionLib.physics.units import MU_MAX

MAX_SLICES = 65536
_LEAST_COUNT = 0.5
_LARGEST_INTEGRAL = 1000.0
"""No ray is weakened by more; larger values are in other units."""
_SCALES = {"1": 1.0, "mm/cm": 0.1, "network": MU_MAX}
_PROBE = 64


@dataclass(frozen=True)
class Scan:
    """How the sinogram was measured, in the conventions of physics.geometry, without an image grid."""

    beam: str
    source_origin_mm: float
    origin_detector_mm: float
    bins: int
    pitch_mm: float
    offset_mm: float
    angles: tuple[float, ...]

    def geometry(self, image_shape: tuple[int, int], pixel_mm: float) -> FanBeamGeometry:
        """The scan seen from an image grid; raises InputError where they do not go together."""
        place = (self.source_origin_mm, self.origin_detector_mm, self.bins, self.pitch_mm)
        limited = FanBeamGeometry(
            image_shape, pixel_mm, *place, self.angles, self.offset_mm, detector=self.beam, scan="limited"
        )
        kind = scan_kind(self.angles, limited.half_fan, self.beam == "parallel")
        return FanBeamGeometry(image_shape, pixel_mm, *place, self.angles, self.offset_mm, self.beam, kind)

    @property
    def field_of_view_mm(self) -> float:
        """The diameter of the circle that all views see, or, of a detector that sees one side, its wider side."""
        edge = self.bins * self.pitch_mm / 2
        reach = edge + abs(self.offset_mm) if abs(self.offset_mm) > edge / 4 else edge - abs(self.offset_mm)
        if self.beam == "parallel":
            return 2 * reach
        distance = self.source_origin_mm + self.origin_detector_mm
        angle = reach / distance if self.beam == "arc" else math.atan2(reach, distance)
        # The image is a square in this circle's bounding box: its corners must not reach the source.
        return min(2 * self.source_origin_mm * math.sin(angle), 1.4 * self.source_origin_mm)


@dataclass
class SinogramFile:
    """An open sinogram. scan: how it was measured. found: what the file or sidecar says, for people. warnings:
    sentences on what is missing or odd. Use as a context manager; `sinogram` reads slices."""

    path: Path
    kind: str
    scan: Scan
    slices: int
    placement: Placement
    found: dict[str, Any]
    warnings: list[str]
    _file: ArrayFile
    _array: StoredArray
    _axes: tuple[str, ...]
    _reverse: bool
    _scale: float
    _i0: np.ndarray | None
    field_of_view_mm: float | None = None
    _dark: list[int] = field(default_factory=list)

    def __enter__(self) -> "SinogramFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def sinogram(self, slices: Sequence[int]) -> np.ndarray:
        """Line integrals float32 (n, views, bins) of the slices with these numbers; InputError when not usable."""
        return np.stack([self._slice(int(index)) for index in slices])

    def _slice(self, index: int) -> np.ndarray:
        where = [slice(None)] * len(self._axes)
        order = [axis for axis in self._axes if axis != "slices"]
        if "slices" in self._axes:
            where[self._axes.index("slices")] = index  # type: ignore[call-overload]
        values = self._array.part(tuple(where))
        if order == ["bins", "views"]:
            values = values.T
        values = np.asarray(values, np.float64)
        if not np.isfinite(values).all():
            bad = int(values.size - np.count_nonzero(np.isfinite(values)))
            raise InputError(f"{self.path}: {bad} values of the sinogram are not numbers (slice {index}).")
        if self._i0 is not None:
            if np.any(values < 0):
                raise InputError(f'{self.path}: counts below zero: "values" must be "line-integrals".')
            values = np.log(self._i0 / np.maximum(values, _LEAST_COUNT))
        if self._reverse:
            values = values[:, ::-1]
        values = values * self._scale
        if np.abs(values).max(initial=0) > _LARGEST_INTEGRAL:
            raise InputError(
                f'{self.path}: line integrals up to {np.abs(values).max():.3g} are not possible: check "values" '
                '(counts?) and "unit".'
            )
        return np.ascontiguousarray(values, np.float32)


def open_sinogram(path: Path | str, sidecar: Path | None = None) -> SinogramFile:
    """The sinogram in a file. sidecar: its description; None for FILE.json beside it, or the file's own.

    Raises InputError, naming file and field, for what is missing, damaged or not possible.
    """
    path = Path(path)
    file = ArrayFile(path)
    try:
        where = sidecar or sidecar_path(path)
        if where is not None:
            described = read_sidecar(where)
            if described["kind"] != "sinogram":
                raise InputError(f"{where} describes k-space, not a sinogram.")
            return _described(file, described, f"sidecar {where.name}")
        helsinki = _helsinki(file)
        if helsinki is not None:
            return _described(file, helsinki, "Helsinki tomography MATLAB file")
        raise InputError(
            f"{path} does not say how it was scanned: describe it in {path.name}.json beside it, at least "
            f"by {LEAST['sinogram']} (see: mslfusion sensors schema). It holds {listed(sorted(file.arrays))}."
        )
    except BaseException:
        file.close()
        raise


def _helsinki(file: ArrayFile) -> dict[str, Any] | None:
    """The description in the structs of the University of Helsinki's tomography laboratory; None for other files."""
    names = [name for name in file.arrays if name.endswith("/parameters/distanceSourceOrigin")]
    if not names:
        return None
    base = names[0].removesuffix("/parameters/distanceSourceOrigin")

    def number(name: str) -> float:
        values = np.asarray(file.get(f"{base}/parameters/{name}").part(()), np.float64)
        if values.size != 1 or not np.isfinite(values).all():
            raise InputError(f"{file.path}: parameters/{name} is no number.")
        return float(values.ravel()[0])

    unit = file.texts.get(f"{base}/parameters/distanceUnit", "mm")
    if unit != "mm":
        raise InputError(f"{file.path}: parameters/distanceUnit is {unit!r}; mm is read.")
    content = {
        "kind": "sinogram",
        "array": f"{base}/sinogram",
        "beam": "flat",
        "source_origin_mm": number("distanceSourceOrigin"),
        "source_detector_mm": number("distanceSourceDetector"),
        "pitch_mm": number("pixelSizePost"),
        "angles": f"{base}/parameters/angles",
    }
    from MSLFusionLib.io.sidecar import checked

    return checked(content, str(file.path))


def _described(file: ArrayFile, content: Mapping[str, Any], kind: str) -> SinogramFile:
    path, warnings = file.path, []
    array = file.get(_array_name(file, content), "array")
    if array.dtype.kind == "c":
        raise InputError(f"{path}: the sinogram '{array.name}' is complex.")
    axes = tuple(content.get("axes", ("slices", "views", "bins")[-len(array.shape) :]))
    if len(axes) != len(array.shape) or not {"views", "bins"} <= set(axes):
        raise InputError(
            f"{path}: the sinogram '{array.name}' has the shape {array.shape}, which does not fit \"axes\" {axes}: "
            "views, bins or slices, views, bins in the file's order are needed."
        )
    size = dict(zip(axes, array.shape, strict=True))
    slices, views, bins = size.get("slices", 1), size["views"], size["bins"]
    for name, value, most in (("slices", slices, MAX_SLICES), ("views", views, MAX_VIEWS), ("bins", bins, MAX_BINS)):
        if not 1 <= value <= most:
            raise InputError(f"{path}: the sinogram '{array.name}' has {value} {name}; 1 to {most} are possible.")
    angles = _angles(file, content, views)
    reverse = content.get("detector_direction") == "reversed"
    scan = _scan(path, content, bins, -angles if content.get("rotation") == "clockwise" else angles, reverse)
    scale = _SCALES[content.get("unit", "1")]
    counts = content.get("values") == "counts"
    if counts and "i0" not in content:
        raise InputError(f'{path}: "values" are counts, so "i0", the counts without an object, is needed.')
    if counts and scale != 1.0:
        raise InputError(f'{path}: "unit" is of line integrals, not of counts.')
    field_of_view = content.get("field_of_view_mm")
    try:
        geometry = scan.geometry((_PROBE, _PROBE), (field_of_view or scan.field_of_view_mm) / _PROBE)
    except InputError as error:
        wide = "" if field_of_view is None else f' ("field_of_view_mm" is {field_of_view:g})'
        raise InputError(f"{path}: {error}{wide}") from None
    if geometry.scan == "limited":
        warnings.append(
            f"The views cover {geometry.covered_degrees:.1f} of 360 degrees and are no full or short scan: outside "
            "what the model was trained on; what the missing views would show cannot be trusted."
        )
    found = {
        "array": array.name,
        "shape": list(array.shape),
        "slices": slices,
        "views": views,
        "bins": bins,
        "beam": scan.beam,
        "pitch_mm": scan.pitch_mm,
        "offset_mm": scan.offset_mm,
        "scan": geometry.scan,
        "covered_degrees": round(geometry.covered_degrees, 3),
        "first_angle_degrees": round(math.degrees(scan.angles[0]), 6),
        "last_angle_degrees": round(math.degrees(scan.angles[-1]), 6),
        "values": content.get("values", "line-integrals"),
        "field_of_view_mm": round(field_of_view or scan.field_of_view_mm, 4),
    }
    if scan.beam != "parallel":
        found |= {"source_origin_mm": scan.source_origin_mm, "origin_detector_mm": scan.origin_detector_mm}
    if "centre_mm" not in content:
        warnings.append('The position is not told ("centre_mm"): the first slice is put at the origin.')
    if slices > 1 and "slice_mm" not in content:
        warnings.append('The distance of the slices is not told ("slice_mm"): 1 mm is taken.')
    i0 = _i0(file, content, views, bins) if counts else None
    return SinogramFile(
        path, kind, scan, slices, placed(content, str(path)), found, warnings, file, array, axes, reverse, scale, i0,
        field_of_view,
    )  # fmt: skip


def _array_name(file: ArrayFile, content: Mapping[str, Any]) -> str:
    """The array that holds the data: the one named, or the only one with two or three axes."""
    if "array" in content:
        return str(content["array"])
    likely = [name for name, stored in file.arrays.items() if len(stored.shape) in (2, 3) and min(stored.shape) > 0]
    if len(likely) == 1:
        return likely[0]
    raise InputError(f'{file.path}: name the sinogram in "array"; the file holds {listed(sorted(file.arrays))}.')


def _angles(file: ArrayFile, content: Mapping[str, Any], views: int) -> np.ndarray:
    given = content["angles"]
    if isinstance(given, Mapping):
        if given["count"] != views:
            raise InputError(f'{file.path}: "angles" are {given["count"]}, the sinogram has {views} views.')
        values = given["start"] + given["step"] * np.arange(views)
    elif isinstance(given, str):
        values = _vector(file, given, "angles")
    else:
        values = np.asarray(given, np.float64)
    if len(values) != views:
        raise InputError(f'{file.path}: "angles" are {len(values)}, the sinogram has {views} views.')
    if not np.isfinite(values).all() or np.abs(values).max() > 1e6:
        raise InputError(f'{file.path}: "angles" holds values that are no angles.')
    if content.get("angle_unit", "degrees") == "radians":
        if np.abs(values).max() > 200:
            raise InputError(f'{file.path}: "angles" up to {np.abs(values).max():g} are no radians: "angle_unit"?')
        return values
    return np.deg2rad(values)


def _vector(file: ArrayFile, name: str, field_name: str) -> np.ndarray:
    stored = file.get(name, field_name)
    if stored.dtype.kind not in "iuf" or math.prod(stored.shape) > MAX_VIEWS:
        raise InputError(f"{file.path}: '{name}' ({field_name}) is no short list of numbers.")
    return np.asarray(stored.part(()), np.float64).ravel()


def _scan(path: Path, content: Mapping[str, Any], bins: int, angles: np.ndarray, reverse: bool) -> Scan:
    beam = content["beam"]
    source = detector = 0.0
    if beam != "parallel":
        for name in ("source_origin_mm", "source_detector_mm"):
            if name not in content:
                raise InputError(f'{path}: "{name}" is missing: a {beam} detector\'s beams have a source.')
        source, detector = float(content["source_origin_mm"]), float(content["source_detector_mm"])
        if detector < source:
            raise InputError(
                f'{path}: "source_detector_mm" ({detector:g}) is less than "source_origin_mm" ({source:g}).'
            )
    if ("pitch_mm" in content) == ("pitch_degrees" in content):
        raise InputError(f'{path}: give "pitch_mm", or "pitch_degrees" for an arc; one of the two.')
    if "pitch_degrees" in content:
        if beam != "arc":
            raise InputError(f'{path}: "pitch_degrees" is for an arc only; give "pitch_mm".')
        pitch = math.radians(content["pitch_degrees"]) * detector
    else:
        pitch = float(content["pitch_mm"])
    if "offset_mm" in content and "offset_bins" in content:
        raise InputError(f'{path}: give "offset_mm" or "offset_bins", not both.')
    offset = float(content.get("offset_mm", content.get("offset_bins", 0.0) * pitch))
    if abs(offset) >= bins * pitch / 2:
        raise InputError(f'{path}: with an offset of {offset:g} mm ("offset_mm") the detector misses the axis.')
    return Scan(beam, source, detector - source, bins, pitch, -offset if reverse else offset, tuple(angles.tolist()))


def _i0(file: ArrayFile, content: Mapping[str, Any], views: int, bins: int) -> np.ndarray:
    given = content["i0"]
    if not isinstance(given, str):
        return np.array(float(given))
    stored = file.get(given, "i0")
    if stored.shape not in ((), (1,), (1, 1), (bins,), (1, bins), (views, bins)) or stored.dtype.kind not in "iuf":
        raise InputError(
            f"{file.path}: '{given}' (\"i0\") has the shape {stored.shape}; one number, ({bins},) or ({views}, {bins}) "
            "is needed."
        )
    values = np.asarray(stored.part(()), np.float64)
    if not np.isfinite(values).all() or values.min() <= 0:
        raise InputError(f"{file.path}: '{given}' (\"i0\") must be more than zero everywhere.")
    return values
