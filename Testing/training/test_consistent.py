"""Data consistency inside training: learned steps between corrections, and starting from another model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_bench import CLEAN, config, same_weights, trainer

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import save_checkpoint
from MSLFusionLib.nets.refine import Refiner
from MSLFusionLib.recon.consistency import blended, changes
from MSLFusionLib.recon.unrolled import unrolled
from MSLFusionTrainingLib import quality
from MSLFusionTrainingLib.consistent import consistent_loss
from MSLFusionTrainingLib.data import SliceSet
from MSLFusionTrainingLib.draws import draw_slice, draw_step, usual_sampling
from MSLFusionTrainingLib.export import make_card
from MSLFusionTrainingLib.refinement import NAME, refinement_loss
from MSLFusionTrainingLib.trainer import Trainer, started

STEPS = {**CLEAN, "cascades": 1, "refine_width": 8, "crop": 0, "only_refinement": True}


def trained(refiner: Refiner) -> Refiner:
    """As if it had learned something."""
    with torch.no_grad():
        for parameter in refiner.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return refiner


def measured(run: Trainer, count: int = 2) -> tuple:
    drawn = [draw_slice(run.config, draw_step(run.config, 0, 16), 0, place, 4) for place in range(count)]
    sensors, truths, _, scans = run.measure(drawn)
    return sensors, truths, scans


def test_untrained_steps_change_nothing_and_trained_ones_only_what_was_measured() -> None:
    images = list(torch.rand(2, 1, 1, 36, 52, generator=torch.Generator().manual_seed(0)))
    same = Refiner(2, 8)(images, [None, None], images)
    assert all(torch.equal(a, b) for a, b in zip(same, images, strict=True))
    refiner = trained(Refiner(2, 8))
    ct, mr = refiner(images, [images[1], None], [images[0], None])
    assert ct.shape == images[0].shape
    assert not torch.allclose(ct, images[0], atol=1e-3)
    assert mr is images[1]
    # In a batch, a slice without a modality is treated as it is alone.
    pair = [image.expand(2, -1, -1, -1) for image in images]
    nothing = torch.zeros_like(images[1])
    sensor = torch.cat([images[1], nothing])
    here = [torch.tensor([True, True]), torch.tensor([True, False])]
    both = refiner(pair, [pair[1], torch.cat([nothing, nothing])], [pair[0], sensor], here)
    assert torch.allclose(both[0][1:], ct, atol=1e-5)
    assert torch.equal(both[1][1:], images[1])
    assert not torch.allclose(both[1][:1], images[1], atol=1e-3)


def test_unrolled_is_correction_step_correction(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(**STEPS), heads, tmp_path)
    sensors, truths, scans = measured(run, 1)
    scan = scans[0]
    images = (truths[:, :1] * 0.9, truths[:, 1:] * 0.9)
    seen = (sensors[:, :1], sensors[:, 1:])
    given = (scan.scanners, scan.data, scan.noise)
    once = changes(*given, *images)
    plain = unrolled(*given, images, seen)
    assert torch.allclose(plain.ct, once.ct)
    assert torch.allclose(plain.mr, once.mr)
    refiner = trained(Refiner(2, 8))
    first = [blended(images[m], float(m), once) for m in range(2)]
    refined = [image.clamp(0, 1) for image in refiner(first, [once.ct, once.mr], seen)]
    again = changes(*given, *refined)
    found = unrolled(*given, images, seen, refiner)
    assert torch.allclose(images[0] + found.ct, refined[0] + again.ct, atol=1e-6)
    assert torch.allclose(images[1] + found.mr, refined[1] + again.mr, atol=1e-6)
    alone = unrolled(*given, images, (seen[0], None), refiner)
    assert alone.mr is None
    assert alone.ct is not None


@pytest.mark.parametrize("frozen", [True, False])
def test_gradient_passes_through_the_corrections(heads: SliceSet, tmp_path: Path, frozen: bool) -> None:
    run = trainer(config(**{**STEPS, "only_refinement": frozen}), heads, tmp_path)
    trained(run.model.refiner)
    sensors, truths, scans = measured(run)
    everything = torch.ones(2, 2, dtype=torch.bool)
    loss = consistent_loss(run.model, sensors, scans, truths, everything, frozen)
    loss.backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in run.model.parameters() if p.grad is not None)
    assert any(bool((p.grad != 0).any()) for p in run.model.refiner.parameters() if p.grad is not None)
    encoder = [p.grad for p in run.model.encoders.parameters()]
    assert all(grad is None for grad in encoder) == frozen
    # What was not measured keeps the network's image, and its error is that of the network.
    only_ct = torch.tensor([[True, False]] * 2)
    run.model.eval()
    with torch.no_grad():
        found = consistent_loss(run.model, sensors, scans, truths, only_ct, frozen)
        latent = run.model.encode(*sensors.split(1, 1), present=only_ct)
        mr = (run.model.decode(latent, 1.0) - truths[:, 1:]).abs().mean()
    assert float(found) > float(mr)


def test_whole_slices_train_the_steps_alone(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(**STEPS, iterations=24, warmup=2, learning_rate=5e-3), heads, tmp_path)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    losses = [float(run.step()[5]) for _ in range(24)]
    assert sum(losses[-6:]) < 0.97 * sum(losses[:6])
    after = run.model.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"refiner"}
    result = quality.evaluate(run.model, heads, run.simulator, usual_sampling(run.config), limit=2)
    assert result["ct"]["corrected"]["psnr"] > result["ct"]["fbp"]["psnr"]
    assert result["mr"]["corrected"]["psnr"] > result["mr"]["zero_filled"]["psnr"]


def test_crops_of_corrected_slices_train_the_steps_and_resume_exactly(heads: SliceSet, tmp_path: Path) -> None:
    settings = config(**{**STEPS, "crop": 32, "corrected_slices": 6, "iterations": 8, "checkpoint_every": 4})
    whole = trainer(settings, heads, tmp_path / "whole")
    whole.run()
    kept = np.load(tmp_path / "whole" / NAME, mmap_mode="r")
    assert kept.shape == (6, 8, 64, 64)
    assert float(np.abs(kept[:, :2].astype(np.float32) - kept[:, 6:].astype(np.float32)).mean()) < 0.2
    part = trainer(settings, heads, tmp_path / "part")

    class Enough(Exception):
        pass

    original, steps = part.step, []

    def step(job: object) -> torch.Tensor:
        if len(steps) == 5:
            raise Enough
        steps.append(1)
        return original(job)

    part.step = step
    with pytest.raises(Enough):
        part.run()
    again = trainer(settings, heads, tmp_path / "part")
    assert again.resume()
    assert again.iteration == 4
    again.run()
    assert same_weights(whole.model, again.model)


def test_a_crop_without_a_modality_counts_for_the_other_alone() -> None:
    refiner = trained(Refiner(2, 8))
    planes = torch.rand(1, 8, 32, 32, generator=torch.Generator().manual_seed(3))
    planes[:, [3, 5]] = 0.0
    by_hand = refiner([planes[:, :1], planes[:, 1:2]], [planes[:, 2:3], None], [planes[:, 4:5], None])
    expected = (by_hand[0].clamp(0, 1) - planes[:, 6:7]).abs().mean() + (planes[:, 1] - planes[:, 7]).abs().mean()
    assert torch.isclose(refinement_loss(refiner, planes), expected, rtol=1e-5)


def test_training_starts_from_another_model(heads: SliceSet, tmp_path: Path) -> None:
    settings = config(iterations=2, **CLEAN)
    first = trainer(settings, heads, tmp_path / "first")
    card = make_card(first.model, settings, 0, {}, "nothing", "test")
    save_checkpoint(tmp_path / "start.safetensors", first.model, card)
    from_there = config(**STEPS, start=str(tmp_path / "start.safetensors"), seed=9)
    second = trainer(from_there, heads, tmp_path / "second")
    mine, other = second.model.state_dict(), first.model.state_dict()
    assert all(torch.equal(mine[name], value) for name, value in other.items())
    assert any(name.startswith("refiner.") for name in mine)
    wider = config(start=from_there.start, model={**settings.model, "mlp_dim": 48})
    with pytest.raises(InputError, match="has another network"):
        trainer(wider, heads, tmp_path / "third")
    other_roles = config(start=from_there.start, modalities=("t1", "t2"))
    with pytest.raises(InputError, match="for other modalities"):
        started(first.model, other_roles)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"only_refinement": True}, "set cascades to 1"),
        ({"cascades": 1, "modalities": ("t1", "t2")}, "need CT measured"),
        ({"cascades": 1, "crop": 32}, "need whole slices"),
    ],
)
def test_settings_that_cannot_be_trained(settings: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        config(**settings)
