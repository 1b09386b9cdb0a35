"""CMF-Net: sizes as published, every parameter learns, one slice is enough to train on, any size and unit."""

import re

import pytest
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.cmfblocks import MultiScaleFusion, MutualExchange
from MSLFusionLib.nets.cmfnet import (
    PRESETS,
    PUBLISHED_PARAMETERS,
    UNUSED_PARAMETERS,
    CMFConfig,
    CMFNet,
    cmf_preset,
    enhance,
    standardised,
)
from MSLFusionLib.nets.registry import build
from MSLFusionLib.nets.unet import BicubicUNet, BicubicUNetConfig, UNet

SMALL = {"channels": 8, "unet_channels": 4, "exchanges": 2, "steps": 2}


def network(preset="fixed", seed=0, **changes):
    torch.manual_seed(seed)
    return CMFNet(cmf_preset(preset, **(SMALL | changes))).eval()


def images(*shape, seed=0, n=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(n, 1, *shape, generator=generator) for _ in range(2)]


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_those_of_the_publication():
    with torch.device("meta"):
        official, fixed, compact = (CMFNet(cmf_preset(name)) for name in ("official", "fixed", "compact"))
        assert count(MultiScaleFusion(64)) == 217_344
        assert count(UNet(64, 64, 128)) == 7_520_320
    # Never used: the restoring branch's second way to large images, and a third convolution of each exchange.
    second_output = 2 * (9 * 64 * 256 + 256) + 9 * 64 + 1
    third_convolutions = 6 * (9 * 128 * 64 + 64)
    assert second_output + third_convolutions == UNUSED_PARAMETERS == 738_753
    assert PUBLISHED_PARAMETERS == 48_637_251
    assert count(official) == PUBLISHED_PARAMETERS - UNUSED_PARAMETERS == 47_898_498
    # Eight taps of each exchange's convolution of means, which see padding only.
    assert count(fixed) == count(official) - 6 * 8 * 128 * 64
    assert count(compact) < 3_500_000


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_learns(preset, scale):
    model = network(preset, scale=scale).train()
    torch.manual_seed(1)
    for layer in (model.out_restored, model.out_enlarged):
        torch.nn.init.normal_(layer.weight, std=0.1)
    low, high = model(*images(16, 12, n=3))
    (low.square().mean() + high.square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # Batch normalisation takes away again what these biases add.
        taken_away = preset == "official" and re.search(r"exchange.*\.(0|3)\.bias", name)
        assert taken_away or parameter.grad.abs().max() > 0, name
        if not model.config.published and "shared_whole.weight" in name:
            assert (parameter.grad != 0).all()


def test_one_slice_is_enough_to_train_on_except_for_the_published_normalisation():
    pair = images(16, 16)
    low, high = network("fixed").train()(*pair)
    assert low.isfinite().all()
    assert high.isfinite().all()
    with pytest.raises(ValueError, match="more than 1 value"):
        network("official").train()(*pair)


def test_what_a_slice_becomes_does_not_depend_on_its_batch():
    model = network("fixed").train()
    target, auxiliary = images(16, 16, n=3)
    together = model(target, auxiliary)
    alone = model(target[1:2], auxiliary[1:2])
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one[1:2], other, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("shape", [(16, 16), (13, 22), (3, 5)])
def test_any_size(scale, shape):
    low, high = network("compact", scale=scale)(*images(*shape))
    assert low.shape == (1, 1, *shape)
    assert high.shape == (1, 1, scale * shape[0], scale * shape[1])


def test_compact_begins_as_the_input_and_its_enlargement():
    target, auxiliary = images(12, 12)
    low, high = network("compact")(target, auxiliary)
    assert torch.equal(low, target)
    assert torch.equal(high, torch.nn.functional.interpolate(target, scale_factor=2, mode="bicubic"))


def test_the_auxiliary_reaches_both_outputs_and_the_tasks_each_other():
    model = network("fixed")
    target, auxiliary = images(16, 16)
    before = model(target, auxiliary)
    for one, other in zip(before, model(target, 1 - auxiliary), strict=True):
        assert not torch.allclose(one, other, atol=1e-4)
    torch.manual_seed(2)
    exchange = MutualExchange(8, "group", False)
    x, y = torch.randn(1, 8, 6, 6), torch.randn(1, 8, 6, 6)
    first, _ = exchange(x, y)
    assert not torch.allclose(first, exchange(x, y + 1)[0], atol=1e-4)


def test_the_auxiliary_s_features_never_see_the_target():
    model = network("fixed", exchanges=3)
    seen = []
    for fuse in model.fuse:
        fuse.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    target, auxiliary = images(16, 16)
    model(target, auxiliary)
    model(1 - target, auxiliary)
    before, after = seen[:3], seen[3:]
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one[0], other[0])
        assert not torch.equal(one[1], other[1])
    assert not torch.equal(before[0][0], before[1][0])


