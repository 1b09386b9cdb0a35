"""slicer.parameterNodeWrapper: the same names and texts in the MRML node, the same widgets for the same types.

Facts from Base/Python/slicer/parameterNodeWrapper (github.com/Slicer/Slicer). Left out: dict, Any, QColor, custom
serializers and connectors, createGui, packs connected to a widget with children of their own.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import logging
import pathlib
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

SlicerParameterNamePropertyName = "SlicerParameterName"
PATHS = (pathlib.Path, pathlib.PosixPath, pathlib.PurePath, pathlib.PurePosixPath)


def splitAnnotations(annotated: Any) -> tuple[Any, tuple[Any, ...]]:
    args = typing.get_args(typing.Annotated[annotated, None])
    return args[0], args[1:-1]


def unannotatedType(annotated: Any) -> Any:
    return splitAnnotations(annotated)[0]


def findFirstAnnotation(annotations: Any, kind: type) -> Any:
    return next((a for a in annotations if isinstance(a, kind)), None)


class Validator:
    """A check of one value; `holds` says whether it passes."""

    def __init__(self, *limits: Any) -> None:
        self.limits = limits

    def validate(self, value: Any) -> None:
        if not self.holds(value):
            raise ValueError(f"{value!r} does not fit {type(self).__name__}{self.limits}")


class NotNone(Validator):
    def holds(self, value: Any) -> bool:
        return value is not None


class Minimum(Validator):
    def __init__(self, minimum: Any) -> None:
        super().__init__(minimum)
        self.minimum = minimum

    def holds(self, value: Any) -> bool:
        return value >= self.minimum


class Maximum(Validator):
    def __init__(self, maximum: Any) -> None:
        super().__init__(maximum)
        self.maximum = maximum

    def holds(self, value: Any) -> bool:
        return value <= self.maximum


class WithinRange(Validator):
    def __init__(self, minimum: Any, maximum: Any) -> None:
        super().__init__(minimum, maximum)
        self.minimum, self.maximum = minimum, maximum

    def holds(self, value: Any) -> bool:
        return self.minimum <= value <= self.maximum


class Choice(Validator):
    def __init__(self, choices: Any) -> None:
        super().__init__(choices)
        self.choices = choices

    def holds(self, value: Any) -> bool:
        return value in self.choices


class Exclude(Choice):
    def holds(self, value: Any) -> bool:
        return value not in self.choices


class RangeBounds(WithinRange):
    def holds(self, value: Any) -> bool:
        return self.minimum <= value.minimum and value.maximum <= self.maximum


class Default:
    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value, self._generator = value, generator

    @property
    def value(self) -> Any:
        return self._generator() if self._generator else self._value


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float


# How values lie in the node


class Scalar:
    """Text under the parameter's own name."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.accepted = (int, float) if kind is float else kind

    def default(self) -> Any:
        if issubclass(self.kind, enum.Enum):
            return next(iter(self.kind))
        return 0 if self.kind is float else self.kind()

    def validate(self, value: Any) -> None:
        if value is None and not issubclass(self.kind, enum.Enum):
            raise ValueError("Value must not be None")
        if not isinstance(value, self.accepted):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")

    def isIn(self, node: Any, name: str) -> bool:
        return node.HasParameter(name)

    def write(self, node: Any, name: str, value: Any) -> None:
        if self.kind is bool:
            value = "True" if value else "False"
        node.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node: Any, name: str) -> Any:
        text = node.GetParameter(name)
        if self.kind is bool:
            return text == "True"
        if not issubclass(self.kind, enum.Enum):
            return self.kind(text)
        if text not in self.kind.__members__:
            raise ValueError(f"Found {text!r} in parameter node but it is not a name in {self.kind!r}")
        return self.kind[text]

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)


