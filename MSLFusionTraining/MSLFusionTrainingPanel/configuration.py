"""Section 2: the settings of the training, from a preset to every single one, and their CONFIG.toml."""

from typing import Any

import qt
from slicer.i18n import tr as _

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionPanel.devices import Devices, fill
from MSLFusionPanel.section import Section
from MSLFusionPanel.words import as_sentence
from MSLFusionTrainingLib.configfile import shown
from MSLFusionTrainingPanel import presets, settings
from MSLFusionTrainingPanel.everysetting import EverySetting
from MSLFusionTrainingPanel.fields import Fields
from MSLFusionTrainingPanel.parameters import DataSource
from MSLFusionTrainingPanel.settings import OF_THE_DATA, Settings

_FILTER = "CONFIG.toml (*.toml)"


class ConfigurationSection(Section):
    """Preset, fields, the table of every setting, files. What is shown is what the process gets."""

    def setup(self) -> None:
        """Connect the widgets."""
        ui = self.ui
        self._kept: tuple[Any, Settings] | None = None
        self._failure = ""
        self._remark = ""
        self._devices = Devices(self, "configuration")
        self._fields = Fields(self, self.take)
        self._every = EverySetting(self, self.take)
        self._tips = {name: getattr(ui, name).toolTip for name in ("resetButton", "saveConfigurationButton")}
        self.on(ui.presetSelector, "currentIndexChanged(int)", self._choose)
        self.on(ui.resetButton, "clicked()", self.reset)
        self.on(ui.loadConfigurationButton, "clicked()", self._load_clicked)
        self.on(ui.saveConfigurationButton, "clicked()", self._save_clicked)

    @property
    def settings(self) -> Settings:
        """The settings as chosen here and decided by the data."""
        chosen, decided = self.parameters.configuration, self.panel.data.decided()
        about = (chosen.preset, chosen.changes, repr(decided))
        if self._kept is None or self._kept[0] != about:
            found = Settings.from_text(chosen.preset, chosen.changes, decided)
            if "modalities" in decided and not found.changed("name"):
                decided = {**decided, "name": f"msl-{'-'.join(decided['modalities'])}"}
                found = Settings.from_text(chosen.preset, chosen.changes, decided)
            self._kept = (about, found)
        return self._kept[1]

    def text(self) -> str:
        """The CONFIG.toml that a training gets; InputError when the settings cannot be used."""
        if self._fields.problem:
            raise InputError(self._fields.problem)
        return self.settings.text()

    def update(self) -> None:
        """Show the settings and what is wrong with them."""
        now, ui = self.settings, self.ui
        rows = presets.rows()
        if now.preset not in [name for name, _label in rows]:
            rows.append((now.preset, _("{name} (not there)").format(name=now.preset)))
        fill(ui.presetSelector, rows, now.preset)
        ui.presetInfo.text = presets.in_words(now.preset)
        self._fields.update(now)
        self._every.update(now)
        self._devices.update([])
        self.message("deviceMessage", self._devices.problem() or self._devices.trouble, self._device_kind())
        changes = ", ".join(f"{name} = {shown(value)}" for name, value in now.changes.items())
        changed = _("Changed: {changes}.").format(changes=changes)
        ui.changesInfo.text = changed if changes else _("All settings are those of the preset.")
        ui.resetButton.enabled = bool(set(now.changes) - set(_OF_HEADS)) or bool(self._fields.problem)
        nothing = _("Nothing differs from the preset.")
        ui.resetButton.toolTip = self._tips["resetButton"] if ui.resetButton.enabled else nothing
        problem = as_sentence(now.problem)
        wrong = self._fields.problem or problem
        ui.saveConfigurationButton.enabled = not wrong
        ui.saveConfigurationButton.toolTip = wrong or self._tips["saveConfigurationButton"]
        if problem:
            self.message("configurationMessage", problem)
        else:
            self.message("configurationMessage", self._failure or self._remark, "failure" if self._failure else "info")

    def scene_closed(self) -> None:
        """The settings went with the scene."""
        self._forget()

    def take(self, name: str, value: Any) -> None:
        """Change one setting. Raises InputError, and nothing changes, when it cannot have that value."""
        after = self.settings.with_value(name, value)
        self._failure = self._remark = ""
        self._put(after)

    def reset(self) -> None:
        """All settings of the preset again."""
        self._start_from(self.settings.preset)

    def load(self, path: str) -> None:
        """The settings of a CONFIG.toml, its data included."""
        self._forget()
        try:
            found = settings.from_file(path)
        except InputError as error:
            self._failure = as_sentence(str(error))
        else:
            data = self.parameters.data
            if found.changes.get("data"):
                self.panel.data.use_set(str(found.changes["data"]))
            else:
                data.source = DataSource.HEADS
                data.modalities = " ".join(found.value("modalities"))
            # A training set has its own grid; generated heads have the one that the settings say.
            own = OF_THE_DATA if found.changes.get("data") else ("data", "modalities")
            self._put(Settings(found.preset, {k: v for k, v in found.changes.items() if k not in own}))
            self._remark = _("The settings were loaded.")
        self.panel.changed()

    def save(self, path: str) -> None:
        """Write all settings as a CONFIG.toml."""
        try:
            text = self.text()
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except (InputError, OSError) as error:
            self._failure = as_sentence(getattr(error, "strerror", None) or str(error))
        else:
            self._failure, self._remark = "", _("The settings were saved.")
        self.panel.changed()

    def _put(self, after: Settings) -> None:
        chosen = self.parameters.configuration
        if chosen.preset != after.preset:
            chosen.preset = after.preset
        text = after.changes_text()
        if chosen.changes != text:
            chosen.changes = text
        self.panel.changed()

    def _choose(self, index: int) -> None:
        name = self.ui.presetSelector.itemData(index)
        if name and name != self.parameters.configuration.preset:
            self._start_from(name)

    def _start_from(self, preset: str) -> None:
        kept = {key: self.settings.changes[key] for key in _OF_HEADS if self.settings.changed(key)}
        self._forget()
        self._put(Settings(preset, kept))

    def _device_kind(self) -> str:
        return "error" if self._devices.problem() else "failure"

    def _forget(self) -> None:
        self._failure = self._remark = ""
        self._fields.forget()
        self._every.forget()

    def _load_clicked(self) -> None:
        path = qt.QFileDialog.getOpenFileName(self.panel.root, _("Load settings"), "", _FILTER)
        if path:
            self.load(path)

    def _save_clicked(self) -> None:
        path = qt.QFileDialog.getSaveFileName(self.panel.root, _("Save settings"), "CONFIG.toml", _FILTER)
        if path:
            self.save(path if path.lower().endswith(".toml") else f"{path}.toml")


_OF_HEADS = ("heads", "head_seed", "slices", "validation_heads")
"""Settings of section 1: another preset leaves them alone."""
