"""Painted lambda: segmentation nodes whose segments carry a lambda and a feather width as tags.

The tags live in the segments themselves, so they are saved with the segmentation (.seg.nrrd, .mrb):
`MSLFusion.Lambda` in [0, 1] and `MSLFusion.Feather` in mm. Where segments overlap, the later one in the
segment list wins; that is decided by `recon.lambdas`, here every mask stays whole.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
import vtk

from MSLFusionLib.errors import InputError
from MSLFusionLib.scene.colors import lambda_rgb
from MSLFusionLib.scene.names import free_name
from MSLFusionLib.scene.volumes import array_from_vtk, ijk_to_ras, matrix_array

LAMBDA_TAG = "MSLFusion.Lambda"
FEATHER_TAG = "MSLFusion.Feather"
_COINCIDE = 0.02
"""Voxels that lie less than this part of a voxel apart are the same."""


class PaintedSegment(NamedTuple):
    """One segment: its mask (uint8, 1 inside), its lambda in [0, 1], its feather width in mm, its name.

    The fields are those of `recon.lambdas.LambdaSegment`, in the same order.
    """

    mask: sitk.Image
    lam: float
    feather_mm: float
    name: str = ""


def tag_segment(node: Any, segment_id: str, lam: float, feather_mm: float = 0.0) -> None:
    """Give a segment its lambda and feather width, and the colour of that lambda.

    Raises:
        InputError: lambda outside [0, 1], feather negative or not finite.
    """
    segment = _segment(node, segment_id)
    _check(segment.GetName(), lam, feather_mm)
    segment.SetTag(LAMBDA_TAG, f"{lam:g}")
    segment.SetTag(FEATHER_TAG, f"{feather_mm:g}")
    segment.SetColor(*lambda_rgb(lam))


def new_painting(scene: Any, name: str, reference_node: Any = None) -> Any:
    """Add an empty vtkMRMLSegmentationNode to paint lambda in, on the grid of the volume `reference_node`."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", free_name(scene, name))
    node.CreateDefaultDisplayNodes()
    if reference_node is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference_node)
    return node


def add_segment(node: Any, name: str, lam: float, feather_mm: float = 0.0) -> str:
    """Add an empty segment with its lambda and feather at the end of the list, where it wins; returns its ID."""
    _check(name, lam, feather_mm)
    segment_id = node.GetSegmentation().AddEmptySegment("", name, lambda_rgb(lam))
    tag_segment(node, segment_id, lam, feather_mm)
    return str(segment_id)


def move_segment(node: Any, segment_id: str, by: int) -> None:
    """Move a segment along the list, no further than its ends."""
    segmentation = node.GetSegmentation()
    index = segmentation.GetSegmentIndex(segment_id) + by
    if 0 <= index < segmentation.GetNumberOfSegments():
        segmentation.SetSegmentIndex(segment_id, index)


def is_painted(node: Any, segment_id: str) -> bool:
    """Whether there is anything in the segment, wherever it lies."""
    segment = _segment(node, segment_id)
    labels = segment.GetRepresentation(_binary())
    if labels is None:
        shape = segment.GetRepresentation(node.GetSegmentation().GetSourceRepresentationName())
        return shape is not None and shape.GetNumberOfPoints() > 0
    if labels.IsEmpty():
        return False
    return any((plane == segment.GetLabelValue()).any() for plane in array_from_vtk(labels))


def painted_state(node: Any) -> tuple[Any, ...]:
    """Changes whenever the segments with a lambda do: what is painted, tags, order, place. Costs no look at voxels."""
    parent = node.GetParentTransformNode()
    state: list[Any] = [node.GetID(), None if parent is None else (parent.GetID(), parent.GetTransformToWorldMTime())]
    source = node.GetSegmentation().GetSourceRepresentationName()
    for segment_id in segment_ids(node):
        segment = _segment(node, segment_id)
        tags = [_text(segment, tag) for tag in (LAMBDA_TAG, FEATHER_TAG)]
        if tags[0] is not None:
            shape = segment.GetRepresentation(source)
            painted = None if shape is None else shape.GetMTime()
            state.append((segment_id, *tags, segment.GetLabelValue(), painted))
    return tuple(state)


