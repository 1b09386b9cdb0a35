"""The base classes of scripted modules and the SampleData module.

Facts from Base/Python/slicer/ScriptedLoadableModule.py and Modules/Scripted/SampleData/SampleData.py.
"""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import Any


class ScriptedLoadableModule:
    """Base/Python/slicer/ScriptedLoadableModule.py, as are the three below."""

    def __init__(self, parent: Any) -> None:
        self.parent, self.moduleName = parent, type(self).__name__
        parent.title, parent.categories, parent.dependencies, parent.contributors = "", [], [], []
        parent.helpText = parent.acknowledgementText = ""

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return f"<p>For more information, see the <a href='{docPage}'>online documentation</a>.</p>"


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        import slicer

        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        import slicer

        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """The base class adds its developer section here."""

    def cleanup(self) -> None:
        """Called when the module is unloaded or reloaded."""

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()

    def onReload(self) -> None:
        import slicer

        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        import slicer

        scene = slicer.mrmlScene
        if self.isSingletonParameterNode:
            node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None and node.GetAttribute("ModuleName") != self.moduleName:
                node.SetAttribute("ModuleName", self.moduleName)
        else:
            node = next(iter(self.getAllParameterNodes()), None)
        return node or scene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        import slicer

        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [n for n in nodes if n.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        import slicer

        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def delayDisplay(self, message: str, requestedDelay: Any = None, msec: Any = None) -> None:
        """Shown for a moment in Slicer."""

    def runTest(self) -> None:
        for name in [n for n in dir(self) if n.startswith("test")]:
            self.setUp()
            getattr(self, name)()
            self.tearDown()


class SampleDataSource:
    """SampleData.SampleDataSource: one entry, every list of the same length."""

    def __init__(self, sampleName: Any = None, sampleDescription: Any = None, uris: Any = None, fileNames: Any = None,
                 nodeNames: Any = None, checksums: Any = None, loadFiles: Any = None, customDownloader: Any = None,
                 thumbnailFileName: Any = None, loadFileTypes: Any = None, loadFileProperties: Any = None,
                 loadFileType: Any = None) -> None:  # fmt: skip
        many = isinstance(uris, list | tuple)
        if isinstance(uris, str):
            uris, fileNames, nodeNames, checksums = [uris], [fileNames], [nodeNames], [checksums]
            loadFiles, loadFileTypes = [loadFiles], [loadFileTypes]
        count = len(uris)
        if many:
            nodeNames, checksums, loadFiles = (v or [None] * count for v in (nodeNames, checksums, loadFiles))
            loadFileTypes = loadFileTypes if isinstance(loadFileTypes, list) else [loadFileTypes] * count
        if {len(v) for v in (fileNames, nodeNames, checksums, loadFiles, loadFileTypes)} != {count}:
            raise ValueError("All fields of sample data source must have the same length")
        self.sampleName, self.sampleDescription = sampleName, sampleDescription or sampleName
        self.uris, self.fileNames, self.nodeNames, self.checksums = uris, fileNames, nodeNames, checksums
        self.loadFiles, self.loadFileTypes = loadFiles, loadFileTypes
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}


class SampleDataLogic:
    """SampleData.SampleDataLogic without a network: a sample with a custom downloader is made by it."""

    @staticmethod
    def registerCustomSampleDataSource(category: str = "Custom", **source: Any) -> None:
        import slicer

        known_names = ("sampleName uris fileNames nodeNames customDownloader thumbnailFileName loadFileTypes loadFiles "
                       "loadFileProperties checksums loadFileType")  # fmt: skip
        unknown = set(source) - set(known_names.split())
        if unknown:
            raise TypeError(f"registerCustomSampleDataSource() got an unexpected keyword argument {unknown}")
        known = slicer.modules.sampleDataSources.setdefault(category, [])
        if all(s.sampleName != source.get("sampleName") for s in known):
            known.append(SampleDataSource(**source))

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        import slicer

        sources = slicer.modules.sampleDataSources
        return sources if category is None else sources.get(category, [])

    def sourceForSampleName(self, name: str) -> Any:
        import slicer

        every = [s for sources in slicer.modules.sampleDataSources.values() for s in sources]
        return next((s for s in every if s.sampleName == name), None)

    def downloadSamples(self, name: str) -> Any:
        source = self.sourceForSampleName(name)
        if source.customDownloader is None:
            raise AssertionError(f"{name} would be downloaded from {source.uris}: tests have no network")
        return source.customDownloader(source)

    def downloadSample(self, name: str) -> Any:
        return self.downloadSamples(name)[0]
