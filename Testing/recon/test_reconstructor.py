"""Sensors to hybrid volumes: geometry, sharing of the encoding, tiling, cancelling, refusals."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fake_model import BlendNet, FakeLoaded, ellipsoids

from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionLib.io.sensors import SensorHeader, SensorReader, SensorWriter
from MSLFusionLib.nets.presets import preset_config
from MSLFusionLib.nets.registry import build
from MSLFusionLib.physics.units import hu_to_network
from MSLFusionLib.progress import Job
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.lambdas import LambdaSpec
from MSLFusionLib.recon.reconstructor import Reconstructor, to_hu
from MSLFusionLib.recon.simulate import SamplingPlan
from MSLFusionLib.recon.sources import VolumeSource

DENSE = SamplingPlan(views=128, acceleration=2)
NOISY = SamplingPlan(views=32, acceleration=4, photons=1e5, kspace_sigma=0.01, seed=9)
OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def arrays(result) -> list[np.ndarray]:
    return [sitk.GetArrayFromImage(image) for _, image in result.hybrids]


def best_move(seen: np.ndarray, truth: np.ndarray) -> tuple[int, int, int, int]:
    """Shift in voxels along rows and columns, and flips of both, under which `seen` resembles `truth` most."""
    moves = itertools.product((-1, 0, 1), (-1, 0, 1), (1, -1), (1, -1))

    def resemblance(move: tuple[int, int, int, int]) -> float:
        moved = np.roll(seen[:, :: move[2], :: move[3]], move[:2], (1, 2))
        return float(np.corrcoef(moved.ravel(), truth.ravel())[0, 1])

    return max(moves, key=resemblance)


def tiny_msl(seed: int = 0) -> FakeLoaded:
    torch.manual_seed(seed)
    config = preset_config("msl-lite", width=4, token_dim=32, heads=2, head_dim=8, mlp_dim=32, token_grid=(3, 3))
    return FakeLoaded(build("msl", config.to_dict()), "tiny")


@pytest.mark.parametrize(
    ("size", "spacing", "direction"),
    [
        ((40, 44, 6), (4.0, 4.0, 5.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
        ((80, 45, 3), (2.0, 4.1, 5.0), OBLIQUE),
        ((37, 91, 3), (4.3, 2.0, 6.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    ],
)
def test_volumes_come_back_on_the_ct_grid_and_in_place(size, spacing, direction):
    ct, mr = ellipsoids(size, spacing, direction)
    result = Reconstructor(FakeLoaded(), "cpu").reconstruct([0, 1], ct=ct, mr=mr, plan=DENSE, ground_truth=True)
    assert [label for label, _ in result.hybrids] == ["0", "1"]
    for _, image in result.hybrids:
        assert VolumeGeometry.of(image) == VolumeGeometry.of(ct)
        assert image.GetPixelID() == sitk.sitkFloat32
    truth = hu_to_network(sitk.GetArrayFromImage(ct))
    seen = arrays(result)[0]
    assert np.abs(seen - truth).mean() < 0.03
    assert best_move(seen, truth) == (0, 0, 1, 1)
    measured = sitk.GetArrayFromImage(result.others["truth-ct"])
    assert np.abs(measured - truth).mean() < np.abs(seen - truth).mean()


def test_slices_along_another_axis():
    ct, mr = ellipsoids()
    sagittal_ct, sagittal_mr = (sitk.PermuteAxes(image, (2, 1, 0)) for image in (ct, mr))
    spacing = (9.0, 4.0, 4.0)
    for image in (sagittal_ct, sagittal_mr):
        image.SetSpacing(spacing)
    result = Reconstructor(FakeLoaded(), "cpu").reconstruct([0.0], ct=sagittal_ct, mr=sagittal_mr, plan=DENSE)
    assert result.source["grid"]["slice_axis"] == "x"
    assert result.slices == 6
    truth = hu_to_network(sitk.GetArrayFromImage(sagittal_ct))
    assert np.abs(arrays(result)[0] - truth).mean() < 0.03


def test_each_slice_is_encoded_once_for_all_lambdas():
    ct, mr = ellipsoids()
    loaded = FakeLoaded()
    lambdas = [0.0, 0.25, 0.5, LambdaSpec("map", None, np.full(ct.GetSize()[::-1], 0.25, np.float32))]
    result = Reconstructor(loaded, "cpu", batch=4).reconstruct(lambdas, ct=ct, mr=mr, plan=DENSE)
    assert loaded.model.encoded == [4, 2]
    # Data consistency needs the CT and the MR once, whatever the lambdas.
    assert loaded.model.decoded == [4] * 6 + [2] * 6
    zero, quarter, half, mapped = arrays(result)
    assert mapped == pytest.approx(quarter, abs=1e-6)
    assert half == pytest.approx(2 * quarter - zero, abs=1e-5)
    assert result.labels == ["0", "0.25", "0.5", "map"]


def test_lambda_map_works_voxel_by_voxel_whatever_the_direction():
    ct, mr = ellipsoids(direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
    field = np.zeros(ct.GetSize()[::-1], np.float32)
    field[:, :22] = 1.0
    result = Reconstructor(FakeLoaded(), "cpu").reconstruct(
        [0, 1, LambdaSpec("map", None, field)], ct=ct, mr=mr, plan=DENSE
    )
    zero, one, mapped = arrays(result)
    assert mapped[:, :20] == pytest.approx(one[:, :20], abs=1e-6)
    assert mapped[:, 24:] == pytest.approx(zero[:, 24:], abs=1e-6)


def test_tiling_does_not_change_the_numbers():
    ct, mr = ellipsoids()
    runs = [
        arrays(Reconstructor(tiny_msl(), "cpu", batch).reconstruct([0, 0.5], ct=ct, mr=mr, plan=NOISY))
        for batch in (1, 4, None)
    ]
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            assert second == pytest.approx(first, abs=2e-5)


def test_same_command_same_numbers():
    ct, mr = ellipsoids()
    first, second = (
        arrays(Reconstructor(tiny_msl(), "cpu").reconstruct([0.3], ct=ct, mr=mr, plan=NOISY)) for _ in range(2)
    )
    assert np.array_equal(first[0], second[0])


def simulated(path, ct, mr, plan) -> SensorReader:
    """What `mslfusion simulate` does."""
    source = VolumeSource(ct, mr, plan, Reconstructor(FakeLoaded(), "cpu").options())
    with SensorWriter(path, SensorHeader(**source.header())) as writer:
        for numbers in np.array_split(source.occupied, 3):
            batch = source.measure(numbers, torch.device("cpu"))
            sinogram = None if batch.sinogram is None else batch.sinogram[:, 0].numpy()
            writer.write(numbers, sinogram, None if batch.kspace is None else batch.kspace.numpy())
    return SensorReader(path)


def test_sensors_file_gives_what_the_volumes_give(tmp_path):
    ct, mr = ellipsoids((80, 45, 6), (2.0, 4.1, 5.0), OBLIQUE)
    ct[:, :, 0] = -1000.0
    mr[:, :, 0] = 2.0
    engine = Reconstructor(tiny_msl(), "cpu")
    direct = engine.reconstruct([0, 0.5, 1], ct=ct, mr=mr, plan=NOISY)
    with simulated(tmp_path / "s.h5", ct, mr, NOISY) as reader:
        from_file = engine.reconstruct([0, 0.5, 1], sensors=reader)
    assert from_file.slices == direct.slices == 5
    assert from_file.achieved == direct.achieved
    assert from_file.source["mr_scale"] == direct.source["mr_scale"]
    for (_, first), (_, second) in zip(direct.hybrids, from_file.hybrids, strict=True):
        assert VolumeGeometry.of(second) == VolumeGeometry.of(ct)
        assert sitk.GetArrayFromImage(second) == pytest.approx(sitk.GetArrayFromImage(first), abs=2e-5)


def test_one_modality_of_two(tmp_path):
    ct, mr = ellipsoids()
    engine = Reconstructor(FakeLoaded(), "cpu")
    both = arrays(engine.reconstruct([0, 1], ct=ct, mr=mr, plan=DENSE))
    only_ct = engine.reconstruct([0, 1], ct=ct, mr=mr, plan=DENSE, modalities=["ct"], sensor_images=True)
    assert np.array_equal(arrays(only_ct)[0], both[0])
    assert arrays(only_ct)[1].max() == 0
    assert set(only_ct.others) == {"fbp"}
    assert set(only_ct.achieved) == {"ct"}
    only_mr = engine.reconstruct([0, 1], mr=mr, plan=DENSE)
    assert arrays(only_mr)[0].max() == 0
    assert arrays(only_mr)[1] == pytest.approx(both[1], abs=1e-5)
    with simulated(tmp_path / "s.h5", ct, mr, DENSE) as reader:
        from_file = arrays(engine.reconstruct([0, 1], sensors=reader, modalities=["mr"]))
    assert from_file[0].max() == 0
    assert from_file[1] == pytest.approx(both[1], abs=1e-5)


def test_missing_modality_in_a_real_network():
    ct, mr = ellipsoids()
    engine = Reconstructor(tiny_msl(), "cpu")
    both, single = (
        arrays(engine.reconstruct([0.5], ct=ct, mr=mr, plan=DENSE, modalities=names))[0]
        for names in (("ct", "mr"), ("ct",))
    )
    assert np.isfinite(single).all()
    assert not np.array_equal(both, single)


def test_sensor_images_and_truth_are_kept_on_request():
    ct, mr = ellipsoids()
    engine = Reconstructor(FakeLoaded(), "cpu")
    assert engine.reconstruct([0], ct=ct, mr=mr, plan=DENSE).others == {}
    kept = {"sensor_images": True, "ground_truth": True, "consistency": False}
    result = engine.reconstruct([0, 1], ct=ct, mr=mr, plan=DENSE, **kept)
    assert set(result.others) == {"fbp", "zero-filled", "truth-ct", "truth-mr"}
    zero, one = arrays(result)
    assert np.array_equal(sitk.GetArrayFromImage(result.others["fbp"]), zero)
    assert np.array_equal(sitk.GetArrayFromImage(result.others["zero-filled"]), one)
    assert VolumeGeometry.of(result.others["truth-mr"]) == VolumeGeometry.of(ct)


def test_a_sink_takes_the_volumes():
    ct, mr = ellipsoids()
    taken = []
    engine = Reconstructor(FakeLoaded(), "cpu")
    result = engine.reconstruct([0, 0.5], ct=ct, mr=mr, plan=DENSE, sensor_images=True, sink=taken.append)
    assert result.volumes == []
    assert [(v.kind, v.label) for v in taken] == [
        ("hybrid", "0"), ("hybrid", "0.5"), ("fbp", "fbp"), ("zero-filled", "zero-filled"),
    ]  # fmt: skip
    kept = engine.reconstruct([0, 0.5], ct=ct, mr=mr, plan=DENSE)
    assert np.array_equal(sitk.GetArrayFromImage(taken[1].image), arrays(kept)[1])


def test_slices_without_body_stay_background():
    ct, mr = ellipsoids()
    ct[:, :, 0:2] = -1000.0
    mr[:, :, 0:2] = 2.0
    loaded = tiny_msl()
    result = Reconstructor(loaded, "cpu").reconstruct([0.5], ct=ct, mr=mr, plan=NOISY)
    assert result.slices == 4
    assert arrays(result)[0][:2].max() == 0


def test_ct_comes_back_in_hu():
    ct, mr = ellipsoids()
    result = Reconstructor(FakeLoaded(), "cpu").reconstruct([0], ct=ct, mr=mr, plan=DENSE)
    hu = to_hu(result.hybrids[0][1])
    assert VolumeGeometry.of(hu) == VolumeGeometry.of(ct)
    values = sitk.GetArrayFromImage(hu)
    assert values.min() == pytest.approx(-1000.0, abs=1e-3)
    assert np.median(values[3, 18:26, 16:24]) == pytest.approx(40, abs=60)


def test_wide_body_is_fitted_and_reported():
    ct, mr = ellipsoids()
    for image in (ct, mr):
        image.SetSpacing((8.0, 8.0, 8.0))
    engine = Reconstructor(FakeLoaded(), "cpu")
    result = engine.reconstruct([0], ct=ct, mr=mr, plan=DENSE)
    assert result.source["grid"]["pixel_mm"] > 4.0
    assert any("pixel enlarged from 4.00" in sentence for sentence in result.warnings)
    fixed = engine.reconstruct([0], ct=ct, mr=mr, plan=DENSE, pixel_mm=4.0)
    assert fixed.source["grid"]["body_fraction_outside"] > 0.1
    assert any("outside" in sentence for sentence in fixed.warnings)


def test_unusual_sampling_is_warned_of():
    ct, mr = ellipsoids()
    said: list[str] = []
    plan = SamplingPlan(views=8, acceleration=24)
    result = Reconstructor(FakeLoaded(), "cpu").reconstruct([0], ct=ct, mr=mr, plan=plan, job=Job(warn=said.append))
    assert result.warnings == said
    assert len([s for s in said if "was trained on" in s]) == 2
    loaded = FakeLoaded()
    loaded.card["sensors"] |= {"scan": "full", "masks": ["random", "equispaced"]}
    plan = SamplingPlan(scan="short", mask="official")
    result = Reconstructor(loaded, "cpu").reconstruct([0], ct=ct, mr=mr, plan=plan)
    assert "a scan of the kind 'short'" in result.warnings[0]
    assert "a k-space mask of the kind 'official'" in result.warnings[1]
    quiet = Reconstructor(FakeLoaded(), "cpu").reconstruct([0], ct=ct, mr=mr, plan=DENSE)
    assert quiet.warnings == []


def test_progress_counts_slices_and_cancel_stops():
    ct, mr = ellipsoids()
    seen: list[tuple[str, int, int]] = []
    job = Job(report=lambda p: seen.append((p.stage, p.done, p.total)))
    Reconstructor(FakeLoaded(), "cpu", batch=2).reconstruct([0], ct=ct, mr=mr, plan=DENSE, job=job)
    assert [p for p in seen if p[0] == "reconstruct"] == [("reconstruct", n, 6) for n in (0, 2, 4, 6)]
    stop = Job(cancelled=lambda: seen[-1] == ("reconstruct", 2, 6), report=job.report)
    taken: list[object] = []
    seen.clear()
    seen.append(("start", 0, 0))
    loaded = FakeLoaded()
    with pytest.raises(Cancelled):
        Reconstructor(loaded, "cpu", 2).reconstruct([0], ct=ct, mr=mr, plan=DENSE, sink=taken.append, job=stop)
    assert taken == []
    # Within the second batch already: between measuring and encoding.
    assert loaded.model.encoded == [2]


class Greedy(BlendNet):
    """Runs out of memory with more than `limit` slices, as torch reports it on a GPU."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def encode(self, ct, mr, present=None):
        if len(ct) > self.limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return super().encode(ct, mr, present)


