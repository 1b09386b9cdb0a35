"""Data consistency of an MR on a matrix, in a place and in a frame of its own."""

from contextlib import ExitStack

import numpy as np
import pytest
import raw_files
import SimpleITK as sitk
import torch

from MSLFusionLib.errors import Cancelled
from MSLFusionLib.imports import ImportSettings, import_files
from MSLFusionLib.physics.mr import fourier
from MSLFusionLib.progress import Job
from MSLFusionLib.recon.acquired import AcquiredMR
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.grid import NetworkGrid
from MSLFusionLib.recon.own_grid import consistent_volume
from MSLFusionLib.recon.sources import FileSource

SIZE, PIXEL, SLICES, SLICE_MM = 64, 2.0, 12, 4.0
DEVICE = torch.device("cpu")


def head(points: np.ndarray) -> np.ndarray:
    """The MR at points (..., 3) in mm of the CT's frame: smooth, so that any grid can hold it."""
    x, y, z = np.moveaxis(points, -1, 0)

    def blob(centre, size, soft):
        distance = np.sqrt(sum(((p - c) / s) ** 2 for p, c, s in zip((x, y, z), centre, size, strict=True)))
        return 1 / (1 + np.exp((distance - 1) / soft))

    image = 0.5 * blob((0, 0, 22), (40, 48, 60), 0.03) + 0.35 * blob((12, -14, 20), (11, 13, 16), 0.1)
    return image - 0.3 * blob((-15, 10, 26), (10, 12, 14), 0.2)


def points_of(volume: VolumeGeometry) -> np.ndarray:
    z, y, x = np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij")
    return volume.to_mm(np.stack([x, y, z], -1).reshape(-1, 3).astype(float)).reshape(*volume.shape, 3)


def transform(turn: float, shift) -> sitk.Transform:
    """From the CT's points to the MR's."""
    found = sitk.Euler3DTransform()
    found.SetCenter((0.0, 0.0, 22.0))
    found.SetRotation(0.3 * turn, 0.2 * turn, turn)
    found.SetTranslation(shift)
    return found


