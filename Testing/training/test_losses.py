"""Equations 14 to 20, each term against a hand computation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_bench import config, trainer

from MSLFusionTrainingLib.data import SliceSet
from MSLFusionTrainingLib.draws import StepDraw, draw_slice
from MSLFusionTrainingLib.losses import (
    LossTerms,
    equal_weights,
    feature_loss,
    fusion_loss,
    random_weights,
    reconstruction_loss,
    soft_clip,
)
from MSLFusionTrainingLib.objective import Objective

WHOLE = StepDraw(None, False, 0)


def randoms(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_reconstruction_is_equation_fourteen() -> None:
    x_ct, x_mr = randoms(2, 2, 1, 4, 4)
    truths = randoms(2, 2, 4, 4, seed=1)
    by_hand = (x_ct[:, 0] - truths[:, 0]).abs().mean() + (x_mr[:, 0] - truths[:, 1]).abs().mean()
    assert torch.isclose(reconstruction_loss([x_ct, x_mr], truths), by_hand)


def test_fusion_is_equation_fifteen_at_one_half() -> None:
    x, truths = randoms(2, 1, 4, 4), randoms(2, 2, 4, 4, seed=1)
    to_ct, to_mr = ((x[:, 0] - truths[:, m]) ** 2 for m in (0, 1))
    anchor = fusion_loss(x, equal_weights(2, x.device), truths)
    assert torch.isclose(anchor, 0.5 * to_ct.mean() + 0.5 * to_mr.mean())
    assert torch.isclose(fusion_loss(x, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), truths), to_ct.mean())
    left_ct = torch.zeros(2, 2, 4, 4)
    left_ct[:, 0, :, :2] = 1
    left_ct[:, 1, :, 2:] = 1
    halves = torch.cat([to_ct[..., :2], to_mr[..., 2:]], -1)
    assert torch.isclose(fusion_loss(x, left_ct, truths), halves.mean())


def test_constant_map_of_weights_gives_the_loss_of_the_numbers() -> None:
    x, truths = randoms(2, 1, 4, 4), randoms(2, 3, 4, 4, seed=1)
    weights = torch.tensor([0.2, 0.3, 0.5]).view(1, 3, 1, 1)
    scalar = fusion_loss(x, weights, truths)
    assert torch.isclose(fusion_loss(x, weights.expand(2, 3, 4, 4), truths), scalar)
    by_hand = sum(w * (x[:, 0] - truths[:, m]).square().mean() for m, w in enumerate((0.2, 0.3, 0.5)))
    assert torch.isclose(scalar, torch.as_tensor(by_hand))


def test_feature_loss_pairs_shares_with_what_they_serve() -> None:
    intra_ct, ct_to_mr, mr_to_ct, intra_mr = randoms(4, 2, 3, 5)
    groups = torch.stack([intra_ct, ct_to_mr, mr_to_ct, intra_mr], 1)
    expected = (intra_ct - mr_to_ct).abs().mean() + (intra_mr - ct_to_mr).abs().mean()
    assert torch.isclose(feature_loss(groups, 2), expected)
    three = randoms(1, 9, 2, 2)
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    expected = sum((three[:, 3 * i + j] - three[:, 4 * j]).abs().mean() for i, j in pairs) / 2
    assert torch.isclose(feature_loss(three, 3), expected)


def test_total_is_equation_twenty_with_each_weight() -> None:
    terms = LossTerms(*(torch.tensor(value) for value in (3.0, 5.0, 7.0, 11.0)))
    assert terms.total(1.0, 1.0, 1.0, 0.5) == 3 + 5 + 0.5 * 7 + 11
    assert terms.total(2.0, 0.0, 0.0, 0.0) == 6
    assert terms.total(0.0, 2.0, 0.0, 0.0) == 10
    assert terms.total(0.0, 0.0, 2.0, 0.0) == 22
    assert terms.total(0.0, 0.0, 0.0, 2.0) == 14


def test_all_terms_against_numpy() -> None:
    """Equations 14 to 20 written with numpy alone, from arrays of different numbers everywhere."""
    chance = np.random.default_rng(3)
    x_ct, x_mr, x_half, aux_ct, aux_mr = chance.random((5, 2, 1, 6, 8), dtype=np.float32)
    truths = chance.random((2, 2, 6, 8), dtype=np.float32)
    groups = chance.standard_normal((2, 4, 5, 7), dtype=np.float32)
    t = torch.from_numpy
    terms = LossTerms(
        reconstruction_loss([t(x_ct), t(x_mr)], t(truths)),
        fusion_loss(t(x_half), equal_weights(2, torch.device("cpu")), t(truths)),
        feature_loss(t(groups), 2),
        reconstruction_loss([t(aux_ct), t(aux_mr)], t(truths)),
    )
    ct, mr = truths[:, 0], truths[:, 1]
    eq14 = np.abs(x_ct[:, 0] - ct).mean() + np.abs(x_mr[:, 0] - mr).mean()
    eq15 = 0.5 * ((x_half[:, 0] - ct) ** 2).mean() + 0.5 * ((x_half[:, 0] - mr) ** 2).mean()
    eq18 = np.abs(aux_ct[:, 0] - ct).mean() + np.abs(aux_mr[:, 0] - mr).mean()
    intra_ct, ct_to_mr, mr_to_ct, intra_mr = groups.swapaxes(0, 1)
    eq19 = np.abs(intra_ct - mr_to_ct).mean() + np.abs(intra_mr - ct_to_mr).mean()
    found = (terms.reconstruction, terms.fusion, terms.aux, terms.feature, terms.total(1.0, 1.0, 1.0, 0.5))
    expected = (eq14, eq15, eq18, eq19, eq14 + eq15 + eq18 + 0.5 * eq19)
    assert [float(value) for value in found] == pytest.approx([float(value) for value in expected], rel=1e-5)


def test_constant_map_gives_the_terms_of_the_number(pair: torch.Tensor, heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(), heads, tmp_path)
    torch.nn.init.normal_(run.model.decoder.head[0].weight, std=0.1)
    numbers = torch.tensor([[0.7, 0.3], [0.2, 0.8]])[:, :, None, None]
    present = torch.tensor([[True, False], [False, True]])
    with torch.no_grad():
        one = run.objective(pair, pair, numbers, present)
        other = run.objective(pair, pair, numbers.expand(-1, -1, *pair.shape[-2:]), present)
    for name in ("reconstruction", "fusion", "feature", "aux"):
        assert torch.isclose(getattr(one, name), getattr(other, name), rtol=1e-5)


def test_soft_clip_sees_the_outside_in_part() -> None:
    x = torch.tensor([-0.5, 0.0, 0.3, 1.0, 1.2])
    assert torch.allclose(soft_clip(x, 0.1), torch.tensor([-0.05, 0.0, 0.3, 1.0, 1.02]))
    assert torch.equal(soft_clip(x, 1.0), x)


@pytest.mark.parametrize("preset", ["paper", "official", "msl-lite"])
def test_objective_is_made_of_the_networks_own_images(
    preset: str, pair: torch.Tensor, heads: SliceSet, tmp_path: Path
) -> None:
    """All five decodes, each loss written out with encode and decode."""
    model_changes = config(preset).model | {"dropout": 0.0}
    run = trainer(config(preset, model=model_changes, fusion_lambda="half"), heads, tmp_path)
    model, settings = run.model, run.config
    torch.nn.init.normal_(model.decoder.head[0].weight, std=0.05)
    present = torch.tensor([[True, False], [False, True]])
    if preset == "official":
        present = torch.tensor([[True, False], [True, False]])
    sensors = (pair * 0.9 + 0.05).clamp(0, 1)
    with torch.no_grad():
        terms = Objective(model, settings)(sensors, pair, None, present)
        features = model.features(sensors.split(1, 1))
        groups = model.interaction(features, None)
        latent = model.fuse(features, groups, torch.ones(2, 2, dtype=torch.bool))
        seen = groups if settings.aux == "leak" else model.interaction(features, present)
        alone = model.fuse(features, seen, present)
        ct, mr, half = (soft_clip(model.decode(latent, lam), settings.outside) for lam in (0.0, 1.0, 0.5))
        aux_ct, aux_mr = (soft_clip(model.decode(alone, lam), settings.outside) for lam in (0.0, 1.0))
    truth_ct, truth_mr = pair[:, :1], pair[:, 1:]

    def mae(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().mean()

    def mse(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).square().mean()

    assert torch.isclose(terms.reconstruction, mae(ct, truth_ct) + mae(mr, truth_mr), rtol=1e-4)
    assert torch.isclose(terms.fusion, 0.5 * mse(half, truth_ct) + 0.5 * mse(half, truth_mr), rtol=1e-4)
    share = 1.0 if preset == "paper" else 0.5
    assert torch.isclose(terms.aux, share * (mae(aux_ct, truth_ct) + mae(aux_mr, truth_mr)), rtol=1e-4)
    assert torch.isclose(terms.feature, mae(groups[:, 0], groups[:, 2]) + mae(groups[:, 3], groups[:, 1]), rtol=1e-4)


@pytest.mark.parametrize("aux", ["masked", "leak"])
def test_auxiliary_pass_sees_nothing_of_the_missing_modality(
    aux: str, pair: torch.Tensor, heads: SliceSet, tmp_path: Path
) -> None:
    run = trainer(config(aux=aux), heads, tmp_path)
    torch.nn.init.normal_(run.model.decoder.head[0].weight, std=0.1)
    sensors = pair.clone().requires_grad_()
    present = torch.tensor([[True, False], [False, True]])
    terms = run.objective(sensors, pair, None, present)
    (gradient,) = torch.autograd.grad(terms.aux, sensors)
    # Per slice: the first lacks MR, the second CT. The published way lets them in through the attention.
    assert bool(gradient[0, 1].any()) == (aux == "leak")
    assert bool(gradient[1, 0].any()) == (aux == "leak")
    assert gradient[0, 0].any()
    assert gradient[1, 1].any()


def test_masked_pass_at_three_modalities(three: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(modalities=("ct", "t1", "t2")), three, tmp_path)
    torch.nn.init.normal_(run.model.decoder.head[0].weight, std=0.1)
    truths = three.batch(torch.tensor([2, 3]), torch.device("cpu"))
    sensors = truths.clone().requires_grad_()
    present = torch.tensor([[True, False, True], [False, True, False]])
    terms = run.objective(sensors, truths, None, present)
    (gradient,) = torch.autograd.grad(terms.aux, sensors)
    assert [[bool(x.any()) for x in one] for one in gradient] == present.tolist()


def test_auxiliary_pass_draws_a_modality_for_every_slice() -> None:
    settings = config()
    masks = [draw_slice(settings, WHOLE, 3, place, 6).present for place in range(40)]
    assert set(masks) == {(True, False), (False, True)}
    leak = [draw_slice(replace(settings, aux="leak"), StepDraw(None, False, 1), 3, place, 6) for place in range(9)]
    assert {one.present for one in leak} == {(False, True)}
    three = [
        draw_slice(replace(settings, modalities=("ct", "t1", "t2")), WHOLE, 3, place, 6).present for place in range(60)
    ]
    assert len(set(three)) == 6


def test_random_weights_lie_on_the_simplex() -> None:
    for maps, shape in ((False, (1, 1)), (True, (32, 48))):
        for modalities in (2, 3):
            generators = [torch.Generator().manual_seed(seed) for seed in range(300)]
            weights = random_weights(modalities, (32, 48), maps, generators)
            assert weights.shape == (300, modalities, *shape)
            assert weights.min() >= 0
            assert torch.allclose(weights.sum(1), torch.ones(()))
            assert weights.mean((0, 2, 3)).sub(1 / modalities).abs().max() < 0.05
            # Both ends of the dial are met.
            assert weights[:, 0].min() < 0.03
            assert weights[:, 0].max() > 0.9
