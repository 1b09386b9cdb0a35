"""The panel over the .ui with a worker that answers when the test says so."""

import json
import struct
from pathlib import Path
from typing import Any

import bare_qt  # noqa: F401 - first
from fake_worker import FakeWorker
from turns import settle

ROOT = Path(__file__).resolve().parents[2]


class Opened:
    """One open panel: `ui`, `panel`, `logic`, `worker`, and `parameters` of the present scene."""

    def __init__(self, worker: Any = None, into: Any = None) -> None:
        """`into`: a widget with a layout that gets the panel, instead of a scroll area of its own."""
        import qt
        import slicer

        from MSLFusionPanel.logic import MSLFusionLogic
        from MSLFusionPanel.panel import Panel

        self._closed = False
        self.root = slicer.util.loadUI(str(ROOT / "MSLFusion" / "Resources" / "UI" / "MSLFusion.ui"))
        if into is not None:
            into.layout().addWidget(self.root)
        self.root.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.root)
        self.logic = MSLFusionLogic()
        self.worker = self.logic.worker = worker or FakeWorker()
        self.panel = Panel(self.root, self.ui, self.logic)
        self.panel.setup()
        self.panel.enter()
        self.area = qt.QScrollArea()
        if into is None:
            self.area.setWidget(self.root)
        self.area.setWidgetResizable(True)
        self.area.resize(420, 768)
        self.area.show()
        settle()

    def load_volumes(self) -> list[Any]:
        """Choose a CT and an MR on one grid, so that nothing keeps Apply disabled."""
        import numpy as np
        import slicer

        nodes = []
        for name in ("CT", "MR"):
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
            slicer.util.updateVolumeFromArray(node, np.linspace(-1000, 1000, 336, dtype=np.float32).reshape(6, 7, 8))
            nodes.append(node)
        self.parameters.data.ct, self.parameters.data.mr = nodes
        settle()
        return nodes

    @property
    def parameters(self) -> Any:
        return self.panel.parameters

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.panel.cleanup()
            self.area.deleteLater()
            settle()

    def text(self, label: str) -> str:
        return self.panel.messages.text(label)

    def kind(self, label: str) -> str:
        return self.panel.messages.kind(label)


def write_model(path: Path, **changes: Any) -> None:
    """A checkpoint with a card and no weights: enough to be listed and shown."""
    keys = ("name", "architecture", "config", "preset", "modalities", "normalisation", "grid", "sensors")
    usual = {"name": path.stem, "architecture": "msl", "modalities": ["ct", "mr"]}
    card = dict.fromkeys(keys, "") | usual | changes
    header = json.dumps({"__metadata__": {"mslfusion": json.dumps(card)}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
