"""Training DC2Fusion on pairs of volumes: losses with known values, exact resume, export, and fusing with the model."""

import json

import numpy as np
import pytest
import torch

from MSLFusionLib import cli
from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.fusion import learned, registry
from MSLFusionLib.fusion.interface import Pair
from MSLFusionLib.io.checkpoints import save_checkpoint
from MSLFusionLib.nets.dc2fusion import DC2Fusion
from MSLFusionLib.progress import Job
from MSLFusionTrainingLib.volumes import losses
from MSLFusionTrainingLib.volumes.config import VolumeConfig
from MSLFusionTrainingLib.volumes.export import card_of
from MSLFusionTrainingLib.volumes.sets import HeadPairs
from MSLFusionTrainingLib.volumes.trainer import VolumeTrainer

TINY = {
    "model": {"dims": [8, 16], "depths": [1, 1], "heads": [2, 4], "head": 4, "detail": 2},
    "heads": 1, "size": [40, 40, 24], "spacing": [5.0, 5.0, 7.0], "crop": 16, "iterations": 4,
    "validate_every": 2, "checkpoint_every": 1, "log_every": 1,
}  # fmt: skip


def pairs(seed=0):
    """Two smooth random volumes as one head."""
    noise = torch.rand(1, 2, 24, 24, 24, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool3d(noise, 3, 1, 1)


def a_set():
    return HeadPairs(pairs())


def tiny(**changes):
    return VolumeConfig.from_dict(TINY | {"size": [24, 24, 24], "spacing": [5.0, 5.0, 5.0]} | changes)


def test_losses_of_equal_and_of_constant_images():
    image = pairs()[:, :1]
    assert losses.dissimilarity(image, image).item() == pytest.approx(0.0, abs=1e-5)
    # a linear relation is a full local correlation (where the variance is above its floor), whatever its sign
    strong = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    inner = strong[..., 1:-1, 1:-1, 1:-1]
    assert losses.lncc(inner, inner).item() == pytest.approx(1.0, abs=1e-3)
    assert losses.lncc(torch.zeros_like(inner), inner).item() == 0.0
    flat_a, flat_b = torch.full((1, 1, 12, 12, 12), 0.2), torch.full((1, 1, 12, 12, 12), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert losses.dissimilarity(flat_a, flat_b).item() == pytest.approx(1 - expected, abs=1e-4)


def test_local_correlation_follows_its_formula():
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.rand(3, 3, 3, generator=generator) for _ in range(2))
    # the box of the middle voxel is the whole image
    da, db = a - a.mean(), b - b.mean()
    expected = (da * db).sum() ** 2 / ((da**2).sum() * (db**2).sum())
    padded = [torch.zeros(1, 1, 5, 5, 5) for _ in range(2)]
    for volume, image in zip(padded, (a, b), strict=True):
        volume[0, 0, 1:4, 1:4, 1:4] = image
    pooled = [torch.nn.functional.avg_pool3d(x, 3, 1) * 27 for x in (*padded, padded[0] * padded[1])]
    middle = [x[0, 0, 1, 1, 1] for x in pooled]
    assert (middle[2] - middle[0] * middle[1] / 27).item() == pytest.approx((da * db).sum().item(), abs=1e-4)
    alone = losses.lncc(a[None, None], b[None, None])
    assert 0 < alone.item() < 1
    assert 0 < expected.item() < 1


def test_saliency_follows_the_image_that_shows_more():
    pair = torch.full((1, 2, 24, 24, 24), 0.4)
    pair[:, 0, :12] += 0.2 * torch.rand(12, 24, 24, generator=torch.Generator().manual_seed(3))
    pair[:, 1, 12:] += 0.2 * torch.rand(12, 24, 24, generator=torch.Generator().manual_seed(4))
    counts = losses.saliency(pair, 2.0)
    assert torch.allclose(counts.mean(1), torch.ones(1, 24, 24, 24), atol=1e-5)
    assert counts[:, 0, :8].min() > 1.9
    assert counts[:, 0, 16:].max() < 0.1
    weights = dict.fromkeys(("lncc_first", "lncc_second", "ssim_first", "ssim_second", "l1_first", "l1_second"), 1.0)
    best = torch.cat([pair[:, :1, :12], pair[:, 1:, 12:]], 2)
    others = (pair[:, :1], pair[:, 1:], pair.mean(1, keepdim=True))
    wanted = losses.fusion_loss(best, pair, weights, 2.0)[0]
    assert all(losses.fusion_loss(image, pair, weights, 2.0)[0] > wanted + 0.3 for image in others)


def test_the_six_weights_weigh_the_six_terms():
    pair = pairs()
    fused = pair.mean(1, keepdim=True)
    ones = dict.fromkeys(("lncc_first", "lncc_second", "ssim_first", "ssim_second", "l1_first", "l1_second"), 0.0)
    total = 0.0
    for name in ones:
        total += losses.fusion_loss(fused, pair, ones | {name: 2.0})[0].item()
    assert losses.fusion_loss(fused, pair, dict.fromkeys(ones, 2.0))[0].item() == pytest.approx(total, abs=1e-5)
    l1 = losses.fusion_loss(fused, pair, ones | {"l1_second": 3.0})[0].item()
    assert l1 == pytest.approx(3 * (fused - pair[:, 1:]).abs().mean().item(), rel=1e-5)


def test_a_stopped_run_goes_on_exactly(tmp_path):
    config, data = tiny(), a_set()
    whole = VolumeTrainer(config, data, data, tmp_path / "whole")
    whole.run()
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 4

    broken = VolumeTrainer(config, data, data, tmp_path / "broken")
    with pytest.raises(Cancelled):
        broken.run(Job(cancelled=stop))
    assert 0 < broken.iteration < config.iterations
    again = VolumeTrainer(config, data, data, tmp_path / "broken")
    assert again.resume()
    again.run()
    for (name, a), b in zip(whole.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "broken")]
    values = [[row.split(",")[:2] + row.split(",")[3:] for row in log] for log in logs]
    assert values[0] == values[1]
    assert [row[0] for row in values[0]] == ["iteration", "1", "2", "3", "4"]
    found = [json.loads(line)["iteration"] for line in (tmp_path / "broken" / "validation.jsonl").open()]
    assert found == [2, 4]
    with pytest.raises(InputError, match="another 'crop'"):
        VolumeTrainer(tiny(crop=20), data, data, tmp_path / "whole").resume()


