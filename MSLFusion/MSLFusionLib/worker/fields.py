"""Entries of a request's header, checked: headers come from outside."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.wire import Message

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MSLFusionLib.recon.geometry import VolumeGeometry


def text(message: Message, key: str, default: str | None = None) -> str:
    """A text; raises InputError when it is missing without a default, or no text."""
    value = message.header.get(key, default)
    if not isinstance(value, str):
        raise InputError(f"The request '{message.type}' needs a text '{key}'.")
    return value


def texts(message: Message, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """A list of texts."""
    value = message.header.get(key, list(default))
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InputError(f"'{key}' of the request '{message.type}' must be a list of texts.")
    return tuple(value)


def whole(message: Message, key: str, default: int | None = None) -> int:
    """A whole number."""
    value = message.header.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"The request '{message.type}' needs a whole number '{key}'.")
    return value


def flag(message: Message, key: str) -> bool | None:
    """True, False, or None when it is missing."""
    value = message.header.get(key)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"'{key}' of the request '{message.type}' must be true or false.")
    return value


def number(message: Message, key: str, default: float | None = None) -> float:
    """A finite number."""
    value = message.header.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"The request '{message.type}' needs a number '{key}'.")
    return float(value)


def numbers(message: Message, key: str) -> list[float]:
    """A list of numbers, at least one."""
    value = message.header.get(key)
    if not isinstance(value, list) or not value:
        raise InputError(f"The request '{message.type}' needs a list of numbers '{key}'.")
    return [number(Message({"type": message.type, key: one}), key) for one in value]


def table(message: Message, key: str) -> dict[str, Any]:
    """A JSON object; empty when it is missing."""
    value = message.header.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"'{key}' of the request '{message.type}' must be a table.")
    return value


def lam(message: Message) -> "float | np.ndarray":
    """The lambda: an array "lambda", or a number."""
    return message.arrays["lambda"] if "lambda" in message.arrays else number(message, "lambda")


def transform(message: Message, key: str) -> "sitk.Transform":
    """A matrix of 16 numbers, 4 x 4 row by row, for points in mm; the identity when it is missing.

    Raises InputError for other numbers, and for a matrix that moves points out of space or into a plane.
    """
    import SimpleITK as sitk

    found = sitk.AffineTransform(3)
    if key not in message.header:
        return found
    values = numbers(message, key)
    if len(values) != 16 or values[12:] != [0.0, 0.0, 0.0, 1.0]:
        raise InputError(f"'{key}' of the request '{message.type}' must have 4 x 4 numbers, the last row 0 0 0 1.")
    matrix = np.array(values).reshape(4, 4)
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-6:
        raise InputError(f"'{key}' of the request '{message.type}' cannot be turned back.")
    found.SetMatrix(matrix[:3, :3].ravel().tolist())
    found.SetTranslation(matrix[:3, 3].tolist())
    return found


def grid(message: Message, name: str) -> "VolumeGeometry":
    """Where the volume `name` lies: its entry in "volumes"."""
    from MSLFusionLib.recon.geometry import VolumeGeometry

    described = table(message, "volumes").get(name)
    if not isinstance(described, dict):
        raise InputError(f"The request '{message.type}' does not tell where the volume '{name}' lies.")
    return VolumeGeometry.from_dict(described)


def volume(message: Message, name: str) -> "sitk.Image | None":
    """The volume `name`, float32: an array with its entry in "volumes"; None when it is missing.

    Raises InputError when array and geometry do not agree or values are not numbers.
    """
    array = message.arrays.get(name)
    if array is None:
        return None
    geometry = grid(message, name)
    if array.shape != geometry.shape:
        raise InputError(f"The volume '{name}' has the shape {array.shape}, its geometry says {geometry.shape}.")
    values = array.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise InputError(f"The volume '{name}' holds values that are not numbers.")
    return geometry.image(values)
