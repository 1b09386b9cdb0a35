"""DC2Fusion: sizes as published, none of the published defects in the default, blocks that leave no trace."""

import math

import pytest
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets import dc2blocks
from MSLFusionLib.nets.dc2blocks import CrossBlend, sample
from MSLFusionLib.nets.dc2fusion import PRESETS, DC2Config, DC2Fusion, dc2_preset
from MSLFusionLib.nets.registry import build

SMALL = {"dims": (8, 16), "depths": (1, 1), "heads": (2, 4), "kernel": 3, "mlp": 2, "head": 4, "drop_path": 0.0}


def network(seed=0, **changes):
    """A small network in evaluation mode whose output layer is not zero."""
    torch.manual_seed(seed)
    model = DC2Fusion(dc2_preset("fixed", **(SMALL | changes))).eval()
    torch.nn.init.normal_(model.out.weight, std=0.2)
    return model


def images(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(1, 1, *shape, generator=generator) for _ in range(2)]


def test_parameter_counts_are_those_of_the_publication():
    counts = {}
    for name in PRESETS:
        with torch.device("meta"):
            model = DC2Fusion(dc2_preset(name))
        counts[name] = sum(p.numel() for p in model.parameters())
    unused = 2 * sum(n * (c * c + c) for n, c in zip((2, 2, 6, 2), (96, 192, 384, 768), strict=True))
    unused += 2 * 768**2 + 768
    assert counts["official"] == 98_751_290
    assert unused == 5_502_336
    assert counts["fixed"] == counts["official"] - unused
    assert counts["compact"] < 4_000_000  # 8 MB of 16-bit weights


def test_the_published_network_leaves_parameters_without_gradients_and_ours_does_not():
    pair = images(16, 16, 16)
    for published in (True, False):
        model = network(published=published).train()
        model(*pair).square().mean().backward()
        idle = {name for name, p in model.named_parameters() if p.grad is None}
        assert all("unused" in name or name.startswith("join.1") for name in idle)
        assert bool(idle) is published


def test_every_parameter_of_the_shipped_size_takes_part():
    torch.manual_seed(0)
    model = DC2Fusion(dc2_preset("compact")).train()
    torch.nn.init.normal_(model.out.weight, std=0.2)
    pair = images(16, 24, 32)
    (model(*pair) * torch.rand(1, 1, 16, 24, 32)).mean().backward()
    size = {name: p.grad.abs().max().item() for name, p in model.named_parameters()}
    # What softmax adds to all keys and what the normalisation subtracts again cannot have any effect.
    still = {name for name, value in size.items() if value < 1e-8}
    assert all(name.endswith(("key.bias", "near.0.bias")) for name in still)
    assert len(still) < len(size) / 8


def test_attention_weights_are_a_softmax_and_receive_gradients():
    torch.manual_seed(0)
    block = CrossBlend(8, 2, 2, 3, 2, 0.0, published=False)
    x, other, gate = torch.randn(1, 3, 8, 8), torch.randn(1, 3, 8, 8), torch.ones(1, 1, 1, 8)
    expected = torch.nn.functional.scaled_dot_product_attention(
        block._heads(block.query(x)), block._heads(block.key(other)), block._heads(block.value(x))
    )
    assert torch.allclose(block.attend(x, other, gate), expected.transpose(-3, -2).flatten(-2), atol=1e-6)
    block.attend(x, other, gate).square().sum().backward()
    assert block.query.weight.grad.abs().max() > 0
    assert block.key.weight.grad.abs().max() > 0
    raw = CrossBlend(8, 2, 2, 3, 2, 0.0, published=True)
    raw.load_state_dict(block.state_dict(), strict=False)
    # Raw products grow with the keys, softmax weights do not.
    grown = [(one.attend(x, 100 * other, gate)).abs().max() for one in (block, raw)]
    assert grown[1] > 10 * grown[0]


def test_the_sampling_grid_is_exact_on_every_axis():
    tokens = torch.randn(1, 16, 12, 4, 3)
    still = torch.zeros(1, 16, 12, 4, 3)
    assert torch.allclose(sample(tokens, still), tokens, atol=1e-5)
    for axis in range(3):
        step = still.clone()
        step[..., axis] = 1.0
        moved = sample(tokens, step)
        here = [slice(None)] * 5
        there = [slice(None)] * 5
        here[axis + 1], there[axis + 1] = slice(0, -1), slice(1, None)
        assert torch.allclose(moved[tuple(here)], tokens[tuple(there)], atol=1e-5)
    assert (sample(tokens, still, published=True) - tokens).abs().max() > 0.5
    # The published identity is wrong by many tokens where the sides differ (models.md: 15 on 16 x 16 x 8) ...
    grid = dc2blocks.published_grid((16, 16, 8), tokens)
    places = (grid + 1) / 2 * torch.tensor([15.0, 15.0, 7.0])
    true = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in (16, 16, 8)), indexing="ij"), -1)
    assert (places - true).abs().max() > 7
    # ... and by half a token at the border of a cube.
    cube = dc2blocks.published_grid((8, 8, 8), tokens)
    assert ((cube[0, 0, 0, 0] + 1) / 2 * 7).item() == pytest.approx(0.4375)