def test_training_lowers_the_loss(tmp_path):
    data = a_set()
    config = tiny(iterations=12, crop=0, learning_rate=5e-3, validate_every=12, mirror=False)
    trainer = VolumeTrainer(config, data, data, tmp_path)
    values = [trainer.step()["loss"] for _ in range(config.iterations)]
    assert values[-1] < values[0] - 0.01


def test_settings_are_checked():
    assert VolumeConfig.from_dict({"preset": "official"}).learning_rate == 1e-4
    assert VolumeConfig.from_dict({"contrasts": ["ct", "t1"]}).modalities == ("ct", "mr")
    assert VolumeConfig.from_dict({"contrasts": ["t1", "t2"]}).modalities == ("t1", "t2")
    for values, words in (
        ({"crops": 32}, "Did you mean 'crop'"),
        ({"crop": 300}, "crop must be"),
        ({"contrasts": ["t1", "flair"]}, "two of ct"),
        ({"batch": 0}, "larger than 0"),
        ({"batch": "two"}, "unusable"),
        ({"l1_first": -1}, "not be negative"),
        ({"saliency": -1}, "not be negative"),
        ({"model": {"colour": 1}}, "no setting 'colour'"),
    ):
        with pytest.raises(InputError, match=words):
            VolumeConfig.from_dict(values).network()


