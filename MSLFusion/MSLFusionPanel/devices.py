"""The device selector: automatic, the processor, and the GPUs that the worker has told of."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from MSLFusionPanel.question import Question
from MSLFusionPanel.words import size_in_words

if TYPE_CHECKING:
    from MSLFusionPanel.section import Section

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


class Devices:
    """Fills the selector and keeps it and the parameter alike.

    GPUs are looked for when the user asks, and once when a worker is there and idle: the question loads torch in it.
    """

    def __init__(self, section: "Section", pack: str = "model") -> None:
        """pack: the pack of parameters that has `device`."""
        self._section = section
        self._pack = pack
        self._panel = section.panel
        self._worker = section.logic.worker
        self._question = Question(self._worker, section.panel.changed)
        self._known: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        self._tip = section.ui.refreshDevicesButton.toolTip
        section.on(section.ui.deviceSelector, "currentIndexChanged(int)", self._choose)
        section.on(section.ui.refreshDevicesButton, "clicked()", self.refresh)

    @property
    def _parameters(self) -> Any:
        return getattr(self._section.parameters, self._pack)

    def refresh(self) -> None:
        """Look for GPUs again; starts the worker where need be."""
        self._question.forget()
        self._ask()
        self._panel.changed()

    def update(self, missing: list[str]) -> None:
        """Show the devices; `missing`: packages without which none can be looked for."""
        info = self._worker.info
        torch = info is not None and bool(info.get("torch"))
        if self._worker.state == "running" and torch and self._panel.task is None and not self._asked():
            self._ask()
        if self._question.answer is not None and self._asked():
            self._known[self._about()] = self._question.answer["devices"]
        self._fill()
        self._update_button(missing)

    def problem(self) -> str:
        """Why the chosen device cannot be used; empty when it can, or when that is not known."""
        name = self._parameters.device
        if not _DEVICE.fullmatch(name):
            return _("There is no device “{name}”: choose another one.").format(name=name)
        known = self._known.get(self._about())
        if known is None or name in ("auto", "cpu") or any(_plain(name) == one["name"] for one in known):
            return ""
        return _("The device {name} is not there: choose another one.").format(name=name)

    @property
    def trouble(self) -> str:
        """Why the devices are not known, when they were asked for."""
        return self._question.problem if self._asked() else ""

    def _ask(self) -> None:
        self._question.ask(self._about(), "devices")

    def _asked(self) -> bool:
        return self._question.asked(self._about())

    def _about(self) -> tuple[Any, ...]:
        """This machine's devices are asked for once, those behind a port with each connection."""
        where = self._worker.where
        return (where, None if where == "local" else self._worker.generation)

    def _fill(self) -> None:
        selector, chosen = self._section.ui.deviceSelector, self._parameters.device
        known = self._known.get(self._about())
        memory = {one["name"]: one for one in known or []}
        rows = [("auto", _("Automatic"))]
        rows.append(("cpu", _with_memory(_("Processor"), memory.get("cpu", {}))))
        rows += [(name, _with_memory(f"{one['label']} ({name})", one)) for name, one in memory.items() if name != "cpu"]
        names = [name for name, _label in rows]
        if _plain(chosen) not in names:
            unsure = known is None and _DEVICE.fullmatch(chosen)
            what = _("{name} (not looked for yet)") if unsure else _("{name} (not there)")
            rows.append((chosen, what.format(name=chosen)))
            names.append(chosen)
        fill(selector, rows, chosen if chosen in names else _plain(chosen))

    def _choose(self, index: int) -> None:
        name = self._section.ui.deviceSelector.itemData(index)
        if name and name != self._parameters.device:
            self._parameters.device = name

    def _update_button(self, missing: list[str]) -> None:
        button = self._section.ui.refreshDevicesButton
        reason = ""
        if missing:
            reason = _("The worker cannot look for GPUs before its Python packages are installed.")
        elif self._question.pending:
            reason = _("The worker is looking for GPUs.")
        elif self._panel.task is not None:
            reason = _("Another job is running: wait for it or cancel it.")
        button.enabled = not reason
        button.toolTip = reason or self._tip


def fill(selector: Any, rows: list[tuple[str, str]], chosen: str, tips: Mapping[str, str] | None = None) -> None:
    """Make a combo box hold these (data, label) rows with the one of `chosen` selected; only where it differs."""
    import qt

    shown = [(selector.itemData(i), selector.itemText(i)) for i in range(selector.count)]
    if shown != rows:
        blocked = selector.blockSignals(True)
        selector.clear()
        for data, label in rows:
            selector.addItem(label, data)
            if tips and data in tips:
                selector.setItemData(selector.count - 1, tips[data], qt.Qt.ToolTipRole)
        selector.blockSignals(blocked)
    index = next((i for i, (data, _label) in enumerate(rows) if data == chosen), -1)
    if selector.currentIndex != index:
        selector.setCurrentIndex(index)


def _plain(name: str) -> str:
    """As the worker names it: the first GPU is called cuda as well."""
    return "cuda:0" if name == "cuda" else name


def _with_memory(label: str, device: Mapping[str, Any]) -> str:
    free, total = device.get("free_bytes"), device.get("total_bytes")
    if not free:
        return label
    if not total:
        return _("{label}, {free} free").format(label=label, free=size_in_words(free))
    return _("{label}, {free} of {total} free").format(
        label=label, free=size_in_words(free), total=size_in_words(total)
    )
