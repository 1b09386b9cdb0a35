"""mslfusion train and export for every method: which one is meant, and words that another one has."""

from pathlib import Path

import pytest

from MSLFusionLib.cli import build_parser, main
from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib import methods
from MSLFusionTrainingLib.config import TrainConfig
from MSLFusionTrainingLib.facts import LAST
from MSLFusionTrainingLib.msl_command import settings
from MSLFusionTrainingLib.state import save_state
from MSLFusionTrainingLib.volumes.config import VolumeConfig

ROOT = Path(__file__).resolve().parents[2]
TOML = 'method = "dc2fusion"\ncrop = 32\n'


def test_the_method_is_that_of_set_of_the_file_or_of_the_run(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text(TOML)
    assert methods.asked_for(None, {}, tmp_path).name == "msl"
    assert methods.asked_for(file, {}, tmp_path).name == "dc2fusion"
    assert methods.asked_for(file, {"method": "msl"}, tmp_path).name == "msl"
    save_state(tmp_path / LAST, None, None, None, {"kind": "volumes", "config": {}})
    assert methods.asked_for(None, {}, tmp_path).name == "dc2fusion"
    assert methods.of_run(tmp_path).name == "dc2fusion"
    save_state(tmp_path / LAST, None, None, None, {"config": {}})
    assert methods.of_run(tmp_path).name == "msl"
    save_state(tmp_path / LAST, None, None, None, {"kind": "flow"})
    with pytest.raises(InputError, match=r"unknown kind \('flow'\)"):
        methods.of_run(tmp_path)


def test_every_method_has_its_commands() -> None:
    for one in methods.METHODS.values():
        assert callable(one.commands.run_train)
        assert callable(one.commands.run_export)


def test_a_file_is_for_one_method(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text(TOML)
    assert VolumeConfig.from_file(file).crop == 32
    with pytest.raises(InputError, match="is for the method dc2fusion, not msl"):
        TrainConfig.from_file(file)
    file.write_text('method = "msl"\nbatch = 3\n')
    assert TrainConfig.from_file(file).batch == 3


@pytest.mark.parametrize("name", ["dc2-mr-pet", "dc2-ct-mr"])
def test_the_recipes_of_the_shipped_models_can_be_trained(name: str) -> None:
    settings = VolumeConfig.from_file(ROOT / "Docs" / "recipes" / "dc2fusion" / f"{name}.toml")
    assert settings.name == f"dc2-{'-'.join(settings.modalities)}" == name
    assert settings.network().modalities == settings.modalities


def test_msl_takes_its_settings_either_way() -> None:
    words = ["train", "--output", "run", "--set", "batch=3", "--set", "views=[16, 32]", "--set", "crop=96"]
    found = settings(build_parser().parse_args([*words, "--set", "method=msl", "--crop", "64"]))
    assert (found.batch, found.views, found.crop) == (3, (16, 32), 64)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "method=dc2fusin"], "no method 'dc2fusin' to train: use msl, dc2fusion"),
        (["--set", "method=dc2fusin"], "Did you mean 'dc2fusion'?"),
        (["--set", "method=dc2fusion", "--views", "16"], "--views is a setting of msl: those of dc2fusion stand in"),
        (["--set", "method=dc2fusion", "--devices", "2"], "--devices is for msl: dc2fusion trains on one device"),
        (["--set", "method=dc2fusion", "--set", "crops=16"], "'crops' is unknown. Did you mean 'crop'?"),
        (["--set", "method=dc2fusion", "--set", "preset=best"], "no DC2Fusion preset 'best'"),
        (["--set", "crop"], "'crop'"),
        (["none.toml"], "none.toml does not exist"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--output", str(tmp_path / "run"), *words]) == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error
    assert not (tmp_path / "run").exists()


def test_statistics_are_refused_for_what_has_no_latents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_state(tmp_path / LAST, None, None, None, {"kind": "volumes", "config": {}})
    words = ["export", str(tmp_path), "--output", str(tmp_path / "m.safetensors")]
    assert main([*words, "--statistics"]) == 2
    assert "--statistics is for models of msl, and this run is one of dc2fusion" in capsys.readouterr().err


def test_validate_sends_to_the_card_where_it_cannot_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "dc2-mr-pet", "--cache", str(tmp_path / "heads")]) == 2
    assert "dc2-mr-pet is a dc2fusion: its card has what" in capsys.readouterr().err
    assert not (tmp_path / "heads").exists()
