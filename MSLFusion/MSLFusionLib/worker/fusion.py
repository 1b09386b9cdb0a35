"""The worker's requests about image fusion: which methods there are, and fusing two volumes."""

import time
from typing import Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import Job
from MSLFusionLib.wire import Message
from MSLFusionLib.worker import fields


def fusion_methods(_message: Message, _job: Job, _part: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """`methods`: the rows of MSLFusionLib.methods that fuse; the ten measures and what they do not tell."""
    from MSLFusionLib import methods
    from MSLFusionLib.fusion.metrics import COPYING, METRICS

    measures = [{"key": one.key, "name": one.name, "meaning": one.meaning} for one in METRICS]
    return {"methods": methods.fusion_methods(), "measures": measures, "note": COPYING}, {}


def fuse_volumes(message: Message, job: Job, _part: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Fuse the volumes `first` and `second`, which lie on one grid, by `method`.

    The result's array `fused` is float32 (z, y, x) in [0, 1], or uint8 (z, y, x, 3) from a method that colours.
    """
    from MSLFusionLib.fusion import registry
    from MSLFusionLib.fusion.prepare import guessed_modality, prepare
    from MSLFusionLib.fusion.run import fuse, measure

    started = time.monotonic()
    method = registry.find(fields.text(message, "method"))
    settings = method.settings(fields.table(message, "settings"))
    slicewise = fields.flag(message, "slicewise") is True
    first, second = fields.volume(message, "first"), fields.volume(message, "second")
    if first is None or second is None:
        raise InputError("To fuse, send both volumes: 'first' and 'second'.")
    asked = fields.texts(message, "modalities", ("auto", "auto"))
    if len(asked) != 2:
        raise InputError("To fuse, name the modalities of both volumes, or 'auto'.")
    modalities = tuple(
        guessed_modality(image) if name == "auto" else name for name, image in zip(asked, (first, second), strict=True)
    )
    prepared = prepare(first, second, (modalities[0], modalities[1]), job)
    fused = fuse(prepared, method, settings, slicewise, job)
    rows = measure(prepared, [fused], job) if fields.flag(message, "measure") is not False else []
    image = np.rint(fused.image * 255).astype(np.uint8) if method.colour else fused.image
    return {
        "method": method.name,
        "settings": fused.settings,
        "modalities": list(modalities),
        "rows": rows,
        "seconds": time.monotonic() - started,
    }, {"fused": image}
