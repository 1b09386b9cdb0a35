"""The widgets of CTK and Slicer, on PySide6: what api.txt says they show, with as much behaviour as the panel needs.

`build(name)` makes the class of PySide6 that stands for one in the table: every property is a real Qt property
(stored, or given by `read_NAME` and `write_NAME` of the classes below), every setter slot sets its property.
What the table names and nothing here does raises NotImplementedError when it is called.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, ClassVar

import shiboken6
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from . import pythonqt
from .api import TABLE, bare

EMPTY = {"bool": False, "int": 0, "double": 0.0, "QString": "", "QStringList": []}
PYTHON = {"bool": bool, "int": int, "double": float, "QString": str, "QStringList": "QStringList"}


class Observers:
    """Observations of MRML objects that end with the widget."""

    def __init__(self, widget: Any) -> None:
        self.widget = widget
        self.tags: dict[Any, list[tuple[Any, int]]] = {}
        tags = self.tags
        widget.destroyed.connect(lambda *_args: _forget(tags))

    def add(self, key: Any, what: Any, event: Any, f: Any) -> None:
        def observed(_caller: Any, name: str, data: Any = None) -> None:
            if shiboken6.isValid(self.widget):
                f(name, data)

        if what.IsA("vtkMRMLScene"):  # other events may carry text, which VTK would take for an object
            vtk.calldata_type(vtk.VTK_OBJECT)(observed)
        self.tags.setdefault(key, []).append((what, what.AddObserver(event, observed)))

    def drop(self, key: Any) -> None:
        _forget({0: self.tags.pop(key, [])})


def _forget(tags: dict[Any, list[tuple[Any, int]]]) -> None:
    for what, tag in [pair for pairs in tags.values() for pair in pairs]:
        what.RemoveObserver(tag)
    tags.clear()


class Base:
    """What all stand-ins share."""

    defaults: ClassVar[dict[str, Any]] = {}

    def start(self) -> None:
        """Make the children; called once."""

    def changed(self, name: str) -> None:
        """A stored property has another value."""

    def emit_signal(self, signature: str, *args: Any) -> None:
        pythonqt.Signal(self, signature).emit(*args)


@cache
def build(name: str) -> Any:
    """The class of PySide6 for a class of the table."""
    api = TABLE[name]
    own = BEHAVIOUR.get(name)
    first = api.base not in TABLE
    base = getattr(QtWidgets, api.base, None) or getattr(QtCore, api.base) if first else build(api.base)
    namespace: dict[str, Any] = {"api": api}
    for prop, kind in api.properties.items():
        namespace[prop] = _property(prop, kind.rstrip("!"), kind.endswith("!"))
        setter = f"set{prop[0].upper()}{prop[1:]}"
        if not hasattr(own, setter) and any(bare(m) == setter for m in api.methods):
            namespace[setter] = lambda self, value, prop=prop: setattr(self, prop, value)
    if first:

        def init(self: Any, *args: Any) -> None:
            base.__init__(self, *args)
            self.values: dict[str, Any] = {}
            self.observers = Observers(self)
            self.start()

        namespace["__init__"] = init
    mixins = ((own,) if own else ()) + ((Base,) if first and own is None else ())
    return type(name, (*mixins, base), namespace)


def _property(name: str, kind: str, read_only: bool) -> Any:
    def read(self: Any) -> Any:
        reader = getattr(self, f"read_{name}", None)
        default = next((c.defaults[name] for c in type(self).__mro__ if name in c.__dict__.get("defaults", {})), None)
        return reader() if reader else self.values.get(name, EMPTY.get(kind) if default is None else default)

    def write(self: Any, value: Any) -> None:
        writer = getattr(self, f"write_{name}", None)
        if writer:
            writer(value)
        elif read(self) != value:
            self.values[name] = value
            self.changed(name)

    return QtCore.Property(PYTHON.get(kind, "QVariant"), read, None if read_only else write)


def in_a_row(widget: Any, *children: Any) -> None:
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for child in children:
        layout.addWidget(child)


class Folding:
    """ctkCollapsibleButton.cpp, ctkCollapsibleGroupBox.cpp: hides its children while it is collapsed.

    What somebody shows or hides meanwhile counts when it is expanded again.
    """

    forcing = False

    def fold(self, expanded: bool) -> None:
        """Show or hide the children; also called when a .ui file has made them."""
        wanted = self.__dict__.setdefault("wanted", {})
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                if child not in wanted:
                    explicit = child.testAttribute(QtCore.Qt.WA_WState_ExplicitShowHide)
                    wanted[child] = not (explicit and child.isHidden())
                    child.installEventFilter(self)
                self.force(child, expanded and wanted[child])

    def force(self, child: Any, visible: bool) -> None:
        self.forcing = True
        child.setVisible(visible)
        child.setAttribute(QtCore.Qt.WA_WState_ExplicitShowHide, visible or not self.wanted[child])
        self.forcing = False

    def eventFilter(self, child: Any, event: Any) -> bool:
        kinds = (QtCore.QEvent.ShowToParent, QtCore.QEvent.HideToParent)
        if event.type() in kinds and not self.forcing and child in self.__dict__.get("wanted", ()):
            self.wanted[child] = event.type() == kinds[0]
            if self.wanted[child] and not self.isChecked():
                self.force(child, False)
        return False


class CollapsibleButton(Folding, Base):
    defaults: ClassVar[dict[str, Any]] = {"collapsedHeight": 14}

    def start(self) -> None:
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self.collapse)
        self.setContentsMargins(0, self.header(), 0, 0)

    def header(self) -> int:
        return self.fontMetrics().height() + 10

    def read_collapsed(self) -> bool:
        return not self.isChecked()

    def write_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def collapse(self, expanded: bool) -> None:
        self.setMaximumHeight(16777215 if expanded else self.header())
        self.fold(expanded)
        self.emit_signal("contentsCollapsed(bool)", not expanded)

    def sizeHint(self) -> QtCore.QSize:
        inner = QtCore.QSize(120, 0)
        if self.layout() is not None and self.isChecked():
            inner = self.layout().totalSizeHint()  # with the header, which is a margin
        return inner if self.isChecked() and self.layout() is not None else QtCore.QSize(inner.width(), self.header())

    minimumSizeHint = sizeHint

    def hitButton(self, pos: QtCore.QPoint) -> bool:
        return pos.y() < self.header()

    def paintEvent(self, _event: Any) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self.header())
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(4, 0, 12, self.header())
        element = (
            QtWidgets.QStyle.PE_IndicatorArrowDown if self.isChecked() else QtWidgets.QStyle.PE_IndicatorArrowRight
        )
        painter.drawPrimitive(element, arrow)
        flags = QtCore.Qt.AlignVCenter | QtCore.Qt.TextShowMnemonic
        painter.drawItemText(
            option.rect.adjusted(22, 0, 0, 0),
            flags,
            self.palette(),
            self.isEnabled(),
            self.text(),
            QtGui.QPalette.ButtonText,
        )


class CollapsibleGroupBox(Folding, Base):
    def start(self) -> None:
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self.collapse)

    def read_collapsed(self) -> bool:
        return not self.isChecked()

    def write_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def collapse(self, expanded: bool) -> None:
        self.setMaximumHeight(16777215 if expanded else self.fontMetrics().height() + 8)
        self.fold(expanded)


class DoubleSpinBox(Base):
    defaults: ClassVar[dict[str, Any]] = {"decimals": 2, "maximum": 99.99, "singleStep": 1.0}

    def start(self) -> None:
        self.box = QtWidgets.QDoubleSpinBox()
        self.box.setKeyboardTracking(False)
        in_a_row(self, self.box)
        self.setFocusProxy(self.box)
        self.box.valueChanged.connect(self.moved)
        self.box.editingFinished.connect(lambda: self.emit_signal("editingFinished()"))

    def moved(self, value: float) -> None:
        self.emit_signal("valueChanged(double)", value)
        self.emit_signal("valueChanged(QString)", self.box.text())

    def changed(self, name: str) -> None:
        setter = getattr(self.box, f"set{name[0].upper()}{name[1:]}", None)
        value = self.values[name]
        if setter and name in ("decimals", "minimum", "maximum", "singleStep", "prefix", "suffix", "readOnly"):
            setter(min(max(value, -1e300), 1e300) if name in ("minimum", "maximum") else value)
        if name == "decimals":
            self.emit_signal("decimalsChanged(int)", value)

    def read_value(self) -> float:
        return self.box.value()

    def write_value(self, value: float) -> None:
        self.box.setValue(value)

    def setValueIfDifferent(self, value: float) -> None:
        self.box.setValue(value)

    def stepUp(self) -> None:
        self.box.stepUp()

    def stepDown(self) -> None:
        self.box.stepDown()


class DoubleSlider(Base):
    """A QSlider of 1000 steps; the value is not rounded to them unless the handle moves."""

    defaults: ClassVar[dict[str, Any]] = {"maximum": 99.0, "singleStep": 1.0, "pageStep": 10.0, "tracking": True}

    def start(self) -> None:
        self.bar = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self.bar.setMaximum(1000)
        self.here = 0.0
        in_a_row(self, self.bar)
        self.setFocusProxy(self.bar)
        self.bar.sliderPressed.connect(lambda: self.emit_signal("sliderPressed()"))
        self.bar.sliderReleased.connect(lambda: self.emit_signal("sliderReleased()"))
        self.bar.valueChanged.connect(self.moved)

    def moved(self, step: int) -> None:
        low, high = self.property("minimum"), self.property("maximum")
        self.write_value(low + (high - low) * step / 1000)

    def read_value(self) -> float:
        return self.here

    def write_value(self, value: float) -> None:
        low, high = self.property("minimum"), self.property("maximum")
        value = min(max(value, low), high)
        self.bar.blockSignals(True)
        self.bar.setValue(round(1000 * (value - low) / (high - low)) if 0 < high - low < float("inf") else 0)
        self.bar.blockSignals(False)
        if value != self.here:
            self.here = value
            self.emit_signal("valueChanged(double)", value)

    def changed(self, name: str) -> None:
        if name in ("minimum", "maximum"):
            self.write_value(self.here)


class SliderWidget(Base):
    """ctkSliderWidget.cpp: a slider and a spin box with one value.

    Without tracking it tells each move by valueIsChanging and the last one, at the release, by valueChanged.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "decimals": 2,
        "maximum": 99.0,
        "singleStep": 1.0,
        "pageStep": 10.0,
        "tracking": True,
        "spinBoxVisible": True,
    }
    changing = False
    before = 0.0

    def start(self) -> None:
        self.slider, self.spin = build("ctkDoubleSlider")(), build("ctkDoubleSpinBox")()
        in_a_row(self, self.slider, self.spin)
        self.layout().setStretch(0, 1)
        self.spin.setProperty("maximum", 99.0)
        pythonqt.Signal(self.slider, "valueChanged(double)").connect(self.moved)
        pythonqt.Signal(self.spin, "valueChanged(double)").connect(self.typed)
        pythonqt.Signal(self.slider, "sliderPressed()").connect(self.press)
        pythonqt.Signal(self.slider, "sliderReleased()").connect(self.release)

    def press(self) -> None:
        if not self.property("tracking"):
            self.before, self.changing = self.read_value(), True

    def release(self) -> None:
        if not self.property("tracking"):
            self.changing = False
            if self.read_value() != self.before:
                self.emit_signal("valueChanged(double)", self.read_value())

    def typed(self, value: float) -> None:
        if abs(value - self.slider.here) >= 10.0 ** -self.property("decimals"):
            self.slider.write_value(value)

    def moved(self, value: float) -> None:
        self.spin.blockSignals(True)
        self.spin.write_value(value)
        self.spin.blockSignals(False)
        if not self.property("tracking"):
            self.emit_signal("valueIsChanging(double)", value)
        if not self.changing:
            self.emit_signal("valueChanged(double)", value)

    def read_value(self) -> float:
        return self.before if self.changing else self.slider.here

    def write_value(self, value: float) -> None:
        changing, self.changing = self.changing, False
        self.slider.write_value(round(value, max(self.property("decimals"), 0)))
        self.changing = changing

    def reset(self) -> None:
        self.write_value(0.0)

    def changed(self, name: str) -> None:
        if name in ("minimum", "maximum", "singleStep"):
            self.slider.setProperty(name, self.values[name])
        if name in ("minimum", "maximum", "singleStep", "decimals", "prefix", "suffix"):
            self.spin.blockSignals(True)
            self.spin.setProperty(name, self.values[name])
            self.spin.blockSignals(False)
        if name == "decimals":
            self.emit_signal("decimalsChanged(int)", self.values[name])
        if name == "spinBoxVisible":
            self.spin.setVisible(self.values[name])


