"""The few names of Slicer's Python that the module files touch when they are loaded and first shown.

Each remembers what was done with it. Only for subprocesses: `install()` puts them in place of the real modules.
"""

import sys
import unittest
from types import ModuleType
from typing import Any, ClassVar


class Parent:
    """qSlicerScriptedLoadableModule: takes title, categories, helpText and so on as attributes."""


class Application:
    """slicer.app: remembers what waits for the start-up to end."""

    launcherExecutableFilePath = "/opt/Slicer/Slicer"

    def __init__(self) -> None:
        self.slots: dict[str, Any] = {}

    def connect(self, signal: str, slot: Any) -> None:
        self.slots[signal] = slot

    def layoutManager(self) -> None:
        """There is no window."""


class ScriptedLoadableModule:
    """Slicer's base class of module descriptions (Base/Python/slicer/ScriptedLoadableModule.py)."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        parent.contributors, parent.categories, parent.dependencies = [], [], []

    def resourcePath(self, name: str) -> str:
        return f"/opt/Slicer/Resources/{name}"


class ScriptedLoadableModuleWidget:
    """Slicer's base class of module panels; its layout remembers what was added."""

    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.layout = Layout()

    def setup(self) -> None:
        """The base class adds its developer section here."""


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Slicer's base class of tests inside the application."""


class Layout:
    """A QVBoxLayout that remembers its widgets."""

    def __init__(self) -> None:
        self.widgets: list[Any] = []

    def addWidget(self, widget: Any) -> None:
        self.widgets.append(widget)

    def addStretch(self, _stretch: int) -> None:
        self.widgets.append(None)


class Widget:
    """QLabel as PythonQt shows it: properties are plain attributes."""

    def __init__(self, text: str = "") -> None:
        self.text = text


class StdOutRedirect:
    """What sys.stdout and sys.stderr are inside Slicer (PythonQtStdOut.cpp): they can do this and no more."""

    __slots__ = ("_write",)

    def __init__(self, stream: Any) -> None:
        self._write = stream.write

    def write(self, text: str) -> None:
        self._write(text)

    def flush(self) -> None:
        """Does nothing in PythonQt either."""

    def isatty(self) -> bool:
        return False


class SampleDataLogic:
    """SampleData.SampleDataLogic: remembers what was registered."""

    sources: ClassVar[list[dict[str, Any]]] = []

    @classmethod
    def registerCustomSampleDataSource(cls, **source: Any) -> None:
        cls.sources.append(source)


def install(slicer: ModuleType | None = None) -> None:
    """Register qt, ctk and slicer with the submodules that module files import.

    slicer: the package slicer-core, to which what it lacks is added; a stand-in by default.
    """
    qt = ModuleType("qt")
    qt.QLabel = Widget  # type: ignore[attr-defined]
    samples = ModuleType("SampleData")
    samples.SampleDataLogic = SampleDataLogic  # type: ignore[attr-defined]
    if slicer is None:
        slicer = ModuleType("slicer")
        slicer.__path__ = []
        slicer.app = Application()  # type: ignore[attr-defined]
    modules = ModuleType("slicer.ScriptedLoadableModule")
    for cls in (ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleTest):
        setattr(modules, cls.__name__, cls)
    i18n = ModuleType("slicer.i18n")
    i18n.tr = lambda text: text  # type: ignore[attr-defined]
    i18n.translate = lambda context, text: text  # type: ignore[attr-defined]
    for module in (qt, ModuleType("ctk"), slicer, modules, i18n, samples):
        sys.modules[module.__name__] = module
