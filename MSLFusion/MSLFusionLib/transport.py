"""A worker as a child process: for tests, scripts, and a worker behind ssh (`ssh host mslfusion worker`).

    with SubprocessTransport([sys.executable, "-m", "MSLFusionLib.cli", "worker"]) as worker:
        model = worker.wait(worker.client.open_model("msl-ct-t1"))

Inside Slicer the panel uses QProcess and `client.Client` instead, which never block.
"""

import os
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any

from MSLFusionLib.client import Call, Client
from MSLFusionLib.errors import InputError, JobError
from MSLFusionLib.wire import Message

_CHUNK = 2**20


class SubprocessTransport:
    """A worker process and its client; answers are delivered inside `pump` and `wait` only.

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
        self.client = Client(self.send)
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, piece: bytes | memoryview) -> None:
        """Write all of `piece` to the worker; what a worker that has ended does not take is dropped."""
        assert self.process.stdin is not None
        rest = memoryview(piece)
        try:
            while len(rest):
                rest = rest[self.process.stdin.write(rest) :]
        except (BrokenPipeError, ValueError):
            pass  # `pump` tells the client that the worker is gone

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
            self.client.closed()
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
            raise JobError("Another request took the place of this one." if call.dropped else "The worker ended.")
        raise (InputError if call.failure.exit_code == InputError.exit_code else JobError)(call.failure.sentence)

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

    def __enter__(self) -> "SubprocessTransport":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while data := self.process.stdout.read(_CHUNK):
            self._chunks.put(data)
        self._chunks.put(b"")
