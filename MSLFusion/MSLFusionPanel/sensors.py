"""Section 3: what the simulated scanners measure, or the file with what was measured; images of the data alone."""

import os
import stat
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionLib.client import Assembler
from MSLFusionLib.errors import InputError, JobError
from MSLFusionPanel import install, layouts, paths
from MSLFusionPanel.inputs import Inputs, collect, plan
from MSLFusionPanel.parameters import Mask, Modalities, SensorSource
from MSLFusionPanel.question import Question
from MSLFusionPanel.run import image_of
from MSLFusionPanel.section import Section
from MSLFusionPanel.session import OpenSession, open_session
from MSLFusionPanel.task import ask
from MSLFusionPanel.words import as_sentence, grid_in_words, share_in_words, size_in_words

HDF5_START = b"\x89HDF\r\n\x1a\n"
IMAGE_ROLES = {"fbp": "MSLFusion.SparseViewFBP", "zero-filled": "MSLFusion.ZeroFilledMR"}
"""Node references of the parameter node to the sensor images of the last time."""

_BEFORE = ("ctMessage", "mrMessage", "dataMessage", "alignedMessage", "registerMessage")
"""Labels of the sections above, whose errors sensor images cannot do without."""
_CT_WIDGETS = ("viewsSpinBox", "scanSelector", "ctNoiseCheckBox", "photonsSpinBox")
_MR_WIDGETS = ("accelerationSpinBox", "maskSelector", "mrNoiseCheckBox", "kspaceNoiseSpinBox")


@dataclass(frozen=True)
class _File:
    """What can be seen of the chosen file without the worker.

    problem: why it cannot be used. state: what the worker is asked about; None when there is nothing to be asked.
    """

    path: str = ""
    problem: str = ""
    state: tuple[Any, ...] | None = None
    size: int | None = None