def segment_lambda(node: Any, segment_id: str) -> float | None:
    """The lambda of a segment; None where it carries none.

    Raises:
        InputError: the tag is not a number in [0, 1].
    """
    segment = _segment(node, segment_id)
    lam = _number(segment, LAMBDA_TAG)
    if lam is not None:
        _check(segment.GetName(), lam, 0.0)
    return lam


def segment_feather(node: Any, segment_id: str) -> float:
    """The feather width of a segment in mm; 0 where it carries none.

    Raises:
        InputError: the tag is not a number, or negative.
    """
    segment = _segment(node, segment_id)
    feather_mm = _number(segment, FEATHER_TAG) or 0.0
    _check(segment.GetName(), 0.0, feather_mm)
    return feather_mm


def segment_ids(node: Any) -> list[str]:
    """The segment IDs in the order of the segment list."""
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())]


def painted_segments(node: Any, reference: sitk.Image) -> list[PaintedSegment]:
    """The segments that carry a lambda, in segment order, each on the grid of `reference` (the CT).

    Empty segments are left out. A segmentation on another grid, or under transforms, is resampled
    (nearest neighbour) as it appears in the world; one that holds only surfaces is converted on a copy.
    `node` is left as it is.

    Raises:
        InputError: not a segmentation, no segment carries a lambda, or a tag is wrong.
    """
    if node is None or not node.IsA("vtkMRMLSegmentationNode"):
        raise InputError("a segmentation with painted lambda is needed, but another node was chosen")
    tagged = [(segment_id, segment_lambda(node, segment_id)) for segment_id in segment_ids(node)]
    if all(lam is None for _, lam in tagged):
        raise InputError(f"no segment of '{node.GetName()}' carries a lambda; give at least one the tag {LAMBDA_TAG}")
    target = _oriented_reference(reference)
    source = _with_labelmaps(node, target)
    to_world = _transform_to_world(node)
    painted = []
    for segment_id, lam in tagged:
        if lam is None:
            continue
        mask = _mask_on(source, segment_id, target, to_world, reference)
        if mask is not None:
            name = _segment(node, segment_id).GetName()
            painted.append(PaintedSegment(mask, lam, segment_feather(node, segment_id), name))
    return painted


def segmentation_from_masks(
    scene: Any,
    name: str,
    segments: Sequence[PaintedSegment | tuple[sitk.Image, float, float]],
    reference_node: Any = None,
) -> Any:
    """Add a vtkMRMLSegmentationNode with one tagged segment per (mask, lambda, feather mm[, name]).

    Masks may overlap: each gets a layer of its own. A segment without a name is called "lambda 0.25" and the
    like. reference_node: the volume node whose grid the Segment Editor shall paint on.
    """
    node = new_painting(scene, name, reference_node)
    for mask, lam, feather_mm, given_name in (PaintedSegment(*segment) for segment in segments):
        segment_name = given_name or f"lambda {lam:g}"
        segment_id = node.AddSegmentFromBinaryLabelmapRepresentation(_oriented_mask(mask), segment_name)
        if not segment_id:
            raise InputError(f"the mask of '{segment_name}' could not become a segment")
        tag_segment(node, segment_id, lam, feather_mm)
    return node


def _segment(node: Any, segment_id: str) -> Any:
    segment = node.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise InputError(f"'{node.GetName()}' has no segment '{segment_id}'")
    return segment


def _binary() -> str:
    import slicer

    return str(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName())


def _text(segment: Any, tag: str) -> str | None:
    text = vtk.reference("")
    return str(text) if segment.GetTag(tag, text) else None


def _number(segment: Any, tag: str) -> float | None:
    text = _text(segment, tag)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"segment '{segment.GetName()}': {tag} is '{text}'; write a number such as 0.5") from error


def _check(name: str, lam: float, feather_mm: float) -> None:
    if not 0.0 <= lam <= 1.0:
        raise InputError(f"segment '{name}': lambda is {lam:g}; it must lie in [0, 1]")
    if not 0.0 <= feather_mm < math.inf:
        raise InputError(f"segment '{name}': feather is {feather_mm:g} mm; it must be 0 or more")


def _transform_to_world(node: Any) -> vtk.vtkGeneralTransform | None:
    parent = node.GetParentTransformNode()
    if parent is None:
        return None
    transform = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(transform)
    return transform


