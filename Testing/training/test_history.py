"""The course of a run as it is read beside the run: logs that grow, are cut back, or are half-written."""

import json
import math
from pathlib import Path

import pytest

from MSLFusionTrainingLib import runfolder
from MSLFusionTrainingLib.history import GrowingFile, History, Points
from MSLFusionTrainingLib.logs import LOG, VALIDATION, Logs


def log(folder: Path, first: int, last: int) -> None:
    logs = Logs(folder, first - 1)
    for iteration in range(first, last + 1):
        logs.step(iteration, 1e-3, 0.1, {"loss": 1 / iteration, "reconstruction": 0.5 / iteration})
    logs.close()


def test_only_what_was_appended_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text"
    file = GrowingFile(path)
    assert file.read() == (False, [])
    path.write_text("one\ntwo\nthr")
    assert file.read() == (False, ["one", "two"])
    assert file.read() == (False, [])
    with path.open("a") as more:
        more.write("ee\n")
    assert file.read() == (False, ["three"])
    monkeypatch.setattr("MSLFusionTrainingLib.history._AT_ONCE", 6)
    path.write_text("one\n2\n3\n4\n5\n6\n7\n8\n")
    assert file.read() == (True, ["one", "2"])
    assert file.read() == (False, ["3", "4", "5"])
    path.unlink()
    assert file.read() == (True, [])


def test_a_log_that_is_cut_back_is_read_again(tmp_path: Path) -> None:
    log(tmp_path, 1, 9)
    history = History(tmp_path)
    course = history.read()
    assert course.loss_names[:2] == ("loss", "reconstruction")
    assert [row[0] for row in course.losses] == list(range(1, 10))
    assert course.losses[3][1:3] == (0.25, 0.125)
    log(tmp_path, 5, 20)  # goes on from 4, and is longer than before when we look again
    assert [row[0] for row in history.read().losses] == list(range(1, 21))
    log(tmp_path, 3, 3)
    assert [row[0] for row in history.read().losses] == [1, 2, 3]


def test_scores_name_the_network_before_what_it_is_compared_with(tmp_path: Path) -> None:
    group = {"fbp": {"psnr": 20.0}, "network": {"psnr": 30.0}, "gain_db": 10.0}
    lines = ["no json", json.dumps({"iteration": 5, "ct": group, "single": {"ct_from_mr": {"psnr": 1.0}}}), "[1]"]
    lines.append(json.dumps({"iteration": 10, "ct": {**group, "network": {"psnr": "x"}}}))
    (tmp_path / VALIDATION).write_text("".join(f"{line}\n" for line in lines))
    course = History(tmp_path).read()
    assert course.score_names == ("CT network", "CT fbp")
    assert course.scores[0] == (5.0, 30.0, 20.0)
    assert course.scores[1][0] == 10.0
    assert math.isnan(course.scores[1][1])
    assert len(course.scores) == 2


def test_validations_of_other_methods_give_no_scores(tmp_path: Path) -> None:
    (tmp_path / VALIDATION).write_text('{"iteration": 2, "loss": -0.5, "ssim": 0.3}\n')
    (tmp_path / LOG).write_text("iteration,learning_rate,loss,ssim\n1,0.1,0.5,0.25\n")
    course = History(tmp_path).read()
    assert (course.scores, course.score_names) == ((), ())
    assert (course.losses, course.loss_names) == (((1.0, 0.5, 0.25),), ("loss", "ssim"))


def test_a_long_run_has_no_more_points_than_a_plot_can_show(tmp_path: Path) -> None:
    points = Points()
    for iteration in range(1, 10_001):
        points.add((float(iteration), float(iteration % 2), math.nan if iteration % 2 else 3.0))
    assert 500 <= len(points.rows) <= 1000
    assert points.rows[-1][0] > 9900
    assert all(row[1:] == (0.5, 3.0) for row in points.rows)


def test_damaged_rows_are_left_out(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("iteration,learning_rate,loss\n1,0.1,2.5\n2,0.1\n3,0.1,nonsense\nx\n4,0.1,1.5\n")
    course = History(tmp_path).read()
    assert course.loss_names == ("loss",)
    assert [row[0] for row in course.losses] == [1, 3, 4]
    assert math.isnan(course.losses[1][1])


def test_the_end_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / runfolder.TRAIN_LOG
    assert runfolder.tail(path) == ""
    path.write_bytes(b"\xff first\n" + b"".join(b"line %d\n" % i for i in range(5000)))
    text = runfolder.tail(path, 100)
    assert text.endswith("line 4998\nline 4999\n")
    assert text.startswith("line ")
    assert len(text) <= 100
