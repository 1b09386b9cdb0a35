"""The generated head as a user meets it: volumes, slices, the moved scan, what may be asked and what not."""

import json
import math
import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.phantom import AXIAL_RANGE_MM, LABELS, Head, generate, generate_head, head_slices
from MSLFusionLib.phantom.anatomy import Anatomy
from MSLFusionLib.phantom.pathology import Tumour
from MSLFusionLib.progress import Job, Progress

SIZE = (70, 84, 48)


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


@pytest.fixture(scope="module")
def head() -> Head:
    return generate_head(11, SIZE, (3.0, 3.0, 2.0), tumour=False, misalign_mm=12.0, misalign_deg=9.0)


@pytest.fixture(scope="module")
def stack() -> dict[str, np.ndarray]:
    """Slices of one head from jaw to vertex."""
    return head_slices(8, np.linspace(-70.0, 60.0, 11), (240, 240), 1.0, tumour=False)


def test_all_volumes_share_one_centred_axial_grid(head: Head) -> None:
    for image, kind in (
        (head.ct, sitk.sitkFloat32),
        (head.t1, sitk.sitkFloat32),
        (head.t2, sitk.sitkFloat32),
        (head.pet, sitk.sitkFloat32),
        (head.labels, sitk.sitkUInt8),
    ):
        assert image.GetPixelID() == kind
        assert image.GetSize() == SIZE
        assert image.GetSpacing() == (3.0, 3.0, 2.0)
        assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
        centre = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in SIZE])
        assert centre == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
        assert np.all(np.isfinite(_array(image)))


def test_head_is_centred_and_faces_forward(head: Head) -> None:
    labels = _array(head.labels)
    columns = np.nonzero(labels)[2]
    assert abs(columns.mean() - (SIZE[0] - 1) / 2) * 3.0 < 8.0
    eyes = np.argwhere(labels == LABELS["eye"]).mean(axis=0)
    brain = np.argwhere(labels == LABELS["grey_matter"])
    assert eyes[1] * 3.0 < (SIZE[1] - 1) / 2 * 3.0 - 40.0  # rows run to the back (LPS): the eyes are in front
    assert eyes[0] < brain[:, 0].mean()  # and below the middle of the brain


def test_same_seed_same_head_other_seed_other_head() -> None:
    first = head_slices(3, [5.0], (96, 96), 2.5)
    generate._anatomy.cache_clear()
    again = head_slices(3, [5.0], (96, 96), 2.5)
    other = head_slices(4, [5.0], (96, 96), 2.5)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert np.mean(first["labels"] != other["labels"]) > 0.1


def test_anatomy_does_not_depend_on_the_grid() -> None:
    fine = head_slices(5, [-30.0, 15.0], (201, 201), 1.0)
    coarse = head_slices(5, [-30.0, 15.0], (101, 101), 2.0)
    a, b = fine["labels"][:, ::2, ::2], coarse["labels"]
    head = (a > 0) | (b > 0)
    assert np.mean(a[head] == b[head]) > 0.97
    core = (a == LABELS["white_matter"]) & (b == LABELS["white_matter"])
    difference = np.abs(fine["ct"][:, ::2, ::2] - coarse["ct"])[core]
    assert float(np.median(difference)) < 1.0


def test_volume_and_slices_are_the_same_head() -> None:
    volume = generate_head(6, (90, 90, 3), (2.0, 2.0, 1.5))
    slices = head_slices(6, [-1.5, 0.0, 1.5], (90, 90), 2.0)
    for name in ("ct", "t1", "t2", "pet", "labels"):
        np.testing.assert_allclose(_array(getattr(volume, name)), slices[name], atol=2e-2)


def test_thick_slices_are_averages() -> None:
    thick = generate_head(6, (90, 90, 1), (2.0, 2.0, 3.0))
    thin = head_slices(6, [-1.0, 0.0, 1.0], (90, 90), 2.0)
    np.testing.assert_allclose(_array(thick.ct)[0], thin["ct"].mean(axis=0), atol=1e-2)
    np.testing.assert_array_equal(_array(thick.labels)[0], thin["labels"][1])


@pytest.mark.parametrize(
    ("label", "low", "high"),
    [
        ("background", -1000, -999),
        ("inner_air", -1000, -600),
        ("fat", -130, -40),
        ("skin", -250, 100),
        ("muscle", 20, 80),
        ("cortical_bone", 500, 1800),
        ("marrow", 200, 900),
        ("csf", -5, 30),
        ("grey_matter", 28, 46),
        ("white_matter", 22, 36),
        ("deep_grey", 30, 46),
        ("eye", 0, 40),
    ],
)
def test_ct_of_each_tissue_is_in_its_range(stack: dict[str, np.ndarray], label: str, low: float, high: float) -> None:
    slices = stack
    values = slices["ct"][slices["labels"] == LABELS[label]]
    assert len(values) > 200
    assert low <= float(np.median(values)) <= high


