"""Out-of-distribution scores, the statistics behind them, and where they are kept."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fake_model import FakeLoaded, ellipsoids
from tiny import write_model

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import load_checkpoint, read_card, save_with_statistics
from MSLFusionLib.recon import error_model
from MSLFusionLib.recon.error_model import WEIGHTS, ErrorModel
from MSLFusionLib.recon.familiarity import TENSORS, Judge, LatentStatistics, fitted, pooled, statistics_of
from MSLFusionLib.recon.reconstructor import Reconstructor
from MSLFusionLib.recon.simulate import SamplingPlan
from MSLFusionLib.recon.statistics import Familiar, learned

N = 40


def draws(count: int, seed: int) -> np.ndarray:
    """Features with three strong directions among N, of very different scales."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).normal(size=(3, N))
    return (rng.normal(size=(count, 3)) @ mixing + 0.1 * rng.normal(size=(count, N))) * np.geomspace(0.01, 100, N)


@pytest.fixture(scope="module")
def statistics() -> LatentStatistics:
    return fitted(draws(200, 0), draws(400, 1))


def test_the_limit_leaves_the_quantile_below(statistics):
    scores = statistics.scores(draws(2000, 2))
    assert (scores > 1).mean() == pytest.approx(0.005, abs=0.01)
    assert 0.3 < np.median(scores) < 1


def test_what_leaves_the_familiar_directions_is_foreign(statistics):
    foreign = draws(50, 3) + 0.5 * np.geomspace(0.01, 100, N) * np.random.default_rng(9).choice([-1, 1], N)
    assert statistics.scores(foreign).min() > 1.2
    far = draws(50, 3).mean(0) + 6 * (draws(50, 3) - draws(50, 3).mean(0))
    assert np.median(statistics.scores(far)) > 1.5
    assert np.isinf(statistics.scores(np.full((1, N), np.nan)))


def test_statistics_come_back_from_tensors(statistics):
    again = LatentStatistics.of_tensors(statistics.tensors(), statistics.limit)
    np.testing.assert_allclose(again.scores(draws(9, 4)), statistics.scores(draws(9, 4)), rtol=1e-6)


@pytest.mark.parametrize("broken", [*TENSORS, "limit"])
def test_damaged_statistics_are_refused(statistics, broken):
    tensors, limit = statistics.tensors(), statistics.limit
    if broken == "limit":
        limit = -1.0
    else:
        tensors[broken] = tensors[broken].clone()
        tensors[broken].flatten()[0] = torch.nan
    with pytest.raises(InputError, match="statistics are damaged"):
        LatentStatistics.of_tensors(tensors, limit)
    del tensors["mean"]
    with pytest.raises(InputError, match="statistics are damaged"):
        statistics_of({f"ct.{key}": value for key, value in tensors.items()}, {"limits": {"ct": 1.0}})


def test_too_few_slices_make_no_statistics():
    with pytest.raises(InputError, match="at least 16"):
        fitted(draws(15, 0), draws(100, 1))


def test_a_latent_of_another_kind_is_not_judged(statistics):
    assert pooled((torch.zeros(1), torch.zeros(1))) is None
    judge = Judge(statistics)
    judge.see([0], (torch.zeros(1), torch.zeros(1)))
    assert judge.verdict().score is None
    assert "no statistics stored" in judge.verdict().sentence
    assert not judge.verdict().unfamiliar


def test_the_error_model_finds_the_weights_of_known_errors():
    rng = np.random.default_rng(0)
    variance, ct, mr = (torch.from_numpy(rng.random((1, 1, 64, 64), np.float32)) for _ in range(3))
    variance = 1e-3 * variance**4
    weights = tuple([-1.0, 0.7, 0.2, *np.linspace(-1, 1, 9), *np.linspace(0.5, -0.5, 9)])
    model = ErrorModel(weights)
    expected = model.expected(variance, ct, mr)
    samples = error_model.features(variance, ct, mr)
    np.testing.assert_allclose(np.exp(samples @ weights), expected.flatten().double().numpy(), rtol=1e-4)
    errors = np.abs(rng.laplace(scale=expected.flatten().numpy()))
    found = error_model.fitted(samples, errors).expected(variance, ct, mr)
    assert float((found / expected).log().abs().mean()) < 0.1
    assert len(ErrorModel(tuple(model.to_list())).weights) == WEIGHTS


