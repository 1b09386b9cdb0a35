"""slicer.parameterNodeWrapper: the same names and texts in the MRML node, the same widgets for the same types.

Facts from Base/Python/slicer/parameterNodeWrapper (github.com/Slicer/Slicer). Left out: dict, Any, QColor, custom
serializers and connectors, createGui, packs connected to a widget with children of their own.
"""

from __future__ import annotations

import enum
import logging
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

from .parameter_kinds import (
    PATHS,
    Choice,
    Decimals,
    Maximum,
    Minimum,
    SingleStep,
    WithinRange,
    findFirstAnnotation,
    info_of,
    is_node,
    modify,
    read_class,
    splitAnnotations,
    unannotatedType,
    walk,
)

SlicerParameterNamePropertyName = "SlicerParameterName"


def isParameterNodeWrapper(obj: Any) -> bool:
    return getattr(obj, "_is_parameter_node_wrapper", False)


def parameterNodeWrapper(cls: Any = None) -> Any:
    if cls is None:
        return parameterNodeWrapper
    parameters = read_class(cls)
    for name, info in parameters.items():
        if info.unused:
            logging.warning("Unused annotations: %s", info.unused)
        setattr(cls, name, property(lambda self, n=name: _get(self, n), lambda self, v, n=name: _put(self, n, v)))
    members: dict[str, Any] = {
        "allParameters": parameters,
        "_is_parameter_node_wrapper": True,
        "__init__": _wrap_node,
        "default": lambda self, name: info_of(parameters, name).default,
        "dataType": staticmethod(lambda dotted: info_of(parameters, dotted).type),
        "getValue": lambda self, dotted: (info_of(parameters, dotted), walk(self, dotted))[1],
        "setValue": _set_value,
        "connectGui": connect_gui,
        "connectParametersToGui": connect_parameters,
        "disconnectGui": disconnect_gui,
        "StartModify": lambda self: self.parameterNode.StartModify(),
        "EndModify": lambda self, was: self.parameterNode.EndModify(was),
        "AddObserver": lambda self, event, f, priority=0.0: self.parameterNode.AddObserver(event, f, priority),
        "RemoveObserver": lambda self, tag: self.parameterNode.RemoveObserver(tag),
        "Modified": lambda self: self.parameterNode.Modified(),
    }
    for name, member in members.items():
        setattr(cls, name, member)
    return cls


def _set_value(self: Any, dotted: str, value: Any) -> None:
    info_of(self.allParameters, dotted)
    top, _, rest = dotted.partition(".")
    if rest:
        getattr(self, top).setValue(rest, value)
    else:
        setattr(self, top, value)


def _wrap_node(self: Any, parameterNode: Any, prefix: str | None = None) -> None:
    self.parameterNode, self._prefix = parameterNode, prefix or ""
    self._guis: dict[int, tuple[dict[str, Any], Any]] = {}
    self._updating, self._next_tag = False, 0
    self._writing: str | None = None
    self._cache: dict[str, Any] = {}
    weak = weakref.ref(self)
    for name in self.allParameters:  # one observer each as in Slicer: VTK calls the first one last
        self._cache[name] = _fresh(self, name)
        tag = parameterNode.AddObserver("ModifiedEvent", lambda *_args, name=name: _refresh(weak(), name))
        weakref.finalize(self, parameterNode.RemoveObserver, tag).atexit = False


def _fresh(self: Any, name: str) -> Any:
    info = self.allParameters[name]
    if not info.kind.isIn(self.parameterNode, self._prefix + name):
        info.kind.write(self.parameterNode, self._prefix + name, info.default.value)
    return info.kind.read(self.parameterNode, self._prefix + name)


def _refresh(self: Any, name: str) -> None:
    """The node was modified; what cannot be read keeps its last value, and VTK shows the error."""
    if self is not None and name != self._writing:
        self._cache[name] = _fresh(self, name)


def _get(self: Any, name: str) -> Any:
    return self._cache[name]


def _put(self: Any, name: str, value: Any) -> None:
    self._writing = name
    try:
        with modify(self.parameterNode):
            self.allParameters[name].kind.write(self.parameterNode, self._prefix + name, value)
            self._cache[name] = _fresh(self, name)
    finally:
        self._writing = None


def connect_gui(self: Any, gui: Any) -> int:
    """Connect each widget that has the dynamic property SlicerParameterName; `gui` is a widget or its variables."""
    import qt

    widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else list(gui.__dict__.values())
    named = {w.property(SlicerParameterNamePropertyName): w for w in widgets}
    return connect_parameters(self, {name: w for name, w in named.items() if name})


def connect_parameters(self: Any, mapping: dict[str, Any]) -> int:
    infos = {name: info_of(self.allParameters, name) for name in mapping}
    connectors = {n: w if isinstance(w, Connector) else create_connector(w, infos[n].type) for n, w in mapping.items()}
    tag, self._next_tag = self._next_tag, self._next_tag + 1

    def from_gui(name: str, connector: Connector) -> None:
        with modify(self):
            if not self._updating:
                self.setValue(name, connector.read())

    def to_gui(*_args: Any) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            with modify(self):
                for others, _observer in list(self._guis.values()):
                    for name, connector in others.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating = False

    for name, connector in connectors.items():
        connector.write(self.getValue(name))
        connector.onChanged(lambda *_args, name=name, connector=connector: from_gui(name, connector))
    self._guis[tag] = (connectors, self.AddObserver("ModifiedEvent", to_gui))
    return tag


def disconnect_gui(self: Any, tag: int) -> None:
    if tag in self._guis:
        connectors, observer = self._guis.pop(tag)
        for connector in connectors.values():
            connector.onChanged(None)
        self.RemoveObserver(observer)


def _same(value: Any) -> Any:
    return value


