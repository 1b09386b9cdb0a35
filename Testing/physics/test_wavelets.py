"""Wavelets: an orthogonal transform that is blind to smooth images, and a reconstruction better than zero-filled."""

import math

import pytest
import torch

from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.physics.masks import cartesian_mask
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.physics.wavelets import compose, decompose, levels_of, wavelet_mr
from MSLFusionLib.progress import Job


def smooth(size: int) -> torch.Tensor:
    """A round object with soft edges, and a spot (1, 1, size, size)."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, size),) * 2, indexing="ij")
    disc = torch.sigmoid((0.7 - torch.hypot(x, y)) * size / 2)
    return (disc * (0.6 + 0.2 * x) + 0.3 * (torch.hypot(x - 0.3, y) < 0.15))[None, None]


@pytest.mark.parametrize("shape", [(32, 48), (4, 16)])
def test_the_transform_is_orthogonal(shape):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn((2, 3, 1, *shape), generator=generator, dtype=torch.float64)
    levels = levels_of(shape)
    torch.testing.assert_close(compose(decompose(a, levels), levels), a)
    assert float((decompose(a, levels) * decompose(b, levels)).sum()) == pytest.approx(float((a * b).sum()))


def test_cubic_images_have_no_details_but_at_the_edges():
    y, x = torch.meshgrid(*(torch.arange(64, dtype=torch.float64) / 64,) * 2, indexing="ij")
    coefficients = decompose((x**3 - y**2 + x * y)[None, None], 1)
    assert float(coefficients[0, 0, :28, 32:60].abs().max()) < 1e-9
    assert float(coefficients[0, 0, :28, :28].abs().max()) > 0.1


def test_undersampled_kspace():
    truth = smooth(64)
    operator = CartesianMR(cartesian_mask(64, 3, seed=3))
    kspace = operator.forward(truth)
    zero_filled = operator.zero_filled(kspace)
    real = wavelet_mr(operator, kspace, 3e-3, 150, non_negative=True)
    assert not real.is_complex()
    assert float(real.min()) >= 0
    assert float((real - truth).norm()) < 0.4 * float((zero_filled - truth).norm())
    turn = torch.polar(torch.ones(64, 64), torch.linspace(0, 2, 64).expand(64, 64))
    turned = wavelet_mr(operator, operator.forward(truth * turn), 3e-3, 150)
    assert float((turned.abs() - truth).norm()) < 0.9 * float((zero_filled - truth).norm())
    official = CartesianMR(operator.mask, convention="official")
    same = wavelet_mr(official, official.forward(truth), 3e-3, 20, non_negative=True)
    assert float((same - truth).norm()) < 0.6 * float((zero_filled - truth).norm())


def test_a_weight_for_each_slice():
    truth = smooth(32)
    operator = CartesianMR(cartesian_mask(32, 3, seed=3))
    kspace = operator.forward(torch.cat([truth, truth]))
    both = wavelet_mr(operator, kspace, torch.tensor([1e-3, 0.1]), 10)
    for n, weight in enumerate((1e-3, 0.1)):
        torch.testing.assert_close(both[n : n + 1], wavelet_mr(operator, kspace[:1], weight, 10))


def test_impossible_settings_are_refused():
    operator = CartesianMR(cartesian_mask(9, 2))
    with pytest.raises(InputError, match="even sides"):
        wavelet_mr(operator, torch.zeros((1, 1, 9, 9), dtype=torch.complex64), 0.1)
    with pytest.raises(InputError, match="at least one iteration"):
        wavelet_mr(operator, torch.zeros((1, 1, 8, 9), dtype=torch.complex64), 0.1, 0)
    with pytest.raises(InputError, match="weight"):
        wavelet_mr(operator, torch.zeros((1, 1, 8, 9), dtype=torch.complex64), math.nan)
    even = CartesianMR(cartesian_mask(16, 2))
    with pytest.raises(Cancelled):
        wavelet_mr(even, torch.zeros((1, 1, 16, 16), dtype=torch.complex64), 0.1, job=Job(cancelled=lambda: True))
