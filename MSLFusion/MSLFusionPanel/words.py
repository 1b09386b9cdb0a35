"""Numbers and sentences as people say them."""

from collections.abc import Sequence

from slicer.i18n import tr as _


def as_sentence(text: str) -> str:
    """With a capital first letter and a full stop, on one line."""
    text = " ".join(text.split())
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?:" else ".")


def size_in_words(count: float) -> str:
    """A number of bytes."""
    for unit, size in (("TB", 2**40), ("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 1000 * size else f"{count / size:.0f} {unit}"
    return _("{n} bytes").format(n=round(count))


def grid_in_words(size: Sequence[int], spacing_mm: Sequence[float]) -> str:
    """Size and spacing of a volume: 512 x 512 x 40, 0.5 x 0.5 x 3 mm."""
    return "{}, {} mm".format(" x ".join(f"{n:d}" for n in size), " x ".join(f"{mm:.3g}" for mm in spacing_mm))


def share_in_words(acceleration: float) -> str:
    """The part of k-space that is measured at this acceleration."""
    if acceleration == 1:
        return _("all of k-space")
    if acceleration == round(acceleration):
        return _("1/{n} of k-space").format(n=round(acceleration))
    return _("{percent:.0f} % of k-space").format(percent=100 / acceleration)


def last_line(text: str) -> str:
    """What another program said last: where it failed, that is why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else _("it gave no reason")
