"""The Python packages that the worker needs: whether they are there, and their installation when the user agrees.

Slicer's Python and the worker's are the same installation, so looking from here is enough; nothing is imported.
"""

import importlib
import importlib.util
import logging
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

TORCH = "torch>=2.4"
EXTENSION = "PyTorch"
REQUIREMENTS = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "Resources", "requirements.txt"
)
_KEPT = ("numpy", "scipy", "SimpleITK", "vtk", "requests")
"""Packages that Slicer itself runs on: installing ours never changes their versions."""


def missing_packages() -> list[str]:
    """The requirements that are not there, or only in another version: "torch>=2.4", ..."""
    importlib.invalidate_caches()
    return [text for text in [TORCH, *_required()] if not _satisfied(text)]


def ready(tell: Callable[[str], Any], parent: Any = None) -> str:
    """Install what is missing when the user agrees; returns why the worker cannot be used, "" when it can.

    tell: told what happens. parent: of the one question that is asked. Call it from a button only.
    """
    missing = missing_packages()
    if not missing:
        return ""
    names = ", ".join(missing)
    if slicer.app.testingEnabled():
        return _("Python packages are missing: {names}.").format(names=names)
    torch_utils = _torch_utils() if TORCH in missing else None
    if TORCH in missing and torch_utils is None:
        return _install_extension(tell, parent)
    question = _(
        "The reconstruction needs Python packages that are not installed: {names}.\n\nInstall them now? They are "
        "downloaded, which can take some minutes; PyTorch has up to 3 GB."
    )
    if not slicer.util.confirmOkCancelDisplay(question.format(names=names), _("MSL Fusion"), parent=parent):
        return _("Not installed: {names}. Press the button again to install it.").format(names=names)
    try:
        tell(_("Installing {names} ...").format(names=names))
        slicer.app.processEvents()
        with _wait_cursor():
            _install(missing, torch_utils)
    except (subprocess.CalledProcessError, OSError, RuntimeError, ImportError) as error:
        logging.exception("MSLFusion: an installation failed")
        return _("The installation failed ({reason}); the Python console has the details.").format(reason=error)
    still = missing_packages()
    if still:
        return _("The installation did not succeed, still missing: {names}.").format(names=", ".join(still))
    tell(_("Installed: {names}.").format(names=names))
    return ""


def _install(missing: list[str], torch_utils: Any) -> None:
    """Raises CalledProcessError, OSError, RuntimeError or ImportError."""
    if TORCH in missing:
        # Only this finds the build that suits the graphics driver. The user has agreed already.
        torch_utils.PyTorchUtilsLogic().installTorch(
            askConfirmation=False, torchVersionRequirement=TORCH[len("torch") :]
        )
    others = [text for text in missing if text != TORCH]
    if others:
        with tempfile.TemporaryDirectory() as folder:
            kept = os.path.join(folder, "constraints.txt")
            with open(kept, "w", encoding="utf-8") as file:
                file.writelines(f"{name}=={version}\n" for name in _KEPT if (version := _version(name)))
            slicer.packaging.pip_ensure(
                others, constraints=kept, prompt_install=False, prompt_restart=False, requester="MSL Fusion"
            )


def _install_extension(tell: Callable[[str], Any], parent: Any) -> str:
    """Offer the extension that installs PyTorch; it is there after a restart only, so this is never `ready`."""
    question = _(
        "The reconstruction needs PyTorch, which Slicer's extension “PyTorch” installs. That extension is not there."
        "\n\nInstall it now? Slicer must then be restarted."
    )
    if not slicer.util.confirmOkCancelDisplay(question, _("MSL Fusion"), parent=parent):
        return _("PyTorch is not installed. Press the button again, or install the extension “PyTorch” yourself.")
    tell(_("Installing the extension {name} ...").format(name=EXTENSION))
    manager = slicer.app.extensionsManagerModel()
    asks = manager.interactive
    manager.interactive = False  # the user has agreed, and restarts when the data are saved
    try:
        done = manager.installExtensionFromServer(EXTENSION, False)
    finally:
        manager.interactive = asks
    if not done:
        return _("The extension “PyTorch” could not be installed: install it with the Extensions Manager.")
    return _("The extension “PyTorch” is installed: save your data, restart Slicer and press the button again.")


def _torch_utils() -> Any:
    """The module of the PyTorch extension, None without it."""
    try:
        return importlib.import_module("PyTorchUtils")
    except ImportError:
        return None


def _required() -> list[str]:
    with open(REQUIREMENTS, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    return [line for line in lines if line and not line.startswith("#")]


def _satisfied(text: str) -> bool:
    from packaging.requirements import Requirement

    requirement = Requirement(text)
    if importlib.util.find_spec(requirement.name) is None:
        return False
    version = _version(requirement.name)
    return version is None or requirement.specifier.contains(version, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@contextmanager
def _wait_cursor() -> Iterator[None]:
    qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
    try:
        yield
    finally:
        qt.QApplication.restoreOverrideCursor()
