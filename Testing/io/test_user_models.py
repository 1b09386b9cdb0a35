"""Where the user's own models lie, and that they are among those to choose from."""

import sys
from pathlib import Path

import pytest

from MSLFusionLib.io.checkpoints import model_folders
from MSLFusionLib.resources import models_folder, user_models_folder


@pytest.mark.parametrize(
    ("platform", "variable", "inside"),
    [
        ("linux", "XDG_DATA_HOME", "mslfusion/models"),
        ("win32", "LOCALAPPDATA", "mslfusion/models"),
        ("darwin", "HOME", "Library/Application Support/mslfusion/models"),
    ],
)
def test_every_system_has_its_place(
    platform: str, variable: str, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MSLFUSION_MODELS", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert user_models_folder() == tmp_path / inside
    assert model_folders() == [models_folder(), tmp_path / inside]


def test_folders_of_the_environment_take_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    monkeypatch.setenv("MSLFUSION_MODELS", f"{first}{':' if sys.platform != 'win32' else ';'}{second}")
    assert user_models_folder() == first
    assert model_folders() == [models_folder(), first, second]
