"""The Slicer module MSL Fusion Training: its description and its panel.

Nothing heavy is imported here: Slicer loads this file at every start.
"""

import qt
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

HOMEPAGE = "https://github.com/MSLFusion/SlicerMSLFusion"


class MSLFusionTraining(ScriptedLoadableModule):
    """Name, place and help of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MSL Fusion Training")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = []
        parent.contributors = ["MSLFusion contributors"]
        parent.helpText = (
            _("Trains the networks of MSL Fusion.")
            + f' <a href="{HOMEPAGE}#readme">'
            + _("More in the documentation.")
            + "</a>"
        )
        parent.acknowledgementText = _(
            "The method is multi-sensor learning: L. Zhu, Y. Chen, L. Liu, L. Xing, L. Yu: Multi-sensor Learning "
            "Enables Information Transfer across Different Sensory Data and Augments Multi-modality Imaging. "
            "IEEE Transactions on Pattern Analysis and Machine Intelligence, 2024. Please cite it when you use "
            "this module."
        )


class MSLFusionTrainingWidget(ScriptedLoadableModuleWidget):
    """Says where training is done today."""

    def setup(self):
        """Called once, when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        text = qt.QLabel(
            _(
                "Training works from the command line: “mslfusion train --output RUN” trains a network on "
                "generated heads, and “mslfusion export RUN --output MODEL.safetensors” turns the run into a model "
                "file that MSL Fusion can use. Training wants a machine with a GPU and Python; it need not be this "
                "one, and it does not need Slicer."
            )
        )
        text.wordWrap = True
        self.layout.addWidget(text)
        self.layout.addStretch(1)


class MSLFusionTrainingTest(ScriptedLoadableModuleTest):
    """Checks inside Slicer that the training words can be added to a command line."""

    def runTest(self):
        """Called by "Reload and Test" and by ctest."""
        self.test_commands_are_found()

    def test_commands_are_found(self):
        """The training library adds its words without importing torch."""
        from MSLFusionLib.cli import build_parser
        from MSLFusionTrainingLib import commands

        assert "train" in build_parser([commands]).format_help()
