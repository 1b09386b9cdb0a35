"""Tables of settings, of any method: from a TOML file, from words as typed, and what is wrong with them. No torch."""

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
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


def checked(values: Mapping[str, Any], base: Any, items: Mapping[str, type] | None = None) -> dict[str, Any]:
    """`values` to change a configuration (a dataclass) by, each of the kind of what `base` has there.

    items: what lists hold, where `base` does not show it. Raises InputError for an unknown key, with the nearest valid
    one, and for an unusable value.
    """
    known = {f.name: getattr(base, f.name) for f in fields(base)}
    for key, value in values.items():
        check_known(key, known)
        if not _fits(value, known[key], (items or {}).get(key)):
            raise InputError(f"The training setting '{key}' has the unusable value {value!r}.")
    return dict(values)


def check_numbers(config: Any, positive: Sequence[str], not_negative: Sequence[str]) -> None:
    """Raise InputError for numbers of a configuration that are not above 0, are below it, or are not finite."""
    for name in positive:
        if not getattr(config, name) > 0:
            raise InputError(f"{name} must be larger than 0, not {getattr(config, name)}.")
    for name in not_negative:
        if not getattr(config, name) >= 0:
            raise InputError(f"{name} must not be negative, not {getattr(config, name)}.")
    settings = (getattr(config, f.name) for f in fields(config))
    numbers = (one for value in settings for one in (value if isinstance(value, tuple) else (value,)))
    if not all(math.isfinite(one) for one in numbers if isinstance(one, float)):
        raise InputError("All numbers of a configuration must be finite.")


def as_json(config: Any) -> dict[str, Any]:
    """All settings of a configuration as JSON types."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}


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


def _fits(value: Any, like: Any, item: type | None = None) -> bool:
    """Whether a value from a file is of the kind of a default: whole numbers may stand for others."""
    if item is not None or isinstance(like, tuple):
        inner = like[0] if item is None else item()
        return isinstance(value, list | tuple) and all(_fits(one, inner) for one in value)
    if isinstance(value, bool) != isinstance(like, bool):
        return False
    return isinstance(value, int | float) if isinstance(like, float) else isinstance(value, type(like))
