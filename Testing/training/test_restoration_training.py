"""Training CMF-Net: what the scanner shows, exact resume, export, and the table that compares networks."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scans import SETTINGS, arrays, patients
from tiny import image

from MSLFusionLib import cli
from MSLFusionLib.benchmarks import restoration
from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.io.checkpoints import load_checkpoint, save_checkpoint
from MSLFusionLib.physics.lowres import LowResolution
from MSLFusionLib.progress import Job
from MSLFusionTrainingLib.data import SliceSet
from MSLFusionTrainingLib.prepare.run import Splitting, prepare
from MSLFusionTrainingLib.prepare.settings import Patient, PrepareSettings
from MSLFusionTrainingLib.restoration.config import RestorationConfig
from MSLFusionTrainingLib.restoration.export import exported
from MSLFusionTrainingLib.restoration.sensing import Sampling, draw_slice, measure
from MSLFusionTrainingLib.restoration.sets import training_slices, validation_volumes, with_data
from MSLFusionTrainingLib.restoration.trainer import RestorationTrainer

TINY = {
    "model": {"channels": 4, "unet_channels": 2, "exchanges": 1, "steps": 1, "pools": 1},
    "size": 64, "pixel_mm": 4.0, "heads": 1, "slices": 4, "validation_heads": 1, "crop": 32, "pad": 2,
    "iterations": 4, "validate_every": 2, "checkpoint_every": 1, "log_every": 1, "validation_slices": 2,
}  # fmt: skip


def tiny(**changes):
    return RestorationConfig.from_dict(TINY | changes)


@pytest.fixture
def slices(three):
    """T1 and T2 of a generated head."""
    return SliceSet(three.slices[:, 1:].contiguous())


def trainer(config, slices, folder):
    return RestorationTrainer(config, slices, [slices], folder)


def test_slices_are_measured_at_the_low_resolution_with_their_own_masks(slices):
    truth = slices.batch(torch.tensor([2, 3]), torch.device("cpu"))
    samplings = [Sampling(1.0, "equispaced", 0), Sampling(4.0, "random", 5)]
    seen = measure(truth, tiny(), samplings, [torch.Generator() for _ in samplings])
    low = LowResolution(2)
    for found, fine in ((seen.auxiliary, truth[:, :1]), (seen.restored, truth[:, 1:])):
        assert torch.allclose(found, low.image(low.measure(fine)).abs(), atol=1e-6)
    assert torch.equal(seen.fine, truth[:, 1:])
    assert torch.allclose(seen.target[0], seen.restored[0], atol=1e-5)
    assert (seen.target[1] - seen.restored[1]).abs().max() > 0.01
    kspace = torch.fft.fft2(low.image(low.measure(truth[1:, 1:])) - seen.target[1:])
    assert kspace.abs().max() > 1e-3


def test_noise_is_in_both_contrasts_and_depends_on_the_seed_alone(slices):
    truth = slices.batch(torch.tensor([2]), torch.device("cpu"))

    def measured(noise, seed):
        generators = [torch.Generator().manual_seed(seed)]
        return measure(truth, tiny(), [Sampling(1.0, "random", 0, noise)], generators)

    clean, noisy, again = measured(0.0, 0), measured(0.05, 3), measured(0.05, 3)
    assert torch.equal(noisy.target, again.target)
    assert (noisy.target - clean.target).std() == pytest.approx(0.05, rel=0.4)
    assert (noisy.auxiliary - clean.auxiliary).std() == pytest.approx(0.05, rel=0.4)
    assert torch.equal(noisy.restored, clean.restored)


def test_crops_of_all_images_belong_together(slices):
    truth = slices.batch(torch.tensor([2, 3]), torch.device("cpu"))
    seen = measure(truth, tiny(), [Sampling(1.0, "random", 0)] * 2, [torch.Generator()] * 2)
    rows = seen.rows([3, 10], 8, 2)
    assert rows.target.shape == (2, 1, 8, 32)
    assert torch.equal(rows.restored[1], seen.restored[1, :, 10:18])
    assert torch.equal(rows.fine[0], seen.fine[0, :, 6:22])


def test_draws_vary_with_iteration_and_place_and_favour_the_usual():
    config = tiny()
    draws = [draw_slice(config, iteration, place, 100) for iteration in range(40) for place in range(2)]
    assert len({draw.seed for draw in draws}) == 80
    usual = np.mean([draw.sampling.acceleration == 4.0 for draw in draws])
    assert 0.4 < usual < 0.8
    assert {draw.sampling.mask for draw in draws} == {"random", "equispaced"}


def test_a_stopped_run_goes_on_exactly(slices, tmp_path):
    config = tiny()
    whole = trainer(config, slices, tmp_path / "whole")
    whole.run()
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 5

    broken = trainer(config, slices, tmp_path / "broken")
    with pytest.raises(Cancelled):
        broken.run(Job(cancelled=stop))
    assert 0 < broken.iteration < config.iterations
    again = trainer(config, slices, tmp_path / "broken")
    assert again.resume()
    again.run()
    for one, other in ((whole.model, again.model), (whole.averaged, again.averaged)):
        for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b), name
    lines = (tmp_path / "broken" / "validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [2, 4]
    with pytest.raises(InputError, match="learning_rate"):
        trainer(tiny(learning_rate=1e-3), slices, tmp_path / "whole").resume()


@pytest.mark.parametrize("changes", [{}, {"network": "unet-bicubic", "model": {"channels": 2, "pools": 1}}])
def test_training_improves_both_images(changes, slices, tmp_path):
    quiet = {"augment": False, "pad": 0, "affine": 0.0, "elastic": 0.0, "invert": 0.0, "kspace_noise": 0.0}
    config = tiny(iterations=60, crop=0, usual=1.0, learning_rate=1e-2, ema=0.9, **quiet, **changes)
    run = trainer(config, SliceSet(slices.slices[2:3]), tmp_path)
    for _ in range(config.iterations):
        run.step()
    figures, pictures = run.measure(run.averaged, Job())
    assert figures["restored"]["nmse"] < 0.95 * figures["zero_filled"]["nmse"]
    assert figures["super_resolved"]["nmse"] < 0.95 * figures["bicubic"]["nmse"]
    assert [image.shape for image in pictures[0]] == [(64, 64)] * 3


def test_the_published_way_keeps_its_own_scale(slices, tmp_path):
    model = {"channels": 4, "unet_channels": 2, "exchanges": 1, "steps": 1, "pools": 1}
    config = RestorationConfig.from_dict(
        TINY | {"preset": "official", "model": model, "scale": 4, "crop": 0, "pad": 0, "batch": 2}
    )
    assert config.optimiser == "rmsprop"
    seen = measure(slices.batch(torch.tensor([2]), torch.device("cpu")), config, [Sampling(1.0, "random", 0)], [None])
    assert seen.restored.mean() == pytest.approx(4 * float(seen.fine.mean()), rel=0.05)
    run = trainer(config, slices, tmp_path)
    assert np.isfinite(run.step()["loss"])
    assert run.averaged is None


def test_train_export_and_validate_from_the_command_line(tmp_path, capsys):
    file = tmp_path / "cmf.toml"
    lines = [f"{key} = {json.dumps(value)}" for key, value in TINY.items() if key != "model"]
    model = ", ".join(f"{key} = {value}" for key, value in TINY["model"].items())
    file.write_text("\n".join(['method = "cmf-net"', *lines, f"model = {{ {model} }}"]))
    run, out = tmp_path / "run", tmp_path / "cmf.safetensors"
    assert cli.main(["train", str(file), "--output", str(run), "--device", "cpu"]) == 0
    assert (run / "samples" / "iteration-000004.png").exists()
    assert cli.main(["export", str(run), "--output", str(out), "--half", "--made-by", "us"]) == 0
    loaded = load_checkpoint(out)
    card = loaded.card
    assert (card["architecture"], card["modalities"]) == ("cmf-net", ["t1", "t2"])
    assert (card["name"], card["scale"]) == ("cmf-t1-t2-x2", 2)
    assert card["sensors"]["acceleration"] == [3.0, 6.0]
    assert "seeds 5000 to 5000" in card["training"]["data"]
    assert {"zero_filled", "restored", "bicubic", "super_resolved"} < set(card["metrics"])
    low, high = loaded.model(torch.rand(1, 1, 10, 12), torch.rand(1, 1, 10, 12))
    assert low.shape == (1, 1, 10, 12)
    assert high.shape == (1, 1, 20, 24)
    words = ["export", str(run), "--output", str(out), "--cache", str(run / "heads"), "--seeds", "7", "--slices", "2"]
    assert cli.main(words) == 0
    assert load_checkpoint(out).card["metrics"]["data"] == "generated heads 7, never trained on"
    assert cli.main(["validate", str(out), *words[4:], "--acceleration", "2"]) == 0
    assert "super resolved" in capsys.readouterr().out
    with pytest.raises(InputError, match="5000 was in the training set"):
        exported(run, False, [5000], 2, run / "heads", False, "")


def test_a_prepared_set_of_two_mr_contrasts(tmp_path):
    found = []
    for number, name in enumerate("abc"):
        folder = tmp_path / name
        folder.mkdir()
        mr = arrays(number)[1]
        for contrast, values in (("flair", mr), ("t2", np.where(mr > 0, mr.max() * 1.1 - mr, 0.0))):
            sitk.WriteImage(image(values), str(folder / f"{contrast}.nrrd"))
        found.append(Patient(name, {one: folder / f"{one}.nrrd" for one in ("flair", "t2")}))
    settings = PrepareSettings(("flair", "t2"), size=64, pixel_mm=4.0, register=False)
    stored = prepare(found, tmp_path / "set.h5", settings, Splitting(0.3)).set
    table = {key: value for key, value in TINY.items() if key not in ("size", "pixel_mm")}
    config = with_data(RestorationConfig.from_dict(table | {"data": str(stored.path), "contrasts": ["flair", "t2"]}))
    assert (config.name, config.size, config.contrasts) == ("cmf-flair-t2-x2", 64, ("flair", "t2"))
    volumes = validation_volumes(config, tmp_path)
    assert [len(one) for one in volumes] == [one.slices for one in stored.of_split("validation")]
    run = RestorationTrainer(config, training_slices(config, tmp_path), volumes, tmp_path / "run")
    run.run()
    model, card = exported(tmp_path / "run", False, [1], 1, None, False, "")
    assert model.modalities == ("flair", "t2")
    assert card["training"]["data"] == "a prepared set of two MR contrasts"
    assert str(tmp_path) not in json.dumps(card)
    with pytest.raises(InputError, match="size = 64"):
        with_data(RestorationConfig.from_dict(table | {"data": str(stored.path), "size": 128}))


def test_a_prepared_set_with_ct_is_refused(tmp_path):
    stored = prepare(patients(tmp_path, 2), tmp_path / "set.h5", SETTINGS, Splitting(0.0)).set
    with pytest.raises(InputError, match="two MR contrasts"):
        with_data(RestorationConfig.from_dict({"data": str(stored.path)}))


def test_comparing_networks_from_the_command_line(tmp_path, capsys, monkeypatch):
    """An untrained compact network is zero-filling and bicubic enlargement: it gains nothing and loses nothing."""
    monkeypatch.setattr(restoration, "_SLICES", 2)
    monkeypatch.setattr(restoration, "_LOW_MM", 10.0)
    paths = []
    for network in ("cmf-net", "unet-bicubic"):
        small = {"channels": 2, "unet_channels": 2} if network == "cmf-net" else {"channels": 2}
        config = RestorationConfig.from_dict({"network": network, "model": small})
        folder = tmp_path / network
        run = RestorationTrainer(config, SliceSet(torch.zeros(1, 2, 8, 8, dtype=torch.uint16)), [], folder)
        folder.mkdir()
        run._figures = {"iteration": 0}
        run.save()
        model, card = exported(folder, True, [1], 1, None, False, "")
        paths.append(folder / f"{config.name}.safetensors")
        save_checkpoint(paths[-1], model, card)
    assert cli.main(["benchmark", "restoration", *map(str, paths), "--heads", "900001", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["images"]
    assert [row["method"] for row in rows] == ["zero-filled, bicubic", "cmf-t1-t2-x2", "unet-t1-t2-x2"]
    for row in rows[1:]:
        for key in ("psnr low", "psnr fine", "ssim low", "ssim fine"):
            assert row[key] == pytest.approx(rows[0][key], abs=0.05)
    words = ["benchmark", "restoration", str(paths[0]), "--heads", "900001", "900002", "--json"]
    tables = []
    for more in ([], ["--consistency"]):
        assert cli.main([*words, *more]) == 0
        tables.append(json.loads(capsys.readouterr().out.splitlines()[-1])["images"])
    assert tables[1][:2] == tables[0]
    assert tables[1][2]["method"] == "cmf-t1-t2-x2, corrected"
    assert tables[1][2]["psnr low"] > tables[1][1]["psnr low"]
    assert cli.main(["benchmark", "restoration", str(paths[0]), "--target", "x.nrrd"]) == 2
    assert "--auxiliary" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scal": 2}, "Did you mean 'scale'"),
        ({"scale": 3}, "2 or 4"),
        ({"contrasts": ["t1", "flair"]}, "generated heads"),
        ({"contrasts": ["t1"]}, "two different"),
        ({"network": "resnet"}, "resnet"),
        ({"accelerations": [0.5]}, "accelerations"),
        ({"masks": ["spiral"]}, "spiral"),
        ({"crop": 33}, "multiples"),
        ({"preset": "tiny"}, "tiny"),
        ({"learning_rate": "fast"}, "unusable"),
        ({"model": {"depth": 3}}, "'depth'"),
    ],
)
def test_bad_settings(changes, said):
    with pytest.raises(InputError, match=said):
        RestorationConfig.from_dict(changes).architecture()
