"""k-space from every format: the same image and the same place; second, independent writers and formulas throughout."""

import math

import numpy as np
import pytest
import raw_files

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.kspaces import cropped, open_kspace

SLICES, COILS, ROWS, COLUMNS = 2, 3, 20, 25
FOV = (200.0, 250.0)


def images(rows: int = ROWS, columns: int = COLUMNS, coils: int = COILS) -> np.ndarray:
    """Complex images (slices, coils, rows, columns) without any symmetry, empty in the outer quarters of the rows."""
    y, x = np.mgrid[:rows, :columns]
    head = (np.hypot((y - rows / 2) / (0.22 * rows), (x - columns / 2) / (0.4 * columns)) < 1) * 1.0
    head += 0.5 * (np.hypot(y - 0.6 * rows, x - 0.3 * columns) < 3)
    weights = np.exp(1j * np.arange(coils))[:, None, None] * (1 + 0.1 * np.arange(coils)[:, None, None] * x / columns)
    return np.stack([head * weights, 0.7 * head[:, ::-1] * weights]).astype(np.complex64)


def transform(image: np.ndarray) -> np.ndarray:
    """The centred, orthonormal transform, written out as a matrix for each axis."""

    def matrix(n: int) -> np.ndarray:
        k = np.arange(n) - n // 2
        return np.exp(-2j * np.pi * np.outer(k, k) / n) / math.sqrt(n)

    return (matrix(image.shape[-2]) @ image @ matrix(image.shape[-1]).T).astype(np.complex64)


def described(tmp_path, array=None, ending="npy", /, **changes):
    path = tmp_path / f"scan.{ending}"
    place = raw_files.write_array(path, transform(images()) if array is None else array)
    content = {"kind": "kspace", "fov_mm": list(FOV)} | place | changes
    raw_files.write_description(path, {key: value for key, value in content.items() if value is not None})
    return path


def same_image(path, expected=None, convention="centred-ortho", **options) -> None:
    expected = images() if expected is None else expected
    with open_kspace(path, **options) as file:
        assert file.shape == expected.shape
        assert file.fov_mm == pytest.approx(FOV)
        assert file.convention == convention
        kspace = file.kspace(range(len(expected)))
        assert kspace.dtype == np.complex64
        np.testing.assert_allclose(kspace, transform(expected), atol=3e-5)


@pytest.mark.parametrize("ending", raw_files.COMPLEX_FORMATS)
def test_every_format_gives_the_same_bits(tmp_path, ending):
    kspace = transform(images())
    with open_kspace(described(tmp_path, kspace, ending)) as file:
        assert np.array_equal(file.kspace([1, 0]), kspace[::-1])
        assert file.mask.achieved_rate == 1


def test_axes_parts_and_conventions(tmp_path):
    kspace = transform(images())
    same_image(described(tmp_path, kspace.transpose(3, 0, 2, 1), axes=["kx", "slices", "ky", "coils"]))
    parts = np.stack([kspace.real, kspace.imag], axis=2)
    same_image(described(tmp_path, parts, axes=["slices", "coils", "parts", "ky", "kx"]))
    same_image(described(tmp_path, parts.astype(np.float64), "h5", axes=["slices", "coils", "parts", "ky", "kx"]))
    plain = np.fft.fft2(images())
    with open_kspace(described(tmp_path, plain, convention="uncentred")) as file:
        assert file.convention == "official"
        np.testing.assert_allclose(file.kspace([0])[0], np.fft.fftshift(plain[0], axes=(-2, -1)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("readout", ["ky", "kx"])
def test_oversampling_is_cropped_in_the_image(tmp_path, readout):
    wide = images(2 * ROWS, 2 * COLUMNS)
    rows = slice(ROWS - ROWS // 2, ROWS - ROWS // 2 + ROWS)
    columns = slice(COLUMNS - COLUMNS // 2, COLUMNS - COLUMNS // 2 + COLUMNS)
    if readout == "ky":
        whole, fov = wide[..., columns], [2 * FOV[0], FOV[1]]
    else:
        whole, fov = wide[..., rows, :], [FOV[0], 2 * FOV[1]]
    path = described(tmp_path, transform(whole), readout=readout, oversampling=2, fov_mm=fov)
    same_image(path, wide[..., rows, columns])


def test_cropping_an_odd_length_keeps_the_middle():
    line = np.zeros(9, np.complex64)
    line[4 - 2 : 4 + 3] = [1, 2, 3, 4, 5]  # the middle of nine is 4, of five 2
    kspace = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(line), norm="ortho"))
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(cropped(kspace, 0, 5)), norm="ortho"))
    np.testing.assert_allclose(image, [1, 2, 3, 4, 5], atol=1e-5)


