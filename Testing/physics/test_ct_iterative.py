"""SIRT and CGLS: convergence, limited angles, empty slices, gradients, cancelling."""

from dataclasses import replace

import pytest
import torch

from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.physics.analytic import Ellipse, ellipse_image, ellipse_sinogram, shepp_logan
from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.iterative import cgls, sirt
from MSLFusionLib.progress import Job, Progress


@pytest.fixture(scope="module")
def geometry() -> FanBeamGeometry:
    return FanBeamGeometry.covering((64, 64), 4.0, 40)


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_both_beat_filtered_backprojection_at_few_views(geometry: FanBeamGeometry) -> None:
    operator = ct_operator(geometry)
    phantom = shepp_logan(128)
    sinogram, truth = ellipse_sinogram(geometry, phantom), ellipse_image(geometry, phantom)
    fbp = error(operator.fbp(sinogram), truth)
    assert error(sirt(operator, sinogram, 60, non_negative=True), truth) < 0.9 * fbp
    assert error(cgls(operator, sinogram, 12), truth) < fbp


def test_both_solve_consistent_data(geometry: FanBeamGeometry) -> None:
    operator = ct_operator(geometry)
    image = ellipse_image(geometry, [Ellipse(1.0, 70, 50, 10, -20, 0.3)])
    sinogram = operator.forward(image)
    assert error(operator.forward(cgls(operator, sinogram, 40)), sinogram) < 1e-3
    assert error(operator.forward(sirt(operator, sinogram, 100)), sinogram) < 1e-2


def test_a_limited_scan_is_reconstructed(geometry: FanBeamGeometry) -> None:
    limited = replace(geometry, angles=geometry.angles[:22], scan="limited")
    operator = ct_operator(limited)
    image = ellipse_image(limited, [Ellipse(1.0, 60, 60)])
    sinogram = operator.forward(image)
    assert error(sirt(operator, sinogram, 80, non_negative=True), image) < 0.25
    assert error(cgls(operator, sinogram, 30), image) < 0.25


def test_sirt_goes_on_from_an_initial_image(geometry: FanBeamGeometry) -> None:
    operator = ct_operator(geometry)
    sinogram = operator.forward(ellipse_image(geometry, [Ellipse(1.0, 60, 40)]))
    there = sirt(operator, sinogram, 6)
    torch.testing.assert_close(sirt(operator, sinogram, 3, initial=sirt(operator, sinogram, 3)), there)


def test_an_empty_slice_stays_empty_beside_another(geometry: FanBeamGeometry) -> None:
    operator = ct_operator(geometry)
    image = torch.cat([torch.zeros(1, 1, 64, 64), ellipse_image(geometry, [Ellipse(1.0, 60, 40)])])
    sinogram = operator.forward(image)
    both = cgls(operator, sinogram, 8)
    assert torch.count_nonzero(both[0]) == 0
    torch.testing.assert_close(both[1:], cgls(operator, sinogram[1:], 8), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [sirt, cgls])
def test_gradients_reach_the_sinogram(method) -> None:
    small = ct_operator(FanBeamGeometry.covering((8, 8), 20.0, 6))
    sinogram = small.forward(torch.rand((1, 1, 8, 8), generator=torch.Generator().manual_seed(1))).requires_grad_()
    method(small, sinogram, 3).sum().backward()
    assert sinogram.grad is not None
    assert torch.isfinite(sinogram.grad).all()
    assert sinogram.grad.abs().sum() > 0


@pytest.mark.parametrize("method", [sirt, cgls])
def test_progress_and_cancel(method, geometry: FanBeamGeometry) -> None:
    operator = ct_operator(geometry)
    sinogram = torch.ones((1, 1, geometry.views, geometry.bins))
    seen: list[Progress] = []
    method(operator, sinogram, 3, job=Job(report=seen.append))
    assert [step.done for step in seen] == [0, 1, 2, 3]
    with pytest.raises(Cancelled):
        method(operator, sinogram, 3, job=Job(cancelled=lambda: True))


@pytest.mark.parametrize("method", [sirt, cgls])
def test_no_iterations_are_refused(method, geometry: FanBeamGeometry) -> None:
    with pytest.raises(InputError, match="iteration"):
        method(ct_operator(geometry), torch.ones((1, 1, geometry.views, geometry.bins)), 0)