def test_the_result_does_not_grow_with_the_volume_nor_mix_samples():
    model = network()
    maps = torch.rand(2, 2, 6, 6, 6)
    small = model.combine(maps)
    large = model.combine(maps.repeat(1, 1, 2, 2, 2))
    assert torch.allclose(large[..., :6, :6, :6], small, atol=1e-6)
    assert torch.allclose(model.combine(maps[:1]), small[:1], atol=1e-6)
    shares = maps.abs().mean(dim=(2, 3, 4), keepdim=True)
    weights = shares / shares.sum(dim=1, keepdim=True)
    assert torch.allclose(small, (weights * maps).sum(1, keepdim=True), atol=1e-5)
    published = network(published=True)
    growth = published.combine(maps.repeat(1, 1, 2, 2, 2)).mean() / published.combine(maps).mean()
    assert growth == pytest.approx(8.0, rel=1e-4)


def test_a_volume_of_eight_times_the_size_is_as_bright():
    """The whole network on one pattern, once and repeated twice along each axis."""
    means = {}
    for published in (False, True):
        model, pair = network(published=published), images(16, 16, 16)
        with torch.no_grad():
            small, large = model(*pair), model(*(image.repeat(1, 1, 2, 2, 2) for image in pair))
        means[published] = (large.abs().mean() / small.abs().mean()).item()
    assert means[False] == pytest.approx(1.0, abs=0.1)
    assert means[True] > 4.0


def test_eps_of_the_normalisation_is_small():
    eps = {m.eps for m in network().modules() if isinstance(m, torch.nn.BatchNorm3d)}
    assert eps == {1e-5}
    published = {m.eps for m in network(published=True).modules() if isinstance(m, torch.nn.BatchNorm3d)}
    assert published == {8.0, 16.0}


@pytest.mark.parametrize("detail", [0, 4])
def test_blocks_leave_no_trace(detail):
    model = network(detail=detail)
    pair = images(21, 34, 27)
    with torch.no_grad():
        whole = model(*pair)
    assert whole.shape == (1, 1, 21, 34, 27)
    assert whole.std() > 1e-3
    for block in (4, 12, 20):
        assert (model.fuse_blocks(*pair, block) - whole).abs().max() < 1e-5
    with pytest.raises(InputError, match="at least 4"):
        model.fuse_blocks(*pair, 2)


def test_a_symmetric_network_does_not_care_which_comes_first():
    pair = images(16, 16, 24)
    with torch.no_grad():
        symmetric = network(symmetric=True, detail=4)
        assert torch.allclose(symmetric(*pair), symmetric(*reversed(pair)), atol=1e-5)
        plain = network(detail=4)
        assert (plain(*pair) - plain(*reversed(pair))).abs().max() > 1e-3


def test_a_compact_network_begins_as_a_weighted_mean():
    torch.manual_seed(0)
    model = DC2Fusion(dc2_preset("compact")).eval()
    first, second = images(16, 16, 16)
    with torch.no_grad():
        fused = model(first, second)
    share = first.mean() / (first.mean() + second.mean())
    assert torch.allclose(fused, share * first + (1 - share) * second, atol=1e-5)


def test_checkpointing_changes_memory_not_gradients():
    pair = images(16, 16, 16)
    gradients = []
    for on in (False, True):
        model = network(detail=4).train()
        model.set_checkpointing(on)
        model(*pair).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)


def test_offsets_reach_one_token_and_change_what_is_seen():
    torch.manual_seed(0)
    block = CrossBlend(8, 2, 2, 3, 2, 0.0, published=False).eval()
    x, other = torch.randn(1, 4, 4, 4, 8), torch.randn(1, 4, 4, 4, 8)
    assert block.offsets(x, other).abs().max() <= 1.0
    block(x, other).sum().backward()
    assert block.offset[3].weight.grad.abs().max() > 0


def test_configurations_are_checked_and_come_back():
    config = dc2_preset("compact", modalities=("ct", "mr"))
    assert DC2Config.from_dict(config.to_dict()) == config
    assert build("dc2fusion", config.to_dict()).modalities == ("ct", "mr")
    for values, words in (
        ({"dims": [8, 16]}, "same stages"),
        ({"colour": 1}, "no setting 'colour'"),
        ({**config.to_dict(), "heads": [5, 4]}, "multiples"),
        ({**config.to_dict(), "dims": [24, 40]}, "twice"),
        ({**config.to_dict(), "patch": 0}, "above 0"),
        ({**config.to_dict(), "modalities": ["mr"]}, "two modalities"),
    ):
        with pytest.raises(InputError, match=words):
            DC2Fusion(DC2Config.from_dict(values))
    with pytest.raises(InputError, match="no DC2Fusion preset"):
        dc2_preset("best")
    with pytest.raises(InputError, match=r"\(N, 1, D, H, W\)"):
        network()(torch.rand(1, 16, 16, 16), torch.rand(1, 16, 16, 16))


def test_windows_come_back_in_place():
    x = torch.arange(4 * 6 * 2 * 3.0).reshape(1, 4, 6, 2, 3)
    windows = dc2blocks.to_windows(x, 2)
    assert windows.shape == (1, 6, 8, 3)
    assert torch.equal(windows[0, 0, 7], x[0, 1, 1, 1])
    assert torch.equal(dc2blocks.from_windows(windows, 2, (4, 6, 2)), x)
    assert math.prod(windows.shape) == x.numel()
