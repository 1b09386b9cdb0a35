"""`mslfusion benchmark operators`: our CT operators beside ASTRA's on the processor, in one run, and their accuracy."""

import importlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.analytic import Ellipse, ellipse_image, ellipse_sinogram, shepp_logan
from MSLFusionLib.physics.backends import AstraProjector, astra_projector
from MSLFusionLib.physics.builtin import BuiltinOperator
from MSLFusionLib.physics.ct import ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.progress import NO_JOB, Job

SHEPP_LOGAN_VIEWS = (64, 360, 720)
_STAGE = "benchmark operators"
_ASTRA_KINDS = ("line_fanflat", "strip_fanflat")
_BASELINE = "ASTRA CPU line"

Calls = dict[str, Callable[[], Any]]


def run(views: int = 64, size: int = 384, batch: int = 8, repeats: int = 5, job: Job = NO_JOB) -> dict[str, Any]:
    """Speed and accuracy of the CT operators in the paper's geometry: a JSON-able dictionary.

    setting: what was measured where. rows: one dictionary for each implementation with the milliseconds per slice of
    forward, adjoint and fbp (None where it has none), build seconds and memory of the matrices, and how many times
    faster it is than ASTRA's line projector (None without ASTRA). accuracy: see `measure_accuracy`. notes: sentences.
    Every figure is the shortest of `repeats` turns, in which all implementations are timed one after the other, so
    that other work on the machine meets all of them. Ours are timed with all processor threads and with one, which is
    what ASTRA's projectors use.
    Raises InputError for impossible arguments.
    """
    if batch < 1 or repeats < 1:
        raise InputError(f"A benchmark needs a batch and repeats of at least 1, not {batch} and {repeats}.")
    geometry = FanBeamGeometry.paper(views, size)
    notes: list[str] = []
    with _threads_restored():
        rows = _timings(geometry, batch, repeats, notes, job)
    accuracy = measure_accuracy(views, size, job)
    return {
        "setting": {
            "views": views,
            "size": size,
            "bins": geometry.bins,
            "batch": batch,
            "repeats": repeats,
            "threads": available_threads(),
            "processor": platform.processor() or platform.machine(),
            "torch": torch.__version__,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "rows": rows,
        "accuracy": accuracy,
        "notes": notes,
    }


def measure_accuracy(views: int, size: int, job: Job = NO_JOB) -> dict[str, Any]:
    """How true the operators are, on analytic data (each bin the mean over its width).

    disc_error: the relative error of the mean within nine tenths of a uniform disc after FBP at `views` views.
    disc_error_short: the same for a short scan. shepp_logan_db: views -> PSNR of FBP with negative values set to zero,
    for the phantom of values 0 .. 1 that fills the image. forward_error: relative error of the projections of the disc.
    adjoint_mismatch: |<A x, y> - <x, A' y>| / (|A x| |y|), the larger of both paths, on noise. gradient_mismatch: the
    gradient of a squared residual against a central difference, relative.
    """
    geometry = FanBeamGeometry.paper(views, size)
    short = FanBeamGeometry.covering(geometry.image_shape, geometry.pixel_mm, views, scan="short")
    radius = 0.3 * size * geometry.pixel_mm
    disc = Ellipse(1.0, radius, radius, 0.03 * radius, -0.07 * radius)
    sinogram = ellipse_sinogram(geometry, [disc])
    projected = ct_operator(geometry).forward(ellipse_image(geometry, [disc]))
    decibels = {}
    for count in SHEPP_LOGAN_VIEWS:
        job.check()
        decibels[str(count)] = _shepp_logan_db(FanBeamGeometry.paper(count, size))
    return {
        "disc_error": abs(_disc_reading(geometry, disc) - 1),
        "disc_error_short": abs(_disc_reading(short, disc) - 1),
        "shepp_logan_db": decibels,
        "forward_error": float((projected - sinogram).norm() / sinogram.norm()),
        "adjoint_mismatch": max(
            _adjoint_mismatch(BuiltinOperator(geometry, stored=stored)) for stored in (True, False)
        ),
        "gradient_mismatch": _gradient_mismatch(BuiltinOperator(geometry)),
    }


def _timings(geometry: FanBeamGeometry, batch: int, repeats: int, notes: list[str], job: Job) -> list[dict[str, Any]]:
    image = torch.rand((batch, 1, *geometry.image_shape), generator=torch.Generator().manual_seed(0))
    image[:, :, geometry.image_shape[0] // 2 :] *= 0.5
    sinogram = ct_operator(geometry).forward(image)
    methods: dict[str, Calls] = {}
    extra: dict[str, dict[str, float]] = {}
    for name, device, stored in _variants():
        operator = BuiltinOperator(geometry, device, stored)
        data = (image.to(device), sinogram.to(device))
        start = time.perf_counter()
        for call in _calls(operator, *data, available_threads()).values():
            call()
        measured = {"first_use_s": time.perf_counter() - start, "memory_mb": operator.stored_bytes / 1e6}
        counts = {name: available_threads()}
        if device == "cpu" and stored:
            counts[f"{name}, 1 thread"] = 1
        for label, threads in counts.items():
            methods[label] = _calls(operator, *data, threads)
            extra[label] = measured
    methods |= _astra_calls(geometry, image, sinogram, notes)

    shortest: dict[tuple[str, str], float] = {}
    for turn in range(repeats):
        for name, calls in methods.items():
            for operation, call in calls.items():
                job.step(_STAGE, turn, repeats)
                start = time.perf_counter()
                call()
                spent = (time.perf_counter() - start) / batch * 1e3
                shortest[name, operation] = min(spent, shortest.get((name, operation), spent))
    job.step(_STAGE, repeats, repeats)

    rows = []
    for name in methods:
        row: dict[str, Any] = {"method": name}
        for operation in ("forward", "adjoint", "fbp"):
            spent_ms = shortest.get((name, operation))
            baseline = shortest.get((_BASELINE, operation))
            row[f"{operation}_ms"] = spent_ms
            row[f"{operation}_times_faster"] = baseline / spent_ms if baseline and spent_ms else None
        rows.append(row | extra.get(name, {"first_use_s": None, "memory_mb": None}))
    return rows


def _variants() -> Iterator[tuple[str, str, bool]]:
    yield "MSLFusion sparse, CPU", "cpu", True
    yield "MSLFusion on the fly, CPU", "cpu", False
    if torch.cuda.is_available():
        yield "MSLFusion sparse, CUDA", "cuda", True
        yield "MSLFusion on the fly, CUDA", "cuda", False


def _calls(operator: BuiltinOperator, image: Tensor, sinogram: Tensor, threads: int) -> Calls:
    def timed(function: Callable[[Tensor], Tensor], data: Tensor) -> Callable[[], None]:
        def call() -> None:
            torch.set_num_threads(threads)
            function(data)
            if data.is_cuda:
                torch.cuda.synchronize()

        return call

    return {
        "forward": timed(operator.forward, image),
        "adjoint": timed(operator.adjoint, sinogram),
        "fbp": timed(operator.fbp, sinogram),
    }


def _astra_calls(geometry: FanBeamGeometry, image: Tensor, sinogram: Tensor, notes: list[str]) -> dict[str, Calls]:
    """ASTRA's processor projectors, slice by slice as its interface asks for; empty, with a note, without ASTRA."""
    try:
        astra = importlib.import_module("astra")
    except Exception as problem:
        # Its wheel fails in other ways than ModuleNotFoundError where its CUDA libraries are missing.
        notes.append(f"ASTRA is not measured: it cannot be imported ({problem}). Install astra-toolbox to compare.")
        return {}
    pixel = geometry.pixel_mm
    methods: dict[str, Calls] = {}
    for kind in _ASTRA_KINDS:
        each = partial(_astra_slices, astra, astra_projector(astra, geometry, kind))
        name = f"ASTRA CPU {kind.split('_')[0]}"
        methods[name] = {
            "forward": partial(each, astra.create_sino, image),
            "adjoint": partial(each, astra.create_backprojection, sinogram),
        }
        found = torch.from_numpy(np.stack(each(astra.create_sino, image[:1]))) * pixel
        error = float((found - sinogram[:1, 0]).norm() / sinogram[:1].norm())
        notes.append(f"{name} and MSLFusion differ by {error:.1e} in the projections of noise.")
    return methods


def _astra_slices(
    astra: ModuleType, projector: AstraProjector, create: Callable[..., Any], data: Tensor
) -> list[np.ndarray]:
    results = []
    for part in data[:, 0].numpy():
        made, result = create(part, projector.identifier)
        astra.data2d.delete(made)
        results.append(result)
    return results


def _disc_reading(geometry: FanBeamGeometry, disc: Ellipse) -> float:
    image = ct_operator(geometry).fbp(ellipse_sinogram(geometry, [disc]))
    inner = Ellipse(1.0, 0.9 * disc.a, 0.9 * disc.b, disc.x, disc.y)
    return float(image[ellipse_image(geometry, [inner], samples=1) > 0].double().mean())


def _shepp_logan_db(geometry: FanBeamGeometry) -> float:
    phantom = shepp_logan(geometry.image_shape[0] / 2 * geometry.pixel_mm)
    image = ct_operator(geometry).fbp(ellipse_sinogram(geometry, phantom)).clamp(min=0)
    return float(-10 * torch.log10((image - ellipse_image(geometry, phantom)).square().mean()))


def _adjoint_mismatch(operator: BuiltinOperator) -> float:
    geometry = operator.geometry
    generator = torch.Generator().manual_seed(1)
    image = torch.randn((1, 1, *geometry.image_shape), generator=generator)
    data = torch.randn((1, 1, geometry.views, geometry.bins), generator=generator)
    forward, adjoint = operator.forward(image), operator.adjoint(data)
    difference = (forward.double() * data).sum() - (image.double() * adjoint).sum()
    return float(difference.abs() / (forward.double().norm() * data.double().norm()))


def _gradient_mismatch(operator: BuiltinOperator) -> float:
    """For f(x) = |A x - y|^2 / 2, a parabola, the central difference is exact up to rounding."""
    geometry = operator.geometry
    generator = torch.Generator().manual_seed(2)
    image = torch.rand((1, 1, *geometry.image_shape), generator=generator).requires_grad_()
    direction = torch.rand(image.shape, generator=generator)
    data = torch.rand((1, 1, geometry.views, geometry.bins), generator=generator)

    def residual(at: Tensor) -> Tensor:
        return (operator.forward(at) - data).double().square().sum() / 2

    residual(image).backward()
    assert image.grad is not None
    with torch.no_grad():
        numeric = (residual(image + direction) - residual(image - direction)) / 2
    slope = (image.grad.double() * direction).sum()
    return float((slope - numeric).abs() / numeric.abs())


def available_threads() -> int:
    """The processor threads this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
