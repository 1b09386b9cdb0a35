"""What a processor computes its own way is what torch computes: dropout, attention, convolutions in part."""

import pytest
import torch
from torch import Tensor, nn

from MSLFusionLib.nets.constants import Partial, Split, convolved
from MSLFusionLib.nets.layers import ConditionalInstanceNorm, ImageConv, PatchProjection
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.presets import preset_config
from MSLFusionLib.nets.processor import HalvingConv, _kept, attention, dropout

SMALL = {"width": 4, "token_dim": 16, "heads": 2, "head_dim": 8, "mlp_dim": 32, "embedding": 8, "token_grid": (2, 2)}


def test_dropout_keeps_the_mean_and_its_gradient_the_mask() -> None:
    torch.manual_seed(0)
    x = torch.ones(400, 500, requires_grad=True)
    y = dropout(x, 0.1, True)
    assert float((y == 0).float().mean()) == pytest.approx(0.1, abs=0.003)
    assert float(y.detach().max()) == pytest.approx(1 / 0.9, rel=1e-4)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y)
    # Neighbours and the four elements that share a number fall independently.
    zero = (y == 0).flatten().float()
    for step in (1, 2, 3, 500):
        assert float((zero[step:] * zero[:-step]).mean()) == pytest.approx(0.01, abs=0.001)
    torch.manual_seed(0)
    assert torch.equal(dropout(x, 0.1, True), y)
    assert dropout(x, 0.1, False) is x


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_its_formula_with_dropped_weights(masked: bool) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(2, 9, 3, 2, 4, requires_grad=True)
    weight = torch.randn(2, 9, 2, 4)
    keys = torch.ones(2, 9, dtype=torch.bool)
    if masked:
        keys[0, 3:6] = False
    torch.manual_seed(1)
    found = attention(qkv, keys if masked else None, 0.3)
    torch.manual_seed(1)
    masks = [[_kept((9, 9), 0.3) for _ in range(2)] for _ in range(2)]
    kept = torch.stack([torch.stack([mask for mask, _ in row]) for row in masks])
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    scores = (q @ k.transpose(2, 3) / 2).masked_fill(~keys[:, None, None], -torch.inf)
    expected = ((scores.softmax(-1) * kept * masks[0][0][1]) @ v).transpose(1, 2)
    assert torch.allclose(found, expected, atol=1e-6)
    one, other = (torch.autograd.grad((y * weight).sum(), qkv)[0] for y in (found, expected))
    assert torch.allclose(one, other, atol=1e-5)
    if masked:
        assert not one[0, 3:6, 1:].any()


def gradients(y: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(5))
    return torch.autograd.grad((y * weight).sum(), inputs)


def same(one: Tensor, other: Tensor, *inputs: Tensor) -> None:
    """Equal images and equal gradients."""
    assert torch.allclose(one, other, atol=1e-5)
    for a, b in zip(gradients(one, *inputs), gradients(other, *inputs), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("size", [(12, 16), (7, 10)])
def test_halving_convolution_is_the_strided_one(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv, x = HalvingConv(3, 5), torch.randn(2, 3, *size, requires_grad=True)
    same(conv(x), nn.Conv2d.forward(conv, x), x, conv.weight, conv.bias)


def test_patch_projection_is_a_convolution() -> None:
    torch.manual_seed(0)
    conv, x = PatchProjection(3, 5), torch.randn(2, 3, 8, 12, requires_grad=True)
    same(conv(x), nn.Conv2d.forward(conv, x), x, conv.weight, conv.bias)


@pytest.mark.parametrize("kind", ["zero-padded", "transposed", "image"])
@pytest.mark.parametrize("some", [False, True])
def test_constant_channels_act_as_whole_ones(kind: str, some: bool) -> None:
    torch.manual_seed(0)
    conv: nn.Conv2d | nn.ConvTranspose2d = {
        "zero-padded": lambda: nn.Conv2d(5, 6, 3, padding=1),
        "transposed": lambda: nn.ConvTranspose2d(5, 6, 3, 2, padding=1, output_padding=1),
        "image": lambda: ImageConv(5, 7),
    }[kind]()
    varying, numbers = torch.randn(2, 3, 6, 8, requires_grad=True), torch.rand(2, 2, requires_grad=True)
    part = Partial(varying, numbers, Split(torch.tensor([0, 2, 4]), torch.tensor([1, 3])))
    whole = part.whole()
    assert torch.equal(whole[:, 3], numbers[:, 1, None, None].expand(-1, 6, 8))
    inputs = (varying, numbers, conv.weight, conv.bias)
    if kind == "image":
        same(conv(part), nn.Conv2d.forward(conv, whole), *inputs)
    elif some:
        wanted = Split(torch.tensor([1, 5]), torch.tensor([0, 2, 3, 4]))
        same(convolved(conv, part, wanted), conv(whole)[:, [1, 5]], *inputs)
    else:
        same(convolved(conv, part), conv(whole), *inputs)


def test_norm_knows_its_constant_channels() -> None:
    torch.manual_seed(0)
    embed = nn.Linear(1, 7)
    lam = torch.tensor([0.2, 0.8]).view(2, 1, 1, 1)
    norm = ConditionalInstanceNorm(16, 7, relu=True)
    split = norm.split(lam, embed)
    assert split is not None
    assert sorted([*split.varying.tolist(), *split.constant.tolist()]) == list(range(16))
    x = torch.randn(2, 16, 6, 6)
    whole = norm(x, lam, embed, rectify=True)
    assert torch.equal(whole[:, split.constant].std((2, 3)), torch.zeros(2, len(split.constant)))
    part = norm.partial(x[:, split.varying], lam, embed, split)
    assert isinstance(part, Partial)
    assert torch.allclose(part.whole(), whole, atol=1e-6)
    assert norm.split(lam.expand(2, 1, 6, 6), embed) is None
    assert ConditionalInstanceNorm(16, 7).split(lam, embed) is None
    norm.gamma.weight.data.zero_()
    norm.gamma.bias.data.fill_(-1.0)
    empty = norm.split(lam, embed)
    assert empty is not None
    assert empty.varying.tolist() == [0]


@pytest.mark.parametrize("changes", [{}, {"space_to_depth": True}, {"skips": True}, {"cin_both": True}])
def test_decoder_without_constant_channels_is_the_whole_one(
    changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = MSL(preset_config("official", dropout=0.0, **(SMALL | changes))).train()
    images = torch.rand(2, 2, 1, 32, 32)
    lams = (0.0, 1.0, torch.tensor([0.3, 0.6]))

    def run() -> tuple[Tensor, Tensor]:
        model.zero_grad()
        y = torch.stack(model.decode_all(model.encode(*images), lams))
        y.square().sum().backward()
        return y.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    quick, one = run()
    monkeypatch.setattr(ConditionalInstanceNorm, "split", lambda *_: None)
    whole, other = run()
    assert torch.allclose(quick, whole, atol=1e-5)
    assert one.shape == other.shape
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))
