"""Section 1: the two volumes (MSL: CT and MR), what they are, and samples."""

from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from MSLFusionPanel import fusable, layouts, samples
from MSLFusionPanel.inputs import needs_ct, needs_mr
from MSLFusionPanel.methodparameters import Kind, Method
from MSLFusionPanel.pairs import names
from MSLFusionPanel.parameters import SensorSource
from MSLFusionPanel.section import Section
from MSLFusionPanel.voxels import VoxelValues
from MSLFusionPanel.words import as_sentence, grid_in_words

_SPACING_MM = (0.01, 100.0)
_OBLIQUE_DEG = 3.0
_AIR_HU, _BONE_HU = -500.0, 300.0
"""A CT of anything has values below the first and above the second."""


class DataSection(Section, VTKObservationMixin):
    """Follows the chosen volumes, says what is wrong with them, loads samples."""

    def __init__(self, panel: Any) -> None:
        Section.__init__(self, panel)
        VTKObservationMixin.__init__(self)
        self._values = VoxelValues(panel.changed)
        self._watched: list[Any] = []
        self._texts: dict[str, tuple[str, str]] = {}

    def setup(self) -> None:
        """Connect the widgets."""
        for name, slot in (("sampleHeadButton", self.load_head), ("sampleRireButton", self.load_rire)):
            button = getattr(self.ui, name)
            self._texts[name] = (button.text, button.toolTip)
            self.on(button, "clicked()", slot)

    def update(self) -> None:
        """Show what was chosen and what is wrong with it."""
        parameters = self.parameters
        ct, mr = parameters.data.ct, parameters.data.mr
        self._watch([node for node in (ct, mr) if node is not None])
        for label, node in ((self.ui.ctInfo, ct), (self.ui.mrInfo, mr)):
            label.text = _in_words(node)
            label.setVisible(bool(label.text))
        fusion, measured = parameters.choice.method is Method.FUSION, self._target_is_measured()
        self.ui.ctSelectorLabel.setVisible(not measured)
        self.ui.ctSelector.setVisible(not measured)
        self.ui.ctInfo.setVisible(bool(self.ui.ctInfo.text) and not measured)
        self.ui.firstKindSelector.setVisible(fusion)
        self.ui.secondKindSelector.setVisible(fusion)
        self._update_messages(ct, mr)
        for name in self._texts:
            self._update_button(name)

    def scene_closed(self) -> None:
        """Forget the volumes."""
        self._watch([])
        self._values.forget()
        self.message("dataMessage")

    def cleanup(self) -> None:
        """Leave the volumes alone."""
        self._watch([])
        self._values.forget()

    def load_head(self) -> None:
        """Make the generated head, or cancel it."""
        self._load(self.ui.sampleHeadButton, samples.head_steps, samples.head_names(), _("The generated head"))

    def kind(self, place: int) -> str | None:
        """What the first (0) or second (1) volume to be fused is, "ct", "mr" or "pet"; None where that is not sure."""
        data, fusion = self.parameters.data, self.parameters.fusion
        node, said = ((data.ct, fusion.firstIs), (data.mr, fusion.secondIs))[place]
        if said is not Kind.AUTO:
            return said.value
        values = None if node is None or node.GetImageData() is None else self._values.of(node)
        return None if values is None or values.low < _AIR_HU else "mr"

    def makes_head(self) -> bool:
        """Whether the generated head is on its way."""
        return self.panel.runs(self.ui.sampleHeadButton)

    def load_rire(self) -> None:
        """Download the RIRE patient, or cancel it."""
        title = _("The RIRE patient")

        def progress(done: int, total: int) -> None:
            stage, megabytes = _("Download in MB"), max(1, round(total / 1e6))
            self.panel.draw_progress(title, stage, min(round(done / 1e6), megabytes), megabytes)

        def steps() -> Any:
            return samples.rire_steps(slicer.app.cachePath, progress)

        self._load(self.ui.sampleRireButton, steps, samples.rire_names(), title, samples.RIRE_LICENCE)

    def _load(self, button: Any, steps: Any, names: dict[str, str], title: str, licence: str = "") -> None:
        if self.panel.runs(button):
            self.panel.cancel()
            return
        if self.panel.task is not None:
            self.message("dataMessage", _busy(), "failure")
            return
        sentence = _("{title} is on its way; section {n} shows how far.")
        self.message(
            "dataMessage", sentence.format(title=title, n=self.panel.method.number("reconstructSection")), "info"
        )
        self.panel.run(
            button,
            steps(),
            lambda images: self._show(images, names, licence),
            self._failed,
            title,
            cancelled=lambda: self.message("dataMessage"),
        )

    def _show(self, images: samples.Images, names: dict[str, str], licence: str) -> None:
        """Put the sample into the scene and choose it."""
        self.message("dataMessage", as_sentence(licence), "info")
        if self.panel.parameters is None:
            return
        if self.parameters.choice.method is Method.CMF_NET:  # which needs two MR contrasts
            self.parameters.choice.method = Method.MSL
        nodes = samples.add_to_scene(images, names, licence)
        self.parameters.data.ct, self.parameters.data.mr = nodes["ct"], nodes["mr"]
        layouts.side_by_side(nodes["ct"], nodes["mr"], None)

    def _failed(self, sentence: str) -> None:
        self.message("dataMessage", as_sentence(sentence), "failure")

    def _watch(self, nodes: list[Any]) -> None:
        """Follow voxels, places and names of these nodes."""
        if nodes == self._watched:
            return
        self.removeObservers()
        self._watched = nodes
        for node in set(nodes):
            for event in (vtk.vtkCommand.ModifiedEvent, node.ImageDataModifiedEvent, node.TransformModifiedEvent):
                self.addObserver(node, event, self.panel.changed)

    def _update_messages(self, ct: Any, mr: Any) -> None:
        parameters, words = self.parameters, names(self.parameters)
        method, fusion = parameters.choice.method, parameters.fusion
        if method is Method.MSL and parameters.sensors.source is not SensorSource.SIMULATE:
            self.message("ctMessage")
            self.message("mrMessage")
            return
        ct_problem, mr_problem = self._problem(ct, fusion.firstIs), self._problem(mr, fusion.secondIs)
        if self._target_is_measured():
            ct = None
            ct_problem = ""
        if ct is None and needs_ct(parameters):
            ct_problem = _("Choose a CT volume, or load a sample.")
            if method is not Method.MSL:
                ct_problem = _("Choose the {name}.").format(name=words.fixed)
        if mr is None and needs_mr(parameters):
            mr_problem = _("Choose an MR volume, or load a sample.")
            if method is not Method.MSL:
                mr_problem = _("Choose the {name}.").format(name=words.moving)
        elif mr is not None and mr is ct:
            mr_problem = _("This is the {fixed} already: choose another volume for the {moving}.").format(
                fixed=words.fixed, moving=words.moving
            )
        if method is not Method.MSL:
            self.message("ctMessage", ct_problem or self._remark(ct, 0), _kind(ct, ct_problem))
            self.message("mrMessage", mr_problem or self._remark(mr, 1), _kind(mr, mr_problem))
            return
        remark = "" if ct is None or ct_problem else self._remark_on_ct(ct)
        swapped = remark and mr is not None and not mr_problem and self._looks_like_ct(mr)
        self.message("ctMessage", ct_problem or remark, _kind(ct, ct_problem))
        hint = _("This volume looks like a CT: were the two exchanged?") if swapped else ""
        self.message("mrMessage", mr_problem or hint, _kind(mr, mr_problem))

    def _target_is_measured(self) -> bool:
        """Whether there is no first volume: CMF-Net's target is a file with k-space."""
        return self.parameters.choice.method is Method.CMF_NET and not needs_ct(self.parameters)

    def _remark(self, node: Any, place: int) -> str:
        """What is odd about a volume of another method than MSL; place: 0 the first, 1 the second."""
        if node is None:
            return ""
        fusion = self.parameters.fusion
        if self.parameters.choice.method is Method.FUSION:
            return self._remark_on_ct(node) if (fusion.firstIs, fusion.secondIs)[place] is Kind.CT else ""
        return _("This volume looks like a CT, but an MR is needed.") if self._looks_like_ct(node) else ""

    def _problem(self, node: Any, kind: Kind) -> str:
        """Why a volume cannot be used; empty when it can, or is not known well enough yet."""
        if node is None:
            return ""
        problem = problem_of_grid(node)
        values = None if problem else self._values.of(node)
        if values is None:
            return problem
        if not values.finite:
            return _("Some voxels are no numbers (NaN or infinite): repair the volume first.")
        if values.low == values.high:
            return _("All voxels have the value {value:g}: this volume shows nothing.").format(value=values.low)
        return fusable.problem(node, values, kind) if self.parameters.choice.method is Method.FUSION else ""

    def _looks_like_ct(self, node: Any) -> bool | None:
        """Whether the values may be HU; None while they are not known."""
        values = self._values.of(node)
        return None if values is None else values.low < _AIR_HU and values.high > _BONE_HU

    def _remark_on_ct(self, ct: Any) -> str:
        values = self._values.of(ct)
        if values is None or self._looks_like_ct(ct):
            return ""
        return _("Values from {low:.4g} to {high:.4g} do not look like HU, where air is -1000 and water 0.").format(
            low=values.low, high=values.high
        )

    def _update_button(self, name: str) -> None:
        button = getattr(self.ui, name)
        running = self.panel.runs(button)
        text, tip = self._texts[name]
        button.text = self.panel.cancel_text() if running else text
        button.enabled = running or self.panel.task is None
        if running:
            tip = _("Stop; the scene stays as it was.")
        button.toolTip = tip if button.enabled else _busy()