def test_an_opened_exchange_lets_features_through_and_still_learns():
    torch.manual_seed(3)
    exchange = MutualExchange(16, "group", False)
    exchange.open()
    x, y = torch.randn(1, 16, 8, 8), torch.randn(1, 16, 8, 8)
    pair = exchange(x, y)
    for after, before in zip(pair, (x, y), strict=True):
        assert (after.detach() / before).median().item() == pytest.approx(0.95, abs=0.03)
    sum(image.square().sum() for image in pair).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in exchange.parameters())


def test_multi_scale_fusion_is_its_equation():
    torch.manual_seed(0)
    fuse = MultiScaleFusion(4)
    a, t = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    total = torch.zeros(1, 8, 8, 8)
    for conv in fuse.scales:
        c = torch.cat([conv(a), t], 1)
        total = total + c * torch.sigmoid(c)
    assert torch.allclose(fuse(a, t), fuse.out(total), atol=1e-6)


def test_standardising_uses_the_target_s_numbers_for_all():
    target, other = images(8, 8, n=2)
    (one, two), mean, deviation = standardised(target * 50 + 7, other)
    assert torch.allclose(one.mean((1, 2, 3)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(one.std((1, 2, 3), correction=0), torch.ones(2), atol=1e-5)
    assert torch.allclose(two * deviation + mean, other, atol=1e-4)
    (flat,), _, _ = standardised(torch.full((1, 1, 8, 8), 4.0))
    assert torch.equal(flat, torch.zeros_like(flat))
    (cut,), _, _ = standardised(torch.eye(64)[None, None], published=True)
    assert cut.max() == 6


def test_units_do_not_matter():
    model = network("compact")
    torch.nn.init.normal_(model.out_enlarged.weight, std=0.05)
    target, auxiliary = images(16, 16)
    _, high = enhance(model, target, auxiliary)
    _, other = enhance(model, 1000 * target, 0.01 * auxiliary)
    assert torch.allclose(other, 1000 * high, rtol=1e-3, atol=1e-2)


def test_the_plain_network_enlarges_what_it_restores():
    torch.manual_seed(0)
    target, auxiliary = images(15, 10)
    for sees in (False, True):
        model = BicubicUNet(BicubicUNetConfig(scale=4, channels=4, auxiliary=sees)).eval()
        torch.nn.init.normal_(model.body.out.weight, std=0.3)
        low, high = model(target, auxiliary)
        assert torch.equal(high, torch.nn.functional.interpolate(low, scale_factor=4, mode="bicubic"))
        assert torch.equal(low, model(target, 1 - auxiliary)[0]) is not sees


def test_the_registry_builds_what_a_card_describes():
    for name, model in (("cmf-net", network("compact")), ("unet-bicubic", BicubicUNet(BicubicUNetConfig(channels=4)))):
        other = build(name, model.config.to_dict())
        other.load_state_dict(model.state_dict())
        assert other.config == model.config


@pytest.mark.parametrize(
    ("changes", "said"), [({"scale": 3}, "2 or 4"), ({"norm": "layer"}, "layer"), ({"channels": 0}, "above 0")]
)
def test_impossible_networks(changes, said):
    with pytest.raises(InputError, match=said):
        CMFConfig.from_dict(changes)


def test_unknown_settings_presets_and_images_of_different_sizes():
    with pytest.raises(InputError, match="'width'"):
        CMFConfig.from_dict({"width": 3})
    with pytest.raises(InputError, match="tiny"):
        cmf_preset("tiny")
    with pytest.raises(InputError, match="one size"):
        network()(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 9))
