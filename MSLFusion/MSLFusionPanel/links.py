"""The two ways to a worker: a process of our own, and a port of the loopback address (maybe an ssh tunnel's).

Qt's signals only wake a link; what they mean is done in a turn of the event loop of its own. So whatever happens in
there - a dialog with an event loop of its own, a link that is given up - never happens inside a signal of the object
that it may destroy. Nothing here blocks.
"""

import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import qt
import slicer

HOST = "127.0.0.1"
_PIECE = 2**20
_BUFFERED = 4 * _PIECE
_COPIED = 8 * 2**20
_CONNECT_S = 0.5
_END_MS = 2000
_GONE = (AttributeError, RuntimeError, ValueError)
"""What a call of a Qt object raises once the application has destroyed it (PythonQt: ValueError)."""


class Link(Protocol):
    """A worker at the other end. It calls on_bytes(bytes), and on_end(...) once if it ends by itself."""

    sent: int
    worker_pid: int | None

    def send(self, piece: bytes | memoryview) -> None:
        """Send all of `piece`, later if need be."""

    def unsent(self) -> bool:
        """Whether something still waits to be sent."""

    def close(self) -> None:
        """Let the worker end what it does; it is not heard any more."""

    def kill(self) -> None:
        """End it at once; it is not heard any more."""


class Outbox:
    """Bytes that wait to be sent.

    A pipe or socket takes little at a time, and QProcess keeps a copy of all that it was given. So a volume of several
    hundred MB is handed over in pieces as the worker reads it, and is never there twice. Small pieces are copied: who
    sent them may change the array at once.
    """

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()

    def put(self, piece: bytes | memoryview) -> None:
        """Add to the end."""
        if len(piece):
            self._pieces.append(memoryview(bytes(piece) if len(piece) <= _COPIED else piece))

    def first(self) -> memoryview:
        """The next bytes, at most 1 MiB; empty when there are none."""
        return self._pieces[0][:_PIECE] if self._pieces else memoryview(b"")

    def take(self, count: int) -> None:
        """Forget the first `count` bytes, which are sent."""
        rest = self._pieces.popleft()[count:]
        if len(rest):
            self._pieces.appendleft(rest)

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()

    def __len__(self) -> int:
        return len(self._pieces)


def _nothing(*_arguments: Any) -> None:
    """Nobody listens any more."""


class ProcessLink:
    """A worker in a process of our own.

    environment: changes to the application's own environment, which PythonSlicer needs (its launcher adds the same).
    on_end(failure, exit_code, crashed): failure is the system's reason when it did not even start, else empty.
    worker_pid: the process that answers, where it is known; PythonSlicer is a launcher with the interpreter as child.
    """

    _alive: "set[ProcessLink]" = set()  # noqa: RUF012 - a QProcess must outlive the process, whoever forgets the link

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_bytes: Callable[[bytes], Any],
        on_log: Callable[[str], Any],
        on_end: Callable[[str, int, bool], Any],
    ) -> None:
        self.sent = 0
        self.worker_pid: int | None = None
        self._on_bytes, self._on_log, self._on_end = on_bytes, on_log, on_end
        self._outbox = Outbox()
        self._end: tuple[str, int, bool] | None = None
        self._killed = False
        self._line = b""
        self._wake = qt.QTimer()
        self._wake.setSingleShot(True)
        self._wake.connect("timeout()", self._work)
        self._process = qt.QProcess()
        variables = qt.QProcessEnvironment.systemEnvironment()
        for name, value in environment.items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        self._signals = {
            "readyReadStandardOutput()": self._woken,
            "readyReadStandardError()": self._woken,
            "bytesWritten(qint64)": self._woken,
            "finished(int,QProcess::ExitStatus)": self._finished,
            "errorOccurred(QProcess::ProcessError)": self._trouble,
        }
        for name, react in self._signals.items():
            self._process.connect(name, react)
        ProcessLink._alive.add(self)
        slicer.app.connect("aboutToQuit()", self._quit)
        self._process.start(command[0], list(command[1:]))

    def send(self, piece: bytes | memoryview) -> None:
        """Send all of `piece`; what a worker that has ended does not take is dropped."""
        if self._listens():
            self._outbox.put(piece)
            self._push()

    def unsent(self) -> bool:
        """Whether something still waits to be sent."""
        return self._listens() and (len(self._outbox) > 0 or self._process.bytesToWrite() > 0)

    def close(self) -> None:
        """Close its input, at which it ends; kill it when it is still there after two seconds."""
        self._ignore()
        if self._listens():
            if len(self._outbox):  # half a message is no request: the worker ends at it as at the end of its input
                self._outbox.clear()
            self._process.closeWriteChannel()
            qt.QTimer.singleShot(_END_MS, self.kill)

    def kill(self) -> None:
        """End the process and the interpreter in it; works while the application is being destroyed, too."""
        self._ignore()
        if not self._listens():
            return
        self._killed = True
        if self.worker_pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self.worker_pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        # A launcher alone: with it goes our end of the pipe, at which the worker ends by itself.
        with contextlib.suppress(*_GONE):
            self._process.kill()

    def _quit(self) -> None:
        self.kill()
        with contextlib.suppress(*_GONE):
            self._process.waitForFinished(1000)

    def _listens(self) -> bool:
        """Whether there is a process, as far as we know; without one nothing of Qt is touched any more."""
        return self._end is None and not self._killed

    def _ignore(self) -> None:
        self._on_bytes = self._on_log = self._on_end = _nothing

    def _woken(self) -> None:
        self._wake.start(0)

    def _finished(self, code: int, status: Any) -> None:
        self._end = ("", int(code), status == qt.QProcess.CrashExit)
        self._wake.start(0)

    def _trouble(self, error: Any) -> None:
        if error == qt.QProcess.FailedToStart:  # all other errors end in `finished`
            self._end = (self._process.errorString() or "?", -1, False)
            self._wake.start(0)

    def _work(self) -> None:
        end = self._end
        self._push()
        whole, _newline, self._line = (self._line + _bytes(self._process.readAllStandardError())).rpartition(b"\n")
        for line in [*whole.splitlines(), *([] if end is None else [self._line])]:
            if line.strip():
                self._on_log(line.decode("utf-8", "replace"))
        data = _bytes(self._process.readAllStandardOutput())
        if data:
            self._on_bytes(data)
        if end is not None and self in ProcessLink._alive:
            ProcessLink._alive.discard(self)
            self._outbox.clear()
            self._on_end(*end)
            self._ignore()
            qt.QTimer.singleShot(0, self._release)

    def _release(self) -> None:
        """Let go of the Qt objects, whose signals hold this link: outside of the signals."""
        slicer.app.disconnect("aboutToQuit()", self._quit)
        self._wake.disconnect("timeout()", self._work)
        for name, react in self._signals.items():
            self._process.disconnect(name, react)

    def _push(self) -> None:
        while self._listens() and len(self._outbox) and self._process.bytesToWrite() < _BUFFERED:
            piece = self._outbox.first()
            # QIODevice::write is wrapped for QByteArray and for char*, and PythonQt would take Python's bytes for
            # either, for char* only up to the first zero byte. A QByteArray fits one of them only.
            count = self._process.write(qt.QByteArray(bytes(piece)))
            if count <= 0:
                return  # it is ending, which the signals tell
            self.sent += count
            self._outbox.take(count)


