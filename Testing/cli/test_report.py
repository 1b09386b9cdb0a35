"""The report: one safe page without outside references, pictures the right way round, and its PNG files."""

import io
import re

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib import image as png_reader
from tiny import image

from MSLFusionLib.report import ReportData, figures_of, focus_of, write_report
from MSLFusionLib.report.data import Viewer
from MSLFusionLib.report.figures import checkerboard
from MSLFusionLib.report.page import table, text, words
from MSLFusionLib.report.png import grey_png

RECORD = {
    "command": "reconstruct",
    "started": "2030-01-02T03:04:05+00:00",
    "inputs": [{"role": "ct", "path": "<script>alert(1)</script>.nrrd", "sha256": "ab" * 32}],
    "parameters": {"lambda": [0.0, 1.0]},
    "sampling": {"ct": {"views": 64, "scan": "full"}, "mr": {"rate": 0.25, "acceleration": 4.0}},
    "times_seconds": {"total": 12.0},
    "details": {"registration": {"method": "rigid", "turn_degrees": np.float64(3.0), "warnings": []}},
}


def volumes():
    rng = np.random.default_rng(0)
    return [image(rng.random((6, 44, 40), dtype=np.float32)) for _ in range(3)]


def report(**changes):
    ct, mr, hybrid = volumes()
    rows = [
        {"image": "lambda 0", "kind": "hybrid", "lambda": 0.0, "psnr_ct": 31.234, "ssim_ct": 0.9, "mae_ct": 0.1},
        {"image": "lambda 1", "kind": "hybrid", "lambda": 1.0, "psnr_ct": 20.0, "psnr_mr": 30.0, "mi_mr": 1.0},
        {"image": "FBP", "kind": "sensor", "lambda": None, "psnr_ct": 25.0},
    ]
    values = {
        "title": "A <b>title</b>",
        "record": RECORD,
        "hybrids": {0.0: hybrid, 1.0: ct},
        "ct": ct,
        "mr": mr,
        "mr_unregistered": ct,
        "sensor_images": {"FBP": ct, "zero-filled": mr},
        "hybrid_map": hybrid,
        "lambda_map": mr,
        "metrics": rows,
        "sinogram": np.ones((8, 30)),
        "kspace": np.ones((40, 40), np.complex64),
    }
    return ReportData(**(values | changes))


def test_page_is_whole_safe_and_refers_to_nothing_outside(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, report())
    page = path.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "A &lt;b&gt;title" in page
    for reference in re.findall(r'(?:src|href|srcset)="([^"]*)"', page):
        assert reference.startswith("data:image/png;base64,")
    assert "http://" not in page
    assert "https://" not in page
    assert "31.2 dB" in page
    assert "prefers-color-scheme: dark" in page
    for heading in ("The dial", "A painted lambda", "Registration", "How near to CT and MR", "Where it is wrong"):
        assert f"<h2>{heading}</h2>" in page


def test_page_of_sensor_data_alone_has_no_comparison(tmp_path):
    path = tmp_path / "report.html"
    bare = report(
        ct=None, mr=None, mr_unregistered=None, metrics=(), hybrid_map=None, lambda_map=None, sinogram=None, kspace=None
    )
    write_report(path, bare)
    page = path.read_text(encoding="utf-8")
    assert "The dial" in page
    assert "How near to CT and MR" not in page
    assert set(figures_of(bare)) == {"lambda", "planes", "sensors"}


def test_a_map_alone_can_be_reported():
    figures = figures_of(report(hybrids={}))
    assert "map" in figures
    assert "lambda" not in figures


def test_every_figure_is_a_picture():
    figures = figures_of(report())
    names = ("lambda", "planes", "map", "measured", "sensors", "registration", "metrics", "differences")
    assert set(figures) == set(names)
    for png in figures.values():
        assert png_reader.imread(io.BytesIO(png)).shape[1] > 1000


def test_pictures_are_turned_as_radiologists_look_at_them():
    """A mark at the patient's left front top, however the volume is stored."""
    array = np.zeros((5, 8, 9), np.float32)
    array[4, 0, 8] = 1.0  # superior, anterior, left in LPS with identity direction
    straight = image(array, spacing=(1.0, 1.0, 1.0))
    turned = sitk.DICOMOrient(straight, "RAI")
    stored = sitk.DICOMOrient(straight, "SRA")
    for volume, slice_axis in ((straight, 0), (turned, 0), (stored, 2)):
        view = Viewer(volume, slice_axis, None)
        assert view.plane_name == "axial"
        assert np.argwhere(view.cut(volume, 4, axis=2)).tolist() == [[0, 8]]
        assert np.argwhere(view.cut(volume, 0, axis=1)).tolist() == [[0, 8]]
        assert np.argwhere(view.cut(volume, 8, axis=0)).tolist() == [[0, 0]]
        assert view.extent() == (9.0, 8.0)


def test_slices_of_the_viewer_hold_the_focus():
    view = Viewer(image(np.zeros((40, 8, 9), np.float32)), 0, (4, 4, 21))
    positions = view.positions(11)
    assert view.position == 21
    assert 21 in positions
    assert len(positions) == 11
    assert positions == sorted(positions)


def test_focus_is_the_middle_of_a_mask():
    mask = np.zeros((6, 44, 40), np.uint8)
    mask[2:5, 10:13, 20:23] = 1
    assert focus_of(image(mask)) == (21, 11, 3)
    assert focus_of(image(mask * 0)) is None


def test_grey_png_keeps_values():
    levels = np.linspace(0, 1, 256).reshape(16, 16)
    decoded = png_reader.imread(io.BytesIO(grey_png(levels)))
    np.testing.assert_allclose(decoded, levels, atol=1e-6)


def test_checkerboard_takes_turns():
    board = checkerboard(np.zeros((16, 16)), np.ones((16, 16)), fields=4)
    assert board[0, 0] == 0
    assert board[0, 4] == 1
    assert board[4, 4] == 0
    assert board.mean() == pytest.approx(0.5)


def test_words_and_tables_escape():
    assert "&lt;" in words({"a": "<"})
    assert text(None) == "–"
    assert text(0.123456) == "0.1235"
    assert text({"a": [1, True]}) == "a 1, yes"
    assert "&amp;" in table(("a&b",), [["1"]])
