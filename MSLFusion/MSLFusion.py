"""The Slicer module MSL Fusion: its description, its panel, its file reader and its test inside Slicer.

Nothing heavy is imported here: Slicer loads this file at every start. What the panel is made of lies in MSLFusionPanel.
"""

import os
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


class MSLFusion(ScriptedLoadableModule):
    """Name, place and help of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MSL Fusion")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.dependencies = []
        parent.contributors = ["MSLFusion contributors"]
        parent.helpText = (
            _(
                "Reconstructs CT and MRI together from few X-ray projections and part of k-space, and mixes them "
                "by lambda: 0 is CT, 1 is MRI, and a painted map mixes them differently from place to place. Other "
                "methods: CMF-Net restores one MR contrast from little k-space with the help of another one and makes "
                "it finer; fusion makes one volume of two, such as MR and PET."
            )
            + f' <a href="{HOMEPAGE}/blob/main/Docs/tutorial.md">'
            + _("The tutorial")
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
        slicer.app.connect("startupCompleted()", self.when_started)

    def when_started(self):
        """What the rest of Slicer should know of us before the panel is opened."""
        from MSLFusionPanel import layouts, samples

        samples.register(self.resourcePath("Icons"))
        layouts.register()


class MSLFusionWidget(ScriptedLoadableModuleWidget):
    """Makes the panel and passes on what Slicer says to it."""

    logic = None
    panel = None

    def setup(self):
        """Called when the module is opened for the first time, and after a reload."""
        ScriptedLoadableModuleWidget.setup(self)
        from MSLFusionPanel.logic import MSLFusionLogic
        from MSLFusionPanel.panel import Panel

        root = slicer.util.loadUI(self.resourcePath("UI/MSLFusion.ui"))
        self.layout.addWidget(root)
        root.setMRMLScene(slicer.mrmlScene)
        self.logic = MSLFusionLogic()
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
        """The module is unloaded or reloaded; a second call does nothing."""
        panel, self.panel = self.panel, None
        if panel is not None:
            panel.cleanup()
            panel.root.deleteLater()  # Slicer would only hide it

    def onReload(self):
        """Reload this file and everything that it imports of ours."""
        self.cleanup()
        for name in list(sys.modules):
            if name.partition(".")[0] in ("MSLFusionPanel", "MSLFusionLib"):
                del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class MSLFusionFileReader:
    """Models and sensor data that are dropped on Slicer; Slicer finds this class by its name."""

    def __init__(self, parent):
        self.parent = parent

    def description(self):
        """What the dialog Add Data calls such a file."""
        return _("MSL Fusion model or sensor data")

    def fileType(self):
        """Slicer's word for it."""
        return "MSLFusionFile"

    def extensions(self):
        """Name filters."""
        from MSLFusionPanel import rawlook

        endings = " ".join(f"*.{ending}" for ending in rawlook.ENDINGS)
        return [
            _("MSL Fusion model") + " (*.safetensors)",
            _("MSL Fusion sensor data, sinogram or k-space") + f" ({endings})",
        ]

    def canLoadFile(self, path):
        """Whether `load` has something to say about the file."""
        return self.canLoadFileConfidence(path) > 0

    def canLoadFileConfidence(self, path):
        """Higher than that of Slicer's own readers (.h5 files are transforms, too) for files of ours."""
        from MSLFusionPanel import readers

        return float(readers.confidence(path))

    def load(self, properties):
        """Choose the file in our module; False with a message when it is none of ours. Sensor data get a node."""
        import vtk

        from MSLFusionPanel import readers

        problem, node = readers.loaded(properties["fileName"])
        if problem:
            self.parent.userMessages().AddMessage(vtk.vtkCommand.ErrorEvent, problem)
        self.parent.loadedNodes = [] if node is None else [node.GetID()]
        return not problem


def __getattr__(name):
    """MSLFusionLogic, where scripts look for it; it is imported only then."""
    if name == "MSLFusionLogic":
        from MSLFusionPanel.logic import MSLFusionLogic

        return MSLFusionLogic
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class MSLFusionTest(ScriptedLoadableModuleTest):
    """Run by ctest, and by "Reload and Test" in developer mode."""

    def setUp(self):
        """Each test has an empty scene."""
        slicer.mrmlScene.Clear(False)

    def test_the_whole_workflow(self):
        """The panel, from the sample to a saved scene; skipped where Slicer has no PyTorch."""
        from MSLFusionPanel import install, selftest

        missing = install.missing_packages()
        if missing:
            self.skipTest(f"packages are missing: {', '.join(missing)}")
        widget = slicer.util.getModuleWidget("MSLFusion")
        if slicer.util.mainWindow() is not None:
            slicer.util.selectModule("MSLFusion")
        else:
            widget.enter()
        selftest.Workflow(widget.panel).run()

    def test_volumes_keep_their_geometry(self):
        """An image comes back from its node as it went in."""
        import numpy as np
        import SimpleITK as sitk

        from MSLFusionLib.scene import volumes

        image = _oblique_image()
        node = volumes.node_from_image(slicer.mrmlScene, image, "CT")
        back = volumes.image_from_node(node)
        assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(image))
        np.testing.assert_allclose(back.GetDirection(), image.GetDirection(), atol=1e-9)
        np.testing.assert_allclose(back.GetOrigin(), image.GetOrigin(), atol=1e-9)

    def test_a_run_can_be_saved_and_opened(self):
        """A saved run holds its sweep and painted lambda after opening it again."""
        import tempfile

        from MSLFusionLib.scene import bundle, run_scene, segmentations, sequences

        image = _oblique_image()
        mask = image > 0.5
        with tempfile.TemporaryDirectory() as folder:
            painted = run_scene.Painted([(mask, 0.75, 2.0)], image)
            hybrids = [(0.0, image), (0.5, image), (1.0, image)]
            rows = [{"lambda": lam, "psnr_ct": 30.0 - lam} for lam, _image in hybrids]
            path = run_scene.build_run_scene(
                os.path.join(folder, "run.mrb"), image, image, hybrids, painted, metrics_rows=rows
            )
            bundle.load_bundle(slicer.mrmlScene, path)
        sweep = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSequenceNode")
        assert sequences.lambdas_of(sweep) == [0.0, 0.5, 1.0]
        painted_node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        assert segmentations.painted_segments(painted_node, image)[0].lam == 0.75


def _oblique_image():
    """A small random volume with unequal spacing and turned axes."""
    import numpy as np
    import SimpleITK as sitk

    values = np.random.default_rng(0).random((6, 8, 10), dtype=np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-20.0, 15.0, 4.0))
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.1, -0.2, 0.3)
    image.SetDirection(turn.GetMatrix())
    return image
