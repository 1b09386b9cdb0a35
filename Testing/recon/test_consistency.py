"""Data consistency: the measurement is met where it is exact, noise is not fitted, and hybrids take their shares."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fake_model import FakeLoaded, ellipsoids

from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.io.sensors import SensorHeader, SensorReader, SensorWriter
from MSLFusionLib.nets.presets import preset_config
from MSLFusionLib.nets.registry import build
from MSLFusionLib.physics.iterative import cgls
from MSLFusionLib.physics.masks import PointMask, SamplingMask, cartesian_mask
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.physics.units import MU_MAX
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.recon.consistency import Changes, blended, changes, consistent_ct, consistent_mr
from MSLFusionLib.recon.kspace import Rings, coarse_image, mirrored, pattern_of
from MSLFusionLib.recon.lambdas import LambdaSpec
from MSLFusionLib.recon.noise_level import (
    SensorNoise,
    estimated_noise,
    estimated_photons,
    estimated_sigma,
    noise_of_plan,
)
from MSLFusionLib.recon.reconstructor import Reconstructor
from MSLFusionLib.recon.session import Session
from MSLFusionLib.recon.simulate import SamplingPlan, Scanners, SensorBatch
from MSLFusionLib.recon.sources import FileSource, VolumeSource

SIZE = 64
PLAN = SamplingPlan(views=32, acceleration=4, seed=3)
NOISY = SamplingPlan(views=32, acceleration=4, photons=3e4, kspace_sigma=0.03, seed=3)


def phantoms(size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """CT and MR (2, 1, size, size): two heads with different insets, air around them."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    ct, mr = [], []
    for shift in (0.0, 0.15):
        radius = torch.hypot(x / 0.75, y / 0.85)
        head, bone = (radius < 1).float(), ((radius > 0.85) & (radius < 0.95)).float()
        inset = (torch.hypot(x - 0.2 - shift, y + 0.2) < 0.2).float()
        ct.append(head * 0.33 + bone * 0.4 + inset * 0.1)
        mr.append(head * 0.5 - bone * 0.4 + inset * 0.3 + head * 0.1 * torch.sin(9 * x + shift))
    return torch.stack(ct)[:, None], torch.stack(mr)[:, None].clamp(0, 1)


def measured(plan: SamplingPlan, size: int = SIZE) -> tuple[Scanners, SensorBatch, torch.Tensor, torch.Tensor]:
    """Scanners, data, and the images of a network that is a little wrong: blurred, too bright."""
    ct, mr = phantoms(size)
    scanners = Scanners.of_plan(plan, (size, size), 4.0)
    data = scanners.measure(ct, mr, [0, 1])
    wrong = [(1.03 * torch.nn.functional.avg_pool2d(image, 3, 1, 1) + 0.004).clamp(0, 1) for image in (ct, mr)]
    return scanners, data, wrong[0], wrong[1]


def error(image: torch.Tensor, truth: torch.Tensor) -> float:
    return float((image - truth).square().mean().sqrt())


def norm(data: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(data))


def test_measured_kspace_is_met_and_the_magnitude_is_better():
    scanners, data, _, network = measured(PLAN)
    truth = phantoms()[1]
    image = consistent_mr(scanners.mr, data.kspace, network)
    again = scanners.mr.forward(image)
    assert (again - data.kspace).abs().max() <= 1e-5 * data.kspace.abs().max()
    assert norm(image.imag) < 1e-4 * norm(image.real)
    shown = image.abs().clamp(0, 1)
    zero_filled = scanners.mr.zero_filled(data.kspace)
    assert error(shown, truth) < 0.6 * min(error(network, truth), error(zero_filled, truth))


