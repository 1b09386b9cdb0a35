"""Fused volumes in the scene: one for each method and pair."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from MSLFusionPanel.pairresults import PairResults

if TYPE_CHECKING:
    import numpy as np
    import SimpleITK as sitk

FUSED = PairResults("MSLFusion.FusionMethod", "fuse", _("Fusion"))
SETTINGS_ATTRIBUTE = "MSLFusion.FusionSettings"
MODALITIES_ATTRIBUTE = "MSLFusion.FusionModalities"


@dataclass(frozen=True, eq=False)
class Fused:
    """What the worker gave for one method.

    image: (z, y, x) in [0, 1], or uint8 with red, green, blue as a fourth axis. rows: measures, of the sources too.
    """

    method: str
    title: str
    image: "np.ndarray"
    settings: dict[str, Any]
    modalities: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)


def show_fused(fused: Fused, geometry: dict[str, Any], first: Any, second: Any) -> None:
    """Put a result into the scene, in place of that of the same method and pair.

    geometry: of the first volume in the world, as it was sent.
    """
    from MSLFusionLib.scene.colors import Display, show_as
    from MSLFusionLib.scene.volumes import node_from_image, update_node

    image, node = _image(fused, geometry), FUSED.of(first, second).get(fused.method)
    if node is None:
        node = node_from_image(slicer.mrmlScene, image, _("Fused ({title})").format(title=fused.title))
        if not node.IsA("vtkMRMLVectorVolumeNode"):
            show_as(node, Display.UNIT)
        FUSED.add(node, fused.method, first, second)
    else:
        node.SetAndObserveTransformNodeID(None)  # results lie in the world
        update_node(node, image)
    node.SetAttribute(SETTINGS_ATTRIBUTE, json.dumps(fused.settings, sort_keys=True))
    node.SetAttribute(MODALITIES_ATTRIBUTE, " ".join(fused.modalities))
    _describe(FUSED.place(first, second, [node]), first, second)


def _describe(folder: int, first: Any, second: Any) -> None:
    """Write on the folder what lies in it."""
    from MSLFusionLib.scene import hierarchy

    nodes = FUSED.of(first, second)
    told = {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "methods": {name: json.loads(node.GetAttribute(SETTINGS_ATTRIBUTE) or "{}") for name, node in nodes.items()},
        "modalities": {name: node.GetAttribute(MODALITIES_ATTRIBUTE) for name, node in nodes.items()},
    }
    hierarchy.describe_run(slicer.mrmlScene, folder, told)


def _image(fused: Fused, geometry: dict[str, Any]) -> "sitk.Image":
    import SimpleITK as sitk

    from MSLFusionLib.recon.geometry import VolumeGeometry

    grid = VolumeGeometry.from_dict(geometry)
    if fused.image.ndim == 3:
        return grid.image(fused.image)
    colours = sitk.GetImageFromArray(fused.image, isVector=True)
    colours.CopyInformation(grid.grid_only())
    return colours