class SensorsSection(Section):
    """Simulated sampling or a sensors file, and which modalities are used of it."""

    def setup(self) -> None:
        """Connect the widgets."""
        ui = self.ui
        self._question = Question(self.logic.worker, self._answered)
        self._file = _File()
        self._failure = ""
        self._tips = {name: getattr(ui, name).toolTip for name in (*_CT_WIDGETS, *_MR_WIDGETS, "seedSpinBox")}
        self._tips |= {name: getattr(ui, name).toolTip for name in ("sensorImagesButton", "sensorsFilePath")}
        paths.listen(self, ui.sensorsFilePath, self._take_path)
        self.on(ui.sensorImagesButton, "clicked()", self.show_images)

    def enter(self) -> None:
        """A file that could not be looked at is looked at again."""
        self._retry()

    def scene_closed(self) -> None:
        """What failed belonged to the scene."""
        self._failure = ""

    def update(self) -> None:
        """Show what is measured, and what cannot be."""
        simulated = self.parameters.sensors.source is SensorSource.SIMULATE
        self.ui.simulateFrame.setVisible(simulated)
        self.ui.sensorsFileFrame.setVisible(not simulated)
        self._update_enabled()
        self._update_file()
        problem = self.problem()
        self.ui.sensorsInfo.text = self._plan_in_words() if simulated and not problem else ""
        self.ui.sensorsInfo.setVisible(bool(self.ui.sensorsInfo.text))
        self.ui.sensorsFileInfo.text = "" if simulated else self._file_in_words()
        self.ui.sensorsFileInfo.setVisible(bool(self.ui.sensorsFileInfo.text))
        if problem:
            self.message("sensorsMessage", problem, "error" if simulated or self.parameters.sensors.file else "needed")
        else:
            self.message("sensorsMessage", self._failure or self._trouble(), "failure")
        self._update_button()

    def problem(self) -> str:
        """Why these settings cannot be used; empty when they can."""
        if self.parameters.sensors.source is SensorSource.FILE:
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
        for kind, name in (("fbp", _("Sparse-view FBP")), ("zero-filled", _("Zero-filled MR"))):
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

    def _update_button(self) -> None:
        button = self.ui.sensorImagesButton
        if self.panel.runs(button):
            button.text, button.enabled = self.panel.cancel_text(), True
            button.toolTip = _("Stop; the scene stays as it was.")
            return
        shown = self.panel.messages
        errors = [shown.text(label) for label in _BEFORE if shown.blocks(label)]
        reason = next((one for one in (*errors, self.problem(), self.panel.model.problem()) if one), "")
        if self.panel.task is not None:
            reason = _("Another job is running: wait for it or cancel it.")
        button.text = _("Show sensor images")
        button.enabled = not reason
        button.toolTip = reason or self._tips["sensorImagesButton"]

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
            parts.append(_views(sensors.views, sensors.scan.value) + (noise if sensors.ctNoise else ""))
        if "mr" in names:
            width = self.panel.model.columns()
            share = _kspace(sensors.acceleration, self._columns(width) if width is not None else None)
            parts.append(share + (noise if sensors.mrNoise and sensors.kspaceNoise > 0 else ""))
        return _("Measured: {what}.").format(what=_("; ").join(parts))

    # The file.

    def _take_path(self, path: str) -> None:
        if path != self.parameters.sensors.file:
            self.parameters.sensors.file = path

    def _update_file(self) -> None:
        sensors, widget = self.parameters.sensors, self.ui.sensorsFilePath
        path = sensors.file
        paths.show(widget, path)
        tip = self._tips["sensorsFilePath"]
        widget.toolTip = tip if self._local() else f"{tip} {_remote_path()}"
        self._file = self._seen(path) if sensors.source is SensorSource.FILE else _File()
        if self._file.state is not None and not self._missing():
            self._question.ask(self._file.state, "describe_sensors", path)

    def _answered(self) -> None:
        if self._description() is not None and self.ui.sensorsFilePath.currentPath == self._file.path:
            paths.remember(self.panel, self.ui.sensorsFilePath)
        self.panel.changed()

    def _local(self) -> bool:
        return self.logic.worker.where == "local"

    def _retry(self) -> None:
        """Ask again about a file when the answer was no word on the file itself."""
        if self._question.problem and not self._question.refused:
            self._question.forget()

    def _seen(self, path: str) -> _File:
        worker = self.logic.worker
        if not path:
            return _File(path, _("Choose a sensors file, or simulate the scanners on the volumes."))
        if not self._local():
            return _File(path, "", (worker.where, worker.generation, path) if worker.state == "running" else None)
        if not os.path.isabs(path):
            return _File(path, _("Give the whole path of the sensors file."))
        try:
            found = os.stat(path)
            if stat.S_ISDIR(found.st_mode):
                return _File(path, _("{path} is a folder: choose a sensors file (.h5).").format(path=path))
            if not stat.S_ISREG(found.st_mode):
                return _File(path, _("{path} is not a file: choose a sensors file (.h5).").format(path=path))
            with open(path, "rb") as file:
                start = file.read(len(HDF5_START))
        except FileNotFoundError:
            problem = _("The sensors file {path} does not exist: choose another one.")
            return _File(path, problem.format(path=path))
        except (OSError, ValueError) as error:
            problem = _("The sensors file {path} cannot be read: {reason}.")
            return _File(path, problem.format(path=path, reason=getattr(error, "strerror", None) or error))
        if start != HDF5_START:
            problem = _("{path} is not a sensors file: choose one that “mslfusion simulate” has written.")
            return _File(path, problem.format(path=path))
        return _File(path, "", ("local", path, found.st_size, found.st_mtime_ns), found.st_size)

    def _description(self) -> Mapping[str, Any] | None:
        """What the worker told of the present file, None as long as it is not known."""
        answer, state = self._question.answer, self._file.state
        return answer if state is not None and self._question.asked(state) else None

    def _file_problem(self) -> str:
        if self._file.problem:
            return self._file.problem
        if self._question.refused and self._question.asked(self._file.state):
            return self._question.problem
        found = self._description()
        if found is None:
            return ""
        held = found["modalities"]
        missing = [name.upper() for name in self.parameters.sensors.modalities.names() if name not in held]
        if missing:
            sentence = _("The file holds no {missing}: choose “{other}” under Used, or another file.")
            other = Modalities(held[0]).label()
            return sentence.format(missing=_(" and no ").join(missing), other=other)
        return ""

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
        """Why the file could not be looked at, where that is not the file's fault."""
        return self._question.problem if self._file.state and self._question.asked(self._file.state) else ""

    def _file_in_words(self) -> str:
        found, words = self._description(), []
        if found is not None:
            words.append(described_in_words(found))
        elif self._file.size is not None:
            words += [size_in_words(self._file.size) + ".", self._missing()]
        if self._question.pending and self._file.state is not None:
            words.append(_("The worker looks into it ..."))
        if not self._local():
            words.append(_remote_path())
        return " ".join(word for word in words if word)


def described_in_words(found: Mapping[str, Any]) -> str:
    """What a sensors file holds, from the worker's description of it."""
    achieved, geometry = found["achieved"], found.get("geometry") or {}
    lines = []
    if "size" in geometry and "spacing_mm" in geometry:
        lines.append(
            _("{modalities} for a volume of {grid}").format(
                modalities=_(" and ").join(name.upper() for name in found["modalities"]),
                grid=grid_in_words(geometry["size"], geometry["spacing_mm"]),
            )
        )
    if "ct" in achieved:
        lines.append(_views(achieved["ct"]["views"], achieved["ct"].get("scan", "")))
    if "mr" in achieved:
        mr = achieved["mr"]
        lines.append(_kspace(mr.get("acceleration"), (mr["columns"], mr["of"]) if "of" in mr else None))
        if mr.get("coils", 1) != 1:
            lines.append(_("{n} coils").format(n=mr["coils"]))
    lines.append(_("simulated") if found.get("plan") else _("measured"))
    return _("; ").join(lines) + "."


def _views(views: int, scan: str) -> str:
    words = _("1 view") if views == 1 else _("{n} views").format(n=views)
    arcs = {"full": _("over a full turn"), "short": _("over a short scan"), "limited": _("over a limited angle")}
    return f"{words} {arcs[scan]}" if scan in arcs else words


def _kspace(acceleration: float | None, columns: Sequence[int] | None) -> str:
    share = _("part of k-space") if acceleration is None else share_in_words(acceleration)
    if columns is None:
        return share
    return _("{share} ({kept} of {all} columns)").format(share=share, kept=columns[0], all=columns[1])


def _remote_path() -> str:
    return _("The path is one of the machine that the worker runs on.")
