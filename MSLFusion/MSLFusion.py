"""The Slicer module MSL Fusion: its description, its panel and its test inside Slicer.

Nothing heavy is imported here: Slicer loads this file at every start.
"""

import os

import qt
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
                "by lambda: 0 is CT, 1 is MRI, and a painted map mixes them differently from place to place."
            )
            + f' <a href="{HOMEPAGE}#readme">'
            + _("More in the documentation.")
            + "</a>"
        )
        parent.acknowledgementText = _(
            "The method is multi-sensor learning: L. Zhu, Y. Chen, L. Liu, L. Xing, L. Yu: Multi-sensor Learning "
            "Enables Information Transfer across Different Sensory Data and Augments Multi-modality Imaging. "
            "IEEE Transactions on Pattern Analysis and Machine Intelligence, 2024. Please cite it when you use "
            "this module. The software is an implementation of its own under the MIT licence; it is not a "
            "medical device."
        )


class MSLFusionWidget(ScriptedLoadableModuleWidget):
    """Says what the module does today and shows the command that does it."""

    def setup(self):
        """Called once, when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        text = qt.QLabel(
            _(
                "This version works from the command line. The line below runs the demonstration: a generated "
                "head, registration, reconstruction at five lambdas and with a painted lambda map, and a report. "
                "Other words than “demo” do the steps on your own images; “--help” lists them. It needs PyTorch, "
                "which the PyTorch extension installs."
            )
        )
        text.wordWrap = True
        self.layout.addWidget(text)
        self.command = qt.QLineEdit(demo_command(slicer.app.launcherExecutableFilePath, __file__))
        self.command.readOnly = True
        self.command.toolTip = _("Run this in a terminal; it ends Slicer with the exit code of the command.")
        self.layout.addWidget(self.command)
        copy = qt.QPushButton(_("Copy the command"))
        copy.toolTip = _("Put the command on the clipboard.")
        copy.connect("clicked()", self.copy_command)
        self.layout.addWidget(copy)
        self.layout.addStretch(1)

    def copy_command(self):
        """Put the command on the clipboard."""
        qt.QApplication.clipboard().setText(self.command.text)


def demo_command(slicer_executable, module_file):
    """The line that runs the demonstration in Slicer without a window."""
    script = os.path.join(os.path.dirname(os.path.abspath(module_file)), "batch.py")
    return f'"{slicer_executable}" --no-splash --no-main-window --python-script "{script}" demo --output demo'


class MSLFusionTest(ScriptedLoadableModuleTest):
    """What the tests of the repository check on slicer-core, once more on the application's own scene."""

    def runTest(self):
        """Called by "Reload and Test" and by ctest."""
        slicer.mrmlScene.Clear(False)
        self.test_volumes_keep_their_geometry()
        slicer.mrmlScene.Clear(False)
        self.test_a_run_can_be_saved_and_opened()

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
