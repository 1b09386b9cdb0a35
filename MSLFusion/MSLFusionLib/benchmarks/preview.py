"""How long the panel's preview takes: from the request for a slice to its plane, through a worker process.

The time must not depend on how many slices the volume has: a shallow volume is cut out of a deep one, and both are
measured in the same way.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.client import Call, Volume
from MSLFusionLib.errors import InputError
from MSLFusionLib.phantom import generate_head
from MSLFusionLib.progress import NO_JOB, Job
from MSLFusionLib.transport import SubprocessTransport
from MSLFusionLib.wire import Message

PIXELS, FIELD_MM, DEEP_MM = 384, 230.0, 180.0
_THICKEST_MM = 20.0
_COARSER = 4
_SEED = 11
_POLL_S = 0.5


def run(
    model: Path | str,
    depths: Sequence[int] = (8, 64),
    requests: int = 30,
    device: str = "auto",
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Decode slices of a generated head (384 x 384 voxels in each) at numbers and at maps, one after the other.

    model: a checkpoint. depths: slices of the volumes. requests: how many slices for each of both kinds of lambda, in
    random order, after one that is not counted. Gives a row per volume and kind with the median and the worst time in
    milliseconds and the processor's time for one (None where the system does not tell; the figure to compare on a
    machine that is busy with other things), and per kind the median of the deepest volume over that of the shallowest.
    Raises InputError for numbers that are not possible, JobError when the worker fails, Cancelled.
    """
    if not depths or min(depths) < 2 or requests < 1:
        raise InputError("The preview benchmark needs volumes of 2 slices or more, and a request or more.")
    stages = 1 + 2 * len(depths)
    job.step("benchmark", 0, stages)
    spacing, arrays = _head(max(depths))
    job.step("benchmark", 1, stages)
    library = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {library!r}); from MSLFusionLib.cli import main; sys.exit(main(['worker']))"
    rows: list[dict[str, Any]] = []
    with SubprocessTransport([sys.executable, "-c", code]) as worker:
        opened = _answer(worker, worker.client.open_model(str(model), device), job).header
        for done, depth in enumerate(depths):
            first = (max(depths) - depth) // 2
            ct, mr = (Volume(array[first : first + depth], spacing) for array in arrays)
            session = _answer(worker, worker.client.reconstruct(ct, mr), job).header
            job.step("benchmark", 2 + 2 * done, stages)
            for kind, lam in (("number", _number), ("map", _map)):
                rows.append({"slices": depth, "lambda": kind, **_timed(worker, session, lam, requests, job)})
            job.step("benchmark", 3 + 2 * done, stages)
    medians = {(row["slices"], row["lambda"]): row["median_ms"] for row in rows}
    ratios = {kind: medians[max(depths), kind] / medians[min(depths), kind] for kind in ("number", "map")}
    return {
        "model": opened["name"],
        "device": opened["device_name"],
        "voxels_in_plane": [PIXELS, PIXELS],
        "requests": requests,
        "rows": rows,
        "ratio_deep_to_shallow": ratios,
    }


Lambda = Callable[[np.random.Generator], "float | np.ndarray"]


def _number(generator: np.random.Generator) -> float:
    return float(generator.uniform())


def _map(generator: np.random.Generator) -> np.ndarray:
    """A map in the plane: 0 on one side, 1 on the other, the border at a random column."""
    columns = np.arange(PIXELS) < generator.integers(PIXELS)
    return np.ascontiguousarray(np.broadcast_to(columns, (PIXELS, PIXELS)), np.float32)


def _timed(
    worker: SubprocessTransport, session: dict[str, Any], lam: Lambda, requests: int, job: Job
) -> dict[str, float | None]:
    """Median and worst milliseconds of the decoded slices, and those that the worker's threads took together."""
    generator = np.random.default_rng(_SEED)
    occupied = session["occupied"]
    milliseconds: list[float] = []
    processor = None
    for _ in range(requests + 1):
        if len(milliseconds) == 1:
            processor = _processor_ms(worker.process.pid)
        index, value = int(generator.choice(occupied)), lam(generator)
        started = time.perf_counter()
        _answer(worker, worker.client.decode_slice(index, value, view="Red"), job)
        milliseconds.append((time.perf_counter() - started) * 1e3)
    counted = milliseconds[1:]
    used = _processor_ms(worker.process.pid)
    spent = None if used is None or processor is None else (used - processor) / requests
    return {"median_ms": statistics.median(counted), "worst_ms": max(counted), "processor_ms": spent}


def _processor_ms(process: int) -> float | None:
    """Milliseconds that a process has used over all its threads, None where the system (not Linux) does not tell."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) * 1e3 / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None


def _answer(worker: SubprocessTransport, call: Call, job: Job) -> Message:
    """The result of a request; the job may be cancelled while it is awaited."""
    while not call.done:
        job.check()
        try:
            worker.pump(_POLL_S)
        except TimeoutError:
            continue
    return worker.wait(call)


def _head(slices: int) -> tuple[tuple[float, float, float], list[np.ndarray]]:
    """Spacing, and CT and MR (z, y, x), of a generated head: coarse, each voxel repeated in the plane."""
    coarse, thick = PIXELS // _COARSER, min(DEEP_MM / slices, _THICKEST_MM)
    head = generate_head(_SEED, size=(coarse, coarse, slices), spacing=(FIELD_MM / coarse, FIELD_MM / coarse, thick))
    arrays = [sitk.GetArrayFromImage(image).astype(np.float32) for image in (head.ct, head.t1)]
    fine = [array.repeat(_COARSER, axis=1).repeat(_COARSER, axis=2) for array in arrays]
    return (FIELD_MM / PIXELS, FIELD_MM / PIXELS, thick), fine
