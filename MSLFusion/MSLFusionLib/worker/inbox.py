"""Requests that wait, and what stops the one that runs: filled by the reading thread, emptied by the main thread."""

import threading
from collections import deque

from MSLFusionLib.client import CANCELLED, SUPERSEDED
from MSLFusionLib.wire import Message

PREVIEW, VOLUME = "decode_slice", "decode_volume"


class Inbox:
    """Requests in the order they came, except that a newer one of the same kind and view replaces the older."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: deque[Message] = deque()
        self._refused: list[tuple[Message, str]] = []
        self._running: Message | None = None
        self._stop: str | None = None
        self._ended = False
        self._trouble: str | None = None

    def put(self, message: Message) -> None:
        """Take a message in; a cancel acts at once."""
        with self._changed:
            if message.type == "cancel":
                self._cancel(message.header.get("request"))
                return
            if message.type == "shutdown":
                self._cancel(None)
            self._replace(message)
            self._pending.append(message)
            self._changed.notify_all()

    def end(self, trouble: str | None = None) -> None:
        """No more will come: stop the running request and forget the waiting ones. trouble: what was wrong, if so."""
        with self._changed:
            self._ended, self._trouble = True, trouble
            self._pending.clear()
            self._stop = CANCELLED
            self._changed.notify_all()

    def take(self) -> Message | None:
        """Wait for the next request and call it the running one; None at the end."""
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: self._pending or self._ended or self._refused)
            if self._ended:
                return None
            self._stop = None
            if self._pending:
                self._running = self._pending.popleft()
            return self._running or Message({})

    def take_previews(self) -> list[Message]:
        """Waiting requests for single slices, to be answered while a long request runs."""
        with self._changed:
            previews = [message for message in self._pending if message.type == PREVIEW]
            self._pending = deque(message for message in self._pending if message.type != PREVIEW)
            return previews

    def take_refused(self) -> list[tuple[Message, str]]:
        """Requests that were dropped before they began, each with the reason."""
        with self._changed:
            refused, self._refused = self._refused, []
            return refused

    @property
    def stop(self) -> str | None:
        """Why the running request should stop: "cancelled" or "superseded"; None when it should not."""
        return self._stop

    @property
    def trouble(self) -> str | None:
        """What was wrong with the stream of requests, None when nothing was."""
        return self._trouble

    def _cancel(self, number: object) -> None:
        """Stop the request with this number, running or waiting; all of them for None."""
        if self._running is not None and number in (None, self._running.id):
            self._stop = CANCELLED
        self._refuse([message for message in self._pending if number in (None, message.id)], CANCELLED)

    def _replace(self, message: Message) -> None:
        """Drop what `message` makes superfluous."""
        if _place(message) is None:
            return
        # A running preview is let through: else a slider that moves without rest would never show anything.
        if self._running is not None and message.type == VOLUME and _place(self._running) == _place(message):
            self._stop = self._stop or SUPERSEDED
        self._refuse([other for other in self._pending if _place(other) == _place(message)], SUPERSEDED)

    def _refuse(self, messages: list[Message], reason: str) -> None:
        self._refused += [(message, reason) for message in messages]
        self._pending = deque(other for other in self._pending if other not in messages)
        self._changed.notify_all()


def _place(message: Message) -> tuple[str, str] | None:
    """What a newer request replaces: kind and view, None for requests that all count."""
    view = message.header.get("view")
    return (message.type, view) if message.type in (PREVIEW, VOLUME) and isinstance(view, str) else None
