"""Model cards for people, and what lies outside of what a model has seen."""

import subprocess
import sys
from pathlib import Path

import pytest

from MSLFusionLib.cards import outside_mr, outside_training, summary
from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import find_model, read_card
from MSLFusionLib.recon.simulate import SamplingPlan, Scanners

LIBRARY = Path(__file__).resolve().parents[2] / "MSLFusion"
FAMILIAR = {"views": 64, "scan": "full", "acceleration": 4.0, "mask": "random", "photons": None, "kspace_sigma": 0.0}


@pytest.fixture(scope="module")
def card() -> dict:
    return read_card(find_model("msl-ct-t1"))


def test_cards_are_read_and_shown_with_the_standard_library_alone():
    """The panel lists models before any package is installed."""
    code = f"""
import sys
FORBIDDEN = {{"torch", "safetensors", "SimpleITK", "scipy", "h5py", "numpy", "matplotlib"}}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, {str(LIBRARY)!r})
from MSLFusionLib.cards import outside_training, summary
from MSLFusionLib.io.checkpoints import find_model, list_models, read_card
info = next(info for info in list_models() if info.name == "msl-ct-t1")
assert read_card(find_model("msl-ct-t1")) == info.card
assert summary(info.card) and not outside_training(info.card, {{"views": 64}})
assert not FORBIDDEN & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


def test_the_shipped_card_for_reading(card):
    lines = dict(summary(card))
    assert "generated heads" in lines["Trained on"]
    assert lines["Modalities"] == "CT and MR (T1)"
    assert lines["CT views"] == "32 to 128"
    assert lines["CT scan"] == "full"
    assert lines["CT noise"] == "100,000 to 10,000,000 photons per ray"
    assert lines["MR acceleration"] == "2 to 8"
    assert lines["MR masks"] == "random, equispaced, official"
    assert lines["MR noise"] == "up to 0.02 of the maximum"
    assert lines["In-plane grid"] == "384 x 384 pixels of 0.667 mm (256 x 256 mm)"
    assert lines["Parameters"] == "3,097,708"
    assert lines["CT quality"].startswith("PSNR 36.0 dB, SSIM 0.936")
    assert {"Version", "Licence", "Limits"} <= set(lines)


@pytest.mark.parametrize("value", [None, 7, "text", [], [1], ["a", "b"], {}, {"network": 3}, float("nan"), True])
def test_a_card_of_any_form_can_be_shown(card, value):
    for key in card:
        assert all(text and "\n" not in text for _, text in summary(card | {key: value}))
    assert summary({}) == []


def test_familiar_settings_raise_nothing(card):
    assert outside_training(card, FAMILIAR) == []
    assert outside_training(card, SamplingPlan().to_dict(), ("ct",)) == []
    assert outside_training(card, {"photons": 1e9, "pixel_mm": 0.7}) == []
    assert outside_training(card, {}) == []


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"views": 8}, "CT views from 32 to 128; 8"),
        ({"scan": "short"}, "a scan of the kind 'short'"),
        ({"acceleration": 20}, "MR acceleration from 2 to 8; 20"),
        ({"mask": "given"}, "a k-space mask of the kind 'given'"),
        ({"photons": 1e4}, "with 100,000 photons per ray or more; 10,000"),
        ({"kspace_sigma": 0.1}, "k-space noise up to 0.02; 0.1"),
        ({"pixel_mm": 1.0}, "pixels of 0.67 mm; 1.00 mm"),
    ],
)
def test_each_setting_outside_has_its_sentence(card, setting, words):
    (sentence,) = outside_training(card, FAMILIAR | setting)
    assert sentence.startswith("The model 'msl-ct-t1' was ")
    assert words in sentence
    assert sentence.endswith(".")


def test_only_the_modalities_that_are_seen_are_judged(card):
    assert outside_training(card, {"views": 8, "photons": 1.0}, ("mr",)) == []
    assert outside_training(card, {"acceleration": 99, "kspace_sigma": 1.0}, ("ct",)) == []
    (sentence,) = outside_training(card, FAMILIAR, ("ct", "pet"))
    assert "not trained on PET" in sentence


def test_what_was_achieved_is_judged_by_what_was_asked_for(card):
    """Whole columns give 384 / 55 = 6.98 here; a bit above the range of the training must not raise a warning."""
    narrow = card | {"sensors": card["sensors"] | {"acceleration": [2, 7.9]}}
    achieved = Scanners.of_plan(SamplingPlan(views=30, acceleration=7.9), (48, 48), 4.0).achieved()
    assert achieved["mr"]["acceleration"] > 7.9
    (sentence,) = outside_training(narrow, achieved)
    assert "views" in sentence


def test_models_trained_without_noise_or_on_both_modalities_only(card):
    clean = card | {"sensors": card["sensors"] | {"noise": "none"}}
    assert ("CT noise", "none") in summary(clean)
    found = outside_training(clean, {"photons": 1e9, "kspace_sigma": 0.001})
    assert ["without photon noise" in found[0], "without k-space noise" in found[1]] == [True, True]
    settings = {"settings": card["training"]["settings"] | {"weight_aux": 0.0}}
    (sentence,) = outside_training(card | {"training": settings}, FAMILIAR, ("mr",))
    assert "one modality alone" in sentence
    with pytest.raises(InputError, match="range of views"):
        outside_training(card | {"sensors": {"views": ["a", 3]}}, FAMILIAR)
    unknown = {key: card[key] for key in ("modalities", "grid")}
    assert outside_training(unknown, {"views": 1, "mask": "odd", "photons": 1.0, "kspace_sigma": 1.0}) == []


def test_a_card_of_a_restoring_network_is_shown_and_judged():
    card = {
        "name": "cmf",
        "modalities": ["t1", "t2"],
        "scale": 2,
        "sensors": {"acceleration": [2, 6], "masks": ["random"]},
        "grid": {"pixel_mm": 1.0},
        "training": {"settings": {"kspace_noise": 0.02}},
        "metrics": {
            "restored": {"psnr": 30.04, "ssim": 0.9},
            "zero_filled": {"psnr": 25.0},
            "super_resolved": {"psnr": 28},
        },
    }
    lines = dict(summary(card))
    assert lines["Modalities"] == "T1 and T2"
    assert lines["Resolution"] == "makes images 2 times finer"
    assert lines["Restored"] == "PSNR 30.0 dB, SSIM 0.900, without the network 25.0 dB"
    assert lines["Super-resolved"] == "PSNR 28.0 dB"
    told = outside_mr(card, {"acceleration": 8, "mask": "equispaced", "kspace_sigma": 0.1, "pixel_mm": 2.0})
    assert [any(word in one for one in told) for word in ("acceleration", "equispaced", "noise", "pixels")] == [
        True
    ] * 4
    assert outside_mr(card, {"acceleration": 4, "mask": "random", "kspace_sigma": 0.01, "pixel_mm": 1.0}) == []
