"""Total variation: the minimum it should find, what it does better, and that slices do not mix."""

import math

import numpy as np
import pytest
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.analytic import Ellipse, ellipse_image
from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.iterative import sirt
from MSLFusionLib.physics.masks import SamplingMask, cartesian_mask
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.physics.total_variation import divergence, gradient, tv_ct, tv_mr

SIZE = 48
ELLIPSES = [Ellipse(0.02, 18, 20), Ellipse(0.01, 6, 8, 5, 4), Ellipse(-0.01, 4, 4, -7, -5)]


def few_views(views: int = 12) -> FanBeamGeometry:
    return FanBeamGeometry.covering((SIZE, SIZE), 1.0, views)


def total_variation(image: torch.Tensor) -> float:
    return float(gradient(image).abs().square().sum(0).sqrt().sum())


def test_divergence_is_the_negative_transpose_of_the_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((2, 1, 7, 9), generator=generator, dtype=torch.float64)
    p = torch.randn((2, 2, 1, 7, 9), generator=generator, dtype=torch.float64)
    assert float((gradient(x) * p).sum()) == pytest.approx(-float((x * divergence(p)).sum()))


def test_a_full_mask_gives_the_denoised_image_that_the_optimality_conditions_ask_for() -> None:
    """With A unitary, x = y - a div-part: the residual's largest dual length is a, and no neighbour does better."""
    image = ellipse_image(few_views(), ELLIPSES)
    noisy = image + 0.002 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    operator = CartesianMR(SamplingMask(np.ones(SIZE, bool)))
    found = tv_mr(operator, operator.forward(noisy), 0.05, iterations=600).real
    alpha = 0.05 * float(noisy.abs().max())

    def objective(x: torch.Tensor) -> float:
        return 0.5 * float((x - noisy).square().sum()) + alpha * total_variation(x)

    best = objective(found)
    assert best < objective(image)
    for seed in range(5):
        step = 1e-4 * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
        assert objective(found + step) > best
    assert objective(found * 1.001) > best - 1e-9
    assert objective(found * 0.999) > best - 1e-9


def test_few_views_of_a_piecewise_constant_image() -> None:
    geometry = few_views()
    operator = ct_operator(geometry)
    truth = ellipse_image(geometry, ELLIPSES)
    sinogram = operator.forward(truth)
    found = tv_ct(operator, sinogram, 1e-3, 300)
    plain = sirt(operator, sinogram, 300, non_negative=True)
    assert float(found.min()) >= 0
    assert float((found - truth).norm()) < 0.4 * float((plain - truth).norm())
    assert float((operator.forward(found) - sinogram).norm() / sinogram.norm()) < 0.01


def test_undersampled_kspace_of_several_coils() -> None:
    truth = ellipse_image(few_views(), ELLIPSES) / 0.03
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, SIZE),) * 2, indexing="ij")
    maps = torch.stack([torch.exp(-((x - a) ** 2 + (y - b) ** 2)) * complex(math.cos(a), math.sin(b))
                        for a, b in ((-1, 0), (1, 0), (0, 1))])  # fmt: skip
    operator = CartesianMR(cartesian_mask(SIZE, 3, seed=3), maps)
    kspace = operator.forward(truth)
    found = tv_mr(operator, kspace, 1e-3, 300)
    assert found.is_complex()
    zero_filled = operator.zero_filled(kspace)
    assert float((found.abs() - truth).norm()) < 0.4 * float((zero_filled - truth).norm())


def test_slices_do_not_mix() -> None:
    geometry = few_views(6)
    operator = ct_operator(geometry)
    truth = ellipse_image(geometry, ELLIPSES)
    sinogram = operator.forward(torch.cat([truth, 7 * truth, 0 * truth]))
    together = tv_ct(operator, sinogram, 1e-2, 20)
    alone = tv_ct(operator, sinogram[1:2], 1e-2, 20)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-6)
    assert float(together[2].abs().max()) == 0


def test_impossible_settings_are_refused() -> None:
    operator = ct_operator(few_views(3))
    data = torch.zeros((1, 1, 3, operator.geometry.bins))
    with pytest.raises(InputError, match="at least one iteration"):
        tv_ct(operator, data, 0.1, 0)
    with pytest.raises(InputError, match="weight"):
        tv_ct(operator, data, math.nan, 1)
