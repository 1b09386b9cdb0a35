"""The panel as a whole: its sections, and what its one long job shows."""

from typing import Any

from MSLFusionPanel.frame import Frame
from MSLFusionTrainingPanel.configuration import ConfigurationSection
from MSLFusionTrainingPanel.data import DataSection
from MSLFusionTrainingPanel.logic import MSLFusionTrainingLogic
from MSLFusionTrainingPanel.parameters import DataSource, MSLFusionTrainingParameterNode
from MSLFusionTrainingPanel.run import RunSection
from MSLFusionTrainingPanel.usemodel import UseModelSection


class Panel(Frame):
    """The sections of MSL Fusion Training.

    What runs as the panel's one long job is a preparation or an export; a training is no job of the panel.
    """

    parameters: MSLFusionTrainingParameterNode | None

    def __init__(self, root: Any, ui: Any, logic: MSLFusionTrainingLogic) -> None:
        Frame.__init__(self, root, ui, logic)
        self.data = DataSection(self)
        self.configuration = ConfigurationSection(self)
        self.training = RunSection(self)
        self.use_model = UseModelSection(self)
        # In this order: the settings follow from the data, and whether Start can be pressed from both.
        self.sections = [self.data, self.configuration, self.training, self.use_model]

    def config_text(self) -> str:
        """The CONFIG.toml of a training; InputError when the settings cannot be used."""
        return self.configuration.text()

    def train_words(self) -> list[str]:
        """The words of `mslfusion train` beside the file and the folder."""
        if self.parameters is None:
            return []
        words = ["--device", self.parameters.configuration.device]
        if self.parameters.data.source is DataSource.HEADS:
            words += ["--workers", str(self.parameters.data.headWorkers)]
        return words

    def draw_progress(
        self,
        title: str | None,
        stage: str | None = None,
        done: int | None = None,
        total: int | None = None,
        seconds_left: float | None = None,
    ) -> None:
        """In section 1 for a preparation; an export shows it at its button alone."""
        preparing = title is not None and self.runs(self.ui.prepareButton)
        self.data.preparation.draw_progress(title if preparing else None, stage, done, total, seconds_left)
