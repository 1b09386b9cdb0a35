"""The training module's widget in Slicer's hands: opened, left, reloaded, unloaded; its scene closed and replaced."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from opened import ROOT
from training_opened import OpenedTraining, own_python, use_fakes
from turns import settle, until

MODULE = ROOT / "MSLFusionTraining" / "MSLFusionTraining.py"
SCRIPT = str(ROOT / "MSLFusion" / "batch.py")


@pytest.fixture(autouse=True)
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    from MSLFusionPanel import install

    monkeypatch.setattr(install, "missing_packages", lambda: [])


def test_the_module_opens_leaves_and_ends(slicer_app: Any) -> None:
    import slicer

    widget = slicer_app.open_module(MODULE)
    settle()
    assert widget.panel.entered
    assert slicer.util.getModuleWidget("MSLFusionTraining").logic is widget.logic
    panel = widget.panel
    widget.exit()
    assert not panel.entered
    widget.enter()
    widget.cleanup()
    widget.cleanup()
    widget.enter()
    widget.exit()
    assert widget.panel is None
    settle()


def test_a_reload_brings_new_code_and_keeps_the_parameters(slicer_app: Any) -> None:
    import slicer

    before = {name: module for name, module in sys.modules.items() if name.startswith("MSLFusion")}
    try:
        widget = slicer_app.open_module(MODULE)
        settle()
        widget.panel.ui.batchSpinBox.value = 3
        shared, own = sys.modules["MSLFusionPanel.frame"], sys.modules["MSLFusionTrainingPanel.panel"]
        slicer.util.getModuleWidget("MSLFusionTraining").onReload()
        settle()
        again = slicer.util.getModuleWidget("MSLFusionTraining")
        assert again is not widget
        assert widget.panel is None
        assert sys.modules["MSLFusionTrainingPanel.panel"] is not own
        assert sys.modules["MSLFusionPanel.frame"] is shared  # MSL Fusion may be open
        assert again.panel.entered
        assert again.panel.ui.batchSpinBox.value == 3
    finally:
        for name in [name for name in sys.modules if name.startswith("MSLFusion")]:
            del sys.modules[name]
        sys.modules.update(before)


def test_a_closed_scene_is_a_fresh_start(
    slicer_app: Any, scene: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_fakes(monkeypatch)
    opened = OpenedTraining()
    opened.ui.batchSpinBox.value = 3
    opened.parameters.run.folder = str(tmp_path)
    opened.parameters.run.model = "mine"
    settle()
    opened.panel.exit()
    scene.Clear(False)
    settle()
    opened.panel.enter()
    settle()
    assert opened.ui.batchSpinBox.value == 4
    assert opened.ui.modelNameLineEdit.text == ""
    assert opened.parameters.configuration.changes == ""
    opened.close()


def test_a_real_command_answers_refuses_and_is_stopped(
    slicer_app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The processes themselves; everything else is told to the panel by stand-ins."""
    from MSLFusionTrainingPanel.command import Command, Inquiry

    own_python(monkeypatch)
    (tmp_path / "scans" / "anna").mkdir(parents=True)
    for name in ("ct", "t1"):
        (tmp_path / "scans" / "anna" / f"{name}.nii.gz").write_bytes(b"not looked into")
    told: list[str] = []
    inquiry = Inquiry(lambda: told.append("changed"))
    inquiry.ask("scans", ["prepare", str(tmp_path / "scans"), "--list"])
    inquiry.ask("scans", ["never asked"])
    until(lambda: not inquiry.pending)
    assert inquiry.answer is not None
    assert [row["id"] for row in inquiry.answer["patients"]] == ["anna"]
    assert told == ["changed"]
    refused: list[str] = []
    command = Command(["prepare", str(tmp_path / "gone"), "--list"])
    command.start(lambda _result: refused.append("a result"), refused.append)
    until(lambda: refused)
    assert "does not exist" in refused[0]
    stopped = Command(["prepare", str(tmp_path / "gone"), "--list"])
    stopped.start(refused.append, refused.append)
    stopped.stop()
    inquiry.ask("wrong", ["no-such-word"])
    until(lambda: not inquiry.pending)
    assert "no-such-word" in inquiry.problem
    settle()
    assert len(refused) == 1


def test_slicers_python_that_cannot_be_started_is_named(
    slicer_app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from MSLFusionTrainingPanel import command

    monkeypatch.setattr(command, "batch_command", lambda *words: [str(tmp_path / "nothing"), *words])
    failed: list[str] = []
    command.Command(["prepare"]).start(failed.append, failed.append)
    until(lambda: failed)
    assert str(tmp_path / "nothing") in failed[0]


def test_the_modules_own_test_with_real_processes(
    slicer_app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What runs inside Slicer: a training, an export and MSL Fusion's worker, all tiny."""
    from MSLFusionPanel import process
    from MSLFusionTrainingPanel import run, selftest

    own_python(monkeypatch)
    for module in (process, run):
        monkeypatch.setattr(module, "batch_command", lambda *words: [sys.executable, SCRIPT, *words])
    monkeypatch.setenv("MSLFUSION_MODELS", str(tmp_path / "models of the user"))
    slicer_app.open_module(ROOT / "MSLFusion" / "MSLFusion.py")
    widget = slicer_app.open_module(MODULE)
    settle()
    selftest.Workflow(widget.panel).run()
    assert not (tmp_path / "models of the user").exists()
    assert os.environ["MSLFUSION_MODELS"] == str(tmp_path / "models of the user")
