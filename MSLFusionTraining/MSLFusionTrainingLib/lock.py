"""One training in a folder at a time: a lock that the system gives back when its process ends, however it ends."""

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import IO

from MSLFusionLib.errors import InputError

LOCK = "train.lock"
_PATIENCE_S, _PAUSE_S = 2.0, 0.1
"""A training that is just ending may keep its lock for a moment."""
_AT = 2**30
"""The locked byte lies far behind the file's end: Windows lets nobody read a locked one."""
_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_held: set[Path] = set()
"""Locks of this process, to which the system's do not apply."""


class RunLock:
    """The right to write a run in a folder. On a disk without locks it says yes to all: see runfolder.check_free."""

    def __init__(self, folder: Path) -> None:
        self._path = (folder / LOCK).resolve()
        self._file: IO[bytes] | None = None

    def take(self) -> None:
        """Have it until `release` or the end of the process; InputError while another training has it."""
        if self._path in _held:
            raise self._taken()
        file = self._path.open("ab")
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            try:
                _lock(file)
                break
            except OSError as error:
                if error.errno not in _BUSY:
                    break  # the disk has no locks
                if time.monotonic() > give_up:
                    file.close()
                    raise self._taken() from None
                time.sleep(_PAUSE_S)
        self._file = file
        _held.add(self._path)

    def release(self) -> None:
        """Give it back."""
        _held.discard(self._path)
        if self._file is not None:
            with contextlib.suppress(OSError):
                _lock(self._file, free=True)
            self._file.close()
            self._file = None

    def _taken(self) -> InputError:
        return InputError(
            f"Another training writes to {self._path.parent}: stop it first (mslfusion train --stop), or use another "
            "folder."
        )


if os.name == "nt":
    import msvcrt

    def _lock(file: IO[bytes], free: bool = False) -> None:
        file.seek(_AT)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK if free else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]

else:
    import fcntl

    def _lock(file: IO[bytes], free: bool = False) -> None:
        # Of the process alone: one that it started and that outlives it does not keep the lock.
        fcntl.lockf(file, fcntl.LOCK_UN if free else fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _AT)
