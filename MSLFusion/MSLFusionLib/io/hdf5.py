"""Opening HDF5 files of others: what makes the HDF5 library loop or take memory without end is looked for first.

Text and lists of changing length lie in "global heap collections" (HDF5 File Format Specification, III.E): objects one
after the other, each telling its length. Where damage makes a length zero the library does not come back, and nothing
can interrupt it; so these collections are walked here before. Likewise each place that refers to such an object tells
its length again, and memory of that length is taken before anything is compared: `check_references` compares first.
"""

import math
import mmap
import struct
from pathlib import Path
from typing import Any

import h5py

from MSLFusionLib.errors import InputError

PACKED_RATIO = 1100
"""Deflate packs at most 1032 : 1."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL"
_SMALL = 2**26
_SEARCHED = 2**24
"""Bytes near either end of a file that are looked at for attributes; claims of less than that do no harm."""
_REFERENCE = 16
"""Bytes of a reference to an object in a heap: length, address of the heap, number of the object."""
FAILURES = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError, MemoryError)
"""What h5py raises for damaged files (UnicodeDecodeError is a ValueError)."""


def open_hdf5(path: Path) -> h5py.File:
    """The file, open for reading; raises InputError when it is no HDF5 or its heaps are damaged."""
    if not path.is_file():
        raise InputError(f"The file {path} does not exist.")
    try:
        _check_heaps(path)
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(
            f"{path} is not an HDF5 file, or it is damaged or not readable ({first_line(error)})."
        ) from None


def check_stored(dataset: h5py.Dataset, path: Path, itemsize: int | None = None) -> None:
    """Raise InputError when a dataset claims more than the file can hold, or chunks that would not fit the memory."""
    size = itemsize or dataset.dtype.itemsize
    claimed = math.prod(dataset.shape or ()) * size
    chunk = math.prod(dataset.chunks or ()) * size
    held = dataset.id.get_storage_size()
    if held > path.stat().st_size or claimed > held * (PACKED_RATIO if dataset.chunks else 1):
        raise InputError(
            f"{path} is damaged: the array '{dataset.name.strip('/')}' claims {claimed:,} bytes, more than the file "
            "holds."
        )
    if chunk > max(claimed, 1) * 64 + _SMALL or chunk > max(path.stat().st_size * PACKED_RATIO, _SMALL):
        raise InputError(f"{path} is damaged: the pieces of the array '{dataset.name.strip('/')}' are too large.")


def check_references(dataset: h5py.Dataset, path: Path) -> None:
    """Raise InputError when texts or lists of a dataset refer to what is not in the file, or claim another length."""
    kind = dataset.id.get_type()
    members = [(0, kind)]
    if isinstance(kind, h5py.h5t.TypeCompoundID):
        members = [(kind.get_member_offset(k), kind.get_member_type(k)) for k in range(kind.get_nmembers())]
    lists = [(offset, size) for offset, size in ((at, _element_size(member)) for at, member in members) if size]
    if not lists:
        return
    # In the file a reference alone takes more than the size that its type tells.
    record = kind.get_size() if isinstance(kind, h5py.h5t.TypeCompoundID) else _REFERENCE
    where = f"{path} is damaged: '{dataset.name.strip('/')}'"
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        base = _superblock(content)
        objects = _heap_objects(content)
        for start, size in _stretches(dataset, path):
            if start < 0 or start + size > len(content):
                raise InputError(f"{where} lies outside the file.")
            for place in range(start, start + size - record + 1, record):
                for offset, element in lists:
                    count, address, index = struct.unpack_from("<IQI", content, place + offset)
                    if count == 0 or address == 0:
                        continue
                    if count * element > objects.get((address + base, index), -1):
                        raise InputError(f"{where} refers to {count:,} values that are not in the file.")


def check_attribute_references(path: Path) -> None:
    """Raise InputError when a text in an attribute of one of our files claims another length than it has.

    Where attributes lie the library does not tell: every place near the file's ends that refers to a known text is
    looked at. Our data are floating-point numbers, which do not look like that.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        base = _superblock(content)
        objects = _heap_objects(content)
        for address in {heap for heap, _ in objects}:
            pattern = struct.pack("<Q", address - base)
            for first, last in ((0, _SEARCHED), (max(_SEARCHED, len(content) - _SEARCHED), len(content))):
                place = content.find(pattern, first, last)
                while place >= 0:
                    if 4 <= place <= len(content) - 12:
                        (count,) = struct.unpack_from("<I", content, place - 4)
                        (index,) = struct.unpack_from("<I", content, place + 8)
                        if count > max(_SEARCHED, objects.get((address, index), count)):
                            raise InputError(f"{path} is damaged: a text in it claims {count:,} letters.")
                    place = content.find(pattern, place + 1, last)


