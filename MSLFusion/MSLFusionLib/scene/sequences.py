"""A lambda sweep as a sequence: one hybrid volume per lambda, with its browser and proxy volume."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import SimpleITK as sitk
import vtk

from MSLFusionLib.scene.bootstrap import module_logic
from MSLFusionLib.scene.colors import Display, show_as
from MSLFusionLib.scene.names import free_name
from MSLFusionLib.scene.volumes import matrix_array, update_node

INDEX_NAME = "lambda"


class LambdaSweep:
    """A vtkMRMLSequenceNode indexed by lambda, its vtkMRMLSequenceBrowserNode and its proxy volume node.

    Volumes are added one by one as they are reconstructed, in any order; the same lambda again replaces
    its volume. All must have one size and geometry: only then Slicer stores the sweep as one .seq.nrrd.
    """

    def __init__(self, scene: Any, name: str) -> None:
        """Add an empty sweep called `name` to `scene`; the volume shown in the views gets that name."""
        self._scene = scene
        self.sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", free_name(scene, f"{name} sweep"))
        self.sequence.SetIndexName(INDEX_NAME)
        self.sequence.SetIndexUnit("")
        self.sequence.SetIndexTypeFromString("numeric")
        self.browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", free_name(scene, f"{name} browser"))
        self.browser.SetAndObserveMasterSequenceNodeID(self.sequence.GetID())
        self.browser.SetPlaybackRateFps(4.0)
        self.proxy = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", free_name(scene, name))
        module_logic(scene, "Sequences").AddSynchronizedNode(self.sequence, self.proxy, self.browser)
        # The proxy keeps its name, so that views and hierarchy stay readable; see its index in the browser.
        self.browser.SetOverwriteProxyName(self.sequence, False)

    def add(self, lam: float, image: sitk.Image) -> None:
        """Add (or replace) the hybrid volume of `lam` and show it.

        Raises:
            ValueError: its size, spacing, origin or direction is not that of the volumes before it.
        """
        item = self._scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        item.UnRegister(None)
        update_node(item, image)
        if self.sequence.GetNumberOfDataNodes() > 0 and not _same_grid(item, self.sequence.GetNthDataNode(0)):
            raise ValueError("all volumes of a lambda sweep must lie on one grid")
        item.SetName(f"lambda {index_value(lam)}")
        self.sequence.SetDataNodeAtValue(item, index_value(lam))
        self.select(lam)
        if self.sequence.GetNumberOfDataNodes() == 1:
            show_as(self.proxy, Display.UNIT)

    def add_all(self, volumes: Iterable[tuple[float, sitk.Image]]) -> None:
        """Add every (lambda, volume)."""
        for lam, image in volumes:
            self.add(lam, image)

    def select(self, lam: float) -> None:
        """Show the volume whose lambda is nearest to `lam` in the proxy volume."""
        self.browser.SetSelectedItemByIndexValue(index_value(lam), False)
        module_logic(self._scene, "Sequences").UpdateProxyNodesFromSequences(self.browser)


def lambdas_of(sequence: Any) -> list[float]:
    """The lambdas of a sweep's sequence node, rising."""
    return [float(sequence.GetNthIndexValue(i)) for i in range(sequence.GetNumberOfDataNodes())]


def index_value(lam: float) -> str:
    """How a lambda is written as index value: "0", "0.25", "0.3333"."""
    return f"{lam:.4f}".rstrip("0").rstrip(".")


def _same_grid(a: Any, b: Any) -> bool:
    """Whether two volume nodes have one size, voxel type and geometry."""
    first, second = a.GetImageData(), b.GetImageData()
    matrices = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    a.GetIJKToRASMatrix(matrices[0])
    b.GetIJKToRASMatrix(matrices[1])
    return bool(
        first.GetDimensions() == second.GetDimensions()
        and first.GetScalarType() == second.GetScalarType()
        and np.allclose(matrix_array(matrices[0]), matrix_array(matrices[1]), atol=1e-4)
    )
