"""Parts of a measurement: what may be left out, and that the rest is a measurement still."""

import numpy as np
import pytest
import torch

from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.physics.masks import PointMask, SamplingMask, cartesian_mask
from MSLFusionLib.physics.mr import CartesianMR
from MSLFusionLib.recon.resampled import SomeViews, part_of, some_samples, some_views
from MSLFusionLib.recon.simulate import Scanners, SensorBatch


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_one_of_four_neighbouring_views_is_left_out():
    angles = np.arange(64) * 2 * np.pi / 64
    mixed = rng(1).permutation(64)
    kept = some_views(angles[mixed], rng())
    assert kept.sum() == 48
    in_order = kept[np.argsort(mixed)]
    gaps = np.diff(np.flatnonzero(~in_order))
    assert gaps.max() <= 7
    assert not np.array_equal(kept, some_views(angles[mixed], rng(5)))
    assert some_views(angles[:3], rng()).all()


def test_the_centre_of_kspace_stays():
    mask = cartesian_mask(96, 4)
    part = some_samples(mask, rng())
    assert not (part.pattern & ~mask.pattern).any()
    centre = np.abs(np.arange(96) - 48) < 3
    assert mask.pattern[centre].all()
    assert part.pattern[centre].all()
    outer = mask.kept - (mask.kept - np.count_nonzero(mask.pattern & ~centre))
    assert 0 < mask.kept - part.kept <= outer / 4 + 1
    whole = SamplingMask(np.ones(96, bool))
    assert some_samples(whole, rng()).pattern.all()


def test_points_are_left_out_like_columns():
    pattern = rng().random((40, 48)) < 0.4
    pattern[17:24, 21:28] = True
    part = some_samples(PointMask(pattern), rng(1))
    left_out = pattern & ~part.pattern
    assert 0.15 < left_out.sum() / pattern.sum() < 0.26
    assert not left_out[17:24, 21:28].any()


def test_some_views_are_an_operator_with_its_transpose():
    whole = ct_operator(FanBeamGeometry.covering((32, 32), 8.0, 24))
    kept = np.arange(24) % 4 != 1
    some = SomeViews(whole, kept, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    image, sinogram = (
        torch.rand(shape, generator=generator) for shape in ((1, 1, 32, 32), (1, 1, 24, whole.geometry.bins))
    )
    left, right = (some.forward(image) * sinogram).sum(), (image * some.adjoint(sinogram)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-4)
    assert not some.forward(image)[:, :, ~kept].any()
    everything = SomeViews(whole, np.ones(24, bool), torch.device("cpu"))
    torch.testing.assert_close(everything.fbp(sinogram), whole.fbp(sinogram))
    disk = (torch.hypot(*torch.meshgrid(*[torch.arange(32) - 15.5] * 2, indexing="ij")) < 10).float()[None, None]
    assert float(some.fbp(some.forward(disk))[0, 0, 12:20, 12:20].mean()) == pytest.approx(1.0, abs=0.1)


def test_a_part_has_data_of_what_it_keeps_and_nothing_else():
    geometry = FanBeamGeometry.covering((32, 32), 8.0, 24)
    maps = torch.ones(2, 32, 32, dtype=torch.complex64)
    scanners = Scanners(ct_operator(geometry), CartesianMR(cartesian_mask(32, 2), maps, "official"))
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, 32, 32, generator=generator)
    assert scanners.ct is not None
    assert scanners.mr is not None
    data = SensorBatch(scanners.ct.forward(image), scanners.mr.forward(image))
    part, less = part_of(scanners, data, rng())
    assert data.sinogram is not None and data.kspace is not None  # noqa: PT018
    assert less.sinogram is not None and less.kspace is not None  # noqa: PT018
    assert part.mr is not None
    assert part.mr.coil_maps is scanners.mr.coil_maps
    assert part.mr.convention == "official"
    gone = ~part.mr.mask.pattern
    assert not less.kspace[..., gone].any()
    torch.testing.assert_close(less.kspace[..., ~gone], data.kspace[..., ~gone])
    views = less.sinogram.abs().sum(dim=(0, 1, 3)) > 0
    assert int(views.sum()) == 18
    alone = part_of(scanners, SensorBatch(None, data.kspace), rng())[1]
    assert alone.sinogram is None
    image_only = SensorBatch(None, None, image)
    assert part_of(scanners, image_only, rng())[1].mr_image is image
