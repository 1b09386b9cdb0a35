"""Files of raw data to reconstructions: the same head in every format, geometry and orientation, and back."""

import itertools
import json
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import raw_files
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter

from MSLFusionLib.errors import InputError
from MSLFusionLib.imports import ImportSettings, import_files, register_sensors
from MSLFusionLib.inspection import inspected
from MSLFusionLib.io.sensors import SensorReader
from MSLFusionLib.physics.analytic import Ellipse, ellipse_image, ellipse_sinogram
from MSLFusionLib.physics.geometry import FanBeamGeometry, even_angles
from MSLFusionLib.physics.mr import fourier
from MSLFusionLib.physics.units import MU_MAX
from MSLFusionLib.pipeline import Registering
from MSLFusionLib.recon.sources import FileSource

SIZE = 64
SETTINGS = ImportSettings((SIZE, SIZE), 2.0)
FAN = FanBeamGeometry.covering((SIZE, SIZE), 2.0, 90)
ELLIPSES = [Ellipse(0.02, 40, 50), Ellipse(0.02, 8, 12, 20, 15), Ellipse(-0.01, 6, 6, -15, 20)]
TRUTH = (ellipse_image(FAN, ELLIPSES)[0, 0] / MU_MAX).numpy()


def scan_file(folder, geometry: FanBeamGeometry, ending: str = "npy", slices: int = 1, **changes):
    """The analytic sinogram of the head in a file of that ending."""
    data = ellipse_sinogram(geometry, ELLIPSES)[0].numpy().repeat(slices, axis=0)
    path = folder / f"scan.{ending}"
    content = {
        "kind": "sinogram",
        "beam": geometry.detector,
        "pitch_mm": geometry.pitch_mm,
        "offset_mm": geometry.offset_mm,
        "angles": np.degrees(geometry.angles).tolist(),
        "field_of_view_mm": 2.0 * SIZE,
    }
    if geometry.detector != "parallel":
        distances = geometry.source_origin_mm, geometry.source_origin_mm + geometry.origin_detector_mm
        content |= dict(zip(("source_origin_mm", "source_detector_mm"), distances, strict=True))
    raw_files.write_description(path, content | raw_files.write_array(path, data) | changes)
    return path


def mr_file(folder, ending: str = "npy", matrix=(SIZE, SIZE), coils: int = 1, slices: int = 1, **changes):
    """k-space of the head on a matrix of that size, its field of view the network's."""
    pixel = 2.0 * SIZE / matrix[0]
    grid = replace(FAN, image_shape=matrix, pixel_mm=pixel)
    # the middle of a Fourier transform is the pixel n // 2
    shift = pixel / 2 if matrix[0] % 2 == 0 else 0.0
    head = [replace(e, x=e.x + shift, y=e.y - shift) for e in ELLIPSES]
    image = ellipse_image(grid, head)[0] / MU_MAX
    weights = torch.exp(1j * torch.arange(coils)) / coils**0.5
    kspace = fourier(image[:, None] * weights[:, None, None]).repeat(slices, 1, 1, 1).numpy()
    path = folder / f"mr.{ending}"
    content = {"kind": "kspace", "fov_mm": [2.0 * SIZE, 2.0 * SIZE]}
    raw_files.write_description(path, content | raw_files.write_array(path, kspace) | changes)
    return path


def sensor_images(ct=None, mr=None, settings=SETTINGS, slices=(0,)):
    """FBP and zero-filled images (n, H, W), None where absent, and the source."""
    with ExitStack() as stack:
        source = FileSource(import_files(stack, ct, mr, settings))
        images = source.scanners.images(source.measure(np.array(slices), torch.device("cpu")))
    return [None if image is None else image[:, 0].numpy() for image in images], source


def short() -> FanBeamGeometry:
    return replace(FAN, angles=even_angles(90, "short", FAN.half_fan), scan="short")


SCANS = {
    "flat": FAN,
    "arc": replace(FAN, detector="arc"),
    "parallel": FanBeamGeometry.parallel((SIZE, SIZE), 2.0, 90),
    "short": short(),
    "offset": replace(FAN, offset_mm=2.3),
    "one side": replace(FAN, bins=70, offset_mm=(35 - 16) * FAN.pitch_mm),
}


@pytest.mark.parametrize("name", SCANS)
def test_every_scan_gives_the_head_in_every_format(tmp_path, name):
    reference = None
    for ending in raw_files.FORMATS:
        (image, _), source = sensor_images(scan_file(tmp_path, SCANS[name], ending))
        assert source.scanners.ct.geometry.scan != "limited"
        if reference is None:
            reference = image[0]
            assert np.abs(reference - TRUTH).mean() < 0.012
            inside = TRUTH > 0.3
            assert reference[inside].mean() == pytest.approx(TRUTH[inside].mean(), rel=0.01)
        assert np.array_equal(image[0], reference), ending


