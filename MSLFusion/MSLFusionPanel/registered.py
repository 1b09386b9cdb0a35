"""How an MR that was brought onto a CT comes into the scene, and how that is taken back."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from MSLFusionPanel.align import Found
from MSLFusionPanel.hidden import remove
from MSLFusionPanel.inputs import FIXED_ROLE, MOVING_ROLE
from MSLFusionPanel.pairs import Names, names
from MSLFusionPanel.words import as_sentence

if TYPE_CHECKING:
    from MSLFusionPanel.parameters import MSLFusionParameterNode

REPORT_ATTRIBUTE = "MSLFusion.Registration"
"""On the resampled MR: what was done, in words."""
WARNINGS_ATTRIBUTE = "MSLFusion.RegistrationWarnings"
"""On the resampled MR: why it should be looked at, in words."""


@dataclass(eq=False)
class Undo:
    """What one registration made and replaced."""

    made: list[Any] = field(default_factory=list)
    replaced: list["_Before"] = field(default_factory=list)
    chosen: tuple[Any, Any] = (None, None)

    def possible(self) -> bool:
        """Whether the nodes are still there."""
        nodes = [*self.made, *(before.node for before in self.replaced)]
        return all(slicer.mrmlScene.IsNodePresent(node) for node in nodes)

    def apply(self, parameters: "MSLFusionParameterNode") -> None:
        """Take it back."""
        for node in self.made:
            remove(node)
        for before in self.replaced:
            before.restore()
        aligned, transform = (_present(node) for node in self.chosen)
        parameters.coregister.aligned = aligned
        parameters.coregister.transform = transform


class _Before:
    """The content of a volume or transform node that is about to be replaced."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self._volume = bool(node.IsA("vtkMRMLVolumeNode"))
        self._matrix = vtk.vtkMatrix4x4()
        if self._volume:
            node.GetIJKToRASMatrix(self._matrix)
            self._data = node.GetImageData()
        else:
            node.GetMatrixTransformToParent(self._matrix)
        self._parent = node.GetParentTransformNode()
        self._references = {role: node.GetNodeReference(role) for role in _roles(node)}
        self._told = {name: node.GetAttribute(name) for name in (REPORT_ATTRIBUTE, WARNINGS_ATTRIBUTE)}

    def restore(self) -> None:
        """Put it back."""
        node = self.node
        modifying = node.StartModify()
        if self._volume:
            node.SetIJKToRASMatrix(self._matrix)
            node.SetAndObserveImageData(self._data)
        else:
            node.SetMatrixTransformToParent(self._matrix)
        node.SetAndObserveTransformNodeID(_id(_present(self._parent)))
        for role, other in self._references.items():
            node.SetNodeReferenceID(role, _id(_present(other)))
        for name, sentences in self._told.items():
            node.SetAttribute(name, sentences)
        node.EndModify(modifying)


def show_found(found: Found, ct: Any, mr: Any, parameters: "MSLFusionParameterNode") -> Undo:
    """Put the result into the chosen nodes, or new ones, and choose these."""
    aligned, transform = (_present(node) for node in chosen_outputs(parameters))
    undo = Undo(chosen=(aligned, transform))
    if found.matrix is not None:
        if transform is None:
            transform = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLLinearTransformNode", _unique(names(parameters).transform)
            )
            undo.made.append(transform)
        else:
            undo.replaced.append(_Before(transform))
        _fill_transform(transform, found.matrix, ct, mr)
    if aligned is None:
        aligned = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", _unique(names(parameters).on_grid))
        undo.made.append(aligned)
    else:
        undo.replaced.append(_Before(aligned))
    _fill_volume(aligned, found, ct, mr)
    aligned.SetAttribute(REPORT_ATTRIBUTE, report(found, mr, aligned, transform, names(parameters)))
    aligned.SetAttribute(WARNINGS_ATTRIBUTE, " ".join(as_sentence(warning) for warning in found.warnings) or None)
    parameters.coregister.aligned = aligned
    parameters.coregister.transform = transform
    return undo


def chosen_outputs(parameters: "MSLFusionParameterNode") -> tuple[Any, Any]:
    """The chosen volume and transform."""
    return parameters.coregister.aligned, parameters.coregister.transform


