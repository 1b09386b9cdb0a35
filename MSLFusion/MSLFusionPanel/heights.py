"""The height of the panel follows its sentences, also after another module was shown meanwhile."""

from typing import Any

import qt

_OTHERS = (1, 2, 3)


class FreshHeight(qt.QObject):
    """An event filter for the module's widget: the layout around it asks anew how high it has to be.

    Slicer's module panel takes a module's widget out of its layout and puts it back without deleting the layout's
    item for it. Qt tells the first item only that it has to be measured again; the later ones keep the three heights
    that they asked for last, and the panel is squeezed into them. So three others are asked for.
    """

    def eventFilter(self, widget: Any, event: Any) -> bool:
        """Nothing is filtered out."""
        if event.type() == qt.QEvent.LayoutRequest:
            _forget_heights(widget)
        return False


def _forget_heights(widget: Any) -> None:
    around = widget.parentWidget()
    layout = None if around is None else around.layout()
    index = -1 if layout is None else layout.indexOf(widget)
    if index < 0:
        return
    item = layout.itemAt(index)
    for more in _OTHERS:
        item.heightForWidth(around.width + more)
    layout.invalidate()
