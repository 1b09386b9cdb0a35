"""mslfusion models statistics, and mslfusion benchmark trust, as typed."""

import json

import numpy as np
import pytest

from MSLFusionLib import cli
from MSLFusionLib.commands import reconstruct
from MSLFusionLib.errors import InputError
from MSLFusionLib.io.checkpoints import load_checkpoint, read_card
from MSLFusionLib.recon import heads, trust


def test_a_model_gets_statistics_and_uses_them(files, tmp_path, capsys):
    path = tmp_path / "with.safetensors"
    words = ["models", "statistics", files.model, "--output", path, "--slices", 16, "--held-out", 16]
    assert (
        cli.main([str(word) for word in [*words, "--error-slices", 1, "--error-steps", 2, "--json", "--device", "cpu"]])
        == 0
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(told["statistics"]["limits"]) == {"ct+mr", "ct", "mr"}
    assert read_card(path)["statistics"]["data"].startswith("generated heads 1000 to 1039; limit from 800001")
    before = load_checkpoint(files.model).model.state_dict()
    assert all((value == before[name]).all() for name, value in load_checkpoint(path).model.state_dict().items())
    words = ["reconstruct", "--ct", files.ct, "--mr", files.mr, "--no-register", "--model", path, "--lambda", 1]
    out = tmp_path / "out"
    assert cli.main([str(word) for word in [*words, "--trust", "--trust-passes", 2, "--output", out]]) == 0
    found = json.loads((out / "run.json").read_text())["details"]["reconstruction"]
    assert found["trust"]["uncertainty"]["mr"]["calibrated"]
    assert found["familiarity"]["score"] > 0
    assert "expected error" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["models", "statistics", "MODEL", "--output", "model.pth"], "end its name with"),
        (["models", "statistics", "nothing", "--output", "m.safetensors"], "There is no model 'nothing'"),
        (["models", "statistics", "MODEL", "--output", "m.safetensors", "--slices", "3"], "at least 16"),
        (["benchmark", "trust", "--heads", "1", "--ct", "CT"], "not both"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(files, tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    names = {"MODEL": str(files.model), "CT": str(files.ct)}
    assert cli.main([names.get(word, word) for word in words]) == 2
    assert sentence in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_benchmark_of_volumes_gives_their_scores(files, capsys):
    words = ["benchmark", "trust", "--ct", files.ct, "--mr", files.mr, "--no-register", "--model", files.model]
    assert cli.main([str(word) for word in [*words, "--slices", 2, "--errors", 1, "--passes", 2, "--json"]]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["familiarity"] == [
        {"input": "ct.nrrd and mr.nrrd", "from": "CT and MR", "score": None, "beyond": 0.0, "slices": 0}
    ]
    assert [row["image"] for row in told["images"]][:3] == ["CT from CT and MR", "MR from CT and MR", "CT from CT"]
    assert all(0 <= row["auc_worst"] <= row["auc"] <= 1 for row in told["images"])
    assert all(row["spread"] >= 0 < row["mae"] for row in told["images"])


def test_heads_to_learn_from():
    card = {"training": {"settings": {"head_seed": 5, "heads": 3}}}
    assert list(heads.familiar_heads(card)) == [5, 6, 7]
    assert list(heads.familiar_heads({})) == list(heads.familiar_heads({"training": {"settings": {"data": "x"}}}))
    slices = list(heads.slices_of([3, 4], 5, (48, 64), 4.0))
    assert len(slices) == 5
    assert all(one.shape == (2, 48, 64) and 0 <= one.min() < one.max() <= 1 for one in slices)
    again = list(heads.slices_of([3, 4], 5, (48, 64), 4.0))
    np.testing.assert_array_equal(slices, again)


def test_default_passes_are_the_same_everywhere():
    assert reconstruct.TRUST_PASSES == trust.PASSES


def test_errors_of_one_modality_alone(files, capsys):
    words = ["benchmark", "trust", "--mr", files.mr, "--model", files.model, "--errors", 1, "--passes", 2, "--json"]
    assert cli.main([str(word) for word in [*words, "--slices", 1]]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["image"] for row in told["images"]] == ["MR from MR"]
    assert told["images"][0]["mae"] > 0


def test_one_slice_of_each_head():
    slices = list(heads.one_of_each([3, 4, 3], (48, 64), 4.0))
    assert [one.shape for one in slices] == [(2, 48, 64)] * 3
    assert not np.array_equal(slices[0], slices[1])
    with pytest.raises(InputError, match="choose a model of t1 or t2"):
        next(heads.one_of_each([3], (48, 64), 4.0, "flair"))
