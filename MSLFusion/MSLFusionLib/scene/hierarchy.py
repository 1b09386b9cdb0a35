"""One subject hierarchy folder per run: its nodes inside, its parameters as attributes of the folder."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

ATTRIBUTE_PREFIX = "MSLFusion."


def run_folder(scene: Any, name: str, parameters: Mapping[str, Any]) -> int:
    """Add a folder for one run; returns its item ID.

    parameters: each becomes an attribute "MSLFusion.<key>" of the folder, text as it is and everything
    else as JSON.
    """
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), hierarchy.GenerateUniqueItemName(name))
    describe_run(scene, int(item), parameters)
    return int(item)


def describe_run(scene: Any, folder: int, parameters: Mapping[str, Any]) -> None:
    """Write parameters on a run's folder, in place of those of the same names."""
    hierarchy = scene.GetSubjectHierarchyNode()
    for key, value in parameters.items():
        text = value if isinstance(value, str) else json.dumps(value)
        hierarchy.SetItemAttribute(folder, f"{ATTRIBUTE_PREFIX}{key}", text)


def move_into(scene: Any, folder: int, nodes: Iterable[Any]) -> None:
    """Put nodes into a folder, in this order; an item is made for a node that has none yet."""
    hierarchy = scene.GetSubjectHierarchyNode()
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, folder)
        else:
            hierarchy.CreateItem(folder, node)


def move_below(scene: Any, parent: Any, nodes: Iterable[Any]) -> None:
    """Put nodes below another node, in this order; nothing happens where that has no place itself."""
    item = scene.GetSubjectHierarchyNode().GetItemByDataNode(parent)
    if item:
        move_into(scene, item, nodes)


def place_of(scene: Any, node: Any) -> int:
    """The item that a node lies under, such as a folder; 0 where it lies at the top or has no item yet."""
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    parent = hierarchy.GetItemParent(item) if item else 0
    return 0 if parent == hierarchy.GetSceneItemID() else int(parent)


def remove_node(scene: Any, node: Any) -> None:
    """Remove a node with its item and with its storage and display nodes, which the scene would keep.

    The application's plugins remove the items of removed nodes; a bare scene does not.
    """
    kept = []
    if node.IsA("vtkMRMLStorableNode"):
        kept += [node.GetNthStorageNode(i) for i in range(node.GetNumberOfStorageNodes())]
    if node.IsA("vtkMRMLDisplayableNode"):
        kept += [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    hierarchy = scene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, False)
    scene.RemoveNode(node)
    for one in kept:
        if one is not None and scene.IsNodePresent(one):
            scene.RemoveNode(one)


def run_parameters(scene: Any, folder: int) -> dict[str, str]:
    """The parameters that `run_folder` wrote, as text."""
    hierarchy = scene.GetSubjectHierarchyNode()
    names = [name for name in hierarchy.GetItemAttributeNames(folder) if name.startswith(ATTRIBUTE_PREFIX)]
    return {name.removeprefix(ATTRIBUTE_PREFIX): hierarchy.GetItemAttribute(folder, name) for name in names}