class NodeKind(Scalar):
    """A node reference, with an empty parameter of the same name that says it was set."""

    def default(self) -> Any:
        return None

    def validate(self, value: Any) -> None:
        if value is not None:
            super().validate(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        super().remove(node, name)
        node.RemoveNodeReferenceIDs(name)


class NoneKind(Scalar):
    def __init__(self) -> None:
        super().__init__(bool)

    def default(self) -> Any:
        return None

    def validate(self, value: Any) -> None:
        if value is not None:
            raise ValueError("Value must be None")

    def write(self, node: Any, name: str, value: Any) -> None:
        super().write(node, name, True)

    def read(self, node: Any, name: str) -> Any:
        return None


class Parts:
    """Values in several parameters, `name.0`, `name.1`, ..."""

    def __init__(self, kinds: list[Any]) -> None:
        self.kinds = kinds

    def remove(self, node: Any, name: str) -> None:
        for i, kind in enumerate(self.kinds):
            kind.remove(node, f"{name}.{i}")


class TupleKind(Parts):
    def default(self) -> Any:
        raise ValueError("Slicer makes a generator of it, which can be written once: give tuples a default")

    def validate(self, value: Any) -> None:
        for kind, part in zip(self.kinds, value, strict=True):
            kind.validate(part)

    def isIn(self, node: Any, name: str) -> bool:
        return self.kinds[0].isIn(node, f"{name}.0")

    def write(self, node: Any, name: str, value: Any) -> None:
        for i, (kind, part) in enumerate(zip(self.kinds, value, strict=True)):
            kind.write(node, f"{name}.{i}", part)

    def read(self, node: Any, name: str) -> Any:
        return tuple(kind.read(node, f"{name}.{i}") for i, kind in enumerate(self.kinds))


class UnionKind(Parts):
    """The value under the number of its type."""

    def default(self) -> Any:
        optional = len(self.kinds) == 2 and isinstance(self.kinds[1].inner, NoneKind)
        return None if optional else self.kinds[0].default()

    def _index(self, value: Any) -> int:
        for i, kind in enumerate(self.kinds):
            try:
                kind.validate(value)
            except (ValueError, TypeError):
                continue
            if value is not None or isinstance(kind.inner, NoneKind):
                return i
        raise TypeError(f"Unable to write value '{value}' of type '{type(value)}'")

    def validate(self, value: Any) -> None:
        self._index(value)

    def isIn(self, node: Any, name: str) -> bool:
        return any(kind.isIn(node, f"{name}.{i}") for i, kind in enumerate(self.kinds))

    def write(self, node: Any, name: str, value: Any) -> None:
        index = self._index(value)
        self.remove(node, name)
        self.kinds[index].write(node, f"{name}.{index}", value)

    def read(self, node: Any, name: str) -> Any:
        index = next(i for i, kind in enumerate(self.kinds) if kind.isIn(node, f"{name}.{i}"))
        return self.kinds[index].read(node, f"{name}.{index}")


class ObservedList(collections.UserList):
    """A list that is stored whenever it changes; + and * are refused, as in Slicer."""

    def __init__(self, values: list[Any], save: Callable[[list[Any]], None], load: Callable[[], list[Any]]) -> None:
        super().__init__()
        self.data = values
        self._save, self._load = save, load

    def __add__(self, other: Any) -> Any:
        raise NotImplementedError("Adding an ObservedList is not supported. However, += is supported.")

    __radd__ = __mul__ = __rmul__ = __add__


def _saving(name: str) -> Any:
    def change(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self.data, name)(*args, **kwargs)
        try:
            self._save(self.data)
        finally:
            self.data = self._load()
        return self if name in ("__iadd__", "__imul__") else result

    return change


for _name in ("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "__setitem__", "__delitem__",
              "__iadd__", "__imul__"):  # fmt: skip
    setattr(ObservedList, _name, _saving(_name))


class ListKind:
    """`name.len` and `name.0`, `name.1`, ..."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def default(self) -> Any:
        return []

    def validate(self, value: Any) -> None:
        """The elements are checked when they are written."""

    def _len(self, node: Any, name: str) -> int:
        return int(node.GetParameter(f"{name}.len") or 0)

    def isIn(self, node: Any, name: str) -> bool:
        return node.HasParameter(f"{name}.len")

    def write(self, node: Any, name: str, values: Any) -> None:
        for value in values:
            self.kind.validate(value)
        old = self._len(node, name)
        for i, value in enumerate(values):
            self.kind.write(node, f"{name}.{i}", value)
        node.SetParameter(f"{name}.len", str(len(values)))
        for i in range(len(values), old):
            self.kind.remove(node, f"{name}.{i}")

    def read(self, node: Any, name: str) -> Any:
        def load() -> list[Any]:
            return [self.kind.read(node, f"{name}.{i}") for i in range(self._len(node, name))]

        def save(values: list[Any]) -> None:
            with _modify(node):
                self.write(node, name, values)

        return ObservedList(load(), save, load)

    def remove(self, node: Any, name: str) -> None:
        for i in range(self._len(node, name)):
            self.kind.remove(node, f"{name}.{i}")
        node.UnsetParameter(f"{name}.len")


class PackKind:
    """Each member under `name.member`."""

    def __init__(self, pack: Any) -> None:
        self.pack = pack
        self.members = {name: info.kind for name, info in pack.allParameters.items()}

    def default(self) -> Any:
        return self.pack()

    def validate(self, value: Any) -> None:
        if not isinstance(value, self.pack):
            raise ValueError(f"Value must be of type '{self.pack}', is type '{type(value)}'")

    def isIn(self, node: Any, name: str) -> bool:
        first, kind = next(iter(self.members.items()))
        return kind.isIn(node, f"{name}.{first}")

    def write(self, node: Any, name: str, value: Any) -> None:
        with _modify(node):
            for member, kind in self.members.items():
                kind.write(node, f"{name}.{member}", value._values[member])

    def read(self, node: Any, name: str) -> Any:
        values = {member: kind.read(node, f"{name}.{member}") for member, kind in self.members.items()}
        observed = object.__new__(self.pack)
        observed._values = values

        def save() -> None:
            try:
                self.write(node, name, observed)
            finally:
                values.update({member: kind.read(node, f"{name}.{member}") for member, kind in self.members.items()})

        observed.__dict__["_save"] = save
        return observed

    def remove(self, node: Any, name: str) -> None:
        for member, kind in self.members.items():
            kind.remove(node, f"{name}.{member}")


class Checked:
    """A kind with the validators that were annotated."""

    def __init__(self, inner: Any, validators: list[Any]) -> None:
        self.inner, self.validators = inner, validators

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def validate(self, value: Any) -> None:
        self.inner.validate(value)
        for validator in self.validators:
            validator.validate(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        with _modify(node):
            self.inner.write(node, name, value)


def _modify(node: Any) -> Any:
    import slicer.util

    return slicer.util.NodeModify(node)


def _is_node(kind: Any) -> bool:
    import slicer

    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def _kind(annotated: Any) -> Checked:
    kind, annotations = splitAnnotations(annotated)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is type(None):
        inner: Any = NoneKind()
    elif origin in (typing.Union, types.UnionType):
        inner = UnionKind([_kind(arg) for arg in args])
    elif origin is list and len(args) == 1:
        inner = ListKind(_kind(args[0]))
    elif origin is tuple and args:
        inner = TupleKind([_kind(arg) for arg in args])
    elif isParameterPack(kind):
        inner = PackKind(kind)
    elif _is_node(kind):
        inner = NodeKind(kind)
    elif kind in (int, float, bool, str, *PATHS) or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        inner = Scalar(kind)
    else:
        raise Exception(f"Unable to create serializer for type: {kind}")
    return Checked(inner, [a for a in annotations if isinstance(a, Validator)])


class Info:
    """One parameter of a pack or wrapper: its kind in the node, its default, its annotated type."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        self.kind, self.type = _kind(annotated), annotated
        notes = splitAnnotations(annotated)[1]
        default = findFirstAnnotation(notes, Default) or Default(generator=self.kind.default)
        self.default = Default(getattr(owner, name)) if hasattr(owner, name) else default
        self.unused = [a for a in notes if not isinstance(a, Validator | Default)]


def _read_class(cls: type) -> dict[str, Info]:
    hints = typing.get_type_hints(cls, include_extras=True)
    if not hints:
        raise ValueError(f"Unable to find any members in {cls}")
    for name in hints:
        if name in ("allParameters", "default", "dataType", "getValue", "setValue", "connectGui", "disconnectGui"):
            raise ValueError(f"Cannot use reserved name '{name}'")
    return {name: Info(cls, name, annotated) for name, annotated in hints.items()}


def _info(parameters: dict[str, Info], dotted: str) -> Info:
    top, _, rest = dotted.partition(".")
    if top not in parameters:
        raise ValueError(f"Cannot find a param with the given name: {top}")
    if not rest:
        return parameters[top]
    pack = unannotatedType(parameters[top].type)
    if not isParameterPack(pack):
        raise ValueError(f"{pack} is not a parameter pack but expects to have '{rest}'")
    return _info(pack.allParameters, rest)


def isParameterPack(obj: Any) -> bool:
    return getattr(obj, "_is_parameterPack", False)


def isParameterNodeWrapper(obj: Any) -> bool:
    return getattr(obj, "_is_parameter_node_wrapper", False)


def nestedParameterNames(pack: Any) -> list[str]:
    names = []
    for name, info in unannotatedType(pack).allParameters.items():
        inner = unannotatedType(info.type)
        names += [f"{name}.{n}" for n in nestedParameterNames(inner)] if isParameterPack(inner) else [name]
    return names


def parameterPack(cls: Any = None) -> Any:
    if cls is None:
        return parameterPack
    cls.allParameters = _read_class(cls)
    for name, info in cls.allParameters.items():
        if info.unused:
            print("Warning: unused annotations", info.unused)
        info.kind.validate(info.default.value)
        setattr(cls, name, property(lambda self, n=name: self._values[n], lambda self, v, n=name: _set(self, n, v)))
    for name, function in {"__init__": _init, "__eq__": _equal, "__repr__": _text, "__str__": _text}.items():
        if name not in cls.__dict__ or name == "__eq__":
            setattr(cls, name, function)
    cls._is_parameterPack, cls._save, cls.__setattr__ = True, staticmethod(lambda: None), _set_attribute
    cls.getValue = lambda self, dotted: _walk(self, dotted)
    cls.setValue = lambda self, dotted, value: (_set_dotted(self, dotted, value), self._save())[0]
    cls.dataType = staticmethod(lambda dotted: _info(cls.allParameters, dotted).type)
    return cls


def _init(self: Any, *args: Any, **kwargs: Any) -> None:
    given = dict(zip(self.allParameters, args, strict=False), **kwargs)
    unknown = set(given) - set(self.allParameters)
    if unknown:
        raise TypeError(f"__init__() got an unexpected keyword argument '{unknown.pop()}'")
    self._values = {}
    for name, info in self.allParameters.items():
        value = given.get(name, info.default.value)
        info.kind.validate(value)
        self._values[name] = value


def _set(self: Any, name: str, value: Any) -> None:
    self.allParameters[name].kind.validate(value)
    self._values[name] = value
    self._save()


def _set_attribute(self: Any, name: str, value: Any) -> None:
    if "_save" in self.__dict__ and not hasattr(self, name):
        raise AttributeError(f"{type(self).__name__} has no attribute '{name}', and it is kept in the scene")
    object.__setattr__(self, name, value)


def _equal(self: Any, other: Any) -> bool:
    return type(self) is type(other) and self._values == other._values


def _text(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self._values.items())})"


