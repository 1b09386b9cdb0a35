"""A training run: steps, logs, checkpoints, what goes wrong, export."""

import json
import locale
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import image as files
from training_bench import CLEAN, config, same_weights, trainer

from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionLib.io.checkpoints import load_checkpoint, save_checkpoint
from MSLFusionLib.progress import Job
from MSLFusionTrainingLib import quality
from MSLFusionTrainingLib.config import training_preset
from MSLFusionTrainingLib.data import SliceSet, head_seeds, load_heads
from MSLFusionTrainingLib.draws import draw_slice, draw_step, usual_sampling
from MSLFusionTrainingLib.export import card_config, checkpoint_of, make_card, trained_model, verify
from MSLFusionTrainingLib.logs import LOG, SAMPLES, VALIDATION
from MSLFusionTrainingLib.state import BEST, LAST, load_extra, load_state, read_facts, save_state
from MSLFusionTrainingLib.trainer import Trainer


def rows(folder: Path) -> list[dict[str, float]]:
    lines = (folder / LOG).read_text().splitlines()
    return [dict(zip(lines[0].split(","), map(float, line.split(",")), strict=True)) for line in lines[1:]]


def test_loss_falls(heads: SliceSet, tmp_path: Path) -> None:
    settings = config(iterations=50, crop=0, warmup=5, learning_rate=1e-2, **CLEAN)
    run = trainer(settings, heads, tmp_path)
    losses = [float(run.step()[1]) for _ in range(50)]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


@pytest.mark.parametrize(
    ("modalities", "measured", "roles"),
    [
        (("ct", "t1", "t2"), ("fan-beam", "fourier", "fourier"), ("ct", "t1", "t2")),
        (("t1", "t2"), ("fourier", "fourier"), ("t1", "t2")),
        (("ct", "pet"), ("image", "image"), ("ct", "pet")),
        (("t1", "pet"), ("image", "image"), ("mr", "pet")),
    ],
)
def test_other_modalities_train_and_are_validated(
    modalities: tuple[str, ...], measured: tuple[str, ...], roles: tuple[str, ...], three: SliceSet, tmp_path: Path
) -> None:
    settings = config(modalities=modalities, iterations=2, image_noise=0.1, validate_every=2)
    assert settings.measured == measured
    assert settings.roles == roles
    slices = SliceSet(three.slices[:, : len(modalities)].contiguous())
    run = trainer(settings, slices, tmp_path)
    run.run()
    model, again, facts = trained_model(checkpoint_of(tmp_path))
    assert model.modalities == roles
    assert again == settings
    for role in roles:
        assert set(facts["validation"][role]["network"]) == {"mae", "psnr", "ssim", "mi"}
    assert len(facts["validation"]["single"]) == len(roles) ** 2
    card = make_card(model, settings, 2, facts["validation"], "test", "mslfusion train")
    save_checkpoint(tmp_path / "m.safetensors", model, card)
    assert load_checkpoint(tmp_path / "m.safetensors").card["modalities"] == list(roles)


def test_loss_of_three_modalities_falls(three: SliceSet, tmp_path: Path) -> None:
    settings = config(modalities=("ct", "t1", "t2"), iterations=30, crop=0, warmup=3, learning_rate=1e-2, **CLEAN)
    run = trainer(settings, three, tmp_path)
    losses = [float(run.step()[1]) for _ in range(30)]
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])


