"""Section 6 of MSL: from Apply to hybrid volumes in the scene."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MSLFusionLib.client import Assembler
from MSLFusionLib.errors import JobError
from MSLFusionPanel.inputs import Inputs, collect, mr_on_grid
from MSLFusionPanel.lambdamap import lambda_state, lambda_steps
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.pairs import unplaced
from MSLFusionPanel.parameters import LambdaMode, SensorSource
from MSLFusionPanel.run import LAMBDA_ATTRIBUTE, Hybrid, Run, show_run, shows_a_sequence, sweep_steps
from MSLFusionPanel.section import Section
from MSLFusionPanel.session import OpenSession, open_session
from MSLFusionPanel.task import ask
from MSLFusionPanel.trust import trust_steps

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
    """What Apply does for MSL, and its results."""

    def applies(self) -> bool:
        """It is MSL's."""
        return self.parameters.choice.method is Method.MSL

    def update(self) -> None:
        """What can be chosen for the results."""
        output = self.parameters.output
        self.ui.sweepCountSpinBox.enabled = output.sweep
        self.ui.metricsCheckBox.enabled = self.parameters.sensors.source is SensorSource.SIMULATE
        self.message("hybridMessage", self._output_problem())

    def start(self) -> None:
        """What Apply does."""
        wanted = self.wanted()
        self.panel.run(
            self.ui.applyButton,
            self.steps(wanted),
            lambda run: self._show(run, wanted),
            self.panel.apply.failed,
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

    def learned(self) -> bool:
        """It is a network."""
        return True

    def shown(self) -> tuple[Any, Any, Any]:
        """CT, MR and hybrid, for the views."""
        parameters = self.parameters
        mr = mr_on_grid(parameters) or parameters.data.mr
        return parameters.data.ct, mr, parameters.output.hybrid

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
        node = show_run(run, chosen, unplaced(self.parameters))
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
            self.panel.apply.show_side_by_side()
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
            self.panel.apply.failed,
            _("Metrics"),
        )

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


def _registered_in_words(registration: dict[str, Any]) -> str:
    """What was found between the frames of CT and MR."""
    sentence = _(
        "The MR was registered to the CT by their sensor images: moved by {shift} mm, overlap {overlap:.0f} %."
    )
    shift = " ".join(f"{mm:.1f}" for mm in registration["shift_mm"])
    return sentence.format(shift=shift, overlap=100 * registration["overlap"])
