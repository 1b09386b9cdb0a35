"""Writers of raw data in the formats that people have, written apart from the readers: from the formats' papers."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import SimpleITK as sitk

FORMATS = ("npy", "npz", "mat", "v7.3.mat", "h5", "nrrd", "nii.gz", "tif")
COMPLEX_FORMATS = ("npy", "npz", "mat", "v7.3.mat", "h5")


def write_array(path: Path, array: np.ndarray, name: str = "data") -> dict[str, Any]:
    """Write an array in the format of the path's ending; returns what a description has to say of its place."""
    kind = path.name.partition(".")[2]
    if kind == "npy":
        np.save(path, array)
        return {}
    if kind == "npz":
        np.savez_compressed(path, **{name: array})
    elif kind == "mat":
        scipy.io.savemat(path, {name: array}, do_compression=True)
    elif kind == "v7.3.mat":
        with h5py.File(path, "w", userblock_size=512) as file:
            stored = array.T
            if np.iscomplexobj(array):
                parts = np.zeros(stored.shape, [("real", stored.real.dtype), ("imag", stored.real.dtype)])
                parts["real"], parts["imag"] = stored.real, stored.imag
                stored = parts
            file.create_dataset(name, data=stored).attrs["MATLAB_class"] = np.bytes_("double")
        with open(path, "r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset(name, data=array, chunks=True, compression="gzip")
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
        return {}
    return {"array": name}


def write_description(data: Path, content: dict[str, Any]) -> Path:
    """Write the sidecar beside a data file."""
    path = data.with_name(f"{data.name}.json")
    path.write_text(json.dumps(content))
    return path


def ismrmrd_xml(
    encoded: tuple[int, int], fov: tuple[float, float, float], recon: int | None = None,
    limits: tuple[int, int, int] | None = None,
) -> str:  # fmt: skip
    """A header with matrix (readout, phase) and field of view (x, y, z); recon: length of the readout's image."""

    def space(name: str, x: int, fov_x: float) -> str:
        return (
            f"<{name}><matrixSize><x>{x}</x><y>{encoded[1]}</y><z>1</z></matrixSize><fieldOfView_mm><x>{fov_x}</x>"
            f"<y>{fov[1]}</y><z>{fov[2]}</z></fieldOfView_mm></{name}>"
        )

    recon = recon or encoded[0]
    low, high, middle = limits or (0, encoded[1] - 1, encoded[1] // 2)
    return (
        '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions>'
        "<H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></experimentalConditions><encoding>"
        + space("encodedSpace", encoded[0], fov[0])
        + space("reconSpace", recon, fov[0] * recon / encoded[0])
        + "<trajectory>cartesian</trajectory><encodingLimits><kspace_encoding_step_1>"
        f"<minimum>{low}</minimum><maximum>{high}</maximum><center>{middle}</center></kspace_encoding_step_1>"
        "</encodingLimits></encoding></ismrmrdHeader>"
    )


_COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase", "repetition",
             "set", "segment")  # fmt: skip
_IDX = np.dtype([(name, "<u2") for name in _COUNTERS] + [("user", "<u2", (8,))])
_HEAD = np.dtype(
    [
        ("version", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"), ("scan_counter", "<u4"),
        ("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,)), ("number_of_samples", "<u2"),
        ("available_channels", "<u2"), ("active_channels", "<u2"), ("channel_mask", "<u8", (16,)),
        ("discard_pre", "<u2"), ("discard_post", "<u2"), ("center_sample", "<u2"), ("encoding_space_ref", "<u2"),
        ("trajectory_dimensions", "<u2"), ("sample_time_us", "<f4"), ("position", "<f4", (3,)),
        ("read_dir", "<f4", (3,)), ("phase_dir", "<f4", (3,)), ("slice_dir", "<f4", (3,)),
        ("patient_table_position", "<f4", (3,)), ("idx", _IDX), ("user_int", "<i4", (8,)), ("user_float", "<f4", (8,)),
    ]
)  # fmt: skip


def acquisition(line: np.ndarray, flags: int = 0, position=(0, 0, 0), directions=None, **counters: int):
    """Head and samples of one acquisition of a line (coils, samples)."""
    head = np.zeros((), _HEAD)
    coils, samples = line.shape
    head["version"], head["flags"], head["number_of_samples"] = 1, flags, samples
    head["available_channels"] = head["active_channels"] = coils
    head["center_sample"] = samples // 2
    head["position"] = position
    vectors = np.eye(3) if directions is None else directions
    for name, vector in zip(("read_dir", "phase_dir", "slice_dir"), vectors, strict=True):
        head[name] = vector
    for name, value in counters.items():
        if name in _COUNTERS:
            head["idx"][name] = value
        else:
            head[name] = value
    return head, np.ascontiguousarray(line, np.complex64).view(np.float32).ravel()


def write_ismrmrd(path: Path, xml: str, acquisitions: list) -> Path:
    """An ISMRMRD file of acquisitions."""
    floats = h5py.vlen_dtype(np.dtype("<f4"))
    kind = np.dtype([("head", _HEAD), ("traj", floats), ("data", floats)])
    rows = np.empty(len(acquisitions), kind)
    for row, (head, samples) in zip(rows, acquisitions, strict=True):
        row["head"], row["traj"], row["data"] = head, np.zeros(0, np.float32), samples
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset/data", data=rows, dtype=kind)
        file.create_dataset("dataset/xml", data=[xml], dtype=h5py.string_dtype())
    return path


def write_fastmri(path: Path, kspace: np.ndarray, xml: str, mask: np.ndarray | None = None) -> Path:
    """A fastMRI file: kspace (slices[, coils], readout, phase)."""
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.astype(np.complex64)
        file.create_dataset("ismrmrd_header", data=xml.encode())
        if mask is not None:
            file["mask"] = mask
    return path
