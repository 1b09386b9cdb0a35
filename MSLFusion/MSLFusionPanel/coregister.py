"""Section 2: bring the second volume onto the grid of the first (MSL: the MR onto the CT), and look whether it fits."""

from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionLib.errors import JobError
from MSLFusionPanel.align import Found, align_steps, missing
from MSLFusionPanel.compare import Comparison
from MSLFusionPanel.inputs import made_from, mr_on_grid, needs_mr, same_grid
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.pairs import names
from MSLFusionPanel.parameters import Alignment, Modalities, SensorSource
from MSLFusionPanel.registered import REPORT_ATTRIBUTE, WARNINGS_ATTRIBUTE, Undo, show_found
from MSLFusionPanel.section import Section
from MSLFusionPanel.sliceviews import exchange
from MSLFusionPanel.words import as_sentence


class CoregisterSection(Section):
    """Method, outputs, Register <-> Cancel, Undo, and the comparison in the slice views."""

    def setup(self) -> None:
        """Connect the widgets."""
        self._undo: Undo | None = None
        self._failure = ""
        self._failed_with: Any = None
        self.comparison = Comparison(self)
        self.comparison.setup()
        self.on(self.ui.registerButton, "clicked()", self.register)
        self.on(self.ui.undoRegisterButton, "clicked()", self.undo)

    def update(self) -> None:
        """Messages, the report of the registration, what can be pressed."""
        if self._failed_with != self._asked():
            self._failure = ""
        need = self._need()
        aligned_problem, transform_problem = self._aligned_problem(), self._transform_problem()
        self.message("alignedMessage", aligned_problem)
        self.message("transformMessage", transform_problem, "warning")
        tell = self._failure or need or self._obstacle() or self._told(WARNINGS_ATTRIBUTE)
        kinds = ("error" if need else "failure", "needed" if need else "warning")
        self.message("registerMessage", tell, kinds[0] if self._failure else kinds[1])
        self.message("registerInfo", self._report(), "info")
        self._update_buttons(aligned_problem or transform_problem)
        self.comparison.update()

    def scene_closed(self) -> None:
        """The nodes that Undo knew are gone."""
        self.forget()
        self.comparison.scene_closed()

    def forget(self) -> None:
        """Another pair has been chosen with another method: what was done belongs to the one before."""
        self._undo = None
        self._failure = ""

    def cleanup(self) -> None:
        """Give the slice views back as they were."""
        self.comparison.cleanup()

    def register(self) -> None:
        """Register, or Cancel while it runs."""
        if self.panel.runs(self.ui.registerButton):
            self.panel.cancel()
            return
        self._failure = ""
        data, method = self.parameters.data, self.parameters.coregister.method
        ct, mr = data.ct, data.mr
        title, words = _("Registration"), names(self.parameters)
        grid = _grid_state(ct)

        def progress(percent: int) -> None:
            # 0: a module that tells no progress; the bar shows that something is going on.
            self.panel.show_progress(title, "register", percent, 100 if percent > 0 else 0)

        def stopping() -> bool:
            return self.panel.task is None or self.panel.task.stopping

        def steps() -> Any:
            found = yield from align_steps(method, ct, mr, progress, stopping)
            scene = slicer.mrmlScene
            if not scene.IsNodePresent(ct) or not scene.IsNodePresent(mr):
                sentence = _("The {fixed} or the {moving} was removed meanwhile: the result was not used.")
                raise JobError(sentence.format(fixed=words.fixed, moving=words.moving))
            if _grid_state(ct) != grid:
                sentence = _("The {fixed} was changed meanwhile: the result was not used.")
                raise JobError(sentence.format(fixed=words.fixed))
            return found

        self.panel.run(self.ui.registerButton, steps(), lambda found: self._show(found, ct, mr), self._failed, title)

    def undo(self) -> None:
        """Take the last registration back."""
        if self._undo is not None and self._undo.possible() and self.panel.task is None:
            mr, aligned = self.parameters.data.mr, self.parameters.coregister.aligned
            if mr is not None and aligned is not None:
                exchange(aligned, mr)
            self._undo.apply(self.parameters)
            self.panel.tell(_("The registration was taken back."))
        self._undo = None
        self.panel.changed()

    def _show(self, found: Found, ct: Any, mr: Any) -> None:
        if self.panel.parameters is None:
            return
        self._undo = show_found(found, ct, mr, self.parameters)
        exchange(mr, self.parameters.coregister.aligned)
        for warning in found.warnings:
            self.panel.tell(as_sentence(warning))

    def _failed(self, sentence: str) -> None:
        self._failure = as_sentence(sentence)
        self._failed_with = self._asked() if self.panel.parameters is not None else None

    def _asked(self) -> Any:
        """What a failure belongs to: it is forgotten when this changes."""
        data, coregister = self.parameters.data, self.parameters.coregister
        return (_id(data.ct), _id(data.mr), coregister.method)

    def _need(self) -> str:
        """Why the reconstruction cannot do without a registration; empty when it can."""
        parameters = self.parameters
        ct, mr, aligned = parameters.data.ct, parameters.data.mr, parameters.coregister.aligned
        method, words = parameters.choice.method, names(parameters)
        if method is Method.CMF_NET:  # which resamples by itself where nothing was registered
            return ""
        simulated = parameters.sensors.source is SensorSource.SIMULATE
        if method is Method.MSL and not (simulated and needs_mr(parameters)):
            return ""
        if not _filled(ct) or not _filled(mr) or mr_on_grid(parameters) is not None:
            return ""
        if aligned is not None and not made_from(aligned, ct, mr):
            return _("The volume “{name}” was made from another {fixed} or {moving}: register again.").format(
                name=aligned.GetName(), fixed=words.fixed, moving=words.moving
            )
        if aligned is not None and not same_grid(aligned, ct):
            return _("The volume “{name}” is not on the {fixed}'s grid any more: register again.").format(
                name=aligned.GetName(), fixed=words.fixed
            )
        if method is Method.FUSION:
            return _(
                "The second volume is not on the first one's grid: register it, or choose the method “{resample}” "
                "where both lie rightly."
            ).format(resample=Alignment.ALIGNED.label())
        return _("The MR is not on the CT's grid: register it, or choose “{ct_only}” below.").format(
            ct_only=Modalities.CT.label()
        )

    def _obstacle(self) -> str:
        """Why the chosen method cannot be used, beside missing data, which section 1 tells of."""
        from MSLFusionLib.scene.volumes import keeps_its_grid

        ct = self.parameters.data.ct
        if _filled(ct) and ct.GetParentTransformNode() is not None and not keeps_its_grid(ct):
            sentence = _("The {fixed} is under a transform that warps or shears it: harden that transform first.")
            return sentence.format(fixed=names(self.parameters).fixed)
        return missing(self.parameters.coregister.method)

    def _aligned_problem(self) -> str:
        parameters = self.parameters
        aligned = parameters.coregister.aligned
        words = names(parameters)
        taken = {
            words.fixed: parameters.data.ct,
            words.moving: parameters.data.mr,
            _("lambda volume"): parameters.lam.volume,
        }
        for name, node in taken.items():
            if aligned is not None and aligned is node:
                return _("This is the {name}: choose another volume for the resampled {moving}, or a new one.").format(
                    name=name, moving=words.moving
                )
        return ""

    def _transform_problem(self) -> str:
        data, transform = self.parameters.data, self.parameters.coregister.transform
        if transform is None:
            return ""
        if not transform.IsLinear():
            return _("This transform is not linear: choose another one, or a new one.")
        words = names(self.parameters)
        for name, node in ((words.fixed, data.ct), (words.moving, data.mr)):
            if node is not None and transform in _transforms_above(node):
                return _(
                    "The {name} is under this transform: to register again, choose another one or a new one."
                ).format(name=name)
        return ""

    def _report(self) -> str:
        parameters = self.parameters
        ct, mr, aligned = parameters.data.ct, parameters.data.mr, parameters.coregister.aligned
        used = mr_on_grid(parameters)
        if used is None or ct is None:
            return ""
        if used is aligned:
            return self._told(REPORT_ATTRIBUTE)
        if used is not mr or ct is mr:
            return ""
        sentence, words = (
            _("The {moving} lies on the {fixed}'s grid already: there is nothing to do."),
            names(parameters),
        )
        return sentence.format(fixed=words.fixed, moving=words.moving)

    def _told(self, attribute: str) -> str:
        """What the registration that is in use left on its volume."""
        aligned = self.parameters.coregister.aligned
        if aligned is None or mr_on_grid(self.parameters) is not aligned:
            return ""
        return aligned.GetAttribute(attribute) or ""

    def _update_buttons(self, problem: str) -> None:
        button, undo = self.ui.registerButton, self.ui.undoRegisterButton
        busy = self.panel.task is not None
        undo.enabled = not busy and self._undo is not None and self._undo.possible()
        if self.panel.runs(button):
            button.text, button.enabled = self.panel.cancel_text(), True
            button.toolTip = _("Stop; the scene stays as it was.")
            return
        button.text = _("Register")
        reason = _("Another job is running: wait for it or cancel it.") if busy else ""
        reason = reason or self._no_data() or problem or self._obstacle()
        button.enabled = not reason
        tip, words = _("Bring the {moving} onto the {fixed}; while it runs, cancel."), names(self.parameters)
        button.toolTip = reason or tip.format(fixed=words.fixed, moving=words.moving)

    def _no_data(self) -> str:
        ct, mr = self.parameters.data.ct, self.parameters.data.mr
        words = names(self.parameters)
        if not _filled(ct) or not _filled(mr):
            return _("Choose {fixed} and {moving} in section 1.").format(fixed=words.fixed, moving=words.moving)
        if ct is mr:
            return _("{fixed} and {moving} are the same volume: choose two.").format(
                fixed=words.fixed_field, moving=words.moving
            )
        messages = self.panel.messages  # of section 1, which is brought up to date before this one
        bad = [label for label in ("ctMessage", "mrMessage", "dataMessage") if messages.blocks(label)]
        return messages.text(bad[0]) if bad else ""


def _filled(node: Any) -> bool:
    return node is not None and node.GetImageData() is not None


def _grid_state(node: Any) -> tuple[Any, ...]:
    """Changes when the node's grid does; a changed voxel does not matter to where the MR lies."""
    import vtk

    from MSLFusionLib.scene.volumes import matrix_array

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    data, parent = node.GetImageData(), node.GetParentTransformNode()
    above = None if parent is None else (parent.GetID(), parent.GetTransformToWorldMTime())
    return (None if data is None else data.GetDimensions(), matrix_array(matrix).tobytes(), above)


def _transforms_above(node: Any) -> list[Any]:
    above: list[Any] = []
    parent = node.GetParentTransformNode()
    while parent is not None:
        above.append(parent)
        parent = parent.GetParentTransformNode()
    return above


def _id(node: Any) -> str | None:
    return None if node is None else node.GetID()