def report(found: Found, mr: Any, aligned: Any, transform: Any, words: Names) -> str:
    """What was done, for the user."""
    sentences = []
    if found.matrix is None:
        sentence = _("Resampled on the {fixed}'s grid as it lay, without registration.")
        sentences.append(sentence.format(fixed=words.fixed))
    else:
        sentences.append(
            _(
                "{method}: the {moving} moved by {shift:.1f} mm (at the {fixed}'s centre), turned by {turn:.1f}°."
            ).format(
                method=found.method.label(),
                shift=found.shift_mm(),
                turn=found.turn_deg(),
                fixed=words.fixed,
                moving=words.moving,
            )
        )
    if found.metric is not None and found.overlap is not None:
        sentences.append(
            _("Mutual information {metric:.2f} nats, overlap {overlap:.0f} %.").format(
                metric=found.metric, overlap=100 * found.overlap
            )
        )
    sentences.append(_("Took {seconds:.0f} s.").format(seconds=max(1.0, found.seconds)))
    sentences.append(
        _("The sections below use “{aligned}”; “{mr}” itself stays where it is.").format(
            aligned=aligned.GetName(), mr=mr.GetName()
        )
    )
    if found.matrix is not None and _to_world(mr) is None:
        sentences.append(
            _("“{mr}” is under a warping transform: put that one under “{transform}” to move it.").format(
                mr=mr.GetName(), transform=transform.GetName()
            )
        )
    return " ".join(sentences)


def _fill_transform(node: Any, matrix: np.ndarray, ct: Any, mr: Any) -> None:
    """Make `node` the transform that shows the MR on the CT when the MR is put under it, in place of its parent."""
    from MSLFusionLib.scene.transforms import to_parent

    moves = to_parent(matrix)
    # The registration saw the MR in the world, where its parent transform had moved it already: who puts the MR under
    # `node` takes it from its parent, so `node` does both, first the parent's move, then that of the registration.
    before = _to_world(mr)
    if before is not None:
        moves = moves @ before
    whole = vtk.vtkMatrix4x4()
    whole.DeepCopy(moves.ravel())
    node.SetAndObserveTransformNodeID(None)
    node.SetMatrixTransformToParent(whole)
    node.SetNodeReferenceID(node.GetFixedNodeReferenceRole(), ct.GetID())
    node.SetNodeReferenceID(node.GetMovingNodeReferenceRole(), mr.GetID())


def _fill_volume(node: Any, found: Found, ct: Any, mr: Any) -> None:
    from MSLFusionLib.scene.volumes import vtk_image

    matrix = vtk.vtkMatrix4x4()
    ct.GetIJKToRASMatrix(matrix)
    modifying = node.StartModify()
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveImageData(vtk_image(np.asarray(found.array, np.float32)))
    node.SetAndObserveTransformNodeID(_id(ct.GetParentTransformNode()))
    node.SetNodeReferenceID(FIXED_ROLE, ct.GetID())
    node.SetNodeReferenceID(MOVING_ROLE, mr.GetID())
    node.EndModify(modifying)
    _show_like(node, mr, found.array)


def _show_like(node: Any, mr: Any, array: np.ndarray) -> None:
    """A new volume is shown as the MR is; one that was there keeps its display."""
    import SimpleITK as sitk

    from MSLFusionLib.scene.colors import Display, show_as

    if node.GetDisplayNode() is not None:
        return
    show_as(node, Display.MR, sitk.GetImageFromArray(array))
    shown, own = mr.GetDisplayNode(), node.GetDisplayNode()
    if shown is not None and shown.GetWindow() > 0 and not shown.GetAutoWindowLevel():
        own.SetWindowLevelMinMax(shown.GetWindowLevelMin(), shown.GetWindowLevelMax())


def _to_world(node: Any) -> np.ndarray | None:
    """The 4 x 4 matrix of all transforms above a node; None when they are not linear."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        return None
    from MSLFusionLib.scene.volumes import matrix_array

    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return matrix_array(matrix)


def _roles(node: Any) -> tuple[str, ...]:
    if node.IsA("vtkMRMLVolumeNode"):
        return FIXED_ROLE, MOVING_ROLE
    return node.GetFixedNodeReferenceRole(), node.GetMovingNodeReferenceRole()


def _present(node: Any) -> Any:
    return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None


def _id(node: Any) -> str | None:
    return None if node is None else node.GetID()


def _unique(name: str) -> str:
    from MSLFusionLib.scene.names import free_name

    return free_name(slicer.mrmlScene, name)
