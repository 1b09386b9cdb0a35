"""CT operators of other packages behind the protocol of ours: torch-radon (v1, v2, v3) and the ASTRA toolbox.

Both are GPL and never required. Each is used only after a self-check against the built-in projector; filtered
backprojection is always the built-in one. Both work in pixels, so their results are scaled with the pixel size.
"""

import importlib
import weakref
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from MSLFusionLib.errors import MSLFusionError
from MSLFusionLib.physics.analytic import Ellipse, ellipse_image
from MSLFusionLib.physics.builtin import BuiltinOperator, checked_input
from MSLFusionLib.physics.geometry import FanBeamGeometry

LARGEST_ERROR = 0.01
"""The relative error against the built-in projector at which a backend is refused."""

_DEVICES = {"torch-radon": ("cuda",), "astra": ("cpu", "cuda")}
_CHECKED_VIEWS = 8
_RADON_MAX_VIEWS = 4096
_RADON_V1_MULTIPLE = 16
_POOL = 4
"""Equally good backprojectors differ in the pattern of their rays from pixel to pixel, but not over 4 x 4 pixels."""


class BackendMissingError(MSLFusionError):
    """The package is not installed."""


class BackendRefusedError(MSLFusionError):
    """The package is there, but it cannot do this scan or does not agree with the built-in projector."""


class ExternalOperator:
    """A CT operator (see `ct.CTOperator`) whose projections come from another package.

    project and backproject take and return float32 tensors without the channel axis: (N, H, W) and (N, views, bins).
    """

    def __init__(
        self,
        name: str,
        geometry: FanBeamGeometry,
        device: torch.device,
        project: Callable[[Tensor], Tensor],
        backproject: Callable[[Tensor], Tensor],
        stored: bool,
    ) -> None:
        self.name = name
        self.geometry = geometry
        self.device = device
        self.project = project
        self.backproject = backproject
        self._builtin = BuiltinOperator(geometry, device, stored)

    @property
    def stored_bytes(self) -> int:
        """The memory of the matrices kept for filtered backprojection."""
        return self._builtin.stored_bytes

    def forward(self, image: Tensor) -> Tensor:
        """The line integrals of slices (N, 1, H, W): a sinogram (N, 1, views, bins)."""
        shape = self.geometry.image_shape
        return _Project.apply(checked_input(image, shape, "image", self.device)[:, 0], self)[:, None]

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """Backprojection (N, 1, views, bins) -> (N, 1, H, W): the package's own approximation of the adjoint."""
        shape = (self.geometry.views, self.geometry.bins)
        return _Backproject.apply(checked_input(sinogram, shape, "sinogram", self.device)[:, 0], self)[:, None]

    def fbp(self, sinogram: Tensor, official: bool = False) -> Tensor:
        """Filtered backprojection by the built-in operator."""
        return self._builtin.fbp(sinogram, official)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, operator: ExternalOperator) -> Tensor:
        ctx.operator = operator
        return operator.project(image.contiguous())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Backproject.apply(gradient, ctx.operator), None


class _Backproject(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sinogram: Tensor, operator: ExternalOperator) -> Tensor:
        ctx.operator = operator
        return operator.backproject(sinogram.contiguous())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Project.apply(gradient, ctx.operator), None


def external_operator(
    name: str, geometry: FanBeamGeometry, device: torch.device, stored: bool = True
) -> ExternalOperator:
    """The operator of "torch-radon" or "astra" for this scan, after its self-check.

    stored: whether the built-in filtered backprojection keeps its matrix. Raises BackendMissingError when the package
    is not installed and BackendRefusedError, with the reason, when it must not be used here.
    """
    make = {"torch-radon": _torch_radon, "astra": _astra}[name]
    if device.type not in _DEVICES[name]:
        raise BackendRefusedError(f"it does not work on the device {device}")
    if geometry.detector != "flat":
        raise BackendRefusedError(f"it is used for flat detectors only, not for {geometry.detector} ones")
    if geometry.offset_mm:
        raise BackendRefusedError("it does not know detectors with an offset")
    try:
        project, backproject = make(geometry, device)
        operator = ExternalOperator(name, geometry, device, project, backproject, stored)
        error = self_check(operator)
    except MSLFusionError:
        raise
    except Exception as problem:
        # Whatever goes wrong inside a foreign package must end in the built-in operator.
        raise BackendRefusedError(f"it failed with {type(problem).__name__}: {problem}") from problem
    # Written so that NaN is refused too.
    if not error <= LARGEST_ERROR:
        raise BackendRefusedError(f"its self-check differs from the built-in projector by {100 * error:.2g} %")
    return operator


