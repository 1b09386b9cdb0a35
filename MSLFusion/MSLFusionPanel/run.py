"""What one Apply gave, and how it comes into the scene."""

import os
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
SWEEP_ROLE = "MSLFusion.Sweep"
"""Node reference from a hybrid to the sequence of its run."""


@dataclass(frozen=True, eq=False)
class Hybrid:
    """The volume (z, y, x) in [0, 1] at lambda `lam`, None for a map."""

    array: np.ndarray
    lam: float | None


@dataclass(frozen=True, eq=False)
class Run:
    """Session, hybrid, the sweep's nodes (scene.sequences.LambdaSweep) and trust maps (trust.Trust), None without."""

    session: OpenSession
    hybrid: Hybrid
    sweep: Any = None
    trust: Any = None


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
            remove_sweep(sweep.sequence)
    return sweep


def remove_sweep(sequence: Any) -> None:
    """Remove the sequence of a sweep with its browser and the volume that shows it."""
    from MSLFusionLib.scene import hierarchy

    browsers = [one for one in _browsers() if one.IsSynchronizedSequenceNode(sequence, True)]
    shown = [browser.GetProxyNode(sequence) for browser in browsers]
    for node in (*browsers, *shown, sequence):
        if node is not None:
            hierarchy.remove_node(slicer.mrmlScene, node)


def shows_a_sequence(node: Any) -> bool:
    """Whether the volume node is what a sequence browser shows of a sequence: the browser writes into it."""
    return any(browser.IsProxyNode(node.GetID()) for browser in _browsers())


def show_run(run: Run, node: Any, beside: Iterable[Any] = ()) -> Any:
    """Put a run into the scene: its hybrid into `node` or a new one, all in one folder; returns the hybrid's node.

    A sweep that lay beside this hybrid is replaced by the run's. beside: nodes that belong into the folder too.
    """
    from MSLFusionLib.scene.colors import Display, show_as
    from MSLFusionLib.scene.volumes import node_from_image, update_node

    image = image_of(run.session, run.hybrid.array)
    if node is None:
        node = node_from_image(slicer.mrmlScene, image, _title(_("Hybrid"), run.session))
        show_as(node, Display.UNIT)
    else:
        node.SetAndObserveTransformNodeID(None)  # the results lie in the world
        update_node(node, image)
        if node.GetAttribute(LAMBDA_ATTRIBUTE) is None or node.GetDisplayNode() is None:
            show_as(node, Display.UNIT)  # else window and level stay as the user set them
        _rename(node, run.session)
    nodes = [*beside]
    if run.sweep is not None:
        before = node.GetNodeReference(SWEEP_ROLE)
        if before is not None:
            remove_sweep(before)
        node.SetNodeReferenceID(SWEEP_ROLE, run.sweep.sequence.GetID())
        nodes.append(run.sweep.proxy)
    from MSLFusionLib.scene import hierarchy

    folder = _folder_of(node)
    if folder:
        hierarchy.describe_run(slicer.mrmlScene, folder, parameters_of(run))
    else:
        folder = hierarchy.run_folder(slicer.mrmlScene, _("MSL Fusion run"), parameters_of(run))
    hierarchy.move_into(slicer.mrmlScene, folder, [node, *nodes])
    describe(node, run.session, run.hybrid.lam)
    return node


def describe(node: Any, session: OpenSession, lam: float | None) -> None:
    """Write on a hybrid's node, and on the folder of its run, at which lambda it is now, and what it was made by."""
    from MSLFusionLib.scene import hierarchy

    node.SetAttribute(LAMBDA_ATTRIBUTE, _lam(lam))
    node.SetAttribute(MODEL_ATTRIBUTE, session.model.name)
    node.SetAttribute(SYNTHESISED_ATTRIBUTE, session.synthesised)
    folder = _folder_of(node)
    if folder:
        hierarchy.describe_run(slicer.mrmlScene, folder, {"lambda": _lam(lam)})


def place(hybrid: Any, nodes: Iterable[Any]) -> None:
    """Put more nodes of a run into the folder of its hybrid."""
    from MSLFusionLib.scene import hierarchy

    folder = _folder_of(hybrid)
    if folder:  # else the user has moved it
        hierarchy.move_into(slicer.mrmlScene, folder, nodes)


def parameters_of(run: Run) -> dict[str, Any]:
    """What the run was made with, JSON-able, in the words of run.json where it has them."""
    session = run.session
    inputs = session.inputs
    return {
        "Run": "reconstruct",
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "ct": _name(inputs.ct),
        "mr": _name(inputs.mr),
        "sensors": "file" if inputs.sensors is not None else "raw files" if inputs.raw else "simulated",
        "sensors_file": ", ".join(map(os.path.basename, inputs.files)),
        "plan": inputs.plan,
        "sampling": session.achieved,
        "modalities": list(inputs.modalities),
        "synthesised": session.synthesised or "",
        "model": session.model.name,
        "model_version": str(session.model.card.get("version", "")),
        "device": session.model.device_name,
        "consistency": inputs.consistency,
        "familiarity": session.familiarity,
        "trust": {} if run.trust is None else run.trust.figures,
        "lambda": _lam(run.hybrid.lam),
        "registration": session.registration,
        "grid": session.geometry,
    }


def _lam(lam: float | None) -> str:
    return "map" if lam is None else f"{lam:g}"


def _name(node: Any) -> str:
    return "" if node is None else str(node.GetName())


def _folder_of(node: Any) -> int:
    """The folder of a run that the node lies in, 0 where there is none."""
    from MSLFusionLib.scene import hierarchy

    scene = slicer.mrmlScene
    parent = hierarchy.place_of(scene, node)
    return parent if parent and "Run" in hierarchy.run_parameters(scene, parent) else 0


def _browsers() -> list[Any]:
    scene, name = slicer.mrmlScene, "vtkMRMLSequenceBrowserNode"
    return [scene.GetNthNodeByClass(i, name) for i in range(scene.GetNumberOfNodesByClass(name))]


def _title(word: str, session: OpenSession) -> str:
    """A node's name, which says so where a modality is synthesised."""
    return word + _mark(session.synthesised)


def _mark(modality: str | None) -> str:
    return "" if modality is None else _(" ({modality} synthesised)").format(modality=modality.upper())


def _rename(node: Any, session: OpenSession) -> None:
    """Let a volume that is filled again say in its name what is synthesised now; the rest of the name stays."""
    name = str(node.GetName())
    for modality in ("ct", "mr"):
        name = name.replace(_mark(modality), "")
    name += _mark(session.synthesised)
    if name != node.GetName():
        node.SetName(name)
