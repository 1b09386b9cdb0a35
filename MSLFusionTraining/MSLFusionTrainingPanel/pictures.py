"""The pictures of a training's last validation as volumes: for each modality sensor image, network and truth."""

from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from MSLFusionTrainingPanel.watch import Sample


class Pictures:
    """The volumes, rows of three. They are not saved with the scene."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []

    @property
    def present(self) -> bool:
        """Whether all volumes are in the scene."""
        return bool(self.rows) and all(slicer.mrmlScene.IsNodePresent(node) for row in self.rows for node in row)

    def show(self, sample: Sample) -> bool:
        """Fill the volumes, making them where they are not there; returns whether they were made."""
        made = not self.present or len(self.rows) != len(sample.roles)
        if made:
            self.remove()
            self.rows = [[_new_volume() for _kind in range(3)] for _role in sample.roles]
        for role, row, images in zip(sample.roles, self.rows, sample.images, strict=True):
            for kind, node, image in zip((_("sensor"), _("network"), _("truth")), row, images, strict=True):
                _fill(node, role, image, sample.pixel_mm)
                # Short, as the views show no more than the ends of a long name.
                node.SetName(f"{role.upper()} {kind} {sample.iteration}")
                told = _("Validation of the training at iteration {iteration}: {kind}.")
                node.SetDescription(told.format(iteration=sample.iteration, kind=kind))
        return made

    def remove(self) -> None:
        """Take the volumes out of the scene."""
        from MSLFusionLib.scene import hierarchy

        for node in (node for row in self.rows for node in row):
            if slicer.mrmlScene.IsNodePresent(node):
                hierarchy.remove_node(slicer.mrmlScene, node)
        self.rows = []


def _new_volume() -> Any:
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName("training")
    node.SetSaveWithScene(False)
    return slicer.mrmlScene.AddNode(node)


def _fill(node: Any, role: str, image: np.ndarray, pixel_mm: float) -> None:
    """Voxels in HU for CT, else as the network has them; the rows of the image run from front to back."""
    from MSLFusionLib.physics.units import network_to_hu
    from MSLFusionLib.scene.colors import Display, show_as

    values = network_to_hu(image) if role == "ct" else image
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(values[None], np.float32))
    height, width = image.shape
    node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    node.SetSpacing(pixel_mm, pixel_mm, pixel_mm)
    node.SetOrigin((width - 1) / 2 * pixel_mm, (height - 1) / 2 * pixel_mm, 0.0)
    if node.GetDisplayNode() is None:
        show_as(node, Display.CT if role == "ct" else Display.UNIT)
        node.GetDisplayNode().SetSaveWithScene(False)
