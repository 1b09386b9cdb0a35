"""Downloads that wait in the event loop and are checked by their digest.

Qt's own network classes know the system's proxies and the certificates that Slicer was given.
"""

import hashlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from MSLFusionLib.errors import JobError
from MSLFusionLib.io.atomic import atomic_path
from MSLFusionPanel.task import wait_for

_LARGEST = 256 * 2**20
_SILENT_MS = 30_000
_FOUND = 200


def download(
    addresses: Sequence[str], digest: str, path: Path, progress: Callable[[int, int], None]
) -> Generator[Any, Any, None]:
    """Steps of a task: the file with this SHA-512 is at `path` afterwards, whole; nothing to do when it is there.

    addresses: tried in order. progress: called with bytes done and bytes in total. Raises JobError when none gives it.
    """
    if path.is_file() and hashlib.sha512(path.read_bytes()).hexdigest() == digest:
        return
    problem = ""
    for address in addresses:
        data, trouble = yield from _get(address, progress)
        if not trouble and hashlib.sha512(data).hexdigest() != digest:
            trouble = _("what came is not the right file")
        if not trouble:
            _write(path, data)
            return
        problem = problem or trouble
    raise JobError(
        _("{name} could not be downloaded ({reason}): check the network, then try again.").format(
            name=path.name, reason=problem
        )
    )


def _get(address: str, progress: Callable[[int, int], None]) -> Generator[Any, Any, tuple[bytes, str]]:
    """The content at an address, and why there is none."""
    manager = qt.QNetworkAccessManager()
    manager.setRedirectPolicy(qt.QNetworkRequest.NoLessSafeRedirectPolicy)
    manager.setTransferTimeout(_SILENT_MS)
    reply = manager.get(qt.QNetworkRequest(qt.QUrl(address)))
    too_large = []

    def received(done: int, total: int) -> None:
        if max(done, total) > _LARGEST and not too_large:
            too_large.append(True)
            reply.abort()
        elif done > 0:
            progress(int(done), max(int(total), int(done)))

    def listen(resume: Callable[..., None], _fail: Any) -> None:
        reply.connect("downloadProgress(qint64,qint64)", received)
        reply.connect("finished()", lambda: resume())

    try:
        yield wait_for(listen)
        if too_large:
            return b"", _("what came is too large")
        status = reply.attribute(qt.QNetworkRequest.HttpStatusCodeAttribute)
        if status is not None and status != _FOUND:
            return b"", _("the server answered {status}").format(status=status)
        data = bytes(reply.readAll().data())
        return data, "" if data else reply.errorString()
    finally:
        reply.abort()
        reply.deleteLater()
        manager.deleteLater()


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise JobError(
            _("The folder {path} cannot be written: {reason}.").format(path=path.parent, reason=error.strerror or error)
        ) from error
