"""A scene to work in: that of the running Slicer application, or a headless one on slicer-core."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from MSLFusionLib.errors import JobError


@contextmanager
def application() -> Iterator[Any]:
    """Yield the vtkMRMLScene to work in.

    Inside the Slicer application, and inside another `application()` block, this is the scene that is
    already there, untouched. Elsewhere a headless application is made: the application logic, the logics of
    the modules whose nodes the library uses, and a cache folder (which reading .mrb files needs). It also
    sets `slicer.mrmlScene` and `slicer.modules`, which `slicer.util` expects, and takes everything away at
    the end of the block: keep no node beyond it.

    Raises:
        JobError: neither Slicer nor slicer-core is here.
    """
    try:
        import slicer
        import slicer.util  # in the wheel, not loaded by `import slicer` alone
    except ImportError as error:
        raise JobError(
            f"scenes need 3D Slicer or its package slicer-core: pip install 'mslfusion[scene]' ({error})"
        ) from error
    present = getattr(slicer, "mrmlScene", None)
    if present is not None:
        yield present
        return
    cache_folder = tempfile.mkdtemp(prefix="mslfusion-scene-")
    try:
        headless = _HeadlessApplication(slicer, cache_folder)
        try:
            yield headless.scene
        finally:
            headless.close()
    finally:
        shutil.rmtree(cache_folder, ignore_errors=True)


class _HeadlessApplication:
    """What the Slicer application sets up around its scene, as far as the library's nodes need it.

    The terminologies logic is left out on purpose: its vocabularies are files of the application, and
    without them each new segment would log errors. Segments then simply carry no DICOM code.
    """

    def __init__(self, slicer: Any, cache_folder: str) -> None:
        self._slicer = slicer
        self.scene = slicer.vtkMRMLScene()
        app = slicer.vtkSlicerApplicationLogic()
        app.SetMRMLScene(self.scene)
        app.GetColorLogic().SetMRMLScene(self.scene)
        app.GetColorLogic().AddDefaultColorNodes()
        # The application logic holds no reference to module logics: they live as long as this object.
        self._logics = {
            "Colors": slicer.vtkMRMLColorLogic(),
            "Volumes": slicer.vtkSlicerVolumesLogic(),
            "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
            "Sequences": slicer.vtkSlicerSequencesLogic(),
            "Plots": slicer.vtkSlicerPlotsLogic(),
            "Tables": slicer.vtkSlicerTablesLogic(),
        }
        slicer.modules = SimpleNamespace()
        slicer.mrmlScene = self.scene
        for name, logic in self._logics.items():
            logic.SetMRMLApplicationLogic(app)
            logic.SetMRMLScene(self.scene)
            app.SetModuleLogic(name, logic)
            setattr(slicer.modules, name.lower(), SimpleNamespace(logic=lambda logic=logic: logic))
        # The Colors module's own logic reads files of the application once it has a scene; without one it
        # still makes colour legends, and the plain colour logic above serves the nodes.
        legends = slicer.vtkSlicerColorLogic()
        self.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
        slicer.modules.colors = SimpleNamespace(logic=lambda: legends)
        self._remote_io = slicer.vtkMRMLRemoteIOLogic()
        self._remote_io.GetCacheManager().SetRemoteCacheDirectory(cache_folder)
        self._data_io = slicer.vtkDataIOManagerLogic()
        self._data_io.SetMRMLApplicationLogic(app)
        self._data_io.SetAndObserveDataIOManager(self._remote_io.GetDataIOManager())
        app.SetMRMLSceneDataIO(self.scene, self._remote_io, self._data_io)
        self._app = app

    def close(self) -> None:
        """Empty the scene while the logics that observe it still live, then let go of all of it."""
        self.scene.Clear(True)
        del self._slicer.mrmlScene
        del self._slicer.modules


def module_logic(scene: Any, name: str) -> Any:
    """The logic of the loadable module `name` ("Sequences", "Colors", ...) that works on `scene`.

    Raises:
        JobError: that module is not loaded.
    """
    import slicer

    module = getattr(slicer.modules, name.lower(), None)
    logic = module.logic() if module is not None else None
    if logic is None:
        raise JobError(f"Slicer's module {name} is not loaded; start Slicer with its default modules")
    return logic
