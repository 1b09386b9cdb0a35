"""How long a reconstruction takes and how much memory, for one lambda and for several.

Every measurement runs in a process of its own, so that its peak memory is its own. What is measured is the whole
job: body masks, simulated sensors, one encoding per slice, and each lambda decoded and brought back onto the CT's grid.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError, JobError
from MSLFusionLib.progress import NO_JOB, Job

_FIELD_MM = 250.0
_SLICE_MM = 1.5
_POLL_SECONDS = 0.2


def run(
    volume_size: Sequence[int] = (512, 512, 200),
    lambdas: Sequence[int] = (1, 5),
    model: Path | str | None = None,
    device: str = "auto",
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Reconstruct a generated CT and MR of `volume_size` voxels (x, y, z), once for each number of lambdas.

    model: a checkpoint; None for a compact network with random weights, which costs the same. Gives for each run
    seconds, the processor's seconds over all threads, peak memory, and what of it goes beyond the input and output
    volumes (MB; None where the system does not tell); and the ratio of the last run's seconds to the first's. On a
    machine that is busy with other things the processor's seconds are the ones to compare, unless a GPU works.
    Raises InputError for sizes and numbers that are not possible, JobError when a measurement fails.
    """
    size = [int(n) for n in volume_size]
    if len(size) != 3 or min(size[:2]) < 32 or size[2] < 1:
        raise InputError(f"A benchmark volume needs at least 32 x 32 x 1 voxels, not {' x '.join(map(str, size))}.")
    if not lambdas or min(lambdas) < 1:
        raise InputError("The benchmark needs at least one lambda.")
    runs = []
    for done, count in enumerate(lambdas):
        job.step("benchmark", done, len(lambdas))
        runs.append(_measured({"size": size, "lambdas": count, "model": model and str(model), "device": device}, job))
    job.step("benchmark", len(lambdas), len(lambdas))
    return {"volume_size": size, "runs": runs, "ratio": runs[-1]["seconds"] / runs[0]["seconds"]}


def _measured(request: dict[str, Any], job: Job) -> dict[str, Any]:
    """The report of a child process that reconstructs as `request` says; the child ends when the job is cancelled."""
    library = str(Path(__file__).resolve().parents[2])
    code = (
        f"import sys; sys.path.insert(0, {library!r}); "
        "from MSLFusionLib.benchmarks.reconstruct import child; child(sys.argv[1])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(request)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            while process.poll() is None:
                job.check()
                time.sleep(_POLL_SECONDS)
        except BaseException:
            process.kill()
            raise
        output, errors = process.communicate()
    if process.returncode != 0:
        last = errors.strip().splitlines()[-1:] or ["no message"]
        raise JobError(f"The benchmark's process failed: {last[0]}")
    return dict(json.loads(output.strip().splitlines()[-1]))


def child(request_json: str) -> None:
    """The measurement itself, in a process of its own; prints its report as JSON."""
    request = json.loads(request_json)
    from MSLFusionLib.recon.reconstructor import Reconstructor
    from MSLFusionLib.recon.simulate import SamplingPlan

    loaded = _model(request["model"])
    ct, mr = _volumes(request["size"])
    engine = Reconstructor(loaded, request["device"])
    count = request["lambdas"]
    values = [k / (count - 1) if count > 1 else 0.5 for k in range(count)]
    start, processor = time.perf_counter(), time.process_time()
    result = engine.reconstruct(values, ct=ct, mr=mr, plan=SamplingPlan())
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    volume = math.prod(request["size"]) * 4 / 1e6
    peak = _peak_mb()
    report = {
        "lambdas": count,
        "seconds": seconds,
        "processor_seconds": processor,
        "slices": result.slices,
        "device": result.device,
        "model": loaded.name,
        "peak_mb": peak,
        "volumes_mb": (2 + count) * volume,
        "beyond_volumes_mb": None if peak is None else peak - (2 + count) * volume,
    }
    sys.stdout.write(json.dumps(report) + "\n")


def _model(path: str | None) -> Any:
    """The checkpoint, or the compact network with random weights."""
    from MSLFusionLib.io.checkpoints import LoadedModel, load_checkpoint

    if path is not None:
        return load_checkpoint(path)
    import torch

    from MSLFusionLib.nets.presets import preset_config
    from MSLFusionLib.nets.registry import build

    torch.manual_seed(0)
    config = preset_config("msl-lite").to_dict()
    card = {"modalities": ["ct", "mr"], "preset": "msl-lite", "grid": {"size": [384, 384], "pixel_mm": 256 / 384}}
    return LoadedModel(build("msl", config).eval(), card, Path("random"), "msl-lite with random weights")


def _volumes(size: Sequence[int]) -> tuple[Any, Any]:
    """A CT in HU and an MR, float32: one ellipse with a bright rim in every slice."""
    import numpy as np
    import SimpleITK as sitk

    columns, rows, slices = size
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    radius = np.hypot(x / 0.7, y / 0.85)
    rim = (radius > 0.85) & (radius < 0.95)
    tissue = 40.0 * np.sin(12 * x) * np.cos(9 * y)
    images = []
    for air, body, bone in ((-1000.0, 40.0, 900.0), (0.0, 500.0, 60.0)):
        plane = np.where(radius < 1, body + tissue, air)
        plane[rim] = bone
        array = np.empty((slices, rows, columns), np.float32)
        array[:] = plane
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((_FIELD_MM / columns, _FIELD_MM / rows, _SLICE_MM))
        images.append(image)
    return images[0], images[1]


def _peak_mb() -> float | None:
    """Largest resident memory of this process so far in MB, None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
