"""Trust maps of whole volumes: where they lie, what they are made of, that they come out the same again."""

import itertools
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fake_model import BlendNet, FakeLoaded, ellipsoids

from MSLFusionLib.errors import Cancelled, InputError
from MSLFusionLib.nets.presets import preset_config
from MSLFusionLib.nets.registry import build
from MSLFusionLib.progress import Job
from MSLFusionLib.recon.error_model import WEIGHTS, blurred
from MSLFusionLib.recon.geometry import VolumeGeometry
from MSLFusionLib.recon.reconstructor import Reconstructor
from MSLFusionLib.recon.session import Session
from MSLFusionLib.recon.simulate import SamplingPlan
from MSLFusionLib.recon.trust import KINDS, Measured, TrustPlan, evidence_of

PLAN = SamplingPlan(views=32, acceleration=4, seed=9)
TWICE = TrustPlan(2)
OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def tiny(batch: int | None = None, dropout: float = 0.0, **card) -> Reconstructor:
    torch.manual_seed(0)
    sizes = {"width": 4, "token_dim": 32, "heads": 2, "head_dim": 8, "mlp_dim": 32, "token_grid": (3, 3)}
    config = preset_config("msl-lite", dropout=dropout, **sizes)
    model = build("msl", config.to_dict())
    torch.nn.init.normal_(model.decoder.head[0].weight, std=0.05)  # else all it gives is the sensor images
    loaded = FakeLoaded(model, "tiny")
    loaded.card |= card
    return Reconstructor(loaded, "cpu", batch)


def maps_of(reconstructor: Reconstructor, trust: TrustPlan = TWICE, **arguments):
    """The result, and its maps as arrays by kind."""
    if "ct" not in arguments and "mr" not in arguments:
        arguments["ct"], arguments["mr"] = ellipsoids()
    result = reconstructor.reconstruct([0, 1], plan=arguments.pop("plan", PLAN), trust=trust, **arguments)
    return result, {kind: sitk.GetArrayFromImage(result.others[kind]) for kind in KINDS if kind in result.others}