def pairs(count: int, seed: int):
    """Slices of ellipses of many sizes, as a network of 64 x 64 sees them."""
    rng = np.random.default_rng(seed)
    axis = np.arange(64) - 31.5
    for _ in range(count):
        a, b = rng.uniform(16, 26, 2)
        radius = np.hypot(axis[:, None] / a, axis / b)
        ct = np.where(radius < 1, 0.33, 0.0) + np.where(np.abs(radius - 0.9) < 0.08, 0.3, 0.0)
        mr = np.where(radius < 0.82, rng.uniform(0.4, 0.7), 0.0) + np.where(radius < 0.3, 0.2, 0.0)
        yield np.stack([ct, mr]).astype(np.float32)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A tiny network with random weights and with statistics, and the file that it had without."""
    folder = tmp_path_factory.mktemp("model")
    plain = write_model(folder / "plain.safetensors")
    reconstructor = Reconstructor(load_checkpoint(plain), "cpu")
    slices = Familiar(pairs(20, 0), 20, pairs(16, 1), 16, pairs(8, 2), 8, 3, "ellipses")
    tensors, table = learned(reconstructor, slices)
    save_with_statistics(plain, folder / "with.safetensors", tensors, table)
    return plain, folder / "with.safetensors"


def test_a_model_keeps_its_weights_beside_its_statistics(model_file):
    plain, path = model_file
    before, after = load_checkpoint(plain), load_checkpoint(path)
    for name, value in before.model.state_dict().items():
        torch.testing.assert_close(after.model.state_dict()[name], value, rtol=0, atol=0)
    assert before.statistics == {}
    assert {key.split(".")[0] for key in after.statistics} == {"ct+mr", "ct", "mr", "expected_error"}
    table = read_card(path)["statistics"]
    assert (table["slices"], table["held_out"], table["data"]) == (20, 16, "ellipses")
    assert set(table["errors"]["ct"]) == {"ct", "mr"}
    assert table["error_slices"] == 8
    assert len(Reconstructor(after, "cpu").errors.networks) == 6
    json.dumps(table)
    again = path.parent / "again.safetensors"
    save_with_statistics(path, again, after.statistics, table)
    assert again.read_bytes() == path.read_bytes()


def test_noise_is_less_familiar_than_a_head(model_file):
    reconstructor = Reconstructor(load_checkpoint(model_file[1]), "cpu")
    ct, mr = ellipsoids()
    rng = np.random.default_rng(0)
    noise = []
    for like, low, high in ((ct, -1000, 2000), (mr, 0, 600)):
        image = sitk.GetImageFromArray(rng.uniform(low, high, like.GetSize()[::-1]).astype(np.float32))
        image.CopyInformation(like)
        noise.append(image)
    plan = SamplingPlan(acceleration=4)
    head = reconstructor.reconstruct([0], ct=ct, mr=mr, plan=plan)
    other = reconstructor.reconstruct([0], ct=noise[0], mr=noise[1], plan=plan)
    assert head.familiarity.score is not None
    assert other.familiarity.score > 2 * head.familiarity.score
    assert other.familiarity.unfamiliar
    assert other.familiarity.sentence in other.warnings
    assert other.report()["familiarity"]["slices_beyond"] > 0.5


def test_a_model_without_statistics_says_so():
    ct, mr = ellipsoids()
    result = Reconstructor(FakeLoaded(), "cpu").reconstruct([0], ct=ct, mr=mr)
    assert result.report()["familiarity"]["score"] is None
    assert "no statistics stored" in result.report()["familiarity"]["sentence"]
    assert not any("statistics" in sentence for sentence in result.warnings)