def test_mr_and_pet_contrasts(stack: dict[str, np.ndarray]) -> None:
    slices = stack

    def median(channel: str, label: str) -> float:
        return float(np.median(slices[channel][slices["labels"] == LABELS[label]]))

    t1 = [median("t1", tissue) for tissue in ("cortical_bone", "csf", "grey_matter", "white_matter", "fat")]
    assert t1 == sorted(t1)
    t2 = [median("t2", tissue) for tissue in ("cortical_bone", "muscle", "white_matter", "grey_matter", "csf")]
    assert t2 == sorted(t2)
    assert median("pet", "grey_matter") > 1.6 * median("pet", "white_matter")
    assert median("pet", "white_matter") > median("pet", "csf")
    for channel in ("t1", "t2", "pet"):
        assert slices[channel].min() >= 0.0
        assert slices[channel].max() < 2.0
        assert median(channel, "background") == 0.0


@pytest.mark.parametrize("seed", [0, 1])
def test_tissue_volumes_are_those_of_a_head(seed: int) -> None:
    labels = head_slices(seed, np.arange(-96.0, 97.0, 6.0), (72, 84), 3.0, tumour=False)["labels"]
    litres = {name: np.count_nonzero(labels == value) * 54e-6 for name, value in LABELS.items()}
    brain = litres["grey_matter"] + litres["white_matter"] + litres["deep_grey"]
    assert 0.75 < brain < 1.6
    assert 0.7 < litres["grey_matter"] / litres["white_matter"] < 2.2
    assert 0.05 < litres["csf"] / brain < 0.5
    assert 0.3 < litres["cortical_bone"] + litres["marrow"] < 1.3
    for name in ("skin", "fat", "muscle", "inner_air", "eye", "tooth", "soft_tissue", "vessel"):
        assert litres[name] > 0.0, name
    for name in ("tumour", "oedema", "metal"):
        assert litres[name] == 0.0, name


def test_every_axial_level_has_a_head() -> None:
    for seed in range(4):
        labels = head_slices(seed, AXIAL_RANGE_MM, (96, 96), 2.5)["labels"]
        assert np.all(np.count_nonzero(labels, axis=(1, 2)) > 20)


def test_transform_takes_ct_points_to_the_moved_scan(head: Head) -> None:
    assert isinstance(head.transform, sitk.Euler3DTransform)
    assert np.linalg.norm(head.transform.TransformPoint((0.0, 0.0, 0.0))) == pytest.approx(12.0)
    matrix = np.array(head.transform.GetMatrix()).reshape(3, 3)
    assert math.degrees(math.acos((np.trace(matrix) - 1) / 2)) == pytest.approx(9.0)
    back = _array(sitk.Resample(head.moving, head.t1, head.transform, sitk.sitkLinear, 0.0))
    fixed, moved = _array(head.t1), _array(head.moving)
    inner = (slice(12, -12), slice(12, -12), slice(12, -12))
    assert np.corrcoef(back[inner].ravel(), fixed[inner].ravel())[0, 1] > 0.93
    assert np.corrcoef(moved[inner].ravel(), fixed[inner].ravel())[0, 1] < 0.8
    # a voxel of the moved scan shows the unmoved head at the transform's inverse
    inverse = head.transform.GetInverse()
    index = [(20, 40, 30), (35, 42, 40), (42, 60, 20), (28, 34, 15)]
    points = np.array([inverse.TransformPoint(head.moving.TransformIndexToPhysicalPoint(i)) for i in index])
    sample = Anatomy(11, tumour=False).sample(*points.T.astype(np.float32), edge_mm=1.4 * 3.0)
    np.testing.assert_allclose([head.moving[i] for i in index], sample.t1, atol=5e-3)
    np.testing.assert_allclose([head.moving_t2[i] for i in index], sample.t2, atol=5e-3)


def test_moving_scan_has_its_own_grid() -> None:
    head = generate_head(
        2,
        (40, 48, 6),
        (5.0, 5.0, 5.0),
        moving_size=(32, 30, 4),
        moving_spacing=(4.0, 5.0, 6.0),
        moving_centre=(0.0, 10.0, -5.0),
    )
    assert head.moving.GetSize() == (32, 30, 4)
    assert head.moving.GetSpacing() == (4.0, 5.0, 6.0)
    centre = head.moving.TransformContinuousIndexToPhysicalPoint((15.5, 14.5, 1.5))
    assert centre == pytest.approx((0.0, 10.0, -5.0))
    assert head.transform.TransformPoint((3.0, 4.0, 5.0)) == pytest.approx((3.0, 4.0, 5.0))


def test_no_moving_scan_unless_asked_for() -> None:
    head = generate_head(2, (20, 24, 2), (10.0, 10.0, 10.0))
    assert head.moving is None
    assert head.moving_t2 is None
    assert head.transform is None


