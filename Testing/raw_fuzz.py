"""Damaged files of raw data by the thousand: each must end in one clear InputError, or be read where it still can be.

    python Testing/raw_fuzz.py --count 2400 --seed 1

Files are damaged in two ways. By design (absurd sizes, wrong shapes, NaN, swapped axes, missing datasets, wrong
units): these must be refused, naming the field. By chance (cut, flipped, zeroed, doubled bytes): these may still be
readable. Each file is read in a child process that is watched: a crash, another exception, more than 20 s, or more
than 1 GB of memory is a failure.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import raw_files

SECONDS = 20
MEMORY_MB = 1024
ROWS, COLUMNS, VIEWS, BINS = 12, 16, 10, 24

Damage = Callable[[Path, np.random.Generator], str | None]
"""Changes the file and returns what an error must name ("" for anything), or None where it may still be readable."""


def sinogram_description() -> dict:
    return {
        "kind": "sinogram",
        "beam": "flat",
        "source_origin_mm": 400.0,
        "source_detector_mm": 800.0,
        "pitch_mm": 4.0,
        "angles": {"start": 18.0, "step": 36.0, "count": VIEWS},
    }


def kspace_description() -> dict:
    return {"kind": "kspace", "fov_mm": [120.0, 160.0], "matrix": [ROWS, COLUMNS]}


def sound_files(folder: Path) -> list[Path]:
    """One file of each kind, with descriptions beside them."""
    rng = np.random.default_rng(0)
    sinogram = rng.random((3, VIEWS, BINS)).astype(np.float32)
    kspace = (rng.normal(size=(3, 2, ROWS, COLUMNS)) + 1j * rng.normal(size=(3, 2, ROWS, COLUMNS))).astype(np.complex64)
    paths = []
    for name, array, endings, content in (
        ("sino", sinogram, raw_files.FORMATS, sinogram_description()),
        ("kspace", kspace, raw_files.COMPLEX_FORMATS, kspace_description()),
    ):
        for ending in endings:
            path = folder / f"{name}.{ending}"
            raw_files.write_description(path, content | raw_files.write_array(path, array))
            paths.append(path)
    xml = raw_files.ismrmrd_xml((ROWS, COLUMNS), (120.0, 160.0, 5.0))
    lines = [
        raw_files.acquisition(one[:, :, k], slice=n, kspace_encode_step_1=k, position=(0, 0, 5 * n))
        for n, one in enumerate(kspace)
        for k in range(COLUMNS)
    ]
    paths.append(raw_files.write_ismrmrd(folder / "mrd.h5", xml, lines))
    paths.append(raw_files.write_fastmri(folder / "fastmri.h5", kspace, xml))
    paths.append(_sensors_file(folder / "sensors.h5", sinogram, kspace))
    return paths


def _sensors_file(path: Path, sinogram: np.ndarray, kspace: np.ndarray) -> Path:
    from contextlib import ExitStack

    from MSLFusionLib.imports import ImportSettings, import_files

    with ExitStack() as stack:
        folder = path.parent
        data = import_files(stack, folder / "sino.npy", folder / "kspace.npy", ImportSettings((32, 32), 8.0))
        data.write(path)
    return path


# Damage by chance.


def cut(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(0, len(content)))])


def flip(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, len(content), int(rng.integers(1, 40))):
        content[place] ^= 1 << int(rng.integers(0, 8))
    path.write_bytes(bytes(content))


def scramble_start(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, min(len(content), 1024), int(rng.integers(1, 12))):
        content[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(0, 256))]))
    path.write_bytes(bytes(content))


def erase(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    first = int(rng.integers(0, len(content)))
    length = int(rng.integers(1, max(2, len(content) // 4)))
    content[first : first + length] = bytes([int(rng.choice([0, 255]))]) * len(content[first : first + length])
    path.write_bytes(bytes(content))


def double(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    a, b = sorted(int(n) for n in rng.integers(0, len(content), 2))
    path.write_bytes(content[:b] + content[a:b] + content[b:])


# Damage by design.


def sizes_in_headers(path: Path, rng: np.random.Generator) -> str | None:
    """An absurd size where each format keeps its sizes."""
    huge = int(rng.choice([2**31 - 1, 2**40, 2**62]))
    content = path.read_bytes()
    if path.suffix == ".npy":
        path.write_bytes(_npy_claim(content, huge))
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, member in members.items():
                archive.writestr(name, _npy_claim(member, huge))
    elif path.name.endswith(".v7.3.mat") or path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            name = next(n for n in names if isinstance(file[n], h5py.Dataset) and file[n].dtype.kind in "fcV")
            dataset = file[name]
            dtype, attributes = dataset.dtype, dict(dataset.attrs)
            shape = (min(huge, 2**40), *dataset.shape[1:])
            del file[name]
            file.create_dataset(name, shape, dtype, chunks=(1, *shape[1:])).attrs.update(attributes)
    elif path.suffix == ".mat":
        return None  # packed: scramble_start and flip reach its sizes
    elif path.suffix == ".nrrd":
        first = content.index(b"sizes:")
        path.write_bytes(content[:first] + b"sizes: %d %d 3" % (huge, VIEWS) + content[content.index(b"\n", first) :])
    elif path.name.endswith(".nii.gz"):
        import gzip

        header = bytearray(gzip.decompress(content))
        header[42:44] = struct.pack("<h", 32767)
        header[44:46] = struct.pack("<h", 32767)
        path.write_bytes(gzip.compress(bytes(header)))
    elif path.suffix == ".tif":
        return None
    return ""


def _npy_claim(content: bytes, huge: int) -> bytes:
    """The NPY with an absurd first length, its header still of the same size."""
    first, last = content.index(b"("), content.index(b")")
    end = content.index(b"\n")
    old = content[first:last]
    new = b"(%d" % huge + old[old.index(b",") :]
    spare = len(new) - len(old)
    header = content[:first] + new + content[last:end]
    return header[: len(header) - spare] + content[end:]


def with_data(change: Callable[[np.ndarray, np.random.Generator], np.ndarray], named: str) -> Damage:
    def damage(path: Path, rng: np.random.Generator) -> str | None:
        """Rewrite the array changed, its description as it was."""
        if path.suffix in (".h5", ".mat") and path.stem.split(".")[0] in ("mrd", "fastmri", "sensors"):
            return _with_hdf5(path, change, rng, named)
        from MSLFusionLib.io.arrays import ArrayFile

        if change is flattened and path.name.endswith(("nrrd", "nii.gz", "tif")):
            return None  # images have five axes at most
        with ArrayFile(path) as file:
            array = next(iter(file.arrays.values())).part(...)
        raw_files.write_array(path, change(array, rng))
        return named

    damage.__qualname__ = change.__name__
    return damage


def _with_hdf5(
    path: Path, change: Callable[[np.ndarray, np.random.Generator], np.ndarray], rng: np.random.Generator, named: str
) -> str | None:
    with h5py.File(path, "r+") as file:
        if path.stem == "mrd":
            rows = file["dataset/data"][()]
            rows["data"][int(rng.integers(0, len(rows)))][:] = np.nan
            file["dataset/data"][...] = rows
            return "not numbers"
        name = "kspace" if path.stem == "fastmri" else str(rng.choice(["ct/sinogram", "mr/kspace"]))
        attributes, values = dict(file[name].attrs), file[name][()]
        del file[name]
        file.create_dataset(name, data=change(values, rng)).attrs.update(attributes)
    return "" if path.stem == "sensors" else named


def not_numbers(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    result = array.copy()
    result.ravel()[int(rng.integers(0, result.size))] = rng.choice([np.nan, np.inf, -np.inf])
    return result


def swapped(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.ascontiguousarray(np.swapaxes(array, -1, -2))


def flattened(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return array.reshape(1, 1, 1, 1, 1, -1)


def missing(path: Path, rng: np.random.Generator) -> str | None:
    """Take datasets, or the description of arrays, away."""
    if path.suffix == ".h5" or path.name.endswith(".v7.3.mat"):
        with h5py.File(path, "r+") as file:
            names = list(file)
            if path.stem == "mrd":
                del file[f"dataset/{rng.choice(['xml', 'data'])}"]
            else:
                for name in names:
                    del file[name]
    else:
        beside = path.with_name(f"{path.name}.json")
        if not beside.exists():
            return None
        beside.unlink()
    return "missing"


def description(path: Path, rng: np.random.Generator) -> str | None:
    """A wrong value in the description: of the wrong type, the wrong unit, or none that can be."""
    beside = path.with_name(f"{path.name}.json")
    if not beside.exists():
        return None
    content = json.loads(beside.read_text())
    sinogram = content["kind"] == "sinogram"
    wrong = {
        "kind": ["", None, 3, "image"],
        "axes": [[], ["bins"], "views", [1, 2], ["slices", "slices"]],
        "slice_mm": [0, -1, "x", None, 1e300, True],
        "centre_mm": [[0], "x", [1, 2, None], {}],
        "direction": [[1] * 9, [0] * 9, [1, 0, 0], "identity"],
        "comment": [3, None, []],
    }
    if sinogram:
        wrong |= {
            "beam": ["cone", None, 1, []],
            "source_origin_mm": [0, -400, "400", 40.0 * 1e4, 900.0, None],
            "source_detector_mm": [0, 80.0, None, "m", 1e9],
            "pitch_mm": [0, -1, None, 1e9, [], "4"],
            "offset_mm": [1e3, "x", None, -1e9],
            "angles": [[], [0.0], "no such array", {"start": 0}, {"start": 0, "step": 1, "count": 7}, None, [None] * 10,
                       [1e300] * 10, ["a"] * 10],
            "values": ["counts", "hu", 3],
            "unit": ["cm", "", 2],
            "rotation": ["left", None],
            "field_of_view_mm": [0, -3, "wide", None, 9e4],
        }  # fmt: skip
    else:
        wrong |= {
            "fov_mm": [[], [0, 0], [1], "x", [1e9, 1], [None, 3], {}],
            "matrix": [[COLUMNS, ROWS], [], [12.5, 16], None],
            "convention": ["fft", None, 1],
            "readout": ["kz", None],
            "oversampling": [0, 5, 2.5, -1, 1000, "2"],
            "mask": ["no such mask", 3, None],
        }
    field = str(rng.choice(list(wrong)))
    values = wrong[field]
    content[field] = values[int(rng.integers(0, len(values)))]
    beside.write_text(json.dumps(content))
    return field.replace("_mm", "")


def description_bytes(path: Path, rng: np.random.Generator) -> str | None:
    """The description itself cut, or nested without end."""
    beside = path.with_name(f"{path.name}.json")
    if not beside.exists():
        return None
    text = beside.read_text()
    kinds = [
        text[: int(rng.integers(1, len(text) - 1))],
        "[" * 10**5,
        "",
        "null",
        "[]",
        '{"kind": ' * 5000,
        "\0\1\2",
        "NaN",
    ]
    beside.write_text(str(kinds[int(rng.integers(0, len(kinds)))]))
    return beside.name


BY_CHANCE: tuple[Damage, ...] = (cut, flip, scramble_start, erase, double)
BY_DESIGN: tuple[Damage, ...] = (
    sizes_in_headers, with_data(not_numbers, "not numbers"), with_data(swapped, ""), with_data(flattened, ""),
    missing, description, description_bytes, description,
)  # fmt: skip


def damaged(sound: list[Path], folder: Path, number: int, seed: int) -> tuple[Path, str, str | None]:
    """Make damaged file `number`; returns it, what was done, and what an error must name (None: may be readable)."""
    rng = np.random.default_rng([seed, number])
    while True:
        original = sound[int(rng.integers(0, len(sound)))]
        path = folder / original.name
        shutil.copyfile(original, path)
        beside = original.with_name(f"{original.name}.json")
        target = path.with_name(beside.name)
        target.unlink(missing_ok=True)
        if beside.exists():
            shutil.copyfile(beside, target)
        chosen = BY_CHANCE if number % 2 else BY_DESIGN
        damage = chosen[int(rng.integers(0, len(chosen)))]
        names = damage(path, rng)
        if names is not None or damage in BY_CHANCE:
            return path, f"{original.name}: {getattr(damage, '__qualname__', damage)}", names


def read(path: Path) -> str | None:
    """The message of the InputError that reading the file ends in; None when it could be read."""
    from MSLFusionLib.errors import InputError
    from MSLFusionLib.inspection import inspected

    try:
        found = inspected(path)
    except InputError as error:
        return str(error)
    return found["warnings"][0] if found["modality"] == "unknown" and found["warnings"] else None


def child(sound: list[Path], numbers: range, seed: int, pipe) -> None:
    """Read damaged files one by one; tells before and after each what happens."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in sound[:1]:
            read(path)
        base = _memory_mb()
        for number in numbers:
            pipe.send(("begin", number, "", None, 0))
            path, what, names = damaged(sound, folder, number, seed)
            signal.alarm(SECONDS)
            problem = None
            try:
                message = read(path)
            except Exception as error:
                message, problem = None, f"{type(error).__name__}: {error}"
            signal.alarm(0)
            if problem is None and message is None and names is not None:
                problem = "it was read as if nothing were wrong"
            if problem is None and message is not None:
                problem = _unclear(message, path, names)
            pipe.send(("end", number, what, problem or ("refused" if message else "read"), _memory_mb() - base))
    pipe.send(("done", -1, "", None, 0))


