"""Section 6: from Apply to hybrid volumes in the scene."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MSLFusionLib.client import Assembler
from MSLFusionLib.errors import JobError
from MSLFusionPanel import install, layouts
from MSLFusionPanel.inputs import Inputs, collect, mr_on_grid
from MSLFusionPanel.lambdamap import lambda_state, lambda_steps
from MSLFusionPanel.parameters import LambdaMode, SensorSource
from MSLFusionPanel.run import LAMBDA_ATTRIBUTE, Hybrid, Run, show_run, shows_a_sequence, sweep_steps
from MSLFusionPanel.section import Section
from MSLFusionPanel.session import OpenSession, open_session
from MSLFusionPanel.task import ask
from MSLFusionPanel.trust import trust_steps
from MSLFusionPanel.words import as_sentence

_METRIC_LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Wanted:
    """What is asked of one Apply, read before it starts.

    lam: None where a map is painted or a volume. state: of lambda, see lambdamap.lambda_state. hybrid: the node that
    receives the result, None for a new one. trust: passes of the trust maps, 0 for none.
    """

    inputs: Inputs
    lam: float | None
    sweep: tuple[float, ...]
    metrics: tuple[float, ...]
    state: Any
    hybrid: Any
    trust: int = 0


class ReconstructSection(Section):
    """Apply, its progress and its results."""

    def setup(self) -> None:
        """Connect the widgets."""
        self.on(self.ui.applyButton, "clicked()", self.apply)
        self.on(self.ui.sideBySideButton, "clicked()", self.show_side_by_side)
        self.on(self.ui.hybridLargeButton, "clicked()", self.show_hybrid)

    def update(self) -> None:
        """Whether Apply can be pressed, and why not."""
        output = self.parameters.output
        simulated = self.parameters.sensors.source is SensorSource.SIMULATE
        self.ui.sweepCountSpinBox.enabled = output.sweep
        self.ui.metricsCheckBox.enabled = simulated
        self.message("hybridMessage", self._output_problem())
        self.ui.hybridLargeButton.enabled = output.hybrid is not None
        self.ui.sideBySideButton.enabled = any(self._side_by_side())
        self._update_apply()

    def apply(self) -> None:
        """Apply, or Cancel while it runs."""
        if self.panel.runs(self.ui.applyButton):
            self.panel.cancel()
            return
        if not self._may_start():
            return
        self.message("applyMessage")
        problem = install.ready(self.panel.tell) if self.logic.worker.where == "local" else ""
        if problem:
            self._failed(problem)
            return
        if not self._may_start():  # the user was asked something meanwhile
            return
        wanted = self.wanted()
        self.panel.run(
            self.ui.applyButton,
            self.steps(wanted),
            lambda run: self._show(run, wanted),
            self._failed,
            _("Reconstruction"),
        )

    def wanted(self) -> Wanted:
        """What Apply would do now."""
        parameters = self.parameters
        output, lam = parameters.output, parameters.lam
        count = output.sweepCount
        sweep = tuple(i / (count - 1) for i in range(count)) if output.sweep else ()
        measured = output.metrics and parameters.sensors.source is SensorSource.SIMULATE
        value = lam.value if lam.mode is LambdaMode.NUMBER else None
        lambdas = sorted({*(sweep or _METRIC_LAMBDAS)}) if measured else []
        trust = output.trustPasses if output.trust else 0
        state = lambda_state(parameters)
        return Wanted(collect(parameters), value, sweep, tuple(lambdas), state, output.hybrid, trust)

    def steps(self, wanted: Wanted) -> Generator[Any, Any, Run]:
        """Steps of the task: everything but the metrics, which follow when the hybrid can be seen."""
        session = yield from open_session(self.logic, wanted.inputs)
        lam = wanted.lam
        if lam is None:
            lam = yield from lambda_steps(self.parameters, session)
        hybrid = Hybrid((yield from self._decoded(session, lam)), lam if isinstance(lam, float) else None)
        trust = None
        if wanted.trust and not self.panel.trust.has(session, wanted.trust, wanted.hybrid):
            trust = yield from trust_steps(session, wanted.trust)
        sweep = None
        if wanted.sweep:
            volumes = []
            for value in wanted.sweep:
                volumes.append((value, (yield from self._decoded(session, value))))
            sweep = yield from sweep_steps(session, volumes)
        return Run(session, hybrid, sweep, trust)

    def show_side_by_side(self) -> None:
        """CT | MR | hybrid."""
        layouts.side_by_side(*self._side_by_side())

    def show_hybrid(self) -> None:
        """The hybrid alone."""
        if self.parameters.output.hybrid is not None:
            layouts.hybrid_large(self.parameters.output.hybrid)

    def show_progress(
        self,
        title: str | None = None,
        stage: str | None = None,
        done: int | None = None,
        total: int | None = None,
        seconds_left: float | None = None,
    ) -> None:
        """Progress of the long job; no title: it ended."""
        bar = self.ui.progressBar
        bar.setVisible(title is not None)
        if title is None:
            self.message("progressInfo")
            return
        sentence = _("{title}: starting.").format(title=title)
        if stage is not None:
            sentence = f"{title}: {_stage_words(stage)}."
        known = done is not None and total is not None and total > 0
        bar.maximum = total if known else 0  # 0: busy
        if known:
            done = min(max(done, 0), total)
            bar.value = done
            words = {"title": title, "stage": _stage_words(str(stage)), "done": done, "total": total}
            left = _time(seconds_left)
            sentence = _("{title}: {stage}, {done} of {total}").format(**words)
            sentence += _(", {time} left.").format(time=left) if left else "."
        self.message("progressInfo", sentence, "info")

    def _may_start(self) -> bool:
        """Whether everything is as Apply needs it at this very moment."""
        if self.panel.parameters is None:
            return False
        self.panel.update()
        return bool(self.ui.applyButton.enabled)

    def _decoded(self, session: OpenSession, lam: Any) -> Generator[Any, Any, Any]:
        volumes = Assembler(session.shape, session.slice_axis)
        yield ask("decode_volume", lam, session=session.number, on_part=volumes.add)
        if "hybrid" not in volumes.volumes:
            raise JobError(_("Nothing but background was found in the volume: check the CT and the MR."))
        return volumes.volumes["hybrid"]

    def _show(self, run: Run, wanted: Wanted) -> None:
        """Put the results into the scene, then measure them."""
        if self.panel.parameters is None:
            return
        output, chosen = self.parameters.output, wanted.hybrid
        if chosen is not None and (not slicer.mrmlScene.IsNodePresent(chosen) or self._taken(chosen)):
            chosen = None  # removed meanwhile, or chosen for something else
        first = chosen is None or chosen.GetAttribute(LAMBDA_ATTRIBUTE) is None
        node = show_run(run, chosen, self._folder_nodes())
        output.hybrid = node
        self.panel.results.replaced(run, node)
        self.panel.trust.show(run.session, wanted.trust, run.trust, node)
        self.panel.lambdas.hybrid_shows(wanted.state)
        if run.session.synthesised is not None:
            name = run.session.synthesised.upper()
            self.panel.tell(_("The {modality} in the hybrid is synthesised, not measured.").format(modality=name))
        if run.session.registration is not None:
            self.panel.tell(_registered_in_words(run.session.registration))
        if first:  # later ones leave the views as the user arranged them
            self.show_side_by_side()
        if wanted.metrics and not self.panel.results.measured(run, wanted.metrics, node):
            qt.QTimer.singleShot(0, lambda: self._measure(run, node, wanted.metrics))

    def _measure(self, run: Run, node: Any, lambdas: tuple[float, ...]) -> None:
        if self.panel.task is not None or self.logic.session is not run.session:
            return

        def steps() -> Generator[Any, Any, Any]:
            return (yield ask("metrics", lambdas, session=run.session.number)).header["rows"]

        self.panel.run(
            self.ui.applyButton,
            steps(),
            lambda rows: self.panel.results.show(run, node, lambdas, rows),
            self._failed,
            _("Metrics"),
        )

    def _failed(self, sentence: str) -> None:
        self.message("applyMessage", as_sentence(sentence), "failure")

    def _folder_nodes(self) -> list[Any]:
        """What belongs into the run's folder beside the results themselves, where nobody has put it elsewhere yet."""
        from MSLFusionLib.scene import hierarchy

        coregister = self.parameters.coregister
        nodes = [node for node in (coregister.aligned, coregister.transform) if node is not None]
        return [node for node in nodes if not hierarchy.place_of(slicer.mrmlScene, node)]

    def _side_by_side(self) -> tuple[Any, Any, Any]:
        parameters = self.parameters
        mr = mr_on_grid(parameters) or parameters.data.mr
        return parameters.data.ct, mr, parameters.output.hybrid

    def _output_problem(self) -> str:
        hybrid = self.parameters.output.hybrid
        taken = self._taken(hybrid) if hybrid is not None else ""
        if not taken:
            return ""
        return _("The hybrid would replace the {name}: choose another volume or a new one.").format(name=taken)

    def _taken(self, node: Any) -> str:
        """What else a volume is, which a hybrid must not replace; empty when it is nothing else."""
        parameters = self.parameters
        taken = {
            _("CT"): parameters.data.ct,
            _("MR"): parameters.data.mr,
            _("resampled MR"): parameters.coregister.aligned,
            _("lambda volume"): parameters.lam.volume if parameters.lam.mode is LambdaMode.VOLUME else None,
            _("lambda map"): self.panel.lambdas.overlay.node(),
        }
        for name, one in taken.items():
            if one is node:
                return name
        return _("volume that shows a sequence") if shows_a_sequence(node) else ""

    def _update_apply(self) -> None:
        button = self.ui.applyButton
        if self.panel.runs(button):
            button.text, button.enabled = self.panel.cancel_text(), True
            button.toolTip = _("Stop; the scene stays as it was.")
            return
        button.text = _("Apply")
        errors = self.panel.messages.errors()
        reason = _("Another job is running: wait for it or cancel it.") if self.panel.task is not None else ""
        reason = reason or (errors[0] if errors else "")
        button.enabled = not reason
        button.toolTip = reason or _("Reconstruct with the settings above.")
        if reason:
            if self.panel.messages.kind("applyMessage") != "failure" or errors:
                self.message("applyMessage", _("Not ready: {reason}").format(reason=reason), "info")
        elif self.panel.messages.kind("applyMessage") == "info":
            self.message("applyMessage")


