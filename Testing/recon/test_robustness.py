"""Robustness runs: what changes from condition to condition, that they go on where they were, tables and page."""

import csv
import json

import numpy as np
import pytest
import torch
from fake_model import FakeLoaded, ellipsoids
from tiny import SIZE, image, oval_head, write_model

from MSLFusionLib import cli
from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.experiments import classical as module
from MSLFusionLib.experiments import robustness
from MSLFusionLib.experiments.classical import Classical, Effort
from MSLFusionLib.experiments.conditions import MovedSource, conditions, moved
from MSLFusionLib.experiments.summary import leads, means
from MSLFusionLib.io.volumes import write_volume
from MSLFusionLib.progress import Job
from MSLFusionLib.recon.reconstructor import Reconstructor
from MSLFusionLib.recon.simulate import SamplingPlan
from MSLFusionLib.recon.slices import VolumeOptions
from MSLFusionLib.recon.sources import VolumeSource


@pytest.fixture(autouse=True)
def small_tuning(monkeypatch):
    """The head that weights are tuned on, with few voxels."""
    monkeypatch.setattr(module, "_TUNING_SIZE", (40, 40, 5))
    monkeypatch.setattr(module, "_TUNING_SPACING", (6.0, 6.0, 28.0))


def test_one_thing_changes_at_a_time():
    every = conditions()
    assert len(every) == 17
    assert len({one.name for one in every}) == 17
    sampling = {(one.plan.views, one.plan.acceleration) for one in conditions(["sampling"])}
    assert sampling == {(v, a) for v in (64, 32, 16) for a in (4.0, 8.0, 16.0)}
    for one in every:
        if one.group != "sampling":
            assert (one.plan.views, one.plan.acceleration) == (64, 4.0)
        assert (one.plan.photons is not None) == (one.group == "noise")
    assert [one.shift for one in conditions(["misregistration"])] == [5, 10, 15]
    assert [one.modalities for one in conditions(["single"])] == [("ct",), ("mr",)]
    assert all(one.plan.seed == 7 for one in conditions(seed=7))
    with pytest.raises(InputError, match="weather"):
        conditions(["weather"])


def test_a_moved_ct_is_what_is_measured():
    plan = SamplingPlan(views=16)
    source = VolumeSource(*ellipsoids(), plan, VolumeOptions(size=(48, 48), pixel_mm=4.0))
    shifted = MovedSource(source, 4)
    numbers = np.array([2])
    (ct, mr), (was_ct, was_mr) = shifted.truth(numbers), source.truth(numbers)
    assert (ct[:, 4:, 4:] == was_ct[:, :-4, :-4]).all()
    assert not ct[:, :4].any()
    assert (mr == was_mr).all()
    data = shifted.measure(numbers, torch.device("cpu"))
    expected = source.scanners.ct.forward(torch.from_numpy(ct)[:, None] * 0.06)
    torch.testing.assert_close(data.sinogram, expected)
    assert shifted.report()["ct_shift_pixels"] == 4
    with pytest.raises(InputError, match="cannot be moved"):
        moved(ct, 48)


