"""The application around the panel: slicer.app with its layout, slicer.modules, slicer.cli, dialogs, module loading.

`Application(folder)` puts all of it in place over the scene of `bootstrap.application()`; `close()` takes it away.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from PySide6 import QtCore, QtWidgets

from MSLFusionLib.scene import bundle

from . import parameter_kinds, parameter_node, pythonqt, scripted, ui_files
from .api import TABLE
from .command_line import CLIModule, cli_module
from .mrml_widgets import MRMLWidget
from .pythonqt import class_of, wrap
from .widgets import BEHAVIOUR, Base, build

CURRENT: list[Any] = []  # the Application that is in place


class Dialogs:
    """What would have opened a window and waited: each is recorded; a test says the answers beforehand.

    `answers` are used in order: True or False for a confirmation, a path for a file dialog. Messages of
    slicer.util.infoDisplay, warningDisplay and errorDisplay need one as well (None), since they wait for the user.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[Any] = []

    def ask(self, what: str, *args: Any) -> Any:
        self.asked.append(" ".join([what, *(str(a) for a in args)]))
        if not self.answers:
            raise AssertionError(f"unexpected popup: {self.asked[-1]}")
        return self.answers.pop(0)


class SlicerApplication(Base):
    """qSlicerApplication; the real one is a QApplication too."""

    folder = ""

    def read_slicerHome(self) -> str:
        return f"{self.folder}/Slicer"

    def read_temporaryPath(self) -> str:
        return f"{self.folder}/tmp"

    def read_cachePath(self) -> str:
        return f"{self.folder}/cache"

    def read_launcherExecutableFilePath(self) -> str:
        return f"{self.folder}/Slicer/Slicer"

    def read_slicerUserSettingsFilePath(self) -> str:
        return f"{self.folder}/settings/Slicer.ini"

    def read_majorVersion(self) -> int:
        return 5

    def read_minorVersion(self) -> int:
        return 13

    def mrmlScene(self) -> Any:
        return CURRENT[-1].scene

    def applicationLogic(self) -> Any:
        return CURRENT[-1].logic

    def layoutManager(self) -> Any:
        return CURRENT[-1].layout

    def moduleManager(self) -> Any:
        return CURRENT[-1].manager

    def extensionsManagerModel(self) -> Any:
        return CURRENT[-1].extensions

    def moduleLogic(self, name: str) -> Any:
        return getattr(CURRENT[-1].modules, name.lower()).logic()

    def commandOptions(self) -> Any:
        return SimpleNamespace(noMainWindow=False, testingEnabled=False)

    def ioManager(self) -> Any:
        return CURRENT[-1].io

    coreIOManager = ioManager

    def settings(self) -> Any:
        return QtCore.QSettings()

    userSettings = revisionUserSettings = settings

    def startupEnvironment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

    environment = startupEnvironment

    def openNodeModule(self, *_args: Any) -> bool:
        return True

    def pauseRender(self) -> None:
        """Nothing is rendered."""

    def resumeRender(self) -> None:
        """Nothing is rendered."""


class SliceWidget(MRMLWidget):
    def hold(self, node: Any, logic: Any, manager: Any) -> Any:
        self.node, self.slice_logic, self.manager = node, logic, manager
        self.opacity = self.mrmlSliceCompositeNode().GetForegroundOpacity()
        self.observers.add("link", self.mrmlSliceCompositeNode(), "ModifiedEvent", lambda *_args: self.link())
        return self

    def link(self) -> None:
        """The opacity's slider in the bar of a linked view moves those of the others, whoever set the opacity."""
        composite = self.mrmlSliceCompositeNode()
        if composite is None or composite.GetForegroundOpacity() == self.opacity:
            return
        self.opacity = composite.GetForegroundOpacity()
        for other in self.manager.views.values() if composite.GetLinkedControl() else ():
            if other is not self and other.mrmlSliceCompositeNode().GetLinkedControl():
                other.mrmlSliceCompositeNode().SetForegroundOpacity(self.opacity)

    def mrmlSliceNode(self) -> Any:
        return self.node

    def mrmlSliceCompositeNode(self) -> Any:
        return self.slice_logic.GetSliceCompositeNode()

    def sliceLogic(self) -> Any:
        return self.slice_logic

    def fitSliceToBackground(self) -> None:
        self.slice_logic.FitSliceToBackground()


