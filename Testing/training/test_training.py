"""Training: every loss term by hand, sensors inside the step, exact resume, export."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from MSLFusionLib.errors import InputError, JobError
from MSLFusionLib.io.checkpoints import load_checkpoint
from MSLFusionLib.progress import Job
from MSLFusionTrainingLib import quality
from MSLFusionTrainingLib.augment import randomise
from MSLFusionTrainingLib.config import TrainConfig, training_preset
from MSLFusionTrainingLib.data import SliceSet, head_seeds, load_heads
from MSLFusionTrainingLib.export import card_config, make_card, trained_model
from MSLFusionTrainingLib.losses import feature_loss, fusion_loss, random_lambda, reconstruction_loss, soft_clip
from MSLFusionTrainingLib.sensors import SensorSimulator
from MSLFusionTrainingLib.trainer import STATE, Trainer, usual_sampling

TINY = {"width": 4, "token_dim": 16, "heads": 2, "head_dim": 8, "mlp_dim": 16, "embedding": 8}


def config(**changes: object) -> TrainConfig:
    base = training_preset("msl")
    settings = {"model": TINY, "size": 64, "pixel_mm": 4.0, "iterations": 6, "batch": 2, "heads": 1}
    return replace(base, **(settings | {"checkpoint_every": 2, "validate_every": 100, "crop": 48} | changes))


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    """A few coarse slices of a generated head."""
    cache = tmp_path_factory.mktemp("heads")
    return load_heads(config(slices=6), [7], cache)


def trainer(settings: TrainConfig, heads: SliceSet, folder: Path) -> Trainer:
    return Trainer(settings, heads, heads, folder)


def test_loss_terms_by_hand() -> None:
    a, b, c, d = (torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(4))
    mean = torch.mean
    assert torch.isclose(reconstruction_loss(a, b, c, d), mean((a - c).abs()) + mean((b - d).abs()))
    anchor = 0.5 * mean((a - c) ** 2) + 0.5 * mean((a - d) ** 2)
    assert torch.isclose(fusion_loss(a, 0.5, c, d), anchor)
    assert torch.isclose(fusion_loss(a, 0.0, c, d), mean((a - c) ** 2))
    lam = torch.zeros(2, 1, 4, 4)
    lam[..., 2:] = 1
    halves = torch.cat([(a - c)[..., :2], (a - d)[..., 2:]], -1)
    assert torch.isclose(fusion_loss(a, lam, c, d), mean(halves**2))


def test_soft_clip_sees_the_outside_in_part() -> None:
    x = torch.tensor([-0.5, 0.0, 0.3, 1.0, 1.2])
    assert torch.allclose(soft_clip(x, 0.1), torch.tensor([-0.05, 0.0, 0.3, 1.0, 1.02]))
    assert torch.equal(soft_clip(x, 1.0), x)


def test_feature_loss_pairs_shares_with_what_they_serve() -> None:
    intra_ct, ct_to_mr, mr_to_ct, intra_mr = torch.rand(4, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    groups = torch.stack([intra_ct, ct_to_mr, mr_to_ct, intra_mr], 1)
    expected = (intra_ct - mr_to_ct).abs().mean() + (intra_mr - ct_to_mr).abs().mean()
    assert torch.isclose(feature_loss(groups, 2), expected)
    three = torch.rand(1, 9, 2, 2)
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    expected = sum((three[:, 3 * i + j] - three[:, 4 * j]).abs().mean() for i, j in pairs) / 2
    assert torch.isclose(feature_loss(three, 3), expected)


def test_total_is_equation_twenty(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(aux_every=1), heads, tmp_path)
    ct, mr = heads.batch(torch.tensor([0, 1]), torch.device("cpu"))
    generators = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    terms = run.losses(ct, mr, ct, mr, None, *generators)
    assert terms.aux is not None
    total = terms.total(1.0, 1.0, 0.5)
    expected = terms.reconstruction + terms.fusion + terms.aux + 0.5 * terms.feature
    assert torch.isclose(total, expected)


@pytest.mark.parametrize("aux", ["masked", "leak"])
def test_auxiliary_pass_sees_one_modality(aux: str, heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(aux_every=1, aux=aux), heads, tmp_path)
    torch.nn.init.normal_(run.model.decoder.head[0].weight, std=0.1)
    ct, mr = heads.batch(torch.tensor([0, 1]), torch.device("cpu"))
    zero_filled = mr.clone().requires_grad_()

    cpu = torch.Generator()
    seed = next(s for s in range(50) if bool((torch.rand(2, generator=cpu.manual_seed(s)) < 0.5).all()))
    terms = run.losses(ct, mr, ct, zero_filled, None, cpu.manual_seed(seed), torch.Generator().manual_seed(2))
    assert terms.aux is not None
    (gradient,) = torch.autograd.grad(terms.aux, zero_filled, allow_unused=True, materialize_grads=True)
    # The published way lets the absent modality in through the attention; the masked pass does not.
    assert bool(gradient.any()) == (aux == "leak")


def test_random_lambda_lies_in_range() -> None:
    shapes = set()
    for seed in range(20):
        lam = random_lambda((3, 32, 48), torch.Generator().manual_seed(seed))
        assert lam.min() >= 0
        assert lam.max() <= 1
        shapes.add(tuple(lam.shape))
    assert shapes == {(3, 1, 1, 1), (3, 1, 32, 48)}


def test_domain_randomisation_keeps_range_and_background(heads: SliceSet) -> None:
    ct, mr = heads.batch(torch.tensor([1, 2]), torch.device("cpu"))
    for seed in range(8):
        a, b = randomise(ct, mr, torch.Generator().manual_seed(seed))
        again = randomise(ct, mr, torch.Generator().manual_seed(seed))
        assert torch.equal(a, again[0])
        assert torch.equal(b, again[1])
        assert not torch.equal(b, mr)
        for image in (a, b):
            assert image.min() >= 0
            assert image.max() <= 1
        assert b[..., :2, :2].max() < 0.05


def test_sensor_images_are_worse_than_truth_and_follow_the_sampling(heads: SliceSet) -> None:
    settings = config()
    simulator = SensorSimulator(settings, torch.device("cpu"))
    ct, mr = heads.batch(torch.arange(2), torch.device("cpu"))
    usual = usual_sampling(settings)
    generator = torch.Generator().manual_seed(0)
    errors = []
    for views, acceleration in ((16, 8.0), (64, 2.0)):
        fbp, zero_filled = simulator.images(ct, mr, replace(usual, views=views, acceleration=acceleration), generator)
        errors.append(((fbp - ct).square().mean(), (zero_filled - mr).square().mean()))
        assert fbp.min() >= 0
        assert fbp.max() <= 1
    assert errors[0][0] > errors[1][0] > 0
    assert errors[0][1] > errors[1][1] > 0


def test_loss_falls(heads: SliceSet, tmp_path: Path) -> None:
    usual = {"views": (64,), "accelerations": (4.0,), "masks": ("random",), "photons": 0.0, "kspace_noise": 0.0}
    settings = config(iterations=80, augment=False, crop=0, warmup=5, learning_rate=5e-3, **usual)
    run = trainer(settings, heads, tmp_path)
    losses = [run.step()["reconstruction"] for _ in range(80)]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_killed_and_resumed_run_gives_the_same_weights(heads: SliceSet, tmp_path: Path) -> None:
    whole = trainer(config(model=TINY | {"dropout": 0.1}), heads, tmp_path / "whole")
    whole.run()
    settings = whole.config
    for stop in (2, 4):
        part = trainer(settings, heads, tmp_path / "part")
        part.resume()
        while part.iteration < stop:
            part.step()
        part.save()
        part.step()  # lost when the process is killed here
    last = trainer(settings, heads, tmp_path / "part")
    assert last.resume()
    assert last.iteration == 4
    last.run()
    assert whole.averaged is not None
    assert last.averaged is not None
    for one, other in ((whole.model, last.model), (whole.averaged, last.averaged)):
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_folder_of_other_settings_is_refused(heads: SliceSet, tmp_path: Path) -> None:
    trainer(config(), heads, tmp_path).run()
    with pytest.raises(InputError, match="another 'learning_rate'"):
        trainer(config(learning_rate=0.1), heads, tmp_path).resume()
    (tmp_path / STATE).write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        trainer(config(), heads, tmp_path).resume()


def test_cancelled_run_keeps_its_state(heads: SliceSet, tmp_path: Path) -> None:
    from MSLFusionLib.errors import Cancelled

    run = trainer(config(), heads, tmp_path)
    with pytest.raises(Cancelled):
        run.run(Job(cancelled=lambda: run.iteration >= 3))
    fresh = trainer(config(), heads, tmp_path)
    assert fresh.resume()
    assert fresh.iteration == 3


def test_infinite_loss_stops_with_a_sentence(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(), heads, tmp_path)
    run.model.decoder.head[0].bias.data.fill_(float("nan"))
    with pytest.raises(JobError, match="not finite at iteration 0"):
        run.step()


def test_export_carries_the_averaged_weights_and_a_card(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(), heads, tmp_path)
    run.run()
    model, settings, iteration = trained_model(tmp_path)
    assert (settings, iteration) == (run.config, 6)
    assert run.averaged is not None
    assert torch.equal(next(model.parameters()), next(run.averaged.parameters()))
    figures = quality.evaluate(model, heads, run.simulator, usual_sampling(settings), limit=2)
    card = make_card(model, settings, iteration, figures, [1], "mslfusion train")
    assert card["sensors"]["views"] == [32, 128]
    assert card_config(card) == settings
    from MSLFusionLib.io.checkpoints import save_checkpoint

    save_checkpoint(tmp_path / "m.safetensors", model, card)
    assert load_checkpoint(tmp_path / "m.safetensors").card == card


def test_quality_of_a_perfect_blend(heads: SliceSet, tmp_path: Path) -> None:
    """An untrained network returns its sensor images: no gain at 0 and 1, monotone errors between."""
    run = trainer(config(), heads, tmp_path)
    figures = quality.evaluate(run.model, heads, run.simulator, usual_sampling(run.config))
    assert figures["slices"] == len(heads)
    assert figures["ct"]["gain_db"] == pytest.approx(0, abs=1e-3)
    assert figures["mr"]["gain_db"] == pytest.approx(0, abs=1e-3)
    errors = [row["mae_ct"] for row in figures["lambda"]]
    assert errors == sorted(errors)
    assert set(figures["single"]) == {"ct_from_ct", "mr_from_ct", "ct_from_mr", "mr_from_mr"}


def test_heads_are_made_once_and_validation_heads_are_others(tmp_path: Path) -> None:
    settings = config(heads=2, validation_heads=2, slices=3)
    train, validation = head_seeds(settings)
    assert not set(train) & set(validation)
    first = load_heads(settings, train[:1], tmp_path)
    made = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert torch.equal(load_heads(settings, train[:1], tmp_path).slices, first.slices)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == made
    ct, mr = first.batch(torch.arange(len(first)), torch.device("cpu"))
    assert ct.shape == mr.shape == (len(first), 1, 64, 64)
    assert 0.3 < ct.max() <= 1
    assert mr.max() == 1


def test_settings_from_file_and_flags(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('settings = "paper"\nbatch = 8\n[model]\nwidth = 16\n')
    settings = TrainConfig.from_file(file, {"iterations": 50})
    assert (settings.preset, settings.batch, settings.iterations, settings.betas) == ("paper", 8, 50, (0.5, 0.99))
    assert settings.model == {"width": 16}
    file.write_text("lerning_rate = 1.0\n")
    with pytest.raises(InputError, match=r"'lerning_rate' is unknown\. Did you mean 'learning_rate'"):
        TrainConfig.from_file(file)
    file.write_text("batch = 'many'\n")
    with pytest.raises(InputError, match="'batch' has the unusable value"):
        TrainConfig.from_file(file)
    file.write_text("batch = \n")
    with pytest.raises(InputError, match="cannot be read"):
        TrainConfig.from_file(file)
    with pytest.raises(InputError, match="does not exist"):
        TrainConfig.from_file(tmp_path / "none.toml")
    with pytest.raises(InputError, match="multiples of 16"):
        config(size=100)
    with pytest.raises(InputError, match="larger than 0"):
        config(batch=0)


def test_learning_rates_as_published(heads: SliceSet, tmp_path: Path) -> None:
    paper = trainer(replace(training_preset("paper"), model=TINY, size=64, pixel_mm=4.0), heads, tmp_path)
    assert paper.learning_rate(0) == 2e-4
    assert paper.learning_rate(9_999) == 2e-4
    assert paper.learning_rate(10_000) == 1e-4
    assert paper.learning_rate(99_999) == pytest.approx(2e-4 / 512)
    ours = trainer(config(iterations=1000, warmup=100), heads, tmp_path)
    assert ours.learning_rate(0) == pytest.approx(1e-5)
    assert ours.learning_rate(100) == pytest.approx(1e-3)
    assert ours.learning_rate(1000) == pytest.approx(1e-5)
