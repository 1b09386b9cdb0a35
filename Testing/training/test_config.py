"""Settings: presets, TOML, flags, what is refused."""

import argparse
from pathlib import Path

import pytest
from training_bench import config

from MSLFusionLib.cli import build_parser
from MSLFusionLib.errors import InputError
from MSLFusionLib.physics.masks import KINDS
from MSLFusionTrainingLib.config import MASKS, TrainConfig
from MSLFusionTrainingLib.msl_command import settings

ROOT = Path(__file__).resolve().parents[2]


def parsed(*words: str) -> argparse.Namespace:
    return build_parser().parse_args(["train", "--output", "run", *words])


def test_settings_from_file(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('preset = "paper"\nbatch = 8\nviews = [16]\n[model]\nwidth = 16\n')
    found = TrainConfig.from_file(file, {"iterations": 50})
    assert (found.preset, found.batch, found.iterations, found.betas) == ("paper", 8, 50, (0.5, 0.99))
    assert found.model == {"width": 16}
    assert found.views == (16,)
    assert TrainConfig.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("lerning_rate = 1.0\n", r"'lerning_rate' is unknown\. Did you mean 'learning_rate'"),
        ("batch = 'many'\n", "'batch' has the unusable value"),
        ("batch = true\n", "'batch' has the unusable value"),
        ("views = ['many']\n", "'views' has the unusable value"),
        ("augment = 1\n", "'augment' has the unusable value"),
        ("batch = \n", "cannot be read"),
        ("preset = 'best'\n", "no preset 'best': use one of paper, official, msl, msl-lite"),
        ("size = 100\n", "multiples of 16"),
        ("batch = 0\n", "larger than 0"),
        ("clip = -1\n", "must not be negative"),
        ("ema = 1.0\n", r"must lie in \[0, 1\)"),
        ("invert = 2.0\n", r"must lie in \[0, 1\]"),
        ("learning_rate = inf\n", "must be finite"),
        ("aux = 'none'\n", "aux = 'none' is unknown: use masked or leak"),
        ("views = [64, 0]\n", "views must be 1 or more, not 0"),
        ("accelerations = [0.5]\n", "accelerations must be 1 or more, not 0.5"),
        ("masks = ['radial']\n", "The mask 'radial' is unknown: use random, equispaced, official"),
        ("modalities = ['ct']\n", "two or more different contrasts"),
        ("front_ends = ['image']\n", "one way of measuring for each of ct, t1"),
        ("front_ends = ['image', 'sonar']\n", "front end 'sonar' is unknown"),
    ],
)
def test_bad_settings_are_named(text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=sentence):
        TrainConfig.from_file(file)


def test_the_masks_are_those_that_there_are() -> None:
    assert MASKS == KINDS


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        TrainConfig.from_file(tmp_path / "none.toml")


def test_every_key_is_a_flag_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('preset = "official"\nbatch = 8\naugment = true\n')
    found = settings(parsed(str(file), "--batch", "2", "--augment", "false", "--views", "16", "32", "--clip", "1.5"))
    assert (found.preset, found.batch, found.augment, found.views, found.clip) == ("official", 2, False, (16, 32), 1.5)
    for name, value in TrainConfig().to_dict().items():
        if name in ("model", "front_ends", "data"):
            continue
        words = [
            str(v).lower() if isinstance(v, bool) else str(v) for v in (value if isinstance(value, list) else [value])
        ]
        assert getattr(settings(parsed(f"--{name.replace('_', '-')}", *words)), name) == getattr(TrainConfig(), name)
    assert settings(parsed("--model", '{"width": 8}')).model == {"width": 8}


def test_cards_of_earlier_models_are_understood() -> None:
    old = {"preset": "msl-lite", "mr": "t2", "augment": True, "aux_every": 3}
    assert TrainConfig.from_dict(old).modalities == ("ct", "t2")


def test_tiny_settings_are_settings() -> None:
    assert TrainConfig.from_dict(config().to_dict()) == config()


@pytest.mark.parametrize("name", ["1-network", "2-steps", "3-steps"])
def test_the_recipe_of_the_shipped_model_can_be_trained(name: str) -> None:
    settings = TrainConfig.from_file(ROOT / "Docs" / "recipes" / "msl-ct-t1" / f"{name}.toml")
    assert settings.name == "msl-ct-t1"
    assert bool(settings.start) == settings.only_refinement == (name != "1-network")
