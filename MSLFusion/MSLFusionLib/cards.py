"""What a model's card says, for people: its contents as lines, and what lies outside of what the model has seen.

Cards are JSON from outside: `summary` leaves out what is missing or has another form. Nothing but the standard
library is needed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from MSLFusionLib.errors import InputError

_PIXEL_TOLERANCE = 0.1
"""Share by which the in-plane pixel may differ from the training's before it counts as another one."""

_QUALITIES = (
    ("CT quality", ("ct", "network"), ("ct", "fbp")),
    ("MR quality", ("mr", "network"), ("mr", "zero_filled")),
    ("Restored", ("restored",), ("zero_filled",)),
    ("Super-resolved", ("super_resolved",), ("bicubic",)),
)
"""What a card's figures are of, where among its metrics they stand, and where those without the network."""


def summary(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, text) of each thing worth knowing about a model, in reading order; without line breaks."""
    few, many, noise = (_noise_limits(card).get(key) for key in ("photons", "most_photons", "kspace_sigma"))
    photons = None if few is None else "none"
    if few is not None and many is not None:
        photons = f"{few:,.0f} to {many:,.0f} photons per ray"
    rows, columns = _pair(_at(card, "grid", "size"))
    pixel = _number(_at(card, "grid", "pixel_mm"))
    grid = None
    if rows and columns:
        grid = f"{columns:g} x {rows:g} pixels"
        grid += f" of {pixel:.3g} mm ({columns * pixel:.0f} x {rows * pixel:.0f} mm)" if pixel else ""
    parameters, scale = _number(card.get("parameters")), _number(card.get("scale"))
    lines: list[tuple[str, str | None]] = [
        ("Trained on", _text(_at(card, "training", "data"))),
        ("Modalities", _modalities(card)),
        ("Resolution", None if scale is None else f"makes images {scale:g} times finer"),
        ("CT views", _span(_at(card, "sensors", "views"))),
        ("CT scan", _words(_at(card, "sensors", "scan"))),
        ("CT noise", photons),
        ("MR acceleration", _span(_at(card, "sensors", "acceleration"))),
        ("MR masks", _words(_at(card, "sensors", "masks"))),
        ("MR noise", None if noise is None else f"up to {noise:g} of the maximum" if noise else "none"),
        ("Noise", _text(_at(card, "sensors", "noise")) if few is None and noise is None else None),
        ("In-plane grid", grid),
        ("Network", " ".join(filter(None, (_text(card.get("architecture")), _bracketed(card.get("preset"))))) or None),
        ("Parameters", None if parameters is None else f"{parameters:,.0f}"),
        ("Statistics", _text(_at(card, "statistics", "data"))),
        ("Measured on", _text(_at(card, "metrics", "data"))),
    ]
    lines += [(label, _quality(card, *places)) for label, *places in _QUALITIES]
    lines += [
        ("Version", _text(card.get("version"))),
        ("Licence", _text(card.get("licence"))),
        ("Limits", _text(card.get("limits"))),
    ]
    return [(label, " ".join(text.split())) for label, text in lines if text]


def outside_training(
    card: Mapping[str, Any], settings: Mapping[str, Any], modalities: Sequence[str] = ("ct", "mr")
) -> list[str]:
    """One sentence for each setting that the model was not trained on; empty when all is familiar.

    settings: a SamplingPlan as a dictionary, or what a reconstruction achieved (tables "ct" and "mr"); entries that
    are missing or None are not judged, nor those that the card says nothing about. `pixel_mm` may be among them: the
    in-plane pixel of the network's slices. modalities: those the network is to see. Raises InputError when the
    card's ranges are no ranges.
    """
    who = f"The model '{card['name']}'" if _text(card.get("name")) else "The model"
    given = _flat(settings)
    sentences = []
    known = card.get("modalities")
    foreign = [name.upper() for name in modalities if isinstance(known, list) and name not in known]
    if foreign:
        sentences.append(f"{who} was not trained on {' and '.join(foreign)} and cannot use it.")
    if len(set(modalities)) == 1 and _number(_at(card, "training", "settings", "weight_aux")) == 0:
        sentences.append(f"{who} was not trained on one modality alone: expect a worse image.")
    limits = _noise_limits(card)
    if "ct" in modalities:
        sentences += _out_of_range(card, who, "views", "CT views", given.get("views"))
        sentences += _unknown_kind(card, who, "scan", "scan", given.get("scan"))
        photons, fewest = _number(given.get("photons")), limits.get("photons")
        if photons is not None and fewest is not None and photons < fewest:
            seen = "without photon noise" if math.isinf(fewest) else f"with {fewest:,.0f} photons per ray or more"
            sentences.append(f"{who} was trained {seen}; {photons:,.0f} give more noise: expect a worse image.")
    if "mr" in modalities:
        sentences += _outside_mr(card, who, given)
    return sentences + _outside_pixel(card, who, given)


def outside_mr(card: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """The sentences of `outside_training` about the measurement of an MR, whatever its contrast, and about pixels."""
    who = f"The model '{card['name']}'" if _text(card.get("name")) else "The model"
    given = _flat(settings)
    return _outside_mr(card, who, given) + _outside_pixel(card, who, given)


def _quality(card: Mapping[str, Any], place: tuple[str, ...], plain: tuple[str, ...]) -> str | None:
    """The figures at a place of the card's metrics as text, with what is reached without the network."""
    reached, similar = (_number(_at(card, "metrics", *place, key)) for key in ("psnr", "ssim"))
    before = _number(_at(card, "metrics", *plain, "psnr"))
    if reached is None:
        return None
    figures = [f"PSNR {reached:.1f} dB", "" if similar is None else f"SSIM {similar:.3f}"]
    figures.append("" if before is None else f"without the network {before:.1f} dB")
    return ", ".join(filter(None, figures))


