"""Workers for tests and scripts: as a child process, behind ssh (`ssh host mslfusion worker`), or listening on a port.

    with SubprocessTransport([sys.executable, "-m", "MSLFusionLib.cli", "worker"]) as worker:
        model = worker.wait(worker.client.open_model("msl-ct-t1"))

Inside Slicer the panel uses QProcess or QTcpSocket and `client.Client` instead, which never block.
"""

import contextlib
import os
import queue
import socket
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self

from MSLFusionLib.client import Call, Client
from MSLFusionLib.errors import InputError, JobError
from MSLFusionLib.wire import Message

_CHUNK = 2**20


class Transport(ABC):
    """A worker and its client; answers are delivered inside `pump` and `wait` only."""

    def __init__(self, gone: str) -> None:
        self.client = Client(self.send)
        self._gone = gone
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @abstractmethod
    def send(self, piece: bytes | memoryview) -> None:
        """Write all of `piece` to the worker; what a worker that has ended does not take is dropped."""

    @abstractmethod
    def close(self) -> Any:
        """Let go of the worker."""

    @abstractmethod
    def _receive(self) -> bytes:
        """The next bytes of the worker, empty at the end."""

    def pump(self, timeout: float | None = None) -> bool:
        """Wait for the next bytes and deliver what they hold; False once the worker has closed its side.

        Raises TimeoutError when nothing comes within `timeout` seconds.
        """
        if self._ended:
            return False
        try:
            data = self._chunks.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"The worker did not answer within {timeout:g} s.") from None
        if data:
            self.client.receive(data)
        else:
            self._ended = True
            self.client.closed(self._gone)
        return not self._ended

    def until(self, condition: Callable[[], Any], timeout: float | None = None) -> None:
        """Deliver answers until `condition()` holds or the worker is gone; TimeoutError when it is silent too long."""
        while not condition() and self.pump(timeout):
            pass

    def wait(self, call: Call, timeout: float | None = None) -> Message:
        """The result of a request; raises InputError or JobError as the worker says, TimeoutError when it is silent."""
        self.until(lambda: call.done, timeout)
        if call.result is not None:
            return call.result
        if call.failure is None:
            raise JobError("Another request took the place of this one." if call.dropped else self._gone)
        raise (InputError if call.failure.exit_code == InputError.exit_code else JobError)(call.failure.sentence)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        while data := self._receive():
            self._chunks.put(data)
        self._chunks.put(b"")


class SubprocessTransport(Transport):
    """A worker process and its client.

    command: any command line that speaks the protocol on its standard streams. environment: changes to ours.
    log: where the worker's standard error goes (None: to ours).
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, log: IO[bytes] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            env={**os.environ, **(environment or {})},
        )
        super().__init__("The worker ended.")

    def send(self, piece: bytes | memoryview) -> None:
        """Write all of `piece` to the worker; what a worker that has ended does not take is dropped."""
        assert self.process.stdin is not None
        rest = memoryview(piece)
        try:
            while len(rest):
                rest = rest[self.process.stdin.write(rest) :]
        except (BrokenPipeError, ValueError):
            pass  # `pump` tells the client that the worker is gone

    def close(self, timeout: float = 10.0) -> int:
        """Close the worker's input, at which it ends; kill it after `timeout` seconds. Returns its exit code."""
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            if stream is self.process.stdout:
                try:
                    self.process.wait(timeout)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                self._reader.join()
            stream.close()
        return self.process.wait()

    def _receive(self) -> bytes:
        assert self.process.stdout is not None
        return bytes(self.process.stdout.read(_CHUNK))


class SocketTransport(Transport):
    """A worker that listens on a port (`mslfusion worker --port`), logged in with its token.

    timeout: seconds for connecting and logging in. Raises JobError when there is no worker, or it serves another
    client, InputError when the token is wrong.
    """

    def __init__(self, port: int, token: str, host: str = "127.0.0.1", timeout: float = 30.0) -> None:
        try:
            self._link = socket.create_connection((host, port), timeout)
        except OSError as error:
            raise JobError(f"No worker listens on {host}, port {port} ({error.strerror or error}).") from None
        self._link.settimeout(None)
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__("The worker closed the connection.")
        try:
            self.wait(self.client.login(token), timeout)
        except BaseException:
            self.close()
            raise

    def send(self, piece: bytes | memoryview) -> None:
        """Send all of `piece` to the worker; what a worker that has gone does not take is dropped."""
        with contextlib.suppress(OSError):  # `pump` tells the client that the worker is gone
            self._link.sendall(piece)

    def close(self) -> None:
        """Close the connection: the worker stops what it does for us and waits for the next client."""
        with contextlib.suppress(OSError):  # the worker was quicker
            self._link.shutdown(socket.SHUT_RDWR)
        self._link.close()
        self._reader.join()

    def _receive(self) -> bytes:
        try:
            return self._link.recv(_CHUNK)
        except OSError:
            return b""
