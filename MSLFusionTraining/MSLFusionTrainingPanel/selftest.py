"""The test of the module inside Slicer: a tiny training on generated heads becomes a model, which MSL Fusion uses."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import slicer

from MSLFusionTrainingPanel import runs
from MSLFusionTrainingPanel.parameters import DataSource

_LIMIT_S = 900.0
"""A step that takes longer has failed."""
_TINY = {
    **{"model": {"width": 4, "token_dim": 16, "heads": 2, "head_dim": 8, "mlp_dim": 16, "embedding": 8}},
    **{"size": 64, "pixel_mm": 4.0, "slices": 4, "iterations": 4, "batch": 2, "log_every": 1, "validation_slices": 2},
    **{"validate_every": 2, "checkpoint_every": 2, "heads": 1, "validation_heads": 1},
}
_HEAD = {"size": (40, 40, 8), "spacing": (5.0, 5.0, 20.0)}


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Let the application live until `condition` holds; AssertionError when it does not in time."""
    end = time.monotonic() + _LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"still waiting for: {what}"
        slicer.app.processEvents()
        time.sleep(0.01)  # the training needs the processor more than this loop does


class Workflow:
    """The steps of the workflow on the module's panel, in the order of its sections."""

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self.ui = panel.ui

    def run(self) -> None:
        """All of it; AssertionError tells which step did not do what it should."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, _own_models(Path(name) / "models"):
            folder = Path(name) / "tiny run"
            try:
                self.configure()
                self.train(folder)
                self.use(Path(name) / "models")
            finally:
                runs.forget_run(folder)

    def configure(self) -> None:
        """Sections 1 and 2: two generated heads and a tiny network, on the processor."""
        self.panel.parameters.data.source = DataSource.HEADS
        self.panel.parameters.configuration.device = "cpu"
        for name, value in _TINY.items():
            self.panel.configuration.take(name, value)
        self._settle()
        config = self.panel.configuration.settings.config
        assert config is not None, self.panel.configuration.settings.problem
        assert all(getattr(config, name) == value for name, value in _TINY.items())

    def train(self, folder: Path) -> None:
        """Section 3: start, until the end; the curves and the pictures are there."""
        training = self.panel.training
        training.open(folder)
        wait_until(lambda: self.ui.startButton.enabled, f"Start to be enabled: {self.ui.startButton.toolTip}")
        self.ui.startButton.click()
        wait_until(lambda: training.state in ("finished", "failed", "killed"), "the training")
        assert training.state == "finished", self.ui.runMessageLabel.text
        assert (folder / "best.safetensors").is_file()
        self.ui.curvesButton.click()
        self.ui.samplesButton.click()
        self._settle()

    def use(self, models: Path) -> None:
        """Export, and a reconstruction with the model in MSL Fusion."""
        wait_until(lambda: self.ui.useModelButton.enabled, "Use this model to be enabled")
        self.ui.useModelButton.click()
        wait_until(lambda: self.panel.runs(self.ui.useModelButton), "the export to begin")
        wait_until(lambda: self.panel.task is None, "the export")
        self._settle()
        assert (models / "tiny-run.safetensors").is_file(), self.panel.messages.text("useModelMessage")
        fusion = slicer.util.getModuleWidget("MSLFusion").panel
        fusion.enter()  # without a window no module is shown
        fusion.parameters.model.device = "cpu"
        fusion.parameters.data.ct, fusion.parameters.data.mr = _volumes()
        fusion.parameters.output.metrics = False
        self._settle()
        assert fusion.model.chosen().name == "tiny-run"
        wait_until(lambda: fusion.ui.applyButton.enabled, f"Apply to be enabled: {fusion.ui.applyButton.toolTip}")
        fusion.ui.applyButton.click()
        wait_until(lambda: fusion.task is not None, "the reconstruction to begin")
        wait_until(lambda: fusion.task is None, "the reconstruction")
        self._settle()
        assert not fusion.messages.failures(), fusion.messages.failures()
        assert fusion.parameters.output.hybrid is not None, "MSL Fusion reconstructs with the new model"

    def _settle(self) -> None:
        """Let what is due in the event loop happen."""
        for _turn in range(5):
            slicer.app.processEvents()


def _volumes() -> list[Any]:
    """A CT and an MR of a small generated head in the scene."""
    from MSLFusionLib.phantom import generate_head
    from MSLFusionLib.scene.volumes import node_from_image

    head = generate_head(7, **_HEAD)
    return [node_from_image(slicer.mrmlScene, image, name) for image, name in ((head.ct, "CT"), (head.t1, "MR"))]


@contextmanager
def _own_models(folder: Path) -> Iterator[None]:
    """Another folder of the user's models meanwhile."""
    before = os.environ.get("MSLFUSION_MODELS")
    os.environ["MSLFUSION_MODELS"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MSLFUSION_MODELS"]
        else:
            os.environ["MSLFUSION_MODELS"] = before
