"""Rigid registration by the Elastix extension, where it is installed."""

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from MSLFusionLib.errors import Cancelled, JobError
from MSLFusionPanel.hidden import hidden_node, remove
from MSLFusionPanel.task import later
from MSLFusionPanel.words import last_line

_RIGID = ("Resources", "RegistrationParameters", "Parameters_Rigid.txt")
_LINEAR_WITHIN_MM = 0.05
_PAUSE_S = 0.01
_KEPT_OUTPUT = 4000


def available() -> bool:
    """Whether the extension's module can be imported."""
    if "Elastix" in sys.modules:
        return True
    return importlib.util.find_spec("Elastix") is not None


def elastix_steps(
    fixed: Any, moving: Any, points: np.ndarray, stopping: Callable[[], bool]
) -> Generator[Any, Any, np.ndarray]:
    """Steps of a task: the matrix (4, 4) from fixed to moving points in LPS.

    fixed, moving: SimpleITK images. points: where the result is read, see transforms.linear_fit. stopping: asked all
    the time, since the extension waits for its process inside of one call; the application goes on meanwhile.
    """
    from MSLFusionLib.scene.transforms import linear_fit
    from MSLFusionLib.scene.volumes import update_node

    nodes = []
    try:
        for image, name in ((fixed, "MSL Fusion CT"), (moving, "MSL Fusion MR")):
            nodes.append(hidden_node("vtkMRMLScalarVolumeNode", name))
            update_node(nodes[-1], image)
        nodes.append(hidden_node("vtkMRMLTransformNode", "MSL Fusion registration"))
        for node in nodes:
            slicer.mrmlScene.AddNode(node)
        ct, mr, transform = nodes
        yield later()
        _register(ct, mr, transform, stopping)
        yield later()
        matrix, off = linear_fit(transform, points)
        if off > _LINEAR_WITHIN_MM:
            raise JobError(_("Elastix gave a transform that is not linear."))
        return matrix
    finally:
        for node in nodes:
            remove(node)


def _register(fixed: Any, moving: Any, transform: Any, stopping: Callable[[], bool]) -> None:
    """Call the extension; its process is read in a way that keeps the application alive and hears Cancel."""
    from Elastix import ElastixLogic

    logic = ElastixLogic()
    parameters = os.path.join(logic.scriptPath, *_RIGID)
    if not os.path.isfile(parameters):
        raise JobError(_("The Elastix extension has no parameters for a rigid registration; try another method."))
    stopped = False

    def read(process: Any) -> None:
        nonlocal stopped
        output = _attend(process, stopping)
        stopped = stopped or output is None
        logic.cancelRequested = stopped
        if not stopped and process.returncode:
            raise JobError(_("Elastix failed: {text}").format(text=last_line(output or "")))

    logic.logProcessOutput = read
    try:
        logic.registerVolumes(
            fixed,
            moving,
            parameterFilenames=[parameters],
            outputTransformNode=transform,
            forceDisplacementFieldOutputTransform=False,
        )
    except JobError:
        raise
    except Exception as error:
        if not stopped:
            raise JobError(_("Elastix failed: {text}").format(text=error)) from error
    if stopped:
        raise Cancelled


def _attend(process: Any, stopping: Callable[[], bool]) -> str | None:
    """Read a process until it ends, with the event loop turning; None when it was stopped.

    The extension's own loop waits for whole lines, and the application stands still between them.
    """
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    output = b""
    while True:
        ended = process.poll() is not None
        try:
            data = os.read(pipe, 65536)
        except OSError:  # nothing there yet
            data = b""
        output = (output + data)[-_KEPT_OUTPUT:]
        if ended and not data:
            process.stdout.close()
            return output.decode(errors="replace")
        slicer.app.processEvents()
        if stopping():
            process.kill()
            process.wait()
            process.stdout.close()
            return None
        if not data:
            time.sleep(_PAUSE_S)
