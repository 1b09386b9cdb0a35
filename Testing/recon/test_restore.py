"""Restoring a contrast with CMF-Net: places in space, data consistency, values, memory, cancelling, what is refused."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny import image, oval_head, write_restorer

from MSLFusionLib import metrics
from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.io.checkpoints import load_checkpoint
from MSLFusionLib.io.placement import Placement
from MSLFusionLib.io.sensors import SensorHeader
from MSLFusionLib.physics.masks import SamplingMask, cartesian_mask
from MSLFusionLib.physics.mr import fourier
from MSLFusionLib.progress import Job
from MSLFusionLib.recon import beside, restore, targets
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.grid import NetworkGrid
from MSLFusionLib.recon.restore import Restorer, corrected_fine, corrected_low
from MSLFusionLib.recon.restore_measure import measure
from MSLFusionLib.recon.targets import RestorePlan

OBLIQUE = sitk.VersorTransform((0.3, -0.2, 0.9), 0.6).GetMatrix()
PLACE = np.array([7.3, -4.1, 2.0])
FULL = RestorePlan(acceleration=1, centre_fraction=1.0)


@pytest.fixture(scope="module", params=[2, 4])
def plain(request, tmp_path_factory):
    """An untrained network: what it is given comes out, and that enlarged."""
    file = write_restorer(tmp_path_factory.mktemp("plain") / "plain.safetensors", request.param, restless=False)
    return Restorer(load_checkpoint(file), "cpu")


@pytest.fixture(scope="module")
def restless(tmp_path_factory):
    """A network whose images are wrong."""
    return Restorer(load_checkpoint(write_restorer(tmp_path_factory.mktemp("net") / "restless.safetensors")), "cpu")


def heads(size=(45, 50, 4)):
    _, mr = oval_head(size[::-1])
    t1 = np.where(mr > 400, 350.0, mr * 1.5).astype(np.float32)
    return image(mr), image(t1)


def blob(points):
    """A soft ball at PLACE, bright 100, at points (n, 3) in mm."""
    return 100 * np.exp(-0.5 * np.square((points - PLACE) / (9.0, 10.0, 8.0)).sum(axis=-1))


def points_of(grid):
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)[..., ::-1]
    return grid.to_mm(index.reshape(-1, 3).astype(float))


def centre_of(volume):
    """Where the ball's middle lies, in mm."""
    values = sitk.GetArrayFromImage(volume).ravel().clip(min=0)
    values = np.where(values > 0.02 * values.max(), values, 0)
    return values @ points_of(VolumeGeometry.of(volume)) / values.sum()


