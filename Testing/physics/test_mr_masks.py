"""The columns that are measured: how many, which, and what is refused."""

import json

import numpy as np
import pytest

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.masks import SamplingMask, cartesian_mask


@pytest.mark.parametrize(("acceleration", "kept"), [(4, 92), (8, 50), (16, 38)])
def test_official_masks_keep_the_authors_columns(acceleration, kept):
    mask = cartesian_mask(384, acceleration, kind="official")
    assert (mask.kept, mask.seed) == (kept, 1337)
    assert mask.columns[173:211].all()
    assert mask.achieved_rate == pytest.approx(kept / 384)


def test_the_official_mask_is_one_constant():
    first, second = (cartesian_mask(384, 4, "official", seed=seed) for seed in (0, 1337))
    np.testing.assert_array_equal(first.columns, second.columns)


@pytest.mark.parametrize("kind", ["random", "equispaced"])
@pytest.mark.parametrize("width", [384, 255, 64])
@pytest.mark.parametrize("acceleration", [1, 2, 4, 6.5, 16])
def test_our_masks_hit_the_rate_and_keep_the_centre(kind, width, acceleration):
    mask = cartesian_mask(width, acceleration, kind, seed=3)
    assert mask.kept == round(width / acceleration)
    assert mask.columns[width // 2]
    centre = max(1, round(width * 0.32 / acceleration))
    first = (width - centre + 1) // 2
    assert mask.columns[first : first + centre].all()


def test_equispaced_columns_are_evenly_spaced_outside_the_centre():
    mask = cartesian_mask(384, 4, "equispaced", seed=5)
    gaps = np.diff(np.flatnonzero(mask.columns[:176]))
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("kind", ["random", "equispaced"])
def test_the_seed_decides(kind):
    masks = [cartesian_mask(384, 8, kind, seed=seed).columns for seed in (1, 1, 2)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()


@pytest.mark.parametrize(
    "request_",
    [
        {"acceleration": 0},
        {"acceleration": 0.5},
        {"acceleration": -4},
        {"acceleration": 385},
        {"acceleration": float("nan")},
        {"acceleration": float("inf")},
        {"acceleration": 4, "centre_fraction": 0.3},
        {"acceleration": 4, "centre_fraction": 0.0},
        {"acceleration": 4, "centre_fraction": 1.5},
        {"acceleration": 4, "kind": "spiral"},
        {"acceleration": 4, "width": 0},
    ],
)
def test_impossible_requests_are_refused(request_):
    with pytest.raises(InputError):
        cartesian_mask(**{"width": 384, **request_})


def test_a_mask_survives_json():
    mask = cartesian_mask(96, 4, seed=9)
    back = SamplingMask.from_dict(json.loads(json.dumps(mask.to_dict())))
    np.testing.assert_array_equal(back.columns, mask.columns)
    assert back.to_dict() == mask.to_dict()


@pytest.mark.parametrize(
    "damage",
    [{"columns": [96]}, {"columns": [-1]}, {"columns": []}, {"width": "many"}, {"width": 10**12}, {"seed": None}],
)
def test_a_damaged_description_is_refused(damage):
    with pytest.raises(InputError):
        SamplingMask.from_dict({**cartesian_mask(96, 4).to_dict(), **damage})


def test_a_mask_cannot_be_changed_afterwards():
    mask = cartesian_mask(96, 4)
    with pytest.raises(ValueError, match="read-only"):
        mask.columns[0] = True
