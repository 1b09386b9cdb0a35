"""PythonQt's rules on top of PySide6: what Slicer's modules `qt` and `ctk` allow, and no more.

Properties are attributes (`label.text = "x"`; calling one fails), methods stay methods, a signal is connected by
its signature (`button.connect("clicked(bool)", f)`) or as `button.clicked.connect(f)`, lists come back as tuples,
an attribute that the C++ class lacks cannot be set, and there are no keyword arguments. Each rule is that of
PythonQtInstanceWrapper.cpp, PythonQtClassInfo.cpp and PythonQtSignalReceiver.cpp (github.com/MeVisLab/pythonqt).
Objects seen by the panel are proxies of PySide6 objects; values such as QColor or QSize are PySide6's own.
"""

from __future__ import annotations

import traceback
import weakref
from collections.abc import Callable
from functools import cache
from types import FunctionType, MethodType, ModuleType
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtWidgets

from .api import ClassApi

ERRORS: list[str] = []  # tracebacks of errors in slots: Qt goes on after them, a test must not
MODULES = (QtCore, QtGui, QtWidgets, QtNetwork)
QT6_ONLY = {  # absent from Qt 5.15, with which Slicer is built as well, or there a method instead of a property
    "QLayout": {"contentsMargins", "unsetContentsMargins"},
    "QCheckBox": {"checkStateChanged"},
    "QComboBox": {"labelDrawingMode", "setLabelDrawingMode"},
    "QLabel": {"resetSizePolicy"},
    "QStyleHints": {"colorScheme", "setColorScheme", "unsetColorScheme"},
    "QWidget": {"addActions"},
}
BLOCKING = {"exec", "open", "getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"}
DIALOGS = {"QMessageBox", "QInputDialog", "QColorDialog", "QProgressDialog", "QFileDialog", "QErrorMessage"}


def ask(what: str, *args: Any) -> Any:
    """Called where Qt would open a window and wait; the application stand-in puts its recorder here."""
    raise AssertionError(f"unexpected popup: {what}{args}")


POPUP: list[Callable[..., Any]] = [ask]


def call(f: Callable[..., Any], *args: Any) -> Any:
    """Call Python from Qt as PythonQt does: with as many arguments as `f` takes; an error is kept in ERRORS."""
    code = getattr(f, "__code__", None) or getattr(getattr(f, "__func__", None), "__code__", None)
    if isinstance(f, FunctionType | MethodType) and code is not None and not code.co_flags & 0x04:
        args = args[: code.co_argcount - isinstance(f, MethodType)]
    try:
        return f(*(wrap(a) for a in args))
    except Exception:
        ERRORS.append(traceback.format_exc())
        traceback.print_exc()
        return None


def wrap(value: Any) -> Any:
    """A value of PySide6 as PythonQt hands it to Python."""
    if isinstance(value, QtCore.QObject):
        return _proxy(value)
    if isinstance(value, QtCore.QByteArray):
        return QByteArray(value)
    if isinstance(value, list | tuple):
        return tuple(wrap(v) for v in value)
    return value


def unwrap(value: Any) -> Any:
    """What to give to PySide6 for a value of the panel."""
    if isinstance(value, Object | QByteArray):
        return value._q
    if isinstance(value, list | tuple):
        return [unwrap(v) for v in value]
    return value


class QByteArray:
    """QByteArray: only its methods, no len(), bytes() or slices; it is always true, as every C++ object is."""

    def __init__(self, data: Any = b"") -> None:
        self._q = QtCore.QByteArray(data.encode() if isinstance(data, str) else unwrap(data))

    def __getattr__(self, name: str) -> Any:
        return _method(getattr(self._q, name), name)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, QByteArray) and self._q == other._q

    def __hash__(self) -> int:
        return hash(self._q.data())


