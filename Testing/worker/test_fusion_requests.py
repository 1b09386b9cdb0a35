"""The worker's fusion requests, answered without a process of its own."""

import numpy as np
import pytest
from tiny import SIZE, image, oval_head

from MSLFusionLib.errors import InputError
from MSLFusionLib.fusion.registry import METHODS
from MSLFusionLib.progress import NO_JOB
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.wire import Message
from MSLFusionLib.worker.services import Services


def ask(request, arrays=None, **fields):
    ct = image(oval_head(SIZE[::-1])[0])
    header = {"type": request, "id": 1, **fields}
    header["volumes"] = {name: VolumeGeometry.of(ct).to_dict() for name in arrays or {}}
    return Services().handler(request)(Message(header, arrays or {}), NO_JOB, lambda *_: None)


@pytest.fixture(scope="module")
def pair():
    return dict(zip(("first", "second"), oval_head(SIZE[::-1]), strict=True))


def test_methods_with_their_settings_are_told():
    header, arrays = ask("fusion_methods")
    assert [method["name"] for method in header["methods"]] == list(METHODS)
    assert len(header["measures"]) == 10
    assert arrays == {}


def test_two_volumes_are_fused_and_measured(pair):
    header, arrays = ask("fuse", pair, method="alpha", settings={"weight": 0.25})
    assert header["modalities"] == ["ct", "mr"]
    assert header["settings"] == {"weight": 0.25}
    assert arrays["fused"].shape == pair["first"].shape
    assert arrays["fused"].dtype == np.float32
    assert [row["method"] for row in header["rows"]] == ["alpha", None, None]
    header, arrays = ask("fuse", pair, method="overlay", measure=False)
    assert header["rows"] == []
    assert arrays["fused"].shape == (*pair["first"].shape, 3)
    assert arrays["fused"].dtype == np.uint8


def test_what_is_missing_or_wrong_is_told(pair):
    for fields, arrays, words in (
        ({"method": "alpha"}, {"first": pair["first"]}, "send both"),
        ({"method": "magic"}, pair, "no fusion method"),
        ({"method": "alpha", "modalities": ["ct", "pet"]}, pair | {"second": pair["second"] - 500}, "negative"),
        ({"method": "alpha", "modalities": ["ct"]}, pair, "name the modalities"),
    ):
        with pytest.raises(InputError, match=words):
            ask("fuse", arrays, **fields)
