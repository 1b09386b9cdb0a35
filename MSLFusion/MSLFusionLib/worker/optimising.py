"""The request that finds a lambda map: the map comes in parts while it is sought, so that a cancel loses nothing."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.progress import Job
from MSLFusionLib.wire import Message
from MSLFusionLib.worker import fields

if TYPE_CHECKING:
    from MSLFusionLib.recon.optimise import News
    from MSLFusionLib.recon.session import Session

SendPart = Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], None]

KIND = "lambda"
"""Of the parts."""
_EVERY_S = 0.3
"""How often an unfinished slice is sent."""


def optimize_lambda(
    session: "Session", message: Message, job: Job, part: SendPart
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Find the map for the session; objectives by name only: a request never names code to run.

    Raises InputError for what is not possible, Cancelled after the best until then was sent.
    """
    from MSLFusionLib.recon.optimise import Optimising, optimise_lambda

    defaults = Optimising()
    slices = fields.numbers(message, "slices") if "slices" in message.header else None
    if slices is not None and (len(slices) != 2 or any(number != int(number) for number in slices)):
        raise InputError("'slices' of the request 'optimize_lambda' must be the first and the last number.")
    settings = Optimising(
        objective=fields.text(message, "objective", str(defaults.objective)),
        alpha=fields.number(message, "alpha", defaults.alpha),
        steps=fields.whole(message, "steps", defaults.steps),
        smoothness=fields.number(message, "smoothness", defaults.smoothness),
        slices=None if slices is None else (int(slices[0]), int(slices[1])),
        start=fields.whole(message, "start") if "start" in message.header else None,
    )
    sender = _Sender(part)
    found = optimise_lambda(session, settings, message.arrays.get("weights"), sender.news, job)
    sender.flush()
    if not found.complete:
        raise Cancelled("Cancelled: the maps found until then were sent.")
    return {
        "shape": list(session.grid.volume.shape),
        "slice_axis": session.grid.slice_axis,
        "settings": settings.to_dict(),
        **found.report(),
    }, {}


class _Sender:
    """Sends news as parts: finished slices at once, others now and then, with all points of the curve since."""

    def __init__(self, part: SendPart) -> None:
        self._part = part
        self._sent = 0.0
        self._points: list[list[float]] = []
        self._last: News | None = None

    def news(self, news: "News") -> None:
        """Take one in."""
        self._points.append([news.evaluations, news.value])
        self._last = news
        if news.finished or time.monotonic() - self._sent >= _EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Send what was not sent yet."""
        news, self._last = self._last, None
        if news is None:
            return
        points, self._points, self._sent = self._points, [], time.monotonic()
        header = {"kind": KIND, "slices": [news.number], "curve": points, "finished": news.finished}
        header |= {"value": news.value, "best_constant": list(news.best_constant)}
        self._part(header, {"planes": news.plane[None]})
