"""Stand-ins for torch-radon 1.0 and 2.0 and the ASTRA toolbox 2.5, for machines without them or without a GPU.

They keep the signatures, units, sign conventions and assertions of the real interfaces; inside they use the built-in
projector in pixel units.
"""

from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from MSLFusionLib.physics.builtin import BuiltinOperator
from MSLFusionLib.physics.geometry import FanBeamGeometry

Fault = Callable[[Tensor], Tensor]


def in_pixels(shape: tuple[int, int], angles: Tensor, source: float, detector: float, bins: int, pitch: float):
    listed = tuple(float(angle) for angle in angles)
    return BuiltinOperator(FanBeamGeometry(shape, 1.0, source, detector, bins, pitch, listed, scan="limited"))


def torch_radon_v1(project_fault: Fault = lambda x: x, back_fault: Fault = lambda x: x) -> ModuleType:
    class RadonFanbeam:
        def __init__(
            self,
            resolution,
            angles,
            source_distance,
            det_distance=-1,
            det_count=-1,
            det_spacing=-1,
            clip_to_circle=False,
        ):
            if not isinstance(angles, torch.Tensor):
                angles = torch.FloatTensor(angles)
            self.angles = -angles
            assert resolution % 16 == 0
            self.kernel = in_pixels(
                (resolution, resolution), -self.angles, source_distance, det_distance, det_count, det_spacing
            )

        def forward(self, x):
            assert x.dtype == torch.float32
            assert x.size(1) == x.size(2), "Input images must be square"
            return project_fault(self.kernel.forward(x.view(-1, *x.size()[-2:])[:, None])[:, 0])

        def backprojection(self, sinogram):
            assert sinogram.is_contiguous()
            return back_fault(self.kernel.adjoint(sinogram[:, None])[:, 0])

    module = ModuleType("torch_radon")
    module.__dict__["RadonFanbeam"] = RadonFanbeam
    return module


def torch_radon_v2() -> ModuleType:
    class Volume2D:
        def __init__(self, voxel_size=(1.0, 1.0)):
            self.height = -1
            self.width = -1
            self.voxel_size = voxel_size

        def has_size(self):
            return self.height > 0 and self.width > 0

        def set_size(self, height, width):
            self.height = height
            self.width = width

    class FanBeam:
        def __init__(self, det_count, angles, src_dist=None, det_dist=None, det_spacing=None, volume=None):
            if isinstance(angles, tuple) and len(angles) == 3:
                angles = np.linspace(*angles, endpoint=False)
            self.angles = angles
            self.volume = volume
            self.rest = (src_dist, det_dist, det_count, det_spacing)

        def kernel(self):
            assert self.volume.has_size(), "Must use forward before calling backward or specify a volume"
            return in_pixels((self.volume.height, self.volume.width), self.angles, *self.rest)

        def forward(self, x, angles=None, exec_cfg=None):
            self.volume.set_size(x.size(-2), x.size(-1))
            return self.kernel().forward(x.view(-1, *x.size()[-2:])[:, None])[:, 0]

        def backward(self, sinogram, angles=None, volume=None, exec_cfg=None):
            return self.kernel().adjoint(sinogram.view(-1, *sinogram.size()[-2:])[:, None])[:, 0]

    module = ModuleType("torch_radon")
    module.__dict__.update(Volume2D=Volume2D, FanBeam=FanBeam)
    return module


def astra(deleted: list[int]) -> ModuleType:
    geometries: dict[int, BuiltinOperator] = {}

    def create_proj_geom(kind, det_width, det_count, angles, source_origin, origin_det):
        assert kind == "fanflat"
        return det_width, det_count, angles, source_origin, origin_det

    def create_projector(kind, projections, volume):
        assert kind in ("line_fanflat", "strip_fanflat")
        width, count, angles, source, detector = projections
        geometries[7] = in_pixels(volume, angles, source, detector, count, width)
        return 7

    def create_sino(data, proj_id):
        return 11, geometries[proj_id].forward(torch.from_numpy(data)[None, None])[0, 0].numpy()

    def create_backprojection(data, proj_id):
        return 12, geometries[proj_id].adjoint(torch.from_numpy(data)[None, None])[0, 0].numpy()

    module = ModuleType("astra")
    module.__dict__.update(
        use_cuda=lambda: False,
        create_vol_geom=lambda rows, columns: (rows, columns),
        create_proj_geom=create_proj_geom,
        create_projector=create_projector,
        create_sino=create_sino,
        create_backprojection=create_backprojection,
        data2d=SimpleNamespace(delete=deleted.append),
        projector=SimpleNamespace(delete=deleted.append),
    )
    return module
