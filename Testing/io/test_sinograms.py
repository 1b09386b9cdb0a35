"""Sinograms from every format and in every convention: one and the same scan comes out."""

import math
import struct

import h5py
import numpy as np
import pytest
import raw_files
import scipy.io
import torch
from scipy.optimize import least_squares

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.mat5 import read_mat5
from MSLFusionLib.io.sinograms import open_sinogram
from MSLFusionLib.physics.analytic import Ellipse, ellipse_sinogram
from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.fbp import filter_sinogram
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.total_variation import tv_ct

GEOMETRY = FanBeamGeometry.covering((40, 40), 2.0, 24)
ELLIPSES = [Ellipse(0.02, 25, 30), Ellipse(0.02, 6, 4, 10, -12)]
DATA = np.concatenate([ellipse_sinogram(GEOMETRY, ELLIPSES)[0].numpy() * s for s in (1.0, 0.5)])


def description(**changes) -> dict:
    content = {
        "kind": "sinogram",
        "beam": "flat",
        "source_origin_mm": GEOMETRY.source_origin_mm,
        "source_detector_mm": GEOMETRY.source_origin_mm + GEOMETRY.origin_detector_mm,
        "pitch_mm": GEOMETRY.pitch_mm,
        "angles": np.degrees(GEOMETRY.angles).tolist(),
    }
    return {key: value for key, value in (content | changes).items() if value is not None}


def written(tmp_path, array=DATA, ending="npy", /, **changes):
    path = tmp_path / f"scan.{ending}"
    place = raw_files.write_array(path, np.asarray(array, np.float32))
    raw_files.write_description(path, description(**(place | changes)))
    return path


def same_scan(path) -> None:
    with open_sinogram(path) as file:
        assert file.slices == 2
        np.testing.assert_allclose(file.sinogram([0, 1]), DATA, atol=2e-6)
        found = file.scan.geometry(GEOMETRY.image_shape, GEOMETRY.pixel_mm)
        assert found.scan == "full"
        np.testing.assert_allclose(found.angles, GEOMETRY.angles, atol=1e-12)
        assert found.pitch_mm == pytest.approx(GEOMETRY.pitch_mm)
        assert found.source_origin_mm == pytest.approx(GEOMETRY.source_origin_mm)
        assert found.origin_detector_mm == pytest.approx(GEOMETRY.origin_detector_mm)


@pytest.mark.parametrize("kind", raw_files.FORMATS)
def test_every_format_gives_the_same_bits(tmp_path, kind):
    path = written(tmp_path, DATA, kind)
    same_scan(path)
    with open_sinogram(path) as file:
        assert np.array_equal(file.sinogram([1, 0]), DATA[::-1].astype(np.float32))


@pytest.mark.parametrize("kind", ["nrrd", "nii", "tif"])
def test_images_that_others_have_written(tmp_path, kind):
    """NRRD and NIfTI by their documents, byte by byte, and TIFF by another library."""
    path, data = tmp_path / f"scan.{kind}", DATA.astype("<f4")
    slices, views, bins = data.shape
    if kind == "nrrd":
        header = f"NRRD0004\ntype: float\ndimension: 3\nsizes: {bins} {views} {slices}\nencoding: raw\nendian: little\n"
        path.write_bytes(header.encode() + b"\n" + data.tobytes())
    elif kind == "nii":
        header = bytearray(352)
        header[:4] = struct.pack("<i", 348)
        header[40:56] = struct.pack("<8h", 3, bins, views, slices, 1, 1, 1, 1)
        header[70:74] = struct.pack("<2h", 16, 32)  # float32
        header[76:108] = struct.pack("<8f", 1, 1, 1, 1, 0, 0, 0, 0)
        header[108:116] = struct.pack("<2f", 352, 1)
        header[344:348] = b"n+1\0"
        path.write_bytes(bytes(header) + data.tobytes())
    else:
        pytest.importorskip("tifffile").imwrite(path, data)
    raw_files.write_description(path, description())
    same_scan(path)