def _with_labelmaps(node: Any, target: Any) -> Any:
    """The node's vtkSegmentation; when it holds no binary label maps, a copy that does."""
    import slicer

    representation = _binary()
    segmentation = node.GetSegmentation()
    if segmentation.ContainsRepresentation(representation):
        return segmentation
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation)
    copy.SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(),
        slicer.vtkSegmentationConverter.SerializeImageGeometry(target),
    )
    if not copy.CreateRepresentation(representation):
        raise InputError(f"the segments of '{node.GetName()}' could not be turned into masks")
    return copy


def _mask_on(
    segmentation: Any, segment_id: str, target: Any, transform: Any, reference: sitk.Image
) -> sitk.Image | None:
    """One segment as a uint8 mask on the grid of `reference`; None when nothing of it lies there."""
    import slicer

    segment = segmentation.GetSegment(segment_id)
    shared = segment.GetRepresentation(_binary())
    if shared is None or shared.IsEmpty():
        return None
    offset = None if transform is not None else _offset(shared, target)
    if offset is not None:
        return _mask_image(_cut(shared, offset, target.GetDimensions()) == segment.GetLabelValue(), reference)
    threshold = vtk.vtkImageThreshold()
    threshold.SetInputData(shared)
    threshold.ThresholdBetween(segment.GetLabelValue(), segment.GetLabelValue())
    threshold.SetInValue(1)
    threshold.SetOutValue(0)
    threshold.SetOutputScalarTypeToUnsignedChar()
    threshold.Update()
    own = slicer.vtkOrientedImageData()
    own.ShallowCopy(threshold.GetOutput())
    own.CopyDirections(shared)
    resampled = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    if not resample(own, target, resampled, False, False, transform):
        raise InputError(f"segment '{segment.GetName()}' could not be brought onto the CT's grid")
    return _mask_image(array_from_vtk(resampled) > 0, reference)


def _mask_image(inside: np.ndarray, reference: sitk.Image) -> sitk.Image | None:
    if not inside.any():
        return None
    mask = sitk.GetImageFromArray(inside.astype(np.uint8))
    mask.CopyInformation(reference)
    return mask


def _offset(source: Any, target: Any) -> tuple[int, int, int] | None:
    """The voxel of `source` that is voxel (0, 0, 0) of `target`; None unless their voxels coincide."""
    grids = []
    for image in (source, target):
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        grids.append(matrix_array(matrix))
    between = np.linalg.solve(grids[0], grids[1])
    shift = np.round(between[:3, 3])
    turned = np.abs(between[:3, :3] - np.eye(3)) @ np.array(target.GetDimensions())
    if (turned + np.abs(between[:3, 3] - shift) > _COINCIDE).any():
        return None
    return int(shift[0]), int(shift[1]), int(shift[2])


def _cut(source: Any, offset: tuple[int, int, int], size: tuple[int, int, int]) -> np.ndarray:
    """The labels (k, j, i) of `source` from the voxel `offset` on, 0 where it has none."""
    labels = array_from_vtk(source)
    first = [offset[axis] - source.GetExtent()[2 * axis] for axis in (2, 1, 0)]
    shape = size[::-1]
    cut = np.zeros(shape, labels.dtype)
    there = [(max(0, f), min(n, f + m)) for f, n, m in zip(first, labels.shape, shape, strict=True)]
    if all(start < stop for start, stop in there):
        here = tuple(slice(start - f, stop - f) for (start, stop), f in zip(there, first, strict=True))
        cut[here] = labels[tuple(slice(start, stop) for start, stop in there)]
    return cut


def _oriented_reference(image: sitk.Image) -> Any:
    """An empty vtkOrientedImageData with the grid of `image`."""
    import slicer

    oriented = slicer.vtkOrientedImageData()
    oriented.SetDimensions(image.GetSize())
    oriented.SetImageToWorldMatrix(ijk_to_ras(image))
    oriented.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    array_from_vtk(oriented)[:] = 0
    return oriented


def _oriented_mask(mask: sitk.Image) -> Any:
    oriented = _oriented_reference(mask)
    array_from_vtk(oriented)[:] = sitk.GetArrayViewFromImage(mask) > 0
    return oriented