def test_from_generated_heads_to_a_model_that_fuses(tmp_path, capsys, monkeypatch):
    (tmp_path / "tiny.toml").write_text(
        'method = "dc2fusion"\n'
        + "\n".join(f"{key} = {json.dumps(value)}" for key, value in TINY.items() if key != "model")
        + "\n[model]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in TINY["model"].items())
    )  # fmt: skip
    run, model = tmp_path / "run", tmp_path / "models" / "dc2-tiny.safetensors"
    words = ["train", tmp_path / "tiny.toml", "--output", run, "--set", "iterations=2", "--device", "cpu"]
    assert cli.main([str(word) for word in words]) == 0
    assert {"state.safetensors", "best.safetensors", "log.csv", "validation.jsonl", "config.json"} <= {
        path.name for path in run.iterdir()
    }
    words = ["train", "--output", run, "--status"]
    assert cli.main([str(word) for word in words]) == 0
    assert "finished; iteration 2 of 2; best loss" in capsys.readouterr().out
    words = ["export", run, "--output", model, "--half", "--json", "--cache", run / "heads", "--seeds", "900001"]
    assert cli.main([str(word) for word in words]) == 0
    card = json.loads(capsys.readouterr().out.splitlines()[-1])["card"]
    assert card["modalities"] == ["mr", "pet"]
    assert set(card["metrics"]["fusion"]) == {"dc2fusion", "alpha", "laplacian"}
    assert (
        cli.main([str(w) for w in ["export", run, "--output", model, "--cache", run / "heads", "--seeds", "3000"]]) == 2
    )
    assert "was in the training set" in capsys.readouterr().err

    monkeypatch.setenv("MSLFUSION_MODELS", str(model.parent))
    assert learned.installed_pairs()[-1:] == [("mr", "pet")] or ("mr", "pet") in learned.installed_pairs()
    a, b = (torch.rand(20, 24, 24).numpy() for _ in range(2))
    method = registry.find("dc2fusion")
    settings = {"model": "dc2-tiny", "device": "cpu", "block": 8}
    fused = method.fuse(Pair(a, b, (1.0, 1.0, 1.0), None, ("mr", "pet")), settings)
    assert fused.shape == a.shape
    turned = method.fuse(Pair(b, a, (1.0, 1.0, 1.0), None, ("pet", "mr")), settings | {"block": 96})
    assert np.abs(fused - turned).max() < 1e-4
    with pytest.raises(InputError, match="fuses mr and pet, not ct and mr"):
        method.fuse(Pair(a, b, (1.0, 1.0, 1.0), None, ("ct", "mr")), settings)
    with pytest.raises(InputError, match="No DC2Fusion model for ct and pet"):
        method.fuse(Pair(a, b, (1.0, 1.0, 1.0), None, ("ct", "pet")))
    with pytest.raises(InputError, match="leave out --slicewise"):
        method.fuse(Pair(a[0], b[0], (1.0, 1.0)), settings)
    assert cli.main(["models", "list"]) == 0
    assert "dc2-tiny" in capsys.readouterr().out


def test_a_model_of_two_mr_contrasts_takes_two_mr_volumes(tmp_path, monkeypatch):
    config = tiny(contrasts=["t1", "t2"])
    model = tmp_path / "models" / "dc2-t1-t2.safetensors"
    trained = DC2Fusion(config.network()).eval()
    torch.nn.init.normal_(trained.out.weight, std=0.1)
    save_checkpoint(model, trained, card_of(trained, config, None, 1, {}, ""))
    monkeypatch.setenv("MSLFUSION_MODELS", str(model.parent))
    assert ("mr", "mr") in learned.installed_pairs()
    assert learned.model_file(("mr", "mr")) == model
    a, b = pairs()[0].numpy()
    method, settings = registry.find("dc2fusion"), {"device": "cpu"}
    fused = method.fuse(Pair(a, b, (1.0, 1.0, 1.0)), settings)
    expected = trained(*(torch.from_numpy(x)[None, None] for x in (a, b)))[0, 0].detach().clamp(0, 1).numpy()
    assert np.abs(fused - expected).max() < 1e-5
    with pytest.raises(InputError, match="fuses t1 and t2, not ct and mr"):
        learned.model_file(("ct", "mr"), "dc2-t1-t2")
