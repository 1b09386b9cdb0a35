"""Cartesian MR: conventions, adjoint, coils, gradients."""

import numpy as np
import pytest
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.masks import SamplingMask, cartesian_mask
from MSLFusionLib.physics.mr import CONVENTIONS, CartesianMR, fourier, inverse_fourier

FULL = SamplingMask(np.ones(40, dtype=bool))


def random_complex(*shape, seed=0, dtype=torch.complex128):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(30, 40), (31, 41)])
def test_conventions_match_numpy(shape):
    image = random_complex(*shape)
    array = image.numpy()
    centred = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(array), norm="ortho"))
    np.testing.assert_allclose(fourier(image).numpy(), centred, atol=1e-12)
    np.testing.assert_allclose(fourier(image, "official").numpy(), np.fft.fftshift(np.fft.fft2(array)), atol=1e-10)
    for convention in CONVENTIONS:
        torch.testing.assert_close(inverse_fourier(fourier(image, convention), convention), image)


def test_centred_convention_puts_a_centred_point_at_zero_phase():
    image = torch.zeros(1, 1, 30, 40)
    image[..., 15, 20] = 1.0
    kspace = CartesianMR(FULL).forward(image)
    assert kspace.dtype == torch.complex64
    torch.testing.assert_close(kspace, torch.full_like(kspace, 1200**-0.5), atol=1e-7, rtol=0)


def test_a_wave_along_x_lands_in_its_column():
    x = torch.arange(40, dtype=torch.float64)
    image = torch.cos(2 * torch.pi * 7 * x / 40).expand(1, 1, 30, 40)
    magnitude = fourier(image).abs()[0, 0]
    assert sorted(torch.nonzero(magnitude > 1).tolist()) == [[15, 13], [15, 27]]


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("coils", [None, 3])
def test_the_adjoint_is_exact(convention, coils):
    maps = None if coils is None else random_complex(coils, 30, 40, seed=1)
    operator = CartesianMR(cartesian_mask(40, 4, seed=2), maps, convention)
    image = random_complex(2, 1, 30, 40, seed=3)
    kspace = random_complex(2, coils or 1, 30, 40, seed=4)
    left = torch.vdot(operator.forward(image).flatten(), kspace.flatten())
    right = torch.vdot(image.flatten(), operator.adjoint(kspace).flatten())
    assert abs(left - right) / abs(left) < 1e-12


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_unmeasured_columns_are_zero_and_measured_ones_untouched(convention):
    mask = cartesian_mask(40, 4, seed=2)
    image = random_complex(1, 1, 30, 40).real
    kspace = CartesianMR(mask, convention=convention).forward(image)
    full = fourier(image, convention)
    columns = torch.tensor(mask.columns)
    assert (kspace[..., ~columns] == 0).all()
    assert (kspace[..., columns] == full[..., columns]).all()


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("coils", [None, 4])
def test_full_sampling_gives_the_magnitude_back(convention, coils):
    maps = None if coils is None else random_complex(coils, 30, 40, seed=5)
    operator = CartesianMR(FULL, maps, convention)
    image = random_complex(2, 1, 30, 40, seed=6)
    torch.testing.assert_close(operator.zero_filled(operator.forward(image)), image.abs())


def test_coils_without_maps_combine_by_root_sum_of_squares():
    maps = random_complex(4, 30, 40, seed=5)
    image = random_complex(1, 1, 30, 40, seed=6)
    kspace = CartesianMR(FULL, maps).forward(image)
    expected = (maps.abs().square().sum(0, keepdim=True)).sqrt() * image.abs()
    torch.testing.assert_close(CartesianMR(FULL).zero_filled(kspace), expected)
    with pytest.raises(InputError, match="coil maps"):
        CartesianMR(FULL).adjoint(kspace)


def test_maps_of_zero_sensitivity_give_zero_not_nan():
    maps = torch.zeros(2, 30, 40, dtype=torch.complex64)
    operator = CartesianMR(FULL, maps)
    assert (operator.zero_filled(operator.forward(torch.ones(1, 1, 30, 40))) == 0).all()


def test_gradients():
    mask = cartesian_mask(8, 2, seed=1)
    operator = CartesianMR(mask, random_complex(2, 6, 8, seed=7))
    image = torch.rand(1, 1, 6, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: operator.zero_filled(operator.forward(x)) ** 2, (image,))


@pytest.mark.parametrize("shape", [(1, 30, 40), (1, 2, 30, 40), (1, 1, 30, 39)])
def test_images_that_do_not_fit_are_refused(shape):
    with pytest.raises(InputError):
        CartesianMR(FULL).forward(torch.zeros(shape))


def test_unknown_convention_and_unfitting_maps_are_refused():
    with pytest.raises(InputError, match="convention"):
        CartesianMR(FULL, convention="backwards")
    with pytest.raises(InputError, match="Coil maps"):
        CartesianMR(FULL, random_complex(4, 30, 39))
