"""Residuals brought back to the image: nothing for the truth, the place and size of what is wrong else."""

import pytest
import torch

from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.masks import SamplingMask, cartesian_mask
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.physics.noise import gaussian_kspace, poisson_sinogram
from MSLFusionLib.physics.units import MU_MAX
from MSLFusionLib.recon.noise_level import SensorNoise
from MSLFusionLib.recon.residual import residual_of_ct, residual_of_mr, residuals
from MSLFusionLib.recon.simulate import Scanners, SensorBatch

N, PIXEL = 64, 4.0
SPOT = (slice(28, 36), slice(38, 46))


def disk() -> torch.Tensor:
    """A disk of 0.4, the truth, (1, 1, N, N)."""
    axis = torch.arange(N) - (N - 1) / 2
    return 0.4 * (torch.hypot(axis[:, None], axis) < 24).float()[None, None]


def with_spot(image: torch.Tensor) -> torch.Tensor:
    wrong = image.clone()
    wrong[0, 0][SPOT] += 0.2
    return wrong


def scanners(views: int = 96, mask: SamplingMask | None = None, scan: str = "full") -> Scanners:
    geometry = FanBeamGeometry.covering((N, N), PIXEL, views)
    if scan == "limited":
        half = FanBeamGeometry.covering((N, N), PIXEL, views).angles[: views // 2]
        geometry = FanBeamGeometry(**{**geometry.__dict__, "angles": half, "scan": "limited"})
    return Scanners(ct_operator(geometry), CartesianMR(mask or cartesian_mask(N, 2)))


@pytest.mark.parametrize("scan", ["full", "limited"])
def test_ct_residual_shows_what_is_wrong_where_it_is(scan):
    both, truth = scanners(scan=scan), disk()
    assert both.ct is not None
    sinogram = both.ct.forward(truth * MU_MAX)
    right = residual_of_ct(both, sinogram, truth, SensorNoise())
    assert float(right.map.max()) < 1e-3
    assert right.squared < 1e-8 * right.of_data
    wrong = residual_of_ct(both, sinogram, with_spot(truth), SensorNoise())
    inside = float(wrong.map[0, 0][SPOT].mean())
    assert inside > 3 * float(wrong.map.mean())
    if scan == "full":  # plain backprojection blurs it
        assert inside == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("convention", ["centred-ortho", "official"])
def test_mr_residual_is_in_units_of_the_image(convention):
    operator = CartesianMR(SamplingMask(torch.ones(N, dtype=torch.bool).numpy()), None, convention)
    truth = disk()
    kspace = operator.forward(truth)
    assert float(residual_of_mr(operator, kspace, truth, SensorNoise()).map.max()) < 1e-5
    wrong = residual_of_mr(operator, kspace, with_spot(truth), SensorNoise())
    assert float(wrong.map[0, 0][SPOT].mean()) == pytest.approx(0.2, abs=1e-4)
    assert float(wrong.map[0, 0, :20].max()) < 1e-4


def test_the_phase_of_the_measurement_is_no_contradiction():
    operator = CartesianMR(SamplingMask(torch.ones(N, dtype=torch.bool).numpy()))
    smooth = torch.exp(1j * torch.linspace(-1, 1, N))[None, :].expand(N, N)
    truth = disk()
    kspace = operator.forward(truth * smooth)
    found = residual_of_mr(operator, kspace, truth, SensorNoise())
    assert found.squared < 0.01 * found.of_data


def test_noise_alone_makes_the_residual_that_is_expected():
    both, truth = scanners(), disk()
    assert both.ct is not None
    assert both.mr is not None
    generator = torch.Generator().manual_seed(0)
    noise = SensorNoise(1e4, 0.05)
    sinogram = poisson_sinogram(both.ct.forward(truth * MU_MAX), 1e4, generator)
    kspace = gaussian_kspace(both.mr.forward(truth), 0.05, generator, both.mr.mask)
    found = residuals(both, SensorBatch(sinogram, kspace), noise, truth, truth)
    for one in found.values():
        assert one.squared == pytest.approx(one.of_noise, rel=0.1)


def test_coils_are_combined_with_maps_from_their_centre():
    axis = torch.linspace(-1, 1, N)
    maps = torch.stack([1 + 0.5 * axis[:, None].expand(N, N), 1 - 0.5 * axis[None].expand(N, N)]).to(torch.complex64)
    mask = cartesian_mask(N, 2, centre_fraction=0.4)
    truth = disk()
    kspace = CartesianMR(mask, maps).forward(truth)
    alone = CartesianMR(mask)
    power = (maps.abs() ** 2).sum(0).sqrt()
    # What coils show together without maps is the root of the sum of their squares.
    right, wrong = (residual_of_mr(alone, kspace, image * power, SensorNoise()) for image in (truth, with_spot(truth)))
    assert right.squared < 0.05 * right.of_data
    assert float(wrong.map[0, 0][SPOT].mean()) > 3 * float(right.map.mean())


def test_only_what_is_measured_and_asked_for_is_compared():
    both, truth = scanners(), disk()
    data = both.measure(truth, truth, [0])
    assert set(residuals(both, data, SensorNoise(), truth, None)) == {"ct"}
    assert set(residuals(both, SensorBatch(None, data.kspace), SensorNoise(), truth, truth)) == {"mr"}