@pytest.mark.parametrize("convention", ["centred-ortho", "official"])
@pytest.mark.parametrize("size", [47, 48])
def test_an_image_with_phase_keeps_it_and_its_measurement(convention, size):
    magnitude = phantoms(size)[1]
    axis = torch.linspace(-1, 1, size)
    phase = torch.polar(torch.ones(size, size), 1.5 * axis[:, None] + 0.8 * axis)
    operator = CartesianMR(cartesian_mask(size, 2.5, seed=1, centre_fraction=0.2), convention=convention)
    kspace = operator.forward(magnitude * phase)
    network = torch.nn.functional.avg_pool2d(magnitude, 3, 1, 1)
    image = consistent_mr(operator, kspace, network)
    assert (operator.forward(image) - kspace).abs().max() <= 1e-5 * kspace.abs().max()
    assert error(image.abs(), magnitude) < 0.85 * error(network, magnitude)
    assert error(image.abs(), magnitude) < 0.85 * error(operator.zero_filled(kspace), magnitude)
    inside = magnitude > 0.3
    assert float((image * phase.conj()).angle()[inside].abs().mean()) < 0.1


def test_measured_points_that_are_no_columns():
    magnitude = phantoms()[1]
    rng = np.random.default_rng(0)
    pattern = rng.random((SIZE, SIZE)) < 0.3
    pattern[24:41, 24:41] = True
    operator = CartesianMR(PointMask(pattern))
    kspace = operator.forward(magnitude)
    image = consistent_mr(operator, kspace, 0.9 * magnitude)
    assert (operator.forward(image) - kspace).abs().max() <= 1e-5 * kspace.abs().max()
    assert error(image.abs(), magnitude) < 0.5 * error(0.9 * magnitude, magnitude)


def test_a_network_that_foresaw_nothing_is_not_followed():
    """Its k-space beyond the measured samples is dropped: the image is no worse than zero-filled."""
    scanners, data, _, _ = measured(PLAN)
    truth = phantoms()[1]
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0))
    image = consistent_mr(scanners.mr, data.kspace, noise).abs().clamp(0, 1)
    assert error(image, truth) < error(scanners.mr.zero_filled(data.kspace), truth)


def test_noise_is_not_fitted():
    scanners, data, wrong_ct, wrong_mr = measured(NOISY)
    ct, mr = phantoms()
    weighted = consistent_mr(scanners.mr, data.kspace, wrong_mr, NOISY.kspace_sigma).abs()
    exact = consistent_mr(scanners.mr, data.kspace, wrong_mr, 0.0).abs()
    assert error(weighted, mr) < 0.97 * error(exact, mr)
    assert error(weighted, mr) < error(wrong_mr, mr)
    # The measured samples are not met: what remains is about the noise, and not less than half of it.
    columns = torch.tensor(scanners.mr.mask.columns)
    left = (scanners.mr.forward(weighted) - data.kspace)[..., columns]
    expected = NOISY.kspace_sigma * (2 * left.numel()) ** 0.5
    assert 0.5 * expected < norm(left) < 1.5 * expected
    found = consistent_ct(scanners.ct, data.sinogram, wrong_ct, NOISY.photons)
    fitted = (cgls(scanners.ct, data.sinogram, 100) / MU_MAX).clamp(0, 1)
    assert error(found, ct) < 0.9 * error(fitted, ct)
    assert error(found, ct) < error(wrong_ct, ct)


def test_a_perfect_network_is_spoiled_by_noise_only_a_little():
    scanners, data, _, _ = measured(NOISY)
    mr = phantoms()[1]
    image = consistent_mr(scanners.mr, data.kspace, mr, NOISY.kspace_sigma).abs()
    assert error(image, mr) < 0.4 * NOISY.kspace_sigma


def test_the_sinograms_residual_falls_by_more_than_half():
    scanners, data, network, _ = measured(PLAN)
    found = consistent_ct(scanners.ct, data.sinogram, network)
    before, after = (norm(scanners.ct.forward(x * MU_MAX) - data.sinogram) for x in (network, found))
    assert after < 0.2 * before
    assert error(found, phantoms()[0]) < 0.7 * error(network, phantoms()[0])
    assert float(found.min()) >= 0.0
    assert float(found.max()) <= 1.0


def test_rays_that_met_nothing_leave_nothing():
    scanners, _, _, _ = measured(PLAN)
    empty = torch.zeros(1, 1, SIZE, SIZE)
    invented = torch.full_like(empty, 0.01)
    assert not consistent_ct(scanners.ct, scanners.ct.forward(empty), invented).any()
    assert consistent_mr(scanners.mr, scanners.mr.forward(empty), invented).abs().max() < 1e-6


