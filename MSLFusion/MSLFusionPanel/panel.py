"""The panel as a whole: its sections, and what its one long job shows."""

from typing import Any

from MSLFusionPanel.coregister import CoregisterSection
from MSLFusionPanel.data import DataSection
from MSLFusionPanel.frame import Frame
from MSLFusionPanel.lambdas import LambdaSection
from MSLFusionPanel.log import LogSection
from MSLFusionPanel.logic import MSLFusionLogic
from MSLFusionPanel.model import ModelSection
from MSLFusionPanel.parameters import NODES, MSLFusionParameterNode
from MSLFusionPanel.reconstruct import ReconstructSection
from MSLFusionPanel.results import ResultsSection
from MSLFusionPanel.sensors import SensorsSection
from MSLFusionPanel.trust import TrustSection


class Panel(Frame):
    """The sections of MSL Fusion."""

    NODES = NODES
    ALIGNED = ("ctNoiseCheckBox", "mrNoiseCheckBox", "sweepCheckBox", "trustCheckBox")
    parameters: MSLFusionParameterNode | None

    def __init__(self, root: Any, ui: Any, logic: MSLFusionLogic) -> None:
        Frame.__init__(self, root, ui, logic)
        self.log = LogSection(self)
        self.data = DataSection(self)
        self.coregister = CoregisterSection(self)
        self.sensors = SensorsSection(self)
        self.model = ModelSection(self)
        self.lambdas = LambdaSection(self)
        self.reconstruct = ReconstructSection(self)
        self.results = ResultsSection(self)
        self.trust = TrustSection(self)
        # Reconstruct last but one: whether Apply can be pressed follows from the messages of the others.
        self.sections = [
            self.log,
            self.data,
            self.coregister,
            self.sensors,
            self.model,
            self.lambdas,
            self.results,
            self.trust,
            self.reconstruct,
        ]

    def tell(self, sentence: str) -> None:
        """A sentence for the log."""
        self.log.add(sentence)

    def draw_progress(
        self,
        title: str | None,
        stage: str | None = None,
        done: int | None = None,
        total: int | None = None,
        seconds_left: float | None = None,
    ) -> None:
        """In section 6."""
        self.reconstruct.show_progress(title, stage, done, total, seconds_left)

    def scene_left(self) -> None:
        """The session belongs to the scene's volumes."""
        self.logic.session = None