class Connector:
    """One widget and one parameter: `signal` tells changes, `attribute` is the property that holds the value."""

    def __init__(
        self, widget: Any, signal: str, attribute: str, to: Any = lambda v: v, back: Any = lambda v: v
    ) -> None:
        self.widget, self.signal, self.attribute, self.to, self.back = widget, signal, attribute, to, back
        self._callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        if self.signal:
            signal = getattr(self.widget, self.signal)
            if callback is None:
                signal.disconnect(self._callback)
            else:
                signal.connect(callback)
        self._callback = callback

    def read(self) -> Any:
        return self.back(getattr(self.widget, self.attribute))

    def write(self, value: Any) -> None:
        value = self.to(value)
        if self.attribute != "text" or value != self.widget.text:
            setattr(self.widget, self.attribute, value)


class NodeConnector(Connector):
    def read(self) -> Any:
        return self.widget.currentNode()

    def write(self, value: Any) -> None:
        self.widget.setCurrentNode(value)


class TextConnector(Connector):
    def read(self) -> Any:
        return self.widget.toPlainText()

    def write(self, value: Any) -> None:
        self.widget.setPlainText(value)


class ItemConnector(Connector):
    """A combo box; its items are made here from the choices."""

    def __init__(self, widget: Any, choices: list[Any], labels: list[str], keep: bool) -> None:
        super().__init__(widget, "currentIndexChanged", "currentIndex", choices.index, choices.__getitem__)
        kept = self.read() if keep else None
        widget.clear()
        for label in labels:
            widget.addItem(label)
        if keep:
            self.write(kept)


def create_connector(widget: Any, annotated: Any) -> Connector:
    """The connector for a widget and a type, or RuntimeError where Slicer has none."""
    import ctk
    import qt
    import slicer

    kind, notes = splitAnnotations(annotated)
    cls = type(widget)
    floats = (qt.QDoubleSpinBox, ctk.ctkSliderWidget, slicer.qMRMLSliderWidget, ctk.ctkDoubleSlider,
              ctk.ctkDoubleSpinBox, slicer.qMRMLSpinBox)  # fmt: skip
    combo = cls in (qt.QComboBox, ctk.ctkComboBox)
    if kind is bool and cls in (qt.QCheckBox, ctk.ctkCheckBox):
        return Connector(widget, "stateChanged", "checked")
    if kind is bool and cls in (qt.QPushButton, ctk.ctkCheckablePushButton):
        if not widget.checkable:
            logging.warning("Making push button checkable for conversion to bool: button %s", widget)
            widget.checkable = True
        return Connector(widget, "toggled", "checked")
    if kind in (int, float) and cls in (*floats, *((qt.QSlider, qt.QSpinBox) if kind is int else ())):
        _set_range(widget, kind, notes, cls in floats)
        return Connector(widget, "valueChanged", "value", *((int, int) if kind is int else ()))
    if combo and kind in (int, float, str, bool):
        choice = findFirstAnnotation(notes, Choice)
        if choice is None:
            raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
        return ItemConnector(widget, list(choice.choices), [str(c) for c in choice.choices], keep=False)
    if combo and isinstance(kind, type) and issubclass(kind, enum.Enum):
        label = getattr(kind, "label", lambda e: e.name)
        return ItemConnector(widget, list(kind), [label(e) for e in kind], keep=True)
    if kind is str and cls in (qt.QLineEdit, qt.QLabel):
        return Connector(widget, "textChanged" if cls is qt.QLineEdit else "", "text")
    if kind is str and cls is qt.QTextEdit:
        return TextConnector(widget, "textChanged", "")
    if kind in PATHS and cls is ctk.ctkPathLineEdit:
        return Connector(widget, "currentPathChanged", "currentPath", str, kind)
    if kind in PATHS and cls is ctk.ctkDirectoryButton:
        return Connector(widget, "directoryChanged", "directory", str, kind)
    args = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    nodes = [unannotatedType(arg) for arg in args if unannotatedType(arg) is not type(None)]
    if cls is slicer.qMRMLNodeComboBox and all(is_node(n) for n in nodes):
        widget.nodeTypes = [n().GetClassName() for n in nodes]
        return NodeConnector(widget, "currentNodeChanged", "")
    raise RuntimeError(f"Unable to create GUI connector from datatype '{annotated}' to widget type '{cls}'.")


def _set_range(widget: Any, kind: type, notes: Any, is_float_widget: bool) -> None:
    import ctk
    import qt
    import slicer

    decimals, step = findFirstAnnotation(notes, Decimals), findFirstAnnotation(notes, SingleStep)
    if is_float_widget and kind is int and type(widget) is not ctk.ctkDoubleSlider:
        widget.decimals = 0
    elif decimals is not None and type(widget) is not ctk.ctkDoubleSlider:
        widget.decimals = decimals.value
    if step is not None:
        widget.singleStep = step.value
    low = findFirstAnnotation(notes, WithinRange) or findFirstAnnotation(notes, Minimum)
    high = findFirstAnnotation(notes, WithinRange) or findFirstAnnotation(notes, Maximum)
    bounded = (ctk.ctkSliderWidget, slicer.qMRMLSliderWidget, qt.QSlider)
    if type(widget) in bounded and (low is None or high is None):
        raise RuntimeError(f"Cannot have a connection to {type(widget).__name__} where the type is unbounded.")
    limits = (float("-inf"), float("inf")) if is_float_widget else (-(2**31), 2**31 - 1)
    widget.minimum = limits[0] if low is None else low.minimum
    widget.maximum = limits[1] if high is None else high.maximum


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    import qt

    named = (w for w in widget.findChildren(qt.QWidget) if w.property(SlicerParameterNamePropertyName) == parameter)
    return next(named, None)