def test_slices_of_a_batch_do_not_know_of_each_other():
    for plan in (PLAN, NOISY):
        scanners, data, ct, mr = measured(plan)
        noise = SensorNoise(plan.photons, plan.kspace_sigma)
        whole = changes(scanners, data, noise, ct, mr)
        alone = changes(scanners, SensorBatch(data.sinogram[1:], data.kspace[1:]), noise, ct[1:], mr[1:])
        assert torch.allclose(whole.ct[1:], alone.ct, atol=2e-6)
        assert torch.allclose(whole.mr[1:], alone.mr, atol=2e-6)


@pytest.mark.parametrize("sigma", [0.0, 0.05])
@pytest.mark.parametrize("phase", [False, True])
def test_gradients_of_the_mr(sigma, phase):
    generator = torch.Generator().manual_seed(5)
    operator = CartesianMR(SamplingMask(np.array([0, 1, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0], bool)))
    image = 0.2 + torch.rand((1, 1, 10, 12), generator=generator, dtype=torch.float64)
    turn = torch.polar(torch.ones(10, 12, dtype=torch.float64), torch.linspace(0, 1, 12, dtype=torch.float64))
    kspace = operator.forward(image * turn if phase else image)
    network = (image * 0.9 + 0.05).requires_grad_()
    function = lambda x: torch.view_as_real(consistent_mr(operator, kspace, x, sigma, 2))  # noqa: E731
    assert torch.autograd.gradcheck(function, (network,), eps=1e-6, atol=1e-4)


@pytest.mark.parametrize("photons", [None, 1e4])
def test_gradients_of_the_ct(photons):
    """Against differences: the operator works in single precision."""
    scanners, data, network, _ = measured(PLAN)
    direction = torch.rand(network.shape, generator=torch.Generator().manual_seed(1)) * (network > 0.1)
    target = torch.rand(network.shape, generator=torch.Generator().manual_seed(2))

    def value(x: torch.Tensor) -> torch.Tensor:
        return (consistent_ct(scanners.ct, data.sinogram, x, photons, steps=4).double() * target).sum()

    start = network.clone().requires_grad_()
    value(start).backward()
    step = 1e-4
    slope = (value(network + step * direction) - value(network - step * direction)) / (2 * step)
    assert float((start.grad * direction).sum()) == pytest.approx(float(slope), rel=0.02)


def test_unrolled_twice_it_trains():
    scanners, data, ct, mr = measured(NOISY)
    noise = SensorNoise(NOISY.photons, NOISY.kspace_sigma)
    gain = torch.ones((), requires_grad=True)
    once = blended(ct * gain, 0.0, changes(scanners, data, noise, ct * gain, None))
    twice = blended(once, 0.0, changes(scanners, data, noise, once, None))
    of_mr = blended(mr * gain, 1.0, changes(scanners, data, noise, None, mr * gain))
    (twice.sum() + of_mr.sum()).backward()
    assert torch.isfinite(gain.grad)
    assert float(gain.grad.abs()) > 0


