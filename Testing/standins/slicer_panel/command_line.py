"""slicer.cli and command line modules that do what a test says (Base/Python/slicer/cli.py)."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from PySide6 import QtCore


class CLIModule:
    """A command line module: `work(parameters)` runs when the event loop turns after it was started.

    What it raises becomes the error text of the node; a test that wants to cancel sets `hold` to keep it running.
    """

    def __init__(self, name: str, work: Callable[[dict[str, Any]], None]) -> None:
        self.name, self.work, self.hold = name, work, False
        self.parameters: dict[str, dict[str, Any]] = {}

    def logic(self) -> Any:
        return self

    def SetDeleteTemporaryFiles(self, _delete: int) -> None:
        """There are none."""

    def SetHideWindow(self, _hide: int) -> None:
        """There is none."""

    def CreateNodeInScene(self) -> Any:
        import slicer

        return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCommandLineModuleNode", self.name)

    def Apply(self, node: Any, _update_display: bool = True) -> None:
        node.SetStatus(node.Scheduled)
        QtCore.QTimer.singleShot(0, lambda: self.turn(node))

    def ApplyAndWait(self, node: Any, _update_display: bool = True) -> None:
        node.SetStatus(node.Running)
        self.finish(node)

    def turn(self, node: Any) -> None:
        if node.GetStatus() == node.Cancelling:
            node.SetStatus(node.Cancelled)
            return
        node.SetStatus(node.Running)
        if self.hold:
            QtCore.QTimer.singleShot(1, lambda: self.turn(node))
        else:
            self.finish(node)

    def finish(self, node: Any) -> None:
        try:
            self.work(self.parameters.get(node.GetID(), {}))
        except Exception as error:
            node.SetErrorText(str(error))
            node.SetStatus(node.CompletedWithErrors)
        else:
            node.SetStatus(node.Completed)


def cli_module() -> ModuleType:
    def set_parameters(node: Any, parameters: dict[str, Any] | None) -> None:
        import slicer

        for key, value in (parameters or {}).items():
            if not isinstance(value, str | bool | int | float | list | tuple | slicer.vtkMRMLNode):
                raise TypeError(f"parameter {key} has unsupported type {type(value).__name__}")
        module = getattr(slicer.modules, node.GetName().rstrip("_0123456789"))
        module.parameters.setdefault(node.GetID(), {}).update(parameters or {})

    def create(module: Any, parameters: dict[str, Any] | None = None) -> Any:
        node = module.logic().CreateNodeInScene()
        set_parameters(node, parameters)
        return node

    def run(
        module: Any,
        node: Any = None,
        parameters: Any = None,
        wait_for_completion: bool = False,
        delete_temporary_files: bool = True,
        update_display: bool = True,
        hide_window: bool = True,
    ) -> Any:
        if node is None:
            node = create(module, parameters)
        else:
            set_parameters(node, parameters)
        logic = module.logic()
        (logic.ApplyAndWait if wait_for_completion else logic.Apply)(node, update_display)
        return node

    cli = ModuleType("slicer.cli")
    cli.createNode, cli.setNodeParameters, cli.run = create, set_parameters, run
    cli.runSync = lambda module, node=None, parameters=None, **more: run(module, node, parameters, True, **more)
    return cli
