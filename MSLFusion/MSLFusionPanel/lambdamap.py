"""Lambda as the worker wants it: a number, or a map on the grid of the results, made part by part.

A map of the whole volume takes seconds to make. `lambda_steps` makes it in slabs of a few slices and lets the
application live in between; `lambda_plane` makes the one slice that is looked at. Both are parts of the same map.
"""

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError
from MSLFusionPanel.inputs import volume_state
from MSLFusionPanel.parameters import LambdaMode
from MSLFusionPanel.task import later

if TYPE_CHECKING:
    import numpy as np

    from MSLFusionLib.recon.geometry import VolumeGeometry
    from MSLFusionPanel.parameters import LambdaParameters, MSLFusionParameterNode
    from MSLFusionPanel.session import OpenSession

_STEP_S = 0.05
"""About how long the interface may wait for a slab."""


def lambda_state(parameters: "MSLFusionParameterNode") -> tuple[Any, ...]:
    """Changes whenever lambda does, anywhere in the volume. Costs no look at voxels."""
    lam = parameters.lam
    if lam.mode is LambdaMode.NUMBER:
        return ("number", lam.value)
    if lam.mode is LambdaMode.PAINTED:
        from MSLFusionLib.scene.segmentations import painted_state

        node = lam.segmentation
        return ("painted", lam.background, None if node is None else painted_state(node))
    return ("volume", volume_state(lam.volume))


def result_grid(parameters: "MSLFusionParameterNode", session: "OpenSession | None" = None) -> "VolumeGeometry | None":
    """The grid that results lie on: that of the session, else of the chosen CT (the MR where there is no CT).

    None when nothing is chosen, and for a sensors file without a session.
    """
    from MSLFusionLib.recon.geometry import VolumeGeometry
    from MSLFusionPanel.inputs import collect

    if session is not None:
        return VolumeGeometry.from_dict(session.geometry)
    reference = collect(parameters).reference
    if reference is None:
        return None
    from MSLFusionLib.scene.volumes import geometry_from_node

    return VolumeGeometry.from_dict(geometry_from_node(reference))


def lambda_steps(parameters: "MSLFusionParameterNode", session: "OpenSession") -> Generator[Any, Any, Any]:
    """Steps of a task: lambda as `decode_volume` takes it, a float or a float32 array (z, y, x) of the session's shape.

    Raises InputError with a sentence for the user where no map can be made.
    """
    return (yield from map_steps(parameters, result_grid(parameters, session), session.slice_axis))


def map_steps(parameters: "MSLFusionParameterNode", grid: "VolumeGeometry", axis: int) -> Generator[Any, Any, Any]:
    """As `lambda_steps`, on any grid, in slabs along `axis` of its array (z, y, x)."""
    source = _source(parameters.lam)
    if isinstance(source, float):
        return source
    import numpy as np

    volume = np.empty(grid.shape, np.float32)
    first, planes, count = 0, 1, grid.shape[axis]
    while first < count:
        last = min(first + planes, count)
        began = time.monotonic()
        np.moveaxis(volume, axis, 0)[first:last] = np.moveaxis(source.slab(grid, axis, first, last), axis, 0)
        took = time.monotonic() - began
        if took < _STEP_S / 2:
            planes *= 2
        elif took > _STEP_S:
            planes = max(1, planes // 2)
        first = last
        yield later()
    source.check()
    return volume


def lambda_plane(
    parameters: "MSLFusionParameterNode", grid: "VolumeGeometry", axis: int, index: int
) -> "float | np.ndarray":
    """Lambda in one plane: a float, or a float32 array without the axis that slices run along.

    Raises InputError with a sentence for the user.
    """
    source = _source(parameters.lam)
    if isinstance(source, float):
        return source
    return source.slab(grid, axis, index, index + 1).take(0, axis)


def _source(lam: "LambdaParameters") -> "float | _Painted | _Volume":
    if lam.mode is LambdaMode.NUMBER:
        return float(lam.value)
    if lam.mode is LambdaMode.PAINTED:
        if lam.segmentation is None:
            raise InputError(_("Choose the segmentation that lambda is painted in."))
        return _Painted(lam.segmentation, float(lam.background))
    if lam.volume is None:
        raise InputError(_("Choose the lambda volume."))
    return _Volume(lam.volume)


class _Painted:
    """Painted segments over a background."""

    def __init__(self, node: Any, background: float) -> None:
        self._node = node
        self._background = background
        self._found = False

    def slab(self, grid: "VolumeGeometry", axis: int, first: int, last: int) -> "np.ndarray":
        """The map's planes `first` to below `last`, from as much of the segments as matters for them."""
        import SimpleITK as sitk

        from MSLFusionLib.recon.lambdas import LambdaSegment, feather_reach, lambda_map_from_segments
        from MSLFusionLib.scene.segmentations import painted_segments, segment_feather, segment_ids

        node = self._node
        feathers = [segment_feather(node, segment_id) for segment_id in segment_ids(node)]
        reach = feather_reach(max(feathers, default=0.0), grid.spacing[::-1], axis)
        start, stop = max(0, first - reach), min(grid.shape[axis], last + reach)
        seen = _slab_of(grid, axis, start, stop)
        image = sitk.Image(seen.size, sitk.sitkUInt8)
        image.SetSpacing(seen.spacing)
        image.SetOrigin(seen.origin)
        image.SetDirection(seen.direction)
        segments = [LambdaSegment(*segment) for segment in painted_segments(node, image)]
        self._found = self._found or bool(segments)
        within = [slice(0, n) for n in seen.shape]
        within[axis] = slice(first - start, last - start)
        made = lambda_map_from_segments(segments, self._background, seen, within=(within[0], within[1], within[2]))
        assert made.volume is not None
        return made.volume

    def check(self) -> None:
        """After all slabs: raises InputError when nothing was painted in any."""
        if not self._found:
            raise InputError(_("Nothing is painted inside the CT volume: paint there, or mix by one lambda for all."))


class _Volume:
    """A volume of lambdas."""

    def __init__(self, node: Any) -> None:
        from MSLFusionLib.scene.volumes import image_from_node

        self._name = node.GetName()
        self._image = image_from_node(node)

    def slab(self, grid: "VolumeGeometry", axis: int, first: int, last: int) -> "np.ndarray":
        """The map's planes `first` to below `last`, from the part of the volume around them."""
        import numpy as np

        from MSLFusionLib.recon.geometry import VolumeGeometry
        from MSLFusionLib.recon.lambdas import check_covers, lambda_volume

        own = VolumeGeometry.of(self._image)
        seen = _slab_of(grid, axis, first, last)
        check_covers(own, seen, self._name)
        index = own.to_index(seen.corners_mm())
        low = np.clip(np.floor(index.min(axis=0)).astype(int) - 1, 0, np.array(own.size) - 1)
        high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 2, low + 1, own.size)
        part = self._image[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
        made = lambda_volume(part, seen, self._name)
        assert made.volume is not None
        return made.volume

    def check(self) -> None:
        """Every slab was checked."""


def _slab_of(grid: "VolumeGeometry", axis: int, first: int, last: int) -> "VolumeGeometry":
    """The planes `first` to below `last` of a grid along `axis` of its array (z, y, x)."""
    import numpy as np

    from MSLFusionLib.recon.geometry import VolumeGeometry

    size, start = list(grid.size), [0, 0, 0]
    size[2 - axis], start[2 - axis] = last - first, first
    origin = grid.to_mm(np.array([start], float))[0]
    return VolumeGeometry((size[0], size[1], size[2]), grid.spacing, tuple(origin.tolist()), grid.direction)
