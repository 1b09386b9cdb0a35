"""The geometry of a two-dimensional scan: image grid, source, detector and view angles.

Lengths in mm, angles in radians. Pixel (i, j) of an H x W image has its centre at x = (j - (W-1)/2) * pixel_mm,
y = ((H-1)/2 - i) * pixel_mm. Bin k of the detector is centred at u = (k - (bins-1)/2) * pitch_mm + offset_mm, and at
angle b, with e = (cos b, sin b) along the detector and d = (-sin b, cos b) away from the source:

flat: the source is at -DSO d, bin u at ODD d + u e.
arc: the same source, bins on the circle of radius DSO + ODD around it: the ray of u leaves the source at the angle
    g = u / (DSO + ODD) from the central one, along cos g d + sin g e.
parallel: no source; the ray of u runs along d through u e.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from MSLFusionLib.errors import InputError

MAX_IMAGE_SIZE = 8192
MAX_BINS = 32768
MAX_VIEWS = 65536
SCANS = ("full", "short", "limited")
DETECTORS = ("flat", "arc", "parallel")

_PAPER_SIZE = 384
_PAPER_SOURCE_ORIGIN_PX = 1075.0
_PAPER_BINS = 640
_ANGLE_TOLERANCE = 1e-3
"""Relative to the step between views: how far stored angles may be from evenly spaced."""
_WIDEST_GAP = 1.5
"""Relative to the mean step: the widest gap between views that still makes a full circle."""
_LARGEST_FAN = 0.45 * math.pi
"""Half fan angle of an arc beyond which rays no longer cross the image."""


@dataclass(frozen=True)
class FanBeamGeometry:
    """A fan-beam or parallel-beam scan of one slice.

    image_shape: rows H and columns W. pixel_mm: isotropic pixel size.
    source_origin_mm, origin_detector_mm: distances DSO and ODD from the axis of rotation, both 0 for parallel beams.
    bins, pitch_mm, offset_mm: the detector; the pitch of an arc is measured along it. detector: one of DETECTORS.
    angles: one per view, in the order of the sinogram's views.
    scan: "full" (the angles leave no gap on the circle, or on half of it for parallel beams), "short" (evenly over pi
    plus the fan angle or more) or "limited" (anything else: no filtered backprojection, but forward, adjoint and
    iterative methods). Raises InputError for values no scanner can have.
    """

    image_shape: tuple[int, int]
    pixel_mm: float
    source_origin_mm: float
    origin_detector_mm: float
    bins: int
    pitch_mm: float
    angles: tuple[float, ...]
    offset_mm: float = 0.0
    detector: str = "flat"
    scan: str = "full"

    def __post_init__(self) -> None:
        height, width = self.image_shape
        _check_count("image rows", height, MAX_IMAGE_SIZE)
        _check_count("image columns", width, MAX_IMAGE_SIZE)
        _check_count("detector bins", self.bins, MAX_BINS)
        _check_count("views", len(self.angles), MAX_VIEWS)
        _check_length("pixel_mm", self.pixel_mm)
        _check_length("pitch_mm", self.pitch_mm)
        if self.detector not in DETECTORS:
            raise InputError(f'Unknown detector shape "{self.detector}": use one of {", ".join(DETECTORS)}.')
        if self.detector != "parallel":
            _check_length("source_origin_mm", self.source_origin_mm)
        elif self.source_origin_mm or self.origin_detector_mm:
            raise InputError("Parallel beams have no source: source_origin_mm and origin_detector_mm must be 0.")
        if not (math.isfinite(self.origin_detector_mm) and self.origin_detector_mm >= 0):
            raise InputError(f"origin_detector_mm must be zero or more, not {self.origin_detector_mm}.")
        if not math.isfinite(self.offset_mm):
            raise InputError(f"offset_mm must be a finite number, not {self.offset_mm}.")
        if not all(math.isfinite(angle) for angle in self.angles):
            raise InputError("The view angles must be finite numbers in radians.")
        if self.detector == "arc" and self.half_fan > _LARGEST_FAN:
            raise InputError(
                f"The arc detector spans {math.degrees(2 * self.half_fan):.0f} degrees: check bins, pitch_mm and "
                "the distances."
            )
        if self.scan not in SCANS:
            raise InputError(f'Unknown scan "{self.scan}": use one of {", ".join(SCANS)}.')
        if self.detector != "parallel" and self.source_origin_mm <= self.diagonal_mm / 2:
            raise InputError(
                f"The source, {self.source_origin_mm:g} mm from the centre, lies inside the image, whose half "
                f"diagonal is {self.diagonal_mm / 2:g} mm: check source_origin_mm and pixel_mm."
            )
        if self.scan != "limited" and _SCAN_RANK[self._kind()] < _SCAN_RANK[self.scan]:
            raise InputError(
                f"The {self.views} view angles do not make a {self.scan} scan: give evenly spaced angles over the "
                'whole range, or scan="limited".'
            )

    @classmethod
    def covering(
        cls, image_shape: tuple[int, int], pixel_mm: float, views: int, scan: str = "full", offset_mm: float = 0.0
    ) -> Self:
        """The paper's proportions for any H x W: the detector sees the whole diagonal at the isocentre.

        Zhu et al. (TPAMI 2024) use 1075 px distances and 640 bins for 384 x 384; both scale with the diagonal.
        """
        height, width = image_shape
        _check_count("image rows", height, MAX_IMAGE_SIZE)
        _check_count("image columns", width, MAX_IMAGE_SIZE)
        _check_length("pixel_mm", pixel_mm)
        diagonal = math.hypot(height, width)
        scale = diagonal / math.hypot(_PAPER_SIZE, _PAPER_SIZE)
        bins = max(1, round(_PAPER_BINS * scale))
        distance = _PAPER_SOURCE_ORIGIN_PX * scale * pixel_mm
        pitch = 2 * diagonal * pixel_mm / bins
        half_fan = _half_fan("flat", bins, pitch, offset_mm, 2 * distance)
        return cls(
            image_shape=(height, width),
            pixel_mm=pixel_mm,
            source_origin_mm=distance,
            origin_detector_mm=distance,
            bins=bins,
            pitch_mm=pitch,
            angles=even_angles(views, scan, half_fan),
            offset_mm=offset_mm,
            scan=scan,
        )

    @classmethod
    def paper(cls, views: int = 64, size: int = 384, pixel_mm: float = 0.36923) -> Self:
        """The geometry of the paper (its proportions when `size` is not 384), views at cell centres over 2 pi."""
        return cls.covering((size, size), pixel_mm, views)

    @classmethod
    def parallel(cls, image_shape: tuple[int, int], pixel_mm: float, views: int, offset_mm: float = 0.0) -> Self:
        """Parallel beams over half a circle, views at cell centres, bins of one pixel over the whole diagonal."""
        height, width = image_shape
        _check_count("image rows", height, MAX_IMAGE_SIZE)
        _check_count("image columns", width, MAX_IMAGE_SIZE)
        angles = tuple(angle / 2 for angle in even_angles(views, "full", 0.0))
        bins = math.ceil(math.hypot(height, width))
        return cls(image_shape, pixel_mm, 0.0, 0.0, bins, pixel_mm, angles, offset_mm, "parallel")

    @property
    def views(self) -> int:
        """The number of projections."""
        return len(self.angles)

    @property
    def diagonal_mm(self) -> float:
        """The diagonal of the image."""
        return math.hypot(*self.image_shape) * self.pixel_mm

    @property
    def magnification(self) -> float:
        """How much larger an object at the isocentre appears on the detector."""
        if self.detector == "parallel":
            return 1.0
        return (self.source_origin_mm + self.origin_detector_mm) / self.source_origin_mm

    @property
    def half_fan(self) -> float:
        """The largest angle between a measured ray and the central ray, 0 for parallel beams."""
        distance = self.source_origin_mm + self.origin_detector_mm
        return _half_fan(self.detector, self.bins, self.pitch_mm, self.offset_mm, distance)

    @property
    def covered_degrees(self) -> float:
        """How much of the circle the views cover: 360 less the widest gap, where that is wider than the others."""
        return math.degrees(2 * math.pi - _open_gap(self.angles))

    def on_grid(self, image_shape: tuple[int, int], pixel_mm: float) -> Self:
        """The same scanner and scan, seen from another image grid with the same centre."""
        return replace(self, image_shape=image_shape, pixel_mm=pixel_mm)

    def _kind(self) -> str:
        return scan_kind(self.angles, self.half_fan, self.detector == "parallel")

    def with_views(self, views: int) -> Self:
        """The same full or short fan-beam scan with another number of evenly spaced views."""
        if self.scan == "limited":
            raise InputError("A limited scan cannot be resampled to another number of views: give its angles.")
        angles = even_angles(views, self.scan, self.half_fan)
        return replace(self, angles=tuple(a / 2 for a in angles) if self.detector == "parallel" else angles)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary that `from_dict` reads."""
        return asdict(self) | {"image_shape": list(self.image_shape), "angles": list(self.angles)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The geometry described by a dictionary; "scan" is worked out from the angles when absent.

        Raises InputError for missing, unknown or wrong entries.
        """
        required = (
            "image_shape",
            "pixel_mm",
            "source_origin_mm",
            "origin_detector_mm",
            "bins",
            "pitch_mm",
            "angles",
        )
        missing = [name for name in required if name not in data]
        if missing:
            raise InputError(f"The scan geometry lacks {', '.join(missing)}.")
        unknown = sorted(set(data) - set(required) - {"offset_mm", "detector", "scan"})
        if unknown:
            raise InputError(f"The scan geometry has unknown entries: {', '.join(unknown)}.")
        shape = data["image_shape"]
        if not (isinstance(shape, list | tuple) and len(shape) == 2):
            raise InputError("image_shape of the scan geometry must be two numbers: rows and columns.")
        if isinstance(data["angles"], str) or not isinstance(data["angles"], Iterable):
            raise InputError("angles of the scan geometry must be a list of numbers in radians.")
        bins = _whole("bins", data["bins"])
        pitch = _number("pitch_mm", data["pitch_mm"])
        offset = _number("offset_mm", data.get("offset_mm", 0.0))
        source = _number("source_origin_mm", data["source_origin_mm"])
        detector = _number("origin_detector_mm", data["origin_detector_mm"])
        angles = tuple(_number("angles", angle) for angle in data["angles"])
        shape_of_detector = str(data.get("detector", "flat"))
        scan = data.get("scan")
        if scan is None:
            half_fan = _half_fan(shape_of_detector, bins, pitch, offset, source + detector)
            scan = scan_kind(angles, half_fan, shape_of_detector == "parallel")
        return cls(
            image_shape=(_whole("image_shape", shape[0]), _whole("image_shape", shape[1])),
            pixel_mm=_number("pixel_mm", data["pixel_mm"]),
            source_origin_mm=source,
            origin_detector_mm=detector,
            bins=bins,
            pitch_mm=pitch,
            angles=angles,
            offset_mm=offset,
            detector=shape_of_detector,
            scan=str(scan),
        )


def even_angles(views: int, scan: str, half_fan: float) -> tuple[float, ...]:
    """`views` angles at the cell centres of a "full" (2 pi) or "short" (pi + 2 half_fan) range from 0."""
    if isinstance(views, bool) or not isinstance(views, int) or not 1 <= views <= MAX_VIEWS:
        raise InputError(f"The number of views must be a whole number from 1 to {MAX_VIEWS}, not {views}.")
    if scan == "full":
        span = 2 * math.pi
    elif scan == "short":
        span = math.pi + 2 * half_fan
    else:
        raise InputError(f'Evenly spaced angles exist for a "full" or "short" scan, not for "{scan}".')
    return tuple((k + 0.5) * span / views for k in range(views))


_SCAN_RANK = {"limited": 0, "short": 1, "full": 2}


def scan_kind(angles: tuple[float, ...], half_fan: float, parallel: bool = False) -> str:
    """What a list of view angles amounts to: "full", "short" or "limited" (see FanBeamGeometry)."""
    count = len(angles)
    if count == 0 or not all(math.isfinite(angle) for angle in angles):
        return "limited"
    period = math.pi if parallel else 2 * math.pi
    distinct = _distinct(angles, period)
    if distinct == 1 and count > 1:
        return "limited"
    if max(_gaps(angles, period)[1]) <= _WIDEST_GAP * period / distinct:
        return "full"
    if parallel:
        return "limited"
    ordered = sorted(angles)
    step = (ordered[-1] - ordered[0]) / (count - 1) if count > 1 else 2 * math.pi
    # Evenly spaced: every angle lies where its rank says, to a small part of a step.
    slack = _ANGLE_TOLERANCE * step
    if step <= 0 or any(abs(angle - ordered[0] - k * step) > slack for k, angle in enumerate(ordered)):
        return "limited"
    span = count * step
    return "short" if math.pi + 2 * half_fan - step * 1e-3 <= span < 2 * math.pi else "limited"


def view_weights(angles: tuple[float, ...], period: float) -> tuple[float, ...]:
    """The arc that each view stands for, in radians: half the way to its neighbours on a circle of `period`."""
    order, gaps = _gaps(angles, period)
    weights = [0.0] * len(angles)
    for rank, view in enumerate(order):
        weights[view] = (gaps[rank - 1] + gaps[rank]) / 2
    return tuple(weights)


def _gaps(angles: tuple[float, ...], period: float) -> tuple[list[int], list[float]]:
    """The views in order around a circle of `period`, and the gap from each to the next."""
    turned = [angle % period for angle in angles]
    order = sorted(range(len(turned)), key=turned.__getitem__)
    following = [*order[1:], order[0]]
    gaps = [turned[after] - turned[view] for view, after in zip(order, following, strict=True)]
    gaps[-1] += period
    return order, gaps


def _distinct(angles: tuple[float, ...], period: float) -> int:
    """The number of views that are not repetitions of another (0 and 360 degrees are one)."""
    least = _ANGLE_TOLERANCE * period / len(angles)
    return max(1, sum(gap > least for gap in _gaps(angles, period)[1]))


def _open_gap(angles: tuple[float, ...]) -> float:
    """The widest gap between neighbouring views on the circle less the usual one, or 0."""
    gaps = sorted(_gaps(angles, 2 * math.pi)[1])
    usual = gaps[len(gaps) // 2]
    return max(0.0, gaps[-1] - usual) if gaps[-1] > _WIDEST_GAP * usual else 0.0


def _half_fan(detector: str, bins: int, pitch: float, offset: float, source_detector: float) -> float:
    half_width = bins * pitch / 2 + abs(offset)
    if detector == "parallel":
        return 0.0
    if detector == "arc":
        return half_width / source_detector if source_detector else math.inf
    return math.atan2(half_width, source_detector)


def _check_count(name: str, value: Any, largest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise InputError(f"The number of {name} must be a whole number from 1 to {largest}, not {value}.")


def _check_length(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} must be more than zero, not {value}.")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool | str | bytes):
        raise InputError(f"{name} of the scan geometry must be a number, not {value!r}.")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} of the scan geometry must be a number, not {value!r}.") from None


def _whole(name: str, value: Any) -> int:
    number = _number(name, value)
    if not (math.isfinite(number) and number == int(number)):
        raise InputError(f"{name} of the scan geometry must be a whole number, not {value!r}.")
    return int(number)
