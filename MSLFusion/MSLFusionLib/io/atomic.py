"""Writing files so that a reader finds either the whole file or none."""

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from MSLFusionLib.errors import InputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DOUBLE_SUFFIXES = (".nii.gz", ".seg.nrrd")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it gets the name `path` when the block ends without error.

    Missing parent folders are made. The temporary name keeps the suffix, so that writers which choose the
    format by it work. After an error the temporary file is gone and an older file at `path` is untouched.
    Raises InputError when the folder cannot be written to or the disk is full.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part{_suffix(target)}")
    try:
        if target.is_dir():
            raise InputError(f"Cannot write the file {target}: a folder of that name is there.")
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())  # a full disk may only show when the data leave the cache
        os.replace(temporary, target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def remove_parts(path: Path) -> None:
    """Remove what killed processes left half-written of `path`; nobody may be writing it now."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.part{glob.escape(_suffix(path))}"):
        left.unlink(missing_ok=True)


def _suffix(path: Path) -> str:
    return next((s for s in _DOUBLE_SUFFIXES if path.name.lower().endswith(s)), path.suffix)


def write_error(path: Path, error: OSError) -> InputError:
    """The one-line explanation of a failed write."""
    if error.errno in _FULL:
        return InputError(f"Cannot write {path}: the disk is full or the file too large for it; free some space.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError(f"Cannot write {path}: no right to write in that folder; choose another --output.")
    return InputError(f"Cannot write {path}: {error.strerror or error}.")


def writable_folder(path: str | os.PathLike[str], needed_bytes: int = 0) -> Path:
    """The output folder, made if missing and proven to take files; call it before a long job.

    Raises InputError when it cannot be made or written to, or when its disk has less than `needed_bytes` free.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".mslfusion-{secrets.token_hex(4)}.part"
        probe.touch()
        probe.unlink()
        free = free_bytes(folder)
    except OSError as error:
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            raise InputError(f"The output folder {folder} cannot be made: a file of that name is there.") from error
        raise write_error(folder, error) from error
    if free < needed_bytes:
        raise InputError(
            f"The disk of {folder} is too full: {needed_bytes / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB free."
        )
    return folder


def free_bytes(folder: Path) -> int:
    """Bytes that the user may still write to the disk of `folder`."""
    return shutil.disk_usage(folder).free