class LayoutManager(Base):
    """qMRMLLayoutManager over the real vtkMRMLLayoutLogic: slice nodes and their logics are Slicer's own."""

    def open(self, scene: Any, logic: Any) -> Any:
        import slicer
        import vtk

        self.scene, self.views = scene, {}
        self.slice_logics = vtk.vtkCollection()
        self.layout_logic = slicer.vtkMRMLLayoutLogic()
        self.layout_logic.SetMRMLScene(scene)
        logic.SetSliceLogics(self.slice_logics)
        self.node = self.layout_logic.GetLayoutNode()
        self.node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.shown = self.node.GetViewArrangement()
        self.tag = self.node.AddObserver("ModifiedEvent", lambda *_a: self.follow())
        self.follow()
        return self

    def follow(self) -> None:
        """A widget and a logic for each slice node that the layout has made."""
        import slicer

        for i in range(self.scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
            node = self.scene.GetNthNodeByClass(i, "vtkMRMLSliceNode")
            if node.GetLayoutName() not in self.views:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLScene(self.scene)
                logic.SetSliceNode(node)
                self.slice_logics.AddItem(logic)
                self.views[node.GetLayoutName()] = build("qMRMLSliceWidget")().hold(node, logic, self)
        shown = self.layout_logic.GetViewNodes()
        mapped = [shown.GetItemAsObject(i) for i in range(shown.GetNumberOfItems())]
        for view in self.views.values():  # qMRMLLayoutViewFactory::beginSetupLayout and setupView
            view.node.SetMappedInLayout(view.node in mapped)
        if self.node.GetViewArrangement() != self.shown:
            self.shown = self.node.GetViewArrangement()
            self.emit_signal("layoutChanged(int)", self.shown)

    def close(self) -> None:
        self.node.RemoveObserver(self.tag)
        for view in self.views.values():
            view.observers.drop("link")
            view.slice_logic.SetMRMLScene(None)
            view.node = view.slice_logic = view.manager = None
        self.views, self.slice_logics, self.node, self.layout_logic, self.scene = {}, None, None, None, None

    def mrmlScene(self) -> Any:
        return self.scene

    def layoutLogic(self) -> Any:
        return self.layout_logic

    def read_layout(self) -> int:
        return self.node.GetViewArrangement()

    def write_layout(self, layout: int) -> None:
        self.node.SetViewArrangement(layout)

    def setLayout(self, layout: int) -> None:
        self.node.SetViewArrangement(layout)

    def sliceViewNames(self) -> list[str]:
        self.follow()
        return list(self.views)

    def sliceWidget(self, name: str) -> Any:
        self.follow()
        return self.views.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self.slice_logics

    def read_threeDViewCount(self) -> int:
        return 0

    def resetSliceViews(self) -> None:
        for view in self.views.values():
            view.slice_logic.FitSliceToAll()

    def resetThreeDViews(self) -> None:
        """There are no 3D views here."""


class ModuleManager(Base):
    def module(self, name: str) -> Any:
        return getattr(CURRENT[-1].modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        return list(vars(CURRENT[-1].modules))


class IOManager(Base):
    """What slicer.util.loadVolume, loadSegmentation, loadScene, saveScene and saveNode need of qSlicerCoreIOManager."""

    def loadNodes(self, kind: str, properties: dict[str, Any], found: Any, _messages: Any = None) -> bool:
        scene, path = CURRENT[-1].scene, properties["fileName"]
        name = properties.get("name") or Path(path).name.partition(".")[0]
        if kind == "SceneFile":  # qSlicerSceneReader.cxx
            bundle.load_bundle(scene, path, clear=properties.get("clear", False))
            return True
        if kind == "VolumeFile":
            node = CURRENT[-1].modules.volumes.logic().AddArchetypeVolume(path, name)
        elif kind == "SegmentationFile":
            node = CURRENT[-1].modules.segmentations.logic().LoadSegmentationFromFile(path, True, name)
        else:
            raise NotImplementedError(f"loading a {kind} exists in Slicer, but its stand-in lacks it")
        if node is not None and found is not None:
            found.AddItem(scene.GetNodeByID(node.GetID()))
        return node is not None

    def saveNodes(self, kind: str, properties: dict[str, Any], *_args: Any) -> bool:
        if kind == "SceneFile":
            bundle.save_bundle(CURRENT[-1].scene, properties["fileName"])
            return True
        node = CURRENT[-1].scene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode() or (node.AddDefaultStorageNode() or node.GetStorageNode())
        storage.SetFileName(properties["fileName"])
        return bool(storage.WriteData(node))

    def fileWriterFileType(self, _node: Any, _name: str = "") -> str:
        return "NodeFile"


class ModuleWidget(MRMLWidget):
    """qSlicerScriptedLoadableModuleWidget.cxx: makes the Python widget, enters, leaves and reloads it."""

    def open(self, module: Any) -> Any:
        QtWidgets.QVBoxLayout(self)
        self.module, self.entered = module, False
        self.instantiate()
        self.setMRMLScene(CURRENT[-1].scene)
        return self

    def instantiate(self) -> None:
        python = sys.modules[self.module.name]
        self.python = getattr(python, f"{self.module.name}Widget")(wrap(self))
        setattr(CURRENT[-1].modules, f"{self.module.name}Widget", self.python)
        self.python.setup()

    def self(self) -> Any:
        return self.python

    def read_isEntered(self) -> bool:
        return self.entered

    def setup(self) -> None:
        self.python.setup()

    def enter(self) -> None:
        self.entered = True
        getattr(self.python, "enter", lambda: None)()

    def exit(self) -> None:
        self.entered = False
        getattr(self.python, "exit", lambda: None)()

    def reload(self) -> None:
        self.instantiate()

    def setEditedNode(self, node: Any, role: str = "", context: str = "") -> bool:
        return self.python.setEditedNode(node, role, context)

    def nodeEditable(self, node: Any) -> float:
        return self.python.nodeEditable(node)


BEHAVIOUR.update(
    qSlicerApplication=SlicerApplication,
    qSlicerLayoutManager=LayoutManager,
    qMRMLSliceWidget=SliceWidget,
    qSlicerModuleManager=ModuleManager,
    qSlicerCoreIOManager=IOManager,
    qSlicerScriptedLoadableModuleWidget=ModuleWidget,
)


class Module:
    """A scripted module as `slicer.modules.NAME` and as `parent` of its module class shows it.

    The parent takes only what qSlicerScriptedLoadableModule.h lets Python write.
    """

    WRITABLE = ("title", "categories", "contributors", "associatedNodeTypes", "helpText", "acknowledgementText",
                "extensions", "icon", "hidden", "dependencies", "index")  # fmt: skip

    def __init__(self, path: Path) -> None:
        self.__dict__.update(path=str(path), name=path.stem, widget=None)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.WRITABLE:
            raise AttributeError(f"'{name}' does not exist on qSlicerScriptedLoadableModule")
        self.__dict__[name] = value

    def widgetRepresentation(self) -> Any:
        if self.widget is None:
            self.__dict__["widget"] = build("qSlicerScriptedLoadableModuleWidget")().open(self)
        return wrap(self.widget)

    def logic(self) -> Any:
        return None


class Application:
    """Everything in place; `dialogs`, `modules`, `app` and `scene` are for the tests."""

    def __init__(self, scene: Any, folder: Path) -> None:
        import slicer
        import slicer.util

        self.scene, self.modules, self.dialogs = scene, slicer.modules, Dialogs()
        self.logic = scene_logic(scene)
        CURRENT.append(self)
        for name in ("tmp", "cache", "settings", "Slicer/bin"):
            (folder / name).mkdir(parents=True)
        self._undo = contextlib.ExitStack()
        self._modules_before = set(sys.modules)
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(folder / "settings"))
        qt_app = application_object()
        qt_app.folder = str(folder)
        self.layout = build("qSlicerLayoutManager")().open(scene, self.logic)
        self.manager, self.io = build("qSlicerModuleManager")(), build("qSlicerCoreIOManager")()
        self.extensions = SimpleNamespace(
            isExtensionInstalled=lambda name: False, isExtensionEnabled=lambda name: False, interactive=True
        )
        self.app = wrap(qt_app)
        self.modules.sampleDataSources = {}
        self._put(pythonqt.POPUP, 0, self.dialogs.ask)
        self._install(slicer)

    def _put(self, target: Any, name: Any, value: Any) -> None:
        """Set an item or attribute until close()."""
        missing = object()
        if isinstance(target, list):
            before, target[name] = target[name], value
            self._undo.callback(target.__setitem__, name, before)
            return
        items = target if isinstance(target, dict) else vars(target)
        before, items[name] = items.get(name, missing), value
        if before is missing:
            self._undo.callback(items.pop, name, None)
        else:
            self._undo.callback(items.__setitem__, name, before)

    def _install(self, slicer: Any) -> None:
        ask = self.dialogs.ask
        qt, ctk = pythonqt.QtModule("qt"), ModuleType("ctk")
        qt.QUiLoader = ui_files.UiLoader
        for name in TABLE:
            if name.startswith("ctk"):
                setattr(ctk, name, class_of(build(name)))
            elif name.startswith("q"):
                self._put(slicer, name, class_of(build(name)))
        i18n = ModuleType("slicer.i18n")
        i18n.tr, i18n.translate = lambda text: text, lambda context, text: text
        base = ModuleType("slicer.ScriptedLoadableModule")
        base.__all__ = []
        for name, cls in vars(scripted).items():
            if name.startswith("ScriptedLoadable"):
                setattr(base, name, cls)
                base.__all__.append(name)
        wrapper = ModuleType("slicer.parameterNodeWrapper")
        for source in (parameter_kinds, parameter_node):
            vars(wrapper).update({name: value for name, value in vars(source).items() if name[0] != "_"})
        samples = ModuleType("SampleData")
        samples.SampleDataLogic, samples.SampleDataSource = scripted.SampleDataLogic, scripted.SampleDataSource
        samples.downloadSample = lambda name: scripted.SampleDataLogic().downloadSample(name)
        samples.downloadSamples = lambda name: scripted.SampleDataLogic().downloadSamples(name)
        segments = ModuleType("qSlicerSegmentationsModuleWidgetsPythonQt")
        segments.qMRMLSegmentEditorWidget = slicer.qMRMLSegmentEditorWidget
        segments.qMRMLSegmentsTableView = slicer.qMRMLSegmentsTableView
        for module in (qt, ctk, i18n, base, wrapper, samples, segments, cli_module()):
            self._put(sys.modules, module.__name__, module)
            if module.__name__.startswith("slicer."):
                self._put(slicer, module.__name__.partition(".")[2], module)
        self._put(slicer, "app", self.app)
        util = slicer.util
        self._put(util, "_messageDisplay", lambda level, text, *_a, **_k: ask("message", text))
        self._put(util, "messageBox", lambda text, *_a, **_k: ask("message", text))
        for name in ("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay"):
            self._put(util, name, lambda text, *_a, name=name, **_k: ask(name, text))
        self._put(util, "createProgressDialog", lambda *_a, **_k: ask("createProgressDialog"))
        self._put(util, "delayDisplay", lambda *_a, **_k: None)

    def add_cli(self, name: str, work: Callable[[dict[str, Any]], None]) -> CLIModule:
        """Let slicer.modules.NAME be a command line module that does `work(parameters)`."""
        import slicer

        if not self.scene.IsNodeClassRegistered("vtkMRMLCommandLineModuleNode"):
            self.scene.RegisterNodeClass(slicer.vtkMRMLCommandLineModuleNode())
        module = CLIModule(name, work)
        setattr(self.modules, name, module)
        return module

    def open_module(self, path: Path) -> Any:
        """Load a scripted module's file, make its module object and its widget, and enter it; returns the widget."""
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
            self._undo.callback(sys.path.remove, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        python = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = python
        self._undo.callback(sys.modules.pop, path.stem, None)
        spec.loader.exec_module(python)
        module = Module(path)
        setattr(self.modules, path.stem.lower(), module)
        setattr(self.modules, f"{path.stem}Instance", getattr(python, path.stem)(module))
        widget = module.widgetRepresentation()
        widget.resize(500, 700)
        widget.show()
        widget.enter()
        return widget.self()

    def close(self) -> None:
        """Unload the modules as Slicer does at its end, then take everything away."""
        try:
            for module in [m for m in vars(self.modules).values() if isinstance(m, Module) and m.widget is not None]:
                if module.widget.entered:
                    pythonqt.call(module.widget.exit)
                pythonqt.Signal(self.manager, "moduleAboutToBeUnloaded(QString)").emit(module.name)
                module.widget.deleteLater()
                module.__dict__["widget"] = None
            for widget in QtWidgets.QApplication.topLevelWidgets():
                widget.deleteLater()
            QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
            QtCore.QCoreApplication.processEvents()
        finally:
            application_object().__dict__.pop("_relays", None)
            self.layout.close()
            self.logic.SetSliceLogics(None)
            self._undo.close()
            CURRENT.remove(self)


def application_object() -> Any:
    """The one QApplication of this process."""
    app = QtWidgets.QApplication.instance()
    if app is None:
        if sys.version_info < (3, 12):
            # PySide6 6.12 takes a reference of None with each call that gives nothing; from 3.12 on None has no count,
            # before it Python ends with a fatal error when all are gone.
            ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40
        app = build("qSlicerApplication")(["Slicer"])
        app.setOrganizationName("MSLFusionTests")
        app.setApplicationName("Slicer")
    return app


def scene_logic(scene: Any) -> Any:
    """The application logic that bootstrap.application() made for this scene."""
    import slicer

    return slicer.modules.volumes.logic().GetMRMLApplicationLogic()