@pytest.mark.parametrize("matrix", [(64, 64), (48, 48), (57, 57), (96, 96)])
@pytest.mark.parametrize("coils", [1, 8])
def test_every_kspace_gives_the_head_in_every_format(tmp_path, matrix, coils):
    reference = None
    for ending in raw_files.COMPLEX_FORMATS:
        (_, image), source = sensor_images(mr=mr_file(tmp_path, ending, matrix, coils))
        if reference is None:
            reference = image[0]
            # the network's pixel n // 2 lies in the middle: half a pixel from the CT's grid
            truth = ellipse_image(FAN, [replace(e, x=e.x + 1.0, y=e.y - 1.0) for e in ELLIPSES])[0, 0].numpy()
            truth = truth / MU_MAX / source.mr_scale.high
            assert np.abs(reference - np.clip(truth, 0, 1)).mean() < 0.03
        assert np.array_equal(image[0], reference), ending


@pytest.mark.parametrize(("size", "coils"), [(SIZE, 1), (57, 8)])
def test_oversampled_fastmri_and_ismrmrd_agree_with_the_plain_array(tmp_path, size, coils):
    plain = mr_file(tmp_path, matrix=(size, size), coils=coils)
    (_, expected), _ = sensor_images(mr=plain)
    kspace, field = np.load(plain), 2.0 * SIZE
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1))), axes=(-2, -1))
    wide = np.pad(image, ((0, 0), (0, 0), (size - size // 2, size // 2), (0, 0)))
    over = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(wide, axes=(-2, -1))), axes=(-2, -1)).astype(np.complex64)
    xml = raw_files.ismrmrd_xml((2 * size, size), (2 * field, field, 5.0), size)
    fast = raw_files.write_fastmri(tmp_path / "fast.h5", over if coils > 1 else over[:, 0], xml)
    turned = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]  # the readout along y of the patient, as image rows are
    lines = [
        raw_files.acquisition(over[0, :, :, k], kspace_encode_step_1=k, directions=np.array(turned))
        for k in range(size)
    ]
    mrd = raw_files.write_ismrmrd(tmp_path / "mrd.h5", xml, lines)
    for path in (fast, mrd):
        (_, image_found), source = sensor_images(mr=path)
        np.testing.assert_allclose(image_found, expected, atol=2e-5)
        assert source.grid.pixel_mm == 2.0


def test_every_orientation_lies_rightly_in_the_patient(tmp_path):
    """Volumes whose axes are permuted and reversed hold the same image in their own array."""
    for order in itertools.permutations(range(3)):
        for signs in ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, -1)):
            cosines = np.zeros((3, 3))
            cosines[order, range(3)] = signs
            direction = cosines.ravel().tolist()
            ct, mr = scan_file(tmp_path, FAN, direction=direction), mr_file(tmp_path, direction=direction)
            for given, which in (((ct, None), 0), ((None, mr), 1)):
                images, source = sensor_images(*given)
                volume = np.zeros(source.grid.volume.shape, np.float32)
                source.grid.turned(volume)[0] = images[which][0]
                np.testing.assert_allclose(source.grid.volume.direction, direction)
                shift = 1.0 if which else 0.0
                truth = ellipse_image(FAN, [replace(e, x=e.x + shift, y=e.y - shift) for e in ELLIPSES])[0, 0].numpy()
                truth = truth / MU_MAX / (source.mr_scale.high if which else 1.0)
                assert np.abs(volume[0] - np.clip(truth, 0, 1)).mean() < 0.02


def test_one_frame_needs_no_registration(tmp_path):
    """A CT and an MR of different matrix, slices and pixel, placed by their files, meet on the CT's slices."""
    ct = scan_file(tmp_path, FAN, slices=4, slice_mm=3.0, centre_mm=[5, 6, 7])
    mr = mr_file(tmp_path, matrix=(96, 96), slices=7, slice_mm=2.0, centre_mm=[5, 6, 6])
    images, source = sensor_images(ct, mr, slices=(1, 2))
    assert source.grid.slices == 4
    assert source.grid.volume.spacing == (2.0, 2.0, 3.0)
    np.testing.assert_allclose(images[0][0], TRUTH, atol=0.4)
    both = np.clip(TRUTH / source.mr_scale.high, 0, 1)
    assert np.abs(images[1][0] - both).mean() < 0.03
    assert np.abs(images[1][1] - both).mean() < 0.03


