"""The lambda section alone, over the real .ui and a real scene, with a worker that answers when the test says so."""

from pathlib import Path
from typing import Any

import bare_qt  # noqa: F401 - first
import numpy as np
import SimpleITK as sitk
from fake_worker import FakeWorker
from turns import settle, until

from MSLFusionLib.scene import volumes

ROOT = Path(__file__).resolve().parents[2]
SIZE = (14, 12, 9)


def grid_image(value: float = 0.0, size: tuple[int, int, int] = SIZE) -> sitk.Image:
    """A volume with axial slices, unequal voxels."""
    image = sitk.GetImageFromArray(np.full(size[::-1], value, np.float32))
    image.SetSpacing((1.0, 1.5, 2.0))
    image.SetOrigin((-7.0, -9.0, -8.0))
    return image


class Bench:
    """What Panel does for a section, for one section; `section.update` runs when the event loop turns, as there."""

    def __init__(self) -> None:
        import qt
        import slicer

        from MSLFusionPanel.lambdas import LambdaSection
        from MSLFusionPanel.logic import MSLFusionLogic
        from MSLFusionPanel.messages import Messages

        self.root = slicer.util.loadUI(str(ROOT / "MSLFusion" / "Resources" / "UI" / "MSLFusion.ui"))
        self.root.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.root)
        self.logic = MSLFusionLogic()
        self.worker = self.logic.worker = FakeWorker()
        self.messages = Messages(self.ui)
        self.task = self.parameters = None
        self.updating = self._due = False
        self.lambdas = self.section = LambdaSection(self)  # type: ignore[arg-type]
        self.section.setup()
        self.area = qt.QScrollArea()
        self.area.setWidget(self.root)
        self.area.setWidgetResizable(True)
        self.area.resize(420, 768)
        self.area.show()
        self.use(self.logic.getParameterNode())
        self.section.enter()
        settle()

    # What sections use of Panel.

    def changed(self, *_arguments: Any) -> None:
        import qt

        if not self._due:
            self._due = True
            qt.QTimer.singleShot(0, self._update)

    def runs(self, _owner: Any) -> bool:
        return False

    def _update(self) -> None:
        self._due = False
        if self.parameters is not None:
            self.updating = True
            try:
                self.section.update()
            finally:
                self.updating = False

    # What tests do.

    def use(self, parameters: Any) -> None:
        """Another parameter node, or none."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self._tag)
            self.parameters.parameterNode.RemoveObserver(self._observer)
        self.parameters = parameters
        if parameters is not None:
            self.updating = True
            self._tag = parameters.connectGui(self.ui)
            self.updating = False
            self._observer = parameters.parameterNode.AddObserver("ModifiedEvent", self.changed)
            self.changed()

    def close(self) -> None:
        self.section.cleanup()
        self.use(None)
        self.worker.stop()
        self.area.deleteLater()
        settle()

    def close_scene(self) -> None:
        """As Panel does it when a scene is closed."""
        import slicer

        self.use(None)
        self.logic.session = None
        self.section.scene_closed()
        slicer.mrmlScene.Clear(False)
        self.use(self.logic.getParameterNode())
        settle()

    def rest(self) -> None:
        """Until nothing follows any more."""
        section = self.section

        def busy() -> bool:
            return section._timer.isActive() or section._rest.isActive() or section._task is not None or self._due

        settle()
        until(lambda: not busy())

    def text(self, label: str) -> str:
        return self.messages.text(label)

    def load(self) -> tuple[Any, Any]:
        """CT and MR in the scene, chosen, and the CT in all slice views."""
        import slicer

        ct = volumes.node_from_image(slicer.mrmlScene, grid_image(40.0), "CT")
        mr = volumes.node_from_image(slicer.mrmlScene, grid_image(0.5), "MR")
        self.parameters.data.ct, self.parameters.data.mr = ct, mr
        settle()
        return ct, mr

    def apply(self, lam: float = 0.5) -> Any:
        """What Apply leaves: a session at the worker, a hybrid in the scene and in the Red view."""
        import slicer

        from MSLFusionPanel.inputs import collect
        from MSLFusionPanel.lambdamap import lambda_state
        from MSLFusionPanel.session import open_session
        from MSLFusionPanel.task import Task

        self.parameters.lam.value = lam
        ended: list[Any] = []
        state = lambda_state(self.parameters)
        steps = open_session(self.logic, collect(self.parameters))
        Task(self.worker, steps, on_done=lambda _session: ended.append(""), on_failed=ended.append).start()
        until(lambda: ended)
        assert ended == [""]
        hybrid = volumes.node_from_image(slicer.mrmlScene, grid_image(lam), "Hybrid")
        self.parameters.output.hybrid = hybrid
        show("Red", hybrid)
        self.section.hybrid_shows(state)
        self.changed()
        self.rest()
        self.worker.seen.clear()
        return hybrid


def show(view: str, volume: Any, index: int = 4) -> Any:
    """A volume as background of a slice view, at one of its axial slices; returns the composite node."""
    import slicer

    widget = slicer.app.layoutManager().sliceWidget(view)
    composite = widget.mrmlSliceCompositeNode()
    composite.SetBackgroundVolumeID(volume.GetID())
    widget.mrmlSliceNode().SetOrientationToAxial()
    look_at(view, volume, index)
    return composite


def look_at(view: str, volume: Any, index: int) -> None:
    """Move a view to an axial slice of the volume."""
    import slicer

    image = volumes.image_from_node(volume)
    x, y, z = image.TransformIndexToPhysicalPoint((5, 5, index))
    slicer.app.layoutManager().sliceWidget(view).mrmlSliceNode().JumpSlice(-x, -y, z)


def paint(node: Any, segment_id: str, box: tuple[slice, slice, slice], volume: Any) -> None:
    """Paint a box (k, j, i) of the volume's grid into a segment."""
    import slicer

    array = np.zeros(volumes.image_from_node(volume).GetSize()[::-1], np.uint8)
    array[box] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment_id, volume)
