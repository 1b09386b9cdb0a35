""".ui files: loading them with the stand-ins' classes, and telling what Slicer's loader would not accept in them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from . import mrml_widgets  # noqa: F401 - lets build() know them
from .api import TABLE, ClassApi
from .pythonqt import QT6_ONLY, class_of, meta_of, wrap
from .widgets import build

CONTAINERS = {
    "qMRMLWidget",
    "ctkCollapsibleButton",
    "qMRMLCollapsibleButton",
    "ctkCollapsibleGroupBox",
    "ctkExpandableWidget",
}
SPACER = {"orientation", "sizeHint", "sizeType"}


class _Loader(QtUiTools.QUiLoader):
    def createWidget(self, name: str, parent: Any = None, object_name: str = "") -> Any:
        if name not in TABLE:
            return super().createWidget(name, parent, object_name)
        widget = build(name)(parent)
        widget.setObjectName(object_name)
        return widget


class UiLoader:
    """qt.QUiLoader as slicer.util.loadUI uses it: load(qt.QFile)."""

    def load(self, file: Any, parent: Any = None) -> Any:
        path = file.fileName()
        problems = check_ui(path)
        if problems:
            raise ValueError("\n".join([f"{path}:", *problems]))
        root = ET.parse(path).getroot()
        wires = [_wire(c) for c in root.iter("connection")]
        for connections in root.findall("connections"):
            root.remove(connections)
        _numbers_for_enumerations(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        loader = _Loader()
        loader.setWorkingDirectory(QtCore.QDir(str(Path(path).parent)))
        top = wrap(loader.load(buffer, None if parent is None else parent._q))
        named = {top.objectName: top, **{o.objectName: o for o in top.findChildren(class_of(QtCore.QObject))}}
        for widget in named.values():
            if hasattr(widget._q, "fold") and not widget._q.isChecked():
                widget._q.fold(False)
        for sender, signal, receiver, slot in wires:
            named[sender].connect(signal, named[receiver], slot)
        return top


def _wire(connection: Any) -> tuple[str, str, str, str]:
    return tuple(connection.findtext(tag) or "" for tag in ("sender", "signal", "receiver", "slot"))


def _numbers_for_enumerations(root: Any) -> None:
    """Write the values of CTK's enumerations as numbers: the loader here does not know their names."""
    for widget in root.iter("widget"):
        api = TABLE.get(widget.get("class"))
        for prop in widget.findall("property") if api is not None else ():
            if api.property_type(prop.get("name")) is None or prop[0].tag not in ("enum", "set"):
                continue
            words = [w.rpartition("::") for w in (prop[0].text or "").split("|")]
            value = sum(_enum(api, scope, word) for scope, _sep, word in words if word)
            prop[0].tag, prop[0].text = "number", str(value)


def _enum(api: ClassApi, scope: str, word: str) -> int:
    known = api.enum(word)
    if known is not None:
        return known
    holder = getattr(QtCore.Qt if scope.startswith("Qt") else getattr(QtWidgets, scope.split("::")[0], QtCore.Qt), word)
    return holder.value


def check_ui(path: str | Path) -> list[str]:
    """What Slicer would not find in a .ui file: classes, properties, signals, slots, wrong custom widget entries."""
    root = ET.parse(path).getroot()
    problems = []
    declared = {c.findtext("class"): c for c in root.iter("customwidget")}
    classes: dict[str, str] = {}
    for element in [*root.iter("widget"), *root.iter("layout"), *root.iter("action"), *root.iter("spacer")]:
        cls = element.get("class") or {"action": "QAction", "spacer": "Spacer"}[element.tag]
        name = element.get("name") or ""
        classes[name] = cls
        if cls in ("Spacer", "Line"):
            known = SPACER if cls == "Spacer" else None
            wrong = [p.get("name") for p in element.findall("property") if known and p.get("name") not in known]
            problems += [f"{name}: a spacer has no property {p}" for p in wrong]
            continue
        if cls not in TABLE and _qt(cls) is None:
            problems.append(f"{name}: unknown class {cls}")
            continue
        if cls in TABLE and cls not in declared:
            problems.append(f"{name}: {cls} is missing in <customwidgets>")
        for prop in element.findall("property"):
            if prop.get("stdset") == "0":
                if has_property(cls, prop.get("name") or ""):
                    problems.append(f"{name}: {prop.get('name')} is a property of {cls}, yet dynamic (stdset=0)")
            elif not has_property(cls, prop.get("name") or ""):
                problems.append(f"{name}: {cls} has no property {prop.get('name')}")
    for cls, custom in declared.items():
        api = TABLE.get(cls or "")
        if api is None:
            problems.append(f"<customwidget>: unknown class {cls}")
            continue
        bases = [a.base for a in api.lineage()] + [c.__name__ for c in _qt(api.qt_base()).__mro__[:-3]]
        if custom.findtext("extends") not in bases:
            problems.append(f"<customwidget> {cls} extends {custom.findtext('extends')} instead of {bases[0]}")
        if custom.findtext("header") != f"{cls}.h":
            problems.append(f"<customwidget> {cls} has header {custom.findtext('header')}")
        if (custom.findtext("container") == "1") != (cls in CONTAINERS):
            problems.append(f"<customwidget> {cls}: container has to be {int(cls in CONTAINERS)}")
    for connection in root.iter("connection"):
        sender, signal, receiver, slot = _wire(connection)
        for name, signature, kind in ((sender, signal, "signal"), (receiver, slot, "slot")):
            if name not in classes:
                problems.append(f"<connection>: no widget {name}")
            elif not _has_method(classes[name], signature, kind):
                problems.append(f"<connection>: {classes[name]} {name} has no {kind} {signature}")
    return problems


def _qt(name: str) -> Any:
    return getattr(QtWidgets, name, None) or getattr(QtGui, name, None)


def has_property(cls: str, name: str) -> bool:
    """Whether a class of Qt 5 and 6 or of the table has this property."""
    api = TABLE.get(cls)
    real = _qt(api.qt_base() if api else cls)
    if real is None or (api is not None and api.property_type(name) is not None):
        return real is not None
    if any(name in QT6_ONLY.get(c.__name__, ()) for c in real.__mro__):
        return False
    if name == "buddy" and cls == "QLabel":  # the loader sets it itself, as it does the margins of layouts
        return True
    margins = ("leftMargin", "topMargin", "rightMargin", "bottomMargin", "horizontalSpacing", "verticalSpacing")
    if issubclass(real, QtWidgets.QLayout) and name in margins:
        return True
    return meta_of(real).indexOfProperty(name) >= 0


def _has_method(cls: str, signature: str, kind: str) -> bool:
    normal = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
    api = TABLE.get(cls)
    if api is not None:
        listed = [m for a in api.lineage() for m in (a.signals if kind == "signal" else a.methods)]
        if normal in [re.sub(r"=", "", m) for m in listed]:
            return True
    real = _qt(api.qt_base() if api else cls)
    meta = meta_of(real)
    return (meta.indexOfSignal(normal) if kind == "signal" else meta.indexOfSlot(normal)) >= 0
