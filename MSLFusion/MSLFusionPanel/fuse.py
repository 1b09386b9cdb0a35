"""Apply of fusion: one method, or every one that can run, from the two volumes to fused volumes in the scene."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionLib.errors import JobError
from MSLFusionPanel.fused import FUSED, Fused, show_fused
from MSLFusionPanel.fusion import settings_for
from MSLFusionPanel.inputs import mr_on_grid, volume_from_node, volume_state
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.pairs import unplaced
from MSLFusionPanel.section import Section
from MSLFusionPanel.sliceviews import exchange
from MSLFusionPanel.task import WorkerError, ask, later

_OWN = ("methodMessage", "fusionMessage")
"""Messages about the chosen method alone."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of one press, read before it starts.

    pair: the two volumes that were chosen; second: the one that lies on the first one's grid. settings: by the
    methods' names, in the order in which they are applied; titles: what the methods are called.
    """

    pair: tuple[Any, Any]
    second: Any
    settings: dict[str, dict[str, Any]]
    titles: dict[str, str]
    kinds: tuple[str, str]
    slicewise: bool
    measure: bool


@dataclass(frozen=True)
class Answers:
    """All that was fused, on which grid, and what was left out."""

    fused: list[Fused]
    geometry: dict[str, Any]
    left_out: list[str]


class FuseSection(Section):
    """What Apply and Compare do for fusion."""

    def setup(self) -> None:
        """Connect the widgets."""
        self._text, self._tip = self.ui.compareAllButton.text, self.ui.compareAllButton.toolTip
        self.on(self.ui.compareAllButton, "clicked()", self.compare)

    def applies(self) -> bool:
        """It is fusion's."""
        return self.parameters.choice.method is Method.FUSION

    def update(self) -> None:
        """Whether all methods can be compared."""
        button, panel = self.ui.compareAllButton, self.panel
        if panel.runs(button):
            button.text, button.enabled = panel.cancel_text(), True
            button.toolTip = _("Stop; the scene stays as it was.")
            return
        button.text = self._text
        reason = panel.apply.reason(_OWN)
        button.enabled = not reason and any(row["ready"] for row in panel.method.table.fusion())
        button.toolTip = reason or self._tip

    def learned(self) -> bool:
        """Only networks need PyTorch."""
        row = self.panel.method.row()
        return row is not None and bool(row["trained"])

    def start(self) -> None:
        """Fuse by the chosen method."""
        self._run(self.ui.applyButton, [self.parameters.fusion.method], _("Fusion"))

    def compare(self) -> None:
        """Fuse by every method that can run here, or cancel it."""
        if self.panel.runs(self.ui.compareAllButton):
            self.panel.cancel()
            return
        self.panel.update()
        if self.ui.compareAllButton.enabled:
            ready = [str(row["name"]) for row in self.panel.method.table.fusion() if row["ready"]]
            self._run(self.ui.compareAllButton, ready, _("Comparison"))

    def shown(self) -> tuple[Any, Any, Any]:
        """The two volumes and the result that was shown last."""
        data, shown = self.parameters.data, self.parameters.fusion.shown
        return data.ct, mr_on_grid(self.parameters) or data.mr, FUSED.of(data.ct, data.mr).get(shown)

    def steps(self, wanted: Wanted) -> Generator[Any, Any, Answers]:
        """Steps of a task: fuse by one method after the other; with several, one that refuses is left out."""
        before = _state(wanted)
        first = volume_from_node(wanted.pair[0])
        yield later()
        second = volume_from_node(wanted.second)
        yield later()
        found: list[Fused] = []
        left_out = []
        options = {"modalities": wanted.kinds, "measure": wanted.measure}
        many = len(wanted.settings)
        for number, (name, settings) in enumerate(wanted.settings.items(), 1):
            if many > 1:
                title = _("{title} ({number} of {count})")
                self.panel.task_title = title.format(title=wanted.titles[name], number=number, count=many)
            slicewise = wanted.slicewise and "model" not in settings  # networks work on volumes
            try:
                answer = yield ask("fuse", first, second, name, settings, slicewise=slicewise, **options)
            except WorkerError as error:
                if many == 1 or error.failure.reason != "input":
                    raise
                left_out.append(_("{title} was left out: {why}").format(title=wanted.titles[name], why=error))
                continue
            told = answer.header
            image = answer.arrays["fused"]
            found.append(Fused(name, wanted.titles[name], image, told["settings"], told["modalities"], told["rows"]))
        if not found:
            raise JobError(" ".join(left_out))
        if not all(slicer.mrmlScene.IsNodePresent(node) for node in (*wanted.pair, wanted.second)):
            raise JobError(_("One of the two volumes was removed meanwhile: the result was not used."))
        if _state(wanted) != before:
            raise JobError(_("One of the two volumes was changed meanwhile: the result was not used."))
        return Answers(found, first.geometry(), left_out)

    def _run(self, button: Any, methods: list[str], title: str) -> None:
        self.panel.apply.message("applyMessage")
        wanted = self._wanted(methods)
        self.panel.run(
            button, self.steps(wanted), lambda answers: self._show(answers, wanted), self.panel.apply.failed, title
        )

    def _wanted(self, methods: list[str]) -> Wanted:
        parameters, table = self.parameters, self.panel.method.table
        fusion, data = parameters.fusion, parameters.data
        rows = {name: table.row(name) for name in methods}
        return Wanted(
            (data.ct, data.mr),
            mr_on_grid(parameters),
            {name: {} if row is None else settings_for(parameters, row) for name, row in rows.items()},
            {name: name if row is None else str(row["title"]) for name, row in rows.items()},
            (fusion.firstIs.value, fusion.secondIs.value),
            fusion.slicewise,
            fusion.measure,
        )

    def _show(self, answers: Answers, wanted: Wanted) -> None:
        """Put the results into the scene and show the chosen one, else the last."""
        if self.panel.parameters is None:
            return
        first = not FUSED.of(*wanted.pair)
        for sentence in answers.left_out:
            self.panel.tell(sentence)
        for fused in answers.fused:
            show_fused(fused, answers.geometry, *wanted.pair)
        FUSED.place(*wanted.pair, unplaced(self.parameters))
        names = [fused.method for fused in answers.fused]
        chosen = self.parameters.fusion.method
        self.show_method(chosen if chosen in names else names[-1])
        self.panel.measures.show(answers.fused, *wanted.pair)
        if first:  # later ones leave the views as the user arranged them
            self.panel.apply.show_side_by_side()

    def show_method(self, name: str) -> None:
        """Let the views that show a result of the pair show that of this method."""
        data = self.parameters.data
        results = FUSED.of(data.ct, data.mr)
        for other, node in results.items():
            if name in results and other != name:
                exchange(node, results[name])
        self.parameters.fusion.shown = name


def _state(wanted: Wanted) -> tuple[Any, ...]:
    """Changes when what was sent does."""
    return volume_state(wanted.pair[0]), volume_state(wanted.second)
