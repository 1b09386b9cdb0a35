"""The JSON file that describes raw data which do not describe themselves: its schema, its reading, its checks.

`SCHEMA` is a JSON Schema (draft 2020-12), printed by `mslfusion sensors schema` and kept in Docs/sensors.schema.json;
`validate` knows the words of it that are used here, so that what is documented is what is checked.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from MSLFusionLib.errors import InputError

MAX_BYTES = 16 * 2**20
LEAST = {
    "sinogram": '"kind": "sinogram", "beam", "angles", "pitch_mm" and, but for parallel beams, "source_origin_mm" and '
    '"source_detector_mm"',
    "kspace": '"kind": "kspace" and "fov_mm"',
}
"""The fields that no description can do without, for people."""
_NAME = {"type": "string", "maxLength": 1000}
_LENGTH = {"type": "number", "exclusiveMinimum": 0, "maximum": 1e5}
_VECTOR3 = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
_POSITION = {
    "slice_mm": {**_LENGTH, "description": "distance between neighbouring slices; default 1"},
    "centre_mm": {
        **_VECTOR3,
        "description": "where the centre of the first slice lies, LPS: the axis of rotation of a CT, the centre of the "
        "field of view of an MR; default 0 0 0",
    },
    "direction": {
        "type": "array",
        "items": {"type": "number", "minimum": -1, "maximum": 1},
        "minItems": 9,
        "maxItems": 9,
        "description": "3 x 3 cosines, row by row: the columns are the directions in LPS of the image's x (to the "
        "right), its rows (downwards), and of the slices; default identity",
    },
    "comment": {"type": "string", "maxLength": 10000},
    "array": {**_NAME, "description": "name of the data in the file, with / in groups and structs"},
}
_ANGLES = {
    "description": "one per view: a list, the name of an array in the file, or evenly spaced",
    "oneOf": [
        {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 65536},
        _NAME,
        {
            "type": "object",
            "properties": {
                "start": {"type": "number"},
                "step": {"type": "number"},
                "count": {"type": "integer", "minimum": 1, "maximum": 65536},
            },
            "required": ["start", "step", "count"],
            "additionalProperties": False,
        },
    ],
}
_SINOGRAM: dict[str, Any] = {
    "title": "sinogram",
    "type": "object",
    "properties": {
        "kind": {"const": "sinogram"},
        **_POSITION,
        "axes": {
            "type": "array",
            "items": {"enum": ["slices", "views", "bins"]},
            "minItems": 2,
            "maxItems": 3,
            "uniqueItems": True,
            "description": "what the axes of the array are; default views, bins or slices, views, bins",
        },
        "beam": {"enum": ["flat", "arc", "parallel"], "description": "the shape of the detector, or parallel beams"},
        "source_origin_mm": {**_LENGTH, "description": "from the source to the axis of rotation; fans only"},
        "source_detector_mm": {**_LENGTH, "description": "from the source to the detector; fans only"},
        "pitch_mm": {**_LENGTH, "description": "between the centres of two bins, on the detector; along an arc"},
        "pitch_degrees": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 10,
            "description": "instead of pitch_mm, for an arc: the angle between two bins seen from the source",
        },
        "offset_mm": {
            "type": "number",
            "minimum": -1e4,
            "maximum": 1e4,
            "description": "where the detector's middle lies along its direction, on the detector; default 0",
        },
        "offset_bins": {
            "type": "number",
            "minimum": -32768,
            "maximum": 32768,
            "description": "the same in bins, instead of offset_mm",
        },
        "angles": _ANGLES,
        "angle_unit": {"enum": ["degrees", "radians"], "description": "default degrees"},
        "rotation": {
            "enum": ["counterclockwise", "clockwise"],
            "description": "how the source turns as angles grow, x to the right and y up; at angle 0 it is below, at "
            "(0, -source_origin_mm). Default counterclockwise",
        },
        "detector_direction": {
            "enum": ["forward", "reversed"],
            "description": "forward (default): at angle 0 bins run along x, to the right; reversed: to the left",
        },
        "values": {
            "enum": ["line-integrals", "counts"],
            "description": "line integrals of the attenuation (default), or what the detector counted",
        },
        "i0": {
            "oneOf": [{"type": "number", "exclusiveMinimum": 0}, _NAME],
            "description": "counts without an object: a number, or the name of an array (bins), (views, bins)",
        },
        "unit": {
            "enum": ["1", "mm/cm", "network"],
            "description": "of line integrals: none (attenuation per mm times mm, or per cm times cm; default), "
            "attenuation per cm times mm, or network values (attenuation / 0.06 per mm) times mm",
        },
        "field_of_view_mm": {**_LENGTH, "description": "side of the image; default what all views see"},
    },
    "required": ["kind", "beam", "angles"],
    "additionalProperties": False,
}
_KSPACE: dict[str, Any] = {
    "title": "k-space",
    "type": "object",
    "properties": {
        "kind": {"const": "kspace"},
        **_POSITION,
        "axes": {
            "type": "array",
            "items": {"enum": ["slices", "coils", "ky", "kx", "parts"]},
            "minItems": 2,
            "maxItems": 5,
            "uniqueItems": True,
            "description": "what the axes of the array are, parts being real and imaginary part; default the last of "
            "slices, coils, ky, kx",
        },
        "fov_mm": {
            "type": "array",
            "items": _LENGTH,
            "minItems": 2,
            "maxItems": 2,
            "description": "the encoded field of view along ky (image rows) and kx (image columns)",
        },
        "matrix": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1, "maximum": 16384},
            "minItems": 2,
            "maxItems": 2,
            "description": "rows (ky) and columns (kx) as stored: checked against the array, so that swapped axes show",
        },
        "convention": {
            "enum": ["centred-ortho", "official", "uncentred"],
            "description": "fftshift(fft2(ifftshift(x), norm='ortho')), the default; fftshift(fft2(x)); or fft2(x)",
        },
        "readout": {
            "enum": ["ky", "kx"],
            "description": "the axis of the readout, whose oversampling is removed; default ky",
        },
        "oversampling": {
            "type": "integer",
            "minimum": 1,
            "maximum": 8,
            "description": "how many times the field of view the readout encodes; the image is cropped; default 1",
        },
        "mask": {**_NAME, "description": "an array (ky, kx) or (kx): not zero where measured; default the data's"},
    },
    "required": ["kind", "fov_mm"],
    "additionalProperties": False,
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Description of raw CT or MR data for MSLFusion",
    "oneOf": [_SINOGRAM, _KSPACE],
}


def stem(path: Path) -> Path:
    """The path without its ending (.nii.gz is one)."""
    name = path.name
    for ending in (".nii.gz",):
        if name.lower().endswith(ending):
            return path.with_name(name[: -len(ending)])
    return path.with_name(os.path.splitext(name)[0])


def sidecar_path(data: Path) -> Path | None:
    """The description beside a data file: FILE.json, or the same name with .json; None when there is none."""
    for path in (data.with_name(f"{data.name}.json"), stem(data).with_name(f"{stem(data).name}.json")):
        if path.is_file() and path != data:
            return path
    return None


def read_sidecar(path: Path) -> dict[str, Any]:
    """The checked description in a JSON file; InputError, naming file and field, when it is not as the schema says."""
    if not path.is_file():
        raise InputError(f"The description {path} does not exist.")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"The description {path} is larger than {MAX_BYTES >> 20} MB.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"The description {path} is no JSON: {str(error)[:200]}.") from None
    return checked(content, str(path))


def checked(content: Any, where: str) -> dict[str, Any]:
    """`content` when it is as the schema says; InputError, naming `where` and the field, otherwise."""
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: a description is a JSON object.")
    kinds = {"sinogram": _SINOGRAM, "kspace": _KSPACE}
    kind = content.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise InputError(f'{where}: "kind" must be "sinogram" or "kspace".')
    problem = validate(content, kinds[kind])
    if problem:
        raise InputError(f"{where}: {problem}.")
    return dict(content)


def validate(value: Any, schema: Mapping[str, Any], name: str = "") -> str | None:
    """What is wrong with a JSON value, naming the field, or None when it is as the schema says."""
    field = f'"{name}"' if name else "the description"
    if "oneOf" in schema:
        problems = [validate(value, one, name) for one in schema["oneOf"]]
        if None in problems:
            return None
        fitting = [p for p, one in zip(problems, schema["oneOf"], strict=True) if _is(value, one.get("type"))]
        return fitting[0] if fitting else f"{field} is of none of the kinds it may be"
    if "const" in schema and value != schema["const"]:
        return f"{field} must be {schema['const']}"
    if "enum" in schema:
        known = isinstance(value, str) and value in schema["enum"]
        return None if known else f"{field} must be one of {', '.join(schema['enum'])}, not {_short(value)}"
    if not _is(value, schema.get("type")):
        return f"{field} must be of the type {schema['type']}, not {_short(value)}"
    if isinstance(value, Mapping):
        return _validate_object(value, schema, name)
    if isinstance(value, list):
        return _validate_list(value, schema, name)
    if isinstance(value, str):
        return f"{field} is too long" if len(value) > schema.get("maxLength", 10**6) else None
    for word, bad in (
        ("minimum", lambda low: value < low),
        ("exclusiveMinimum", lambda low: value <= low),
        ("maximum", lambda high: value > high),
    ):
        if word in schema and bad(schema[word]):
            words = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most"}
            return f"{field} must be {words[word]} {schema[word]:g}, not {value:g}"
    return None


def _validate_object(value: Mapping[str, Any], schema: Mapping[str, Any], name: str) -> str | None:
    properties = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            return f'"{name}.{key}" is missing' if name else f'"{key}" is missing'
    for key, one in value.items():
        if key not in properties:
            return f'"{str(key)[:100]}" is no field of it'
        problem = validate(one, properties[key], f"{name}.{key}" if name else key)
        if problem:
            return problem
    return None


def _validate_list(value: list[Any], schema: Mapping[str, Any], name: str) -> str | None:
    low, high = schema.get("minItems", 0), schema.get("maxItems", 10**9)
    if not low <= len(value) <= high:
        return f'"{name}" must have {low if low == high else f"{low} to {high}"} entries, not {len(value)}'
    for number, one in enumerate(value):
        problem = validate(one, schema["items"], f"{name}[{number}]")
        if problem:
            return problem
    if schema.get("uniqueItems") and len(set(map(str, value))) < len(value):
        return f'"{name}" names something twice'
    return None


def _is(value: Any, kind: str | None) -> bool:
    if kind is None:
        return True
    if isinstance(value, bool):
        return False
    if kind == "number":
        return isinstance(value, int | float) and abs(value) < 1e300  # not NaN either
    return isinstance(value, {"integer": int, "string": str, "array": list, "object": Mapping}[kind])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