def _registered_in_words(registration: dict[str, Any]) -> str:
    """What was found between the frames of CT and MR."""
    sentence = _(
        "The MR was registered to the CT by their sensor images: moved by {shift} mm, overlap {overlap:.0f} %."
    )
    shift = " ".join(f"{mm:.1f}" for mm in registration["shift_mm"])
    return sentence.format(shift=shift, overlap=100 * registration["overlap"])


def _stage_words(stage: str) -> str:
    """A stage of the library's jobs in words for people."""
    words = {
        "prepare": _("Preparing"),
        "measure": _("Measuring"),
        "reconstruct": _("Encoding slices"),
        "decode": _("Decoding slices"),
        "compare": _("Comparing"),
        "sensor images": _("Making sensor images"),
        "optimise lambda": _("Searching"),
        "trust maps": _("Reconstructing from parts of the data"),
        "ground truth": _("Fetching what was measured"),
        "open model": _("Opening the model"),
        "resample": _("Resampling"),
        "download": _("Downloading"),
        "generate head": _("Slices of the head"),
        "find start": _("Looking for a start"),
        "read": _("Reading"),
        "prepare data consistency": _("Preparing data consistency"),
        "data consistency of the MR": _("Data consistency of the MR"),
        "total variation": _("Reconstructing iteratively"),
    }
    return words.get(stage, stage.capitalize())


def _time(seconds: float | None) -> str:
    """A duration as people say it; empty where it is not known, or so long that nobody would believe it."""
    if seconds is None or not 0 <= seconds < 48 * 3600:  # not a number is not between them, either
        return ""
    if seconds < 90:
        return _("{n} s").format(n=max(1, round(seconds)))
    if seconds < 90 * 60:
        return _("{n} min").format(n=round(seconds / 60))
    return _("{n} h").format(n=round(seconds / 3600))
