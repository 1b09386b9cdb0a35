"""Section 3: what the simulated scanners measure, or the files with what was measured; images of the data alone."""

from collections.abc import Generator, Mapping
from functools import partial
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionLib.client import Assembler
from MSLFusionLib.errors import InputError, JobError
from MSLFusionPanel import install, layouts, paths, sensornode
from MSLFusionPanel.chosenfiles import ChosenFiles, chosen_files
from MSLFusionPanel.inputs import Inputs, collect, plan
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.parameters import Mask, Modalities, SensorSource
from MSLFusionPanel.question import Question
from MSLFusionPanel.run import image_of
from MSLFusionPanel.section import Section
from MSLFusionPanel.sensorwords import (
    described_in_words,
    description_text,
    every_image_name,
    image_names,
    kspace_in_words,
    remote_path,
    views_in_words,
)
from MSLFusionPanel.session import OpenSession, open_session
from MSLFusionPanel.task import ask
from MSLFusionPanel.words import as_sentence, size_in_words

IMAGE_ROLES = {"fbp": "MSLFusion.SparseViewFBP", "zero-filled": "MSLFusion.ZeroFilledMR"}
"""Node references of the parameter node to the sensor images of the last time."""
PICTURE_ROLES = {"sinogram": "MSLFusion.Sinogram", "k-space": "MSLFusion.KSpace"}
"""Node references of the parameter node to the pictures of a sinogram and of k-space."""

_BEFORE = ("ctMessage", "mrMessage", "dataMessage", "alignedMessage", "registerMessage")
"""Labels of the sections above, whose errors sensor images cannot do without."""
_CT_WIDGETS = ("viewsSpinBox", "scanSelector", "ctNoiseCheckBox", "photonsSpinBox")
_MR_WIDGETS = ("accelerationSpinBox", "maskSelector", "mrNoiseCheckBox", "kspaceNoiseSpinBox")
_BUTTONS = ("sensorImagesButton", "sensorPicturesButton")
_PATHS = {"sensorsFilePath": "file", "sinogramPath": "sinogram", "kspacePath": "kspace"}
"""Fields for paths, and the parameters that keep them."""


