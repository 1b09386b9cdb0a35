"""The fan-beam geometry: the paper's numbers, other grids, scans, and what it refuses."""

import json
import math
from dataclasses import replace

import pytest

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.geometry import FanBeamGeometry, scan_kind


def test_paper_geometry_has_the_published_numbers() -> None:
    geometry = FanBeamGeometry.paper()
    assert geometry.image_shape == (384, 384)
    assert geometry.bins == 640
    assert geometry.views == 64
    assert geometry.source_origin_mm == pytest.approx(1075 * 0.36923)
    assert geometry.origin_detector_mm == geometry.source_origin_mm
    assert geometry.pitch_mm / geometry.pixel_mm == pytest.approx(1.69706, abs=1e-5)
    assert math.degrees(geometry.half_fan) == pytest.approx(14.2, abs=0.05)
    assert geometry.angles[0] == pytest.approx(math.pi / 64)
    assert geometry.angles[-1] == pytest.approx(2 * math.pi - math.pi / 64)


def test_covering_sees_the_diagonal_of_any_grid_in_the_same_proportions() -> None:
    paper = FanBeamGeometry.paper()
    wide = FanBeamGeometry.covering((160, 224), 1.5, 30)
    assert wide.bins * wide.pitch_mm / wide.magnification == pytest.approx(wide.diagonal_mm)
    assert wide.source_origin_mm / wide.diagonal_mm == pytest.approx(paper.source_origin_mm / paper.diagonal_mm)
    assert wide.half_fan == pytest.approx(paper.half_fan)
    assert FanBeamGeometry.covering((384, 384), 0.36923, 64) == paper


def test_a_short_scan_covers_pi_plus_the_fan() -> None:
    geometry = FanBeamGeometry.covering((64, 64), 1.0, 50, scan="short")
    span = math.pi + 2 * geometry.half_fan
    assert geometry.angles[-1] + geometry.angles[0] == pytest.approx(span)
    assert geometry.with_views(20).angles[0] == pytest.approx(span / 40)


def test_a_dictionary_of_the_geometry_survives_json() -> None:
    geometry = FanBeamGeometry.covering((48, 64), 1.25, 7, scan="short", offset_mm=0.5)
    assert FanBeamGeometry.from_dict(json.loads(json.dumps(geometry.to_dict()))) == geometry


@pytest.mark.parametrize("scan", ["full", "short"])
def test_the_scan_is_worked_out_from_the_angles(scan: str) -> None:
    geometry = FanBeamGeometry.covering((48, 48), 1.0, 24, scan=scan)
    data = geometry.to_dict()
    del data["scan"]
    assert FanBeamGeometry.from_dict(data).scan == scan
    # Neither the direction nor the start of the rotation matters.
    data["angles"] = [3.0 - angle for angle in geometry.angles]
    assert FanBeamGeometry.from_dict(data).scan == scan
    data["angles"] = list(geometry.angles[: geometry.views // 2])
    assert FanBeamGeometry.from_dict(data).scan == "limited"


def test_a_gap_makes_a_limited_scan() -> None:
    assert scan_kind((0.0, 1.0, 3.0, 4.5), 0.2) == "full"
    assert scan_kind((0.0, 1.0, 2.0, 4.5), 0.2) == "limited"
    assert scan_kind((0.0, 0.0), 0.2) == "limited"


@pytest.mark.parametrize(
    "wrong",
    [
        {"angles": ()},
        {"angles": (math.nan,)},
        {"pixel_mm": 0.0},
        {"pixel_mm": math.inf},
        {"bins": 0},
        {"bins": 10**9},
        {"image_shape": (0, 8)},
        {"image_shape": (8, 10**6)},
        {"pitch_mm": -1.0},
        {"offset_mm": math.nan},
        {"origin_detector_mm": -1.0},
        {"source_origin_mm": 1.0},
        {"detector": "sphere"},
        {"detector": "parallel"},
        {"detector": "arc", "pitch_mm": 50.0},
        {"scan": "spiral"},
        {"angles": (0.0, 0.1), "scan": "full"},
        {"angles": (0.0, 0.1), "scan": "short"},
    ],
)
def test_impossible_values_are_refused(wrong: dict) -> None:
    geometry = FanBeamGeometry.covering((16, 16), 1.0, 8)
    with pytest.raises(InputError):
        replace(geometry, **wrong)


@pytest.mark.parametrize("views", [0, -3, 10**9, 2.5, True])
def test_an_impossible_number_of_views_is_refused(views: int) -> None:
    with pytest.raises(InputError, match="views"):
        FanBeamGeometry.covering((16, 16), 1.0, views)


@pytest.mark.parametrize(
    "change",
    [
        {"bins": "many"},
        {"bins": 2.5},
        {"image_shape": 16},
        {"image_shape": [16, 16, 16]},
        {"angles": "0 1 2"},
        {"angles": 3},
        {"angles": [0.0, None]},
        {"pixel_mm": [1.0]},
        {"colour": "red"},
    ],
)
def test_a_wrong_dictionary_is_refused(change: dict) -> None:
    data = FanBeamGeometry.covering((16, 16), 1.0, 8).to_dict()
    with pytest.raises(InputError):
        FanBeamGeometry.from_dict(data | change)


def test_a_missing_entry_is_named() -> None:
    data = FanBeamGeometry.covering((16, 16), 1.0, 8).to_dict()
    del data["pitch_mm"]
    with pytest.raises(InputError, match="pitch_mm"):
        FanBeamGeometry.from_dict(data)


def test_a_limited_scan_has_no_other_number_of_views() -> None:
    geometry = replace(FanBeamGeometry.covering((16, 16), 1.0, 8), angles=(0.0, 0.5), scan="limited")
    with pytest.raises(InputError, match="limited"):
        geometry.with_views(4)
