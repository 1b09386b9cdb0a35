"""The panel's worker: a process of our own, or one that the user started and that listens on a port.

    worker = Worker()
    worker.on_message.append(show)
    worker.ensure().decode_slice(12, 0.3, view="Red", on_result=draw)

Answers come while the event loop runs; no method waits.
"""

import logging
import os
import shutil
from collections import deque
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from MSLFusionLib.client import LOST, Call, Client, Failure
from MSLFusionLib.wire import PROTOCOL, Message
from MSLFusionPanel.links import HOST, Link, ProcessLink, SocketLink

RESTARTS = 3
"""How often a worker that ends without an answer is started again by itself."""
PATIENCE_MS = 10_000
"""How long a cancelled request may go on."""
LOG_LINES = 200
_GREETINGS = ("login", "hello")


class Worker:
    """Starts a worker when it is needed and again when it ended; tells the panel what happened.

    client: for requests, None while there is no worker. state: "stopped", "starting" (until it has answered `hello`)
    or "running". where: "local" or "127.0.0.1:PORT". generation: rises when a worker starts and when it ends: model
    and session of another generation are gone. info: the answer of `hello` while it is running. log: the last lines
    that our process wrote to standard error. on_change() is called when one of these changed, on_message(sentence)
    with what the user must know, on_log(line) with each line for the log.
    """

    def __init__(self) -> None:
        self.client: Client | None = None
        self.state = "stopped"
        self.generation = 0
        self.info: dict[str, Any] | None = None
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.on_change: list[Callable[[], Any]] = []
        self.on_message: list[Callable[[str], Any]] = []
        self.on_log: list[Callable[[str], Any]] = []
        self._link: Link | None = None
        self._remote: tuple[int, str] | None = None
        self._failures = 0

    @property
    def where(self) -> str:
        """The place of the worker."""
        return "local" if self._remote is None else f"{HOST}:{self._remote[0]}"

    def use_local(self) -> None:
        """Use a process of our own from now on; the worker at hand is left."""
        self._use(None)

    def use_remote(self, port: int, token: str) -> None:
        """Use the worker that listens on this port of the loopback address from now on."""
        self._use((port, token))

    def ensure(self) -> Client:
        """The client of a worker that is there or on its way: requests wait until it is ready."""
        if self.client is None:
            self._start()
        assert self.client is not None
        return self.client

    def cancel(self, call: Call) -> None:
        """Stop one request; a worker that does not stop it within three seconds is ended and started again."""
        if self.client is not None and call in self.client.calls:
            self.client.cancel(call)
            self._watch(self.client, call, self._sent())

    def restart(self, sentence: str) -> None:
        """End the worker at once and start it again (a remote one: leave it); open requests fail with `sentence`."""
        if self._link is not None:
            self._link.kill()
            self._lose(sentence)
        if self._remote is None:
            self.ensure()
        self._say(sentence)

    def stop(self) -> None:
        """End the worker without waiting; it has two seconds. A remote one is left and stays for the next client."""
        self._failures = 0
        if self._link is None or self.client is None:
            return
        link = self._link
        if self._remote is None and not link.unsent():
            self.client.shutdown()
        link.close()
        self._lose(_("The worker was stopped."))

    def _use(self, remote: tuple[int, str] | None) -> None:
        if remote == self._remote:
            return
        self.stop()
        self._remote = remote
        self._changed()

    def _start(self) -> None:
        self.log.clear()
        self.generation += 1
        self.state = "starting"
        client = Client(lambda piece: self._send(client, piece), lambda trouble: self._damaged(client, trouble))
        self.client = client
        if self._remote is None:
            self._link = ProcessLink(
                batch_command("worker"),
                environment(),
                lambda data: self._receive(client, data),
                self._logged,
                lambda *end: self._ended(client, *end),
            )
        else:
            port, token = self._remote
            self._link = SocketLink(
                port, lambda data: self._receive(client, data), lambda why: self._hung_up(client, why)
            )
            client.login(token, on_error=lambda failure: self._refused(client, failure))
        client.hello(on_result=lambda message: self._greeted(client, message))
        self._changed()

    def _send(self, client: Client, piece: bytes | memoryview) -> None:
        if self._link is not None and client is self.client:
            self._link.send(piece)
        else:  # somebody kept the client of a worker that is gone: the request must not wait for ever
            qt.QTimer.singleShot(0, lambda: client.closed(_("The worker ended.")))

    def _receive(self, client: Client, data: bytes) -> None:
        waiting = [call for call in client.calls if call.request not in _GREETINGS]
        try:
            client.receive(data)
        except Exception:
            logging.exception("MSLFusion: a fault while an answer of the worker was shown")
        if any(call.result is not None for call in waiting):
            self._failures = 0

    def _greeted(self, client: Client, message: Message) -> None:
        if client is not self.client or self._link is None:
            return
        version = message.header.get("protocol")
        if version != PROTOCOL:
            self._link.kill()
            sentence = _("The worker speaks another version ({other}) than this panel ({own}): install the same one.")
            self._give_up(sentence.format(other=version, own=PROTOCOL))
            return
        self.info = message.header
        self.state = "running"
        if self._remote is None:
            number = message.header.get("pid")
            self._link.worker_pid = number if isinstance(number, int) else None
        self._changed()

    def _refused(self, client: Client, failure: Failure) -> None:
        """The remote worker does not let us in."""
        if client is self.client and self._link is not None and failure.reason != LOST:
            self._link.close()
            self._give_up(failure.sentence)

    def _hung_up(self, client: Client, reason: str) -> None:
        """The connection to the remote worker could not be made, or is gone; the next request makes a new one."""
        if client is not self.client:
            return
        if self.state == "starting":
            sentence = _(
                "No worker answers at {where} ({reason}): start it with “mslfusion worker --port {port}”, and open the "
                "tunnel when it is on another machine."
            )
        else:
            sentence = _("The connection to the worker at {where} is gone ({reason}), and with it what was open there.")
        port = self._remote[0] if self._remote is not None else 0
        self._give_up(sentence.format(where=self.where, port=port, reason=reason or _("closed")))

    def _damaged(self, client: Client, trouble: str) -> None:
        """What came is no conversation; the client has failed its requests."""
        if client is not self.client or self._link is None:
            return
        self._link.kill()
        sentence = _("What came from the worker cannot be read ({trouble}).").format(trouble=trouble)
        self._failed(sentence, needed=True)

    def _ended(self, client: Client, failure: str, code: int, crashed: bool) -> None:
        """Our process ended by itself."""
        if client is not self.client:
            return
        if failure:
            sentence = _("The worker could not be started ({reason}): {program}")
            self._give_up(sentence.format(reason=failure, program=batch_command("worker")[0]))
            return
        needed = any(call.request not in _GREETINGS for call in client.calls)
        self._failed(_reason(self.log, code, crashed), needed)

    def _failed(self, sentence: str, needed: bool) -> None:
        """The local worker is gone: start it again when something waited for it, unless that is hopeless."""
        self._failures += 1
        last = self.log[-1] if self.log else _("there is none")
        self._lose(sentence)
        if self._remote is not None or self.client is not None:  # a callback has started it already
            self._say(sentence)
        elif self._failures > RESTARTS:
            hopeless = _(
                "{sentence} That was the {number}th time in a row, so it is not started again by itself. Choose the "
                "processor as device or another model, then try again; the last line of its log: {line}"
            )
            self._say(hopeless.format(sentence=sentence, number=self._failures, line=last))
        elif needed:
            self.ensure()
            self._say(_("{sentence} It was started again; what it held is gone.").format(sentence=sentence))
        else:
            self._say(_("{sentence} It is started again when it is needed.").format(sentence=sentence))

    def _give_up(self, sentence: str) -> None:
        """The worker is of no use; nothing is tried again before the next request."""
        self._lose(sentence)
        self._say(sentence)

    def _lose(self, sentence: str) -> None:
        """Forget the worker: its open requests fail with `sentence`."""
        client, self.client, self._link, self.info = self.client, None, None, None
        self.state = "stopped"
        self.generation += 1
        if client is not None:
            client.closed(sentence)
        self._changed()

    def _watch(self, client: Client, call: Call, sent: int) -> None:
        def look() -> None:
            if call.done or client is not self.client or self._link is None:
                return
            if self._link.unsent() and self._sent() != sent:  # the cancel waits behind a volume on a slow line
                self._watch(client, call, self._sent())
            else:
                self.restart(
                    _("The worker did not stop within {seconds} seconds and was ended: what it held is gone.").format(
                        seconds=PATIENCE_MS // 1000
                    )
                )

        qt.QTimer.singleShot(PATIENCE_MS, look)

    def _sent(self) -> int:
        return 0 if self._link is None else self._link.sent

    def _logged(self, line: str) -> None:
        self.log.append(line)
        _tell(self.on_log, line)

    def _changed(self) -> None:
        _tell(self.on_change)

    def _say(self, sentence: str) -> None:
        logging.info("MSLFusion: %s", sentence)
        _tell(self.on_message, sentence)