def test_the_container_keeps_every_bit(tmp_path):
    ct = scan_file(tmp_path, SCANS["arc"], slices=3, direction=[0, 0, 1, 1, 0, 0, 0, -1, 0])
    mr = mr_file(tmp_path, matrix=(48, 48), coils=8, slices=2)
    with ExitStack() as stack:
        data = import_files(stack, ct, mr, SETTINGS)
        data.write(tmp_path / "all.h5")
        with SensorReader(tmp_path / "all.h5") as reader:
            assert reader.header == data.header
            assert np.array_equal(reader.sinogram([0, 1, 2]), data.sinogram([0, 1, 2]))
            assert np.array_equal(reader.kspace([0, 1]), data.kspace([0, 1]))
            assert np.array_equal(reader.kspace([0, 1]), np.load(mr))
            again, first = FileSource(reader), FileSource(data)
            for one, other in zip(
                again.scanners.images(again.measure(np.array([1]), torch.device("cpu"))),
                first.scanners.images(first.measure(np.array([1]), torch.device("cpu"))),
                strict=True,
            ):
                assert torch.equal(one, other)
    found = inspected(tmp_path / "all.h5")
    assert found["modality"] == "both"
    assert found["found"]["achieved"]["mr"]["coils"] == 8


def head_volume(offset=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Slices (12, 64, 64) of a lopsided head of 5 mm slices, moved by mm along x, y, z."""
    z, y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * mm for n, mm in ((12, 5.0), (64, 2.0), (64, 2.0))],
                          indexing="ij")  # fmt: skip
    x, y, z = x - offset[0], y - offset[1], z - offset[2]
    head = (np.hypot(np.hypot(x / 42, y / 52), z / 40) < 1) * 0.35
    head += (np.hypot(np.hypot((x - 14) / 12, (y - 10) / 16), (z - 5) / 12) < 1) * 0.3
    head -= (np.hypot(np.hypot((x + 16) / 8, (y + 14) / 9), z / 9) < 1) * 0.2
    return head.astype(np.float32)


def test_two_frames_are_registered_and_one_anatomy_is_seen(tmp_path):
    from MSLFusionLib.physics.ct import ct_operator

    operator = ct_operator(FAN)
    sinogram = operator.forward(torch.from_numpy(head_volume() * MU_MAX)[:, None])[:, 0].numpy()
    np.save(tmp_path / "ct.npy", sinogram)
    content = json.loads((scan_file(tmp_path, FAN).with_name("scan.npy.json")).read_text())
    raw_files.write_description(tmp_path / "ct.npy", content | {"slice_mm": 5.0})
    # what the MR's scanner holds lies 8 mm to the left, 6 mm up and 5 mm higher, and nobody tells
    moved = head_volume((8.0, 6.0, 5.0))
    np.save(tmp_path / "mr.npy", fourier(torch.from_numpy(moved)[:, None]).numpy())
    raw_files.write_description(
        tmp_path / "mr.npy", {"kind": "kspace", "fov_mm": [128.0, 128.0], "slice_mm": 5.0, "centre_mm": [1, 1, 0]}
    )
    with ExitStack() as stack:
        data = import_files(stack, tmp_path / "ct.npy", tmp_path / "mr.npy", SETTINGS)
        apart = FileSource(data).measure(np.array([6]), torch.device("cpu")).mr_image
        found = register_sensors(data, Registering())
        assert found is not None
        np.testing.assert_allclose(found.transform.TransformPoint((0.0, 0.0, 27.5)), (8, 6, 32.5), atol=1.0)
        together = FileSource(data).measure(np.array([6]), torch.device("cpu")).mr_image
        truth = torch.from_numpy(head_volume()[6] / 0.65)
        assert float((together[0, 0] - truth).abs().mean()) < 0.5 * float((apart[0, 0] - truth).abs().mean())
        data.write(tmp_path / "s.h5")
    with SensorReader(tmp_path / "s.h5") as reader:
        assert torch.equal(FileSource(reader).measure(np.array([6]), torch.device("cpu")).mr_image, together)


def test_without_overlap_there_is_one_clear_line(tmp_path):
    ct, mr = scan_file(tmp_path, FAN), mr_file(tmp_path, centre_mm=[0, 0, 900])
    with pytest.raises(InputError, match="does not overlap"):
        sensor_images(ct, mr)


def test_a_wedge_is_reconstructed_iteratively_and_told(tmp_path):
    wedge = replace(FAN, angles=FAN.angles[:30], scan="limited")
    warnings = []
    from MSLFusionLib.progress import NO_JOB

    with ExitStack() as stack:
        data = import_files(
            stack, scan_file(tmp_path, wedge), None, SETTINGS, job=replace(NO_JOB, warn=warnings.append)
        )
        source = FileSource(data)
        image = source.scanners.images(source.measure(np.array([0]), torch.device("cpu")))[0]
    assert any("120.0 of 360 degrees" in sentence for sentence in warnings)
    assert float((image[0, 0] - torch.from_numpy(TRUTH)).abs().mean()) < 0.05


def test_a_wedge_can_be_cancelled_within_its_slice(tmp_path):
    from MSLFusionLib.errors import Cancelled
    from MSLFusionLib.progress import Job

    wedge = replace(FAN, angles=FAN.angles[:30], scan="limited")
    with ExitStack() as stack:
        source = FileSource(import_files(stack, scan_file(tmp_path, wedge), None, SETTINGS))
        batch = source.measure(np.array([0]), torch.device("cpu"))
        asked = iter([False] * 3 + [True])
        with pytest.raises(Cancelled):
            source.scanners.images(batch, Job(cancelled=lambda: next(asked)))
        assert next(asked, None) is None


def test_a_larger_field_of_view_makes_the_pixel_larger(tmp_path):
    warnings = []
    from MSLFusionLib.progress import NO_JOB

    with ExitStack() as stack:
        path = scan_file(tmp_path, FAN, field_of_view_mm=200.0)
        job = replace(NO_JOB, warn=warnings.append)
        data = import_files(stack, path, None, SETTINGS, job=job)
        assert data.header.grid["pixel_mm"] == pytest.approx(200 / SIZE)
        fixed = import_files(stack, path, None, replace(SETTINGS, fixed_pixel=True), job=job)
        assert fixed.header.grid["pixel_mm"] == 2.0
    assert any("enlarged from 2.00 to 3.12 mm" in sentence for sentence in warnings)
    assert any("what lies outside is missing" in sentence for sentence in warnings)


def test_espirit_gives_the_head_of_eight_real_coils(shared_data, tmp_path):
    path = shared_data / "kspace_brain_8ch" / "cartesian_ksp.npy"
    sidecar = tmp_path / "k.json"
    sidecar.write_text(json.dumps({"kind": "kspace", "axes": ["coils", "ky", "kx"], "fov_mm": [230, 180]}))
    settings = ImportSettings((96, 96), 2.5)
    images = {}
    for combination in ("rss", "espirit", "sense-tv"):
        with ExitStack() as stack:
            data = import_files(stack, None, path, replace(settings, combination=combination), None, sidecar)
            assert data.header.coils == 8
            images[combination] = FileSource(data).measure(np.array([0]), torch.device("cpu")).mr_image[0, 0]
    inside = images["rss"][30:66, 35:60]
    corner = images["rss"][6:14, 14:22], images["espirit"][6:14, 14:22]
    assert float(inside.mean()) > 5 * float(corner[0].mean())
    correlation = np.corrcoef(inside.numpy().ravel(), images["espirit"][30:66, 35:60].numpy().ravel())[0, 1]
    assert correlation > 0.9
    # the background, which no coil map explains, is darker
    assert float(corner[1].mean()) < 0.5 * float(corner[0].mean())
    # what the outer half of k-space holds, of which few samples were taken, comes back sharp
    sharp = {name: float(image.diff(dim=0).abs().mean()) for name, image in images.items()}
    assert sharp["sense-tv"] > 1.2 * sharp["espirit"]
    smooth = gaussian_filter(images["sense-tv"].numpy(), 1.5)[30:66, 35:60]
    assert np.corrcoef(smooth.ravel(), images["espirit"][30:66, 35:60].numpy().ravel())[0, 1] > 0.9
    # ... and empty places stay empty
    assert float(images["sense-tv"][6:14, 14:22].mean()) < 0.5 * float(corner[0].mean())


def test_inspect_tells_what_is_there_and_what_is_missing(tmp_path):
    np.savez(tmp_path / "raw.npz", proj=np.zeros((3, 4)))
    found = inspected(tmp_path / "raw.npz")
    assert found["modality"] == "unknown"
    assert found["found"] == {"proj": "float64 [3, 4]"}
    assert "raw.npz.json" in found["warnings"][0]
    assert inspected(scan_file(tmp_path, FAN))["found"]["scan"] == "full"
    assert inspected(mr_file(tmp_path))["modality"] == "mr"
    with pytest.raises(InputError, match="does not exist"):
        inspected(tmp_path / "absent.h5")
    sitk.WriteImage(sitk.Image([4, 4], sitk.sitkVectorUInt8, 3), str(tmp_path / "colour.tif"))
    with pytest.raises(InputError, match="values per pixel"):
        inspected(tmp_path / "colour.tif")