@pytest.mark.parametrize(
    ("size", "spacing", "direction"),
    [((40, 44, 4), (4.0, 4.0, 5.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), ((80, 45, 3), (2.0, 4.1, 5.0), OBLIQUE)],
)
def test_maps_lie_on_the_ct_grid_where_the_errors_are(size, spacing, direction):
    spot = (..., slice(12, 20), slice(26, 32))

    class Wrong(BlendNet):
        def decode(self, latent, lam):
            image = super().decode(latent, lam).clone()
            image[spot] += 0.4
            return image

    ct, mr = ellipsoids(size, spacing, direction)
    reconstructor = Reconstructor(FakeLoaded(Wrong()), "cpu")
    result, maps = maps_of(reconstructor, ct=ct, mr=mr, plan=SamplingPlan(views=96, acceleration=1.5))
    assert set(maps) == set(KINDS)
    source = reconstructor.source(ct=ct, mr=mr, plan=PLAN)
    shown = np.zeros((1, *source.grid.size), np.float32)
    shown[spot] = 1.0
    for kind in KINDS:
        assert VolumeGeometry.of(result.others[kind]) == VolumeGeometry.of(ct)
        assert 0.0 <= maps[kind].min() <= maps[kind].max() <= 1.0
        if kind.startswith("residual"):
            there = source.grid.from_network(shown)[0] > 0.9
            plane = source.grid.turned(maps[kind])[1]
            assert plane[there].mean() > 3 * plane[~there].mean()
    json.dumps(result.report())


def test_the_body_beyond_the_field_of_view_is_uncertain():
    ct, mr = ellipsoids()
    result, maps = maps_of(Reconstructor(FakeLoaded(), "cpu"), ct=ct, mr=mr, pixel_mm=2.0)
    assert result.source["grid"]["body_fraction_outside"] > 0.1
    hybrid = sitk.GetArrayFromImage(result.hybrids[0][1])
    head = sitk.GetArrayFromImage(ct) > -500
    outside = head & (maps["uncertainty-ct"] == 1.0)
    assert outside.sum() > 0.1 * head.sum()
    assert not hybrid[outside].any()
    assert not maps["residual-ct"][outside].any()
    assert maps["uncertainty-ct"][~head].max() < 1.0


def test_uncertainty_is_what_leaving_data_out_changes():
    reconstructor = tiny()
    ct, mr = ellipsoids()
    source = reconstructor.source(ct=ct, mr=mr, plan=PLAN)
    part = source.occupied[:2]
    data, images = reconstructor.sensor_data(source, part)
    encoded = reconstructor.encoded_from(source.scanners, data, source.noise, images)
    measured = Measured(source.scanners, data, source.noise, images, encoded)
    found = evidence_of(reconstructor, measured, TWICE).variance
    one = evidence_of(reconstructor, measured, TrustPlan(3)).variance
    assert float(found["ct"].max()) > 0
    assert not torch.equal(found["ct"], one["ct"])
    _, maps = maps_of(reconstructor, ct=ct, mr=mr)
    expected = source.grid.from_network(blurred(found["mr"], 1.0).sqrt()[:, 0].numpy())
    np.testing.assert_allclose(maps["uncertainty-mr"][part], expected, atol=1e-5)


def test_the_same_seed_gives_the_same_maps_in_any_batch():
    _, first = maps_of(tiny(1))
    _, again = maps_of(tiny(4))
    _, other = maps_of(tiny(4), TrustPlan(2, seed=1))
    for kind in KINDS:
        np.testing.assert_allclose(first[kind], again[kind], atol=2e-5)
    assert np.abs(other["uncertainty-ct"] - again["uncertainty-ct"]).max() > 1e-3
    np.testing.assert_allclose(other["residual-ct"], again["residual-ct"], atol=2e-5)


@pytest.mark.parametrize(("given", "absent"), [("ct", "mr"), ("mr", "ct")])
def test_what_was_not_measured_has_no_residual_but_an_uncertainty(given, absent):
    volumes = dict(zip(("ct", "mr"), ellipsoids(), strict=True))
    result, maps = maps_of(tiny(), modalities=(given,), **{given: volumes[given]})
    assert set(maps) == {f"residual-{given}", "uncertainty-ct", "uncertainty-mr"}
    assert result.synthesised == (absent,)
    assert result.report()["synthesised"] == [absent]
    assert set(result.trust["residual"]) == {given}
    assert maps[f"uncertainty-{absent}"].max() > 0
    assert any(f"The {absent.upper()} is synthesised" in sentence for sentence in result.warnings)


def test_consistency_removes_most_of_the_residual_that_the_map_shows():
    result, maps = maps_of(tiny())
    for name in ("ct", "mr"):
        figures = result.trust["residual"][name]
        assert figures["network"] > 0
        assert figures["delivered"] < 0.5 * figures["network"]
        assert figures["noise"] is None
    plain, same = maps_of(tiny(), consistency=False)
    for name in ("ct", "mr"):
        figures = plain.trust["residual"][name]
        assert figures["delivered"] == pytest.approx(figures["network"], rel=1e-4)
        np.testing.assert_allclose(same[f"residual-{name}"], maps[f"residual-{name}"], atol=2e-5)
    noisy = tiny().reconstruct(
        [0], **dict(zip(("ct", "mr"), ellipsoids(), strict=True)), plan=SamplingPlan(photons=1e5), trust=TWICE
    )
    assert noisy.trust["residual"]["ct"]["noise"] > 0


def test_dropout_takes_part_where_the_network_has_it():
    # Too few views, and all of k-space: nothing is left out.
    plan = SamplingPlan(views=3, acceleration=1)
    still, _ = maps_of(tiny(), plan=plan, consistency=False)
    reconstructor = tiny(dropout=0.5)
    moved, first = maps_of(reconstructor, plan=plan, consistency=False)
    assert still.trust["uncertainty"]["mr"]["p95"] <= 0.001
    assert moved.trust["uncertainty"]["mr"]["mean"] > 10 * still.trust["uncertainty"]["mr"]["mean"]
    assert not any(part.training for part in reconstructor.model.modules())
    _, again = maps_of(reconstructor, plan=plan, consistency=False)
    np.testing.assert_array_equal(first["uncertainty-mr"], again["uncertainty-mr"])


def test_error_statistics_of_the_model_set_the_scale():
    weights = [-3.0, 0.0, 0.0] + [0.0] * (WEIGHTS - 3)
    errors = {"ct+mr": {"ct": weights, "mr": weights}}
    result, maps = maps_of(tiny(statistics={"errors": errors}))
    assert maps["uncertainty-mr"][0, 20, 20] == pytest.approx(np.exp(-3), rel=1e-3)
    assert result.trust["uncertainty"]["ct"]["calibrated"]
    assert not maps_of(tiny())[0].trust["uncertainty"]["ct"]["calibrated"]
    with pytest.raises(InputError, match="error statistics are damaged"):
        tiny(statistics={"errors": {"ct": {"ct": [1.0]}}})


def test_a_session_gives_the_same_maps():
    ct, mr = ellipsoids()
    result, maps = maps_of(tiny(), ct=ct, mr=mr)
    reconstructor = tiny()
    session = Session(reconstructor, reconstructor.source(ct=ct, mr=mr, plan=PLAN))
    session.encode()
    found = {kind: np.zeros_like(maps[kind]) for kind in KINDS}

    def put(kind: str, numbers: np.ndarray, planes: np.ndarray) -> None:
        np.moveaxis(found[kind], session.grid.slice_axis, 0)[numbers] = planes

    figures = session.trust(put, TWICE)
    for kind in KINDS:
        np.testing.assert_allclose(found[kind], maps[kind], atol=2e-5)
    assert figures["uncertainty"]["ct"]["mean"] == pytest.approx(result.trust["uncertainty"]["ct"]["mean"], abs=1e-5)
    assert session.synthesised == ()
    assert session.verdict().score is None


def test_cancelling_stops_between_the_passes():
    stages = []

    def report(progress) -> None:
        stages.append(progress.stage)

    job = Job(report=report, cancelled=lambda: "reconstruct 3 times" in stages)
    with pytest.raises(Cancelled):
        maps_of(tiny(), job=job)


@pytest.mark.parametrize("wrong", [{"passes": 1}, {"passes": 101}, {"passes": True}, {"seed": -1}])
def test_impossible_plans_are_refused(wrong):
    with pytest.raises(InputError):
        TrustPlan(**wrong)


@pytest.mark.parametrize("given", ["ct", "mr"])
def test_one_modality_is_masked_over_all_of_lambda_and_never_taken_for_zeros(given):
    reconstructor = tiny()
    volumes = dict(zip(("ct", "mr"), ellipsoids(), strict=True))
    lambdas = [0.0, 0.25, 0.5, 0.75, 1.0]
    alone = reconstructor.reconstruct(lambdas, plan=PLAN, modalities=(given,), **{given: volumes[given]})
    masked = reconstructor.reconstruct(lambdas, plan=PLAN, modalities=(given,), **volumes)
    found = [sitk.GetArrayFromImage(image) for _, image in alone.hybrids]
    if given == "ct":  # else the MR's own body says where the slices lie
        for one, (_, other) in zip(found, masked.hybrids, strict=True):
            np.testing.assert_array_equal(one, sitk.GetArrayFromImage(other))
    assert all(np.abs(a - b).max() > 1e-3 for a, b in itertools.pairwise(found))
    assert alone.synthesised == masked.synthesised == ("mr" if given == "ct" else "ct",)
    source = reconstructor.source(plan=PLAN, **volumes)
    images = list(reconstructor.measure(source, source.occupied[2:3]))
    seen = reconstructor.encode(tuple(images), (given,))
    images[0 if given == "mr" else 1] = torch.zeros_like(images[0])
    zeros = reconstructor.encode(tuple(images))
    assert float((reconstructor.decode(seen, 0.5) - reconstructor.decode(zeros, 0.5)).abs().max()) > 1e-3