def test_logs_pictures_and_best_checkpoint(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(validate_every=3), heads, tmp_path)
    run.run()
    log = rows(tmp_path)
    assert [row["iteration"] for row in log] == [2, 4, 6]
    assert all(row["loss"] > 0 and row["gradient_norm"] > 0 for row in log)
    lines = [json.loads(line) for line in (tmp_path / VALIDATION).read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [3, 6]
    assert sorted(path.name for path in (tmp_path / SAMPLES).iterdir()) == [
        "iteration-000003.png",
        "iteration-000006.png",
    ]
    assert files.imread(tmp_path / SAMPLES / "iteration-000006.png").shape[:2] == (128, 192)
    best = max(lines, key=lambda line: line["ct"]["corrected"]["psnr"] + line["mr"]["corrected"]["psnr"])
    facts = read_facts(tmp_path / BEST)
    assert facts["iteration"] == best["iteration"] == run.best["iteration"]
    assert facts["validation"] == best
    assert load_extra(tmp_path / BEST)["sensors"].shape == (3, 2, 64, 64)


def test_tensorboard_gets_the_same_curve(heads: SliceSet, tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer(config(validate_every=6), heads, tmp_path).run()
    board = reading.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    losses = [(event.step, event.value) for event in board.Scalars("train/loss")]
    assert losses == [(row["iteration"], pytest.approx(row["loss"], rel=1e-6)) for row in rows(tmp_path)]
    assert board.Scalars("validation/ct/psnr")[0].step == 6
    assert board.Tags()["images"]


def test_run_without_improvement_stops_early(heads: SliceSet, tmp_path: Path) -> None:
    sentences: list[str] = []
    settings = config(iterations=50, validate_every=1, patience=2, learning_rate=1e-9, ema=0.0, validation_slices=1)
    run = trainer(settings, heads, tmp_path)
    run.best = {"score": 1e9, "iteration": 0, "stale": 0}
    run.run(Job(warn=sentences.append))
    assert run.iteration == 2
    assert sentences == ["Stopped at iteration 2: no better since iteration 0."]
    again = trainer(settings, heads, tmp_path)
    assert again.resume()
    assert again.finished


def test_folder_of_other_settings_is_refused(heads: SliceSet, tmp_path: Path) -> None:
    trainer(config(), heads, tmp_path).run()
    with pytest.raises(InputError, match="another 'learning_rate'"):
        trainer(config(learning_rate=0.1), heads, tmp_path).resume()
    (tmp_path / LAST).write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        trainer(config(), heads, tmp_path).resume()


def test_cancelled_run_keeps_its_state(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(), heads, tmp_path)
    with pytest.raises(Cancelled):
        run.run(Job(cancelled=lambda: run.iteration >= 3))
    fresh = trainer(config(), heads, tmp_path)
    assert fresh.resume()
    assert fresh.iteration == 3


def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(iterations=20), heads, tmp_path)
    good = run.step

    def step(job: Job) -> torch.Tensor:
        if run.iteration == 5:
            run.model.decoder.head[0].bias.data.fill_(float("nan"))
        return good(job)

    run.step = step  # type: ignore[method-assign]
    with pytest.raises(JobError, match=r"not finite at iteration 5 \(loss, reconstruction, fusion"):
        run.run()
    fresh = trainer(config(iterations=20), heads, tmp_path)
    assert fresh.resume()
    assert fresh.iteration == 4
    assert all(bool(torch.isfinite(p).all()) for p in fresh.model.parameters())
    with pytest.raises(JobError):
        run.save()


@pytest.mark.skipif(sys.platform == "win32", reason="the size of files cannot be limited there")
def test_full_disk_keeps_the_last_good_state(heads: SliceSet, tmp_path: Path) -> None:
    import resource

    run = trainer(config(), heads, tmp_path)
    run.run()
    before = (tmp_path / LAST).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:  # the system itself ends the write in the middle
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
        with pytest.raises(InputError, match="disk is full or the file too large"):
            run.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / LAST).read_bytes() == before
    assert not list(tmp_path.glob(".*part*"))


def limited(run: Trainer, most: int) -> None:
    """Let the network's memory hold `most` slices."""
    forward = run.objective.forward

    def enough(sensors: torch.Tensor, *rest: object) -> object:
        if len(sensors) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(sensors, *rest)  # type: ignore[arg-type]

    run.objective.forward = enough  # type: ignore[method-assign,assignment]


