"""Requests on measured data: which files they name, what is in them, pictures of what was measured."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.progress import Job
from MSLFusionLib.wire import Message
from MSLFusionLib.worker import fields

if TYPE_CHECKING:
    from MSLFusionLib.imports import ImportSettings
    from MSLFusionLib.recon.sources import VolumeOptions

_MOST_BYTES = 2**30
"""Of one kind of pictures that are sent: where there are more, slices around the middle."""


def named(message: Message) -> bool:
    """Whether the request names a sinogram or k-space."""
    return "sinogram" in message.header or "kspace" in message.header


def opened(message: Message, files: ExitStack, options: "VolumeOptions | None", job: Job) -> Any:
    """The sensor data that a request names, closed by `files`: "path" or "sensors" of a sensors file, or "sinogram"
    and "kspace" with "coils" and "select". options: how the network sees them, where one is open.

    Raises InputError when it names none, or both kinds.
    """
    own = next((key for key in ("path", "sensors") if key in message.header), None)
    if (own is not None) == named(message):
        raise InputError(f"The request '{message.type}' needs a sensors file, or a sinogram or k-space, not both.")
    if own is not None:
        from MSLFusionLib.io.sensors import SensorReader

        return files.enter_context(SensorReader(fields.text(message, own)))
    from MSLFusionLib.imports import import_files

    sinogram, kspace = (
        Path(fields.text(message, key)) if key in message.header else None for key in ("sinogram", "kspace")
    )
    select = {key: fields.whole(Message({"type": message.type, key: value}), key)
              for key, value in fields.table(message, "select").items()}  # fmt: skip
    return import_files(files, sinogram, kspace, _settings(message, options), select=select or None, job=job)


def registered(
    message: Message, data: Any, modalities: tuple[str, ...], device: str, job: Job
) -> dict[str, Any] | None:
    """Find where an MR measured in a frame of its own lies in the CT's, unless the file knows, "register" says no, or
    one of the two is not used; the registration's description, None where nothing was to be found."""
    acquired = data.header.acquired
    if acquired is None or acquired.get("transform") is not None or set(modalities) != {"ct", "mr"}:
        return None
    if fields.flag(message, "register") is False:
        return None
    from MSLFusionLib.imports import register_sensors
    from MSLFusionLib.pipeline import Registering

    found = register_sensors(data, Registering(), device, job)
    if found is None:
        return None
    for sentence in found.warnings:
        job.warning(sentence)
    return dict(found.to_dict())


def described(message: Message, options: "VolumeOptions | None", job: Job) -> dict[str, Any]:
    """The description (recon.describe.described) of the data that a request names, with `outline`, `files` (what
    each one says of itself) and `warnings`."""
    from MSLFusionLib.recon import describe

    with ExitStack() as files:
        data = opened(message, files, options, Job(cancelled=job.cancelled))
        found = describe.described(data.header)
        found["outline"] = describe.outline(data.header)
        found["files"] = data.header.provenance if named(message) else {}
        found["warnings"] = list(getattr(data, "warnings", ()))
        return found


def pictures(
    message: Message, put: Callable[[str, np.ndarray, np.ndarray], None], job: Job
) -> dict[str, dict[str, Any]]:
    """Send the sinogram and k-space as planes, slice by slice; returns for each kind `shape` (slices, rows, columns),
    `first` slice sent and `count`."""
    from MSLFusionLib.recon.pictures import KSPACE, SINOGRAM, kspace_picture

    result: dict[str, dict[str, Any]] = {}
    with ExitStack() as files:
        data = opened(message, files, None, Job(cancelled=job.cancelled))
        header = data.header
        jobs: list[tuple[str, tuple[int, ...], Callable[[int], np.ndarray]]] = []
        if header.sinogram_shape is not None:
            jobs.append((SINOGRAM, header.sinogram_shape, lambda k: data.sinogram([k])))
        if header.kspace_shape is not None:
            slices, _coils, rows, columns = header.kspace_shape
            jobs.append((KSPACE, (slices, rows, columns), lambda k: kspace_picture(data.kspace([k]))))
        for kind, shape, picture in jobs:
            count = max(1, min(shape[0], _MOST_BYTES // (4 * shape[1] * shape[2])))
            first = (shape[0] - count) // 2
            for number in range(count):
                job.step("read", number, count)
                put(kind, np.array([number]), np.ascontiguousarray(picture(first + number), np.float32))
            job.step("read", count, count)
            result[kind] = {"shape": list(shape), "first": first, "count": count}
    return result


def _settings(message: Message, options: "VolumeOptions | None") -> "ImportSettings":
    from MSLFusionLib.imports import ImportSettings
    from MSLFusionLib.recon.acquired import COMBINATIONS

    coils = fields.text(message, "coils", COMBINATIONS[0])
    if options is None:
        return ImportSettings(combination=coils)
    return ImportSettings(options.size, options.pixel_mm, options.fixed_pixel, coils)