def test_tumour_shows_in_mr_and_hardly_in_ct() -> None:
    z = np.linspace(0.0, 50.0, 11)
    sick = head_slices(12, z, (160, 160), 1.5, tumour=True)
    well = head_slices(12, z, (160, 160), 1.5, tumour=False)
    both = np.isin(sick["labels"], [LABELS["tumour"], LABELS["oedema"]])
    assert np.count_nonzero(both) * 1.5 * 1.5 * 5.0 > 1500.0  # mm^3
    assert not np.isin(well["labels"], [LABELS["tumour"], LABELS["oedema"]]).any()
    white = both & (well["labels"] == LABELS["white_matter"])
    assert float(np.median(sick["t2"][white])) > 1.4 * float(np.median(well["t2"][white]))
    assert abs(float(np.median(sick["ct"][white])) - float(np.median(well["ct"][white]))) < 15.0
    away = ~both
    assert np.mean(sick["labels"][away] == well["labels"][away]) > 0.99


def test_tumour_is_left_to_the_seed_when_not_said() -> None:
    with_tumour = sum(Tumour.of_seed(seed, None) is not None for seed in range(200))
    assert 20 <= with_tumour <= 60


def test_metal_is_bright_in_ct_and_takes_the_mr_signal_around_it() -> None:
    z = [-92.0, -89.0, -86.0, -83.0, -80.0, 30.0, 40.0, 50.0]
    metal = head_slices(13, z, (160, 160), 1.5, metal=True)
    plain = head_slices(13, z, (160, 160), 1.5)
    inside = metal["labels"] == LABELS["metal"]
    assert inside.any()
    assert metal["ct"][inside].max() > 3000
    assert not (plain["labels"] == LABELS["metal"]).any()
    lost = (metal["t1"] < 0.3 * plain["t1"]) & (plain["t1"] > 0.3)
    assert np.count_nonzero(lost) > np.count_nonzero(inside)


def test_slices_can_be_turned_and_shifted() -> None:
    plain = head_slices(14, [10.0], (151, 151), 1.6)["ct"][0]
    turned = head_slices(14, [10.0], (151, 151), 1.6, rotation_deg=90.0)["ct"][0]
    scores = [float(np.mean(np.abs(np.rot90(plain, k) - turned))) for k in range(4)]
    assert min(scores[1], scores[3]) < 2.0  # only float rounding at edges is left
    assert min(scores[0], scores[2]) > 20.0
    shifted = head_slices(14, [10.0], (151, 151), 1.6, offset_mm=(16.0, 0.0))["ct"][0]
    np.testing.assert_allclose(shifted[:, 10:], plain[:, :-10], atol=2.0)
    tilted = head_slices(14, [10.0], (151, 151), 1.6, tilt_deg=(8.0, -5.0))["ct"][0]
    assert float(np.mean(np.abs(tilted - plain))) > 5.0


def test_memory_does_not_grow_with_the_number_of_slices() -> None:
    generate_head(15, (64, 64, 1), (4.0, 4.0, 2.0))

    def beyond_output(slices: int) -> int:
        tracemalloc.start()
        generate_head(15, (64, 64, slices), (4.0, 4.0, 2.0))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - slices * 64 * 64 * 17

    assert beyond_output(16) < beyond_output(4) * 1.5 + 2**20


def test_progress_and_cancel() -> None:
    reports: list[Progress] = []
    generate_head(1, (16, 20, 5), (12.0, 12.0, 2.0), misalign_mm=5.0, job=Job(report=reports.append))
    assert [r.done for r in reports] == sorted(r.done for r in reports)
    assert (reports[-1].done, reports[-1].total) == (10, 10)
    with pytest.raises(Cancelled):
        generate_head(1, (16, 20, 5), (12.0, 12.0, 2.0), job=Job(cancelled=lambda: True))


def test_description_goes_into_run_json(head: Head) -> None:
    description = json.loads(json.dumps(head.description))
    assert description["head"]["seed"] == 11
    assert description["size"] == list(SIZE)
    assert description["transform"]["translation_mm"] == pytest.approx(head.transform.GetTranslation())


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"seed": 1.5},
        {"size": (0, 10, 10)},
        {"size": (10, 10)},
        {"size": (10.5, 10, 10)},
        {"size": (4000, 4000, 4000)},
        {"size": "big"},
        {"spacing": (0.0, 1.0, 1.0)},
        {"spacing": (math.nan, 1.0, 1.0)},
        {"spacing": (1.0, 1.0)},
        {"misalign_mm": -1.0},
        {"misalign_mm": 1000.0},
        {"misalign_deg": math.inf},
        {"moving_size": (1, 2, 99999)},
        {"moving_spacing": (1.0, -2.0, 1.0)},
        {"moving_centre": (0.0, math.nan, 0.0)},
    ],
)
def test_nonsense_is_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        generate_head(**({"seed": 1, "size": (8, 8, 2), "spacing": (20.0, 20.0, 20.0)} | wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        {"positions_mm": []},
        {"positions_mm": [math.nan]},
        {"size_xy": (0, 5)},
        {"pixel_mm": 0.0},
        {"seed": "x"},
        {"rotation_deg": math.nan},
        {"tilt_deg": (0.0, math.inf)},
        {"offset_mm": (math.nan, 0.0)},
    ],
)
def test_nonsense_slices_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        head_slices(**({"seed": 1, "positions_mm": [0.0], "size_xy": (8, 8), "pixel_mm": 20.0} | wrong))