@pytest.mark.parametrize(
    ("array", "changes"),
    [
        (DATA.transpose(2, 0, 1), {"axes": ["bins", "slices", "views"]}),
        (DATA[..., ::-1], {"detector_direction": "reversed"}),
        (DATA, {"angles": (-np.degrees(GEOMETRY.angles)).tolist(), "rotation": "clockwise"}),
        (DATA, {"angles": list(GEOMETRY.angles), "angle_unit": "radians"}),
        (DATA, {"angles": {"start": 7.5, "step": 15.0, "count": 24}}),
        (np.exp(-DATA) * 1e5, {"values": "counts", "i0": 1e5}),
        (DATA * 10, {"unit": "mm/cm"}),
        (DATA / 0.06, {"unit": "network"}),
    ],
    ids=["axes", "reversed", "clockwise", "radians", "start and step", "counts", "mm per cm", "network"],
)
def test_every_convention_means_the_same_scan(tmp_path, array, changes):
    same_scan(written(tmp_path, array, **changes))


def test_arrays_in_the_file_are_angles_and_air(tmp_path):
    path = tmp_path / "scan.npz"
    air = np.linspace(900, 1100, GEOMETRY.bins)
    counts = {"raw/counts": np.exp(-DATA.astype(float)) * air, "raw/turn": np.degrees(GEOMETRY.angles), "air": air}
    np.savez(path, **counts)
    raw_files.write_description(path, description(array="raw/counts", angles="raw/turn", values="counts", i0="air"))
    same_scan(path)


def test_offset_arc_and_parallel(tmp_path):
    moved = written(tmp_path, offset_bins=2.5, detector_direction="reversed")
    with open_sinogram(moved) as file:
        assert file.scan.offset_mm == pytest.approx(-2.5 * GEOMETRY.pitch_mm)
    distance = GEOMETRY.source_origin_mm + GEOMETRY.origin_detector_mm
    arc = written(tmp_path, beam="arc", pitch_mm=None, pitch_degrees=0.5)
    with open_sinogram(arc) as file:
        assert file.scan.pitch_mm == pytest.approx(math.radians(0.5) * distance)
        assert file.scan.geometry((8, 8), 1.0).detector == "arc"
    parallel = written(tmp_path, beam="parallel", source_origin_mm=None, source_detector_mm=None)
    with open_sinogram(parallel) as file:
        assert file.scan.geometry((8, 8), 1.0).scan == "full"
        assert file.field_of_view_mm is None
        assert file.scan.field_of_view_mm == pytest.approx(GEOMETRY.bins * GEOMETRY.pitch_mm)


def test_a_wedge_is_told(tmp_path):
    path = written(tmp_path, DATA[:, :10], angles=np.degrees(GEOMETRY.angles[:10]).tolist())
    with open_sinogram(path) as file:
        assert file.found["covered_degrees"] == pytest.approx(150)
        assert any("150.0 of 360 degrees" in sentence for sentence in file.warnings)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beam": None}, '"beam" is missing'),
        ({"beam": "cone"}, '"beam" must be one of flat, arc, parallel'),
        ({"kind": "image"}, '"kind" must be'),
        ({"pitch_mm": None}, 'give "pitch_mm"'),
        ({"pitch_mm": 0}, '"pitch_mm" must be more than 0'),
        ({"pitch_mm": "1"}, '"pitch_mm" must be of the type number'),
        ({"pitch_mm": 10**400}, '"pitch_mm"'),
        ({"pitch_degrees": 1}, "one of the two"),
        ({"source_origin_mm": None}, '"source_origin_mm" is missing'),
        ({"source_detector_mm": 1.0}, '"source_detector_mm"'),
        ({"angles": [1.0, 2.0]}, '"angles" are 2, the sinogram has 24 views'),
        ({"angles": "turn"}, "holds no array 'turn'"),
        ({"angles": {"start": 0, "step": 1}}, '"angles.count" is missing'),
        ({"angles": [1e9] * 24}, '"angles" holds values that are no angles'),
        ({"angles": np.degrees(GEOMETRY.angles).tolist(), "angle_unit": "radians"}, "are no radians"),
        ({"axes": ["views", "bins"]}, "does not fit"),
        ({"axes": ["views", "bins", "bins"]}, "names something twice"),
        ({"array": "other"}, "holds no array 'other'"),
        ({"offset_mm": 1e4}, "misses the axis"),
        ({"offset_mm": 1, "offset_bins": 1}, "not both"),
        ({"values": "counts"}, '"i0"'),
        ({"unit": "network", "values": "counts", "i0": 5}, '"unit" is of line integrals'),
        ({"direction": [1, 0, 0, 0, 1, 0, 0, 0, 0]}, '"direction"'),
        ({"typo": 1}, '"typo" is no field'),
    ],
)
def test_wrong_descriptions_name_the_field(tmp_path, changes, words):
    path = written(tmp_path, **changes)
    with pytest.raises(InputError) as caught, open_sinogram(path):
        pass
    assert words in str(caught.value)
    assert "scan.npy" in str(caught.value)


