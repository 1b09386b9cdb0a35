"""The CT operator protocol and the factory that chooses, builds and remembers operators."""

from collections import OrderedDict
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.builtin import BuiltinOperator, matrix_bytes_per_view
from MSLFusionLib.physics.geometry import FanBeamGeometry

_STORED_MATRICES = 3
"""Forward, its transpose and filtered backprojection."""


class CTOperator(Protocol):
    """Fan-beam CT between slices (N, 1, H, W) and sinograms (N, 1, views, bins), float32, differentiable.

    Sinograms are line integrals in image units times mm. `adjoint` is the transpose of `forward`; `fbp` raises
    InputError for a limited scan.
    """

    geometry: FanBeamGeometry
    name: str

    def forward(self, image: Tensor) -> Tensor: ...

    def adjoint(self, sinogram: Tensor) -> Tensor: ...

    def fbp(self, sinogram: Tensor, official: bool = False) -> Tensor: ...


_cache: OrderedDict[tuple[FanBeamGeometry, str], BuiltinOperator] = OrderedDict()
_lock = Lock()


def ct_operator(
    geometry: FanBeamGeometry,
    backend: str = "auto",
    device: str | torch.device = "cpu",
    memory_cap_mb: int = 1500,
) -> CTOperator:
    """The operator for a scan on a device.

    backend: "auto" or "builtin" (stored sparse matrices, or on the fly above the memory cap), "sparse" or
    "onthefly" (force one of the two).
    memory_cap_mb: for the matrices of this operator and of the earlier ones that stay remembered for their geometry.
    Raises InputError for an unknown backend.
    """
    cap = memory_cap_mb * 10**6
    device = torch.device(device)
    if backend in ("auto", "builtin"):
        needed = _STORED_MATRICES * matrix_bytes_per_view(geometry) * geometry.views
        backend = "sparse" if needed <= cap else "onthefly"
    if backend == "onthefly":
        return BuiltinOperator(geometry, device, stored=False)
    if backend != "sparse":
        raise InputError(f'Unknown CT backend "{backend}": use auto, builtin, sparse or onthefly.')
    return _remembered(geometry, device, cap)


def _remembered(geometry: FanBeamGeometry, device: torch.device, cap: int) -> BuiltinOperator:
    """The stored operator of this geometry; those unused for longest are forgotten above `cap` bytes."""
    key = (geometry, str(device))
    with _lock:
        operator = _cache.pop(key, None) or BuiltinOperator(geometry, device, stored=True)
        _cache[key] = operator
        while len(_cache) > 1 and sum(kept.stored_bytes for kept in _cache.values()) > cap:
            _cache.popitem(last=False)
    return operator
