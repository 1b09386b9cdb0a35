"""Settings as text: a TOML file of a configuration, and single settings as people type them. No torch."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.config import TrainConfig, item_type
from MSLFusionTrainingLib.tables import check_known

SETTINGS = tuple(one.name for one in fields(TrainConfig))
"""The names of all settings, in the order of TrainConfig."""


def toml_text(config: TrainConfig, first: Iterable[str] = ()) -> str:
    """A TOML file of all settings, those named in `first` before the others; TrainConfig.from_file reads it back."""
    values = config.to_dict()
    names = ["preset", *(name for name in first if name != "preset")]
    parts = [_lines(values, names)]
    others = [name for name in SETTINGS if name not in names]
    if others:
        parts.append("# as the preset has them\n" + _lines(values, others))
    tables = [f"[{name}]\n" + _lines(value, value) for name, value in values.items() if isinstance(value, dict)]
    return "\n".join([*parts, *(text for text in tables if text.count("\n") > 1)])


def toml_of(values: Mapping[str, Any]) -> str:
    """A TOML file of some settings, in the order in which they come."""
    tables = "".join(f"[{name}]\n" + _lines(value, value) for name, value in values.items() if isinstance(value, dict))
    return _lines(values, values) + tables


def shown(value: Any) -> str:
    """A setting as it is shown in a field: texts and lists without quotes and brackets, tables as in TOML."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_toml(one)}" for key, one in value.items())
    return _toml(value)


def parsed(name: str, text: str) -> Any:
    """The value that somebody typed for a setting, of the kind that the setting has.

    Raises InputError for an unknown setting, with the nearest one, and for a text that is no such value.
    """
    check_name(name)
    text = text.strip()
    item = item_type(name)
    default = TrainConfig().to_dict()[name]
    try:
        if item is not None:
            words = [word for word in text.strip("[]").replace(",", " ").split() if word]
            return tuple(word.strip("\"'") if item is str else _number(word, item) for word in words)
        if isinstance(default, str):
            return text
        if isinstance(default, dict):
            text = text[1:-1] if text.startswith("{") and text.endswith("}") else text
            return tomllib.loads(f"x = {{{text}}}")["x"]
        if isinstance(default, bool):
            return {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}[text.lower()]
        return _number(text, type(default))
    except (ValueError, KeyError, TypeError):  # TOMLDecodeError is a ValueError
        raise InputError(f"'{text}' is no value for {name}: {_wanted(default, item)}.") from None


def check_name(name: str) -> None:
    """Raise InputError for a setting that does not exist, with the nearest one that does."""
    check_known(name, SETTINGS)


def _number(text: str, kind: type) -> Any:
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if kind is int:
            if not value.is_integer():  # 1e5 is a whole number, too; what is not finite is none
                raise
            return int(value)
        return value


def _wanted(default: Any, item: type | None) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", dict: "such as width = 32"}
    lists = {int: "whole numbers", float: "numbers", str: "words"}
    return f"{lists[item]} with commas between" if item is not None else kinds[type(default)]


def _lines(values: Mapping[str, Any], names: Iterable[str]) -> str:
    return "".join(f"{name} = {_toml(values[name])}\n" for name in names if not isinstance(values[name], dict))


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    return repr(value)