class RangeWidget(Base):
    defaults: ClassVar[dict[str, Any]] = {"decimals": 2, "maximum": 99.0, "maximumValue": 99.0, "singleStep": 1.0}

    def start(self) -> None:
        self.low, self.high = QtWidgets.QDoubleSpinBox(), QtWidgets.QDoubleSpinBox()
        in_a_row(self, self.low, self.high)
        self.low.setMaximum(99.0)
        self.high.setMaximum(99.0)
        self.high.setValue(99.0)
        self.low.valueChanged.connect(lambda v: self.setValues(v, max(v, self.high.value())))
        self.high.valueChanged.connect(lambda v: self.setValues(min(v, self.low.value()), v))

    def read_minimumValue(self) -> float:
        return self.values.get("minimumValue", 0.0)

    def write_minimumValue(self, value: float) -> None:
        self.setValues(value, max(value, self.property("maximumValue")))

    def write_maximumValue(self, value: float) -> None:
        self.setValues(min(value, self.property("minimumValue")), value)

    def setRange(self, low: float, high: float) -> None:
        self.setProperty("minimum", low)
        self.setProperty("maximum", high)

    def setValues(self, low: float, high: float) -> None:
        bounds = self.property("minimum"), self.property("maximum")
        low, high = (min(max(v, bounds[0]), bounds[1]) for v in (low, high))
        if (low, high) == (self.property("minimumValue"), self.property("maximumValue")):
            return
        self.values.update(minimumValue=low, maximumValue=high)
        for box, value in ((self.low, low), (self.high, high)):
            box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(False)
        self.emit_signal("valuesChanged(double,double)", low, high)

    def changed(self, name: str) -> None:
        for box in (self.low, self.high):
            if name in ("minimum", "maximum", "decimals", "singleStep"):
                getattr(box, f"set{name[0].upper()}{name[1:]}")(self.values[name])