class SocketLink:
    """A worker that listens on a port of this machine; connects in the next turn of the event loop.

    on_end(reason): the connection could not be made, or is gone. Python's socket and Qt's notifiers, as in Slicer's own
    web server, work alike with Qt 5 and 6 on all systems; QTcpSocket would go through a proxy of the settings.
    """

    def __init__(
        self, port: int, on_bytes: Callable[[bytes], Any], on_end: Callable[[str], Any], host: str = HOST
    ) -> None:
        self.sent = 0
        self.worker_pid: int | None = None
        self._address = (host, port)
        self._on_bytes, self._on_end = on_bytes, on_end
        self._outbox = Outbox()
        self._inbox: list[bytes] = []
        self._end: str | None = None
        self._closed = False
        self._socket: socket.socket | None = None
        self._notifiers: list[tuple[Any, Callable[[], None]]] = []
        self._wake = qt.QTimer()
        self._wake.setSingleShot(True)
        self._wake.connect("timeout()", self._work)
        self._wake.start(0)

    def send(self, piece: bytes | memoryview) -> None:
        """Send all of `piece`; what a worker that has gone does not take is dropped."""
        if self._end is None:
            self._outbox.put(piece)
            self._listen_for_room()

    def unsent(self) -> bool:
        """Whether something still waits to be sent."""
        return self._end is None and len(self._outbox) > 0

    def close(self) -> None:
        """Hang up: the worker stops what it does for us, and stays for the next client."""
        self._on_bytes = self._on_end = _nothing
        if self._closed:
            return
        self._closed = True
        self._end = self._end or "closed"
        self._outbox.clear()
        for notifier, react in self._notifiers:
            with contextlib.suppress(*_GONE):
                notifier.setEnabled(False)
                notifier.disconnect("activated(int)", react)
        self._notifiers.clear()
        if self._socket is not None:
            self._socket.close()
        qt.QTimer.singleShot(0, lambda: self._wake.disconnect("timeout()", self._work))

    kill = close

    def _connect(self) -> None:
        # A tunnel or worker on the loopback address answers at once. Where nobody listens Windows tries for two
        # seconds, which is why this is cut short.
        self._socket = socket.create_connection(self._address, timeout=_CONNECT_S)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = self._socket.fileno()
        for kind, react in ((qt.QSocketNotifier.Read, self._readable), (qt.QSocketNotifier.Write, self._writable)):
            notifier = qt.QSocketNotifier(number, kind)
            notifier.connect("activated(int)", react)
            self._notifiers.append((notifier, react))
        self._listen_for_room()

    def _listen_for_room(self) -> None:
        if self._notifiers:
            self._notifiers[1][0].setEnabled(len(self._outbox) > 0)

    def _readable(self) -> None:
        self._try(self._receive)

    def _writable(self) -> None:
        self._try(self._push)

    def _try(self, step: Callable[[], None]) -> None:
        """Read or write what is possible now; the end of the connection is told in a turn of its own."""
        if self._end is not None:
            return
        try:
            step()
        except BlockingIOError:
            return
        except OSError as error:
            self._end = error.strerror or str(error)
        if self._end is not None:
            for notifier, _react in self._notifiers:
                notifier.setEnabled(False)
            self._wake.start(0)

    def _receive(self) -> None:
        assert self._socket is not None
        data = self._socket.recv(_PIECE)
        if data:
            self._inbox.append(data)
            self._wake.start(0)
        else:
            self._end = ""

    def _push(self) -> None:
        assert self._socket is not None
        if len(self._outbox):
            count = self._socket.send(self._outbox.first())
            self.sent += count
            self._outbox.take(count)
        self._listen_for_room()

    def _work(self) -> None:
        if self._socket is None and self._end is None:
            self._try(self._connect)
        data, self._inbox = b"".join(self._inbox), []
        if data:
            self._on_bytes(data)
        if self._end is not None:
            on_end, reason = self._on_end, self._end
            self.close()
            on_end(reason)


def _bytes(array: Any) -> bytes:
    """The bytes of a QByteArray, zeros included."""
    return bytes(array.data())
