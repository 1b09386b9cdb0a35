"""Volumes of any two or more modalities as the network sees them."""

import numpy as np
import pytest
from tiny import SIZE, image, oval_head

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.units import hu_to_network
from MSLFusionLib.recon.scaling import IntensityScale
from MSLFusionLib.recon.slices import NetworkSlices, VolumeOptions

OPTIONS = VolumeOptions(size=(64, 64), pixel_mm=4.0)


def volumes():
    ct, mr = oval_head(SIZE[::-1])
    return image(ct), image(mr), image(np.maximum(700 - mr, 0) * (ct > -500))


def test_three_modalities_share_a_grid_and_the_first_ones_body():
    ct, mr, pet = volumes()
    seen = NetworkSlices([("ct", ct), ("mr", mr), ("pet", pet)], OPTIONS)
    images = seen.network(seen.occupied)
    assert [one.shape for one in images] == [(6, 64, 64)] * 3
    assert images[0].max() == pytest.approx(hu_to_network(np.float32(900.0)), abs=1e-3)
    outside = ~np.pad(seen.grid.turned(seen.body), ((0, 0), (10, 10), (12, 12)))
    for one in images:
        assert one[outside].max() == 0
        assert 0 < one[~outside].mean() < 1
    assert seen.modalities[1].mask[seen.grid.turned(seen.body)].all()
    assert isinstance(seen.modalities[2].scale, IntensityScale)


def test_a_modality_beside_others_is_scaled_as_it_is_alone():
    _, mr, pet = volumes()
    pair = NetworkSlices([("mr", mr), ("pet", pet)], OPTIONS)
    alone = NetworkSlices([("pet", pet)], OPTIONS)
    assert pair.modalities[1].scale == alone.modalities[0].scale
    kept = NetworkSlices([("mr", mr)], VolumeOptions((64, 64), 4.0, mask_outside=False))
    assert kept.modalities[0].mask is None
    assert len(kept.occupied) == SIZE[2]


def test_what_does_not_fit_together_is_refused():
    ct, mr, _ = volumes()
    with pytest.raises(InputError, match="not on the MR's grid"):
        NetworkSlices([("mr", mr), ("pet", image(np.zeros((6, 44, 40), np.float32), origin=(0.0, 0.0, 0.0)))], OPTIONS)
    with pytest.raises(InputError, match="not 'us'"):
        NetworkSlices([("ct", ct), ("us", mr)], OPTIONS)
    with pytest.raises(InputError, match="Give a CT volume"):
        NetworkSlices([], OPTIONS)