def test_out_of_memory_takes_the_batch_in_parts(heads: SliceSet, tmp_path: Path) -> None:
    settings = config(batch=5)
    whole, parts = (trainer(settings, heads, tmp_path / name) for name in ("whole", "parts"))
    for run in (whole, parts):
        torch.manual_seed(0)
        torch.nn.init.normal_(run.model.decoder.head[0].weight, std=0.05)
    limited(parts, 2)
    sentences: list[str] = []
    job = Job(warn=sentences.append)
    assert torch.allclose(whole.step(), parts.step(job), rtol=1e-4)
    assert parts.micro == 2
    assert [sentence[:44] for sentence in sentences] == [
        "Out of memory: 3 of 5 slices are taken at a ",
        "Out of memory: 2 of 5 slices are taken at a ",
    ]
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        if a.grad is not None and b.grad is not None:
            assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-5)
    parts.save()
    fresh = trainer(settings, heads, tmp_path / "parts")
    assert fresh.resume()
    assert fresh.micro == 2


def test_slice_that_does_not_fit_is_told(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(), heads, tmp_path)
    limited(run, 0)
    with pytest.raises(JobError, match="does not hold one slice of this network at iteration 0"):
        run.step()


def test_bf16_and_compile_are_options(heads: SliceSet, tmp_path: Path) -> None:
    full, half = (trainer(config(precision=kind), heads, tmp_path) for kind in ("float32", "bf16"))
    a, b = full.step(), half.step()
    assert torch.allclose(a, b, rtol=0.05, atol=1e-3)
    assert not torch.equal(a, b)
    assert next(half.model.parameters()).dtype == torch.float32
    # VTK, where another test has loaded it, leaves the process with ASCII, in which torch cannot read its own files.
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    compiled = trainer(config(compile=True), heads, tmp_path)
    assert isinstance(compiled._compiled, torch._dynamo.eval_frame.OptimizedModule)


def test_gradients_are_clipped(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(clip=1e-3), heads, tmp_path)
    norm = float(run.step()[-1])
    grads = [p.grad for p in run.model.parameters() if p.grad is not None]
    assert norm > 1e-3
    assert float(torch.nn.utils.get_total_norm(grads)) == pytest.approx(1e-3, rel=1e-3)


