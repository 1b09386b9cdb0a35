"""The hybrid follows lambda: the slice that is looked at, at once, from the worker's latents."""

import logging
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MSLFusionLib.client import CANCELLED, Assembler, Failure
from MSLFusionLib.errors import InputError
from MSLFusionPanel import slices
from MSLFusionPanel.lambdamap import lambda_plane, result_grid
from MSLFusionPanel.parameters import LambdaMode
from MSLFusionPanel.task import ask

if TYPE_CHECKING:
    from MSLFusionPanel.panel import Panel
    from MSLFusionPanel.session import OpenSession

VIEW = "hybrid"
"""The name that whole volumes are asked for under: a newer request takes the place of an older one."""


class Preview:
    """Keeps the hybrid that Apply made in step with lambda.

    It remembers which state of lambda (lambdamap.lambda_state) each slice was decoded at, and asks for those in view
    that are behind; at most one request per view is under way, and the next one is sent with what lambda is then.
    """

    def __init__(self, panel: "Panel", again: Callable[[], None]) -> None:
        self._panel = panel
        self._again = again
        self._key: tuple[Any, ...] | None = None
        self._whole: Any = None
        self._planes: dict[int, Any] = {}
        self._under_way: dict[str, Any] = {}
        self._refused: Any = None
        self._told = ""

    def hybrid_shows(self, state: Any) -> None:
        """Apply has put a hybrid decoded at this state of lambda into the output volume."""
        self.forget()
        session = self._panel.logic.session
        if session is not None and self._panel.parameters.output.hybrid is not None:
            self._key, self._whole = self._key_of(session), state

    def forget(self) -> None:
        """No hybrid of ours is there any more."""
        self._key = self._whole = self._refused = None
        self._planes = {}
        self._told = ""

    def ready(self) -> "OpenSession | None":
        """The session whose hybrid can follow now; None says `info` why."""
        parameters = self._panel.parameters
        if not parameters.output.live or self._key is None:
            return None
        session = self._panel.logic.valid_session(parameters)
        hybrid = parameters.output.hybrid
        if session is None or hybrid is None or self._key != self._key_of(session):
            return None
        return session if slices.shape_of(hybrid) == tuple(session.shape) else None

    def behind(self, state: Any) -> bool:
        """Whether the whole volume has to be decoded again."""
        return self._whole != state and self._refused != state and self.ready() is not None

    def tick(self, state: Any) -> None:
        """Ask for the slices in view that are behind."""
        session = self.ready()
        client = self._panel.logic.worker.client
        if session is None or client is None or self._refused == state:
            return
        for view, index in self._shown(session):
            if view not in self._under_way and self._planes.get(index, self._whole) != state:
                try:
                    self._ask(client, session, view, index, state)
                except InputError:  # shown where lambda is chosen
                    return

    def steps(self, state: Any, lam: Any) -> Generator[Any, Any, None]:
        """Steps of a task: decode the whole volume at `lam`, and put it into the hybrid's node at the end."""
        session = self.ready()
        if session is None:
            return
        volumes = Assembler(session.shape, session.slice_axis)
        yield ask("decode_volume", lam, view=VIEW, session=session.number, on_part=volumes.add)
        if self.ready() is not session or VIEW not in volumes.volumes:
            return
        slices.write_volume(self._panel.parameters.output.hybrid, volumes.volumes[VIEW])
        self._describe(session)
        self._whole, self._planes = state, {}
        self._told = _("Volume at {lam}.").format(lam=self._lam())

    def progress(self, done: int, total: int, seconds_left: float | None) -> None:
        """Of the volume that is decoded."""
        words = {"lam": self._lam(), "done": done, "total": total}
        if seconds_left is None:
            self._told = _("Volume at {lam}: {done} of {total} slices.").format(**words)
        else:
            left = max(1, round(seconds_left))
            text = _("Volume at {lam}: {done} of {total} slices, {left} s left.")
            self._told = text.format(left=left, **words)

    def refused(self, state: Any, sentence: str) -> None:
        """The worker did not do it; nothing more is tried until lambda changes."""
        self._refused = state
        self._told = _("The preview failed: {sentence}").format(sentence=sentence)

    def info(self) -> str:
        """One line about what the hybrid shows."""
        parameters, logic = self._panel.parameters, self._panel.logic
        if logic.session is None or self._key is None or parameters.output.hybrid is None:
            return _("Press Apply once; then the hybrid follows lambda at once.")
        if logic.session.generation != logic.worker.generation:
            return _("The worker was started anew since the last Apply: press Apply.")
        if logic.valid_session(parameters) is None:
            return _("{what} changed since the last Apply: press Apply.").format(what=self._changed(logic.session))
        if self._key != self._key_of(logic.session):
            return _("The output volume is another one: press Apply to fill it.")
        if slices.shape_of(parameters.output.hybrid) != tuple(logic.session.shape):
            return _("The output volume was changed: press Apply.")
        if not parameters.output.live:
            return _("Live preview is off: press Apply to see another lambda.")
        return " ".join(part for part in (self._told, self._synthesised(logic.session)) if part)

    def _key_of(self, session: "OpenSession") -> tuple[Any, ...]:
        hybrid = self._panel.parameters.output.hybrid
        return (session.generation, session.number, None if hybrid is None else hybrid.GetID())

    def _shown(self, session: "OpenSession") -> list[tuple[str, int]]:
        """Names of views and the slices that they show of the hybrid; of one view when none shows it."""
        hybrid = self._panel.parameters.output.hybrid
        present = slices.views()
        showing = [view for view in present if view.shows(hybrid)]
        if not showing:
            showing = [view for view in present if view.name == "Red"] or present[:1]
        planes = [(view.name, view.plane(hybrid)) for view in showing]
        return [(name, plane[1]) for name, plane in planes if plane is not None and plane[0] == session.slice_axis]

    def _ask(self, client: Any, session: "OpenSession", view: str, index: int, state: Any) -> None:
        began = time.monotonic()
        parameters = self._panel.parameters
        plane = lambda_plane(parameters, result_grid(parameters, session), session.slice_axis, index)
        if self._under_way.get(view) is not None:
            return

        def ended() -> bool:
            """Whether the answer is still of use."""
            if self._under_way.get(view) is call:
                del self._under_way[view]
            self._again()
            return self._panel.parameters is not None and self.ready() is session

        def show(message: Any) -> None:
            if ended():
                slices.write_plane(
                    self._panel.parameters.output.hybrid, session.slice_axis, index, message.arrays["plane"]
                )
                self._planes[index] = state
                milliseconds = round(1000 * (time.monotonic() - began))
                self._told = _("Slice {index} in {ms} ms.").format(index=index, ms=milliseconds)

        def fail(failure: Failure) -> None:
            if ended() and failure.reason != CANCELLED:
                logging.info("MSLFusion: a slice was not decoded: %s", failure.sentence)
                self.refused(state, failure.sentence)

        call = client.decode_slice(
            index, plane, view=view, session=session.number, on_result=show, on_error=fail, on_dropped=ended
        )
        if not call.done:
            self._under_way[view] = call

    def _describe(self, session: "OpenSession") -> None:
        from MSLFusionPanel.run import describe

        lam = self._panel.parameters.lam
        value = lam.value if lam.mode is LambdaMode.NUMBER else None
        describe(self._panel.parameters.output.hybrid, session, value)

    def _lam(self) -> str:
        lam = self._panel.parameters.lam
        if lam.mode is LambdaMode.NUMBER:
            return _("lambda {value}").format(value=f"{lam.value:.2f}")
        return _("the painted lambda") if lam.mode is LambdaMode.PAINTED else _("the lambda volume")

    def _changed(self, session: "OpenSession") -> str:
        from MSLFusionPanel.inputs import collect

        names = (
            _("The CT"),
            _("The MR"),
            _("The sampling"),
            _("The file of sensor data"),
            _("What is read from the files"),
            _("The choice of modalities"),
            _("The model"),
            _("The folder of models"),
            _("The device"),
            _("Data consistency"),
        )
        now = collect(self._panel.parameters).key()
        pairs = zip(names, session.key, now, strict=False)
        return next((name for name, before, after in pairs if before != after), _("Something"))

    def _synthesised(self, session: "OpenSession") -> str:
        if session.synthesised is None:
            return ""
        name = session.synthesised.upper()
        return _("The {modality} in it is synthesised, not measured.").format(modality=name)
