"""From a run to a model in MSL Fusion: the name, the export, the choice; with MSL Fusion open and never opened."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opened import ROOT, write_model
from training_opened import FakeCommands, OpenedTraining, use_fakes
from turns import settle


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the user's models, which is not there yet."""
    folder = tmp_path / "my models"
    monkeypatch.setenv("MSLFUSION_MODELS", str(folder))
    return folder


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> FakeCommands:
    return use_fakes(monkeypatch)


@pytest.fixture
def opened(slicer_app: Any, commands: FakeCommands, models: Path) -> Iterator[OpenedTraining]:
    slicer_app.open_module(ROOT / "MSLFusion" / "MSLFusion.py")
    panel = OpenedTraining()
    yield panel
    panel.close()


def choose_run(opened: OpenedTraining, folder: Path, state: str = "best.safetensors") -> None:
    folder.mkdir()
    if state:
        (folder / state).write_bytes(b"weights")
    opened.parameters.run.folder = str(folder)
    settle()


def export(opened: OpenedTraining, commands: FakeCommands, models: Path, name: str, **card: Any) -> None:
    """Press the button and let the export write a model."""
    opened.ui.useModelButton.click()
    settle()
    models.mkdir(exist_ok=True)
    write_model(models / f"{name}.safetensors", **card)
    commands.last("export").end({"type": "result"})
    settle()


def test_a_run_without_a_checkpoint_has_no_model(opened: OpenedTraining, tmp_path: Path) -> None:
    assert opened.ui.useModelButton.toolTip == "Choose the folder of a run."
    choose_run(opened, tmp_path / "run", state="")
    assert not opened.ui.useModelButton.enabled
    assert opened.ui.useModelButton.toolTip == "This run has no checkpoint yet."
    assert opened.problems() == []


def test_the_best_checkpoint_becomes_the_model_of_msl_fusion(
    opened: OpenedTraining, commands: FakeCommands, models: Path, tmp_path: Path
) -> None:
    import slicer

    choose_run(opened, tmp_path / "My run 1")
    assert opened.ui.modelNameLineEdit.placeholderText == "My-run-1"
    logic = slicer.util.getModuleWidget("MSLFusion").logic
    logic.opened = object()  # a model of that name, say, of which another one was exported before
    export(opened, commands, models, "My-run-1")
    target = models / "My-run-1.safetensors"
    words = commands.last("export").words
    assert words[:6] == ["export", str(tmp_path / "My run 1"), "--output", str(target), "--name", "My-run-1"]
    assert logic.opened is None
    fusion = slicer.util.getModuleWidget("MSLFusion").panel
    assert fusion.parameters.model.name == "My-run-1"
    assert fusion.parameters.model.folder == ""
    assert fusion.model.chosen().path == str(target)
    assert not fusion.ui.modelSection.collapsed
    assert str(target) in opened.text("useModelMessage")
    assert opened.kind("useModelMessage") == "info"
    settle()
    assert opened.ui.useModelButton.enabled
    opened.parameters.run.model = "My-run-1"
    opened.panel.use_model.scene_closed()
    opened.panel.update()
    assert opened.text("useModelMessage") == "Your model My-run-1 will be replaced."


def test_an_export_that_is_refused_leaves_msl_fusion_alone(
    opened: OpenedTraining, commands: FakeCommands, tmp_path: Path
) -> None:
    import slicer

    choose_run(opened, tmp_path / "run")
    opened.ui.useModelButton.click()
    settle()
    assert opened.ui.useModelButton.text == "Cancel"
    commands.last("export").refuse("best.safetensors does not reproduce its recorded quality. It is not exported")
    settle()
    assert "does not reproduce its recorded quality" in opened.text("useModelMessage")
    assert opened.kind("useModelMessage") == "failure"
    assert opened.problems() == []
    assert slicer.util.getModuleWidget("MSLFusion").panel.parameters.model.name == ""


def test_an_export_can_be_cancelled(opened: OpenedTraining, commands: FakeCommands, tmp_path: Path) -> None:
    choose_run(opened, tmp_path / "run", "state.safetensors")
    opened.ui.useModelButton.click()
    settle()
    opened.ui.useModelButton.click()
    settle()
    assert commands.last("export").stopped
    assert opened.panel.task is None
    assert opened.ui.useModelButton.text == "Use this model"


def test_a_model_that_msl_fusion_cannot_use_is_exported_only(
    opened: OpenedTraining, commands: FakeCommands, models: Path, tmp_path: Path
) -> None:
    import slicer

    choose_run(opened, tmp_path / "run")
    export(opened, commands, models, "run", modalities=["t1", "t2"])
    assert "uses models of CT and one MR contrast" in opened.text("useModelMessage")
    assert slicer.util.getModuleWidget("MSLFusion").panel.parameters.model.name == ""


def test_names_that_a_model_cannot_have(opened: OpenedTraining, tmp_path: Path) -> None:
    choose_run(opened, tmp_path / "run")
    for name, said in (("a/b", "letters, digits"), ("msl-ct-t1", "already"), (".hidden", "letters, digits")):
        opened.parameters.run.model = name
        settle()
        assert said in opened.text("useModelMessage")
        assert not opened.ui.useModelButton.enabled
    opened.parameters.run.model = "mine"
    settle()
    assert opened.ui.useModelButton.enabled
    assert opened.ui.modelNameLineEdit.text == "mine"
