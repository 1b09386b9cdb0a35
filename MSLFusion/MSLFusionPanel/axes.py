"""Axes of charts that grow while they are looked at: Slicer fits them to the first points alone."""

from collections.abc import Sequence
from typing import Any

Limits = tuple[float, ...]
_MARGIN, _LOG_MARGIN = 0.05, 1.3
"""Room above and below: a share of the range, and a factor of logarithmic axes."""


def fit(chart: Any, xs: Sequence[float], ys: Sequence[float], before: Limits | None, *, start: float = 0.0) -> Limits:
    """Let the axes hold all points; returns their limits, to be given as `before` the next time.

    Where the limits are no longer those, the user has zoomed, and nothing is changed. start: of the x axis. A
    logarithmic y axis is fitted as one.
    """
    if not xs or not ys or (before is not None and before != limits(chart)):
        return before or limits(chart)
    low, high = min(ys), max(ys)
    if chart.GetYAxisLogScale():
        low, high = low / _LOG_MARGIN, high * _LOG_MARGIN
    else:
        margin = _MARGIN * (high - low) or 1.0
        low, high = low - margin, high + margin
    modifying = chart.StartModify()
    chart.SetXAxisRangeAuto(False)
    chart.SetYAxisRangeAuto(False)
    chart.SetXAxisRange(start, max(xs))
    chart.SetYAxisRange(low, high)
    chart.EndModify(modifying)
    return limits(chart)


def limits(chart: Any) -> Limits:
    """The ends of both axes."""
    return (*chart.GetXAxisRange(), *chart.GetYAxisRange())
