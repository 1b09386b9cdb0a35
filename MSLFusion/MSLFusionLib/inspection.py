"""What a file of raw data holds and what it does not tell: for people who have one and want to know what it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from MSLFusionLib.errors import InputError
from MSLFusionLib.io.arrays import ArrayFile
from MSLFusionLib.io.hdf5 import FAILURES, check_attribute_references, first_line, open_hdf5
from MSLFusionLib.io.kspaces import open_kspace
from MSLFusionLib.io.sensors import FORMAT, SensorReader
from MSLFusionLib.io.sidecar import LEAST, read_sidecar, sidecar_path
from MSLFusionLib.io.sinograms import open_sinogram
from MSLFusionLib.progress import NO_JOB, Job


def inspected(
    path: Path, sidecar: Path | None = None, select: Mapping[str, int] | None = None, job: Job = NO_JOB
) -> dict[str, Any]:
    """JSON-able: "modality" ("ct", "mr", "both", or "unknown"), "kind", "found", "warnings".

    Every slice is read once. A file of arrays without a description is no error: what it holds is told, and that a
    description is missing. Raises InputError where the file or its description cannot be used.
    """
    if _is_sensors(path):
        return _sensors(path, job)
    what = _what(path, sidecar)
    if what == "sinogram":
        with open_sinogram(path, sidecar) as ct:
            lowest, highest = _range(lambda k: ct.sinogram([k]), ct.slices, job)
            found = ct.found | {"lowest": lowest, "highest": highest, "placement": ct.placement.to_dict()}
            return {"modality": "ct", "kind": ct.kind, "found": found, "warnings": ct.warnings}
    if what == "kspace":
        with open_kspace(path, sidecar, select) as mr:
            _, highest = _range(lambda k: np.abs(mr.kspace([k])), mr.shape[0], job)
            return {
                "modality": "mr",
                "kind": mr.kind,
                "found": mr.found | {"highest": highest},
                "warnings": mr.warnings,
            }
    with ArrayFile(path) as file:
        found = {name or "(unnamed)": f"{array.dtype} {list(array.shape)}" for name, array in file.arrays.items()}
        found |= {name: value[:200] for name, value in list(file.texts.items())[:50]}
    missing = (
        f"No description: write {path.name}.json with at least {LEAST['sinogram']}; or {LEAST['kspace']} (mslfusion "
        "sensors schema shows all fields)."
    )
    return {"modality": "unknown", "kind": "arrays without a description", "found": found, "warnings": [missing]}


def _what(path: Path, sidecar: Path | None) -> str | None:
    """ "sinogram" or "kspace", by the description or by what the file itself looks like; None where neither tells."""
    where = sidecar or (sidecar_path(path) if path.is_file() else None)
    if where is not None:
        return str(read_sidecar(where)["kind"])
    with ArrayFile(path) as file:
        if any(name.endswith("/parameters/distanceSourceOrigin") for name in file.arrays):
            return "sinogram"
        keys = set() if file.hdf5 is None else set(file.hdf5)
        if {"kspace", "ismrmrd_header"} <= keys or {"kspace", "sino", "t1"} <= set(file.arrays):
            return "kspace"
        if file.hdf5 is not None:
            from MSLFusionLib.io.ismrmrd import is_ismrmrd

            return "kspace" if is_ismrmrd(file.hdf5) else None
    return None


def _is_sensors(path: Path) -> bool:
    import h5py

    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        try:
            if "format" not in file.attrs:
                return False
            check_attribute_references(path)
            return file.attrs.get("format") in (FORMAT, FORMAT.encode())
        except FAILURES as error:
            raise InputError(f"{path} is damaged: its attributes cannot be read ({first_line(error)}).") from None


def _sensors(path: Path, job: Job) -> dict[str, Any]:
    from MSLFusionLib.recon.describe import described

    with SensorReader(path) as reader:
        header = reader.header
        found = described(header)
        found["provenance"] = header.provenance
        found["acquired"] = None if header.acquired is None else {k: header.acquired[k] for k in ("matrix", "fov_mm")}
        for name, shape, read in (
            ("sinogram", header.sinogram_shape, reader.sinogram),
            ("kspace", header.kspace_shape, reader.kspace),
        ):
            if shape is not None:
                _, found[f"{name}_highest"] = _range(lambda k, read=read: np.abs(read([k])), shape[0], job)
    modality = "both" if len(found["modalities"]) == 2 else found["modalities"][0]
    return {"modality": modality, "kind": "sensor data of MSLFusion", "found": found, "warnings": []}


def _range(read: Any, slices: int, job: Job) -> tuple[float, float]:
    lowest, highest = np.inf, -np.inf
    for number in range(slices):
        job.step("read", number, slices)
        values = read(number)
        lowest, highest = min(lowest, float(values.min())), max(highest, float(values.max()))
    job.step("read", slices, slices)
    if not np.isfinite([lowest, highest]).all():
        raise InputError("The data hold values that are not numbers.")
    return lowest, highest