def _outside_mr(card: Mapping[str, Any], who: str, given: Mapping[str, Any]) -> list[str]:
    sentences = _out_of_range(card, who, "acceleration", "MR acceleration", given.get("acceleration"))
    sentences += _unknown_kind(card, who, "masks", "k-space mask", given.get("mask"))
    sigma, largest = _number(given.get("kspace_sigma")), _noise_limits(card).get("kspace_sigma")
    if sigma is not None and largest is not None and sigma > largest:
        seen = f"with k-space noise up to {largest:g}" if largest else "without k-space noise"
        sentences.append(f"{who} was trained {seen}; {sigma:g} is more: expect a worse image.")
    return sentences


def _outside_pixel(card: Mapping[str, Any], who: str, given: Mapping[str, Any]) -> list[str]:
    pixel, trained = _number(given.get("pixel_mm")), _number(_at(card, "grid", "pixel_mm"))
    if pixel and trained and abs(pixel / trained - 1) > _PIXEL_TOLERANCE:
        return [
            f"{who} was trained on pixels of {trained:.2f} mm; {pixel:.2f} mm is another size: expect a worse image."
        ]
    return []


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the names that a plan has; what was asked for counts where masks can only come near it."""
    given = dict(settings)
    for name in ("ct", "mr"):
        table = given.pop(name, None)
        given |= table if isinstance(table, Mapping) else {}
    return given | {"acceleration": given.get("asked", given.get("acceleration"))}


def _out_of_range(card: Mapping[str, Any], who: str, key: str, word: str, value: Any) -> list[str]:
    """The sentence on a number outside the card's range of `key`, where it has one."""
    trained, given = _at(card, "sensors", key), _number(value)
    if trained is None or given is None:
        return []
    low, high = _pair(trained)
    if low is None or high is None:
        raise InputError(f"{who} cannot be used: its card is damaged, its range of {key} is no range.")
    if low <= given <= high:
        return []
    return [f"{who} was trained on {word} from {low:g} to {high:g}; {given:g} lies outside: expect a worse image."]


def _unknown_kind(card: Mapping[str, Any], who: str, key: str, word: str, kind: Any) -> list[str]:
    """The sentence on a kind that the card's list at `key` lacks, where it has one."""
    known = _at(card, "sensors", key)
    known = [known] if isinstance(known, str) else known
    if not isinstance(known, list) or not isinstance(kind, str) or kind in known:
        return []
    return [f"{who} was not trained on a {word} of the kind '{kind}' ({_words(known)}): expect a worse image."]


def _noise_limits(card: Mapping[str, Any]) -> dict[str, float]:
    """Fewest (and most) photons per ray and largest k-space noise of the training; without what is not known.

    Trained photon counts reach from the setting to a hundred times as many. Infinity: no photon noise at all.
    """
    if _at(card, "sensors", "noise") == "none":
        return {"photons": math.inf, "kspace_sigma": 0.0}
    limits = {}
    photons = _number(_at(card, "training", "settings", "photons"))
    if photons is not None:
        limits = {"photons": photons, "most_photons": 100 * photons} if photons > 0 else {"photons": math.inf}
    sigma = _number(_at(card, "training", "settings", "kspace_noise"))
    return limits if sigma is None else {**limits, "kspace_sigma": sigma}


def _modalities(card: Mapping[str, Any]) -> str | None:
    names = card.get("modalities")
    if not isinstance(names, list):
        return None
    words = []
    for name in map(str, names):
        contrast = _text(_at(card, "contrasts", name))
        words.append(name.upper() if contrast in (None, name.upper()) else f"{name.upper()} ({contrast})")
    return " and ".join(words)


def _at(card: Mapping[str, Any], *keys: str) -> Any:
    """The entry at a path of keys, None where there is none."""
    value: Any = card
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _bracketed(value: Any) -> str | None:
    return f"({value})" if _text(value) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _pair(value: Any) -> tuple[float | None, float | None]:
    """Two numbers, each None where `value` has none."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None, None
    return _number(value[0]), _number(value[1])


def _span(value: Any) -> str | None:
    """A range for reading: 32 to 128, or one number where both ends are the same."""
    low, high = _pair(value)
    if low is None or high is None:
        return None
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _words(value: Any) -> str | None:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    return _text(value)