@pytest.mark.parametrize(
    ("array", "words"), [(DATA * np.nan, "not numbers"), (DATA * 1e5, "are not possible")], ids=["NaN", "counts"]
)
def test_values_that_cannot_be(tmp_path, array, words):
    with open_sinogram(written(tmp_path, array)) as file, pytest.raises(InputError, match=words):
        file.sinogram([0])


def test_a_file_without_a_description_tells_what_it_holds(tmp_path):
    np.savez(tmp_path / "a.npz", proj=DATA)
    with pytest.raises(InputError, match=r"a\.npz\.json.*It holds proj"):
        open_sinogram(tmp_path / "a.npz")


def test_matlab_files_agree_with_scipy(tmp_path):
    content = {
        "real": np.arange(6.0).reshape(2, 3),
        "whole": np.array([[1, -2]], np.int16),
        "complex": np.array([[1 + 2j, 3 - 4j]], np.complex64),
        "word": "süß",
        "nested": {"a": np.eye(2), "deep": {"b": np.array([[7]], np.uint8)}},
        "cells": np.array([np.ones((1, 2)), "x"], object),
    }
    for packed in (False, True):
        path = tmp_path / f"{packed}.mat"
        scipy.io.savemat(path, content, do_compression=packed)
        found = read_mat5(path)
        expected = scipy.io.loadmat(path)
        for name in ("real", "whole", "complex"):
            assert np.array_equal(found[name], expected[name])
        assert found["word"] == "süß"
        assert np.array_equal(found["nested"]["deep"]["b"], [[7]])
        assert np.array_equal(found["cells"][0], np.ones((1, 2)))
        assert found["cells"][1] == "x"


@pytest.mark.parametrize(
    ("name", "views", "covered"),
    [("htc2022_ta_sparse_example", 121, 60.5), ("tb_subsample_90", 181, 90.5), ("ta_subsample73", 61, 30.5)],
)
def test_helsinki_files_tell_their_own_scan(shared_data, name, views, covered):
    with open_sinogram(shared_data / "sino_htc2022" / f"{name}.mat") as file:
        assert (file.scan.bins, len(file.scan.angles), file.scan.beam) == (560, views, "flat")
        assert file.scan.source_origin_mm == 410.66
        assert file.scan.origin_detector_mm == pytest.approx(553.74 - 410.66)
        assert file.scan.pitch_mm == 0.2
        assert file.found["covered_degrees"] == pytest.approx(covered)
        assert file.sinogram([0]).shape == (1, views, 560)
        assert any("of 360 degrees" in sentence for sentence in file.warnings)
    path = shared_data / "sino_htc2022" / f"{name}.mat"
    if h5py.is_hdf5(path):  # MATLAB 7.3 keeps its arrays turned
        with h5py.File(path) as content:
            expected = content["CtDataLimited/sinogram"][()].T
    else:
        expected = scipy.io.loadmat(path, simplify_cells=True)["CtDataLimited"]["sinogram"]
    with open_sinogram(path) as file:
        assert np.array_equal(file.sinogram([0])[0], expected.astype(np.float32))


