"""What a step is made of: drawn slices, augmentation, sensors."""

from dataclasses import replace

import pytest
import torch
from training_bench import CLEAN, config

from MSLFusionTrainingLib.augment import Numbers, bend, inverted, randomise, reposition
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.data import SliceSet
from MSLFusionTrainingLib.draws import UNIFORMS, StepDraw, draw_slice, usual_sampling
from MSLFusionTrainingLib.sensors import SensorSimulator, displaced

WHOLE = StepDraw(None, False, 0)


def generators(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(n)]


def uniforms(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((n, UNIFORMS), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("change", [{}, {"modalities": ("ct", "t1", "t2")}, {"pad": 0}, {"elastic": 0.0}])
def test_domain_randomisation_keeps_range_and_background(change: dict[str, object], three: SliceSet) -> None:
    settings = config(**change)
    slices = three.batch(torch.tensor([1, 2]), torch.device("cpu"))[:, : len(settings.modalities)]
    for seed in range(4):
        out = randomise(slices, settings, uniforms(2, seed), generators(2))
        assert torch.equal(out, randomise(slices, settings, uniforms(2, seed), generators(2)))
        assert out.shape == slices.shape
        assert not torch.equal(out, slices)
        assert out.min() >= 0
        assert out.max() <= 1
        assert out[..., :2, :2].max() < 0.05


def test_a_slice_is_changed_the_same_way_in_any_company(pair: torch.Tensor) -> None:
    settings, table = config(), uniforms(2)
    together = randomise(pair, settings, table, generators(2))
    alone = randomise(pair[1:], settings, table[1:], generators(2)[1:])
    assert torch.allclose(together[1:], alone, atol=1e-6)


def test_padded_crops_are_shifts_of_the_slice(pair: torch.Tensor) -> None:
    out = reposition(pair, 8, False, Numbers(uniforms(2)))
    padded = torch.nn.functional.pad(pair, (8, 8, 8, 8), mode="reflect")
    for one, whole in zip(out, padded, strict=True):
        found = [(i, j) for i in range(17) for j in range(17) if torch.equal(whole[:, i : i + 64, j : j + 64], one)]
        assert found
    starts = {float(out_row) for out_row in Numbers(uniforms(500)).next(0, 17).floor().flatten()}
    assert starts == set(map(float, range(17)))


def test_mirrors_show_the_slice_from_either_side(pair: torch.Tensor) -> None:
    first = pair[:1, :1].expand(40, 1, -1, -1)
    out = reposition(first, 0, True, Numbers(uniforms(40)))
    views = [first[0], first[0].flip(-1), first[0].flip(-2), first[0].flip(-1, -2)]
    met = [next(i for i, view in enumerate(views) if torch.equal(one, view)) for one in out]
    assert set(met) == {0, 1, 2, 3}


def test_bending_moves_all_modalities_alike(pair: torch.Tensor) -> None:
    same = pair[:, :1].expand(-1, 2, -1, -1)
    out = bend(same, 1.0, 4.0, Numbers(uniforms(2)), generators(2))
    assert torch.equal(out[:, 0], out[:, 1])
    assert (out - same).abs().mean() > 0.01
    still = bend(same, 0.0, 0.0, Numbers(uniforms(2)), generators(2))
    assert torch.allclose(still, same, atol=1e-5)


def test_inverted_contrast_turns_tissue_around_and_leaves_air() -> None:
    mr = torch.tensor([0.0, 0.1, 0.4, 1.0])
    assert torch.allclose(inverted(mr), torch.tensor([0.0, 0.9, 0.6, 0.0]))


def test_only_mr_is_inverted(three: SliceSet) -> None:
    settings = replace(config(modalities=("ct", "t1", "pet"), **CLEAN), invert=1.0)
    slices = three.batch(torch.tensor([2, 3]), torch.device("cpu"))
    out = randomise(slices, settings, uniforms(2), generators(2))
    assert torch.equal(out[:, 0], slices[:, 0])
    assert torch.equal(out[:, 2], slices[:, 2])
    assert torch.equal(out[:, 1], inverted(slices[:, 1]))


def test_sensor_images_are_worse_than_truth_and_follow_the_sampling(pair: torch.Tensor) -> None:
    settings = config()
    simulator = SensorSimulator(settings, torch.device("cpu"))
    usual = usual_sampling(settings)
    poor = replace(usual, views=16, accelerations=(8.0, 8.0))
    rich = replace(usual, views=64, accelerations=(2.0, 2.0))
    errors = {}
    for name, sampling in (("poor", poor), ("rich", rich)):
        images = simulator.images(pair, [sampling] * 2, generators(2))
        assert images.min() >= 0
        assert images.max() <= 1
        errors[name] = (images - pair).square().mean((2, 3))
    assert (errors["poor"] > errors["rich"]).all()
    mixed = simulator.images(pair, [poor, rich], generators(2))
    for i, sampling in enumerate((poor, rich)):
        alone = simulator.images(pair[i : i + 1], [sampling], generators(2)[i : i + 1])
        assert torch.allclose(mixed[i : i + 1], alone, atol=1e-5)


def test_noise_is_the_slices_own(pair: torch.Tensor) -> None:
    settings = config(front_ends=("image", "fourier"))
    simulator = SensorSimulator(settings, torch.device("cpu"))
    quiet = usual_sampling(settings)
    loud = replace(quiet, photons=1e3, kspace_noise=0.05, image_noise=0.1)
    images = simulator.images(pair, [quiet, loud], generators(2))
    assert torch.equal(images[0, 0], pair[0, 0])
    assert 0.02 < float((images[1, 0] - pair[1, 0]).abs().mean()) < 0.1
    clean = simulator.images(pair, [quiet, quiet], generators(2))
    assert torch.allclose(images[0], clean[0], atol=1e-6)
    assert not torch.allclose(images[1, 1], clean[1, 1], atol=1e-3)
    counted = SensorSimulator(config(), torch.device("cpu"))
    fbp = [counted.images(pair[:1], [one], generators(1))[0, 0] for one in (quiet, loud)]
    assert (fbp[0] - fbp[1]).abs().mean() > 1e-3


def test_misregistration_moves_what_is_measured_of_the_first_modality() -> None:
    image = torch.zeros(2, 1, 32, 32)
    image[:, :, 10:14, 20:22] = 1
    usual = usual_sampling(config())
    moved = displaced(image, [replace(usual, shift=(3.0, -2.0)), replace(usual, turn=90.0)])
    assert torch.allclose(moved[0], image[0].roll((-2, 3), (-2, -1)), atol=1e-5)
    # Rows run down: a quarter turn takes what lies right of the centre to below it.
    assert torch.allclose(moved[1], image[1].rot90(-1, (-2, -1)), atol=1e-4)
    settings = config(misregistration=5.0, misregistration_degrees=2.0, **CLEAN)
    drawn = [draw_slice(settings, WHOLE, 0, place, 6).sampling for place in range(50)]
    assert max(abs(s.shift[0]) for s in drawn) > 3
    assert all(abs(s.shift[0]) <= 5 and abs(s.shift[1]) <= 5 and abs(s.turn) <= 2 for s in drawn)
    still = draw_slice(config(), WHOLE, 0, 0, 6).sampling
    assert (still.shift, still.turn) == ((0.0, 0.0), 0.0)


def test_sampling_is_drawn_from_the_settings_ranges() -> None:
    settings = config(usual=0.5)
    drawn = [draw_slice(settings, WHOLE, i, 0, 6).sampling for i in range(300)]
    assert {s.views for s in drawn} == set(settings.views)
    assert {s.accelerations[1] for s in drawn} == set(settings.accelerations)
    assert {s.masks[1] for s in drawn} == set(settings.masks)
    assert 0.4 < sum(s.views == 64 for s in drawn) / 300 < 0.6
    noisy = [s for s in drawn if s.photons]
    assert 0.4 < len(noisy) / 300 < 0.6
    assert all(1e5 <= s.photons <= 1e7 and 0 <= s.kspace_noise <= 0.02 for s in noisy)
    assert len({s.mask_seeds for s in drawn}) == 300


def test_draws_depend_on_seed_iteration_and_place_alone() -> None:
    settings: TrainConfig = config()
    one, again = (draw_slice(settings, WHOLE, 5, 3, 100) for _ in range(2))
    assert (one.index, one.sampling, one.seed) == (again.index, again.sampling, again.seed)
    assert torch.equal(one.uniforms, again.uniforms)
    others = [
        draw_slice(settings, WHOLE, 5, 4, 100),
        draw_slice(settings, WHOLE, 6, 3, 100),
        draw_slice(replace(settings, seed=1), WHOLE, 5, 3, 100),
    ]
    assert len({one.seed, *(other.seed for other in others)}) == 4
