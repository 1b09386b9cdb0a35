"""Volumes of the scene as patients: rows of node references, and their files for `mslfusion prepare`."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionPanel.data import problem_of_grid
from MSLFusionPanel.task import later

_ROLE = "MSLFusionTraining.Patient"


class Pairs:
    """The rows of the table of volumes: node references of the parameter node, so that they are saved with the scene.

    A row is one patient; its columns are the modalities in their order.
    """

    def __init__(self, parameters: Any) -> None:
        self._data = parameters.data
        self._node = parameters.parameterNode

    @property
    def rows(self) -> int:
        """How many patients there are."""
        return int(self._data.pairs)

    def get(self, row: int, column: int) -> Any:
        """The volume node of a cell, None where none is chosen."""
        return self._node.GetNodeReference(_role(row, column))

    def put(self, row: int, column: int, node: Any) -> None:
        """Choose a volume node, or None."""
        self._node.SetNodeReferenceID(_role(row, column), None if node is None else node.GetID())

    def add(self) -> None:
        """One more patient at the end."""
        self._data.pairs = self.rows + 1

    def remove(self, row: int, columns: int) -> None:
        """Take a patient out; those below move up. The last one is only emptied."""
        for below in range(row, self.rows):
            for column in range(columns):
                self.put(below, column, self.get(below + 1, column))
        self._data.pairs = max(1, self.rows - 1)

    def patients(self, columns: int) -> list[list[Any]]:
        """The volumes of each row, rows without any left out."""
        rows = [[self.get(row, column) for column in range(columns)] for row in range(self.rows)]
        return [nodes for nodes in rows if any(node is not None for node in nodes)]

    def problem(self, modalities: Sequence[str]) -> str:
        """Why the rows cannot be prepared; empty when they can."""
        seen: dict[str, int] = {}
        for row in range(self.rows):
            nodes = [self.get(row, column) for column in range(len(modalities))]
            if not any(node is not None for node in nodes):
                continue
            for name, node in zip(modalities, nodes, strict=True):
                said = {"row": row + 1, "modality": name.upper()}
                if node is None:
                    return _("Row {row} has no {modality}: choose it, or remove the row.").format(**said)
                trouble = problem_of_grid(node)
                if trouble:
                    return _("{modality} of row {row}: {trouble}").format(trouble=trouble, **said)
                if node.GetID() in seen:
                    return _("“{name}” is used in row {first} and in row {row}: choose another volume.").format(
                        name=node.GetName(), first=seen[node.GetID()], row=row + 1
                    )
                seen[node.GetID()] = row + 1
        return ""


def written(patients: Sequence[Sequence[Any]], modalities: Sequence[str], folder: Path) -> Generator[Any, Any, None]:
    """Steps of a task: the volumes as they appear in the world, as FOLDER/NUMBER/MODALITY.nrrd.

    Raises InputError, or JobError when a volume was removed meanwhile.
    """
    from MSLFusionLib.errors import JobError
    from MSLFusionLib.io.volumes import write_volume
    from MSLFusionLib.scene.volumes import image_from_node

    for number, nodes in enumerate(patients, 1):
        place = folder / f"p{number:03d}"
        place.mkdir(parents=True, exist_ok=True)
        for name, node in zip(modalities, nodes, strict=True):
            if not slicer.mrmlScene.IsNodePresent(node):
                raise JobError(_("A volume was removed from the scene while it was written."))
            write_volume(image_from_node(node), place / f"{name}.nrrd")
            yield later()


def _role(row: int, column: int) -> str:
    return f"{_ROLE}{row}.{column}"
