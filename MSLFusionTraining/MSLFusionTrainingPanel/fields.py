"""Widgets of single settings: each shows its setting, and what the user enters becomes it when it can."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError
from MSLFusionPanel.devices import fill
from MSLFusionPanel.words import as_sentence
from MSLFusionTrainingLib.configfile import parsed, shown
from MSLFusionTrainingLib.explained import SENTENCES

if TYPE_CHECKING:
    from MSLFusionPanel.section import Section
    from MSLFusionTrainingPanel.settings import Settings

FIELDS = {
    "headsSpinBox": "heads",
    "headSeedSpinBox": "head_seed",
    "slicesSpinBox": "slices",
    "validationHeadsSpinBox": "validation_heads",
    "iterationsSpinBox": "iterations",
    "batchSpinBox": "batch",
    "learningRateLineEdit": "learning_rate",
    "scheduleSelector": "schedule",
    "precisionSelector": "precision",
    "emaSpinBox": "ema",
    "clipSpinBox": "clip",
    "seedSpinBox": "seed",
    "viewsLineEdit": "views",
    "accelerationsLineEdit": "accelerations",
    "masksLineEdit": "masks",
    "photonsLineEdit": "photons",
    "kspaceNoiseSpinBox": "kspace_noise",
    "misregistrationSpinBox": "misregistration",
    "misregistrationDegreesSpinBox": "misregistration_degrees",
    "fusionLambdaSelector": "fusion_lambda",
    "auxSelector": "aux",
    "auxEverySpinBox": "aux_every",
    "augmentCheckBox": "augment",
    "padSpinBox": "pad",
    "affineSpinBox": "affine",
    "elasticSpinBox": "elastic",
    "invertSpinBox": "invert",
    "validateEverySpinBox": "validate_every",
    "validationSlicesSpinBox": "validation_slices",
    "patienceSpinBox": "patience",
    "checkpointEverySpinBox": "checkpoint_every",
}
"""Widget -> setting; all others are in the table of every setting."""


def _choices() -> dict[str, list[tuple[str, str]]]:
    return {
        "schedule": [("halving", _("Halved in steps")), ("cosine", _("Warm-up and cosine"))],
        "precision": [("float32", "float32"), ("bf16", "bf16 (less memory)")],
        "fusion_lambda": [("half", _("One half, as published")), ("any", _("Any, and maps of it"))],
        "aux": [("masked", _("Sees none of its tokens")), ("leak", _("As published"))],
    }


class Fields:
    """The widgets of FIELDS.

    take(name, value): change a setting; raises InputError. A text that cannot be a value stays in its field with the
    reason until it is mended or the setting is changed elsewhere.
    """

    def __init__(self, section: "Section", take: Callable[[str, Any], None]) -> None:
        self._section = section
        self._take = take
        self._drafts: dict[str, tuple[Any, str, str]] = {}
        self._kinds: dict[str, str] = {}
        for widget, name in FIELDS.items():
            self._connect(widget, name)

    @property
    def problem(self) -> str:
        """Why what stands in a field cannot be used; empty when all of it can."""
        return next((sentence for _value, _text, sentence in self._drafts.values()), "")

    def forget(self) -> None:
        """Texts that could not be used are dropped."""
        self._drafts.clear()

    def update(self, settings: "Settings") -> None:
        """Show the settings, and at each field why what stands in it cannot be used."""
        for widget, name in FIELDS.items():
            value = settings.value(name)
            if widget in self._drafts and self._drafts[widget][0] != value:
                del self._drafts[widget]  # it was set elsewhere
            if widget not in self._drafts:
                self._show(widget, name, value)
            if self._kinds[widget] == "LineEdit":
                sentence = self._drafts[widget][2] if widget in self._drafts else ""
                self._section.message(f"{widget.removesuffix('LineEdit')}Message", sentence)

    def _connect(self, widget: str, name: str) -> None:
        field = getattr(self._section.ui, widget)
        field.toolTip = SENTENCES[name][0].upper() + SENTENCES[name][1:]
        kinds = {"SpinBox": "valueChanged(int)", "LineEdit": "editingFinished()", "CheckBox": "toggled(bool)"}
        kind = next((one for one in kinds if widget.endswith(one)), "Selector")
        if field.inherits("QDoubleSpinBox"):
            kind = "DoubleSpinBox"
        self._kinds[widget] = kind
        if kind == "Selector":
            self._section.on(
                field, "currentIndexChanged(int)", lambda index: self._try(widget, name, field.itemData(index))
            )
        elif kind == "LineEdit":
            self._section.on(field, "editingFinished()", lambda: self._entered(widget, name, field.text))
        else:
            signal = "valueChanged(double)" if kind == "DoubleSpinBox" else kinds[kind]
            self._section.on(field, signal, lambda value: self._try(widget, name, value))

    def _entered(self, widget: str, name: str, text: str) -> None:
        before = self._section.panel.configuration.settings.value(name)
        if text == shown(before):
            self._drafts.pop(widget, None)
            self._section.panel.changed()
            return
        try:
            value = parsed(name, text)
        except InputError as error:
            self._drafts[widget] = (before, text, as_sentence(str(error)))
            self._section.panel.changed()
        else:
            self._try(widget, name, value, text)

    def _try(self, widget: str, name: str, value: Any, text: str | None = None) -> None:
        self._drafts.pop(widget, None)
        try:
            self._take(name, value)
        except InputError as error:
            before = self._section.panel.configuration.settings.value(name)
            if text is not None:
                self._drafts[widget] = (before, text, as_sentence(str(error)))
        self._section.panel.changed()

    def _show(self, widget: str, name: str, value: Any) -> None:
        field, kind = getattr(self._section.ui, widget), self._kinds[widget]
        if kind == "Selector":
            rows = _choices()[name]
            if value not in [data for data, _label in rows]:
                rows = [*rows, (value, str(value))]
            fill(field, rows, value)
        elif kind == "LineEdit":
            if field.text != shown(value):
                field.text = shown(value)
        elif kind == "CheckBox":
            field.checked = bool(value)
        elif field.value != value:
            field.value = value
