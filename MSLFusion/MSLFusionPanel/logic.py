"""What the panel and scripts inside Slicer share: the parameters in the scene and the worker."""

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from MSLFusionPanel.inputs import collect
from MSLFusionPanel.parameters import MSLFusionParameterNode
from MSLFusionPanel.process import Worker
from MSLFusionPanel.session import OpenModel, OpenSession


class MSLFusionLogic(ScriptedLoadableModuleLogic):
    """Parameters, worker and session; no widgets."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.worker = Worker()
        self.session: OpenSession | None = None
        self.opened: OpenModel | None = None

    def getParameterNode(self) -> MSLFusionParameterNode:
        """The parameters of this scene."""
        return MSLFusionParameterNode(super().getParameterNode())

    def valid_session(self, parameters: MSLFusionParameterNode) -> OpenSession | None:
        """The session, when its latents are those of the present inputs; else None."""
        if self.session is None or not self.session.fits(collect(parameters), self.worker.generation):
            return None
        return self.session

    def cleanup(self) -> None:
        """End the worker."""
        self.session = None
        self.worker.stop()
