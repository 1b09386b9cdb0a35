"""The settings that the training process gets: a preset, the user's changes, and what the data decide. No widgets.

The same checks as on the command line: all of them are TrainConfig's own.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.config import TrainConfig, training_preset
from MSLFusionTrainingLib.configfile import check_name, toml_of, toml_text

OF_THE_DATA = ("data", "modalities", "size", "pixel_mm")
"""What a training set decides."""


@dataclass(frozen=True)
class Settings:
    """preset: its name. changes: values that differ from it. decided: what the data give, whatever the others say."""

    preset: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    decided: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_text(cls, preset: str, changes: str, decided: Mapping[str, Any] | None = None) -> "Settings":
        """From what the parameters keep; what cannot be read (of a later version, say) is left out."""
        try:
            values = tomllib.loads(changes)
        except tomllib.TOMLDecodeError:
            values = {}
        return cls(preset, values, decided or {})

    @cached_property
    def _checked(self) -> tuple[TrainConfig | None, str]:
        try:
            return TrainConfig.from_dict({"preset": self.preset, **self.changes, **self.decided}), ""
        except InputError as error:
            return None, str(error)

    @property
    def config(self) -> TrainConfig | None:
        """All settings, None when some cannot be."""
        return self._checked[0]

    @property
    def problem(self) -> str:
        """Why the settings cannot be used; empty when they can."""
        return self._checked[1]

    @cached_property
    def of_preset(self) -> dict[str, Any]:
        """The values of the preset (of the default one where it is unknown)."""
        try:
            return training_preset(self.preset).to_dict()
        except InputError:
            return TrainConfig().to_dict()

    def value(self, name: str) -> Any:
        """What a setting is now, whether it can be used or not."""
        for values in (self.decided, self.changes, self.of_preset):
            if name in values:
                return values[name]
        raise KeyError(name)

    def changed(self, name: str) -> bool:
        """Whether the user has set it to something else than the preset has."""
        return name in self.changes

    def with_value(self, name: str, value: Any) -> "Settings":
        """The settings with one changed. Raises InputError, and nothing changes, when it cannot have that value."""
        check_name(name)
        if isinstance(value, tuple):
            value = list(value)
        changes = {key: one for key, one in self.changes.items() if key != name}
        if not _same(value, self.of_preset[name]):
            changes[name] = value
        after = Settings(self.preset, changes, self.decided)
        # Values that fit one another only together are set one after the other: what was wrong before may stay so.
        if after.problem and (not self.problem or after.problem != self.problem):
            raise InputError(after.problem)
        return after

    def changes_text(self) -> str:
        """The changes as TOML, for the parameters."""
        return toml_of(self.changes)

    def text(self) -> str:
        """The CONFIG.toml that the process gets. Raises InputError when the settings cannot be used."""
        if self.config is None:
            raise InputError(self.problem)
        return toml_text(self.config, [*self.changes, *(name for name in self.decided if name not in self.changes)])


def from_file(path: str) -> Settings:
    """The settings of a CONFIG.toml: its preset, and what differs from it. Raises InputError for a bad file.

    A training set that is named without its whole path lies beside the file.
    """
    config = TrainConfig.from_file(path)
    values = config.to_dict()
    if config.data and not os.path.isabs(config.data):
        values["data"] = os.path.join(os.path.dirname(os.path.abspath(path)), config.data)
    base = training_preset(config.preset).to_dict()
    return Settings(config.preset, {name: value for name, value in values.items() if not _same(value, base[name])})


def _same(value: Any, other: Any) -> bool:
    """Whether two values mean the same: 2 is 2.0, a list is a tuple."""
    if isinstance(value, bool) != isinstance(other, bool):
        return False
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(value) == list(other)
    return bool(value == other)
