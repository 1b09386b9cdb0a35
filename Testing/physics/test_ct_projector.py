"""Forward projection and its adjoint: against independent implementations, against each other, and through autograd."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics import builtin
from MSLFusionLib.physics.analytic import Ellipse, ellipse_image, ellipse_sinogram
from MSLFusionLib.physics.builtin import BuiltinOperator
from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry

REFERENCE = Path(__file__).parent / "data" / "astra_fanbeam.npz"
PATHS = pytest.mark.parametrize("stored", [True, False], ids=["sparse", "onthefly"])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that both paths really work in several blocks at the sizes of these tests."""
    monkeypatch.setattr(builtin, "_BLOCK_BYTES", 2**18)
    monkeypatch.setattr(builtin, "_CACHED_PIXELS", 500)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def ray_sums(geometry: FanBeamGeometry, image: np.ndarray) -> np.ndarray:
    """Line integrals by sampling each ray finely: slow, plain, and sharing no code with the projector."""
    height, width = image.shape
    reach = geometry.diagonal_mm / 2
    sinogram = np.zeros((geometry.views, geometry.bins))
    for view, angle in enumerate(geometry.angles):
        source = geometry.source_origin_mm * np.array([np.sin(angle), -np.cos(angle)])
        centre = geometry.origin_detector_mm * np.array([-np.sin(angle), np.cos(angle)])
        for k in range(geometry.bins):
            u = (k - (geometry.bins - 1) / 2) * geometry.pitch_mm + geometry.offset_mm
            ray = centre + u * np.array([np.cos(angle), np.sin(angle)]) - source
            ray /= np.hypot(*ray)
            nearest = -source @ ray
            along = np.linspace(nearest - reach, nearest + reach, 600)
            x, y = source[:, None] + ray[:, None] * along
            rows = (height - 1) / 2 - y / geometry.pixel_mm
            columns = x / geometry.pixel_mm + (width - 1) / 2
            sinogram[view, k] = map_coordinates(image, [rows, columns], order=1).sum() * (along[1] - along[0])
    return sinogram


@PATHS
@pytest.mark.parametrize("offset", [0.0, 6.3])
def test_forward_agrees_with_sampled_rays(stored: bool, offset: float, small_blocks: None) -> None:
    geometry = FanBeamGeometry.covering((40, 56), 2.0, 9, offset_mm=offset)
    y, x = np.mgrid[:40, :56]
    image = np.exp(-((x - 20) ** 2 + (y - 12) ** 2) / 40) + 0.5 * np.exp(-((x - 38) ** 2 + (y - 28) ** 2) / 20)
    wanted = torch.from_numpy(ray_sums(geometry, image)).float()
    found = BuiltinOperator(geometry, stored=stored).forward(torch.from_numpy(image).float()[None, None])
    assert relative(found[0, 0], wanted) < 3e-3


@PATHS
@pytest.mark.parametrize("scan", ["full", "short"])
def test_forward_and_adjoint_agree_with_astra(stored: bool, scan: str, small_blocks: None) -> None:
    with np.load(REFERENCE) as data:
        geometry = FanBeamGeometry.from_dict(json.loads(str(data[f"{scan}_geometry"])))
        image, sinogram, weights, back = (
            torch.from_numpy(data[f"{scan}_{name}"])[None, None]
            for name in ("image", "sinogram", "data", "backprojection")
        )
    operator = BuiltinOperator(geometry, stored=stored)
    assert relative(operator.forward(image), sinogram) < 0.01
    # Strips and Joseph's rays spread over pixels differently; over 4 x 4 pixels they must agree.
    assert relative(F.avg_pool2d(operator.adjoint(weights), 4), F.avg_pool2d(back, 4)) < 0.01


@pytest.mark.parametrize("offset", [0.0, 0.7])
def test_forward_of_an_ellipse_is_its_chords(offset: float) -> None:
    geometry = FanBeamGeometry.covering((256, 256), 1.0, 24, offset_mm=offset)
    ellipses = [Ellipse(0.02, 80, 60, 11, -17, 0.5), Ellipse(0.01, 20, 30, -8, 10, -0.3)]
    operator = ct_operator(geometry)
    assert relative(operator.forward(ellipse_image(geometry, ellipses)), ellipse_sinogram(geometry, ellipses)) < 3e-3


@PATHS
@pytest.mark.parametrize("scan", ["full", "short", "limited"])
def test_adjoint_is_the_transpose(stored: bool, scan: str, small_blocks: None) -> None:
    geometry = FanBeamGeometry.covering((72, 56), 1.7, 13, scan="short" if scan == "short" else "full")
    if scan == "limited":
        geometry = replace(geometry, angles=(0.1, 0.2, 1.5, -3.0), scan="limited", offset_mm=9.0)
    operator = BuiltinOperator(geometry, stored=stored)
    generator = torch.Generator().manual_seed(3)
    image = torch.randn((3, 1, 72, 56), generator=generator)
    data = torch.randn((3, 1, geometry.views, geometry.bins), generator=generator)
    forward, adjoint = operator.forward(image), operator.adjoint(data)
    left, right = (forward.double() * data).sum(), (image.double() * adjoint).sum()
    assert abs(left - right) / (forward.norm() * data.norm()) < 1e-6