class SensorsSection(Section):
    """Simulated sampling or files with measured data, and which modalities are used of it."""

    def setup(self) -> None:
        """Connect the widgets."""
        ui = self.ui
        self._question = Question(self.logic.worker, self._answered)
        self._files = ChosenFiles()
        self._failure = ""
        self._tips = {name: getattr(ui, name).toolTip for name in (*_CT_WIDGETS, *_MR_WIDGETS, "seedSpinBox")}
        self._tips |= {name: getattr(ui, name).toolTip for name in (*_BUTTONS, *_PATHS)}
        for name, parameter in _PATHS.items():
            paths.listen(self, getattr(ui, name), partial(self._take_path, parameter))
        self.on(ui.sensorImagesButton, "clicked()", self.show_images)
        self.on(ui.sensorPicturesButton, "clicked()", self.show_pictures)
        ui.importedSelector.addAttribute(sensornode.CLASS, sensornode.CHOICE)
        self.on(ui.importedSelector, "nodeActivated(vtkMRMLNode*)", self._take_node)

    def applies(self) -> bool:
        """It is MSL's."""
        return self.parameters.choice.method is Method.MSL

    def enter(self) -> None:
        """A file that could not be looked at is looked at again."""
        self._retry()

    def scene_closed(self) -> None:
        """What failed belonged to the scene."""
        self._failure = ""

    def update(self) -> None:
        """Show what is measured, and what cannot be."""
        source = self.parameters.sensors.source
        simulated = source is SensorSource.SIMULATE
        self.ui.simulateFrame.setVisible(simulated)
        self.ui.sensorsFileFrame.setVisible(source is SensorSource.FILE)
        self.ui.rawFrame.setVisible(source is SensorSource.RAW)
        self.ui.sensorPicturesButton.setVisible(not simulated)
        self._update_enabled()
        self._update_files()
        problem = self.problem()
        self.ui.sensorsInfo.text = self._plan_in_words() if simulated and not problem else ""
        self.ui.sensorsInfo.setVisible(bool(self.ui.sensorsInfo.text))
        for name, where in (("sensorsFileInfo", SensorSource.FILE), ("rawInfo", SensorSource.RAW)):
            label = getattr(self.ui, name)
            label.text = self._file_in_words() if source is where else ""
            label.setVisible(bool(label.text))
        if problem:
            self.message("sensorsMessage", problem, "needed" if self._files.needed else "error")
        else:
            self.message("sensorsMessage", self._failure or self._trouble(), "failure")
        self._update_remark()
        self._update_buttons()

    def problem(self) -> str:
        """Why these settings cannot be used; empty when they can."""
        if self.parameters.sensors.source is not SensorSource.SIMULATE:
            return self._file_problem()
        width = self.panel.model.columns()
        if width is None or "mr" not in self.parameters.sensors.modalities.names():
            return ""
        try:
            self._columns(width)
        except InputError as error:
            return as_sentence(str(error))
        return ""

    def sampling(self) -> tuple[dict[str, Any], tuple[str, ...]] | None:
        """Settings for `cards.outside_training` and the modalities measured; None while a file is not known."""
        sensors = self.parameters.sensors
        if sensors.source is SensorSource.SIMULATE:
            return plan(sensors), sensors.modalities.names()
        found = self._description()
        if found is None:
            return None
        planned = found.get("plan")
        noise = planned if isinstance(planned, Mapping) else {}
        settings = {key: noise.get(key) for key in ("photons", "kspace_sigma")}
        settings |= {**found["achieved"], "pixel_mm": found.get("pixel_mm")}
        return settings, tuple(name for name in sensors.modalities.names() if name in found["modalities"])

    def show_images(self) -> None:
        """What the sensor data give without the network, in the scene; Cancel while it runs."""
        button = self.ui.sensorImagesButton
        if self.panel.runs(button):
            self.panel.cancel()
            return
        self._failure = self._missing(ask_user=True)
        if self._failure:
            self.panel.changed()
            return
        self._retry()
        inputs = collect(self.parameters)
        self.panel.run(button, self._image_steps(inputs), self._show, self._failed, _("Making sensor images"))

    def _image_steps(self, inputs: Inputs) -> Generator[Any, Any, tuple[OpenSession, dict[str, Any]]]:
        session = yield from open_session(self.logic, inputs)
        volumes = Assembler(session.shape, session.slice_axis)
        yield ask("sensor_images", session=session.number, on_part=volumes.add)
        if not volumes.volumes:
            raise JobError(_("Nothing but background was found in the volume: check the CT and the MR."))
        return session, volumes.volumes

    def _show(self, made: tuple[OpenSession, dict[str, Any]]) -> None:
        """Put the images into the scene, in place of those of the last time, and side by side into the views."""
        if self.panel.parameters is None:
            return
        from MSLFusionLib.scene.colors import Display, show_as
        from MSLFusionLib.scene.volumes import node_from_image, update_node

        session, arrays = made
        keeper = self.parameters.parameterNode
        nodes = {}
        for kind, name in image_names(session.achieved, session.inputs.raw).items():
            if kind not in arrays:
                continue
            image = image_of(session, arrays[kind])
            node = keeper.GetNodeReference(IMAGE_ROLES[kind])
            if node is None:
                node = node_from_image(slicer.mrmlScene, image, name)
                keeper.SetNodeReferenceID(IMAGE_ROLES[kind], node.GetID())
            else:
                node.SetAndObserveTransformNodeID(None)  # the images lie in the world
                update_node(node, image)
                node.CreateDefaultDisplayNodes()
                if node.GetName() in every_image_name():  # else the user has named it
                    node.SetName(name)
            show_as(node, Display.UNIT)
            nodes[kind] = node
        self._into_folder(list(nodes.values()))
        layouts.side_by_side(nodes.get("fbp"), nodes.get("zero-filled"), None)

    def _into_folder(self, nodes: list[Any]) -> None:
        """Beside the hybrid of the last run, where there is one."""
        from MSLFusionLib.scene import hierarchy

        hybrid = self.parameters.output.hybrid
        tree = slicer.mrmlScene.GetSubjectHierarchyNode()
        item = tree.GetItemByDataNode(hybrid) if hybrid is not None else 0
        folder = tree.GetItemParent(item) if item else 0
        if folder and hierarchy.run_parameters(slicer.mrmlScene, folder):
            hierarchy.move_into(slicer.mrmlScene, folder, nodes)

    def _failed(self, sentence: str) -> None:
        self._failure = as_sentence(sentence)

    def show_pictures(self) -> None:
        """The measured sinogram and k-space themselves, in the scene; Cancel while it runs."""
        button = self.ui.sensorPicturesButton
        if self.panel.runs(button):
            self.panel.cancel()
            return
        self._failure = self._missing(ask_user=True)
        if self._failure:
            self.panel.changed()
            return
        self._retry()
        request = {key: value for key, value in self._files.request.items() if key != "coils"}
        self.panel.run(button, _picture_steps(request), self._show_pictures, self._failed, _("Reading sensor data"))

    def _show_pictures(self, arrays: dict[str, Any]) -> None:
        if self.panel.parameters is None:
            return
        from MSLFusionLib.scene import hierarchy, scans

        keeper, nodes = self.parameters.parameterNode, {}
        names = {"sinogram": _("Sinogram (bins x views)"), "k-space": _("k-space (kx x ky, dB)")}
        for kind, planes in arrays.items():
            role = PICTURE_ROLES[kind]
            node = scans.picture_node(slicer.mrmlScene, kind, planes, names[kind], keeper.GetNodeReference(role))
            keeper.SetNodeReferenceID(role, node.GetID())
            nodes[kind] = node
        kept = sensornode.current(self.parameters)
        if kept is not None:
            hierarchy.move_below(slicer.mrmlScene, kept, list(nodes.values()))
        layouts.side_by_side(nodes.get("sinogram"), nodes.get("k-space"), None)

    def _update_buttons(self) -> None:
        shown = self.panel.messages
        before = [shown.text(label) for label in _BEFORE if shown.blocks(label)]
        own = self.problem()
        whole = next((one for one in (*before, own, self.panel.model.problem()) if one), "")
        pictures = own if self._file_is_bad() else ""
        for name, text, reason in (
            ("sensorImagesButton", _("Show sensor images"), whole),
            ("sensorPicturesButton", _("Show sinogram and k-space"), pictures),
        ):
            button = getattr(self.ui, name)
            if self.panel.runs(button):
                button.text, button.enabled = self.panel.cancel_text(), True
                button.toolTip = _("Stop; the scene stays as it was.")
                continue
            if self.panel.task is not None:
                reason = _("Another job is running: wait for it or cancel it.")
            button.text = text
            button.enabled = not reason
            button.toolTip = reason or self._tips[name]

    def _update_enabled(self) -> None:
        sensors = self.parameters.sensors
        names = sensors.modalities.names()
        ct, mr = "ct" in names, "mr" in names
        drawn = (mr and (sensors.mask is not Mask.OFFICIAL or sensors.mrNoise)) or (ct and sensors.ctNoise)
        unused = {name: _("Not used: the CT is not measured.") for name in _CT_WIDGETS if not ct}
        unused |= {name: _("Not used: the MR is not measured.") for name in _MR_WIDGETS if not mr}
        if not sensors.ctNoise:
            unused.setdefault("photonsSpinBox", _("Not used: no noise is added to the projections."))
        if not sensors.mrNoise:
            unused.setdefault("kspaceNoiseSpinBox", _("Not used: no noise is added to k-space."))
        if not drawn:
            unused["seedSpinBox"] = _("Not used: nothing is drawn at random.")
        for name in (*_CT_WIDGETS, *_MR_WIDGETS, "seedSpinBox"):
            widget = getattr(self.ui, name)
            widget.enabled = name not in unused
            widget.toolTip = unused.get(name, self._tips[name])
            label = getattr(self.ui, f"{name}Label", None)
            if label is not None:
                label.enabled = widget.enabled

    def _columns(self, width: int) -> tuple[int, int]:
        """How many columns of k-space are measured, of how many; raises InputError when that cannot be done."""
        from MSLFusionLib.physics.masks import cartesian_mask

        sensors = self.parameters.sensors
        return cartesian_mask(width, sensors.acceleration, sensors.mask.value, sensors.seed).kept, width

    def _plan_in_words(self) -> str:
        sensors = self.parameters.sensors
        names = sensors.modalities.names()
        parts = []
        noise = _(" with noise")
        if "ct" in names:
            parts.append(views_in_words(sensors.views, sensors.scan.value) + (noise if sensors.ctNoise else ""))
        if "mr" in names:
            width = self.panel.model.columns()
            share = kspace_in_words(sensors.acceleration, self._columns(width) if width is not None else None)
            parts.append(share + (noise if sensors.mrNoise and sensors.kspaceNoise > 0 else ""))
        return _("Measured: {what}.").format(what=_("; ").join(parts))

    # The files.

    def _take_path(self, parameter: str, path: str) -> None:
        sensors = self.parameters.sensors
        if path != getattr(sensors, parameter):
            setattr(sensors, parameter, path)

    def _take_node(self, node: Any) -> None:
        """Sensor data of the scene were chosen."""
        if node is not None and node is not sensornode.current(self.parameters):
            sensornode.choose(node, self.parameters.sensors)

    def _update_files(self) -> None:
        sensors = self.parameters.sensors
        for name, parameter in _PATHS.items():
            widget, tip = getattr(self.ui, name), self._tips[name]
            paths.show(widget, getattr(sensors, parameter))
            widget.toolTip = tip if self._local() else f"{tip} {remote_path()}"
        self._files = chosen_files(sensors, self.logic.worker)
        if self._files.state is not None and not self._missing():
            self._question.ask(self._files.state, "describe_sensors", **self._files.request)
        both = bool(sensors.sinogram and sensors.kspace)
        self.ui.registerRawCheckBox.enabled = both
        self.ui.coilsSelector.enabled = self.ui.selectEdit.enabled = bool(sensors.kspace)
        imported = sensornode.nodes() if sensors.source is not SensorSource.SIMULATE else []
        for name in ("importedSelector", "importedSelectorLabel"):
            getattr(self.ui, name).setVisible(bool(imported))
        node = sensornode.current(self.parameters)
        if self.ui.importedSelector.currentNode() is not node:
            self.ui.importedSelector.setCurrentNode(node)

    def _answered(self) -> None:
        found = self._description()
        if found is not None and self.panel.parameters is not None:
            for name, parameter in _PATHS.items():
                widget, path = getattr(self.ui, name), getattr(self.parameters.sensors, parameter)
                if path and widget.currentPath == path and path in self._files.request.values():
                    paths.remember(self.panel, widget)
            sensornode.keep(self.parameters, description_text(found), found.get("outline"))
        self.panel.changed()

    def _local(self) -> bool:
        return self.logic.worker.where == "local"

    def _retry(self) -> None:
        """Ask again about files when the answer was no word on the files themselves."""
        if self._question.problem and not self._question.refused:
            self._question.forget()

    def _description(self) -> Mapping[str, Any] | None:
        """What the worker told of the present file, None as long as it is not known."""
        answer, state = self._question.answer, self._files.state
        return answer if state is not None and self._question.asked(state) else None

    def _file_is_bad(self) -> bool:
        """Whether the files themselves cannot be used, whatever is to be used of them."""
        refused = self._question.refused and self._question.asked(self._files.state)
        return bool(self._files.problem) or refused

    def _file_problem(self) -> str:
        if self._files.problem:
            return self._files.problem
        if self._file_is_bad():
            return self._question.problem
        sensors = self.parameters.sensors
        names = sensors.modalities.names()
        if sensors.source is SensorSource.RAW:
            given = {"ct": sensors.sinogram, "mr": sensors.kspace}
            if any(given[name] for name in names):
                return ""
            held, lacking = [name for name, path in given.items() if path], names
            sentence = _("No {missing} is chosen: choose “{other}” under Used, or a file.")
        else:
            found = self._description()
            if found is None:
                return ""
            held = found["modalities"]
            lacking = tuple(name for name in names if name not in held)
            sentence = _("The file holds no {missing}: choose “{other}” under Used, or another file.")
        missing = _(" and no ").join(name.upper() for name in lacking)
        return sentence.format(missing=missing, other=Modalities(held[0]).label()) if lacking else ""

    def _update_remark(self) -> None:
        """What is odd about the files, and what is synthesised because a file is missing."""
        sensors, found = self.parameters.sensors, self._description()
        remarks = list(found.get("warnings", ())) if found is not None else []
        if sensors.source is SensorSource.RAW and len(collect(self.parameters).modalities) == 1 and not self.problem():
            used = collect(self.parameters).modalities[0]
            other = "MR" if used == "ct" else "CT"
            remarks.append(_("Only the {used} was measured: the {other} is synthesised from it, and marked so.").format(
                used=used.upper(), other=other))  # fmt: skip
        self.message("sensorsRemark", " ".join(map(str, remarks)), "warning")

    def _missing(self, ask_user: bool = False) -> str:
        """Why the worker of this machine cannot read files or compute yet. ask_user: offer to install it."""
        if not self._local():
            return ""
        if ask_user:
            return install.ready(self.panel.tell)
        missing = self.panel.model.missing_packages()
        if not missing:
            return ""
        return _("{packages} must be installed first; Apply offers it.").format(packages=_(", ").join(missing))

    def _trouble(self) -> str:
        """Why the files could not be looked at, where that is not their fault."""
        return self._question.problem if self._files.state and self._question.asked(self._files.state) else ""

    def _file_in_words(self) -> str:
        found, words = self._description(), []
        if found is not None:
            words.append(described_in_words(found))
        elif self._files.size is not None:
            words += [size_in_words(self._files.size) + ".", self._missing()]
        if self._question.pending and self._files.state is not None:
            words.append(_("The worker looks into it ..."))
        if not self._local():
            words.append(remote_path())
        return " ".join(word for word in words if word)


def _picture_steps(request: Mapping[str, Any]) -> Generator[Any, Any, dict[str, Any]]:
    """Steps of a task: planes (slices, rows, columns) by kind."""
    import numpy as np

    parts: dict[str, list[Any]] = {}

    def add(part: Any) -> None:
        parts.setdefault(part.header["kind"], []).append(np.array(part.arrays["planes"], np.float32))

    yield ask("sensor_pictures", **request, on_part=add)
    return {kind: np.concatenate(planes) for kind, planes in parts.items()}