def _element_size(kind: Any) -> int:
    """Bytes of one element of a type of changing length; 0 for other types."""
    if isinstance(kind, h5py.h5t.TypeVlenID):
        return int(kind.get_super().get_size())
    return 1 if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str() else 0


def _stretches(dataset: h5py.Dataset, path: Path) -> list[tuple[int, int]]:
    """First byte and length of each stretch of the file that holds the dataset's records."""
    plan = dataset.id.get_create_plist()
    if plan.get_nfilters() == 0 and plan.get_layout() == h5py.h5d.CHUNKED:
        infos = [dataset.id.get_chunk_info(k) for k in range(dataset.id.get_num_chunks())]
        return [(info.byte_offset, info.size) for info in infos]
    if plan.get_layout() == h5py.h5d.CONTIGUOUS and dataset.id.get_offset() is not None:
        return [(dataset.id.get_offset(), dataset.id.get_storage_size())]
    if dataset.id.get_storage_size() == 0:
        return []
    raise InputError(f"{path}: '{dataset.name.strip('/')}' is packed or stored in a way that is not read.")


def _heap_objects(content: mmap.mmap) -> dict[tuple[int, int], int]:
    """The length of each object in the global heaps, by the heap's place in the file and the object's number."""
    found = {}
    place = content.find(_HEAP)
    while place >= 0:
        if content[place + 4 : place + 5] == b"\x01" and place + 16 <= len(content):
            end = min(place + struct.unpack_from("<Q", content, place + 8)[0], len(content))
            at = place + 16
            while at + 16 <= end:
                index, length = struct.unpack_from("<H6xQ", content, at)
                if index == 0:
                    break
                found[place, index] = length
                at += 16 + length + -length % 8
        place = content.find(_HEAP, place + 4)
    return found


def first_line(error: BaseException) -> str:
    """What an error says, for a sentence."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def _check_heaps(path: Path) -> None:
    """Raise OSError when a global heap collection does not hold together."""
    if path.stat().st_size < 96:
        raise OSError("it is too short")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if _bytes_per_length(content) != 8:
            return
        place = content.find(_HEAP)
        while place >= 0:
            # By chance the four letters stand in data, too, but hardly with what follows here. The library looks at
            # the version alone.
            version, reserved = content[place + 4 : place + 5], content[place + 5 : place + 8]
            if version == b"\x01" and (place % 8 == 0 or reserved == b"\0\0\0"):
                _check_heap(content, place)
            place = content.find(_HEAP, place + 4)


def _bytes_per_length(content: mmap.mmap) -> int:
    start = _superblock(content)
    return content[start + (14 if content[start + 8] < 2 else 10)]


def _superblock(content: mmap.mmap) -> int:
    """Where the superblock begins: at 0, 512, 1024, ... Addresses in the file count from there."""
    start = 0
    while start + 16 < len(content):
        if content[start : start + 8] == _SIGNATURE:
            return start
        start = max(512, 2 * start)
    raise OSError("it has no superblock")


def _check_heap(content: mmap.mmap, place: int) -> None:
    if place + 16 > len(content):
        raise OSError("a heap is cut off")
    (size,) = struct.unpack_from("<Q", content, place + 8)
    end = place + size
    if size < 16 or end > len(content):
        raise OSError("a heap is larger than the file")
    place += 16
    while place + 16 <= end:
        index, length = struct.unpack_from("<H6xQ", content, place)
        need = length if index == 0 else 16 + length + -length % 8
        if not 0 < need <= end - place:
            raise OSError("an object in a heap has an impossible length")
        place += need