def test_an_interrupted_run_goes_on(tmp_path):
    engine = Reconstructor(FakeLoaded(), "cpu")
    volume = robustness.Volume.keyed("head", *ellipsoids())
    chosen = conditions(["misregistration", "single"])
    classical = Classical(engine.options(), Effort(10, 10, 5), tmp_path / "store")
    seen = []
    stop = Job(report=lambda p: seen.append((p.stage, p.done, p.total)), cancelled=lambda: len(seen) > 9)
    with pytest.raises(Cancelled, match="goes on"):
        robustness.run(engine, "model", [volume], chosen, classical, tmp_path / "cells", 2, stop)
    assert {stage for stage, _, _ in seen} == {"robustness"}
    assert {total for _, _, total in seen} == {20}
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert len(kept) == 4, "figures and pictures of two conditions"
    cells = robustness.run(engine, "model", [volume], chosen, classical, tmp_path / "cells", 2)
    assert len(cells) == 5
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    encoded = len(engine.model.encoded)
    again = robustness.run(engine, "model", [volume], chosen, classical, tmp_path / "cells", 2)
    assert len(engine.model.encoded) == encoded
    assert [cell.rows for cell in again] == [json.loads(json.dumps(cell.rows)) for cell in cells]
    robustness.run(engine, "other model", [volume], chosen[:1], classical, tmp_path / "cells", 2)
    assert len(engine.model.encoded) > encoded
    for path in (tmp_path / "cells").glob("*.json"):
        path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="remove it"):
        robustness.run(engine, "model", [volume], chosen, classical, tmp_path / "cells", 2)


def test_means_and_leads(tmp_path):
    engine = Reconstructor(FakeLoaded(), "cpu")
    volume = robustness.Volume.keyed("head", *ellipsoids())
    chosen = conditions(["single", "misregistration"])[::-1][:3]
    classical = Classical(engine.options(), Effort(60, 30, 20), tmp_path / "store")
    cells = robustness.run(engine, "model", [volume], chosen, classical, tmp_path / "cells", 3)
    rows = {(row["condition"], row["method"], row["lambda"], row["target"]): row for row in means(cells)}
    alone, apart = "MR alone", "CT 15 pixels off"
    assert (alone, "FBP", 0.0, "ct") not in rows
    assert rows[alone, "MSL", 1.0, "mr"]["psnr"] > rows[alone, "zero-filled", 1.0, "mr"]["psnr"]
    for lam, side, sensor, smooth in ((0.0, "ct", "FBP", "TV CT"), (1.0, "mr", "zero-filled", "TV MR")):
        figures = [rows[apart, name, lam, side]["psnr"] for name in (sensor, "MSL", smooth)]
        assert figures[0] < min(figures[1:])
    assert rows[apart, "blend of the truths", 0.5, "ct"]["slices"] == 3
    lead = {(row["condition"], row["method"], row["target"]): row for row in leads(cells)}[apart, "FBP", "ct"]
    difference = rows[apart, "MSL", 0.0, "ct"]["psnr"] - rows[apart, "FBP", 0.0, "ct"]["psnr"]
    assert lead["psnr"] == pytest.approx(difference)
    assert lead["psnr_low"] <= lead["psnr"] <= lead["psnr_high"]
    assert lead["psnr_ahead"] == 3


def test_the_command_writes_tables_and_a_page(tmp_path, capsys):
    for name, array in zip(("ct", "mr"), oval_head(SIZE[::-1]), strict=True):
        write_volume(image(array), tmp_path / f"{name}.nrrd")
    model = write_model(tmp_path / "tiny.safetensors")
    out = tmp_path / "out"
    words = ["experiments", "robustness", "--ct", tmp_path / "ct.nrrd", "--mr", tmp_path / "mr.nrrd", "--no-register"]
    words += ["--model", model, "--slices", 2, "--iterations", 5, "--only", "noise", "single", "--output", out]
    assert cli.main([str(word) for word in words]) == 0
    files = {"cells", "classical", "leads.csv", "means.csv", "robustness.html", "robustness.json", "slices.csv"}
    assert {path.name for path in out.iterdir()} == files
    with open(out / "means.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["condition"] for row in rows} == {one.name for one in conditions(["noise", "single"])}
    assert {row["group"] for row in rows} == {"noise", "single"}
    page = (out / "robustness.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert page.count("<details>") == 5
    capsys.readouterr()
    assert cli.main(["experiments", "robustness", "--ct", str(tmp_path / "ct.nrrd"), "--output", str(out)]) == 2
    assert "both --ct and --mr" in capsys.readouterr().err
    assert cli.main([*map(str, words), "--heads", "1"]) == 2