def self_check(operator: ExternalOperator) -> float:
    """The relative error of forward and adjoint against the built-in projector, on some views of the scan."""
    geometry = operator.geometry
    count = min(_CHECKED_VIEWS, geometry.views)
    views = [round(k * geometry.views / count) for k in range(count)]
    reference = BuiltinOperator(
        replace(geometry, angles=tuple(geometry.angles[view] for view in views), scan="limited"), "cpu"
    )
    # Without any symmetry, so that a flipped axis or a reversed angle shows.
    half = min(geometry.image_shape) * geometry.pixel_mm / 2
    ellipses = (
        Ellipse(1.0, 0.7 * half, 0.5 * half, 0.1 * half, -0.05 * half, 0.4),
        Ellipse(1.0, 0.2 * half, 0.15 * half, 0.3 * half, 0.25 * half, 0.0),
    )
    image = ellipse_image(geometry, ellipses, samples=4)
    expected = reference.forward(image)
    measured = operator.forward(image.to(operator.device))[:, :, views].cpu()
    data = torch.zeros((1, 1, geometry.views, geometry.bins))
    data[:, :, views] = expected
    back = operator.adjoint(data.to(operator.device)).cpu()
    pool = min(_POOL, *geometry.image_shape)
    pairs = (
        (measured, expected),
        (F.avg_pool2d(back, pool), F.avg_pool2d(reference.adjoint(expected), pool)),
    )
    errors = [float((found - wanted).norm() / wanted.norm()) for found, wanted in pairs]
    # max() of Python would pass over a NaN.
    return float(np.max(errors))


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        if problem.name == module:
            raise BackendMissingError("it is not installed") from problem
        # torch-radon 3.0 imports turtle, and with it tkinter, which many Pythons lack.
        raise BackendRefusedError(f"it cannot be imported without the module {problem.name}") from problem
    except Exception as problem:
        # A compiled extension for another version of CUDA fails in many ways.
        raise BackendRefusedError(f"it cannot be imported: {problem}") from problem


def _torch_radon(
    geometry: FanBeamGeometry, _device: torch.device
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    module = _import("torch_radon")
    if geometry.views > _RADON_MAX_VIEWS:
        raise BackendRefusedError(f"it takes at most {_RADON_MAX_VIEWS} views")
    height, width = geometry.image_shape
    pixel = geometry.pixel_mm
    angles = torch.tensor(geometry.angles, dtype=torch.float32)
    source, detector = geometry.source_origin_mm / pixel, geometry.origin_detector_mm / pixel
    pitch = geometry.pitch_mm / pixel
    if hasattr(module, "RadonFanbeam"):
        if height != width or height % _RADON_V1_MULTIPLE:
            raise BackendRefusedError(f"version 1 takes square images whose size is a multiple of {_RADON_V1_MULTIPLE}")
        first = module.RadonFanbeam(width, angles, source, detector, geometry.bins, pitch)
        return lambda x: first.forward(x) * pixel, lambda y: first.backprojection(y) * pixel
    if not hasattr(module, "FanBeam"):
        raise BackendRefusedError("its version is unknown: neither RadonFanbeam nor FanBeam is there")
    volume = module.Volume2D()
    volume.set_size(height, width)
    second = module.FanBeam(geometry.bins, angles, source, detector, pitch, volume=volume)
    return lambda x: second.forward(x) * pixel, lambda y: second.backward(y) * pixel


def _astra(
    geometry: FanBeamGeometry, device: torch.device
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    astra = _import("astra")
    if device.type == "cuda" and not astra.use_cuda():
        raise BackendRefusedError("it was built without CUDA or finds no GPU")
    # On the processor strips, not lines: the backprojection of lines is 2 % off, above what is admitted here.
    projector = astra_projector(astra, geometry, "cuda" if device.type == "cuda" else "strip_fanflat")
    pixel = geometry.pixel_mm

    def apply(create: Callable[..., Any], data: Tensor) -> Tensor:
        slices = []
        for part in data.cpu().numpy():
            identifier, result = create(part, projector.identifier)
            astra.data2d.delete(identifier)
            slices.append(torch.from_numpy(np.asarray(result, dtype=np.float32) * np.float32(pixel)))
        return torch.stack(slices).to(data.device)

    return lambda x: apply(astra.create_sino, x), lambda y: apply(astra.create_backprojection, y)


class AstraProjector:
    """A projector of the ASTRA toolbox, freed with this object."""

    def __init__(self, astra: ModuleType, identifier: int) -> None:
        self.identifier = identifier
        weakref.finalize(self, astra.projector.delete, identifier)


def astra_projector(astra: ModuleType, geometry: FanBeamGeometry, kind: str) -> AstraProjector:
    """ASTRA's projector of this scan: kind "line_fanflat", "strip_fanflat" (processor) or "cuda"."""
    pixel = geometry.pixel_mm
    volume = astra.create_vol_geom(*geometry.image_shape)
    projections = astra.create_proj_geom(
        "fanflat",
        geometry.pitch_mm / pixel,
        geometry.bins,
        np.array(geometry.angles),
        geometry.source_origin_mm / pixel,
        geometry.origin_detector_mm / pixel,
    )
    return AstraProjector(astra, astra.create_projector(kind, projections, volume))
