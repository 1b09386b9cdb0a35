"""Figures with known values; volumes are not means of slices; intervals that statistics tell."""

import math
from pathlib import Path

import numpy as np
import pytest

from MSLFusionLib import metrics
from MSLFusionLib.errors import InputError
from MSLFusionLib.evaluation.compare import bootstrap_interval, differences, t_interval
from MSLFusionLib.evaluation.figures import BODY, WHOLE, Comparison
from MSLFusionLib.evaluation.folders import RunFolder
from MSLFusionLib.evaluation.measure import Measured


def levels(count: int, repeats: int) -> np.ndarray:
    """A square image in which each of `count` levels, one a bin of 256, fills as many pixels."""
    values = (np.arange(count) * (256 // count) + 0.5) / 256
    return np.resize(np.repeat(values, repeats), (count, repeats)).astype(np.float64)


def test_a_constant_offset():
    truth = np.full((20, 30), 0.25)
    found = Comparison().add(truth + 0.1, truth, np.ones((20, 30), bool))
    for region in (BODY, WHOLE):
        assert found[region]["mae"] == pytest.approx(0.1)
        assert found[region]["psnr"] == pytest.approx(20.0)
        assert found[region]["mi"] == 0.0
        assert found[region]["nmi"] == 1.0


def test_equal_images():
    image = levels(32, 32)
    found = Comparison().add(image, image, np.ones(image.shape, bool))[WHOLE]
    assert found["mae"] == 0.0
    assert found["psnr"] == math.inf
    assert found["ssim"] == pytest.approx(1.0)
    assert found["mi"] == pytest.approx(math.log(32))
    assert found["nmi"] == pytest.approx(2.0)


def test_independent_images_and_functions_of_each_other():
    rows, columns = levels(16, 16), levels(16, 16).T
    independent = Comparison().add(rows, columns, np.ones(rows.shape, bool))[WHOLE]
    assert independent["mi"] == pytest.approx(0.0, abs=1e-12)
    assert independent["nmi"] == pytest.approx(1.0)
    inverted = Comparison().add(1 - rows, rows, np.ones(rows.shape, bool))[WHOLE]
    assert inverted["mi"] == pytest.approx(math.log(16))
    assert inverted["nmi"] == pytest.approx(2.0)
    assert inverted["ssim"] < 0.5
    halves = Comparison().add(rows, np.floor(rows * 2) / 2 + 0.01, np.ones(rows.shape, bool))[WHOLE]
    assert halves["mi"] == pytest.approx(math.log(2))
    assert halves["nmi"] == pytest.approx((math.log(16) + math.log(2)) / math.log(16))


def test_a_volume_is_all_of_its_pixels_and_not_the_mean_of_slices():
    rng = np.random.default_rng(0)
    truth = rng.random((3, 24, 26))
    image = (truth + rng.normal(0, 1, truth.shape) * np.array([0.0, 0.02, 0.2])[:, None, None]).clip(0, 1)
    mask = rng.random(truth.shape) < np.array([0.9, 0.5, 0.1])[:, None, None]
    comparison = Comparison()
    slices = [comparison.add(*parts) for parts in zip(image, truth, mask, strict=True)]
    assert slices[0][BODY]["psnr"] == math.inf
    for region, inside in ((BODY, mask), (WHOLE, None)):
        found = comparison.figures()[region]
        assert found["mae"] == pytest.approx(metrics.mae(image, truth, inside))
        assert found["psnr"] == pytest.approx(metrics.psnr(image, truth, mask=inside))
        assert found["ssim"] == pytest.approx(metrics.ssim(image, truth, mask=inside, slice_axis=0))
        limits = (0.0, 1.0)
        assert found["mi"] == pytest.approx(metrics.mutual_information(image, truth, mask=inside, limits=limits))
        expected = metrics.normalised_mutual_information(image, truth, mask=inside, limits=limits)
        assert found["nmi"] == pytest.approx(expected)
    whole = comparison.figures()[BODY]
    assert whole["mae"] < 0.8 * np.mean([found[BODY]["mae"] for found in slices])


def test_where_there_is_nothing_there_are_no_figures():
    image = np.zeros((8, 40))
    found = Comparison().add(image, image, np.zeros(image.shape, bool))
    assert set(found[BODY].values()) == {None}
    assert found[WHOLE]["ssim"] is None
    assert found[WHOLE]["mae"] == 0.0


def test_students_interval():
    low, high = t_interval([1.0, 2.0, 3.0])
    assert (low, high) == (pytest.approx(2 - 4.30265 / 3**0.5, abs=1e-4), pytest.approx(2 + 4.30265 / 3**0.5, abs=1e-4))


def test_the_bootstrap_finds_the_spread_of_a_mean_and_sees_neighbours_that_are_alike():
    rng = np.random.default_rng(1)
    plain, alike = [], []
    for _ in range(20):
        values = rng.normal(5, 1, 200)
        low, high = bootstrap_interval([values], seed=3, draws=500)
        assert low < values.mean() < high
        plain.append(high - low)
        low, high = bootstrap_interval([np.repeat(values[:40], 5)], draws=500)
        alike.append(high - low)
    assert np.mean(plain) == pytest.approx(2 * 1.96 / 200**0.5, rel=0.15)
    assert np.mean(alike) > 1.6 * np.mean(plain)
    assert bootstrap_interval([values], seed=3) == bootstrap_interval([values], seed=3)
    assert bootstrap_interval([values], seed=3) != bootstrap_interval([values], seed=4)
    assert bootstrap_interval([[2.0] * 9, [2.0] * 4]) == (2.0, 2.0)


def measured(name: str, volume: str, values: list[float]) -> Measured:
    """A run whose MAE of slice n is values[n], and of its volume the mean of the first three."""

    def row(mae: float) -> dict:
        about = {"run": name, "volume": volume, "image": "lambda 0", "lambda": 0.0, "target": "ct", "region": BODY}
        return about | {"mae": mae, "psnr": None, "ssim": None, "mi": None, "nmi": None}

    slices = [row(value) | {"slice": number} for number, value in enumerate(values)]
    return Measured(
        RunFolder(name, Path(f"{name}-{volume}"), {}, ()), volume, slices, [row(float(np.mean(values[:3])))]
    )


def test_differences_are_of_the_same_slices():
    first = [measured("a", f"v{n}", [0.1 + n, 0.2 + n, 0.3 + n, 9.0]) for n in range(3)]
    second = [measured("b", f"v{n}", [0.05 + n, 0.1 + n, 0.35 + n]) for n in range(3)]
    (row,) = differences([*first, *second], seed=1)
    assert (row["run"], row["against"], row["figure"], row["slices"]) == ("b", "a", "mae", 9)
    assert row["mean"] == pytest.approx((-0.05 - 0.1 + 0.05) / 3)
    assert row["nearer"] == pytest.approx(2 / 3)
    assert row["low"] < row["mean"] < row["high"]
    assert row["volumes"] == 3
    assert row["volume_low"] == pytest.approx(row["volume_high"]), "each volume differs by the same"


def test_few_slices_have_no_interval_and_two_runs_of_one_name_are_refused():
    (row,) = differences([measured("a", "v", [0.1, 0.2]), measured("b", "v", [0.3, 0.3])])
    assert row["low"] is None
    assert row["volume_low"] is None
    assert row["nearer"] == 0.0
    with pytest.raises(InputError, match="NAME=DIR"):
        differences([measured("a", "v", [0.1]), measured("a", "v", [0.3])])
