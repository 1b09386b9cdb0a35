"""What was made of two chosen volumes: found by the volumes that it refers to, all of a pair in one folder."""

from dataclasses import dataclass
from typing import Any

import slicer

FIRST_ROLE, SECOND_ROLE = "MSLFusion.First", "MSLFusion.Second"
"""Node references from a result, and from its table of measures, to the two volumes that were chosen."""


@dataclass(frozen=True)
class PairResults:
    """Results of one method. attribute: of their nodes, with the name of each; run: what their folder says of itself;
    title: what it is called."""

    attribute: str
    run: str
    title: str

    def of(self, first: Any, second: Any) -> dict[str, Any]:
        """The volumes made of two volume nodes by name, in the order of the scene; first: None for measured data."""
        if second is None:
            return {}
        scene, name = slicer.mrmlScene, "vtkMRMLScalarVolumeNode"  # colours are a kind of it
        nodes = [scene.GetNthNodeByClass(i, name) for i in range(scene.GetNumberOfNodesByClass(name))]
        mine = [node for node in nodes if node.GetAttribute(self.attribute) and made_of(node, first, second)]
        return {node.GetAttribute(self.attribute): node for node in mine}

    def add(self, node: Any, name: str, first: Any, second: Any) -> None:
        """Let a volume node be the result of that name."""
        node.SetAttribute(self.attribute, name)
        refer(node, first, second)

    def place(self, first: Any, second: Any, nodes: list[Any]) -> int:
        """Put nodes that lie nowhere yet into the pair's folder, which is made where there is none; returns it."""
        from MSLFusionLib.scene import hierarchy

        scene, folder = slicer.mrmlScene, 0
        for other in self.of(first, second).values():
            place = hierarchy.place_of(scene, other)
            if not folder and place and hierarchy.run_parameters(scene, place).get("Run") == self.run:
                folder = place
        if not folder:
            told = {"Run": self.run, "first": _name(first), "second": _name(second)}
            folder = hierarchy.run_folder(scene, self.title, told)
        loose = [node for node in nodes if not hierarchy.place_of(scene, node)]
        hierarchy.move_into(scene, folder, loose)
        return folder


def made_of(node: Any, first: Any, second: Any) -> bool:
    """Whether a node refers to these two volumes."""
    return node.GetNodeReference(FIRST_ROLE) is first and node.GetNodeReference(SECOND_ROLE) is second


def refer(node: Any, first: Any, second: Any) -> None:
    """Let a node refer to the two volumes that it was made of."""
    node.SetNodeReferenceID(FIRST_ROLE, None if first is None else first.GetID())
    node.SetNodeReferenceID(SECOND_ROLE, second.GetID())


def table_of(chosen: Any, first: Any, second: Any) -> Any:
    """The pair's table of measures: the chosen one, or any other in the scene; None where there is none."""
    scene, name = slicer.mrmlScene, "vtkMRMLTableNode"
    nodes = [scene.GetNthNodeByClass(i, name) for i in range(scene.GetNumberOfNodesByClass(name))]
    return next((node for node in (chosen, *nodes) if node is not None and made_of(node, first, second)), None)


def _name(node: Any) -> str:
    return "" if node is None else str(node.GetName())
