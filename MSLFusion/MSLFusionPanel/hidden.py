"""Nodes that only help: not shown in lists, not saved with the scene."""

from typing import Any

import slicer


def hidden_node(cls: str, name: str) -> Any:
    """A new node of that class, not in the scene yet: what observes the scene shall find it hidden from the start."""
    node = slicer.mrmlScene.CreateNodeByClass(cls)
    node.UnRegister(None)
    node.SetName(slicer.mrmlScene.GenerateUniqueName(name))
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return node


def remove(node: Any) -> None:
    """Take a node out of the scene with its storage and display nodes; nothing happens when it is not there."""
    scene = slicer.mrmlScene
    if node is None or not scene.IsNodePresent(node):
        return
    attached = []
    if node.IsA("vtkMRMLStorableNode"):
        attached += [node.GetNthStorageNode(i) for i in range(node.GetNumberOfStorageNodes())]
    if node.IsA("vtkMRMLDisplayableNode"):
        attached += [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    scene.RemoveNode(node)
    for other in attached:
        if other is not None and scene.IsNodePresent(other):
            scene.RemoveNode(other)
