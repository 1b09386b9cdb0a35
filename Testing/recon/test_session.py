"""Decoding on demand: the same planes as the reconstructor's volumes, with few latents kept or many."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fake_model import FakeLoaded, ellipsoids

from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionLib.nets.presets import preset_config
from MSLFusionLib.nets.registry import build
from MSLFusionLib.progress import Job
from MSLFusionLib.recon.lambdas import LambdaSpec
from MSLFusionLib.recon.latents import LatentStore, joined
from MSLFusionLib.recon.reconstructor import Reconstructor
from MSLFusionLib.recon.session import Session
from MSLFusionLib.recon.simulate import SamplingPlan

PLAN = SamplingPlan(views=32, acceleration=4, photons=1e5, kspace_sigma=0.01, seed=9)
ROUNDING = 2e-5


def tiny() -> Reconstructor:
    torch.manual_seed(0)
    config = preset_config("msl-lite", width=4, token_dim=32, heads=2, head_dim=8, mlp_dim=32, token_grid=(3, 3))
    return Reconstructor(FakeLoaded(build("msl", config.to_dict()), "tiny"), "cpu", batch=4)


def sagittal(image: sitk.Image) -> sitk.Image:
    """The same voxels with slices along x, and rows that the network turns round."""
    turned = sitk.PermuteAxes(image, (2, 1, 0))
    turned.SetSpacing((9.0, 4.0, 4.0))
    turned.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, -1))
    return turned


@pytest.mark.parametrize("turn", [lambda image: image, sagittal])
@pytest.mark.parametrize("cap", [10**9, 150_000, 0])
def test_planes_and_volumes_are_the_reconstructors(turn, cap):
    ct, mr = (turn(image) for image in ellipsoids())
    reconstructor = tiny()
    lam_map = np.random.default_rng(0).random(ct.GetSize()[::-1], np.float32)
    specs = [LambdaSpec("0.3", 0.3), LambdaSpec("map", None, lam_map)]
    expected = [
        sitk.GetArrayFromImage(image) for _, image in reconstructor.reconstruct(specs, ct=ct, mr=mr, plan=PLAN).hybrids
    ]
    session = Session(reconstructor, reconstructor.source(ct=ct, mr=mr, plan=PLAN), cap=cap)
    session.encode()
    axis = session.grid.slice_axis
    # Rounding to half precision is no larger than 2^-11 of a value.
    tolerance = 5e-3 if session.latents.precision == "float16" else ROUNDING
    for number in (0, 3, 5, 3):
        plane = session.plane(number, 0.3)
        assert plane == pytest.approx(expected[0].take(number, axis), abs=tolerance)
        mapped = session.plane(number, lam_map.take(number, axis))
        assert mapped == pytest.approx(expected[1].take(number, axis), abs=tolerance)
    for lam, volume in ((0.3, expected[0]), (lam_map, expected[1])):
        whole = np.zeros_like(volume)

        def put(kind: str, numbers: np.ndarray, planes: np.ndarray, whole: np.ndarray = whole) -> None:
            assert kind == "hybrid"
            np.moveaxis(whole, axis, 0)[numbers] = planes

        session.hybrid(lam, put)
        assert whole == pytest.approx(volume, abs=tolerance)


def test_what_is_kept_is_encoded_once_and_the_rest_on_demand():
    ct, mr = ellipsoids()
    loaded = FakeLoaded()
    reconstructor = Reconstructor(loaded, "cpu", batch=4)
    session = Session(reconstructor, reconstructor.source(ct=ct, mr=mr, plan=PLAN))
    session.encode()
    assert sum(loaded.model.encoded) <= 7
    loaded.model.encoded.clear()
    for lam in (0.0, 0.5, 1.0):
        session.plane(2, lam)
    assert loaded.model.encoded == []
    one = session.latents.nbytes // len(session.latents)

    small = Session(reconstructor, session.source, cap=one)
    small.encode()
    assert len(small.latents) == 2
    assert small.latents.precision == "float16"
    loaded.model.encoded.clear()
    for lam in (0.0, 0.5, 1.0):
        small.plane(5, lam)
    assert loaded.model.encoded == [1]
    assert small.latents.nbytes <= one
    assert 0 not in small.latents


def test_values_too_large_for_half_precision_stay_as_they_are():
    store = LatentStore(cap=100, slices=10)
    latent = torch.tensor([[1e6, 1.0, 2.0], [0.1, 0.2, 0.3]]), torch.ones(2, 1)
    store.put([4, 7], latent)
    assert store.precision == "float16"
    assert torch.equal(store.get(4)[0], latent[0][:1])
    assert torch.allclose(store.get(7)[0], latent[0][1:], atol=1e-4)
    assert store.get(7)[0].dtype == torch.float32
    both = joined([store.get(4), store.get(7)], torch.device("cpu"))
    assert both[0].shape == (2, 3)
    store.clear()
    assert (len(store), store.nbytes, store.get(4)) == (0, 0, None)


def test_impossible_slices_and_lambdas_are_refused():
    ct, mr = ellipsoids()
    reconstructor = tiny()
    session = Session(reconstructor, reconstructor.source(ct=ct, mr=mr, plan=PLAN))
    with pytest.raises(InputError, match="no slice 6"):
        session.plane(6, 0.5)
    with pytest.raises(InputError, match="between 0"):
        session.plane(0, 1.5)
    with pytest.raises(InputError, match="shape"):
        session.plane(0, np.zeros((3, 3), np.float32))
    with pytest.raises(InputError, match="not numbers"):
        session.plane(0, np.full((44, 40), np.nan, np.float32))
    with pytest.raises(InputError, match="lambda must lie"):
        session.hybrid(np.full((6, 44, 40), 2.0, np.float32), lambda *_: None)


def test_encoding_can_be_cancelled_and_a_lack_of_memory_is_told():
    ct, mr = ellipsoids()
    reconstructor = tiny()
    session = Session(reconstructor, reconstructor.source(ct=ct, mr=mr, plan=PLAN))
    asked = iter([False, False, True, True, True])
    with pytest.raises(Cancelled):
        session.encode(Job(cancelled=lambda: next(asked)))

    def no_memory(*_):
        raise torch.cuda.OutOfMemoryError("none left")

    reconstructor.model.encode = no_memory
    with pytest.raises(JobError, match="single slice"):
        session.plane(5, 0.5)
