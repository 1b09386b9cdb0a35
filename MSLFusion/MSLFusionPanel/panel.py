"""The panel as a whole: its sections, and what its one long job shows."""

from typing import Any

import slicer

from MSLFusionPanel.apply import ApplySection, Job
from MSLFusionPanel.coregister import CoregisterSection
from MSLFusionPanel.data import DataSection
from MSLFusionPanel.frame import Frame
from MSLFusionPanel.fuse import FuseSection
from MSLFusionPanel.fusion import FusionSection
from MSLFusionPanel.lambdas import LambdaSection
from MSLFusionPanel.log import LogSection
from MSLFusionPanel.logic import MSLFusionLogic
from MSLFusionPanel.measures import MeasuresSection
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.methods import MethodSection
from MSLFusionPanel.model import ModelSection
from MSLFusionPanel.parameters import NODES, MSLFusionParameterNode
from MSLFusionPanel.reconstruct import ReconstructSection
from MSLFusionPanel.restore import RestoreSection
from MSLFusionPanel.restoreresults import RestoreResultsSection
from MSLFusionPanel.restoring import RestoringSection
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
        self.method = MethodSection(self)
        self.data = DataSection(self)
        self.coregister = CoregisterSection(self)
        self.sensors = SensorsSection(self)
        self.model = ModelSection(self)
        self.lambdas = LambdaSection(self)
        self.reconstruct = ReconstructSection(self)
        self.results = ResultsSection(self)
        self.trust = TrustSection(self)
        self.fusion = FusionSection(self)
        self.fuse = FuseSection(self)
        self.measures = MeasuresSection(self)
        self.restore = RestoreSection(self)
        self.restoring = RestoringSection(self)
        self.restored = RestoreResultsSection(self)
        self.apply = ApplySection(self)
        self.jobs: dict[Method, Job] = {
            Method.MSL: self.reconstruct,
            Method.CMF_NET: self.restoring,
            Method.FUSION: self.fuse,
        }
        # The method first: it says what the others are about. Apply last: whether it can be pressed follows from the
        # messages of the others.
        self.sections = [
            self.log,
            self.method,
            self.data,
            self.coregister,
            self.sensors,
            self.model,
            self.lambdas,
            self.results,
            self.trust,
            self.reconstruct,
            self.fusion,
            self.fuse,
            self.measures,
            self.restore,
            self.restoring,
            self.restored,
            self.apply,
        ]

    def changed(self, *arguments: Any) -> None:
        """Something changed. Whose volumes the fields hold follows the method at once: a script may go on to set
        them; a scene that is being read is not yet whole."""
        if self.parameters is not None and not slicer.mrmlScene.IsBatchProcessing():
            self.method.exchange_pair()
        Frame.changed(self, *arguments)

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
        """In the section of Apply."""
        self.apply.show_progress(title, stage, done, total, seconds_left)

    def scene_left(self) -> None:
        """The session belongs to the scene's volumes."""
        self.logic.session = None