SOLID_DISC = 0.0329, 35.0
"""Attenuation in 1/mm of these discs (of the solid one in its image from a full scan), and their radius in mm."""


@pytest.mark.parametrize(("name", "edge_mm"), [("htc2022_ta_sparse_example", 1.2), ("tb_subsample_90", 0.8)])
def test_a_helsinki_disc_is_explained_by_its_own_geometry(shared_data, name, edge_mm):
    """Every other view and bins in fours. The image explains the sinogram within 3 %, seen with the turn or the
    detector reversed it explains nothing; outline and attenuation are the disc's, and not by filtered backprojection
    of what there is."""
    with open_sinogram(shared_data / "sino_htc2022" / f"{name}.mat") as file:
        scan, values = file.scan, file.sinogram([0])[0, ::2]
    values = values.reshape(len(values), 140, 4).mean(-1)
    size = 96
    pixel = scan.field_of_view_mm / size

    def geometry(sense: int) -> FanBeamGeometry:
        turned = tuple(sense * angle for angle in scan.angles[::2])
        place = scan.source_origin_mm, scan.origin_detector_mm, 140, 4 * scan.pitch_mm
        return FanBeamGeometry((size, size), pixel, *place, turned, scan="limited")

    measured = torch.from_numpy(values)[None, None]
    right = ct_operator(geometry(1))
    image = tv_ct(right, measured, 1e-3, 200)
    seen = right.forward(image)

    def residual(projected: torch.Tensor) -> float:
        return float((projected - measured).norm() / measured.norm())

    assert residual(seen) < 0.03
    assert residual(ct_operator(geometry(-1)).forward(image)) > 3 * residual(seen)
    assert residual(seen.flip(-1)) > 3 * residual(seen)

    backprojected = right.adjoint(filter_sinogram(geometry(1), measured))
    again = right.forward(backprojected)
    backprojected *= (again * measured).sum() / again.square().sum()  # the scale that explains most
    errors = {}
    for kind, found in (("tv", image), ("fbp", backprojected)):
        array = found[0, 0].numpy()
        distance, centre = edges(array, pixel)
        y, x = np.mgrid[:size, :size]
        inside = np.hypot((x - (size - 1) / 2) * pixel - centre[0], (y - (size - 1) / 2) * pixel - centre[1]) < 33
        acrylic = array[inside & (array > SOLID_DISC[0] / 2)]
        errors[kind] = distance, abs(np.percentile(array[inside], 75) / SOLID_DISC[0] - 1), acrylic.std()
    assert errors["tv"][0] < edge_mm
    assert errors["tv"][0] < 0.3 * errors["fbp"][0]
    assert errors["tv"][1] < 0.06
    assert errors["tv"][2] < 0.7 * errors["fbp"][2]


def edges(image: np.ndarray, pixel_mm: float) -> tuple[float, np.ndarray]:
    """The median distance in mm of the outermost edges, along 120 rays, from the circle of the disc's radius that fits
    them best, and its centre."""
    middle, points = (len(image) - 1) / 2, []
    for angle in np.linspace(0, 2 * np.pi, 120, endpoint=False):
        radius = np.arange(5, middle, 0.25)
        rows = np.round(middle + radius * np.sin(angle)).astype(int)
        columns = np.round(middle + radius * np.cos(angle)).astype(int)
        bright = np.flatnonzero(image[rows, columns] > SOLID_DISC[0] / 2)
        reach = radius[bright[-1]] * pixel_mm if len(bright) else 0.0
        points.append((reach * np.cos(angle), reach * np.sin(angle)))
    x, y = np.array(points).T
    fit = least_squares(lambda c: np.hypot(x - c[0], y - c[1]) - SOLID_DISC[1], [0, 0], loss="soft_l1")
    return float(np.median(np.abs(np.hypot(x - fit.x[0], y - fit.x[1]) - SOLID_DISC[1]))), fit.x