def _kind(node: Any, problem: str) -> str:
    """What a message about a volume, chosen or not, is."""
    if not problem:
        return "warning"
    return "needed" if node is None else "error"


def _busy() -> str:
    return _("Another job is running: wait for it or cancel it.")


def _in_words(node: Any) -> str:
    """Size, spacing, orientation and transform of a volume in one line."""
    from MSLFusionLib.scene.volumes import slice_plane

    if node is None or node.GetImageData() is None:
        return ""
    plane, tilt = slice_plane(node)
    names = {"Axial": _("axial"), "Coronal": _("coronal"), "Sagittal": _("sagittal")}
    parts = [grid_in_words(node.GetImageData().GetDimensions(), node.GetSpacing())]
    parts.append(names[plane] if tilt < _OBLIQUE_DEG else _("oblique, near {plane}").format(plane=names[plane]))
    parent = node.GetParentTransformNode()
    if parent is not None:
        parts.append(_("under the transform “{name}”").format(name=parent.GetName()))
    return ", ".join(parts)


def problem_of_grid(node: Any) -> str:
    """Why a volume cannot be used, as far as can be told without its voxels."""
    from MSLFusionLib.scene.volumes import has_geometry

    data = node.GetImageData()
    if data is None or data.GetNumberOfPoints() == 0 or data.GetPointData().GetScalars() is None:
        return _("This volume has no voxels: load an image into it.")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        return _("This is a label map: choose the image itself.")
    if data.GetNumberOfScalarComponents() != 1:
        return _("This volume has several values per voxel (colour or vectors): choose one with a single value.")
    if min(data.GetDimensions()) < 2:
        return _("This is a single slice: a volume of at least two slices is needed.")
    low, high = _SPACING_MM
    if not all(low <= mm <= high for mm in node.GetSpacing()):  # NaN is not in there either
        return _("A spacing of {spacing} mm cannot be right: correct it in the module Volumes.").format(
            spacing=" x ".join(f"{mm:.3g}" for mm in node.GetSpacing())
        )
    if not np.isfinite(node.GetOrigin()).all():
        return _("The volume lies nowhere: its origin is no number. Correct it in the module Volumes.")
    if not has_geometry(node):
        return _("The volume is sheared or warped: harden its transform (module Transforms), or take it away.")
    return ""
