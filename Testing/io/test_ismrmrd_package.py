"""The package ismrmrd as a second reader and writer of ISMRMRD files beside ours; skipped where it is absent."""

from xml.etree import ElementTree

import numpy as np
import pytest
import raw_files

from MSLFusionLib.io.kspaces import open_kspace

ismrmrd = pytest.importorskip("ismrmrd")

SLICES, COILS, ROWS, COLUMNS = 3, 2, 24, 20
READ, PHASE, NORMAL = np.array([0, 0.8, -0.6]), np.array([1.0, 0, 0]), np.array([0, -0.6, -0.8])


def kspace_of(rng) -> np.ndarray:
    shape = (SLICES, COILS, ROWS, COLUMNS)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def written_by_the_package(path, kspace: np.ndarray, averages: int = 1, noise: np.ndarray | None = None) -> None:
    """k-space (slices, coils, readout, phase), line by line; the noise of each average is told apart by its sign."""
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(raw_files.ismrmrd_xml((ROWS, COLUMNS), (240.0, 200.0, 4.0)).encode())
    for average in range(averages):
        for number, one in enumerate(kspace):
            for column in range(COLUMNS):
                line = one[:, :, column] + (0 if noise is None else (-1) ** average * noise[:, :, column])
                acquisition = ismrmrd.Acquisition.from_array(line.astype(np.complex64))
                acquisition.center_sample = ROWS // 2
                acquisition.idx.slice, acquisition.idx.average = number, average
                acquisition.idx.kspace_encode_step_1 = column
                acquisition.position[:] = 10.0 * NORMAL + 4.0 * number * NORMAL
                acquisition.read_dir[:], acquisition.phase_dir[:], acquisition.slice_dir[:] = READ, PHASE, NORMAL
                dataset.append_acquisition(acquisition)
    dataset.close()


def test_a_file_of_the_package_is_read(tmp_path):
    rng = np.random.default_rng(0)
    kspace = kspace_of(rng)
    written_by_the_package(tmp_path / "a.h5", kspace, averages=2, noise=kspace_of(rng)[0])
    with open_kspace(tmp_path / "a.h5") as file:
        np.testing.assert_allclose(file.kspace(range(SLICES)), kspace, atol=1e-5)  # noise of opposite sign is gone
        assert file.fov_mm == (240.0, 200.0)
        assert file.placement.slice_mm == pytest.approx(4.0)
        np.testing.assert_allclose(file.placement.centre_mm, 10.0 * NORMAL, atol=1e-5)
        columns = np.array(file.placement.direction).reshape(3, 3).T
        np.testing.assert_allclose(columns, [PHASE, READ, NORMAL], atol=1e-6)


def test_the_package_reads_what_the_tests_write(tmp_path):
    """The writer of the other tests, which is written from the format's documents, means what the package means."""
    kspace = kspace_of(np.random.default_rng(1))
    lines = [
        raw_files.acquisition(one[:, :, k], position=(1, 2, 3 + n), slice=n, kspace_encode_step_1=k)
        for n, one in enumerate(kspace)
        for k in range(COLUMNS)
    ]
    path = raw_files.write_ismrmrd(
        tmp_path / "a.h5", raw_files.ismrmrd_xml((ROWS, COLUMNS), (240.0, 200.0, 4.0)), lines
    )
    assert np.array_equal(by_the_package(path), kspace)


def by_the_package(path) -> np.ndarray:
    """k-space (slices, coils, readout, phase) of a file with one repetition, by the package."""
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=False)
    # Files of older programs leave out what the package's own reader of this header asks for.
    space = ElementTree.fromstring(dataset.read_xml_header()).find(".//{*}encodedSpace/{*}matrixSize")
    columns, rows = (int(space.findtext(f"{{*}}{axis}")) for axis in "xy")
    acquisitions = acquisitions_of(dataset)
    dataset.close()
    slices = 1 + max(one.idx.slice for one in acquisitions)
    result = np.zeros((slices, acquisitions[0].active_channels, columns, rows), np.complex64)
    for one in acquisitions:
        first = columns // 2 - one.center_sample
        lines = result[one.idx.slice, :, first : first + one.number_of_samples, one.idx.kspace_encode_step_1]
        lines[:] = one.data
    return result


def acquisitions_of(dataset) -> list:
    """Acquisitions of the package. It copies heads as bytes, without a look at how the file aligns their parts."""
    found = []
    for row in dataset._dataset["data"][()]:
        head = np.zeros((), ismrmrd.hdf5.acquisition_header_dtype)
        for name in head.dtype.names:
            head[name] = row["head"][name]
        acquisition = ismrmrd.Acquisition(head)
        acquisition.data[:] = row["data"].view(np.complex64).reshape(acquisition.data.shape)
        found.append(acquisition)
    return found


def test_the_real_file_is_the_same_by_the_package(shared_data):
    path = shared_data / "kspace_ismrmrd" / "acqDataBrainSim100.h5"
    expected = by_the_package(path)
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=False)
    first = acquisitions_of(dataset)[0]
    dataset.close()
    with open_kspace(path) as file:
        assert file.kind == "ISMRMRD"
        found = file.kspace(range(file.shape[0]))
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
        np.testing.assert_allclose(file.placement.centre_mm, first.position, atol=1e-4)
