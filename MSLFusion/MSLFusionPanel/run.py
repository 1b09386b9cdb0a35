"""What one Apply gave, and how it comes into the scene."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from MSLFusionPanel.session import OpenSession
from MSLFusionPanel.task import later

if TYPE_CHECKING:
    import SimpleITK as sitk

LAMBDA_ATTRIBUTE = "MSLFusion.Lambda"
MODEL_ATTRIBUTE = "MSLFusion.Model"
SYNTHESISED_ATTRIBUTE = "MSLFusion.Synthesised"


@dataclass(frozen=True, eq=False)
class Hybrid:
    """The volume (z, y, x) in [0, 1] at lambda `lam`, None for a map."""

    array: np.ndarray
    lam: float | None


@dataclass(frozen=True, eq=False)
class Run:
    """Session, hybrid and the sweep's nodes (scene.sequences.LambdaSweep), None without one."""

    session: OpenSession
    hybrid: Hybrid
    sweep: Any = None


def image_of(session: OpenSession, array: np.ndarray) -> "sitk.Image":
    """An array of the session's shape as an image on the results' grid."""
    from MSLFusionLib.recon.geometry import VolumeGeometry

    return VolumeGeometry.from_dict(session.geometry).image(array)


def sweep_steps(session: OpenSession, volumes: list[tuple[float, np.ndarray]]) -> Generator[Any, Any, Any]:
    """Steps of a task: a sweep in the scene from (lambda, array) pairs, which are used up; gives the LambdaSweep.

    One volume per turn of the event loop; what is there is removed when the task is cancelled.
    """
    from MSLFusionLib.scene.sequences import LambdaSweep

    sweep = LambdaSweep(slicer.mrmlScene, _title(_("Sweep"), session))
    done = False
    try:
        while volumes:
            lam, array = volumes.pop(0)
            sweep.add(lam, image_of(session, array))
            yield later()
        done = True
    finally:
        if not done:
            for node in (sweep.browser, sweep.proxy, sweep.sequence):
                slicer.mrmlScene.RemoveNode(node)
    return sweep


def show_run(run: Run, node: Any, beside: Iterable[Any] = ()) -> Any:
    """Put a run into the scene: its hybrid into `node` or a new one, all in one folder; returns the hybrid's node.

    beside: nodes that belong into the folder too.
    """
    from MSLFusionLib.scene.colors import Display, show_as
    from MSLFusionLib.scene.volumes import node_from_image, update_node

    image = image_of(run.session, run.hybrid.array)
    if node is None:
        node = node_from_image(slicer.mrmlScene, image, _title(_("Hybrid"), run.session))
    else:
        node.SetAndObserveTransformNodeID(None)  # the results lie in the world
        update_node(node, image)
        node.CreateDefaultDisplayNodes()
    show_as(node, Display.UNIT)
    describe(node, run.session, run.hybrid.lam)
    place(run, node, [*beside, *([run.sweep.proxy] if run.sweep is not None else [])])
    return node


def describe(node: Any, session: OpenSession, lam: float | None) -> None:
    """Write on a hybrid's node what it is."""
    node.SetAttribute(LAMBDA_ATTRIBUTE, "map" if lam is None else f"{lam:g}")
    node.SetAttribute(MODEL_ATTRIBUTE, session.model.name)
    node.SetAttribute(SYNTHESISED_ATTRIBUTE, session.synthesised)


def place(run: Run, hybrid: Any, nodes: Iterable[Any]) -> None:
    """Put the hybrid and other nodes of its run into its subject hierarchy folder, which tells the run's parameters."""
    from MSLFusionLib.scene import hierarchy

    folder = _folder(run, hybrid)
    hierarchy.move_into(slicer.mrmlScene, folder, [hybrid, *nodes])


def parameters_of(run: Run) -> dict[str, Any]:
    """What the run was made with, JSON-able, in the words of run.json where it has them."""
    session = run.session
    inputs = session.inputs
    return {
        "Run": "reconstruct",
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "model": session.model.name,
        "model_version": str(session.model.card.get("version", "")),
        "device": session.model.device_name,
        "modalities": list(inputs.modalities),
        "synthesised": session.synthesised or "",
        "plan": inputs.plan,
        "sensors": "file" if inputs.sensors is not None else "simulated",
        "sampling": session.achieved,
        "lambda": "map" if run.hybrid.lam is None else run.hybrid.lam,
        "grid": session.geometry,
    }


def _folder(run: Run, hybrid: Any) -> int:
    """The folder that the hybrid lies in already, with new parameters, or a new one."""
    from MSLFusionLib.scene import hierarchy

    scene = slicer.mrmlScene
    tree = scene.GetSubjectHierarchyNode()
    item = tree.GetItemByDataNode(hybrid)
    parent = tree.GetItemParent(item) if item else 0
    if parent and "Run" in hierarchy.run_parameters(scene, parent):
        hierarchy.describe_run(scene, parent, parameters_of(run))
        return int(parent)
    return hierarchy.run_folder(scene, _("MSL Fusion run"), parameters_of(run))


def _title(word: str, session: OpenSession) -> str:
    """A node's name, which says so where a modality is synthesised."""
    if session.synthesised is None:
        return word
    return _("{word} ({modality} synthesised)").format(word=word, modality=session.synthesised.upper())