def _method(method: Any, name: str) -> Callable[..., Any]:
    def call_method(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise TypeError(f"{name}() takes no keyword arguments in PythonQt")
        if any(isinstance(a, FunctionType | MethodType) for a in args):
            raise TypeError(f"{name}() takes no Python function in PythonQt: connect to its signal")
        return wrap(method(*(unwrap(a) for a in args)))

    return call_method


class Class(type):
    """A class of Qt, CTK or Slicer; enumeration values and static methods are looked up in PySide6's class."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        cls = super().__new__(mcs, name, bases, namespace)
        if "_class" not in namespace:  # derived in Python: Qt calls the methods that it overrides
            base = cls._class
            own = {n: _override(n, base) for n, v in namespace.items() if callable(v) and callable(getattr(base, n, 0))}
            cls._class = type(base)(name, (base,), {n: f for n, f in own.items() if not n.startswith("__")})
            cls._derived = True
        return cls

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or cls._class is None:
            raise AttributeError(name)
        api: ClassApi | None = getattr(cls._class, "api", None)
        if api is not None and api.enum(name) is not None:
            return api.enum(name)
        value = getattr(cls._class, "exec" if name == "exec_" else name, None)
        if value is None:
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        if name in BLOCKING or (cls.__name__ in DIALOGS and callable(value) and not isinstance(value, type)):
            return lambda *args: POPUP[0](f"{cls.__name__}.{name}", *args)
        if cls.__name__ == "QTimer" and name == "singleShot":
            return lambda msec, f: QtCore.QTimer.singleShot(msec, lambda: call(f))
        return value if isinstance(value, type) or not callable(value) else _method(value, name)


def _override(name: str, base: type) -> Callable[..., Any]:
    def forward(q: Any, *args: Any) -> Any:
        proxy = getattr(q, "_owner", None)
        if proxy is None:  # Qt calls it while the object is being made
            return getattr(base, name)(q, *args)
        return unwrap(call(getattr(proxy, name), *args))

    return forward


class Object(metaclass=Class):
    """Any QObject."""

    _class: Any = None
    _derived = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs:
            raise TypeError(f"{type(self).__name__}() takes no keyword arguments in PythonQt")
        if type(self).__name__ in DIALOGS:
            POPUP[0](type(self).__name__, *args)
        self._adopt(self._class(*(unwrap(a) for a in args)))

    def _adopt(self, q: Any) -> None:
        object.__setattr__(self, "_q", q)
        _PROXIES[shiboken6.getCppPointer(q)[0]] = self
        if self._derived:
            q._owner = self

    def _alive(self) -> Any:
        if not shiboken6.isValid(self._q):
            raise ValueError(f"Trying to use a destroyed {type(self).__name__} object")
        return self._q

    def __bool__(self) -> bool:
        return shiboken6.isValid(self._q)

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.objectName!r})" if self else f"{type(self).__name__} (destroyed)"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_q":
            raise AttributeError(name)
        q = self._alive()
        kind, found = _member(q, name)
        if kind == "property":
            return wrap(_read(q, found))
        if kind == "signal":
            return Signal(q, found)
        if kind == "blocking":
            return lambda *args: POPUP[0](f"{type(self).__name__}.{name}", *args)
        if kind == "method":
            return _method(found, name)
        if kind == "value":
            return found
        dynamic = q.property(name)
        if dynamic is not None:
            return wrap(dynamic)
        for child in q.children():
            if child.objectName() == name:
                return wrap(child)
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        q = self._alive()
        kind, found = _member(q, name)
        if kind == "property":
            _write(q, found, value)
        elif kind is not None:
            raise AttributeError(f"{kind} '{name}' can not be overwritten on {type(self).__name__} object")
        elif q.property(name) is not None:
            q.setProperty(name, unwrap(value))
        elif self._derived:
            object.__setattr__(self, name, value)
        else:
            raise AttributeError(
                f"'{name}' does not exist on {type(self).__name__} and creating new attributes on C++ objects "
                "is not allowed"
            )

    def connect(self, signal: str, receiver: Any, slot: str | None = None) -> bool:
        """`connect("clicked(bool)", f)`, or `connect("clicked()", widget, "hide()")`. An unknown signal raises."""
        signature = _signature(self._alive(), signal)
        if signature is None:
            raise ValueError(f"QObject::connect() signal '{signal}' does not exist on {type(self).__name__}")
        target = receiver if slot is None else getattr(receiver, slot.partition("(")[0])
        if slot is not None:
            count = slot.count(",") + 1 if slot.partition("(")[2] != ")" else 0
            target = _first(target, count)
        return Signal(self._q, signature).connect(target)

    def disconnect(self, signal: str, receiver: Any = None) -> bool:
        signature = _signature(self._alive(), signal)
        if signature is None:
            raise ValueError(f"QObject::disconnect() signal '{signal}' does not exist on {type(self).__name__}")
        return Signal(self._q, signature).disconnect(receiver)

    def className(self) -> str:
        q = self._alive()
        return q.api.name if hasattr(q, "api") else _qt_class(type(q)).__name__

    def inherits(self, name: str) -> bool:
        return any(c.__name__ == name for c in type(self).__mro__)

    def findChildren(self, kind: Any, name: str | None = None) -> tuple[Any, ...]:
        found = []
        for child in self._alive().children():
            proxy = wrap(child)
            matches = proxy.inherits(kind) if isinstance(kind, str) else isinstance(proxy, kind)
            if matches and (name is None or child.objectName() == name):
                found.append(proxy)
            found += proxy.findChildren(kind, name)
        return tuple(found)

    def findChild(self, kind: Any, name: str | None = None) -> Any:
        return next(iter(self.findChildren(kind, name)), None)


def _first(f: Callable[..., Any], count: int) -> Callable[..., Any]:
    return lambda *args: f(*args[:count])


_PROXIES: weakref.WeakValueDictionary[int, Object] = weakref.WeakValueDictionary()
_CLASSES: dict[type, Any] = {}


def _proxy(q: Any) -> Object:
    known = _PROXIES.get(shiboken6.getCppPointer(q)[0])
    if known is not None and known._q is q:
        return known
    proxy = object.__new__(class_of(type(q)))
    proxy._adopt(q)
    return proxy


def class_of(real: type) -> Any:
    """The proxy class of a class of PySide6 or of widgets.py."""
    if real not in _CLASSES:
        bases = tuple(class_of(b) for b in real.__bases__ if issubclass(b, QtCore.QObject)) or (Object,)
        _CLASSES[real] = Class(real.__name__, bases, {"_class": real, "__doc__": real.__doc__})
    return _CLASSES[real]


@cache
def meta_of(real: type) -> Any:
    """The meta object of a class; that of an instance, and the one shared with it, ends with the instance."""
    probe = type("Probe", (real,), {})
    _PROBES.append(probe)
    return probe.staticMetaObject


_PROBES: list[type] = []


def _qt_class(real: type) -> type:
    return next(c for c in real.__mro__ if c.__module__.startswith("PySide6."))


def _member(q: Any, name: str) -> tuple[str | None, Any]:
    """What PythonQtClassInfo::member finds: properties go first, so a getter of the same name is out of reach."""
    if name == "name" and meta_of(type(q)).indexOfProperty(name) < 0:
        name = "objectName"
    name = "exec" if name == "exec_" else name
    real = _qt_class(type(q))
    if any(name in QT6_ONLY.get(c.__name__, ()) for c in real.__mro__):
        raise AttributeError(f"{real.__name__}.{name} is not the same in Qt 5 and Qt 6")
    if meta_of(type(q)).indexOfProperty(name) >= 0 and not (name == "singleShot" and isinstance(q, QtCore.QTimer)):
        return "property", name
    api: ClassApi | None = getattr(q, "api", None)
    if api is not None:
        if api.signal(name):
            return "signal", api.signal(name)
        if api.has_method(name):
            if not hasattr(q, name):
                raise NotImplementedError(f"{api.name}.{name} exists in Slicer, but its stand-in lacks it")
            return "method", getattr(q, name)
        if api.enum(name) is not None:
            return "value", api.enum(name)
    if name.startswith("_") or name in ("emit", "sender", "receivers", "staticMetaObject"):
        return None, None
    value = getattr(real, name, None)
    if value is None:
        return None, None
    if issubclass(type(value), QtCore.Signal):  # its isinstance() takes a reference of False away: Python 3.11 crashes
        return "signal", _signal_of(q, name)
    if not callable(value) or isinstance(value, type):
        return "value", value
    if (name in BLOCKING and isinstance(q, QtWidgets.QDialog | QtWidgets.QMenu)) or real.__name__ in DIALOGS:
        return "blocking", name
    return "method", getattr(q, name)


def _signal_of(q: Any, name: str) -> str:
    """The signature of the signal with this bare name that PythonQt finds first."""
    for cls in _qt_class(type(q)).__mro__[:-1]:
        if not issubclass(cls, QtCore.QObject):
            continue
        meta = meta_of(cls)
        inherited = max((meta_of(b).methodCount() for b in cls.__bases__ if issubclass(b, QtCore.QObject)), default=0)
        for i in range(inherited, meta.methodCount()):
            method = meta.method(i)
            if method.methodType() == QtCore.QMetaMethod.Signal and method.name().data().decode() == name:
                return method.methodSignature().data().decode()
    raise AttributeError(name)


def _signature(q: Any, signal: str) -> str | None:
    """The normalized signature if `q` has this signal."""
    normal = bytes(QtCore.QMetaObject.normalizedSignature(signal.lstrip("0123456789"))).decode()
    api: ClassApi | None = getattr(q, "api", None)
    if api is not None and api.has_signal(normal):
        return normal
    if meta_of(type(q)).indexOfSignal(normal) < 0:
        return None
    real = _qt_class(type(q))
    return None if any(normal.partition("(")[0] in QT6_ONLY.get(c.__name__, ()) for c in real.__mro__) else normal


def _read(q: Any, name: str) -> Any:
    prop = meta_of(type(q)).property(meta_of(type(q)).indexOfProperty(name))
    # PySide6 converts enumerations only where it knows the getter
    return getattr(q, name)() if prop.isEnumType() and callable(getattr(q, name, None)) else q.property(name)


def _write(q: Any, name: str, value: Any) -> None:
    prop = meta_of(type(q)).property(meta_of(type(q)).indexOfProperty(name))
    kind = prop.typeName()
    suits = {
        "bool": lambda v: isinstance(v, bool | int),
        "QString": lambda v: isinstance(v, str),
        "QStringList": lambda v: isinstance(v, list | tuple) and all(isinstance(s, str) for s in v),
        "int": lambda v: isinstance(v, int | float),
        "double": lambda v: isinstance(v, int | float),
    }.get(kind, lambda v: v is not None)
    if not prop.isWritable():
        raise AttributeError(f"Property '{name}' of {type(q).__name__} object is not writable")
    if not suits(value):
        raise AttributeError(f"Property '{name}' of type '{kind}' does not accept an object of type {type(value)}")
    if prop.isEnumType():
        getattr(q, f"set{name[0].upper()}{name[1:]}")(value)
    elif not q.setProperty(name, unwrap(value)):
        raise AttributeError(f"Property '{name}' of type '{kind}' does not accept {value!r}")


class Signal:
    """`button.clicked`: connect, disconnect, emit. Those of CTK and Slicer classes live in Python only."""

    def __init__(self, q: Any, signature: str) -> None:
        self._q, self._signature = q, signature

    def _relays(self) -> list[tuple[Any, Any]]:
        return self._q.__dict__.setdefault("_relays", {}).setdefault(self._signature, [])

    def _own(self) -> bool:
        return hasattr(self._q, "api") and self._q.api.has_signal(self._signature)

    def connect(self, f: Callable[..., Any]) -> bool:
        if not callable(f):
            raise TypeError(f"{f!r} is not callable")
        q = self._q  # held by the connection, so that PySide6 keeps its Python side and with it the list of relays

        def relay(*args: Any) -> None:
            if q is not None:
                call(f, *args)

        self._relays().append((f, relay))
        return self._own() or bool(QtCore.QObject.connect(q, "2" + self._signature, relay))

    def disconnect(self, f: Callable[..., Any] | None = None) -> bool:
        relays = self._relays()
        chosen = [pair for pair in relays if f is None or pair[0] == f][: None if f is None else 1]
        for pair in chosen:
            relays.remove(pair)
            if not self._own():
                QtCore.QObject.disconnect(self._q, "2" + self._signature, pair[1])
        return bool(chosen)

    def emit(self, *args: Any) -> None:
        if not self._own():
            getattr(self._q, self._signature.partition("(")[0]).emit(*(unwrap(a) for a in args))
        elif not self._q.signalsBlocked():
            for _f, relay in list(self._relays()):
                relay(*args)


class QtModule(ModuleType):
    """The module `qt`: every class of Qt Core, Gui, Widgets and Network, in proxies where it is a QObject."""

    def __getattr__(self, name: str) -> Any:
        if name == "QByteArray":
            return QByteArray
        real = next((getattr(m, name) for m in MODULES if hasattr(m, name)), None)
        if not name.startswith("Q") or real is None or name == "QEnum":
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
        return class_of(real) if isinstance(real, type) and issubclass(real, QtCore.QObject) else real
