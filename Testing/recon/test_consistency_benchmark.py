"""The comparison with and without data consistency counts what it says."""

import pytest
from fake_model import FakeLoaded, ellipsoids

from MSLFusionLib.benchmarks.consistency import generated, run
from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.experiments import classical
from MSLFusionLib.progress import Job
from MSLFusionLib.recon.reconstructor import Reconstructor
from MSLFusionLib.recon.simulate import SamplingPlan

PLAN = SamplingPlan(views=24, acceleration=4)


def test_images_are_compared_slice_by_slice():
    engine = Reconstructor(FakeLoaded(), "cpu")
    figures = run(engine, [ellipsoids(), (None, ellipsoids()[1])], PLAN, slices=2)
    assert figures["slices"] == 4
    rows = {row["image"]: row for row in figures["images"]}
    assert list(rows) == ["FBP", "CT network", "CT consistent", "zero-filled", "MR network", "MR consistent"]
    # This network passes the sensor images on.
    for network, sensor in (("CT network", "FBP"), ("MR network", "zero-filled")):
        assert rows[network]["psnr"] == pytest.approx(rows[sensor]["psnr"], abs=1e-4)
        assert rows[network]["gain_db"] == pytest.approx(0.0, abs=1e-4)
        corrected = rows[f"{network[:2]} consistent"]
        assert corrected["worse"] == 0
        assert corrected["gain_db"] >= corrected["worst_db"] > 1.0
        assert corrected["gain_db"] == pytest.approx(corrected["psnr"] - rows[sensor]["psnr"], abs=1e-6)
    assert figures["sinogram_residual"]["worst"] < 0.5
    assert figures["seconds_per_slice"] > 0


def test_no_slices_are_refused_and_it_can_be_cancelled():
    engine = Reconstructor(FakeLoaded(), "cpu")
    with pytest.raises(InputError, match="at least one slice"):
        run(engine, [ellipsoids()], PLAN, slices=0)
    with pytest.raises(Cancelled):
        run(engine, [ellipsoids()], PLAN, job=Job(cancelled=lambda: True))
    with pytest.raises(Cancelled):
        generated((1,), Job(cancelled=lambda: True))


def test_beside_total_variation(monkeypatch, tmp_path):
    monkeypatch.setattr(classical, "_TUNING_SIZE", (40, 40, 5))
    monkeypatch.setattr(classical, "_TUNING_SPACING", (6.0, 6.0, 28.0))
    engine = Reconstructor(FakeLoaded(), "cpu")
    baselines = classical.Classical(engine.options(), classical.Effort(60, tuning=30), tmp_path)
    figures = run(engine, [ellipsoids(), (None, ellipsoids()[1])], PLAN, 2, baselines)
    rows = {row["image"]: row for row in figures["images"]}
    assert rows["TV CT"]["psnr"] > rows["FBP"]["psnr"]
    assert rows["TV MR"]["gain_db"] == pytest.approx(rows["TV MR"]["psnr"] - rows["zero-filled"]["psnr"], abs=1e-6)
    against = {row["image"]: row for row in figures["against_tv"]}
    assert (against["CT"]["slices"], against["MR"]["slices"]) == (2, 4)
    for side, row in against.items():
        lead = rows[f"{side} consistent"]["psnr"] - rows[f"TV {side}"]["psnr"]
        assert row["lead_db"] == pytest.approx(lead, abs=1e-6)
        assert row["worst_db"] <= row["lead_db"]
    assert set(figures["tv_weights"]) == {"TV CT", "TV MR"}