def test_both_paths_are_the_same_operator(small_blocks: None) -> None:
    geometry = FanBeamGeometry.covering((50, 50), 2.0, 20)
    stored, fly = (BuiltinOperator(geometry, stored=stored) for stored in (True, False))
    generator = torch.Generator().manual_seed(4)
    image = torch.rand((5, 1, 50, 50), generator=generator)
    sinogram = stored.forward(image)
    # They add in another order, nothing more.
    assert relative(fly.forward(image), sinogram) < 1e-6
    assert relative(fly.adjoint(sinogram), stored.adjoint(sinogram)) < 1e-6
    assert relative(fly.fbp(sinogram), stored.fbp(sinogram)) < 1e-6
    assert fly.stored_bytes == 0
    assert stored.stored_bytes > 0


@PATHS
@pytest.mark.parametrize("name", ["forward", "adjoint", "fbp"])
def test_gradients(stored: bool, name: str) -> None:
    geometry = FanBeamGeometry.covering((4, 3), 40.0, 3)
    operator = BuiltinOperator(geometry, stored=stored)
    shape = geometry.image_shape if name == "forward" else (geometry.views, geometry.bins)
    value = torch.rand((2, 1, *shape), generator=torch.Generator().manual_seed(5)).double().requires_grad_()

    def function(tensor: torch.Tensor) -> torch.Tensor:
        return getattr(operator, name)(tensor).double()

    # The operators are linear: a large step costs no accuracy and keeps float32 rounding away.
    assert torch.autograd.gradcheck(function, (value,), eps=1.0, atol=1e-3, rtol=1e-3)
    assert torch.autograd.gradgradcheck(
        lambda tensor: function(tensor).square(), (value,), eps=1.0, atol=1.0, rtol=1e-2
    )


def test_a_batch_is_its_slices() -> None:
    geometry = FanBeamGeometry.covering((24, 24), 2.0, 6)
    operator = ct_operator(geometry)
    images = torch.rand((35, 1, 24, 24), generator=torch.Generator().manual_seed(6))
    together = operator.forward(images)
    for index in (0, 17, 34):
        torch.testing.assert_close(together[index : index + 1], operator.forward(images[index : index + 1]))
    assert operator.forward(images[:0]).shape == (0, 1, 6, geometry.bins)


def test_other_precisions_and_strides_are_taken() -> None:
    geometry = FanBeamGeometry.covering((24, 24), 2.0, 6)
    operator = ct_operator(geometry)
    image = torch.rand((2, 1, 24, 24), generator=torch.Generator().manual_seed(7))
    wanted = operator.forward(image)
    assert operator.forward(image.double()).dtype == torch.float32
    torch.testing.assert_close(operator.forward(image.double()), wanted)
    torch.testing.assert_close(operator.forward(image.transpose(2, 3).contiguous().transpose(2, 3)), wanted)
    assert relative(operator.forward(image.bfloat16()), wanted) < 5e-3


def test_one_pixel_and_one_ray() -> None:
    geometry = FanBeamGeometry((1, 1), 2.0, 100.0, 100.0, 1, 1.0, (0.0,), scan="limited")
    assert ct_operator(geometry).forward(torch.ones(1, 1, 1, 1)).item() == pytest.approx(2.0)


def test_rays_beside_the_image_are_zero() -> None:
    geometry = replace(FanBeamGeometry.covering((16, 16), 1.0, 4), offset_mm=500.0)
    assert torch.count_nonzero(ct_operator(geometry).forward(torch.ones(1, 1, 16, 16))) == 0


@pytest.mark.parametrize(
    "image", [torch.ones(16, 16), torch.ones(1, 2, 16, 16), torch.ones(1, 1, 16, 17), torch.ones(1, 1, 16, 16) * 1j]
)
def test_an_image_that_does_not_fit_is_refused(image: torch.Tensor) -> None:
    with pytest.raises(InputError, match="image"):
        ct_operator(FanBeamGeometry.covering((16, 16), 1.0, 4)).forward(image)


def test_a_tensor_on_another_device_is_refused() -> None:
    operator = ct_operator(FanBeamGeometry.covering((16, 16), 1.0, 4))
    with pytest.raises(InputError, match="meta"):
        operator.forward(torch.ones((1, 1, 16, 16), device="meta"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@PATHS
def test_cuda_agrees_with_the_processor(stored: bool, small_blocks: None) -> None:
    geometry = FanBeamGeometry.covering((128, 96), 1.0, 30, scan="short")
    image = torch.rand((3, 1, 128, 96), generator=torch.Generator().manual_seed(8))
    host, cuda = (BuiltinOperator(geometry, device, stored) for device in ("cpu", "cuda"))
    sinogram = host.forward(image)
    assert relative(cuda.forward(image.cuda()).cpu(), sinogram) < 1e-5
    assert relative(cuda.adjoint(sinogram.cuda()).cpu(), host.adjoint(sinogram)) < 1e-5
    assert relative(cuda.fbp(sinogram.cuda()).cpu(), host.fbp(sinogram)) < 1e-5


def test_matrices_made_in_inference_mode_serve_training_too() -> None:
    operator = BuiltinOperator(FanBeamGeometry.covering((12, 12), 4.0, 5))
    image = torch.ones((1, 1, 12, 12))
    with torch.inference_mode():
        operator.adjoint(operator.forward(image))
    image.requires_grad_()
    operator.forward(image).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
