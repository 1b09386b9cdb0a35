"""Finding a lambda map through a worker: parts while it runs, previews beside it, a cancel that loses nothing."""

import numpy as np
import pytest
from talk import PLAN, TIMEOUT, head

from MSLFusionLib.errors import InputError


@pytest.fixture(scope="module")
def session(worker) -> dict:
    ct, mr = head()
    return worker.wait(worker.client.reconstruct(ct, mr, PLAN), TIMEOUT).header


def test_the_map_comes_in_parts_and_decodes_to_what_was_told(worker, session):
    parts, seen = [], []
    call = worker.client.optimize_lambda(
        "entropy", alpha=1e-5, steps=5, slices=(1, 2), start=2, on_part=parts.append, on_progress=seen.append
    )
    header = worker.wait(call, TIMEOUT).header
    assert header["complete"]
    assert [one["slice"] for one in header["slices"]] == [1, 2]
    assert header["settings"]["objective"] == "entropy"
    assert header["value"] >= header["best_constants"]
    assert seen[-1]["done"] == seen[-1]["total"]
    assert parts[0].header["slices"] == [2]
    last = {part.header["slices"][0]: part for part in parts if part.header["finished"]}
    points = [point for part in parts if part.header["slices"] == [1] for point in part.header["curve"]]
    assert [step for step, _ in points] == sorted(step for step, _ in points)
    for one in header["slices"]:
        part = last[one["slice"]]
        assert part.header["kind"] == "lambda"
        assert part.header["value"] == one["value"] >= one["best_constant"]["value"]
        plane = part.arrays["planes"]
        assert plane.shape == (1, 44, 40)
        assert 0 <= plane.min() <= plane.max() <= 1
        shown = worker.wait(worker.client.decode_slice(one["slice"], plane[0]), TIMEOUT)
        assert shown.arrays["plane"].shape == (44, 40)


def test_a_cancel_loses_nothing_and_previews_are_answered_meanwhile(worker, session):
    parts = []
    call = worker.client.optimize_lambda("entropy", alpha=0.0, steps=10_000, on_part=parts.append)
    worker.until(lambda: parts, TIMEOUT)
    preview = worker.client.decode_slice(1, 0.5, view="Red")
    worker.until(lambda: preview.done, TIMEOUT)
    assert preview.result is not None
    assert not call.done
    worker.client.cancel(call)
    worker.until(lambda: call.done, TIMEOUT)
    assert call.failure.reason == "cancelled"
    assert parts[-1].header["value"] >= parts[-1].header["best_constant"][1]


def test_weights_of_voxels_are_taken(worker, session):
    weights = np.zeros((4, 44, 40), np.float32)
    weights[2, 20:30, 15:25] = 1
    header = worker.wait(worker.client.optimize_lambda("entropy", steps=1, weights=weights), TIMEOUT).header
    assert [one["slice"] for one in header["slices"]] == [2]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"objective": "mine.py:best"}, "no objective"),
        ({"alpha": -1.0}, "alpha must be"),
        ({"slices": (1, 9)}, "slices 0 to 3"),
        ({"slices": (1,)}, "first and the last"),
        ({"weights": np.ones((2, 2, 2), np.float32)}, "shape"),
    ],
)
def test_impossible_searches_are_refused(worker, session, wrong, words):
    with pytest.raises(InputError, match=words):
        worker.wait(worker.client.optimize_lambda(**wrong), TIMEOUT)
