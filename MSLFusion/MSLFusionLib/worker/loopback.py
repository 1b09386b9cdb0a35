"""A worker for clients that connect to a port of this machine's loopback address, one after the other.

Whoever connects has a few seconds and few bytes to log in with the token; each login is looked at in a thread of its
own, so that a silent stranger keeps nobody waiting. One client is served at a time, by the main thread. What it leaves
behind when it goes, for whatever reason, is cancelled and given back; only the model stays. Nothing that comes over a
connection ends the server, except the request for it.
"""

import contextlib
import hmac
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from MSLFusionLib.errors import InputError
from MSLFusionLib.wire import PROTOCOL, Message, Parser, encode
from MSLFusionLib.worker.inbox import Inbox
from MSLFusionLib.worker.serve import CHUNK, GRACE_S, Worker, read_requests
from MSLFusionLib.worker.services import Services

HOST = "127.0.0.1"
LOGIN_BYTES = 4096
"""A first message may have as many bytes."""
LOGIN_S = 5.0
"""And take as long."""

_STRANGERS = 16
"""Connections that may be logging in at a time; others are closed."""
_NOTICE_S, _HANDOVER_S = 0.5, 10.0
"""How long the end of the client before may take to be seen, and its work to stop."""
_GOODBYE_S = 1.0
_FREE, _TAKEN, _LEAVING = "free", "taken", "leaving"


