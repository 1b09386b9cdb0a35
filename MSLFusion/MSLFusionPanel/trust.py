"""Section 7: how far the images of a run can be trusted: maps over the slices, figures, and a warning."""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from MSLFusionLib.client import Assembler
from MSLFusionPanel import foreground
from MSLFusionPanel.methodparameters import Method
from MSLFusionPanel.run import image_of, place
from MSLFusionPanel.section import Section
from MSLFusionPanel.session import OpenSession
from MSLFusionPanel.task import ask

KINDS = ("uncertainty-ct", "uncertainty-mr", "residual-ct", "residual-mr")
"""As in recon.trust."""
ROLE = "MSLFusion.Trust"
"""Node references from a hybrid to its maps: this, a point and the kind. Attribute of a map: its kind."""
FIGURES_ATTRIBUTE = "MSLFusion.TrustFigures"
"""On a hybrid: the maps' figures as JSON."""
FAMILIARITY_ATTRIBUTE = "MSLFusion.Unfamiliar"
"""On a hybrid: the sentence that its input is not like what the model was trained on."""
_SHOWN_ATTRIBUTE = "MSLFusion.TrustShown"
_OPACITY = 0.6


@dataclass(frozen=True, eq=False)
class Trust:
    """Maps (z, y, x) by kind, and their figures (recon.trust.TrustSummary.to_dict)."""

    maps: dict[str, np.ndarray]
    figures: dict[str, Any]


def trust_steps(session: OpenSession, passes: int) -> Generator[Any, Any, Trust]:
    """Steps of a task: the maps of the session."""
    volumes = Assembler(session.shape, session.slice_axis)
    found = yield ask("trust", passes, session=session.number, on_part=volumes.add)
    return Trust(volumes.volumes, dict(found.header.get("trust") or {}))


class TrustSection(Section):
    """The maps of the chosen hybrid: which of them lies over the slices, and what their figures are."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._made: tuple[OpenSession, int, Any] | None = None
        """Session, passes and hybrid of the maps that were made last."""
        self._listed: list[tuple[str, str]] | None = None

    def setup(self) -> None:
        """Connect the widgets."""
        self.on(self.ui.trustOverlaySelector, "currentIndexChanged(int)", self._choose)

    def applies(self) -> bool:
        """It is MSL's."""
        return self.parameters.choice.method is Method.MSL

    def update(self) -> None:
        """List the maps of the chosen hybrid, keep the chosen one over the slices, tell figures and warning."""
        output = self.parameters.output
        self.ui.trustPassesSpinBox.enabled = output.trust
        maps = {} if output.hybrid is None else maps_of(output.hybrid)
        for node in _all_maps():  # those of another hybrid
            if node not in maps.values():
                _hide(node)
        if self.parameters.lam.overlay:  # one at a time: the newer choice counts
            for node in maps.values():
                _hide(node)
        shown = next((kind for kind, node in maps.items() if node.GetAttribute(_SHOWN_ATTRIBUTE)), "")
        self._list(maps, shown)
        if shown:
            foreground.follow(maps[shown], self._below(), None, _OPACITY)
        text = "" if output.hybrid is None else summary(_figures(output.hybrid))
        self.ui.trustInfo.text = text
        self.ui.trustInfo.setVisible(bool(text))
        warning = None if output.hybrid is None else output.hybrid.GetAttribute(FAMILIARITY_ATTRIBUTE)
        self.message("trustMessage", warning or "", "warning")

    def scene_closed(self) -> None:
        """The nodes are gone."""
        self._made = self._listed = None

    def has(self, session: OpenSession, passes: int, hybrid: Any) -> bool:
        """Whether the hybrid has the maps that these would be again."""
        made = self._made
        if made is None or hybrid is None or not maps_of(hybrid):
            return False
        return made[0] is session and made[1] == passes and made[2] is hybrid

    def show(self, session: OpenSession, passes: int, trust: Trust | None, hybrid: Any) -> None:
        """A run has been put into `hybrid`: its new maps, in place of those that it had.

        trust: None keeps the maps where they are those of this session, and removes others.
        """
        hybrid.SetAttribute(FAMILIARITY_ATTRIBUTE, _warning(session.familiarity))
        if trust is None:
            if self._made is None or self._made[0] is not session or self._made[2] is not hybrid:
                remove_maps(hybrid)
            return
        before = maps_of(hybrid)
        for kind in set(before) - set(trust.maps):
            _remove(hybrid, kind, before[kind])
        for kind, array in trust.maps.items():
            _put(session, kind, array, hybrid, before.get(kind))
        hybrid.SetAttribute(FIGURES_ATTRIBUTE, json.dumps(trust.figures))
        self._made = (session, passes, hybrid)
        self.panel.tell(summary(trust.figures))

    def _below(self) -> set[str]:
        parameters = self.parameters
        volumes = (parameters.data.ct, parameters.data.mr, parameters.coregister.aligned, parameters.output.hybrid)
        return {volume.GetID() for volume in volumes if volume is not None}

    def _list(self, maps: Mapping[str, Any], shown: str) -> None:
        """Fill the selector where its content is another one."""
        entries = [(_("Nothing"), "")] + [(str(node.GetName()), kind) for kind, node in maps.items()]
        selector = self.ui.trustOverlaySelector
        blocked = selector.blockSignals(True)
        if entries != self._listed:
            selector.clear()
            for name, _kind in entries:
                selector.addItem(name)
            self._listed = entries
        selector.setCurrentIndex([kind for _name, kind in entries].index(shown))
        selector.blockSignals(blocked)
        selector.enabled = bool(maps)

    def _choose(self, index: int) -> None:
        """Another map, or none, over the slices."""
        hybrid = self.parameters.output.hybrid
        if self._listed is None or hybrid is None or not 0 <= index < len(self._listed):
            return
        chosen = self._listed[index][1]
        for kind, node in maps_of(hybrid).items():
            if kind != chosen:
                _hide(node)
        for kind, node in maps_of(hybrid).items():
            if kind == chosen:
                node.SetAttribute(_SHOWN_ATTRIBUTE, "1")
        if chosen:
            self.parameters.lam.overlay = False
        self.panel.changed()