def test_averaged_weights_follow(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(ema=0.999, batch=1), heads, tmp_path)
    assert run.averaged is not None
    expected = [p.detach().clone() for p in run.model.parameters()]
    for k in range(3):
        run.step()
        decay = (1 + k) / (10 + k)
        expected = [
            decay * old + (1 - decay) * p.detach() for old, p in zip(expected, run.model.parameters(), strict=True)
        ]
    for a, b in zip(run.averaged.parameters(), expected, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_learning_rates_as_published(heads: SliceSet, tmp_path: Path) -> None:
    paper = trainer(config("paper", iterations=100_000), heads, tmp_path)
    assert paper.learning_rate(0) == 2e-4
    assert paper.learning_rate(9_999) == 2e-4
    assert paper.learning_rate(10_000) == 1e-4
    assert paper.learning_rate(99_999) == pytest.approx(2e-4 / 512)
    ours = trainer(config(iterations=1000, warmup=100), heads, tmp_path)
    assert ours.learning_rate(0) == pytest.approx(1e-5)
    assert ours.learning_rate(100) == pytest.approx(1e-3)
    assert ours.learning_rate(1000) == pytest.approx(1e-5)


def test_crops_use_their_part_of_the_position_table(heads: SliceSet, tmp_path: Path) -> None:
    settings = config(crop=32, iterations=100)
    origins = {draw_step(settings, iteration, 16).origin for iteration in range(60)}
    assert origins == {(16 * i, 16 * j) for i in range(3) for j in range(3)}
    late = replace(settings, whole_from=0.5)
    assert draw_step(late, 50, 16).origin is None
    run = trainer(settings, heads, tmp_path)
    step = draw_step(settings, 0, 16)
    assert step.origin is not None
    seen = []
    run.objective.register_forward_pre_hook(lambda _, args: seen.append((args[0].shape, args[4])))
    run.terms(step, [draw_slice(settings, step, 0, 0, 6)])
    assert seen == [((1, 2, 32, 32), step.origin)]


def test_export_proves_itself_on_the_stored_slices(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(), heads, tmp_path)
    run.run()
    checkpoint = checkpoint_of(tmp_path)
    assert checkpoint.name == BEST
    assert checkpoint_of(tmp_path, last=True).name == LAST
    model, settings, facts = trained_model(checkpoint)
    assert run.averaged is not None
    assert same_weights(model, run.averaged)
    verify(model, checkpoint, settings, facts)
    verify(model, checkpoint, settings, facts, half=True)
    model.decoder.head[0].bias.data += 0.2
    with pytest.raises(InputError, match="does not reproduce its recorded quality: CT PSNR"):
        verify(model, checkpoint, settings, facts)
    with pytest.raises(InputError, match="holds no training run"):
        checkpoint_of(tmp_path / "heads")
    save_state(tmp_path / LAST, run.model, run.averaged, run.optimiser, facts)
    with pytest.raises(InputError, match="holds no validation slices"):
        verify(model, tmp_path / LAST, settings, facts)
    with pytest.raises(InputError, match="belongs to another network"):
        load_state(checkpoint, run.model, run.averaged, run.optimiser)


def test_card_is_complete_and_leads_back_to_the_settings(heads: SliceSet, tmp_path: Path) -> None:
    run = trainer(config(), heads, tmp_path)
    figures = run.validate()
    card = make_card(run.judged, run.config, 6, figures, "heads 1", "mslfusion train")
    assert card["sensors"]["views"] == [32, 128]
    assert card["contrasts"] == {"ct": "CT", "mr": "T1"}
    assert card["modalities"] == ["ct", "mr"]
    assert card_config(card) == run.config
    save_checkpoint(tmp_path / "m.safetensors", run.judged, card)
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
    assert figures["single"]["ct_from_ct"] == pytest.approx(figures["ct"]["fbp"], rel=1e-3)


def test_heads_are_made_once_and_validation_heads_are_others(tmp_path: Path) -> None:
    settings = config(heads=2, validation_heads=2, slices=3)
    train, validation = head_seeds(settings)
    assert not set(train) & set(validation)
    first = load_heads(settings, train[:1], tmp_path)
    made = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert torch.equal(load_heads(settings, train[:1], tmp_path).slices, first.slices)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == made
    truths = first.batch(torch.arange(len(first)), torch.device("cpu"))
    assert truths.shape == (len(first), 2, 64, 64)
    assert 0.3 < truths[:, 0].max() <= 1
    assert truths[:, 1].max() == 1
    assert np.allclose(truths * 65535, first.slices.to(torch.int32))
    with pytest.raises(InputError, match="Generated heads have no 'flair'"):
        load_heads(replace(settings, modalities=("ct", "flair")), train, tmp_path)


def test_presets_hold_the_published_optimisers() -> None:
    paper, official = training_preset("paper"), training_preset("official")
    for one in (paper, official):
        assert (one.iterations, one.batch, one.learning_rate, one.halve_every) == (100_000, 4, 2e-4, 10_000)
        assert (one.schedule, one.weight_decay) == ("halving", 1e-4)
        weights = (one.weight_reconstruction, one.weight_fusion, one.weight_aux, one.weight_feature)
        assert weights == (1.0, 1.0, 1.0, 0.5)
    assert (paper.betas, official.betas) == ((0.5, 0.99), (0.5, 0.999))
    assert (paper.aux, official.aux, official.aux_mean) == ("masked", "leak", True)
    assert training_preset("msl").preset == "msl"