def _tell(listeners: list[Callable[..., Any]], *values: Any) -> None:
    for listener in list(listeners):
        try:
            listener(*values)
        except Exception:
            logging.exception("MSLFusion: a fault while the panel was told of the worker")


def batch_command(*words: str) -> list[str]:
    """The command line of `mslfusion WORDS`: Slicer's own Python runs the batch script beside this package."""
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    installed = os.path.join(slicer.app.slicerHome, "bin", name)
    # Where Slicer was built it lies elsewhere, but always on the path.
    python = installed if os.path.isfile(installed) else shutil.which("PythonSlicer") or installed
    script = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "batch.py")
    return [python, script, *words]


def environment() -> dict[str, str]:
    """Changes to the application's environment, in which Slicer, too, runs PythonSlicer (slicer.util.pip_install)."""
    return {
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }


def _reason(log: deque[str], code: int, crashed: bool) -> str:
    """Why the worker ended, as far as its last words tell."""
    words = "\n".join(list(log)[-20:]).lower()
    if "cuda out of memory" in words or "cublas_status_alloc_failed" in words or "cuda error: out of memory" in words:
        return _("The worker ended because the GPU's memory is not enough: close other programs that use the GPU.")
    if "memoryerror" in words or "bad_alloc" in words or "killed" in words or code in (137, -9):
        return _("The worker ended, most likely because the computer's memory is not enough.")
    if crashed or "exit abnormally" in words:  # so the launcher says, which itself ends in peace
        return _("The worker crashed or was ended from outside (the computer's memory may not be enough).")
    return _("The worker ended unexpectedly (exit code {code}).").format(code=code)
