"""Slicer's General Registration (BRAINSFit), run beside the application as its own module runs it."""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from MSLFusionLib.errors import Cancelled, JobError
from MSLFusionPanel.hidden import hidden_node, remove
from MSLFusionPanel.task import wait_for
from MSLFusionPanel.words import last_line

_SAMPLED = 0.02
"""Share of the voxels that is looked at; the module's own default, 0.002, is too little for a head."""
_LINEAR_WITHIN_MM = 0.05


def available() -> bool:
    """Whether the module is loaded; it is not when Slicer was started with --disable-cli-modules."""
    return getattr(slicer.modules, "brainsfit", None) is not None


def brains_steps(
    fixed: Any, moving: Any, affine: bool, points: np.ndarray, progress: Callable[[int], None]
) -> Generator[Any, Any, np.ndarray]:
    """Steps of a task: the matrix (4, 4) from fixed to moving points in LPS.

    fixed, moving: SimpleITK images. points: where the result is read, see transforms.linear_fit. progress: percent.
    """
    run = GeneralRegistration(fixed, moving, affine, progress)
    try:
        yield wait_for(lambda resume, _fail: run.start(resume))
        return run.matrix(points)
    finally:
        run.close()


class GeneralRegistration:
    """One run, on hidden copies: the module puts its moving volume under the transform it finds, which must not
    happen to the user's MR, and it overlooks the transforms that the user's volumes are under."""

    def __init__(self, fixed: Any, moving: Any, affine: bool, progress: Callable[[int], None]) -> None:
        self._affine = affine
        self._progress = progress
        self._resume: Callable[[], None] = lambda: None
        self._cli: Any = None
        self._observer: int | None = None
        self._closed = False
        self._fixed, self._moving = _copy(fixed, "MSL Fusion CT"), _copy(moving, "MSL Fusion MR")
        transform = hidden_node("vtkMRMLLinearTransformNode", "MSL Fusion registration")
        self._transform = slicer.mrmlScene.AddNode(transform)
        self._untouched = self._transform.GetTransformToWorldMTime()

    def start(self, resume: Callable[[], None]) -> None:
        """Begin; `resume` is called when the module ended, well or not."""
        import slicer.cli

        self._resume = resume
        parameters = {
            "fixedVolume": self._fixed,
            "movingVolume": self._moving,
            "linearTransform": self._transform,
            "useRigid": True,
            "useAffine": self._affine,
            "samplingPercentage": _SAMPLED,
            # CT and MR of one patient often have unequal origins: the heads' centres of mass are a start for all.
            "initializeTransformMode": "useMomentsAlign",
        }
        self._cli = slicer.cli.run(slicer.modules.brainsfit, None, parameters, update_display=False)
        if self._cli is None:
            raise JobError(_("General Registration could not be started; try another method."))
        self._observer = self._cli.AddObserver(vtk.vtkCommand.ModifiedEvent, self._changed)
        self._changed()  # it may have failed already

    def matrix(self, points: np.ndarray) -> np.ndarray:
        """What was found; raises JobError when the module failed, Cancelled when it was stopped elsewhere."""
        from MSLFusionLib.scene.transforms import linear_fit

        status = self._cli.GetStatus()
        if status & self._cli.Cancelled:
            raise Cancelled
        if status & self._cli.ErrorsMask or not status & self._cli.Completed:
            raise JobError(_("General Registration failed: {text}").format(text=last_line(self._cli.GetErrorText())))
        if self._transform.GetTransformToWorldMTime() == self._untouched:
            raise JobError(_("General Registration gave no transform; try another method."))
        matrix, off = linear_fit(self._transform, points)
        if off > _LINEAR_WITHIN_MM:
            raise JobError(_("General Registration gave a transform that is not linear."))
        return matrix

    def close(self) -> None:
        """Stop it if it runs, and take everything out of the scene: at once, or when Slicer has let go of it."""
        self._closed = True
        if self._cli is None or not self._cli.IsBusy():
            self._remove()
        elif self._cli.GetStatus() != self._cli.Completing:  # else its results are being read: they need their nodes
            self._cli.Cancel()

    def _changed(self, *_arguments: Any) -> None:
        if self._cli.IsBusy():
            if not self._closed:
                self._progress(self._cli.GetProgress())
        elif self._observer is not None:
            self._cli.RemoveObserver(self._observer)
            self._observer = None
            if self._closed:
                self._remove()
            else:
                self._resume()

    def _remove(self) -> None:
        for node in (self._moving, self._fixed, self._transform, self._cli):
            remove(node)


def _copy(image: Any, name: str) -> Any:
    from MSLFusionLib.scene.volumes import update_node

    node = hidden_node("vtkMRMLScalarVolumeNode", name)
    update_node(node, image)
    return slicer.mrmlScene.AddNode(node)
