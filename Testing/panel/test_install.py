"""Python packages that the worker needs: looking for them, one question, and who installs what."""

import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import bare_qt  # noqa: F401 - first
import pytest
import slicer

from MSLFusionPanel import install

HERE = {"torch": "2.6.0+cu124", "h5py": "3.12.1", "safetensors": "0.5.0", "numpy": "2.4.6", "SimpleITK": "2.5.5"}


class Slicer:
    """The parts of the application that an installation uses, and what was asked of them."""

    def __init__(self, installed):
        self.installed = dict(installed)
        self.agrees, self.testing, self.server, self.error = True, False, True, None
        self.questions, self.events, self.cursors = [], [], []
        self.interactive = True
        self.constraints = ""

    def confirm(self, text, title=None, parent=None):
        self.questions.append(text)
        return self.agrees

    def pip_ensure(self, requirements, constraints, prompt_install, prompt_restart, requester):
        assert not prompt_install
        assert self.cursors == ["busy"]
        self.events.append(("pip", *requirements))
        self.constraints = Path(constraints).read_text()
        if self.error is not None:
            raise self.error
        self.installed |= {name: HERE[name] for name in ("h5py", "safetensors")}

    def install_torch(self, askConfirmation, torchVersionRequirement):
        assert not askConfirmation
        self.events.append(("torch", torchVersionRequirement))
        self.installed["torch"] = HERE["torch"]

    def installExtensionFromServer(self, name, restart):
        self.events.append(("extension", name, restart, self.interactive))
        return self.server


@pytest.fixture
def application(monkeypatch):
    """A Slicer with the PyTorch extension where no package of ours is installed."""
    found = Slicer({name: HERE[name] for name in ("numpy", "SimpleITK")})

    def version(name):
        if name not in found.installed:
            raise metadata.PackageNotFoundError(name)
        return found.installed[name]

    app = SimpleNamespace(
        testingEnabled=lambda: found.testing, extensionsManagerModel=lambda: found, processEvents=lambda: None
    )
    monkeypatch.setattr(slicer, "app", app, raising=False)
    monkeypatch.setattr(slicer, "util", SimpleNamespace(confirmOkCancelDisplay=found.confirm), raising=False)
    monkeypatch.setattr(slicer, "packaging", SimpleNamespace(pip_ensure=found.pip_ensure), raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in found.installed else None)
    monkeypatch.setattr(metadata, "version", version)
    cursors = SimpleNamespace(setOverrideCursor=found.cursors.append, restoreOverrideCursor=lambda: found.cursors.pop())
    monkeypatch.setattr(install, "qt", SimpleNamespace(QApplication=cursors, Qt=SimpleNamespace(WaitCursor="busy")))
    extension = ModuleType("PyTorchUtils")
    extension.PyTorchUtilsLogic = lambda: SimpleNamespace(installTorch=found.install_torch)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    yield found
    assert found.cursors == []


def test_where_everything_is_there_nothing_is_asked(application):
    application.installed.update(HERE)
    assert install.missing_packages() == []
    assert install.ready(print) == ""
    assert application.questions == application.events == []


@pytest.mark.parametrize(("name", "version"), [("torch", "2.1.0"), ("h5py", "4.0.0"), ("safetensors", None)])
def test_absent_and_unfit_versions_are_missing(application, name, version):
    application.installed.update(HERE)
    if version is None:
        del application.installed[name]
    else:
        application.installed[name] = version
    (missing,) = install.missing_packages()
    assert missing.startswith(name)


def test_looking_imports_nothing():
    command = "import sys, types; sys.modules['qt'] = sys.modules['slicer'] = slicer = types.ModuleType('slicer'); "
    command += "sys.modules['slicer.i18n'] = types.SimpleNamespace(tr=str); slicer.__path__ = []; "
    command += "from MSLFusionPanel import install; install.missing_packages(); "
    command += "print([name for name in ('torch', 'h5py', 'safetensors', 'numpy') if name in sys.modules])"
    root = Path(install.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", command], cwd=root, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "[]\n"


def test_one_question_then_torch_by_its_extension_and_the_rest_by_pip(application):
    told = []
    assert install.ready(told.append) == ""
    (question,) = application.questions
    assert all(name in question for name in ("torch", "h5py", "safetensors"))
    assert application.events == [("torch", ">=2.4"), ("pip", "h5py>=3.10,<4", "safetensors>=0.4.5,<1")]
    assert application.constraints == "numpy==2.4.6\nSimpleITK==2.5.5\n"
    assert len(told) == 2


def test_only_what_is_missing_is_installed(application):
    application.installed["torch"] = HERE["torch"]
    assert install.ready(print) == ""
    assert [event[0] for event in application.events] == ["pip"]


def test_a_user_who_declines_is_told_what_is_missing(application):
    application.agrees = False
    assert "torch" in install.ready(print)
    assert application.events == []


def test_nothing_is_installed_while_testing(application):
    """There every question counts as answered with yes."""
    application.testing = True
    assert "torch" in install.ready(print)
    assert application.questions == application.events == []


@pytest.mark.parametrize("server", [True, False])
def test_without_the_pytorch_extension_that_is_offered(application, monkeypatch, server):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    application.server = server
    sentence = install.ready(print)
    assert ("restart Slicer" in sentence) == server
    assert ("could not be installed" in sentence) != server
    assert len(application.questions) == 1
    assert application.events == [("extension", "PyTorch", False, False)]
    assert application.interactive


def test_the_extension_can_be_declined(application, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    application.agrees = False
    assert "PyTorch is not installed" in install.ready(print)
    assert application.events == []


def test_a_failed_installation_is_told_and_logged(application, caplog):
    application.error = subprocess.CalledProcessError(1, "pip")
    assert "failed" in install.ready(print)
    assert "CalledProcessError" in caplog.text


def test_an_installation_without_effect_is_noticed(application, monkeypatch):
    monkeypatch.setattr(application, "pip_ensure", lambda *args, **kwargs: None)
    monkeypatch.setattr(slicer, "packaging", SimpleNamespace(pip_ensure=lambda *args, **kwargs: None))
    sentence = install.ready(print)
    assert "h5py" in sentence
    assert "torch" not in sentence


def test_the_requirements_never_name_what_slicer_itself_runs_on():
    assert not {text.split(">")[0] for text in install._required()} & set(install._KEPT)
