"""The benchmark of previews measures what it says, through a worker of its own."""

import pytest

from MSLFusionLib.benchmarks import preview
from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.progress import Job


def test_previews_of_volumes_of_any_depth_are_timed(model_file):
    seen = []
    job = Job(report=lambda progress: seen.append((progress.done, progress.total)))
    found = preview.run(model_file, depths=(2, 4), requests=2, device="cpu", job=job)
    assert [(row["slices"], row["lambda"]) for row in found["rows"]] == [
        (2, "number"),
        (2, "map"),
        (4, "number"),
        (4, "map"),
    ]
    assert all(row["worst_ms"] >= row["median_ms"] > 0 for row in found["rows"])
    for kind, first in (("number", 0), ("map", 1)):
        ratio = found["rows"][first + 2]["median_ms"] / found["rows"][first]["median_ms"]
        assert found["ratio_deep_to_shallow"][kind] == ratio
    assert all(row["processor_ms"] is None or row["processor_ms"] >= 0 for row in found["rows"])
    assert found["model"] == "tiny"
    assert seen[0] == (0, 5)
    assert seen[-1] == (5, 5)


def test_impossible_numbers_are_refused(model_file):
    for depths, requests in (((), 1), ((1,), 1), ((4,), 0)):
        with pytest.raises(InputError, match="2 slices or more"):
            preview.run(model_file, depths, requests)


def test_cancel_ends_it(model_file):
    asked = iter([False, False, False])
    with pytest.raises(Cancelled):
        preview.run(model_file, (2,), 1, "cpu", Job(cancelled=lambda: next(asked, True)))
