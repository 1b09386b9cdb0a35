"""The MSL network: sizes as published, masking of missing modalities, spatial lambda, gradients."""

import pytest
import torch

from MSLFusionLib.errors import InputError
from MSLFusionLib.nets.layers import ConditionalInstanceNorm
from MSLFusionLib.nets.msl import MSL
from MSLFusionLib.nets.mslconfig import MSLConfig
from MSLFusionLib.nets.presets import PRESETS, preset_config
from MSLFusionLib.nets.registry import build

SMALL = {"width": 4, "token_dim": 16, "heads": 2, "head_dim": 8, "mlp_dim": 32, "embedding": 8, "token_grid": (3, 3)}


def small(preset: str, **changes: object) -> MSL:
    torch.manual_seed(1)
    model = MSL(preset_config(preset, **(SMALL | changes)))
    if model.config.residual:
        # The head starts at zero; give it weights so that the tests see the whole network.
        torch.nn.init.normal_(model.decoder.head[0].weight, std=0.1)
    return model.eval()


def pair(n: int = 2, rows: int = 48, columns: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    ct, mr = torch.rand((2, n, 1, rows, columns), generator=generator)
    return ct, mr


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_official_has_the_published_number_of_parameters() -> None:
    model = MSL(preset_config("official"))
    assert count(model) == 39_220_641
    uncalled = sum(count(encoder.blocks) for encoder in model.encoders)
    assert round(uncalled / 1e6, 2) == 7.08
    assert count(model.interaction.layers) == pytest.approx(16.8e6, rel=0.01)
    assert model.interaction.position.numel() + model.interaction.class_position.numel() == 2305 * 1024


def test_presets_differ_where_the_paper_and_its_code_do() -> None:
    paper, official, ours = (preset_config(name) for name in ("paper", "official", "msl"))
    assert (paper.encoder_blocks_used, official.encoder_blocks_used, ours.encoder_blocks_used) == (True, False, True)
    assert (paper.decoder_blocks, official.decoder_blocks, ours.decoder_blocks) == (3, 1, 3)
    assert (paper.fusion, official.fusion, ours.fusion) == ("sum", "mean", "mean")
    assert (paper.token_norm, official.token_norm, ours.token_norm) == ("none", "l2", "layer")
    assert (paper.shared_projection, official.shared_projection, ours.shared_projection) == (False, True, False)
    assert (paper.up_norm, official.up_norm, ours.up_norm) == ("instance", "batch", "instance")
    assert (paper.cin_both, official.cin_both, ours.cin_both) == (True, False, False)
    assert (paper.cin_relu, official.cin_relu, ours.cin_relu) == (False, True, False)
    assert (paper.embedding, official.embedding, ours.embedding) == (256, 16, 256)
    assert (paper.skips, official.skips, ours.skips) == (False, False, True)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("rows", "columns"), [(48, 48), (32, 80)])