def coils(count: int, size: int) -> torch.Tensor:
    """Smooth sensitivities (count, size, size) with phase; their root sum of squares is 1."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    maps = []
    for k in range(count):
        angle = torch.tensor(2 * np.pi * k / count)
        distance = (x - angle.cos()).square() + (y - angle.sin()).square()
        maps.append(torch.polar(torch.exp(-0.7 * distance), angle + 0.5 * x * angle.cos()))
    stack = torch.stack(maps)
    return stack / torch.linalg.vector_norm(stack, dim=0)


@pytest.mark.parametrize("sigma", [0.0, 0.02])
def test_several_coils_with_maps(sigma):
    magnitude = phantoms()[1]
    operator = CartesianMR(cartesian_mask(SIZE, 3, seed=2), coils(4, SIZE))
    kspace = operator.forward(magnitude)
    generator = torch.Generator().manual_seed(4)
    noise = torch.complex(*(torch.randn(kspace.shape, generator=generator) for _ in range(2)))
    kspace = kspace + sigma * noise * pattern_of(operator, kspace)
    network = torch.nn.functional.avg_pool2d(magnitude, 3, 1, 1)
    image = consistent_mr(operator, kspace, network, sigma)
    before, after = (norm(operator.forward(x) - kspace) for x in (network, image))
    assert after < (0.05 if sigma == 0 else 0.7) * before
    assert error(image.abs(), magnitude) < (0.3 if sigma == 0 else 0.8) * error(network, magnitude)
    assert error(image.abs(), magnitude) < 0.8 * error(operator.zero_filled(kspace), magnitude)
    exact = consistent_mr(operator, kspace, network, 0.0)
    assert error(image.abs(), magnitude) <= error(exact.abs(), magnitude)


def test_several_coils_without_maps_get_them_or_are_left_alone():
    magnitude = phantoms()[1]
    plain = CartesianMR(cartesian_mask(SIZE, 2, seed=2, centre_fraction=0.25))
    kspace = CartesianMR(plain.mask, coils(4, SIZE)).forward(magnitude)
    with pytest.raises(InputError, match="coil maps"):
        consistent_mr(plain, kspace, magnitude)
    network = torch.nn.functional.avg_pool2d(magnitude, 3, 1, 1)
    scanners = Scanners(None, plain)
    found = changes(scanners, SensorBatch(None, kspace), SensorNoise(), None, network)
    assert found.ct is None
    assert error(network + found.mr, magnitude) < 0.6 * error(network, magnitude)
    empty = changes(scanners, SensorBatch(None, torch.zeros_like(kspace)), SensorNoise(), None, network)
    assert not empty.mr.any()


def test_the_opposite_sample_of_a_real_image_is_its_conjugate():
    for rows, columns in ((6, 8), (7, 8), (7, 9)):
        image = torch.rand((1, 1, rows, columns), dtype=torch.float64)
        for convention in ("centred-ortho", "official"):
            full = CartesianMR(SamplingMask(np.ones(columns, bool)), convention=convention).forward(image)
            assert torch.allclose(mirrored(full), full)


def test_rings_hold_every_sample_once():
    like = torch.zeros(2, 1, 64, 48, dtype=torch.complex64)
    rings = Rings(like)
    assert rings.count == 3
    ones = torch.ones(2, 1, 64, 48)
    assert torch.allclose(rings.mean(ones, ones), torch.ones(2, 3))
    values = torch.rand(2, 1, 64, 48)
    assert torch.allclose(rings.spread(rings.mean(values, ones)).mean(), values.mean(), atol=1e-5)


def test_the_coarse_image_is_of_the_measured_centre_only():
    operator = CartesianMR(cartesian_mask(32, 4, seed=0))
    image = torch.rand(1, 1, 32, 32)
    kspace = operator.forward(image)
    coarse = coarse_image(operator, kspace, pattern_of(operator, kspace))
    assert float(coarse.real.mean()) == pytest.approx(float(image.mean()), rel=1e-4)
    assert float(coarse.real.std()) < 0.3 * float(image.std())


def test_noise_is_told_or_estimated():
    ct, mr = phantoms(128)
    plan = SamplingPlan(views=48, acceleration=3, photons=1e4, kspace_sigma=0.05, seed=1)
    scanners = Scanners.of_plan(plan, (128, 128), 2.0)
    data = scanners.measure(ct, mr, [0, 1])
    assert estimated_sigma(data.kspace, scanners.mr) == pytest.approx(0.05, rel=0.15)
    assert estimated_photons(data.sinogram) == pytest.approx(1e4, rel=0.3)
    assert estimated_photons(torch.zeros(1, 1, 8, 20)) is None
    assert estimated_noise(None, None, None) == SensorNoise()
    assert noise_of_plan(plan.to_dict()) == SensorNoise(1e4, 0.05)
    assert noise_of_plan(SamplingPlan().to_dict()) == SensorNoise()
    assert noise_of_plan(None) is None
    for damaged in ({"photons": "many"}, {"photons": -1}, {"kspace_sigma": float("nan")}, {"kspace_sigma": None}):
        assert noise_of_plan(damaged) is None


def test_hybrids_take_both_changes_in_proportion():
    hybrid = torch.full((2, 1, 2, 2), 0.5)
    of_ct, of_mr = torch.full((2, 1, 2, 2), 0.2), torch.full((2, 1, 2, 2), -0.4)
    both = Changes(of_ct, of_mr)
    assert torch.allclose(blended(hybrid, 0.25, both), torch.tensor(0.5 + 0.75 * 0.2 - 0.25 * 0.4))
    assert torch.equal(blended(hybrid, 0.0, Changes()), hybrid)
    assert torch.allclose(blended(hybrid, 1.0, Changes(ct=of_ct)), hybrid)
    lam = torch.tensor([[[[0.0, 0.25], [0.5, 1.0]]]]).expand(2, 1, 2, 2)
    expected = torch.tensor([[0.7, 0.55], [0.4, 0.1]])
    assert torch.allclose(blended(hybrid, lam, both), expected.expand(2, 1, 2, 2))
    each = blended(hybrid, torch.tensor([0.0, 1.0]), both)
    assert torch.allclose(each[:, 0, 0, 0], torch.tensor([0.7, 0.1]))
    assert torch.allclose(blended(hybrid, 0.0, Changes(ct=3 * of_ct)), torch.ones(()))


def test_it_can_be_cancelled_within_a_slice():
    scanners, data, ct, mr = measured(PLAN)
    for given in ((ct, None), (None, mr)):
        asked = iter([False, False, True])
        with pytest.raises(Cancelled):
            changes(scanners, data, SensorNoise(), *given, job=Job(cancelled=lambda asked=asked: next(asked)))


def tiny() -> Reconstructor:
    torch.manual_seed(0)
    config = preset_config("msl-lite", width=4, token_dim=32, heads=2, head_dim=8, mlp_dim=32, token_grid=(3, 3))
    return Reconstructor(FakeLoaded(build("msl", config.to_dict()), "tiny"), "cpu", batch=4)


def arrays(result) -> list[np.ndarray]:
    return [sitk.GetArrayFromImage(image) for _, image in result.hybrids]


def by_hand(engine: Reconstructor, source, modalities, lam: float) -> torch.Tensor:
    """All slices at one lambda from the parts."""
    with torch.inference_mode():
        data = source.measure(source.occupied, engine.device)
        latent = engine.encode(source.scanners.images(data), modalities)
        ct, mr = engine.decode(latent, 0.0), engine.decode(latent, 1.0)
        image = engine.decode(latent, lam)
        noise = source.noise
        if "ct" in modalities:
            image = image + (1 - lam) * (consistent_ct(source.scanners.ct, data.sinogram, ct, noise.photons) - ct)
        if "mr" in modalities:
            corrected = consistent_mr(source.scanners.mr, data.kspace, mr, noise.kspace_sigma)
            image = image + lam * (corrected.abs().clamp(0, 1) - mr)
        return image.clamp(0, 1)


@pytest.mark.parametrize("modalities", [("ct", "mr"), ("ct",), ("mr",)])
@pytest.mark.parametrize("plan", [PLAN, NOISY])
def test_the_reconstructor_corrects_what_was_measured_and_seen(plan, modalities):
    ct, mr = ellipsoids()
    engine = tiny()
    field = np.full(ct.GetSize()[::-1], 0.3, np.float32)
    specs = [0.0, 0.3, 1.0, LambdaSpec("map", None, field)]
    found = arrays(engine.reconstruct(specs, ct=ct, mr=mr, plan=plan, modalities=modalities))
    source = engine.source(ct=ct, mr=mr, plan=plan, modalities=modalities)
    for lam, volume in zip((0.0, 0.3, 1.0), found, strict=False):
        expected = source.grid.from_network(by_hand(engine, source, modalities, lam)[:, 0].numpy())
        assert source.grid.turned(volume)[source.occupied] == pytest.approx(expected, abs=3e-5)
    assert found[3] == pytest.approx(found[1], abs=2e-5)
    off = arrays(engine.reconstruct(specs, ct=ct, mr=mr, plan=plan, modalities=modalities, consistency=False))
    changed = [np.abs(a - b).max() > 0.01 for a, b in zip(found, off, strict=True)]
    assert changed[0] == ("ct" in modalities)
    assert changed[2] == ("mr" in modalities)


def test_switched_off_nothing_changes():
    ct, mr = ellipsoids()
    engine = tiny()
    source = engine.source(ct=ct, mr=mr, plan=NOISY)
    result = engine.reconstruct([0.3], ct=ct, mr=mr, plan=NOISY, consistency=False)
    (found,) = arrays(result)
    assert result.report()["consistency"] is False
    with torch.inference_mode():
        for part in (source.occupied[:4], source.occupied[4:]):
            images = engine.measure(source, part)
            plain = engine.model.decode(engine.model.encode(*images), 0.3).float().clamp(0, 1)
            expected = source.grid.from_network(plain[:, 0].numpy())
            assert np.array_equal(source.grid.turned(found)[part], expected)


@pytest.mark.parametrize("cap", [10**9, 200_000])
@pytest.mark.parametrize("consistency", [True, False])
def test_session_and_reconstructor_agree(cap, consistency):
    ct, mr = ellipsoids()
    engine = tiny()
    (expected,) = arrays(engine.reconstruct([0.6], ct=ct, mr=mr, plan=NOISY, consistency=consistency))
    session = Session(engine, engine.source(ct=ct, mr=mr, plan=NOISY), cap=cap, consistency=consistency)
    session.encode()
    assert session.latents.nbytes <= cap
    tolerance = 2e-5 if session.latents.precision == "float32" else 5e-3
    for number in (0, 3, 5):
        assert session.plane(number, 0.6) == pytest.approx(expected[number], abs=tolerance)


def test_what_is_kept_counts_the_changes():
    ct, mr = ellipsoids()
    engine = tiny()
    source = engine.source(ct=ct, mr=mr, plan=PLAN)
    sizes = []
    for consistency in (True, False):
        session = Session(engine, source, consistency=consistency)
        session.encode()
        sizes.append(session.latents.nbytes // len(session.latents))
    assert sizes[0] - sizes[1] == 2 * 4 * 48 * 48


def test_a_sensors_file_tells_its_noise_or_shows_it(tmp_path):
    ct, mr = ellipsoids()
    engine = tiny()
    source = engine.source(ct=ct, mr=mr, plan=NOISY)
    assert isinstance(source, VolumeSource)
    (expected,) = arrays(engine.reconstruct([0.5], ct=ct, mr=mr, plan=NOISY))
    for plan, name in ((NOISY.to_dict(), "told.h5"), (None, "measured.h5")):
        header = SensorHeader(**{**source.header(), "plan": plan})
        with SensorWriter(tmp_path / name, header) as writer:
            batch = source.measure(source.occupied, engine.device)
            writer.write(source.occupied.tolist(), batch.sinogram[:, 0].numpy(), batch.kspace.numpy())
    with SensorReader(tmp_path / "told.h5") as reader:
        assert FileSource(reader).noise == SensorNoise(NOISY.photons, NOISY.kspace_sigma)
        (found,) = arrays(engine.reconstruct([0.5], sensors=reader))
        assert found == pytest.approx(expected, abs=2e-5)
    with SensorReader(tmp_path / "measured.h5") as reader:
        file = FileSource(reader)
        assert file.noise is file.noise
        # So coarse an image has edges up to the highest frequencies: they count as noise.
        assert NOISY.kspace_sigma < file.noise.kspace_sigma < 2 * NOISY.kspace_sigma
        assert 0.1 * NOISY.photons < file.noise.photons < NOISY.photons


def test_on_real_slices_no_slice_is_worse_than_its_sensor_image(shared_data):
    """Averaged templates, blurred far below what the network expects: where it is worst by itself."""
    from MSLFusionLib.commands.inputs import load_model
    from MSLFusionLib.io.volumes import read_volume

    folder = shared_data / "templates_mni"
    ct, mr = read_volume(folder / "scct.nii", "CT"), read_volume(folder / "T1.nii", "MR")
    engine = Reconstructor(load_model(None), "cpu")
    source = engine.source(ct=ct, mr=mr, plan=SamplingPlan(), job=NO_JOB)
    for number in source.occupied[[20, 70]]:
        part = np.array([number])
        images, encoded = engine.encoded(source, part)
        truths = source.truth(part)
        for lam, image, truth in zip((0.0, 1.0), images, truths, strict=True):
            found = engine.hybrid(encoded, lam)[0, 0].numpy()
            assert np.square(found - truth[0]).mean() < np.square(image[0, 0].numpy() - truth[0]).mean()
