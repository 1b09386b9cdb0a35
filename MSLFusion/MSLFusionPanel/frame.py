"""What the panels of both modules have in common: sections over one parameter node, the scene they follow, one job."""

import logging
from collections.abc import Callable, Generator
from typing import Any, ClassVar

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from MSLFusionPanel.heights import FreshHeight
from MSLFusionPanel.messages import Messages
from MSLFusionPanel.section import Section
from MSLFusionPanel.task import Task

Steps = Generator[Any, Any, Any]


class Frame(VTKObservationMixin):
    """A panel: its widgets, its messages, its sections, its parameter node.

    Everything that changes calls `changed`; once the event loop turns, `update` shows the present state. So nothing
    depends on the order in which things change, and a scene that is closed or replaced needs no special case.

    A panel fills `sections` in its constructor; the logic has `worker`, `getParameterNode` and `cleanup`.
    NODES: all parameters that are nodes: pack and name. ALIGNED: what stands before fields beside the labels.
    """

    NODES: ClassVar[tuple[tuple[str, str], ...]] = ()
    ALIGNED: ClassVar[tuple[str, ...]] = ()

    def __init__(self, root: Any, ui: Any, logic: Any) -> None:
        VTKObservationMixin.__init__(self)
        self.root = root
        self.ui = ui
        self.logic = logic
        self.parameters: Any = None
        self.updating = False
        self.entered = False
        self.messages = Messages(ui)
        self.task: Task | None = None
        self.task_owner: Any = None
        self.task_title = ""
        self.sections: list[Section] = []
        self._percent: int | None = None
        self._gui_tag: Any = None
        self._due = False
        self._ended = False
        self._fresh_height = FreshHeight()
        self._measured: Any = None

    def setup(self) -> None:
        """Connect everything."""
        self._align_labels()
        self._measured = self.root.parentWidget()
        if self._measured is not None:
            self._measured.installEventFilter(self._fresh_height)
        self._let_keys_reach_selectors()
        for section in self.sections:
            section.setup()
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._scene_closes)
        self.addObserver(scene, scene.EndCloseEvent, self._scene_ready)
        self.addObserver(scene, scene.EndImportEvent, self._scene_ready)
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self._node_leaves)
        self.addObserver(scene, scene.NodeAddedEvent, self.changed)
        self.addObserver(scene, scene.NodeRemovedEvent, self.changed)
        self.logic.worker.on_change.append(self.changed)
        self.logic.worker.on_message.append(self.tell)
        self._set_parameters(self.logic.getParameterNode())

    def enter(self) -> None:
        """The module is shown."""
        self.entered = True
        if self.parameters is None:
            self._set_parameters(self.logic.getParameterNode())
        for section in self.sections:
            section.enter()
        self.changed()

    def exit(self) -> None:
        """Another module is shown: what runs goes on."""
        self.entered = False
        for section in self.sections:
            section.exit()

    def cleanup(self) -> None:
        """The module ends."""
        self._ended = True
        self.cancel()
        for section in self.sections:
            section.cleanup()
        self._set_parameters(None)
        if self._measured is not None:
            self._measured.removeEventFilter(self._fresh_height)
        self.removeObservers()
        self.logic.worker.on_change.clear()
        self.logic.worker.on_message.clear()
        self.logic.cleanup()

    def changed(self, *_arguments: Any) -> None:
        """Something changed: `update` is called once, when the event loop turns."""
        if not self._due and not self._ended:
            self._due = True
            qt.QTimer.singleShot(0, self._update_when_due)

    def update(self) -> None:
        """Bring every section up to date, now."""
        if self.parameters is None or self._ended:
            return
        self.updating = True
        try:
            for section in self.sections:
                if section.applies():
                    section.update()
                else:
                    section.withdraw()
        finally:
            self.updating = False

    def tell(self, sentence: str) -> None:
        """A sentence for the user's log."""
        logging.info("MSL Fusion: %s", sentence)

    def run(
        self,
        owner: Any,
        steps: Steps,
        done: Callable[[Any], None],
        failed: Callable[[str], None],
        title: str,
        cancelled: Callable[[], None] = lambda: None,
    ) -> None:
        """Run the one long job: `owner` is the button that becomes Cancel meanwhile; steps: see task.Task.

        title: of the job, in progress and log; while it runs `task_title` may say more.

        Exactly one of done(value), failed(sentence) and cancelled() is called.
        """
        if self.task is not None:
            raise RuntimeError("there is another job already")
        self.task_owner, self.task_title = owner, title
        self.tell(_("{title} started.").format(title=title))

        def ended(tell: str, call: Callable[[], None]) -> None:
            self.task = self.task_owner = self._percent = None
            self.draw_progress(None)
            self.tell(tell)
            try:
                call()
            finally:
                self.changed()

        self.task = Task(
            self.logic.worker,
            steps,
            on_done=lambda value: ended(_("{title} is done.").format(title=title), lambda: done(value)),
            on_failed=lambda sentence: ended(
                _("{title} failed: {sentence}").format(title=title, sentence=sentence), lambda: failed(sentence)
            ),
            on_cancelled=lambda: ended(_("{title} was cancelled.").format(title=title), cancelled),
            on_progress=lambda *progress: self.show_progress(self.task_title, *progress),
            on_warning=self.tell,
        )
        self.draw_progress(title)
        self.changed()
        self.task.start()

    def show_progress(
        self,
        title: str,
        stage: str | None = None,
        done: int | None = None,
        total: int | None = None,
        seconds_left: float | None = None,
    ) -> None:
        """How far the long job is: at its button, and where `draw_progress` shows it."""
        self._percent = round(100 * done / total) if done is not None and total else None
        self.task_owner.text = self.cancel_text()
        self.draw_progress(title, stage, done, total, seconds_left)

    def draw_progress(
        self,
        title: str | None,
        stage: str | None = None,
        done: int | None = None,
        total: int | None = None,
        seconds_left: float | None = None,
    ) -> None:
        """Show how far the long job is beside its button; no title: there is none any more."""

    def cancel_text(self) -> str:
        """What the button of the long job shows: how far it is can be seen wherever the panel is scrolled to."""
        return _("Cancel") if self._percent is None else _("Cancel ({percent} %)").format(percent=self._percent)

    def cancel(self) -> None:
        """Stop the long job; the scene is as it was."""
        if self.task is not None:
            self.task.cancel()

    def runs(self, owner: Any) -> bool:
        """Whether the long job belongs to this button."""
        return self.task is not None and self.task_owner is owner

    def scene_left(self) -> None:
        """The scene is being closed: forget what belonged to it, before the sections do."""

    def _align_labels(self) -> None:
        """One width for the labels of all fields, so that the fields of all sections begin at one place."""
        names = [name for name in vars(self.ui) if name.endswith("Label")]
        labels = [getattr(self.ui, name) for name in (*names, *self.ALIGNED)]
        width = max(label.sizeHint.width() for label in labels)
        for label in labels:
            label.minimumWidth = width

    def _let_keys_reach_selectors(self) -> None:
        """Slicer's node selectors pass the focus on to themselves, who never take it: Tab would leave them out."""
        for selector in vars(self.ui).values():
            if selector.inherits("qMRMLNodeComboBox"):
                for box in (child for child in selector.children() if child.inherits("QComboBox")):
                    box.setFocusProxy(None)
                    box.setFocusPolicy(qt.Qt.StrongFocus)
                    selector.setFocusProxy(box)

    def _update_when_due(self) -> None:
        self._due = False
        try:
            self.update()
        except Exception:
            logging.exception("MSL Fusion: the panel could not be brought up to date")

    def _scene_closes(self, *_arguments: Any) -> None:
        self.cancel()
        self._set_parameters(None)
        self.scene_left()
        for section in self.sections:
            section.scene_closed()

    def _scene_ready(self, *_arguments: Any) -> None:
        if self.entered or self.parameters is not None:
            self._set_parameters(self.logic.getParameterNode())

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_leaves(self, _scene: Any, _event: str, node: Any) -> None:
        """Nothing is chosen where the node was: Slicer's selectors would go on to another one by themselves."""
        if self.parameters is None:
            return
        for pack_name, name in self.NODES:
            pack = getattr(self.parameters, pack_name)
            if getattr(pack, name) is node:
                setattr(pack, name, None)
        for section in self.sections:
            section.node_leaves(node)

    def _set_parameters(self, parameters: Any) -> None:
        if self.parameters is not None:
            self.parameters.disconnectGui(self._gui_tag)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.changed)
        self.parameters = parameters
        self._gui_tag = None
        if parameters is not None:
            self.updating = True
            try:
                self._gui_tag = parameters.connectGui(self.ui)
            finally:
                self.updating = False
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.changed)
            self.changed()
