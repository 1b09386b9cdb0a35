"""Low-resolution measurement: against NumPy's FFT, brightness, place of the voxels, the adjoint."""

import numpy as np
import pytest
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.lowres import LowResolution

SHAPES = [(2, 16, 24), (4, 16, 24), (2, 10, 6), (4, 12, 20), (2, 22, 14)]


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 1, *shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("scale", "height", "width"), SHAPES)
def test_the_low_resolution_image_is_the_band_limited_image_at_its_voxels(scale, height, width):
    image = drawn(height, width)
    spectrum = np.fft.fft2(image[0, 0].numpy()) / (height * width)
    h, w = height // scale, width // scale
    rows, columns = (np.arange(n) - n // 2 for n in (h, w))
    expected = np.zeros((h, w), complex)
    for i in range(h):
        for j in range(w):
            y, x = scale * i + (scale - 1) / 2, scale * j + (scale - 1) / 2
            waves = np.exp(2j * np.pi * (rows[:, None] * y / height + columns[None, :] * x / width))
            expected[i, j] = (spectrum[np.ix_(rows, columns)] * waves).sum()
    low = LowResolution(scale)
    found = low.image(low.measure(image))[0, 0].numpy()
    assert np.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("scale", "height", "width"), SHAPES)
def test_brightness_stays(scale, height, width):
    low = LowResolution(scale)
    flat = low.image(low.measure(torch.full((1, 1, height, width), 3.0, dtype=torch.float64)))
    assert torch.allclose(flat, torch.full_like(flat, 3.0), atol=1e-12)
    image = drawn(height, width)
    assert torch.allclose(low.image(low.measure(image)).mean().real, image.mean(), atol=1e-12)


def test_the_published_way_is_brighter_and_moved():
    low = LowResolution(4, published=True)
    image = low.image(low.measure(torch.ones(1, 1, 16, 16)))
    assert torch.allclose(image.abs(), torch.full((1, 1, 4, 4), 4.0))
    kspace = low.measure(drawn(16, 16))
    assert not torch.allclose(kspace, 4 * LowResolution(4).measure(drawn(16, 16)))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_adjoint(scale):
    low = LowResolution(scale)
    x = torch.complex(drawn(24, 16), drawn(24, 16, seed=1))
    y = torch.complex(drawn(24 // scale, 16 // scale, seed=2), drawn(24 // scale, 16 // scale, seed=3))
    left = (low.measure(x).conj() * y).sum()
    right = (x.conj() * low.adjoint(y)).sum()
    assert torch.allclose(left, right)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_blob_stays_where_it_is_in_space(scale):
    """The centre of mass in fine voxels is scale times that in low-resolution ones plus the origin."""
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (64, 80)), indexing="ij")
    centre = torch.tensor([27.3, 45.8], dtype=torch.float64)
    blob = torch.exp(-0.5 * ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / 5.0**2)
    low = LowResolution(scale)
    image = low.image(low.measure(blob[None, None]))[0, 0].real
    places = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in image.shape), indexing="ij")
    mass = torch.stack([(image * place).sum() / image.sum() for place in places])
    assert torch.allclose(scale * mass + low.origin, centre, atol=1e-3)


def test_sizes_and_scales_that_do_not_fit():
    with pytest.raises(InputError, match="18 x 16"):
        LowResolution(4).measure(torch.ones(1, 1, 16, 18))
    with pytest.raises(InputError, match="whole numbers"):
        LowResolution(0)
