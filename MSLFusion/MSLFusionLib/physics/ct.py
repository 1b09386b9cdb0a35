"""The CT operator protocol and the factory that chooses, builds and remembers operators."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.backends import BackendMissingError, BackendRefusedError, ExternalOperator, external_operator
from MSLFusionLib.physics.builtin import BuiltinOperator, matrix_bytes_per_view
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.progress import NO_JOB, Job

_STORED_MATRICES = 3
"""Forward, its transpose and filtered backprojection."""


class CTOperator(Protocol):
    """Fan- or parallel-beam CT between slices (N, 1, H, W) and sinograms (N, 1, views, bins), float32, differentiable.

    Sinograms are line integrals in image units times mm. `adjoint` is the transpose of `forward`; `fbp` raises
    InputError for a limited scan.
    """

    geometry: FanBeamGeometry
    name: str

    def forward(self, image: Tensor) -> Tensor: ...

    def adjoint(self, sinogram: Tensor) -> Tensor: ...

    def fbp(self, sinogram: Tensor, official: bool = False) -> Tensor: ...


BACKENDS = ("auto", "builtin", "sparse", "onthefly", "torch-radon", "astra")
_EXTERNAL = ("torch-radon", "astra")

_cache: OrderedDict[tuple[FanBeamGeometry, str, str], BuiltinOperator | ExternalOperator] = OrderedDict()
_lock = Lock()


def ct_operator(
    geometry: FanBeamGeometry,
    backend: str = "auto",
    device: str | torch.device = "cpu",
    memory_cap_mb: int = 2200,
    job: Job = NO_JOB,
) -> CTOperator:
    """The operator for a scan on a device.

    backend: "builtin" is stored sparse matrices, or matrices made on the fly when they would need more than the
    memory cap; "sparse" and "onthefly" force one of the two; "torch-radon" and "astra" are used when their self-check
    passes, otherwise the built-in operator with a warning to `job`; "auto" is the built-in operator, except for scans
    above the memory cap on CUDA, where torch-radon or ASTRA come first.
    memory_cap_mb: for the matrices of this operator and of the earlier ones that stay remembered for their geometry.
    Raises InputError for an unknown backend and a device that is not there.
    """
    device = _usable(torch.device(device))
    cap = memory_cap_mb * 10**6
    fits = _needed(geometry) <= cap
    if backend not in BACKENDS:
        raise InputError(f'Unknown CT backend "{backend}": use one of {", ".join(BACKENDS)}.')
    external: tuple[str, ...] = ()
    if backend in _EXTERNAL:
        external = (backend,)
    elif backend == "auto" and device.type == "cuda" and not fits:
        external = _EXTERNAL
    for name in external:
        try:
            return _remembered(geometry, device, cap, name, partial(external_operator, name, stored=fits))
        except BackendMissingError as reason:
            if backend == name:
                job.warning(f"{name} is not used: {reason}. The built-in projector takes its place.")
        except BackendRefusedError as reason:
            job.warning(f"{name} is not used: {reason}. The built-in projector takes its place.")
    if backend == "onthefly" or (backend != "sparse" and not fits):
        return BuiltinOperator(geometry, device, stored=False)
    return _remembered(geometry, device, cap, "sparse", BuiltinOperator)


def _usable(device: torch.device) -> torch.device:
    if device.type not in ("cpu", "cuda"):
        raise InputError(f'CT operators work on "cpu" or "cuda", not on "{device}".')
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("CUDA was asked for, but this machine has no usable CUDA device: use the device cpu.")
    return device


def _needed(geometry: FanBeamGeometry) -> int:
    return _STORED_MATRICES * matrix_bytes_per_view(geometry) * geometry.views


def _remembered(
    geometry: FanBeamGeometry,
    device: torch.device,
    cap: int,
    name: str,
    make: Callable[[FanBeamGeometry, torch.device], BuiltinOperator | ExternalOperator],
) -> CTOperator:
    """The operator of this geometry, made at most once; those unused for longest are forgotten above `cap` bytes."""
    key = (geometry, str(device), name)
    with _lock:
        operator = _cache.pop(key, None)
        if operator is None:
            operator = make(geometry, device)
        _cache[key] = operator
        # The matrices of a new operator are made at their first use: count what they will need.
        while len(_cache) > 1 and sum(_needed(kept[0]) for kept in _cache) > cap:
            _cache.popitem(last=False)
    return operator
