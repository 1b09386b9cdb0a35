"""The sensors file: exact round trip, nothing half written, nothing foreign believed."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.sensors import SensorHeader, SensorReader, SensorWriter

SLICES, COILS, ROWS, COLUMNS, VIEWS, BINS = 5, 2, 12, 16, 7, 20


def header(**changes) -> SensorHeader:
    fields = {
        "grid": {
            "volume": {
                "size": [30, 40, SLICES],
                "spacing_mm": [0.1, 1 / 3, 2.5],
                "origin_mm": [-100.25, 1e-7, 3.0],
                "direction": [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0],
            },
            "slice_axis": 0,
            "size": [ROWS, COLUMNS],
            "pixel_mm": 2 / 3,
        },
        "geometry": {"angles": [0.1 * k for k in range(VIEWS)], "bins": BINS, "pixel_mm": 2 / 3},
        "mask": {"width": COLUMNS, "columns": [0, 7, 8, 9]},
        "mr_scale": {"low": 12.5, "high": 1 / 7, "method": "percentile"},
        "coils": COILS,
        "occupied": [0, 2, 4],
        "plan": {"views": VIEWS, "seed": 2**60},
        "provenance": {"ct": "a.nii.gz", "sha256": "ab" * 40_000},
    }
    return SensorHeader(**(fields | changes))


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    sinogram = rng.normal(size=(SLICES, VIEWS, BINS)).astype(np.float32)
    parts = rng.normal(size=(2, SLICES, COILS, ROWS, COLUMNS)).astype(np.float32)
    return sinogram, parts[0] + 1j * parts[1]


def written(path: Path, head: SensorHeader | None = None) -> Path:
    sinogram, kspace = data()
    with SensorWriter(path, head or header()) as writer:
        writer.write(range(3), sinogram[:3], kspace[:3])
        writer.write([4, 3], sinogram[[4, 3]], kspace[[4, 3]])
    return path


def test_round_trip_is_exact(tmp_path):
    sinogram, kspace = data()
    with SensorReader(written(tmp_path / "new" / "s.h5")) as reader:
        assert reader.header == header()
        assert reader.header.slices == SLICES
        assert np.array_equal(reader.sinogram(range(SLICES)), sinogram)
        assert np.array_equal(reader.kspace([3, 1]), kspace[[3, 1]])
        assert reader.kspace([0]).dtype == np.complex64
        assert reader.sinogram([0]).dtype == np.float32


@pytest.mark.parametrize("absent", ["geometry", "mask"])
def test_one_modality_may_be_absent(tmp_path, absent):
    changes = {"geometry": None} if absent == "geometry" else {"mask": None, "mr_scale": None, "coils": 1}
    head = header(**changes)
    with SensorReader(written(tmp_path / "s.h5", head)) as reader:
        assert reader.header == head
        assert (reader.header.sinogram_shape is None) == (absent == "geometry")
        assert (reader.header.kspace_shape is None) == (absent == "mask")


def test_size_is_known_before_writing():
    assert header().nbytes == SLICES * (VIEWS * BINS * 4 + COILS * ROWS * COLUMNS * 8)


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    path = written(tmp_path / "s.h5")
    before = path.read_bytes()
    with pytest.raises(TypeError, match="broadcast"), SensorWriter(path, header()) as writer:
        writer.write([0], data()[0][:1, 1:], None)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["s.h5"]


def test_a_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    def full(self, key, value):
        raise OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')")

    monkeypatch.setattr(h5py.Dataset, "__setitem__", full)
    with pytest.raises(InputError, match="disk is full"):
        written(tmp_path / "s.h5")
    assert os.listdir(tmp_path) == []


def test_unwritable_places_are_refused(tmp_path):
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(InputError, match="a folder of that name"):
        written(tmp_path / "folder.h5")
    with pytest.raises(InputError, match="need a CT geometry"):
        SensorWriter(tmp_path / "s.h5", header(geometry=None, mask=None))


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.h5 does not exist"):
        SensorReader(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("no sensors")
    with pytest.raises(InputError, match="not an HDF5 file"):
        SensorReader(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["kspace"] = np.zeros(3)
    with pytest.raises(InputError, match="not a sensors file of MSLFusion"):
        SensorReader(tmp_path / "other.h5")
    path = written(tmp_path / "cut.h5")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cut\.h5"):
        SensorReader(path)


def replace_data(name, values):
    def change(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=values)
        file[name].attrs.update(attributes)

    return change


def set_json(place, name, value):
    def change(file):
        file[place].attrs[f"{name}_json"] = value if isinstance(value, str) else json.dumps(value)

    return change


def delete(*names):
    def change(file):
        for name in names:
            del file[name]

    return change


def link(file):
    del file["mr/kspace"]
    file["mr/kspace"] = h5py.ExternalLink("/etc/passwd", "/mr/kspace")


def virtual(file):
    layout = h5py.VirtualLayout((SLICES, VIEWS, BINS), np.float32)
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (SLICES, VIEWS, BINS))
    attributes = dict(file["ct/sinogram"].attrs)
    del file["ct/sinogram"]
    file.create_virtual_dataset("ct/sinogram", layout).attrs.update(attributes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.attrs.update(version=3), "version 3"),
        (lambda f: f.attrs.update(version="x"), "version x"),
        (replace_data("ct/sinogram", np.zeros((SLICES, VIEWS + 1, BINS), np.float32)), "its description says"),
        (replace_data("ct/sinogram", np.zeros((SLICES, VIEWS, BINS), np.float64)), "its description says"),
        (replace_data("ct/sinogram", np.array([b"text"])), "its description says"),
        (replace_data("mr/kspace", np.zeros((SLICES, COILS, ROWS), np.complex64)), "four dimensions"),
        (replace_data("mr/kspace", np.zeros((SLICES - 1, COILS, ROWS, COLUMNS), np.complex64)), "its description says"),
        (lambda f: f["mr/kspace"].attrs.pop("convention"), "no Fourier convention"),
        (set_json("/", "grid", "{broken"), "'grid' is damaged"),
        (set_json("/", "grid", [1, 2]), "'grid' is damaged"),
        (set_json("/", "grid", {"volume": {"size": [1, 1, 10**15]}, "slice_axis": 0, "size": [4, 4]}), "not possible"),
        (set_json("ct/sinogram", "geometry", {"bins": 20}), "CT geometry of the sensor data is damaged"),
        (set_json("/", "occupied", [0, 99]), "occupied"),
        (set_json("/", "occupied", ["a"]), "occupied"),
        (delete("ct", "mr"), "neither"),
        (link, "points to data elsewhere"),
        (virtual, "no dataset stored in this file"),
    ],
)
def test_files_that_contradict_themselves_are_refused(tmp_path, change, words):
    path = written(tmp_path / "s.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=words) as caught:
        SensorReader(path)
    assert str(path) in str(caught.value)


def test_values_that_are_no_numbers_are_refused(tmp_path):
    path = written(tmp_path / "s.h5")
    with h5py.File(path, "r+") as file:
        file["ct/sinogram"][2, 0, 0] = np.nan
    with SensorReader(path) as reader:
        assert reader.sinogram([1]).shape == (1, VIEWS, BINS)
        with pytest.raises(InputError, match="not numbers"):
            reader.sinogram([1, 2])


def test_damaged_chunks_are_refused(tmp_path):
    path = written(tmp_path / "s.h5")
    with h5py.File(path, "r") as file:
        chunk = file["mr/kspace"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\0" * chunk.size
    path.write_bytes(bytes(content))
    with SensorReader(path) as reader, pytest.raises(InputError, match="mr/kspace cannot be read"):
        reader.kspace([0])
