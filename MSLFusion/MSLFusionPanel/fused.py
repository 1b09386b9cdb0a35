"""Fused volumes in the scene: one for each method and pair, all of a pair in one folder."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

if TYPE_CHECKING:
    import numpy as np
    import SimpleITK as sitk

METHOD_ATTRIBUTE = "MSLFusion.FusionMethod"
SETTINGS_ATTRIBUTE = "MSLFusion.FusionSettings"
MODALITIES_ATTRIBUTE = "MSLFusion.FusionModalities"
FIRST_ROLE, SECOND_ROLE = "MSLFusion.First", "MSLFusion.Second"
"""Node references from a fused volume, and from a table of measures, to the two volumes that were chosen."""


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


def results_of(first: Any, second: Any) -> dict[str, Any]:
    """The fused volumes of two volume nodes by method, in the order of the scene."""
    if first is None or second is None:
        return {}
    scene, name = slicer.mrmlScene, "vtkMRMLScalarVolumeNode"  # colours are a kind of it
    nodes = [scene.GetNthNodeByClass(i, name) for i in range(scene.GetNumberOfNodesByClass(name))]
    return {node.GetAttribute(METHOD_ATTRIBUTE): node for node in nodes if _belongs(node, first, second)}


def made_of(node: Any, first: Any, second: Any) -> bool:
    """Whether a node refers to these two volumes."""
    return node.GetNodeReference(FIRST_ROLE) is first and node.GetNodeReference(SECOND_ROLE) is second


def refer(node: Any, first: Any, second: Any) -> None:
    """Let a node refer to the two volumes that it was made of."""
    node.SetNodeReferenceID(FIRST_ROLE, first.GetID())
    node.SetNodeReferenceID(SECOND_ROLE, second.GetID())


def show_fused(fused: Fused, geometry: dict[str, Any], first: Any, second: Any) -> Any:
    """Put a result into the scene, in place of that of the same method and pair; returns its node.

    geometry: of the first volume in the world, as it was sent.
    """
    from MSLFusionLib.scene import hierarchy
    from MSLFusionLib.scene.colors import Display, show_as
    from MSLFusionLib.scene.volumes import node_from_image, update_node

    image, before = _image(fused, geometry), results_of(first, second)
    node = before.get(fused.method)
    if node is None:
        node = node_from_image(slicer.mrmlScene, image, _("Fused ({title})").format(title=fused.title))
        if not node.IsA("vtkMRMLVectorVolumeNode"):
            show_as(node, Display.UNIT)
        refer(node, first, second)
    else:
        node.SetAndObserveTransformNodeID(None)  # results lie in the world
        update_node(node, image)
    node.SetAttribute(METHOD_ATTRIBUTE, fused.method)
    node.SetAttribute(SETTINGS_ATTRIBUTE, json.dumps(fused.settings, sort_keys=True))
    node.SetAttribute(MODALITIES_ATTRIBUTE, " ".join(fused.modalities))
    if not hierarchy.place_of(slicer.mrmlScene, node):
        hierarchy.move_into(slicer.mrmlScene, folder_of(first, second, node), [node])
    _describe(first, second)
    return node


def folder_of(first: Any, second: Any, node: Any = None) -> int:
    """The folder of a pair's results, made where there is none; node: one that is not in it yet."""
    from MSLFusionLib.scene import hierarchy

    scene = slicer.mrmlScene
    others = [one for one in results_of(first, second).values() if one is not node]
    for other in others:
        place = hierarchy.place_of(scene, other)
        if place and hierarchy.run_parameters(scene, place).get("Run") == "fuse":
            return place
    return hierarchy.run_folder(scene, _("Fusion"), {"Run": "fuse", "first": _name(first), "second": _name(second)})


def _describe(first: Any, second: Any) -> None:
    """Write on the folder what lies in it."""
    from MSLFusionLib.scene import hierarchy

    nodes = results_of(first, second)
    folder = folder_of(first, second)
    told = {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "methods": {name: json.loads(node.GetAttribute(SETTINGS_ATTRIBUTE) or "{}") for name, node in nodes.items()},
        "modalities": {name: node.GetAttribute(MODALITIES_ATTRIBUTE) for name, node in nodes.items()},
    }
    hierarchy.describe_run(slicer.mrmlScene, folder, told)


def _belongs(node: Any, first: Any, second: Any) -> bool:
    return bool(node.GetAttribute(METHOD_ATTRIBUTE)) and made_of(node, first, second)


def _image(fused: Fused, geometry: dict[str, Any]) -> "sitk.Image":
    import SimpleITK as sitk

    from MSLFusionLib.recon.geometry import VolumeGeometry

    grid = VolumeGeometry.from_dict(geometry)
    if fused.image.ndim == 3:
        return grid.image(fused.image)
    colours = sitk.GetImageFromArray(fused.image, isVector=True)
    colours.CopyInformation(grid.grid_only())
    return colours


def _name(node: Any) -> str:
    return str(node.GetName())
