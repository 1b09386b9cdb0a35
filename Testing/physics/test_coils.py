"""Coil maps from k-space alone, masks of points, and k-space evaluated on another grid."""

import math

import numpy as np
import pytest
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.analytic import Ellipse, ellipse_image
from MSLFusionLib.physics.coils import calibration_region, espirit_maps
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.masks import PointMask, SamplingMask, cartesian_mask, mask_from_dict, mask_of
from MSLFusionLib.physics.mr import CartesianMR, fourier
from MSLFusionLib.physics.mr_grid import GridMR
from MSLFusionLib.physics.total_variation import tv_mr

ROWS, COLUMNS = 60, 64


def head() -> torch.Tensor:
    grid = FanBeamGeometry.covering((ROWS, COLUMNS), 1.0, 4)
    return ellipse_image(grid, [Ellipse(1.0, 24, 27), Ellipse(-0.5, 8, 12, -6, 4, 0.4), Ellipse(0.3, 4, 4, 9, -9)])


def true_maps(coils: int = 8) -> torch.Tensor:
    """Smooth complex sensitivities around the head, their root sum of squares 1."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, ROWS), torch.linspace(-1, 1, COLUMNS), indexing="ij")
    turns = 2 * math.pi * torch.arange(coils) / coils
    distance = [(x - 1.2 * math.cos(t)) ** 2 + (y - 1.2 * math.sin(t)) ** 2 for t in turns.tolist()]
    maps = torch.stack([torch.exp(-0.6 * d + 1j * (t + 0.5 * x - 0.7 * y * math.cos(t)))
                        for d, t in zip(distance, turns.tolist(), strict=True)])  # fmt: skip
    return maps / torch.linalg.vector_norm(maps, dim=0)


def test_espirit_finds_the_maps_that_were_used() -> None:
    maps, image = true_maps(), head()
    mask = cartesian_mask(COLUMNS, 3, seed=1, centre_fraction=0.26)
    kspace = CartesianMR(mask, maps).forward(image)[0]
    found = espirit_maps(kspace, np.broadcast_to(mask.columns, (ROWS, COLUMNS)))
    inside = image[0, 0] > 0.3
    expected = maps * (maps[:1].conj() / maps[:1].abs())
    assert float((found - expected)[:, inside].abs().max()) < 0.1
    assert float((found - expected)[:, inside].abs().mean()) < 0.01
    norm = torch.linalg.vector_norm(found, dim=0)
    assert float((norm[inside] - 1).abs().max()) < 1e-4
    sense = tv_mr(CartesianMR(mask, found), kspace[None], 2e-3, 150).abs()
    zero_filled = CartesianMR(mask).zero_filled(kspace[None])
    assert float((sense - image).norm()) < 0.35 * float((zero_filled - image).norm())


def test_an_unmeasured_centre_is_refused() -> None:
    with pytest.raises(InputError, match="root sum of squares"):
        espirit_maps(torch.ones((2, 16, 16), dtype=torch.complex64), np.eye(16, dtype=bool))
    with pytest.raises(InputError, match="empty"):
        espirit_maps(torch.zeros((2, 16, 16), dtype=torch.complex64), np.ones((16, 16), bool))
    assert calibration_region(np.ones((30, 8), bool)) == (slice(3, 27), slice(0, 8))


def test_masks_of_points() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((9, 13)) < 0.3
    mask = mask_of(points)
    assert isinstance(mask, PointMask)
    again = mask_from_dict(mask.to_dict())
    assert np.array_equal(again.pattern, points)
    assert mask.achieved_rate == pytest.approx(points.mean())
    whole = mask_of(np.broadcast_to(points[0], (9, 13)))
    assert isinstance(whole, SamplingMask)
    assert np.array_equal(mask_from_dict(whole.to_dict()).pattern, points[0])
    kspace = CartesianMR(mask).forward(torch.rand((1, 1, 9, 13)))
    assert np.array_equal(kspace[0, 0].numpy() != 0, points)
    with pytest.raises(InputError, match="damaged"):
        mask_from_dict(mask.to_dict() | {"points": ["ff", "f"]})
    with pytest.raises(InputError, match="do not fit"):
        CartesianMR(mask).forward(torch.rand((1, 1, 8, 13)))


@pytest.mark.parametrize("convention", ["centred-ortho", "official"])
@pytest.mark.parametrize(("rows", "columns"), [(12, 15), (13, 16)])
def test_on_its_own_grid_it_is_the_plain_operator(convention: str, rows: int, columns: int) -> None:
    mask = cartesian_mask(columns, 2)
    plain = CartesianMR(mask, convention=convention)
    grid = GridMR(mask, (rows, columns), np.arange(rows), np.arange(columns), convention=convention)
    image = torch.randn((2, 1, rows, columns), generator=torch.Generator().manual_seed(0))
    kspace = plain.forward(image)
    for ours, theirs in (
        (grid.forward(image), kspace),
        (grid.adjoint(kspace), plain.adjoint(kspace)),
        (grid.zero_filled(kspace), plain.zero_filled(kspace)),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("transposed", [False, True])
def test_transpose_and_finer_grid(transposed: bool) -> None:
    """The image at half pixels is the zero-padded transform; the adjoint is exact whatever the grid."""
    rows, columns = 10, 12
    generator = torch.Generator().manual_seed(0)
    kspace = torch.randn((1, 1, rows, columns), dtype=torch.complex128, generator=generator)
    along = np.arange(2 * rows) / 2, np.arange(2 * columns) / 2
    along = along[::-1] if transposed else along
    operator = GridMR(SamplingMask(np.ones(columns, bool)), (rows, columns), *along, transposed=transposed)
    fine = operator.coil_images(kspace)
    fine = fine.mT if transposed else fine
    assert torch.allclose(fine[..., ::2, ::2], CartesianMR(operator.mask).coil_images(kspace))
    padded = torch.zeros((2 * rows, 2 * columns), dtype=torch.complex128)
    padded[rows // 2 : rows // 2 + rows, columns // 2 : columns // 2 + columns] = kspace[0, 0]
    assert torch.allclose(fourier(fine[0, 0]) / 2, padded)
    image = torch.randn((1, 1, *operator.image_shape), dtype=torch.complex128, generator=generator)
    left = (operator.forward(image).conj() * kspace).sum()
    right = (image.conj() * operator.adjoint(kspace)).sum()
    assert torch.allclose(left, right)


def test_beyond_the_field_of_view_there_is_nothing() -> None:
    operator = GridMR(SamplingMask(np.ones(8, bool)), (8, 8), np.arange(-4, 12), np.arange(8))
    image = operator.zero_filled(torch.ones((1, 1, 8, 8), dtype=torch.complex64) * torch.randn(8, 8))
    assert float(image[..., :4, :].abs().max()) == 0
    assert float(image[..., 12:, :].abs().max()) == 0
    assert float(image[..., 4:12, :].abs().min()) > 0