def listen(port: int, token: str, announce: Callable[[int], None]) -> None:
    """Serve one client after the other until one asks for a shutdown.

    port: 0 for any that is free. token: what clients must show. announce: called once with the port. Raises
    InputError when the port cannot be had.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # nothing is lost by ending at once
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise InputError(f"The port {port} cannot be had ({error.strerror}): choose another, or 0 for any.") from None
    with listener:
        announce(listener.getsockname()[1])
        door, services = _Door(listener, token), Services()
        threading.Thread(target=door.watch, daemon=True).start()
        while not _serve(door.guests.get(), services, door):
            pass


@dataclass(eq=False)
class _Guest:
    """A client that has logged in; rest: what came behind its login."""

    link: socket.socket
    rest: bytes

    def receive(self) -> bytes:
        """The next bytes of the client, empty at the end."""
        data, self.rest = self.rest, b""
        return data or self.link.recv(CHUNK)


class _RefusedError(Exception):
    """Why a connection is not let in, and the request that asked for it."""

    def __init__(self, sentence: str, number: int | None = None, reason: str = "input") -> None:
        super().__init__(sentence)
        self.number = number
        self.reason = reason


class _Door:
    """Lets clients in: those that know the token, one at a time."""

    def __init__(self, listener: socket.socket, token: str) -> None:
        self.guests: queue.SimpleQueue[_Guest] = queue.SimpleQueue()
        self._listener = listener
        self._token = token.encode()
        self._place = _FREE
        self._changed = threading.Condition()
        self._strangers = threading.BoundedSemaphore(_STRANGERS)

    def watch(self) -> None:
        """Look at each connection, as long as the listener is open."""
        while self._listener.fileno() >= 0:
            try:
                link, _ = self._listener.accept()
            except OSError:
                time.sleep(0.1)  # out of file descriptors, say; else the listener is closed
                continue
            if self._strangers.acquire(blocking=False):
                threading.Thread(target=self._receive, args=(link,), daemon=True).start()
            else:
                link.close()

    def leaves(self) -> None:
        """The client is gone, its work not yet."""
        self._becomes(_LEAVING)

    def free(self) -> None:
        """The next client may come."""
        self._becomes(_FREE)

    def _becomes(self, place: str) -> None:
        with self._changed:
            self._place = place
            self._changed.notify_all()

    def _receive(self, link: socket.socket) -> None:
        try:
            self._let_in(link)
        except _RefusedError as refused:
            _refuse(link, refused)
        except (OSError, MemoryError):
            link.close()
        finally:
            self._strangers.release()

    def _let_in(self, link: socket.socket) -> None:
        """Make a guest of a connection; raises _RefusedError, or OSError when the client is gone."""
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line, rest = _first_line(link)
        messages = Parser(max_bytes=0).feed(line)
        if not messages or messages[0].type != "login":
            number = messages[0].id if messages else None
            raise _RefusedError("Log in first, with the token that the worker printed.", number)
        if not self._knows(messages[0]):
            raise _RefusedError("The token is wrong: use the one that the worker printed.", messages[0].id)
        self._claim(messages[0].id)
        try:
            link.settimeout(_GOODBYE_S)
            _send(link, encode({"type": "result", "id": messages[0].id, "protocol": PROTOCOL}))
            link.settimeout(None)
        except OSError:
            self.free()
            raise
        self.guests.put(_Guest(link, rest))

    def _knows(self, message: Message) -> bool:
        given = message.header.get("token")
        return isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._token)

    def _claim(self, number: int | None) -> None:
        """Take the place of the one client; raises _RefusedError when another one has it."""
        with self._changed:
            self._changed.wait_for(lambda: self._place != _TAKEN, _NOTICE_S)
            self._changed.wait_for(lambda: self._place != _LEAVING, _HANDOVER_S)
            if self._place == _LEAVING:
                raise _RefusedError(
                    "The worker is still ending the work of the client before: try again in a moment.", number, "failed"
                )
            if self._place == _TAKEN:
                raise _RefusedError("The worker serves another client: close that one first.", number, "failed")
            self._place = _TAKEN


def _serve(guest: _Guest, services: Services, door: _Door) -> bool:
    """Answer one client until it is gone; True when it asked for the end of the server."""
    inbox, finished, link = Inbox(), threading.Event(), guest.link

    def read() -> None:
        intact = read_requests(guest.receive, inbox)
        door.leaves()
        if not intact:
            finished.wait(GRACE_S)  # until the main thread has told why
            _drain(link)
        _hang_up(link)  # wakes a main thread that sends to nobody

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        return Worker(inbox, lambda pieces: _send(link, pieces), services).run()
    except InputError:
        return False  # the requests were damaged, and the client knows
    except Exception as error:
        traceback.print_exception(error, file=sys.stderr)
        return False
    finally:
        finished.set()
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_WR)
        reader.join(2 * _GOODBYE_S)  # the client reads what was sent, and closes
        _hang_up(link)
        link.close()
        reader.join()
        services.tidy()
        door.free()


def _first_line(link: socket.socket) -> tuple[bytes, bytes]:
    """The first line, with its end, and what came behind it; raises _RefusedError when it is long or late."""
    received, deadline = b"", time.monotonic() + LOGIN_S
    while b"\n" not in received[:LOGIN_BYTES]:
        left = deadline - time.monotonic()
        if len(received) >= LOGIN_BYTES:
            raise _RefusedError("Log in first: the first message is too long for a login.")
        try:
            link.settimeout(max(left, 1e-3))
            data = link.recv(LOGIN_BYTES)
        except TimeoutError:
            data, left = b"", 0.0
        if left <= 0:
            raise _RefusedError(f"No login came within {LOGIN_S:g} s.", reason="failed")
        if not data:
            raise ConnectionError
        received += data
    end = received.index(b"\n") + 1
    return received[:end], received[end:]


def _refuse(link: socket.socket, refused: _RefusedError) -> None:
    """Say why, and close."""
    error = {"sentence": str(refused), "exit_code": 2 if refused.reason == "input" else 1, "reason": refused.reason}
    with contextlib.suppress(OSError):
        link.settimeout(_GOODBYE_S)
        _send(link, encode({"type": "error", "id": refused.number, **error}))
        link.shutdown(socket.SHUT_WR)
        _drain(link)
    link.close()


def _send(link: socket.socket, pieces: list[memoryview]) -> None:
    """Send all bytes; raises BrokenPipeError when the client is gone."""
    try:
        for piece in pieces:
            link.sendall(piece)
    except OSError as error:
        raise BrokenPipeError(str(error)) from None


def _drain(link: socket.socket) -> None:
    """Read what still comes, for a moment: closing with unread bytes would take our last words from the client."""
    deadline = time.monotonic() + _GOODBYE_S
    with contextlib.suppress(OSError):
        while time.monotonic() < deadline and link.recv(CHUNK):
            pass


def _hang_up(link: socket.socket) -> None:
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