class PathLineEdit(Base):
    """ctkPathLineEdit.cpp: an editable combo box with the history; its signal tells of paths that pass its filters.

    So an emptied text, or one without the right ending, changes `currentPath` without currentPathChanged.
    """

    defaults: ClassVar[dict[str, Any]] = {"showBrowseButton": True, "showHistoryButton": True}
    valid = False

    def start(self) -> None:
        self.box, self.button = QtWidgets.QComboBox(), QtWidgets.QToolButton()
        self.box.setEditable(True)
        self.box.setInsertPolicy(QtWidgets.QComboBox.NoInsert)
        self.box.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.button.setText("...")
        in_a_row(self, self.box, self.button)
        self.setFocusProxy(self.box)
        self.edit = self.box.lineEdit()
        self.button.clicked.connect(lambda _checked: self.browse())
        self.edit.textChanged.connect(self.text_changed)

    def text_changed(self, text: str) -> None:
        endings = re.findall(r"\*(\.\w+)", " ".join(self.property("nameFilters") or []))
        before, self.valid = self.valid, any(text.endswith(e) for e in endings) if endings else bool(text)
        if self.valid:
            self.emit_signal("currentPathChanged(QString)", text)
        if self.valid != before:
            self.emit_signal("validInputChanged(bool)", self.valid)

    def comboBox(self) -> Any:
        return self.box

    def read_currentPath(self) -> str:
        return self.edit.text()

    def write_currentPath(self, path: str) -> None:
        self.edit.setText(path)

    def setCurrentPath(self, path: str) -> None:
        self.edit.setText(path)

    def browse(self) -> None:
        path = pythonqt.POPUP[0]("ctkPathLineEdit.browse")
        if path:
            self.edit.setText(path)

    def retrieveHistory(self) -> None:
        """Fills the list from the settings; where the text is empty the newest path is shown."""
        path = self.edit.text()
        history = QtCore.QSettings().value(self.property("settingKey"), [])
        self.box.clear()
        self.box.addItems([history] if isinstance(history, str) else history or [])
        if path:
            self.edit.setText(path)

    def changed(self, name: str) -> None:
        if name == "settingKey":
            self.retrieveHistory()

    def addCurrentPathToHistory(self) -> None:
        path = self.edit.text()
        if path:
            history = QtCore.QSettings().value(self.property("settingKey"), []) or []
            history = [history] if isinstance(history, str) else history
            QtCore.QSettings().setValue(self.property("settingKey"), [path, *[h for h in history if h != path]])
            index = self.box.findText(path)
            if index >= 0:
                self.box.removeItem(index)
            self.box.insertItem(0, path)
            self.box.setCurrentIndex(0)


