"""Tables of settings, of any method: from a TOML file, from words as typed, and what is wrong with them. No torch."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError

METHOD = "method"
"""The key that names the method which a file of settings is for; without it msl."""


def read_table(path: Path | str) -> dict[str, Any]:
    """The settings in a TOML file; InputError when it is missing or damaged."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"The configuration {path} does not exist.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The configuration {path} cannot be read: {error}.") from None


def table_of(path: Path | str, method: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of `method` in a TOML file, with `changes` on top and without the key `method`.

    Raises InputError for a file that is missing, damaged or for another method.
    """
    values = read_table(path)
    named = values.pop(METHOD, "msl")
    if named != method:
        raise InputError(f"The configuration {path} is for the method {named}, not {method}.")
    return values | dict(changes or {})


def check_known(key: str, known: Iterable[str]) -> None:
    """Raise InputError for a setting that does not exist, with the nearest one that does."""
    names = list(known)
    if key not in names:
        raise InputError(f"The training setting '{key}' is unknown.{nearest(key, names)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint, such as " Did you mean 'crop'?"; empty where nothing is near."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f" Did you mean '{near[0]}'?" if near else ""


def key_value(text: str) -> tuple[str, Any]:
    """An argparse type: KEY=VALUE, the value as JSON or, failing that, as text."""
    key, equals, value = text.partition("=")
    if not (equals and key):
        raise ValueError("not KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
