"""The Slicer module MSL Fusion Training: its description, its panel and its test inside Slicer.

Nothing heavy is imported here: Slicer loads this file at every start. What the panel is made of lies in
MSLFusionTrainingPanel, and in MSLFusionPanel what it shares with the module MSL Fusion.
"""

import sys

import slicer
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
        parent.dependencies = ["MSLFusion"]
        parent.contributors = ["MSLFusion contributors"]
        parent.helpText = (
            _(
                "Trains the networks of MSL Fusion on your own pairs of scans, or on generated heads: from folders of "
                "scans to a model that MSL Fusion can use. The training runs beside Slicer and goes on without it."
            )
            + f' <a href="{HOMEPAGE}/blob/main/Docs/training.md">'
            + _("How to train")
            + f'</a> · <a href="{HOMEPAGE}#readme">'
            + _("documentation")
            + "</a>"
        )
        parent.acknowledgementText = _(
            "The method is multi-sensor learning: L. Zhu, Y. Chen, L. Liu, L. Xing, L. Yu: Multi-sensor Learning "
            "Enables Information Transfer across Different Sensory Data and Augments Multi-modality Imaging. "
            "IEEE Transactions on Pattern Analysis and Machine Intelligence, 2024. Please cite it when you use "
            "this module. The software is an implementation of its own under the MIT licence; it is not a "
            "medical device."
        )


class MSLFusionTrainingWidget(ScriptedLoadableModuleWidget):
    """Makes the panel and passes on what Slicer says to it."""

    logic = None
    panel = None

    def setup(self):
        """Called when the module is opened for the first time, and after a reload."""
        ScriptedLoadableModuleWidget.setup(self)
        from MSLFusionTrainingPanel.logic import MSLFusionTrainingLogic
        from MSLFusionTrainingPanel.panel import Panel

        root = slicer.util.loadUI(self.resourcePath("UI/MSLFusionTraining.ui"))
        self.layout.addWidget(root)
        root.setMRMLScene(slicer.mrmlScene)
        self.logic = MSLFusionTrainingLogic()
        self.panel = Panel(root, slicer.util.childWidgetVariables(root), self.logic)
        self.panel.setup()
        if getattr(self.parent, "isEntered", False):  # reloaded while it is shown
            self.enter()

    def enter(self):
        """The module is shown."""
        if self.panel is not None:
            self.panel.enter()

    def exit(self):
        """Another module is shown."""
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self):
        """The module is unloaded or reloaded; a second call does nothing. A training goes on."""
        panel, self.panel = self.panel, None
        if panel is not None:
            panel.cleanup()
            panel.root.deleteLater()  # Slicer would only hide it

    def onReload(self):
        """Reload this file and everything of its own that it imports."""
        self.cleanup()
        for name in list(sys.modules):
            if name.partition(".")[0] in ("MSLFusionTrainingPanel", "MSLFusionTrainingLib"):
                del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class MSLFusionTrainingTest(ScriptedLoadableModuleTest):
    """Run by ctest, and by "Reload and Test" in developer mode."""

    def setUp(self):
        """Each test has an empty scene."""
        slicer.mrmlScene.Clear(False)

    def test_commands_are_found(self):
        """The training library adds its words without importing torch."""
        from MSLFusionLib.cli import build_parser
        from MSLFusionTrainingLib import commands

        assert "train" in build_parser([commands]).format_help()

    def test_the_whole_workflow(self):
        """The panel, from generated heads to a reconstruction; skipped where Slicer has no PyTorch."""
        from MSLFusionPanel import install
        from MSLFusionTrainingPanel import selftest

        missing = install.missing_packages()
        if missing:
            self.skipTest(f"packages are missing: {', '.join(missing)}")
        widget = slicer.util.getModuleWidget("MSLFusionTraining")
        if slicer.util.mainWindow() is not None:
            slicer.util.selectModule("MSLFusionTraining")
        else:
            widget.enter()
        selftest.Workflow(widget.panel).run()