def test_batch_is_halved_when_memory_runs_out():
    ct, mr = ellipsoids()
    engine = Reconstructor(FakeLoaded(Greedy(1)), "cpu", batch=6)
    result = engine.reconstruct([0, 0.5], ct=ct, mr=mr, plan=NOISY)
    assert result.batch == 1
    assert [s for s in result.warnings if "memory" in s] == [
        "The memory is short: going on with 3 slices at a time.",
        "The memory is short: going on with 1 slices at a time.",
    ]
    plain = Reconstructor(FakeLoaded(), "cpu").reconstruct([0, 0.5], ct=ct, mr=mr, plan=NOISY)
    assert arrays(result)[1] == pytest.approx(arrays(plain)[1], abs=2e-5)
    with pytest.raises(JobError, match="single slice does not fit"):
        Reconstructor(FakeLoaded(Greedy(0)), "cpu").reconstruct([0], ct=ct, mr=mr, plan=NOISY)


def test_other_errors_are_not_hidden():
    class Broken(BlendNet):
        def encode(self, ct, mr, present=None):
            raise RuntimeError("shapes do not match")

    ct, mr = ellipsoids()
    with pytest.raises(RuntimeError, match="shapes do not match"):
        Reconstructor(FakeLoaded(Broken()), "cpu").reconstruct([0], ct=ct, mr=mr, plan=DENSE)


