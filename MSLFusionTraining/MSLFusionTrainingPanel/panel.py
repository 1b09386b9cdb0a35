"""The panel as a whole: its sections, and what its one long job shows."""

from typing import Any

from MSLFusionPanel.frame import Frame
from MSLFusionTrainingPanel.logic import MSLFusionTrainingLogic
from MSLFusionTrainingPanel.parameters import MSLFusionTrainingParameterNode


class Panel(Frame):
    """The sections of MSL Fusion Training.

    What runs as the panel's one long job is a preparation or an export; a training is no job of the panel.
    """

    parameters: MSLFusionTrainingParameterNode | None

    def __init__(self, root: Any, ui: Any, logic: MSLFusionTrainingLogic) -> None:
        Frame.__init__(self, root, ui, logic)