class DirectoryButton(Base):
    def start(self) -> None:
        self.button = QtWidgets.QPushButton()
        in_a_row(self, self.button)
        self.setFocusProxy(self.button)
        self.button.clicked.connect(lambda _checked: self.browse())
        self.write_directory(".")

    def read_directory(self) -> str:
        return self.values["directory"]

    def write_directory(self, path: str) -> None:
        path = QtCore.QDir(path).absolutePath()
        if path != self.values.get("directory"):
            self.values["directory"] = path
            self.button.setText(path)
            self.emit_signal("directoryChanged(QString)", path)
        self.emit_signal("directorySelected(QString)", path)

    def browse(self) -> str:
        path = pythonqt.POPUP[0]("ctkDirectoryButton.browse")
        if path:
            self.write_directory(path)
        return path or ""


class ColorPickerButton(Base):
    defaults: ClassVar[dict[str, Any]] = {"color": QtGui.QColor("black"), "displayColorName": True}

    def start(self) -> None:
        self.clicked.connect(lambda _checked: self.changeColor())

    def changeColor(self) -> None:
        color = pythonqt.POPUP[0]("ctkColorPickerButton.changeColor")
        if color is not None:
            self.setProperty("color", color)

    def changed(self, name: str) -> None:
        if name == "color":
            pixmap = QtGui.QPixmap(16, 16)
            pixmap.fill(self.values["color"])
            self.setIcon(QtGui.QIcon(pixmap))
            self.emit_signal("colorChanged(QColor)", self.values["color"])


BEHAVIOUR: dict[str, Any] = {
    "ctkCollapsibleButton": CollapsibleButton,
    "ctkCollapsibleGroupBox": CollapsibleGroupBox,
    "ctkDoubleSpinBox": DoubleSpinBox,
    "ctkDoubleSlider": DoubleSlider,
    "ctkSliderWidget": SliderWidget,
    "ctkRangeWidget": RangeWidget,
    "ctkPathLineEdit": PathLineEdit,
    "ctkDirectoryButton": DirectoryButton,
    "ctkColorPickerButton": ColorPickerButton,
}
