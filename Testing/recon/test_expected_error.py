"""Errors to expect: what a network adds to the formula, and how both come back from a model's file."""

import numpy as np
import pytest
import torch

from MSLFusionLib.benchmarks.trust import area_under_curve
from MSLFusionLib.errors import InputError
from MSLFusionLib.recon.error_lessons import Lessons
from MSLFusionLib.recon.expected_error import PREFIX, Evidence, ExpectedErrors

SEEN = ("ct", "mr")


def slices(count: int, seed: int, size: tuple[int, int] = (40, 40), seen: tuple[str, ...] = SEEN):
    """Evidence and truth of flat slices whose errors are as large as their sensor images are wrong: 0.1 in a square.

    Spread and images are the same everywhere, so that the formula cannot tell one pixel from another.
    """
    random = np.random.default_rng(seed)
    flat = torch.full((count, 1, *size), 0.5)
    wrong = torch.full_like(flat, 0.01)
    for one in wrong:
        row, column = (int(random.integers(2, n - 14)) for n in size)
        one[0, row : row + 12, column : column + 12] = 0.1
    errors = torch.from_numpy(random.laplace(size=(count, 2, *size)).astype(np.float32)) * wrong
    images = dict.fromkeys(("ct", "mr"), flat)
    sensors = {name: flat + 2.0 * wrong if name in seen else None for name in images}
    evidence = Evidence(seen, images, images, dict.fromkeys(images, torch.full_like(flat, 1e-4)), sensors)
    return evidence, flat - errors, wrong


@pytest.fixture(scope="module")
def errors() -> ExpectedErrors:
    return taught(3, 60)


def taught(seed: int, steps: int) -> ExpectedErrors:
    lessons = Lessons(steps)
    for seen in (SEEN, ("ct",), ("mr",)):
        evidence, truth, _ = slices(4, 0, seen=seen)
        lessons.see(evidence, truth)
    return lessons.learned(seed)


@pytest.mark.parametrize("size", [(40, 40), (33, 50)])
def test_the_network_finds_what_the_formula_cannot_see(errors, size):
    evidence, truth, wrong = slices(2, 9, size)
    plain, found = ExpectedErrors(errors.formulas).of(evidence), errors.of(evidence)
    for number, name in enumerate(("ct", "mr")):
        error = (evidence.delivered[name] - truth[:, number : number + 1]).abs().numpy()
        worst = wrong.numpy() > 0.05
        assert found[name].shape == wrong.shape
        assert area_under_curve(plain[name].numpy(), worst) == pytest.approx(0.5, abs=0.01)
        assert area_under_curve(found[name].numpy(), worst) > 0.95
        assert float(found[name].mean()) == pytest.approx(error.mean(), rel=0.3)
        assert found[name].numpy()[worst].mean() > 4 * found[name].numpy()[~worst].mean()


def test_the_same_lessons_teach_the_same():
    evidence, _, _ = slices(1, 9)
    first, again, other = (taught(seed, 5).of(evidence)["mr"] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_file_keeps_them(errors):
    evidence, _, _ = slices(1, 9, seen=("mr",))
    stored = ExpectedErrors.stored(errors.tensors(), errors.table())
    assert len(stored.networks) == 6
    assert sum(tensor.numel() for tensor in errors.tensors().values()) < 10_000
    for name, found in stored.of(evidence).items():
        torch.testing.assert_close(found, errors.of(evidence)[name], rtol=1e-3, atol=0)
    formulas = ExpectedErrors.stored({}, {"errors": errors.table()["errors"]})
    assert formulas.tensors() == {}
    assert set(formulas.of(evidence)) == {"ct", "mr"}
    nothing = ExpectedErrors.stored({}, None)
    assert nothing.of(evidence) == {}


@pytest.mark.parametrize("broken", ["missing", "not a number", "scale", "name", "table"])
def test_damaged_networks_are_refused(errors, broken):
    tensors, table = errors.tensors(), errors.table()
    begin = PREFIX + "ct+mr.ct."
    if broken == "missing":
        tensors.pop(begin + "layers.0.weight")
    elif broken == "not a number":
        tensors[begin + "centre"][0] = torch.nan
    elif broken == "scale":
        tensors[begin + "scale"][3] = 0.0
    else:
        table["error_networks"] = ["ct.pet", "mr"] if broken == "name" else 4
    with pytest.raises(InputError, match="error network is damaged"):
        ExpectedErrors.stored(tensors, table)


def test_no_lessons_teach_nothing():
    with pytest.raises(InputError, match="give at least one"):
        Lessons().learned()