def test_any_multiple_of_sixteen_goes_through(preset: str, rows: int, columns: int) -> None:
    model = small(preset)
    latent = model.encode(*pair(2, rows, columns))
    image = model.decode(latent, 0.3)
    assert image.shape == (2, 1, rows, columns)
    assert image.min() >= 0
    assert image.max() <= 1
    assert latent.multi.shape == (2, 16, rows // 4, columns // 4)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        small("msl-lite").encode(*pair(1, 40, 48))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_that_is_called_gets_a_gradient(preset: str) -> None:
    model = small(preset).train()
    latent = model.encode(*pair())
    loss = sum(model.decode(latent, lam).square().sum() for lam in (0.0, 0.5, 1.0))
    loss.backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    if preset == "official":  # what the published code never calls; ReLU'd gamma and beta may kill whole layers
        idle = {name for name in idle if ".blocks." not in name and "decoder" not in name}
        assert idle == {"interaction.unused_class_token"}
    else:
        # Biases in front of an instance norm have no effect, whose gradient is rounding at best.
        assert not {name for name in idle if not name.endswith("bias")}


@pytest.mark.parametrize("preset", PRESETS)
def test_constant_map_equals_scalar_lambda(preset: str) -> None:
    model = small(preset)
    latent = model.encode(*pair())
    for lam in (0.0, 0.3, 1.0):
        with torch.no_grad():
            scalar = model.decode(latent, lam)
            assert torch.allclose(scalar, model.decode(latent, torch.full((2, 1, 48, 48), lam)), atol=2e-6)
            assert torch.equal(scalar, model.decode(latent, torch.full((2,), lam)))


def test_lambda_map_acts_where_it_is_painted() -> None:
    model = small("msl-lite")
    latent = model.encode(*pair(1))
    lam = torch.zeros(1, 1, 48, 48)
    lam[..., 24:] = 1
    with torch.no_grad():
        mixed, ct, mr = model.decode(latent, lam), model.decode(latent, 0.0), model.decode(latent, 1.0)
    left, right = (..., slice(0, 16)), (..., slice(32, 48))
    assert (mixed - ct)[left].abs().mean() < 0.5 * (mixed - mr)[left].abs().mean()
    assert (mixed - mr)[right].abs().mean() < 0.5 * (mixed - ct)[right].abs().mean()


def test_cin_is_equation_eleven() -> None:
    torch.manual_seed(3)
    cin = ConditionalInstanceNorm(5, 7, unbiased=True)
    embed = torch.nn.Linear(1, 7)
    x = torch.randn(2, 5, 6, 6)
    lam = torch.rand(2, 1, 6, 6)
    s = embed(lam.permute(0, 2, 3, 1))
    gamma, beta = cin.gamma(s).permute(0, 3, 1, 2), cin.beta(s).permute(0, 3, 1, 2)
    norm = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(cin(x, lam, embed), gamma * norm + beta, atol=1e-5)
    biased = ConditionalInstanceNorm(5, 7)
    biased.load_state_dict(cin.state_dict())
    norm = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    assert torch.allclose(biased(x, lam, embed), gamma * norm + beta, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("missing", [0, 1])
def test_masked_modality_is_the_same_as_no_modality(preset: str, missing: int) -> None:
    model = small(preset)
    images = list(pair())
    present = torch.ones(2, 2, dtype=torch.bool)
    present[:, missing] = False
    masked = model.decode(model.encode(*images, present=present), 0.4)
    images[missing] = None
    absent = model.decode(model.encode(*images), 0.4)
    assert torch.allclose(masked, absent, atol=1e-5)


@pytest.mark.parametrize("preset", ["paper", "msl", "msl-lite"])
def test_masked_modality_has_exactly_no_influence(preset: str) -> None:
    model = small(preset)
    ct, mr = pair()
    mr.requires_grad_()
    present = torch.tensor([[True, False], [True, True]])
    model.decode(model.encode(ct, mr, present=present), 0.7).sum().backward()
    assert mr.grad is not None
    assert not mr.grad[0].any()
    assert mr.grad[1].any()


def test_slices_with_different_modalities_share_a_batch() -> None:
    model = small("msl-lite")
    ct, mr = pair()
    present = torch.tensor([[True, False], [False, True]])
    together = model.decode(model.encode(ct, mr, present=present), 0.5)
    first = model.decode(model.encode(ct[:1], None), 0.5)
    second = model.decode(model.encode(None, mr[1:]), 0.5)
    assert torch.allclose(together, torch.cat([first, second]), atol=1e-5)


def test_nothing_given_is_refused() -> None:
    model = small("msl-lite")
    with pytest.raises(InputError, match="At least one modality"):
        model.encode(None, None)
    with pytest.raises(InputError, match="present in every slice"):
        model.encode(*pair(), present=torch.tensor([[False, False], [True, True]]))
    with pytest.raises(InputError, match="takes 2 modalities"):
        model.encode(pair()[0])


def test_untrained_msl_is_the_blend_of_the_sensor_images() -> None:
    model = MSL(preset_config("msl-lite", **SMALL)).eval()
    ct, mr = pair()
    blend = model.decode(model.encode(ct, mr), 0.25)
    assert torch.allclose(blend, 0.75 * ct + 0.25 * mr, atol=1e-6)


def test_crop_uses_its_part_of_the_position_table() -> None:
    model = small("msl", token_grid=(6, 6))
    table = model.interaction._position(3, 3, (2, 1))
    expected = model.interaction.position[:, :, 2:5, 1:4].flatten(2).transpose(1, 2)
    assert torch.equal(table, expected)


def test_three_modalities_have_nine_groups() -> None:
    model = small("msl", modalities=("ct", "t1", "t2")).train()
    ct, t1 = pair()
    latent = model.encode(ct, t1, t1 * 0.5)
    assert latent.groups is not None
    assert latent.groups.shape == (2, 9, 9, 16)
    weights = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    assert model.decode(latent, weights).shape == (2, 1, 48, 48)


def test_weights_of_two_modalities_are_lambda() -> None:
    model = small("msl")
    latent = model.encode(*pair())
    lam = torch.tensor([0.2, 0.9])
    weights = torch.stack([1 - lam, lam], 1)
    assert torch.equal(model.decode(latent, weights), model.decode(latent, lam))
    maps = weights[:, :, None, None].expand(-1, -1, 48, 48)
    assert torch.equal(model.decode(latent, maps), model.decode(latent, maps[:, 1:]))


def test_three_modalities_take_three_weights() -> None:
    model = small("msl", modalities=("ct", "t1", "t2"))
    ct, t1 = pair()
    latent = model.encode(ct, t1, None)
    with pytest.raises(InputError, match="a weight for each, not 1"):
        model.decode(latent, 0.5)
    weights = torch.tensor([[0.25, 0.25, 0.5]]).expand(2, -1)
    maps = weights[:, :, None, None].expand(-1, -1, 48, 48)
    with torch.no_grad():
        assert torch.allclose(model.decode(latent, weights), model.decode(latent, maps), atol=2e-6)


@pytest.mark.parametrize("preset", PRESETS)
def test_lambdas_decoded_together_equal_each_alone(preset: str) -> None:
    model = small(preset)
    latent = model.encode(*pair())
    lams = [0.0, torch.tensor([0.3, 0.8]), torch.rand(2, 1, 48, 48)]
    for together, lam in zip(model.decode_all(latent, lams), lams, strict=True):
        assert torch.equal(together, model.decode(latent, lam))


def test_latent_of_one_slice_decodes_like_the_batch() -> None:
    model = small("msl-lite")
    latent = model.encode(*pair(3))
    with torch.no_grad():
        whole, one = model.decode(latent, 0.6), model.decode(latent.slice(1), 0.6)
    assert torch.allclose(whole[1:2], one, atol=1e-6)


def test_configuration_round_trip_and_refusals() -> None:
    config = preset_config("msl-lite")
    assert MSLConfig.from_dict(config.to_dict()) == config
    assert count(build("msl", config.to_dict())) == count(MSL(config))
    with pytest.raises(InputError, match="no setting 'widht'"):
        MSLConfig.from_dict({"widht": 3})
    with pytest.raises(InputError, match="unusable value"):
        MSLConfig.from_dict({"width": "large"})
    with pytest.raises(InputError, match="fusion 'product' is unknown"):
        MSLConfig.from_dict({"fusion": "product"})
    with pytest.raises(InputError, match="between 1 and 8192"):
        MSLConfig.from_dict({"token_dim": 10**9})
    with pytest.raises(InputError, match="no preset 'huge'"):
        preset_config("huge")
    with pytest.raises(InputError, match="architecture 'unet' is unknown"):
        build("unet", {})
