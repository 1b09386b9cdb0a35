"""The test of the module inside Slicer: the whole workflow on the generated head, through the panel's own buttons."""

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import slicer

from MSLFusionPanel.fused import FUSED
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.parameters import LambdaMode
from MSLFusionPanel.run import LAMBDA_ATTRIBUTE

_LIMIT_S = 600.0
"""A step that takes longer has failed."""


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Let the application live until `condition` holds; AssertionError when it does not in time."""
    end = time.monotonic() + _LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"still waiting for: {what}"
        slicer.app.processEvents()
        time.sleep(0.01)  # the worker needs the processor more than this loop does


class Workflow:
    """The steps of the workflow on the module's panel, in the order of its sections."""

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self.ui = panel.ui

    def run(self) -> None:
        """All of it; AssertionError tells which step did not do what it should."""
        self.load_sample()
        self.coregister()
        self.reconstruct()
        self.slide()
        self.paint()
        self.save_and_load()
        self.fuse()

    def load_sample(self) -> None:
        """Section 1: the generated head; cancelled once."""
        self._start(self.ui.sampleHeadButton)
        self._cancel(self.ui.sampleHeadButton)
        assert self.panel.parameters.data.ct is None, "a cancelled sample leaves nothing"
        self._press(self.ui.sampleHeadButton, "the generated head")
        data = self.panel.parameters.data
        assert data.ct is not None
        assert data.mr is not None

    def coregister(self) -> None:
        """Section 2: rigid; cancelled once."""
        self._start(self.ui.registerButton)
        self._cancel(self.ui.registerButton)
        assert self.panel.parameters.coregister.aligned is None, "a cancelled registration leaves nothing"
        self._press(self.ui.registerButton, "the registration")
        coregister = self.panel.parameters.coregister
        assert coregister.aligned is not None
        assert coregister.transform is not None

    def reconstruct(self) -> None:
        """Section 6, with a sweep and metrics; cancelled once."""
        output = self.panel.parameters.output
        output.sweep, output.sweepCount = True, 3
        self._settle()
        before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
        self._start(self.ui.applyButton)
        self._cancel(self.ui.applyButton)
        after = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
        assert after == before, "a cancelled reconstruction leaves nothing"
        self._press(self.ui.applyButton, "the reconstruction")
        wait_until(lambda: self.panel.parameters.output.table is not None, "the metrics")
        hybrid = self.panel.parameters.output.hybrid
        values = slicer.util.arrayFromVolume(hybrid)
        assert values.shape == slicer.util.arrayFromVolume(self.panel.parameters.data.ct).shape
        assert float(values.min()) >= 0.0
        assert 0.3 < float(values.max()) <= 1.0
        sweep = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSequenceNode")
        assert sweep.GetNumberOfDataNodes() == 3

    def slide(self) -> None:
        """Section 5: the slice follows the slider at once, the volume after it."""
        hybrid = self.panel.parameters.output.hybrid
        before = np.array(slicer.util.arrayFromVolume(hybrid))
        self.ui.lambdaSlider.value = 0.9
        wait_until(lambda: not np.array_equal(slicer.util.arrayFromVolume(hybrid), before), "the live preview")
        wait_until(lambda: hybrid.GetAttribute(LAMBDA_ATTRIBUTE) == "0.9", "the volume at the new lambda")

    def paint(self) -> None:
        """Section 5: a painted box changes the hybrid inside it."""
        parameters = self.panel.parameters
        hybrid = parameters.output.hybrid
        parameters.lam.mode = LambdaMode.PAINTED
        self._settle()
        self.ui.addSegmentButton.click()
        wait_until(lambda: parameters.lam.segmentation is not None, "a segmentation to paint on")
        wait_until(lambda: self.panel.task is None, "the panel to rest")
        segmentation = parameters.lam.segmentation
        before = np.array(slicer.util.arrayFromVolume(hybrid))
        depth, height, width = before.shape
        mask = np.zeros(before.shape, np.uint8)
        mask[:, height // 3 : height // 2, width // 3 : width // 2] = 1
        segment = segmentation.GetSegmentation().GetNthSegmentID(0)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segment, parameters.data.ct)
        wait_until(lambda: hybrid.GetAttribute(LAMBDA_ATTRIBUTE) == "map", "the volume at the painted lambda")
        changed = np.abs(slicer.util.arrayFromVolume(hybrid) - before)[depth // 2] > 1e-3
        assert changed.any(), "painting changes the hybrid"

    def save_and_load(self) -> None:
        """A saved scene opens with all of it."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "workflow.mrb")
            assert slicer.util.saveScene(path), "the scene is saved"
            slicer.mrmlScene.Clear(False)
            self._settle()
            slicer.util.loadScene(path)
        wait_until(lambda: self.panel.parameters is not None, "the panel to follow the scene")
        parameters = self.panel.parameters
        nodes = (parameters.data.ct, parameters.coregister.aligned, parameters.lam.segmentation)
        assert all(node is not None for node in (*nodes, parameters.output.hybrid, parameters.output.table))
        assert parameters.lam.mode is LambdaMode.PAINTED
        assert parameters.output.sweepCount == 3

    def fuse(self) -> None:
        """The method Fusion begins with the same CT and MR; MSL has them again afterwards."""
        parameters = self.panel.parameters
        ct, mr = parameters.data.ct, parameters.data.mr
        parameters.choice.method = Method.FUSION
        parameters.fusion.method = "alpha"
        parameters.fusion.measure = False
        self._press(self.ui.applyButton, "the fusion")
        fused = FUSED.of(ct, mr)["alpha"]
        assert slicer.util.arrayFromVolume(fused).shape == slicer.util.arrayFromVolume(ct).shape
        self.panel.parameters.choice.method = Method.MSL
        wait_until(lambda: self.ui.applyButton.enabled, "MSL again")
        assert self.panel.parameters.data.ct is ct

    def _start(self, button: Any) -> None:
        self._settle()
        wait_until(lambda: button.enabled, f"'{button.text}' to be enabled ({self.ui.applyButton.toolTip})")
        button.click()
        wait_until(lambda: self.panel.runs(button), f"'{button.text}' to begin")

    def _cancel(self, button: Any) -> None:
        """Press Cancel when the worker has begun; it is over within a second."""
        for _turn in range(20):
            slicer.app.processEvents()
        assert self.panel.runs(button), "still running when Cancel is pressed"
        started = time.monotonic()
        button.click()
        wait_until(lambda: self.panel.task is None, "the cancel")
        assert time.monotonic() - started < 1.0, "a cancel is over within a second"
        self._settle()

    def _press(self, button: Any, what: str) -> None:
        self._start(button)
        wait_until(lambda: not self.panel.runs(button), what)
        self._settle()
        assert not self.panel.messages.failures(), self.panel.messages.failures()

    def _settle(self) -> None:
        """Let what is due in the event loop happen."""
        for _turn in range(5):
            slicer.app.processEvents()