def maps_of(hybrid: Any) -> dict[str, Any]:
    """The maps of a hybrid by kind, those that are still in the scene."""
    nodes = {kind: hybrid.GetNodeReference(f"{ROLE}.{kind}") for kind in KINDS}
    return {kind: node for kind, node in nodes.items() if node is not None}


def remove_maps(hybrid: Any) -> None:
    """Take the maps of a hybrid out of the scene."""
    for kind, node in maps_of(hybrid).items():
        _remove(hybrid, kind, node)
    hybrid.RemoveAttribute(FIGURES_ATTRIBUTE)


def summary(figures: Mapping[str, Any]) -> str:
    """The main figures as sentences; empty without any."""
    sentences = []
    for name, one in (figures.get("uncertainty") or {}).items():
        words = {"name": name.upper(), "mean": one.get("mean", 0.0), "most": one.get("p95", 0.0)}
        if one.get("calibrated"):
            text = _("{name}: error of {mean:.3f} to expect on average, 95 % below {most:.3f}")
        else:
            text = _("{name}: spread {mean:.3f} on average, 95 % below {most:.3f}")
        sentence = text.format(**words)
        residual = (figures.get("residual") or {}).get(name)
        if residual is not None:
            before, after = (100 * residual.get(key, 0.0) for key in ("network", "delivered"))
            sentence += _("; residual {before:.1f} %, {after:.1f} % as delivered").format(before=before, after=after)
        else:
            sentence += _("; synthesised")
        sentences.append(sentence + ".")
    return " ".join(sentences)


def _warning(familiarity: Mapping[str, Any]) -> str | None:
    return str(familiarity.get("sentence")) if familiarity.get("unfamiliar") else None


def _figures(hybrid: Any) -> dict[str, Any]:
    """What the attribute holds; nothing where a file brought something else."""
    try:
        found = json.loads(hybrid.GetAttribute(FIGURES_ATTRIBUTE) or "{}")
        summary(found)
    except (ValueError, TypeError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _put(session: OpenSession, kind: str, array: np.ndarray, hybrid: Any, node: Any) -> None:
    """One map into its node, or a new one in the folder of the hybrid's run."""
    from MSLFusionLib.scene.colors import show_as_trust
    from MSLFusionLib.scene.volumes import node_from_image, update_node

    image = image_of(session, array)
    if node is None:
        node = node_from_image(slicer.mrmlScene, image, _name(kind, session))
        node.SetAttribute(ROLE, kind)
        hybrid.SetNodeReferenceID(f"{ROLE}.{kind}", node.GetID())
    else:
        update_node(node, image)
        node.SetName(_name(kind, session))
    show_as_trust(node, array)
    place(hybrid, [node])


def _name(kind: str, session: OpenSession) -> str:
    what, name = kind.split("-")
    words = {"uncertainty": _("Uncertainty {name}"), "residual": _("Residual {name}")}[what]
    text = words.format(name=name.upper())
    return text + _(" (synthesised)") if session.synthesised == name else text


def _hide(node: Any) -> None:
    if node.GetAttribute(_SHOWN_ATTRIBUTE):
        node.RemoveAttribute(_SHOWN_ATTRIBUTE)
        foreground.take_away(node)


def _remove(hybrid: Any, kind: str, node: Any) -> None:
    from MSLFusionLib.scene import hierarchy

    _hide(node)
    hybrid.RemoveNodeReferenceIDs(f"{ROLE}.{kind}")
    hierarchy.remove_node(slicer.mrmlScene, node)


def _all_maps() -> list[Any]:
    scene, name = slicer.mrmlScene, "vtkMRMLScalarVolumeNode"
    nodes = [scene.GetNthNodeByClass(i, name) for i in range(scene.GetNumberOfNodesByClass(name))]
    return [node for node in nodes if node.GetAttribute(_SHOWN_ATTRIBUTE)]
