"""The search for lambda maps: objectives with known values, maps that beat every constant, cancelling, weights."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fake_model import FakeLoaded, ellipsoids
from torch import nn

from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.progress import Job
from MSLFusionLib.recon import objectives, slice_problem
from MSLFusionLib.recon.ascent import climb, proximal, variation
from MSLFusionLib.recon.information import Histogram
from MSLFusionLib.recon.optimise import News, Optimising, optimise_lambda
from MSLFusionLib.recon.reconstructor import Reconstructor
from MSLFusionLib.recon.session import Session
from MSLFusionLib.recon.simulate import SamplingPlan

PLAN = SamplingPlan(views=32, acceleration=2, seed=1)


def opened(consistency: bool = True, turn=lambda image: image, **model) -> Session:
    ct, mr = (turn(image) for image in ellipsoids())
    reconstructor = Reconstructor(FakeLoaded(**model), "cpu")
    return Session(reconstructor, reconstructor.source(ct=ct, mr=mr, plan=PLAN), consistency=consistency)


@pytest.fixture(scope="module")
def session() -> Session:
    return opened()


def either(hybrid, ct, mr, weight):
    """Best where the left half of the slice is CT and the right half MR."""
    half = torch.arange(hybrid.shape[1]) < hybrid.shape[1] // 2
    return 1.0 - (weight * (hybrid - torch.where(half, ct, mr)).square()).sum() / weight.sum()


def test_information_of_known_images():
    even = torch.linspace(0, 1, 64 * 100 + 1)[:-1] + 0.5 / 6400
    weights = torch.full_like(even, 1 / len(even))
    whole = Histogram(even, weights)
    assert float(whole.entropy()) == pytest.approx(math.log(64), abs=1e-2)
    # Two values in bins far apart: whatever the windows' width, the image tells one bit about itself.
    two = Histogram(torch.tensor([0.25, 0.75] * 32), torch.full((64,), 1 / 64))
    assert float(two.mutual_information(two)) == pytest.approx(math.log(2), abs=1e-6)
    other = Histogram(torch.tensor([0.25, 0.25, 0.75, 0.75] * 16), torch.full((64,), 1 / 64))
    assert float(two.mutual_information(other)) == pytest.approx(0.0, abs=1e-6)
    flat = Histogram(torch.full((64,), 0.5), torch.full((64,), 1 / 64))
    assert float(two.mutual_information(flat)) == pytest.approx(0.0, abs=1e-6)


def test_what_has_no_weight_does_not_count():
    generator = torch.Generator().manual_seed(3)
    ct, mr, hybrid = torch.rand(3, 12, 12, generator=generator)
    weight = torch.zeros(12, 12)
    weight[:6] = 1 / 72
    for objective in objectives.OBJECTIVES.values():
        value = float(objective(ct, mr, weight)(hybrid))
        changed = hybrid.clone()
        changed[6:] = 0.0
        assert float(objective(ct, mr, weight)(changed)) == value
        changed[:6] = 0.5
        assert float(objective(ct, mr, weight)(changed)) < value


def test_the_proximal_step_minimises_what_it_should():
    point = torch.rand(9, 7, generator=torch.Generator().manual_seed(0)) * 2 - 0.5

    def cost(lam):
        return 0.5 * float((lam - point).square().sum()) + 0.2 * variation(lam) * 9

    found, dual = proximal(point, 0.2)
    for _ in range(10):
        found, dual = proximal(point, 0.2, dual)
    assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0
    generator = torch.Generator().manual_seed(1)
    for size in (0.3, 0.03, 0.003):
        for _ in range(20):
            other = (found + size * torch.randn(9, 7, generator=generator)).clamp(0, 1)
            assert cost(other) >= cost(found) - 1e-5
    assert float(proximal(point, 50.0)[0].std()) < 0.1 * float(point.std())


def test_a_climb_never_goes_down_and_ends_at_the_top():
    aim = torch.full((8, 8), 0.2)
    aim[:, 4:] = 0.7

    def smooth(lam):
        return -float((lam - aim).square().sum()), lambda: -2.0 * (lam - aim)

    steps = list(climb(smooth, torch.full((8, 8), 0.5), 1e-3, 30))
    values = [step.value for step in steps]
    assert values == sorted(values)
    assert steps[-1].evaluations <= 30
    assert steps[-1].lam == pytest.approx(aim, abs=0.02)
    edge = 0.5 * 8 / 8
    assert variation(aim) == pytest.approx(edge)


@pytest.mark.parametrize("objective", ["mutual-information", "entropy"])
def test_it_beats_every_constant_and_is_what_the_user_gets(session, objective):
    told: list[News] = []
    settings = Optimising(objective, alpha=1e-5, steps=12, slices=(2, 3))
    found = optimise_lambda(session, settings, watch=told.append)
    assert [one.number for one in found.slices] == [2, 3]
    assert found.complete
    for one in found.slices:
        assert one.best_constant[1] == max(value for _, value in one.constants)
        assert one.value > one.best_constant[1]
        assert one.value == pytest.approx(one.objective - 1e-5 * one.variation)
        assert one.curve[-1] == one.value
        assert list(one.curve) == sorted(one.curve) or one.number == 2
        # The plane that is given out, decoded as any other, has the value that is told.
        plane = session.plane(one.number, found.lambda_map[one.number])
        best = session.plane(one.number, one.best_constant[0])
        images = [session.grid.to_network(session.grid.turned(image[None])) for image in (plane, best)]
        ct, mr = (session.grid.to_network(session.plane(one.number, lam)[None])[0] for lam in (0.0, 1.0))
        body = session.grid.to_network(session.source.body[one.number : one.number + 1].astype(np.float32))[0] > 0.5
        weight = torch.from_numpy(body / body.sum()).float()
        criterion = objectives.named(objective)(torch.from_numpy(ct), torch.from_numpy(mr), weight)
        values = [float(criterion(torch.from_numpy(image[0]))) for image in images]
        assert values[0] == pytest.approx(one.objective, abs=1e-3)
        assert values[1] == pytest.approx(one.best_constant[1], abs=1e-3)
    assert [news.finished for news in told].count(True) == 2
    assert np.array_equal(told[-1].plane, found.lambda_map[told[-1].number])
    again = optimise_lambda(session, settings)
    assert np.array_equal(again.lambda_map, found.lambda_map)


def sagittal(image: sitk.Image) -> sitk.Image:
    turned = sitk.PermuteAxes(image, (2, 1, 0))
    turned.SetSpacing((9.0, 4.0, 4.0))
    turned.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, -1))
    return turned


@pytest.mark.parametrize("turn", [lambda image: image, sagittal])
def test_an_objective_of_ones_own_and_where_its_map_lies(turn):
    """The map found is CT on one side and MR on the other of the slices as the network sees them."""
    session = opened(turn=turn)
    found = optimise_lambda(session, Optimising(either, alpha=1e-6, steps=40, slices=(3, 3)))
    one = found.slices[0]
    assert one.value > one.best_constant[1] + 1e-3
    plane = session.grid.turned(found.lambda_map)[3]
    body = session.grid.turned(session.source.body)[3]
    columns = plane.shape[1]
    left, right = plane[:, : columns // 2 - 4], plane[:, columns // 2 + 4 :]
    assert left[body[:, : columns // 2 - 4]].mean() < 0.35
    assert right[body[:, columns // 2 + 4 :]].mean() > 0.65


def test_weights_of_voxels_decide_what_counts(session):
    shape = session.grid.volume.shape
    weights = np.zeros(shape, np.float32)
    weights[:, :, shape[2] // 2 :] = 1.0
    found = optimise_lambda(session, Optimising(either, alpha=0.0, steps=15, slices=(3, 3)), weights)
    # Only the half that wants MR counts: a constant is the best there is.
    assert found.slices[0].best_constant == (1.0, pytest.approx(1.0, abs=1e-6))


def test_smoothness_brings_neighbours_together(session):
    def apart(smoothness):
        settings = Optimising("entropy", alpha=0.0, steps=15, slices=(1, 3), smoothness=smoothness)
        found = optimise_lambda(session, settings)
        assert all(one.value >= one.best_constant[1] for one in found.slices)
        return float(np.square(np.diff(found.lambda_map[1:4], axis=0)).mean())

    assert apart(1000.0) < 0.5 * apart(0.0)


def test_a_cancel_keeps_the_best_until_then(session):
    seen: list[News] = []

    def cancelled() -> bool:
        return len(seen) >= 8

    settings = Optimising("entropy", alpha=1e-5, steps=20, start=2)
    found = optimise_lambda(session, settings, watch=seen.append, job=Job(cancelled=cancelled))
    assert not found.complete
    assert [one.number for one in found.slices] == [2]
    assert not found.slices[0].complete
    assert found.slices[0].value == seen[-1].value >= found.slices[0].best_constant[1]
    assert np.array_equal(found.lambda_map[2], seen[-1].plane)
    assert (found.lambda_map[[0, 5]] == np.float32(found.slices[0].best_constant[0])).all()
    with pytest.raises(Cancelled):
        optimise_lambda(session, settings, job=Job(cancelled=lambda: True))


def test_progress_rises_to_its_end(session):
    steps: list[tuple[int, int]] = []
    job = Job(report=lambda progress: steps.append((progress.done, progress.total)))
    optimise_lambda(session, Optimising("entropy", steps=3, slices=(2, 3)), job=job)
    mine = [step for step in steps if step[1] == steps[-1][1]]
    assert mine == sorted(mine)
    assert mine[-1][0] == mine[-1][1]


def test_without_volumes_the_body_is_seen_in_the_images(session, monkeypatch):
    settings = Optimising("entropy", alpha=0.0, steps=1, slices=(3, 3))
    known = optimise_lambda(session, settings).slices[0]
    monkeypatch.setattr(slice_problem, "VolumeSource", type(None))
    seen = optimise_lambda(session, settings).slices[0]
    assert seen.best_constant[1] == pytest.approx(known.best_constant[1], abs=0.05)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "beauty"}, "no objective 'beauty'"),
        ({"alpha": -1.0}, "alpha must be 0 or more"),
        ({"smoothness": math.nan}, "smoothness must be"),
        ({"steps": 0}, "steps must lie"),
        ({"slices": (3, 2)}, "behind the last"),
        ({"slices": (2, 9)}, "slices 0 to 5"),
    ],
)
def test_impossible_settings_are_refused(session, settings, words):
    with pytest.raises(InputError, match=words):
        optimise_lambda(session, Optimising(**settings))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda hybrid, ct, mr, weight: 1.0, "tensor of one number"),
        (lambda hybrid, ct, mr, weight: hybrid, "tensor of one number"),
        (lambda hybrid, ct, mr, weight: ct.sum(), "no gradient"),
        (lambda hybrid, ct, mr, weight: hybrid.sum() * math.nan, "not a number"),
        (lambda hybrid, ct, mr, weight: hybrid.nothing, "failed: AttributeError"),
    ],
)
def test_functions_that_are_none_are_told(session, function, words):
    with pytest.raises(InputError, match=words):
        optimise_lambda(session, Optimising(function, steps=3, slices=(3, 3)))


def test_impossible_weights_are_refused(session):
    for weights, words in (
        (np.ones((2, 2, 2), np.float32), "shape"),
        (np.zeros(session.grid.volume.shape, np.float32), "not all of them 0"),
        (np.full(session.grid.volume.shape, -1, np.float32), "0 or more"),
    ):
        with pytest.raises(InputError, match=words):
            optimise_lambda(session, Optimising(steps=3), weights)


def test_functions_are_read_from_files(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def best(hybrid, ct, mr, weight):\n    return (weight * hybrid).sum()\n")
    function = objectives.load_function(f"{path}:best")
    assert float(function(torch.ones(2, 2), None, None, torch.full((2, 2), 0.25))) == 1.0
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_that_name\n")
    for text, words in (
        (f"{path}:other", "no function 'other'"),
        (str(path), "names no function"),
        (f"{tmp_path}/absent.py:f", "does not exist"),
        (f"{broken}:f", "failed while it was run: ModuleNotFoundError"),
    ):
        with pytest.raises(InputError, match=words):
            objectives.load_function(text)


class Trained(nn.Module):
    """A network with weights that want gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.9))

    def encode(self, ct, mr, present=None):
        return ct, mr

    def decode(self, latent, lam):
        return self.gain * ((1 - lam) * latent[0] + lam * latent[1])


def test_the_network_stays_as_it_is():
    model = Trained()
    session = opened(model=model)
    optimise_lambda(session, Optimising("entropy", steps=4, slices=(3, 3)))
    assert model.gain.requires_grad
    assert model.gain.grad is None
    assert model.gain.item() == pytest.approx(0.9)
