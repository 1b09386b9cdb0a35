"""Section 5: how CT and MR are mixed, and what follows it at once."""

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError
from MSLFusionPanel import slices
from MSLFusionPanel.findlambda import FindLambda
from MSLFusionPanel.inputs import collect, volume_state
from MSLFusionPanel.lambdamap import lambda_state, map_steps, result_grid
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.overlay import Overlay
from MSLFusionPanel.paint import Paint
from MSLFusionPanel.parameters import LambdaMode
from MSLFusionPanel.preview import Preview
from MSLFusionPanel.section import Section
from MSLFusionPanel.task import Task

if TYPE_CHECKING:
    from MSLFusionPanel.panel import Panel

_SOON_MS = 30
_REST_MS = 300
_MAP_AXIS = 0


class LambdaSection(Section):
    """A number, painted regions or a volume; the preview and the overlay follow.

    Whatever changes starts nothing but two timers: the slices in view are brought up to date at once, but not more
    often than every `_SOON_MS`; after `_REST_MS` without a change, and with no mouse button held down, the volumes.
    """

    def __init__(self, panel: "Panel") -> None:
        super().__init__(panel)
        self.paint = Paint(self)
        self.search = FindLambda(self)
        self.preview = Preview(panel, self._soon)
        self.overlay = Overlay(panel)
        self._task: Task | None = None
        self._state: Any = None
        self._failed: Any = None
        self._checked: tuple[Any, str] = (None, "")
        self._unusable: tuple[Any, Any, str] = (None, None, "")
        self._observed: list[tuple[Any, Any, Any, int]] = []
        self._job = False
        self._ticked = 0.0
        self._timer = _timer(self._tick)
        self._rest = _timer(self._rested)

    def setup(self) -> None:
        """Connect the widgets."""
        self.paint.setup()
        self.search.setup()

    def applies(self) -> bool:
        """It is MSL's."""
        return self.parameters.choice.method is Method.MSL

    def withdraw(self) -> None:
        """Nothing follows lambda meanwhile."""
        super().withdraw()
        self._stop()

    def update(self) -> None:
        """Frames, table, messages; what follows is brought up to date a moment later."""
        lam = self.parameters.lam
        for mode, frame in (
            (LambdaMode.NUMBER, self.ui.numberFrame),
            (LambdaMode.PAINTED, self.ui.paintFrame),
            (LambdaMode.VOLUME, self.ui.volumeFrame),
        ):
            frame.setVisible(lam.mode is mode)
        self.ui.overlayOpacitySlider.enabled = lam.overlay
        self.paint.update(lam.segmentation, self.reference(), lam.mode is LambdaMode.PAINTED)
        problem = self._problem()
        if problem:
            self.message("lambdaMessage", problem, "needed" if isinstance(problem, _Needed) else "error")
        else:
            self.message("lambdaMessage", self.paint.complaint, "failure")
        self.message("previewInfo", self.preview.info(), "info")
        self.search.update()
        if self.panel.task is not None and not self._job and self._task is not None:
            self._task.cancel()  # what a long job asks of the worker goes first
        self._job = self.panel.task is not None
        self._observe()
        self._soon()

    def enter(self) -> None:
        """The module is shown."""
        self.paint.enter()

    def exit(self) -> None:
        """Another module is shown."""
        self.paint.exit()

    def scene_closed(self) -> None:
        """The nodes are gone."""
        self._stop()
        self._observe_only([])
        self.preview.forget()
        self.overlay.forget()
        self.paint.scene_closed()
        self.search.scene_closed()

    def cleanup(self) -> None:
        """The module ends."""
        self._stop()
        self._observe_only([])
        self.paint.cleanup()

    def hybrid_shows(self, state: Any) -> None:
        """Apply has decoded the output volume at this state of lambda (lambdamap.lambda_state)."""
        self._failed = None
        self.preview.hybrid_shows(state)
        self._soon()

    def reference(self) -> Any:
        """The volume node on whose grid is painted: the CT, or the MR where there is no CT."""
        return collect(self.parameters).reference or self.parameters.data.ct

    def _stop(self) -> None:
        self._timer.stop()
        self._rest.stop()
        self._state = self._failed = None
        if self._task is not None:
            self._task.cancel()

    def _soon(self, *_arguments: Any) -> None:
        if not self._timer.isActive():
            passed = round(1000 * (time.monotonic() - self._ticked))
            self._timer.start(max(0, _SOON_MS - passed))

    def _tick(self) -> None:
        """Bring the slices in view up to date, and see whether the volumes have to follow."""
        self._ticked = time.monotonic()
        if self.panel.parameters is None or not self.applies():
            return
        state = lambda_state(self.parameters)
        if state != self._state:
            self._state = state
            if self._task is not None:
                self._task.cancel()
            self._rest.start(_REST_MS)
        if self._problem():
            if not self.parameters.lam.overlay:
                self.overlay.hide()
            return
        if self.overlay.tick(state, self._grid()):
            self._soon()
        self.preview.tick(state)
        self.message("previewInfo", self.preview.info(), "info")
        if self._behind() and self._task is None and not self._rest.isActive():
            self._rest.start(_REST_MS)

    def _behind(self) -> bool:
        if self._failed == self._state or self._problem():
            return False
        return self.overlay.behind(self._state) or (self.panel.task is None and self.preview.behind(self._state))

    def _rested(self) -> None:
        """Nothing has changed for a while: the whole volumes follow."""
        if self.panel.parameters is None or self._task is not None or lambda_state(self.parameters) != self._state:
            return
        if pressed():
            self._rest.start(_REST_MS)
            return
        if not self._behind():
            return
        state = self._state

        def ended() -> None:
            self._task = None
            if self.panel.parameters is not None:
                self.panel.changed()

        def failed(sentence: str) -> None:
            self._failed = state
            self.preview.refused(state, sentence)
            ended()

        def progress(_stage: str, done: int, total: int, seconds_left: float | None) -> None:
            self.preview.progress(done, total, seconds_left)
            self.message("previewInfo", self.preview.info(), "info")

        self._task = Task(
            self.logic.worker,
            self._volume_steps(state),
            on_done=lambda _value: ended(),
            on_failed=failed,
            on_cancelled=ended,
            on_progress=progress,
        )
        self._task.start()

    def _volume_steps(self, state: Any) -> Generator[Any, Any, None]:
        session = self.preview.ready()
        axis = _MAP_AXIS if session is None else session.slice_axis
        grid = self._grid()
        try:
            lam = yield from map_steps(self.parameters, grid, axis)
        except InputError as error:  # found by looking at all of it
            self._unusable = (state, grid, _sentence(str(error)))
            return
        if self.overlay.behind(state):
            self.overlay.write(state, lam)
        if self.panel.task is None and self.preview.behind(state):
            yield from self.preview.steps(state, lam)

    def _grid(self) -> Any:
        """The grid of the results, None while there are none."""
        try:
            return result_grid(self.parameters, self.logic.valid_session(self.parameters))
        except InputError:  # section 1 says what is wrong with the volume
            return None

    def _observe(self) -> None:
        """Follow what changes without the parameter node knowing: paint, volume, slices."""
        lam = self.parameters.lam
        followed = [*slices.slice_nodes(), self.parameters.output.hybrid, self.overlay.node()]
        wanted = [(node, vtk.vtkCommand.ModifiedEvent, self._soon) for node in followed if node is not None]
        if lam.mode is LambdaMode.PAINTED and lam.segmentation is not None:
            segmentation = slicer.vtkSegmentation
            wanted += [
                (lam.segmentation, event, self.panel.changed)
                for event in (
                    vtk.vtkCommand.ModifiedEvent,
                    lam.segmentation.TransformModifiedEvent,
                    segmentation.SourceRepresentationModified,
                    segmentation.RepresentationModified,
                    segmentation.SegmentAdded,
                    segmentation.SegmentRemoved,
                    segmentation.SegmentModified,
                    segmentation.SegmentsOrderModified,
                )
            ]
        if lam.mode is LambdaMode.VOLUME and lam.volume is not None:
            events = (
                lam.volume.ImageDataModifiedEvent,
                lam.volume.TransformModifiedEvent,
                vtk.vtkCommand.ModifiedEvent,
            )
            wanted += [(lam.volume, event, self.panel.changed) for event in events]
        self._observe_only(wanted)

    def _observe_only(self, wanted: list[tuple[Any, Any, Any]]) -> None:
        """Observe these (node, event, method) and nothing else."""
        keys = [(node, event) for node, event, _method in wanted]
        for one in [one for one in self._observed if one[:2] not in keys]:
            one[0].RemoveObserver(one[3])
            self._observed.remove(one)
        known = [one[:2] for one in self._observed]
        for node, event, method in wanted:
            if (node, event) not in known:
                self._observed.append((node, event, method, node.AddObserver(event, method)))

    def _problem(self) -> str:
        """What keeps lambda from being used, for the user; looked at again only when something changed."""
        lam = self.parameters.lam
        if lam.mode is LambdaMode.NUMBER:
            return ""
        if lam.mode is LambdaMode.PAINTED:
            find, node, about = self._paint_problem, lam.segmentation, self._names()
        else:
            find, node, about = self._volume_problem, lam.volume, volume_state(self.reference())
        output, overlay = self.parameters.output.hybrid, self.overlay.node()
        key = (lambda_state(self.parameters), about, None if output is None else output.GetID(), overlay is node)
        if key != self._checked[0]:
            try:
                sentence = find(node)
            except InputError as error:
                sentence = _sentence(str(error))
            self._checked = (key, sentence)
        state, grid, sentence = self._unusable
        if not self._checked[1] and state == key[0] and grid == self._grid():
            return sentence
        return self._checked[1]

    def _names(self) -> Any:
        """IDs and names of all segments, with a lambda or not."""
        from MSLFusionLib.scene.segmentations import segment_ids

        node = self.parameters.lam.segmentation
        if node is None:
            return None
        segmentation = node.GetSegmentation()
        return tuple((one, segmentation.GetSegment(one).GetName()) for one in segment_ids(node))

    def _paint_problem(self, node: Any) -> str:
        from MSLFusionLib.scene.segmentations import is_painted, segment_feather, segment_ids, segment_lambda

        if node is None:
            return _Needed(_("Nothing is painted yet: press Add, then paint on the slices."))
        ids = segment_ids(node)
        if not ids:
            return _Needed(_("The segmentation has no segment: press Add, then paint on the slices."))
        for segment_id in ids:
            segment_feather(node, segment_id)
            if segment_lambda(node, segment_id) is None:
                name = node.GetSegmentation().GetSegment(segment_id).GetName()
                return _("Segment '{name}' has no lambda: give it one in the table, or remove it.").format(name=name)
        if not any(is_painted(node, segment_id) for segment_id in ids):
            return _Needed(_("All segments are empty: paint something, or mix by one lambda for all."))
        return ""

    def _volume_problem(self, node: Any) -> str:
        import numpy as np

        from MSLFusionLib.recon.geometry import VolumeGeometry
        from MSLFusionLib.recon.lambdas import check_covers
        from MSLFusionLib.scene.volumes import geometry_from_node

        if node is None:
            return _Needed(_("Choose a volume of lambdas, from 0 (CT) to 1 (MR)."))
        if node is self.parameters.output.hybrid or node is self.overlay.node():
            return _("'{name}' is made from lambda itself: choose another volume.").format(name=node.GetName())
        own = VolumeGeometry.from_dict(geometry_from_node(node))
        planes = slicer.util.arrayFromVolume(node)
        low, high = min(float(p.min()) for p in planes), max(float(p.max()) for p in planes)
        if not np.isfinite([low, high, *(float(p.sum()) for p in planes)]).all():
            return _("'{name}' holds values that are not numbers.").format(name=node.GetName())
        if low < -1e-5 or high > 1 + 1e-5:
            return _("'{name}' holds values from {low} to {high}: lambda must lie between 0 and 1.").format(
                name=node.GetName(), low=f"{low:g}", high=f"{high:g}"
            )
        if self.reference() is not None:
            reference = VolumeGeometry.from_dict(geometry_from_node(self.reference()))
            check_covers(own, reference, node.GetName())
        return ""


class _Needed(str):
    """A sentence about what has still to be done, where nothing is wrong."""


def pressed() -> bool:
    """Whether a mouse button is held down: a slider is dragged, or something painted."""
    return bool(qt.QApplication.mouseButtons() != qt.Qt.NoButton)


def _timer(slot: Any) -> Any:
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.connect("timeout()", slot)
    return timer


def _sentence(text: str) -> str:
    """A library's sentence with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