def measured(folder, to_mr: sitk.Transform | None, matrix=(48, 56), coils=1, every=4, direction=None, centre=None):
    """k-space of the head in the MR's frame, two thirds of a field of view of 128 mm, every fourth column."""
    content = {"kind": "kspace", "fov_mm": [128, 128], "slice_mm": SLICE_MM}
    if direction is not None:
        content["direction"] = direction
    path = folder / "mr.npy"
    np.save(path, np.ones((SLICES, coils, *matrix), np.complex64))
    raw_files.write_description(path, content)
    from MSLFusionLib.io.kspaces import open_kspace

    with open_kspace(path) as file:
        points = points_of(file.volume)
    if to_mr is not None:
        back = to_mr.GetInverse()
        flat = np.array([back.TransformPoint(point) for point in points.reshape(-1, 3).tolist()])
        points = flat.reshape(points.shape)
    image = torch.from_numpy(head(points)).to(torch.complex64)[:, None]
    rows, columns = (torch.linspace(-1, 1, n) for n in matrix)
    maps = [torch.exp(1j * c + 0.4 * (rows[:, None] * np.cos(c) + columns * np.sin(c))) for c in range(coils)]
    weights = torch.stack(maps) / (torch.stack(maps).abs() ** 2).sum(0).sqrt()
    kspace = fourier(image * weights)
    keep = torch.zeros(matrix[1])
    keep[::every] = 1
    centre = centre or (4 if coils == 1 else 9)  # coil maps need some
    keep[matrix[1] // 2 - centre : matrix[1] // 2 + centre] = 1
    np.save(path, (1000 * kspace * keep).numpy())
    return path


def acquired_of(stack, path, to_mr, settings=ImportSettings((SIZE, SIZE), PIXEL)):  # noqa: B008
    """Data, AcquiredMR and results' grid, which is the one of a CT at the origin."""
    data = import_files(stack, None, path, settings)
    middle = (SIZE - 1) / 2
    origin = (-middle * PIXEL, -middle * PIXEL, 0.0)
    volume = VolumeGeometry((SIZE, SIZE, SLICES), (PIXEL, PIXEL, SLICE_MM), origin, (1, 0, 0, 0, 1, 0, 0, 0, 1))
    grid = NetworkGrid.of_slices(volume)
    if to_mr is not None:
        corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
        moved = np.array([to_mr.TransformPoint(point.tolist()) for point in corners])
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = (moved[1:] - moved[0]).T, moved[0]
        data.header.acquired["transform"] = matrix.ravel().tolist()
    from MSLFusionLib.physics.masks import mask_from_dict

    return data, AcquiredMR(data, mask_from_dict(data.header.mask), grid, DEVICE), grid


def guess(truth: np.ndarray) -> np.ndarray:
    """What a network might say: blurred, and with an inset that is not there."""
    blurred = sitk.GetArrayFromImage(sitk.DiscreteGaussian(sitk.GetImageFromArray(truth), [4.0, 4.0, 0.25]))
    blurred[3:9, 20:26, 36:42] += 0.25
    return blurred.astype(np.float32)


CASES = {
    "its own matrix": (None, 1, None),
    "coils": (None, 4, None),
    "turned axes": (None, 1, [0, 1, 0, 1, 0, 0, 0, 0, 1]),
    "another frame": (transform(0.12, (6.0, -5.0, 3.0)), 1, None),
    "another frame, coils": (transform(-0.1, (-4.0, 7.0, -2.0)), 4, None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_network_is_corrected_where_the_mr_was_measured(tmp_path, name):
    to_mr, coils, direction = CASES[name]
    with ExitStack() as stack:
        path = measured(tmp_path, to_mr, coils=coils, direction=direction)
        data, acquired, grid = acquired_of(stack, path, to_mr)
        truth = (1000 * head(points_of(grid.volume)) / acquired.scale.high).clip(0, 1).astype(np.float32)
        network = guess(truth)
        found = consistent_volume(data, acquired, grid, network, DEVICE)
        sensor = acquired.slices(np.arange(SLICES))
    inner = slice(3, 9)  # all of it within the MR's slices, whichever way it is turned

    def error(image):
        return float(np.sqrt(np.square(image[inner] - truth[inner]).mean()))

    assert error(found) < 0.5 * error(network)
    assert error(found) < 0.75 * error(sensor)


def test_coil_maps_of_too_small_a_centre_spoil_nothing(tmp_path):
    with ExitStack() as stack:
        data, acquired, grid = acquired_of(stack, measured(tmp_path, None, coils=4, centre=4), None)
        network = np.full((SLICES, SIZE, SIZE), 0.4, np.float32)
        assert np.allclose(consistent_volume(data, acquired, grid, network, DEVICE), network, atol=1e-6)


def test_the_transform_matters(tmp_path):
    """The same data taken for the CT's own frame spoil the network's image."""
    to_mr = transform(0.12, (6.0, -5.0, 3.0))
    with ExitStack() as stack:
        data, acquired, grid = acquired_of(stack, measured(tmp_path, to_mr), None)
        truth = (1000 * head(points_of(grid.volume)) / acquired.scale.high).clip(0, 1).astype(np.float32)
        network = guess(truth)
        found = consistent_volume(data, acquired, grid, network, DEVICE)
    assert np.square(found[3:9] - truth[3:9]).mean() > np.square(network[3:9] - truth[3:9]).mean()


def test_nothing_changes_where_no_mr_was_measured(tmp_path):
    to_mr = transform(0.0, (0.0, 0.0, 24.0))  # the CT's upper half lies above all slices of the MR
    with ExitStack() as stack:
        data, acquired, grid = acquired_of(stack, measured(tmp_path, to_mr), to_mr)
        network = np.full((SLICES, SIZE, SIZE), 0.4, np.float32)
        found = consistent_volume(data, acquired, grid, network, DEVICE)
    assert np.array_equal(found[7:], network[7:])
    assert not np.array_equal(found[:5], network[:5])


def test_it_can_be_cancelled(tmp_path):
    with ExitStack() as stack:
        data, acquired, grid = acquired_of(stack, measured(tmp_path, None), None)
        network = np.full((SLICES, SIZE, SIZE), 0.4, np.float32)
        asked = iter([False] * 4 + [True] * 9)
        with pytest.raises(Cancelled):
            consistent_volume(data, acquired, grid, network, DEVICE, Job(cancelled=lambda: next(asked)))


def test_a_file_of_measured_mr_alone_gets_it_too(tmp_path):
    with ExitStack() as stack:
        data = import_files(stack, None, measured(tmp_path, None), ImportSettings((SIZE, SIZE), PIXEL))
        source = FileSource(data)
        truth = head(points_of(source.grid.volume)) * 1000 / source.mr_scale.high
        network = guess(truth.clip(0, 1).astype(np.float32))
        source.correct(network)
        batch = source.measure(np.array([4, 7]), DEVICE)
    assert batch.mr_consistent.shape == (2, 1, SIZE, SIZE)
    errors = [np.abs(image - truth[[4, 7]]).mean() for image in (batch.mr_consistent[:, 0].numpy(), network[[4, 7]])]
    assert errors[0] < 0.5 * errors[1]


def test_the_reconstructor_and_a_session_use_it(tmp_path):
    """Half-way between CT and MR half of the change is added; without data consistency none."""
    from fake_model import FakeLoaded

    from MSLFusionLib.nets.presets import preset_config
    from MSLFusionLib.nets.registry import build
    from MSLFusionLib.recon.reconstructor import Reconstructor
    from MSLFusionLib.recon.session import Session

    torch.manual_seed(0)
    config = preset_config("msl-lite", width=4, token_dim=32, heads=2, head_dim=8, mlp_dim=32, token_grid=(3, 3))
    engine = Reconstructor(FakeLoaded(build("msl", config.to_dict()), "tiny"), "cpu", batch=4)
    with ExitStack() as stack:
        path = measured(tmp_path, None, coils=4)
        settings = ImportSettings((48, 48), 128 / 48)
        data = import_files(stack, None, path, settings)
        images = {}
        for consistency in (False, True):
            result = engine.reconstruct([0.5, 1.0], sensors=data, modalities=("mr",), consistency=consistency)
            images[consistency] = [sitk.GetArrayFromImage(volume) for _, volume in result.hybrids]
        session = Session(engine, engine.source(sensors=data, modalities=("mr",)), ("mr",))
        session.encode()
        plane = session.plane(5, 1.0)
    half, whole = (after - before for before, after in zip(images[False], images[True], strict=True))
    assert np.abs(whole).mean() > 0.002
    unclipped = (images[True][0] > 0) & (images[True][0] < 1) & (images[True][1] > 0) & (images[True][1] < 1)
    np.testing.assert_allclose(half[unclipped], whole[unclipped] / 2, atol=1e-5)
    np.testing.assert_allclose(plane, images[True][1][5], atol=1e-5)
