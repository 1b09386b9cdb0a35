"""Settings as text: files, single values as they are typed, a sentence for each setting."""

from pathlib import Path

import pytest

from MSLFusionLib.errors import InputError
from MSLFusionTrainingLib.config import PRESETS, TrainConfig, training_preset
from MSLFusionTrainingLib.configfile import SETTINGS, parsed, shown, toml_of, toml_text
from MSLFusionTrainingLib.explained import SENTENCES


@pytest.mark.parametrize("preset", PRESETS)
def test_a_file_of_all_settings_gives_them_back(preset: str, tmp_path: Path) -> None:
    changes = {
        "preset": preset,
        "model": {"width": 32},
        "name": 'a "b" \\ c\nd',
        "iterations": 7,
        "pixel_mm": 1e-05 + 1,
    }
    config = TrainConfig.from_dict(changes)
    path = tmp_path / "CONFIG.toml"
    text = toml_text(config, ["iterations"])
    path.write_text(text, encoding="utf-8")
    assert TrainConfig.from_file(path) == config
    assert text.index("iterations") < text.index("# as the preset") < text.index("batch")


def test_a_file_of_some_settings_gives_them_back(tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_text(toml_of({"iterations": 5, "model": {"width": 8}, "views": [4, 5]}), encoding="utf-8")
    wanted = {"iterations": 5, "model": {"width": 8}, "views": [4, 5]}
    assert TrainConfig.from_file(path) == TrainConfig.from_dict(wanted)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_shown_of_a_setting_can_be_typed_again(preset: str) -> None:
    config = training_preset(preset)
    for name in SETTINGS:
        value = getattr(config, name)
        assert parsed(name, shown(value)) == value, name


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("views", "[64, 32]", (64, 32)),
        ("views", "64 32", (64, 32)),
        ("masks", '"random", "official"', ("random", "official")),
        ("betas", "0.5, 1e-3", (0.5, 0.001)),
        ("iterations", "1e5", 100_000),
        ("augment", "Yes", True),
        ("model", '{ width = 32, output = "tanh" }', {"width": 32, "output": "tanh"}),
        ("learning_rate", "1", 1),
    ],
)
def test_values_as_people_type_them(name: str, text: str, value: object) -> None:
    assert parsed(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("views", "many", "'many' is no value for views: whole numbers with commas between"),
        ("views", "1.5", "whole numbers"),
        ("iterations", "inf", "a whole number"),
        ("learning_rate", "fast", "a number"),
        ("augment", "perhaps", "true or false"),
        ("model", "width", "such as width = 32"),
        ("lerning_rate", "1", "Did you mean 'learning_rate'"),
    ],
)
def test_what_is_no_value_is_refused_with_what_is_wanted(name: str, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parsed(name, text)


def test_every_setting_is_explained_in_a_sentence() -> None:
    assert set(SENTENCES) == set(SETTINGS)
    for name, sentence in SENTENCES.items():
        assert sentence.endswith("."), name
        assert "\n" not in sentence