def _unclear(message: str, path: Path, names: str | None) -> str | None:
    if path.name not in message:
        return f"the error does not name the file: {message}"
    if "\n" in message or len(message) > 900:
        return f"the error is no single short line: {message[:900]!r}"
    known = names in (None, "", "missing") or str(names).lower() in message.lower()
    return None if known else f"the error does not name {names!r}: {message}"


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def results(sound: list[Path], count: int, seed: int) -> Iterator[tuple[int, str, str]]:
    """Number, what was done and how it ended, of each damaged file."""
    context = multiprocessing.get_context("spawn")
    first, last_memory = 0, 0.0
    while first < count:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(sound, range(first, count), seed, there))
        process.start()
        there.close()
        now = first
        try:
            while True:
                if not here.poll(3 * SECONDS):
                    process.kill()
                    raise EOFError
                kind, number, what, ending, memory = here.recv()
                if kind == "done":
                    now = count
                    break
                now = number
                if kind == "end":
                    if memory - last_memory > MEMORY_MB:
                        ending = f"it took {memory - last_memory:.0f} MB"
                    last_memory = max(last_memory, memory)
                    first = number + 1
                    yield number, what, ending
        except EOFError:
            process.join()
            yield now, "", f"the process ended with {process.exitcode} (a crash, or more than {SECONDS} s)"
            first, last_memory = now + 1, 0.0
        process.join()
        first = max(first, now if now == count else first)


def main() -> int:
    """Damage, read, count; 1 when anything but a clear refusal or a sound reading came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print what each damaged file ended in")
    args = parser.parse_args()
    started = time.monotonic()
    endings: Counter[str] = Counter()
    failures = []
    with tempfile.TemporaryDirectory() as name:
        sound = sound_files(Path(name))
        broken = [path.name for path in sound if read(path) is not None]
        if broken:
            print(f"not even whole files are read: {broken}")
            return 1
        for number, what, ending in results(sound, args.count, args.seed):
            if args.show:
                print(number, what, ending)
            endings[ending if ending in ("refused", "read") else "failed"] += 1
            if ending not in ("refused", "read"):
                failures.append({"number": number, "what": what, "ending": ending})
    summary = {"count": args.count, "seed": args.seed, **endings, "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps({**summary, "failures": failures[:50]}, indent=1))
    return 1 if failures or sum(endings.values()) != args.count else 0


if __name__ == "__main__":
    sys.exit(main())