@pytest.mark.parametrize(
    ("size", "spacing", "direction"),
    [
        ((90, 94, 24), (1.0, 1.0, 2.5), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
        ((97, 83, 22), (0.9, 1.2, 3.0), OBLIQUE),
        ((91, 24, 95), (1.1, 2.9, 1.0), (-1, 0, 0, 0, 0, 1, 0, 1, 0)),
    ],
)
def test_a_ball_lies_where_it_lay(plain, size, spacing, direction):
    middle = np.array(direction).reshape(3, 3) @ ((np.array(size) - 1) / 2 * spacing)
    grid = VolumeGeometry(size, spacing, tuple((PLACE - middle + np.array((1.3, 2.1, -0.7))).tolist()), direction)
    volume = grid.image(blob(points_of(grid)).reshape(grid.shape).astype(np.float32))
    target = plain.volume_target(volume, FULL)
    found = plain.restore(target, volume, compare=False)
    truth = centre_of(volume)
    assert np.allclose(truth, PLACE, atol=0.1)
    for kind in (restore.RESTORED, restore.ZERO_FILLED, restore.SUPER_RESOLVED, restore.BICUBIC, restore.TRUTH_LOW):
        assert np.allclose(centre_of(found.images[kind]), truth, atol=0.06), kind
    fine, low = found.images[restore.SUPER_RESOLVED], found.images[restore.RESTORED]
    assert VolumeGeometry.of(fine).same_as(grid)
    assert np.isclose(
        max(low.GetSpacing()), max(spacing) if plain.scale * min(spacing) < 2.5 else max(low.GetSpacing())
    )
    # Brightness is kept, too.
    assert sitk.GetArrayFromImage(low).max() == pytest.approx(100, rel=0.05)


def test_a_scanners_k_space_lies_where_the_scanner_says(restless, plain):
    matrix, fov = (40, 44), (96.0, 110.0)
    cosines = np.array(OBLIQUE).reshape(3, 3)
    placement = Placement(tuple((PLACE + cosines @ (4.0, -3.0, -25.0)).tolist()), OBLIQUE, 6.0)
    grid = NetworkGrid.of_slices(placement.volume((64, 64), (2.0, 2.0), 9, (32, 32)))
    y, x = np.meshgrid(np.arange(40) - 20, np.arange(44) - 22, indexing="ij")
    steps = np.stack([x * fov[1] / 44, y * fov[0] / 40, np.zeros_like(x)], axis=-1)
    phase = np.exp(1j * (0.4 + 0.05 * x - 0.02 * y))

    class Data:
        header = SensorHeader(
            grid.to_dict(),
            None,
            SamplingMask(np.ones(44, bool)).to_dict(),
            acquired={"matrix": matrix, "fov_mm": fov, "grid": grid.to_dict(), "transform": None},
        )

        def kspace(self, numbers):
            places = [np.array(placement.centre_mm) + (steps + np.array((0, 0, 6.0 * n))) @ cosines.T for n in numbers]
            images = np.stack([blob(p.reshape(-1, 3)).reshape(matrix) * phase for p in places])
            return fourier(torch.from_numpy(images[:, None].astype(np.complex64))).numpy()

    target = plain.measured_target(Data())
    assert target.grids.low.size == (44, 40, 9)
    helper = target.grids.fine.image(np.random.default_rng(0).random(target.grids.fine.shape, np.float32))
    found = plain.restore(target, helper)
    assert set(found.images) == {restore.RESTORED, restore.SUPER_RESOLVED, restore.ZERO_FILLED, restore.BICUBIC}
    for volume in found.images.values():
        assert np.allclose(centre_of(volume), PLACE, atol=0.1)
        assert sitk.GetArrayFromImage(volume).max() == pytest.approx(100, rel=0.05)
    assert measure(found) == []


@pytest.mark.parametrize("sigma", [0.0, 0.02])
def test_what_was_measured_is_kept(restless, sigma):
    t2, _ = heads((44, 52, 3))
    target = restless.volume_target(t2, RestorePlan(kspace_sigma=sigma, seed=3))
    kspace = target.kspace(np.arange(3))
    columns = torch.tensor(target.mask.columns)
    wrong = torch.rand(3, 1, 26, 22, generator=torch.Generator().manual_seed(0))
    low = fourier(corrected_low(target.mask, kspace, wrong, sigma))
    fine = torch.rand(3, 1, 52, 44, generator=torch.Generator().manual_seed(0))
    high = restless.operator.measure(corrected_fine(restless.operator, target.mask, kspace, fine, sigma))
    before = (fourier(wrong) - kspace)[..., columns].abs().square().mean()
    for found in (low, high):
        off = (found - kspace)[..., columns].abs()
        if sigma == 0:
            assert off.max() < 1e-5 * kspace.abs().max()
        else:
            assert 0 < off.square().mean() < 0.05 * before


def test_consistency_mends_a_bad_network_and_can_be_left_out(restless):
    t2, t1 = heads()
    target = restless.volume_target(t2, RestorePlan())
    rows = {}
    for consistency in (True, False):
        found = restless.restore(target, t1, consistency)
        assert found.report["consistency"] is consistency
        rows[consistency] = {row["image"]: row["psnr"] for row in measure(found)}
    for kind in (restore.RESTORED, restore.SUPER_RESOLVED):
        assert rows[True][kind] > rows[False][kind] + 1
    assert rows[True][restore.ZERO_FILLED] == rows[False][restore.ZERO_FILLED]


def test_values_stay_on_the_targets_own_scale(restless):
    t2, t1 = heads()
    first = restless.restore(restless.volume_target(t2, RestorePlan()), t1)
    second = restless.restore(restless.volume_target(t2 * 40.0, RestorePlan()), t1 * 0.01)
    for kind, volume in first.images.items():
        values, others = (sitk.GetArrayFromImage(one) for one in (volume, second.images[kind]))
        assert np.allclose(40 * values, others, atol=1e-3 * others.max())
        assert metrics.mae(values, sitk.GetArrayFromImage(volume)) == 0


def test_total_variation_is_compared_with_on_request(restless):
    t2, t1 = heads()
    found = restless.restore(restless.volume_target(t2, RestorePlan()), t1, compare=True)
    rows = {row["image"]: row for row in measure(found)}
    assert rows[restore.TOTAL_VARIATION]["psnr"] > rows[restore.ZERO_FILLED]["psnr"]
    assert rows[restore.TV_BICUBIC]["resolution"] == "fine"
    assert rows[restore.TV_BICUBIC]["nmse"] < rows[restore.BICUBIC]["nmse"]


def test_batches_do_not_change_the_result_and_shrink_when_memory_is_full(restless, monkeypatch):
    t2, t1 = heads()
    target = restless.volume_target(t2, RestorePlan(kspace_sigma=0.01))
    together = restless.restore(target, t1)
    real, sizes, said = restore.enhance, [], []

    def enhance(model, low, helper):
        sizes.append(len(low))
        if len(low) > 1:
            raise torch.cuda.OutOfMemoryError("full")
        return real(model, low, helper)

    monkeypatch.setattr(restore, "enhance", enhance)
    alone = restless.restore(target, t1, job=Job(warn=said.append))
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert alone.batch == 1
    assert any("memory" in sentence for sentence in said)
    for kind, volume in together.images.items():
        one, other = sitk.GetArrayFromImage(volume), sitk.GetArrayFromImage(alone.images[kind])
        assert np.allclose(one, other, atol=1e-4 * one.max())


def test_progress_is_told_and_a_cancel_ends_it(restless):
    t2, t1 = heads()
    target = restless.volume_target(t2, RestorePlan())
    told = []
    restless.restore(target, t1, job=Job(report=told.append))
    assert [one.done for one in told if one.stage == "restore"] == [0, 4]
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(Cancelled):
        restless.restore(target, t1, job=Job(cancelled=cancelled))


def test_what_the_network_never_saw_is_said(restless):
    t2, t1 = heads()
    said = []
    restless.restore(restless.volume_target(t2, RestorePlan(12.0, "equispaced")), t1, job=Job(warn=said.append))
    assert any("MR acceleration" in sentence for sentence in said)
    assert any("equispaced" in sentence for sentence in said)


def test_what_cannot_be_restored_is_refused(restless):
    t2, t1 = heads()
    with pytest.raises(InputError, match="too small"):
        restless.volume_target(image(np.ones((4, 24, 40), np.float32) * np.arange(40)), RestorePlan())
    with pytest.raises(InputError, match="constant"):
        restless.volume_target(image(np.full((4, 40, 40), 7.0, np.float32)), RestorePlan())
    with pytest.raises(InputError, match="looks like a CT"):
        beside.check_mr(image(oval_head((4, 50, 45))[0]), "target")
    with pytest.raises(InputError, match="constant"):
        beside.check_mr(t1 * 0.0, "auxiliary")
    with pytest.raises(InputError, match="grid of the result"):
        restless.restore(restless.volume_target(t2, RestorePlan()), t1[:, :, :3])
    with pytest.raises(InputError, match="no k-space"):
        restless.measured_target(type("Data", (), {"header": SensorHeader({}, {}, None)}))
    for values in ({"acceleration": 0.5}, {"mask": "spiral"}, {"centre_fraction": 0.0}, {"kspace_sigma": -1.0}):
        with pytest.raises(InputError):
            RestorePlan(**values)
    with pytest.raises(InputError, match="damaged"):
        RestorePlan.from_dict({"speed": 3})
    assert RestorePlan.from_dict(RestorePlan(3.0, seed=4).to_dict()) == RestorePlan(3.0, seed=4)


def test_the_auxiliary_is_placed_as_it_is_said_to_lie(restless):
    t2, t1 = heads()
    target = restless.volume_target(t2, RestorePlan())
    coarse = sitk.Resample(t1, (23, 25, 4), sitk.Transform(), sitk.sitkLinear, t1.GetOrigin(), (8.0, 8.0, 5.0))
    with pytest.raises(InputError, match="different grids"):
        beside.placed(target.grids, t2, coarse, beside.Placing())
    found = beside.placed(target.grids, t2, coarse, beside.Placing(beside.RESAMPLED))
    assert VolumeGeometry.of(found.image).same_as(VolumeGeometry.of(t2))
    part = t1[:, :20, :]
    said = []
    beside.placed(target.grids, t2, part, beside.Placing(beside.RESAMPLED), Job(warn=said.append))
    assert "covers 40 %" in said[0]
    part.SetOrigin((1000.0, 0.0, 0.0))
    with pytest.raises(InputError, match="do not overlap"):
        beside.placed(target.grids, t2, part, beside.Placing(beside.RESAMPLED))


def test_simulated_sensor_data_are_restored_on_the_networks_pixels(plain):
    _, mr = oval_head((4, 50, 45))
    grid = NetworkGrid.for_volume(image(mr), size=64, pixel_mm=3.5)
    mask = cartesian_mask(64, 2.0)

    class Data:
        header = SensorHeader(
            grid.to_dict(), None, mask.to_dict(), mr_scale={"low": 10.0, "high": 610.0, "method": "percentile"}
        )

        def kspace(self, numbers):
            slices = grid.to_network(grid.turned((mr - 10) / 600)[numbers])
            return (fourier(torch.from_numpy(slices))[:, None] * torch.tensor(mask.columns)).to(torch.complex64).numpy()

    target = plain.measured_target(Data())
    assert target.grids.low_size == (64, 64)
    helper = target.grids.fine.image(np.random.default_rng(0).random(target.grids.fine.shape, np.float32))
    found = plain.restore(target, helper)
    values = sitk.GetArrayFromImage(
        sitk.Resample(found.images[restore.RESTORED], image(mr), sitk.Transform(), sitk.sitkLinear)
    )
    inside = np.hypot(*np.meshgrid(np.linspace(-1, 1, 45), np.linspace(-1, 1, 50))) < 0.5
    assert metrics.mae(values[:, inside], mr[:, inside]) < 0.1 * mr.max()
    assert targets.SMALLEST == 16
