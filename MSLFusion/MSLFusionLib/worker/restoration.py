"""The worker's request to restore one MR contrast with another (CMF-Net)."""

import time
from contextlib import ExitStack
from typing import Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import Job
from MSLFusionLib.wire import Message
from MSLFusionLib.worker import fields, raw

_NEW = "auxiliary"
"""The array of the auxiliary on the result's grid, sent where it had to be moved."""


def restore_volume(message: Message, job: Job, _part: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Restore `target` (a volume measured by `plan`) or sensor data with the volume `auxiliary`.

    Arrays are float32 in the target's own values, named as recon.restore.NAMES says; each has its entry in `volumes`.
    Truths are not sent back.
    """
    import SimpleITK as sitk

    from MSLFusionLib.io.checkpoints import load_checkpoint
    from MSLFusionLib.recon.beside import PLACES, REGISTERED, RESAMPLED, SAME, Placing
    from MSLFusionLib.recon.geometry import VolumeGeometry
    from MSLFusionLib.recon.restore import NAMES, TRUTH, TRUTH_LOW, Restorer
    from MSLFusionLib.recon.targets import RestorePlan
    from MSLFusionLib.restoring import model_file, run_restoration

    started = time.monotonic()
    volume, auxiliary = fields.volume(message, "target"), fields.volume(message, "auxiliary")
    measured = "sensors" in message.header or raw.named(message)
    if auxiliary is None or (volume is not None) == measured:
        raise InputError(
            "To restore, send the volume 'auxiliary', and the volume 'target' or the name of a file with its k-space."
        )
    place = fields.text(message, "place", RESAMPLED if measured else SAME)
    if place not in PLACES:
        raise InputError(f"'place' must be one of {', '.join(PLACES)}, not '{place}'.")
    settings = fields.table(message, "registration")
    if settings and place != REGISTERED:
        raise InputError(f"'registration' is about the place '{REGISTERED}'.")
    try:
        how = Placing(place, **settings)
    except TypeError as error:
        raise InputError(f"The settings of the registration are damaged: {error}.") from error
    contrasts = fields.texts(message, "contrasts", ()) or None
    scale = fields.whole(message, "scale") if "scale" in message.header else None
    name = fields.text(message, "model") if "model" in message.header else None
    plan = RestorePlan.from_dict(fields.table(message, "plan"))
    loaded = load_checkpoint(model_file(name, contrasts, scale))
    batch = fields.whole(message, "batch") if "batch" in message.header else None
    restorer = Restorer(loaded, fields.text(message, "device", "auto"), batch)
    with ExitStack() as files:
        found = run_restoration(
            restorer,
            auxiliary,
            volume=volume,
            plan=plan,
            sensors=raw.opened(message, files, None, job) if measured else None,
            how=how,
            consistency=fields.flag(message, "consistency") is not False,
            compare=fields.flag(message, "compare") is True,
            figures=fields.flag(message, "measure") is not False,
            job=job,
        )
    images = found.restored.images.items()
    named = {NAMES[kind]: image for kind, image in images if kind not in (TRUTH, TRUTH_LOW)}
    if place != SAME:
        named[_NEW] = found.auxiliary.image
    registration = found.auxiliary.registration
    return {
        "model": loaded.name,
        "contrasts": list(restorer.contrasts),
        "scale": restorer.scale,
        "volumes": {key: VolumeGeometry.of(image).to_dict() for key, image in named.items()},
        "rows": found.metrics,
        "achieved": found.restored.sampling,
        "report": found.restored.report,
        "registration": None if registration is None else registration.to_dict(),
        "device_name": found.restored.device,
        "warnings": found.warnings,
        "seconds": time.monotonic() - started,
    }, {key: sitk.GetArrayFromImage(image) for key, image in named.items()}
