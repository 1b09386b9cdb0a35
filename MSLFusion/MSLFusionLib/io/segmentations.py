"""Slicer segmentation files (.seg.nrrd) and plain label maps: segments, colours, tags, overlapping layers."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.headers import checked_header, read_pixels

LAMBDA_TAG = "MSLFusion.Lambda"
_MAX_SEGMENTS = 1024
_MAX_LAYERS = 64


@dataclass(frozen=True)
class Segment:
    """One segment: where its voxels are (`label` in `layer`) and what the file says about it.

    colour: red, green, blue in [0, 1]. tags: as in Slicer, e.g. {"MSLFusion.Lambda": "0.7"}.
    """

    name: str
    label: int
    layer: int = 0
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def lam(self) -> float | None:
        """Lambda that the segment was painted with, None where it carries no such tag.

        Raises InputError when the tag is not a number in [0, 1].
        """
        text = self.tags.get(LAMBDA_TAG)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0.0 <= value <= 1.0:
            raise InputError(f"Segment '{self.name}' carries lambda '{text}': give a number from 0 to 1.")
        return value


@dataclass(frozen=True)
class SegmentationFile:
    """Segments in file order and the label layers (integer images on one grid) that hold their voxels."""

    path: Path
    segments: tuple[Segment, ...]
    layers: tuple[sitk.Image, ...]

    def mask(self, segment: Segment) -> sitk.Image:
        """The voxels of a segment: uint8, 1 inside, on the segmentation's own grid."""
        return self.layers[segment.layer] == segment.label


def read_segmentation(path: str | os.PathLike[str]) -> SegmentationFile:
    """The segmentation at `path`: a Slicer .seg.nrrd, or any label map, each label of which becomes a segment.

    Raises InputError when the file is missing, no image, damaged, not of whole numbers, or without any segment.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"The segmentation file {source} does not exist.")
    reader = checked_header(source, "segmentation")
    if reader.GetDimension() != 3 or reader.GetNumberOfComponents() > _MAX_LAYERS:
        raise InputError(f"The segmentation file {source} is not 3-D with at most {_MAX_LAYERS} layers.")
    header = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    layers = _layers(read_pixels(source, "segmentation", sitk.sitkUnknown), source)
    numbers = sorted({int(match[1]) for key in header if (match := re.fullmatch(r"Segment(\d{1,6})_ID", key))})
    if len(numbers) > _MAX_SEGMENTS:
        raise InputError(f"The segmentation file {source} has {len(numbers)} segments: at most {_MAX_SEGMENTS}.")
    if numbers:
        segments = tuple(_segment(header, number, len(layers), source) for number in numbers)
    else:
        segments = _labels(layers, source)
    if not segments:
        raise InputError(f"The segmentation file {source} has no segments: paint at least one.")
    return SegmentationFile(source, segments, layers)


def _layers(image: sitk.Image, path: Path) -> tuple[sitk.Image, ...]:
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    count = image.GetNumberOfComponentsPerPixel()
    parts = [sitk.VectorIndexSelectionCast(image, index) for index in range(count)] if count > 1 else [image]
    if "integer" not in sitk.GetPixelIDValueAsString(parts[0].GetPixelID()):
        for part in parts:
            values = sitk.GetArrayViewFromImage(part)
            if not np.isfinite(values).all() or (values != np.rint(values)).any() or np.abs(values).max() > 65535:
                raise InputError(f"The segmentation file {path} does not hold whole numbers: is it an image?")
    return tuple(sitk.Cast(part, sitk.sitkInt32) for part in parts)


def _segment(header: Mapping[str, str], number: int, layer_count: int, path: Path) -> Segment:
    """Segment `number` of a Slicer header; files before Slicer 4.11 hold one unnumbered segment per layer."""

    def value(key: str, default: str) -> str:
        return header.get(f"Segment{number}_{key}", default)

    try:
        label = int(value("LabelValue", "1"))
        layer = int(value("Layer", str(number) if layer_count > 1 else "0"))
        red, green, blue = (min(1.0, max(0.0, float(part))) for part in value("Color", "0.5 0.5 0.5").split())
    except ValueError as error:
        raise InputError(f"The segmentation file {path} has a damaged header (segment {number}).") from error
    if not 0 <= layer < layer_count or label == 0:
        raise InputError(f"The segmentation file {path} has a damaged header (layer of segment {number}).")
    pairs = (entry.split(":", 1) for entry in value("Tags", "").split("|") if ":" in entry)
    tags = {key.strip(): text.strip() for key, text in pairs}
    return Segment(value("Name", value("ID", "")), label, layer, (red, green, blue), tags)


def _labels(layers: tuple[sitk.Image, ...], path: Path) -> tuple[Segment, ...]:
    found: list[Segment] = []
    for index, layer in enumerate(layers):
        labels = np.unique(sitk.GetArrayViewFromImage(layer))
        if labels.size > _MAX_SEGMENTS:
            raise InputError(f"The segmentation file {path} has {labels.size} labels: is it an image?")
        found += [Segment(f"label {label}", int(label), index) for label in labels if label != 0]
    return tuple(found)