def _walk(obj: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        if name not in obj.allParameters:
            raise ValueError(f"{obj} has no member '{name}'")
        obj = getattr(obj, name)
    return obj


def _set_dotted(self: Any, dotted: str, value: Any) -> None:
    path, _, last = dotted.rpartition(".")
    setattr(_walk(self, path) if path else self, last, value)


def parameterNodeWrapper(cls: Any = None) -> Any:
    if cls is None:
        return parameterNodeWrapper
    parameters = _read_class(cls)
    for name, info in parameters.items():
        if info.unused:
            logging.warning("Unused annotations: %s", info.unused)
        setattr(cls, name, property(lambda self, n=name: _get(self, n), lambda self, v, n=name: _put(self, n, v)))
    members: dict[str, Any] = {
        "allParameters": parameters,
        "_is_parameter_node_wrapper": True,
        "__init__": _wrap_node,
        "default": lambda self, name: _info(parameters, name).default,
        "dataType": staticmethod(lambda dotted: _info(parameters, dotted).type),
        "getValue": lambda self, dotted: (_info(parameters, dotted), _walk(self, dotted))[1],
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
    _info(self.allParameters, dotted)
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
        with _modify(self.parameterNode):
            self.allParameters[name].kind.write(self.parameterNode, self._prefix + name, value)
            self._cache[name] = _fresh(self, name)
    finally:
        self._writing = None


# Widgets


def connect_gui(self: Any, gui: Any) -> int:
    """Connect each widget that has the dynamic property SlicerParameterName; `gui` is a widget or its variables."""
    import qt

    widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else list(gui.__dict__.values())
    named = {w.property(SlicerParameterNamePropertyName): w for w in widgets}
    return connect_parameters(self, {name: w for name, w in named.items() if name})


def connect_parameters(self: Any, mapping: dict[str, Any]) -> int:
    infos = {name: _info(self.allParameters, name) for name in mapping}
    connectors = {n: w if isinstance(w, Connector) else create_connector(w, infos[n].type) for n, w in mapping.items()}
    tag, self._next_tag = self._next_tag, self._next_tag + 1

    def from_gui(name: str, connector: Connector) -> None:
        with _modify(self):
            if not self._updating:
                self.setValue(name, connector.read())

    def to_gui(*_args: Any) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            with _modify(self):
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
    if cls is slicer.qMRMLNodeComboBox and all(_is_node(n) for n in nodes):
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