def test_absent_and_unknown_devices_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "cuda:7"):
        with pytest.raises(InputError, match="no CUDA GPU here"):
            Reconstructor(FakeLoaded(), name)
    for name in ("gpu", "cuda:", "cuda:x", "CPU"):
        with pytest.raises(InputError, match="Unknown device"):
            Reconstructor(FakeLoaded(), name)
    assert Reconstructor(FakeLoaded(), "auto").device.type == "cpu"


def test_unusable_requests_are_refused(tmp_path):
    ct, mr = ellipsoids()
    engine = Reconstructor(FakeLoaded(), "cpu")
    shape = ct.GetSize()[::-1]
    for lambdas, words in (
        ([], "at least one lambda"),
        ([2], "between 0"),
        ([float("nan")], "between 0"),
        ([0.5, 0.5], "same name"),
        ([LambdaSpec("map", None, np.zeros((1, *shape[1:]), np.float32))], "not on the CT's grid"),
    ):
        with pytest.raises(InputError, match=words):
            engine.reconstruct(lambdas, ct=ct, mr=mr, plan=DENSE)
    with pytest.raises(InputError, match="modalities must be"):
        engine.reconstruct([0], ct=ct, mr=mr, modalities=["pet"])
    with pytest.raises(InputError, match="Give a CT"):
        engine.reconstruct([0], mr=mr, modalities=["ct"])
    with simulated(tmp_path / "s.h5", ct, None, DENSE) as reader:
        with pytest.raises(InputError, match="not both"):
            engine.reconstruct([0], ct=ct, sensors=reader)
        with pytest.raises(InputError, match="no ground truth"):
            engine.reconstruct([0], sensors=reader, ground_truth=True)
        with pytest.raises(InputError, match="no data of the chosen"):
            engine.reconstruct([0], sensors=reader, modalities=["mr"])
    with pytest.raises(InputError, match="not for CT and MR"):
        Reconstructor(FakeLoaded(card=FakeLoaded().card | {"modalities": ["t1", "t2"]}), "cpu")
    with pytest.raises(InputError, match="batch"):
        Reconstructor(FakeLoaded(), "cpu", batch=0)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"grid": {"size": [48]}}, "its grid"),
        ({"grid": None}, "its grid"),
        ({"sensors": {"views": ["a", 3]}}, "range of views"),
    ],
)
def test_damaged_cards_are_refused(entry, words):
    ct, mr = ellipsoids()
    engine = Reconstructor(FakeLoaded(card=FakeLoaded().card | entry), "cpu")
    with pytest.raises(InputError, match=words):
        engine.reconstruct([0], ct=ct, mr=mr, plan=DENSE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_gives_what_the_cpu_gives():
    ct, mr = ellipsoids()
    runs = [
        arrays(Reconstructor(tiny_msl(), name).reconstruct([0, 0.5], ct=ct, mr=mr, plan=NOISY))
        for name in ("cpu", "cuda")
    ]
    for on_cpu, on_gpu in zip(*runs, strict=True):
        assert np.abs(on_gpu - on_cpu).mean() < 0.01


def test_sensors_file_with_another_grid_is_refused(tmp_path):
    """Geometry and mask are believed only where they fit the grid in the same file."""
    ct, mr = ellipsoids()
    source = VolumeSource(ct, mr, DENSE, Reconstructor(FakeLoaded(), "cpu").options())
    header = source.header()
    header["geometry"] = header["geometry"] | {"pixel_mm": 3.0}
    with SensorWriter(tmp_path / "s.h5", SensorHeader(**header)) as writer:
        batch = source.measure(source.occupied, torch.device("cpu"))
        writer.write(source.occupied, batch.sinogram[:, 0].numpy(), batch.kspace.numpy())
    with SensorReader(tmp_path / "s.h5") as reader, pytest.raises(InputError, match="does not fit its image grid"):
        Reconstructor(FakeLoaded(), "cpu").reconstruct([0], sensors=reader)
