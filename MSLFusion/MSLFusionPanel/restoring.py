"""Apply of CMF-Net: from the target, measured in simulation or by a scanner, to volumes in the scene."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import slicer
from slicer.i18n import tr as _

from MSLFusionLib.errors import JobError
from MSLFusionPanel.inputs import mr_on_grid, volume_from_node, volume_state
from MSLFusionPanel.methodparameters import Method, TargetSource
from MSLFusionPanel.pairs import unplaced
from MSLFusionPanel.restore import file_request
from MSLFusionPanel.restored import RESTORED, SUPER_RESOLVED, Volumes, show_restored
from MSLFusionPanel.section import Section
from MSLFusionPanel.sliceviews import exchange
from MSLFusionPanel.task import ask, later
from MSLFusionPanel.words import as_sentence


@dataclass(frozen=True)
class Wanted:
    """What is asked of one Apply, read before it starts.

    pair: target (None: measured data) and auxiliary, as chosen; auxiliary: the node that is sent. arguments: of the
    request beside the volumes. settings: what the folder of the results tells of them.
    """

    pair: tuple[Any, Any]
    auxiliary: Any
    arguments: dict[str, Any]
    settings: dict[str, Any]


class RestoringSection(Section):
    """What Apply does for CMF-Net."""

    def applies(self) -> bool:
        """It is CMF-Net's."""
        return self.parameters.choice.method is Method.CMF_NET

    def learned(self) -> bool:
        """It is a network."""
        return True

    def shown(self) -> tuple[Any, Any, Any]:
        """Target, auxiliary and the result that was shown last; of measured data the plain image as the target."""
        target, auxiliary = self.pair()
        results = RESTORED.of(target, auxiliary)
        result = results.get(self.parameters.restore.shown)
        if target is None:
            return results.get("bicubic"), results.get("auxiliary", auxiliary), result
        return target, mr_on_grid(self.parameters) or results.get("auxiliary", auxiliary), result

    def pair(self) -> tuple[Any, Any]:
        """The chosen target, None where it is measured, and auxiliary."""
        parameters = self.parameters
        simulated = parameters.restore.source is TargetSource.VOLUME
        return parameters.data.ct if simulated else None, parameters.data.mr

    def start(self) -> None:
        """Restore."""
        wanted = self.wanted()
        self.panel.run(
            self.ui.applyButton,
            self.steps(wanted),
            lambda volumes: self._show(volumes, wanted),
            self.panel.apply.failed,
            _("Restoration"),
        )

    def wanted(self) -> Wanted:
        """What Apply would do now."""
        parameters, restore = self.parameters, self.parameters.restore
        target, auxiliary = self.pair()
        model = self.panel.restore.model()
        arguments: dict[str, Any] = {
            "model": None if model is None else model["path"],
            "consistency": restore.consistency,
            "compare": restore.compare,
            "device": parameters.model.device,
        }
        if target is None:
            request = file_request(restore)
            arguments |= {"sensors": request.pop("path", None), **request}
            arguments["place"] = "registered" if restore.register else "resampled"
            settings = {"source": "k-space", "consistency": restore.consistency}
            return Wanted((None, auxiliary), auxiliary, arguments, settings)
        arguments["plan"] = {
            "acceleration": restore.acceleration,
            "mask": restore.mask.value,
            "kspace_sigma": restore.kspaceNoise,
            "seed": restore.seed,
        }
        on_grid = mr_on_grid(parameters)
        arguments["place"] = "resampled" if on_grid is None else "the same"
        settings = {"source": "simulated", "plan": arguments["plan"], "consistency": restore.consistency}
        return Wanted((target, auxiliary), on_grid or auxiliary, arguments, settings)

    def steps(self, wanted: Wanted) -> Generator[Any, Any, Volumes]:
        """Steps of a task: the volumes, which are not in the scene yet."""
        target, chosen = wanted.pair
        nodes = [node for node in (target, chosen, wanted.auxiliary) if node is not None]
        before = [volume_state(node) for node in nodes]
        auxiliary = volume_from_node(wanted.auxiliary)
        yield later()
        arguments = dict(wanted.arguments)
        if target is not None:
            arguments["target"] = volume_from_node(target)
            yield later()
        answer = yield ask("restore", auxiliary, **arguments)
        if not all(slicer.mrmlScene.IsNodePresent(node) for node in nodes):
            raise JobError(_("The target or the auxiliary was removed meanwhile: the result was not used."))
        if [volume_state(node) for node in nodes] != before:
            raise JobError(_("The target or the auxiliary was changed meanwhile: the result was not used."))
        return Volumes(dict(answer.arrays), answer.header["volumes"], answer.header)

    def show_kind(self, name: str) -> None:
        """Let the views that show a result of the pair show this one."""
        results = RESTORED.of(*self.pair())
        for other, node in results.items():
            if name in results and other != name:
                exchange(node, results[name])
        self.parameters.restore.shown = name

    def _show(self, volumes: Volumes, wanted: Wanted) -> None:
        """Put the results into the scene and into the views."""
        if self.panel.parameters is None:
            return
        first = not RESTORED.of(*wanted.pair)
        show_restored(volumes, *wanted.pair, wanted.settings)
        if wanted.pair[0] is not None:
            RESTORED.place(*wanted.pair, unplaced(self.parameters))
        self.panel.restored.show(volumes, *wanted.pair)
        if wanted.pair != self.pair():
            return  # another pair was chosen meanwhile
        shown = self.parameters.restore.shown
        self.show_kind(shown if shown in volumes.images else SUPER_RESOLVED)
        if first:  # later ones leave the views as the user arranged them
            self.panel.apply.show_side_by_side()
        for warning in volumes.told.get("warnings") or []:
            self.panel.tell(as_sentence(warning))