def test_masks_are_given_or_found(tmp_path):
    kspace = transform(images())
    keep = np.zeros(COLUMNS, bool)
    keep[[3, 10, 11, 12, 13, 14, 20]] = True
    with open_kspace(described(tmp_path, kspace * keep)) as file:
        assert np.array_equal(file.mask.pattern, keep)
    path = tmp_path / "m.npz"
    np.savez(path, data=kspace, mask=keep)
    raw_files.write_description(path, {"kind": "kspace", "array": "data", "fov_mm": list(FOV), "mask": "mask"})
    with open_kspace(path) as file:
        assert np.array_equal(file.mask.pattern, keep)
        assert np.array_equal(file.kspace([0]), kspace[:1] * keep)


def test_where_the_slices_lie(tmp_path):
    direction = [0, 0, 1, 1, 0, 0, 0, -1, 0]
    path = described(tmp_path, centre_mm=[1, 2, 3], direction=direction, slice_mm=4.0)
    with open_kspace(path) as file:
        volume = file.volume
    assert volume.size == (COLUMNS, ROWS, SLICES)
    np.testing.assert_allclose(volume.spacing, (10.0, 10.0, 4.0))
    np.testing.assert_allclose(volume.to_mm(np.array([[COLUMNS // 2, ROWS // 2, 0.0]])), [[1, 2, 3]])
    np.testing.assert_allclose(volume.to_mm(np.array([[COLUMNS // 2, ROWS // 2, 1.0]])), [[5, 2, 3]])


def test_fastmri(tmp_path):
    """A readout of twice the length, cut to reconSpace; the reference is the image itself, cropped."""
    wide = images(2 * ROWS)
    middle = wide[..., ROWS - ROWS // 2 : ROWS - ROWS // 2 + ROWS, :]
    xml = raw_files.ismrmrd_xml((2 * ROWS, COLUMNS), (2 * FOV[0], FOV[1], 5.0), ROWS)
    same_image(raw_files.write_fastmri(tmp_path / "multi.h5", transform(wide), xml), middle)
    single = tmp_path / "single.h5"
    same_image(raw_files.write_fastmri(single, transform(wide)[:, 0], xml), middle[:, :1])
    with open_kspace(single) as file:
        assert file.kind == "fastMRI"
        assert file.placement.slice_mm == 5.0
        assert file.found["readout_cropped_from"] == 2 * ROWS
    mask = np.arange(COLUMNS) % 3 == 0
    raw_files.write_fastmri(single, transform(wide)[:, 0], xml, mask)
    with open_kspace(single) as file:
        assert np.array_equal(file.mask.pattern, mask)


def ismrmrd_lines(kspace, columns=range(COLUMNS), **options):
    """Acquisitions of (slices, coils, readout, phase), one line each."""
    directions = options.pop("directions", None)
    places = options.pop("positions", [(0, 0, 5 * n) for n in range(len(kspace))])
    return [
        raw_files.acquisition(
            one[:, :, k], position=places[n], directions=directions, slice=n, kspace_encode_step_1=k, **options
        )
        for n, one in enumerate(kspace)
        for k in columns
    ]


XML = raw_files.ismrmrd_xml((ROWS, COLUMNS), (*FOV, 5.0))


def test_ismrmrd(tmp_path):
    path = raw_files.write_ismrmrd(tmp_path / "a.h5", XML, ismrmrd_lines(transform(images())))
    same_image(path)
    with open_kspace(path) as file:
        assert file.kind == "ISMRMRD"
        assert file.placement.slice_mm == pytest.approx(5.0)
        # image rows run along the readout: x of the patient
        np.testing.assert_allclose(file.placement.direction, [0, 1, 0, 1, 0, 0, 0, 0, 1])


def test_ismrmrd_oversampling_and_geometry(tmp_path):
    wide = images(2 * ROWS)
    xml = raw_files.ismrmrd_xml((2 * ROWS, COLUMNS), (2 * FOV[0], FOV[1], 5.0), ROWS)
    tilted = np.array([[0, 0.8, -0.6], [1, 0, 0], [0, -0.6, -0.8]])  # read, phase, slice
    places = [tuple(np.array([10.0, 20.0, 30.0]) - 4 * n * tilted[2]) for n in range(SLICES)]
    lines = ismrmrd_lines(transform(wide), directions=tilted, positions=places)
    path = raw_files.write_ismrmrd(tmp_path / "a.h5", xml, lines)
    same_image(path, wide[..., ROWS - ROWS // 2 : ROWS - ROWS // 2 + ROWS, :])
    with open_kspace(path) as file:
        assert file.placement.slice_mm == pytest.approx(4.0)
        np.testing.assert_allclose(file.placement.centre_mm, (10, 20, 30))
        columns = np.array(file.placement.direction).reshape(3, 3).T
        np.testing.assert_allclose(columns, [tilted[1], tilted[0], -tilted[2]], atol=1e-6)


def test_ismrmrd_averages_contrasts_and_reversed_lines(tmp_path):
    kspace = transform(images())
    lines = ismrmrd_lines(kspace * 0.5, average=0) + ismrmrd_lines(kspace * 1.5, average=1)
    lines += ismrmrd_lines(kspace * 3, contrast=1) + ismrmrd_lines(kspace[:, :, ::-1] * 2, contrast=2, flags=1 << 21)
    lines += ismrmrd_lines(kspace * 99, flags=1 << 23)  # a navigator
    path = raw_files.write_ismrmrd(tmp_path / "a.h5", XML, lines)
    same_image(path)
    same_image(path, images() * 0.5, select={"average": 0})
    same_image(path, images() * 3, select={"contrast": 1})
    same_image(path, images() * 2, select={"contrast": 2})
    with pytest.raises(InputError, match="no contrast 3; there are 3"):
        open_kspace(path, select={"contrast": 3})


def test_ismrmrd_partial_fourier_and_asymmetric_echo(tmp_path):
    kspace = transform(images())
    limits = (0, COLUMNS - 6, COLUMNS // 2 - 5)  # the first five lines are left out, and the counter starts after them
    xml = raw_files.ismrmrd_xml((ROWS, COLUMNS), (*FOV, 5.0), limits=limits)
    lines = []
    for n, one in enumerate(kspace):
        for k in range(5, COLUMNS):
            lines.append(
                raw_files.acquisition(
                    one[:, 4:, k], slice=n, kspace_encode_step_1=k - 5, center_sample=ROWS // 2 - 4, position=(0, 0, n)
                )
            )
    with open_kspace(raw_files.write_ismrmrd(tmp_path / "a.h5", xml, lines)) as file:
        expected = kspace.copy()
        expected[:, :, :4], expected[..., :5] = 0, 0
        np.testing.assert_allclose(file.kspace([0, 1]), expected, atol=1e-6)
        assert not file.mask.pattern[:4].any()
        assert not file.mask.pattern[:, :5].any()
        assert file.mask.pattern[4:, 5:].all()


def test_ismrmrd_noise_is_made_independent(tmp_path):
    rng = np.random.default_rng(0)
    mixing = np.array([[1, 0, 0], [0.7, 2, 0], [0.3j, 0.5, 0.5]])
    noise = mixing @ (rng.normal(size=(COILS, 4000)) + 1j * rng.normal(size=(COILS, 4000)))
    clean = transform(images())
    scan = [raw_files.acquisition(noise[:, k : k + 100], flags=1 << 18) for k in range(0, 4000, 100)]
    path = raw_files.write_ismrmrd(tmp_path / "a.h5", XML, scan + ismrmrd_lines(clean))
    with open_kspace(path) as file:
        white = file.kspace([0])[0]
        assert any("noise" in note for note in file.found["notes"])
    # what turns the scan into this one, applied to the noise, leaves independent coils of equal strength
    through = white.reshape(COILS, -1) @ np.linalg.pinv(clean[0].reshape(COILS, -1), rcond=1e-4)
    basis = clean[0].reshape(COILS, -1)
    assert np.linalg.matrix_rank(basis, tol=1e-3) >= 2
    np.testing.assert_allclose(through @ basis, white.reshape(COILS, -1), atol=1e-3)
    covariance = mixing @ mixing.conj().T
    factor = np.linalg.cholesky(covariance / np.trace(covariance).real * COILS)
    expected = np.linalg.solve(factor, clean[0].reshape(COILS, -1))
    assert np.abs(white.reshape(COILS, -1) - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda head, data: (head, data[:-2]), "number_of_samples"),
        (lambda head, data: (set_head(head, "active_channels", 999), data), "active_channels"),
        (lambda head, data: (set_counter(head, "slice", 65535), data), "slices of"),
        (lambda head, data: (set_counter(head, "kspace_encode_step_1", 5000), data), "kspace_encode_step_1"),
        (lambda head, data: (set_counter(head, "kspace_encode_step_2", 2), data), "three dimensions"),
        (lambda head, data: (set_head(head, "center_sample", 60000), data), "center_sample"),
        (lambda head, data: (head, data * np.nan), "not numbers"),
    ],
)
def test_damaged_ismrmrd_heads_name_the_field(tmp_path, change, words):
    lines = ismrmrd_lines(transform(images()))
    lines[0] = change(*lines[0])
    with pytest.raises(InputError, match=words):
        open_kspace(raw_files.write_ismrmrd(tmp_path / "a.h5", XML, lines))


def set_head(head, name, value):
    head[name] = value
    return head


def set_counter(head, name, value):
    head["idx"][name] = value
    return head


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<x>20</x>", "<x>-3</x>", "matrixSize"),
        ("<x>20</x>", "<x>999999999</x>", "matrixSize"),
        ("<x>200.0</x>", "<x>nan</x>", "fieldOfView_mm/x"),
        ("cartesian", "spiral", "trajectory is spiral"),
        ("<center>12</center>", "<center>x</center>", "encodingLimits"),
        ("</ismrmrdHeader>", "", "XML header is damaged"),
        ('<?xml version="1.0"?>', '<!DOCTYPE a [<!ENTITY b "c">]>', "entities"),
    ],
)
def test_damaged_xml_names_the_field(tmp_path, old, new, words):
    assert old in XML
    path = raw_files.write_ismrmrd(tmp_path / "a.h5", XML.replace(old, new, 1), ismrmrd_lines(transform(images())))
    with pytest.raises(InputError, match=words):
        open_kspace(path)


def test_the_authors_npz(tmp_path):
    image = images(coils=1)[0, 0]
    kspace = np.fft.fftshift(np.fft.fft2(image))
    np.savez(tmp_path / "p001.npz", kspace=kspace, sino=np.zeros((64, 640)), t1=image.real, ct=image.real)
    with open_kspace(tmp_path / "p001.npz") as file:
        assert file.kind == "MSL authors' npz"
        assert file.convention == "official"
        np.testing.assert_allclose(file.kspace([0])[0, 0], kspace, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fov_mm": None}, '"fov_mm" is missing'),
        ({"fov_mm": [200]}, '"fov_mm" must have 2 entries'),
        ({"fov_mm": [200, -1]}, r'"fov_mm\[1\]" must be more than 0'),
        ({"axes": ["ky", "kx"]}, "does not fit"),
        ({"axes": ["slices", "coils", "ky", "kz"]}, r'"axes\[3\]" must be one of'),
        ({"array": "x"}, "holds no array 'x'"),
        ({"convention": "other"}, '"convention" must be one of'),
        ({"oversampling": 3}, '"oversampling"'),
        ({"oversampling": 2, "convention": "official"}, '"oversampling" is removed of'),
        ({"mask": "x"}, "holds no array 'x'"),
        ({"kind": "sinogram", "fov_mm": None, "beam": "flat", "angles": [0]}, "describes a sinogram"),
    ],
)
def test_wrong_descriptions_name_the_field(tmp_path, changes, words):
    with pytest.raises(InputError, match=words) as caught:
        open_kspace(described(tmp_path, **changes))
    assert "scan.npy" in str(caught.value)


def test_values_that_cannot_be(tmp_path):
    kspace = transform(images())
    for wrong, words in ((kspace * np.nan, "not numbers"), (kspace * 0, "zero everywhere"), (kspace.real, "complex")):
        with pytest.raises(InputError, match=words):
            open_kspace(described(tmp_path, wrong))


def test_real_ismrmrd_brain(shared_data):
    with open_kspace(shared_data / "kspace_ismrmrd" / "acqDataBrainSim100.h5") as file:
        assert file.shape == (1, 1, 256, 256)
        assert file.mask.achieved_rate == 1
        assert any("fieldOfView_mm/x is 0" in sentence for sentence in file.warnings)
        image = np.abs(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(file.kspace([0])[0, 0]))))
    inside = image[64:192, 64:192].mean()
    assert inside > 10 * image[:16, :16].mean()
