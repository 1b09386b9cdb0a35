"""What the panel and scripts inside Slicer share: the parameters in the scene, and a worker to ask about GPUs."""

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MSLFusionPanel.process import Worker
from MSLFusionTrainingPanel.parameters import MSLFusionTrainingParameterNode


class MSLFusionTrainingLogic(ScriptedLoadableModuleLogic):
    """Parameters and worker; no widgets. The worker starts when it is asked, never for a training."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.worker = Worker()

    def getParameterNode(self) -> MSLFusionTrainingParameterNode:
        """The parameters of this scene."""
        return MSLFusionTrainingParameterNode(super().getParameterNode())

    def cleanup(self) -> None:
        """End the worker; a training goes on."""
        self.worker.stop()
