"""Imported sensor data in the scene: a text node with what they are, and lines where they lie below it.

The node holds no data but the names of the files, as the parameters have them: choosing it chooses them again.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from MSLFusionPanel.parameters import Coils, SensorSource

if TYPE_CHECKING:
    from MSLFusionPanel.parameters import SensorParameters

CLASS = "vtkMRMLTextNode"
CHOICE = "MSLFusion.SensorData"
"""Attribute of the node: the chosen files, as JSON."""
CURRENT_ROLE = "MSLFusion.SensorData"
"""Node reference of the parameter node to the node of what is chosen."""
OUTLINES = {"ct": "MSLFusion.CTOutline", "mr": "MSLFusion.MROutline"}
"""Node references from the node to the lines that show where the scans lie."""
_FILES = ("file", "sinogram", "kspace")


def choice(sensors: "SensorParameters") -> dict[str, Any] | None:
    """What of the parameters the node keeps; None where no file is chosen."""
    if sensors.source is SensorSource.FILE and sensors.file:
        return {"file": sensors.file}
    if sensors.source is SensorSource.RAW and (sensors.sinogram or sensors.kspace):
        names = {"sinogram": sensors.sinogram, "kspace": sensors.kspace}
        kept: dict[str, Any] = {key: value for key, value in names.items() if value}
        return kept | {"coils": sensors.coils.value, "select": sensors.select, "register": sensors.register}
    return None


def choice_of(node: Any) -> dict[str, Any]:
    """What a node keeps; empty for one that is none of ours."""
    try:
        content = json.loads(node.GetAttribute(CHOICE) or "")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def choose(node: Any, sensors: "SensorParameters") -> None:
    """Set the parameters to what a node keeps."""
    kept = choice_of(node)
    if isinstance(kept.get("file"), str):
        sensors.file, sensors.source = kept["file"], SensorSource.FILE
        return
    names = [kept.get(key, "") for key in ("sinogram", "kspace")]
    if not any(isinstance(name, str) and name for name in names):
        return
    sensors.sinogram, sensors.kspace = (name if isinstance(name, str) else "" for name in names)
    sensors.coils = next((coils for coils in Coils if coils.value == kept.get("coils")), Coils.RSS)
    sensors.select = str(kept.get("select", ""))
    sensors.register = kept.get("register") is not False
    sensors.source = SensorSource.RAW


def keep(parameters: Any, text: str = "", outline: Mapping[str, Any] | None = None) -> Any:
    """The node of the chosen files, made or brought up to date; None where none is chosen.

    A second file that completes the present node's goes into it. outline: as the worker describes it.
    """
    chosen = choice(parameters.sensors)
    if chosen is None:
        return None
    scene, keeper = slicer.mrmlScene, parameters.parameterNode
    node = next((one for one in nodes() if _same_files(choice_of(one), chosen)), None)
    if node is None:
        current = keeper.GetNodeReference(CURRENT_ROLE)
        node = current if current is not None and _completes(chosen, choice_of(current)) else None
    name = _("Sensor data: {names}").format(names=", ".join(Path(chosen[key]).name for key in _FILES if key in chosen))
    if node is None:
        node = scene.AddNewNodeByClass(CLASS, name)
    elif not _same_files(choice_of(node), chosen):
        node.SetName(name)
    if choice_of(node) != chosen:
        node.SetAttribute(CHOICE, json.dumps(chosen))
    if text and node.GetText() != text:
        node.SetText(text)
    if keeper.GetNodeReferenceID(CURRENT_ROLE) != node.GetID():
        keeper.SetNodeReferenceID(CURRENT_ROLE, node.GetID())
    if outline is not None:
        _show_outline(node, outline)
    return node


def current(parameters: Any) -> Any:
    """The node of the chosen files, None where there is none (any more)."""
    node, chosen = parameters.parameterNode.GetNodeReference(CURRENT_ROLE), choice(parameters.sensors)
    return node if node is not None and chosen is not None and _same_files(choice_of(node), chosen) else None


def nodes() -> list[Any]:
    """All such nodes of the scene."""
    scene = slicer.mrmlScene
    every = (scene.GetNthNodeByClass(i, CLASS) for i in range(scene.GetNumberOfNodesByClass(CLASS)))
    return [node for node in every if node.GetAttribute(CHOICE)]


def _show_outline(node: Any, outline: Mapping[str, Any]) -> None:
    from MSLFusionLib.scene import hierarchy, scans

    before = {kind: node.GetNodeReference(role) for kind, role in OUTLINES.items()}
    names = {"ct": _("CT scan"), "mr": _("MR scan")}
    shown = scans.outline_nodes(slicer.mrmlScene, outline, names, before)
    for kind, role in OUTLINES.items():
        if kind in shown:
            node.SetNodeReferenceID(role, shown[kind].GetID())
        elif before[kind] is not None:
            hierarchy.remove_node(slicer.mrmlScene, before[kind])
    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    if not tree.GetItemByDataNode(node):
        tree.CreateItem(tree.GetSceneItemID(), node)
    hierarchy.move_below(slicer.mrmlScene, node, list(shown.values()))


def _same_files(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all(a.get(key, "") == b.get(key, "") for key in _FILES)


def _completes(chosen: Mapping[str, Any], kept: Mapping[str, Any]) -> bool:
    """Whether the chosen files are those that are kept and more."""
    names = {key: kept[key] for key in _FILES if kept.get(key)}
    return bool(names) and all(chosen.get(key) == name for key, name in names.items())
