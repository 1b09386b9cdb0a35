"""Noise: the right statistics, seeded, and defined where photons run out."""

import math

import numpy as np
import pytest
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.masks import cartesian_mask
from MSLFusionLib.physics.noise import gaussian_kspace, poisson_sinogram
from MSLFusionLib.physics.units import MU_MAX


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mu_per_unit", [1.0, MU_MAX])
def test_poisson_noise_has_the_variance_of_counting(mu_per_unit):
    integral, photons = 2.0, 1e4
    clean = torch.full((1, 1, 400, 500), integral / mu_per_unit)
    noisy = poisson_sinogram(clean, photons, seeded(), mu_per_unit) * mu_per_unit
    expected = photons * math.exp(-integral)
    assert noisy.mean().item() == pytest.approx(integral + 0.5 / expected, abs=5e-4)  # log of a Poisson mean
    assert noisy.std().item() == pytest.approx(expected**-0.5, rel=0.01)


def test_more_photons_less_noise_and_no_object_no_bias():
    clean = torch.zeros(1, 1, 64, 64)
    spread = [poisson_sinogram(clean, photons, seeded()).std().item() for photons in (1e3, 1e5, 1e7)]
    assert spread[0] > 5 * spread[1] > 25 * spread[2] > 0
    assert abs(poisson_sinogram(clean, 1e7, seeded()).mean().item()) < 1e-4


def test_starved_rays_stay_finite():
    noisy = poisson_sinogram(torch.full((1, 1, 8, 8), 200.0), 1e4, seeded())
    torch.testing.assert_close(noisy, torch.full_like(noisy, math.log(2e4)))


def test_kspace_noise_is_complex_gaussian_on_measured_columns_only():
    mask = cartesian_mask(256, 4, seed=1)
    clean = torch.full((1, 2, 512, 256), 3 + 4j, dtype=torch.complex64) * torch.tensor(mask.columns)
    noise = gaussian_kspace(clean, 0.5, seeded(), mask) - clean
    measured = noise[..., torch.tensor(mask.columns)]
    assert (noise[..., torch.tensor(~mask.columns)] == 0).all()
    for part in (measured.real, measured.imag):
        assert part.std().item() == pytest.approx(0.5, rel=0.02)
        assert abs(part.mean().item()) < 0.01
    assert abs(np.corrcoef(measured.real.flatten(), measured.imag.flatten())[0, 1]) < 0.02
    assert gaussian_kspace(clean, 0.5, seeded()).dtype == torch.complex64


def test_the_generator_decides():
    sinogram, kspace = torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.complex64)
    for draw in (
        lambda seed: poisson_sinogram(sinogram, 1e4, seeded(seed)),
        lambda seed: gaussian_kspace(kspace, 1.0, seeded(seed)),
    ):
        torch.testing.assert_close(draw(1), draw(1), rtol=0, atol=0)
        assert (draw(1) != draw(2)).any()


@pytest.mark.parametrize("photons", [0, -1, float("nan"), float("inf")])
def test_useless_photon_counts_are_refused(photons):
    with pytest.raises(InputError, match="photon"):
        poisson_sinogram(torch.ones(1, 1, 2, 2), photons, seeded())


def test_useless_kspace_noise_is_refused():
    kspace = torch.ones(1, 1, 8, 8, dtype=torch.complex64)
    with pytest.raises(InputError, match="noise"):
        gaussian_kspace(kspace, -1.0, seeded())
    with pytest.raises(InputError, match="noise"):
        gaussian_kspace(kspace, float("nan"), seeded())
    with pytest.raises(InputError, match="mask"):
        gaussian_kspace(kspace, 1.0, seeded(), cartesian_mask(9, 2))
