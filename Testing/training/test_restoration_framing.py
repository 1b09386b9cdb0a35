"""What a scan shows of a head in training: the brain alone, or a field of view that ends where the head does."""

import pytest
import torch

from MSLFusionTrainingLib.restoration.config import RestorationConfig
from MSLFusionTrainingLib.restoration.framing import LEAST_SIDE, stripped, tight
from MSLFusionTrainingLib.restoration.sensing import draw_slice


def head(size=192, centre=(90, 100), radius=60):
    """A disc with a dark ring of skull, in two contrasts."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    far = ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2).float().sqrt()
    image = ((far < radius) * 0.5).float()
    image[(far > radius - 12) & (far < radius - 6)] = 0.0
    return torch.stack([image, 0.8 * image])[None], far


def test_the_outermost_millimetres_are_taken_off_and_nothing_else():
    image, far = head()
    brain = stripped(image, 14)
    assert torch.equal(brain[..., far < 38], image[..., far < 38])
    assert brain[..., far > 47].max() == 0
    assert brain[0, 0].count_nonzero() == brain[0, 1].count_nonzero()
    empty = torch.zeros(1, 2, 64, 64)
    assert torch.equal(stripped(empty, 10), empty)


@pytest.mark.parametrize("seed", range(4))
def test_a_tight_field_of_view_keeps_all_of_the_head(seed):
    image, _ = head()
    cut = tight(image, 4, torch.Generator().manual_seed(seed))
    assert cut.count_nonzero() == image.count_nonzero()
    for side in cut.shape[-2:]:
        assert side % 4 == 0
        assert 119 <= side <= 119 + 2 * 16
    rows, columns = cut[0, 0].nonzero().unbind(1)
    assert cut[0, 0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].shape == (119, 119)


def test_small_and_empty_slices_keep_a_field_of_view():
    small, _ = head(radius=10)
    assert tight(small, 4, torch.Generator().manual_seed(0)).shape == (1, 2, LEAST_SIDE, LEAST_SIDE)
    assert tight(torch.zeros(1, 2, 64, 64), 4, torch.Generator()).shape == (1, 2, 64, 64)


def test_the_share_of_stripped_slices_is_that_of_the_settings():
    for share in (0.0, 0.4):
        config = RestorationConfig.from_dict({"strip": share})
        depths = [draw_slice(config, n, 0, 10).strip_mm for n in range(200)]
        assert sum(depth > 0 for depth in depths) / 200 == pytest.approx(share, abs=0.1)
        assert all(depth == 0 or 8 <= depth <= 18 for depth in depths)
