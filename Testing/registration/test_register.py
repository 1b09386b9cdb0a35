"""Registration of generated heads with a known misalignment, and of volumes that cannot be registered."""

import time

import numpy as np
import pytest
import SimpleITK as sitk

from MSLFusionLib.benchmarks.registration import run, target_errors
from MSLFusionLib.errors import Cancelled, InputError, JobError
from MSLFusionLib.phantom import generate_head
from MSLFusionLib.progress import Job
from MSLFusionLib.registration import register
from MSLFusionLib.registration.optimise import Outcome
from MSLFusionLib.registration.register import check_improved


@pytest.fixture(scope="module")
def head():
    return generate_head(
        3, (64, 76, 44), (3.0, 3.0, 4.0), misalign_mm=15, misalign_deg=10, moving_size=(70, 80, 56),
        moving_spacing=(3.2, 3.2, 3.2),
    )  # fmt: skip


@pytest.fixture(scope="module")
def watched(head):
    """A registration by the default settings with everything it reported: the reports and the CPU times of each
    question whether to stop."""
    reports, asked = [], []
    job = Job(report=reports.append, cancelled=lambda: asked.append(time.process_time()) is not None)
    return register(head.ct, head.moving, job=job), reports, asked


def shifted(image, offset):
    moved = sitk.Image(image)
    moved.SetOrigin([a + b for a, b in zip(image.GetOrigin(), offset, strict=True)])
    return moved


def test_a_known_misalignment_is_found(head, watched):
    found = watched[0]
    assert target_errors(head, found.transform).mean() < 0.5
    assert found.warnings == ()
    assert found.overlap > 0.8
    assert found.metric >= found.start_metric
    assert (found.preset, found.method, found.start) == ("msl", "rigid", "search")


def test_two_mrs_are_registered_and_named(head):
    """Neither has a body in HU; T1 and T2 of one head differ most where a CT would be of no help."""
    found = register(head.t2, head.moving, modalities=("T2", "T1"))
    assert target_errors(head, found.transform).mean() < 1.0
    with pytest.raises(InputError, match="The T2 and the PET do not overlap"):
        register(head.t2, shifted(head.pet, (900, 0, 0)), initial="header", modalities=("T2", "PET"))


def test_the_benchmark_measures_it():
    result = run(seeds=[3], coarser=3.5)
    assert (result["passed"], result["of"]) == (1, 1), result
    assert result["limit_mm"] == 1.0
    assert 0 < result["mean_mm"] < result["runs"][0]["largest_mm"] < 2.0


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_thread_count_alone(head):
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    first, second = (register(head.ct, head.moving, seed=4, initial="header").to_dict() for _ in range(2))
    assert first == second
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == threads


def test_affine_corrects_what_rigid_cannot(head):
    stretched = sitk.Image(head.moving)
    stretched.SetSpacing([s * f for s, f in zip(head.moving.GetSpacing(), (1.04, 0.97, 1.05), strict=True)])
    stretched.SetOrigin([o * f for o, f in zip(head.moving.GetOrigin(), (1.04, 0.97, 1.05), strict=True)])
    found = register(head.ct, stretched, method="affine", initial="header")
    scale = sitk.AffineTransform(3)
    scale.SetMatrix(np.diag((1 / 1.04, 1 / 0.97, 1 / 1.05)).ravel().tolist())
    both = sitk.CompositeTransform([scale, found.transform])
    assert target_errors(head, both).mean() < 0.7


def test_frames_far_apart_are_brought_together_with_a_warning(head):
    warnings = []
    found = register(head.ct, shifted(head.moving, (300, -200, 500)), job=Job(warn=warnings.append))
    back = sitk.CompositeTransform([sitk.TranslationTransform(3, (-300, 200, -500)), found.transform])
    assert target_errors(head, back).mean() < 0.5
    assert "mm apart" in warnings[0]
    assert found.warnings == tuple(warnings)


def test_a_patient_scanned_the_other_way_round_is_turned_with_a_warning(head):
    """A specimen may lie in the second scanner as its header does not say: half a turn about the long axis."""
    turned = sitk.Flip(sitk.Flip(head.moving, (True, False, False)), (False, True, False))
    turned.SetDirection(head.moving.GetDirection())
    turned.SetOrigin(head.moving.GetOrigin())
    found = register(head.ct, turned)
    assert found.start == "turn"
    half_turn = sitk.Euler3DTransform()
    half_turn.SetRotation(0, 0, np.pi)
    assert target_errors(head, sitk.CompositeTransform([half_turn, found.transform])).mean() < 0.7
    assert "turned" in found.warnings[0]


def test_the_headers_start_refuses_what_does_not_overlap(head):
    with pytest.raises(InputError, match="do not overlap"):
        register(head.ct, shifted(head.moving, (0, 0, 900)), initial="header")
    found = register(head.ct, head.moving, initial="header")
    assert (found.start, found.warnings) == ("header", ())
    assert target_errors(head, found.transform).mean() < 0.5


@pytest.mark.parametrize(("preset", "kind"), [("paper", sitk.AffineTransform), ("official", sitk.Euler3DTransform)])
def test_published_presets_improve_the_match(head, preset, kind):
    """On a grid as fine as a scanner's: of a small one the published share of 1 % is too few samples."""
    fixed, moving = (sitk.Expand(image, (2, 2, 1)) for image in (head.ct, head.moving))
    found = register(fixed, moving, preset=preset)
    assert isinstance(found.transform, kind)
    assert found.metric > found.start_metric
    assert found.start == "grid centres"
    unmoved = target_errors(head, sitk.TranslationTransform(3)).mean()
    assert target_errors(head, found.transform).mean() < unmoved / 2


def test_cancelling_stops_at_the_next_step(head):
    reports = []
    job = Job(report=reports.append, cancelled=lambda: any(r.stage == "register 1/2" and r.done > 2 for r in reports))
    with pytest.raises(Cancelled):
        register(head.ct, head.moving, initial="header", job=job)
    assert (reports[-1].stage, reports[-1].done) == ("register 1/2", 3)


def test_a_request_to_cancel_is_heard_all_along(watched):
    """Between two questions whether to stop there is never more than a small share of the whole work."""
    asked = watched[2]
    assert np.diff(asked).max() < 0.2 * (asked[-1] - asked[0])


def test_progress_counts_up_in_every_stage(watched):
    reports = watched[1]
    stages = list(dict.fromkeys(report.stage for report in reports))
    assert stages == ["prepare", "find start", "register 1/2", "register 2/2"]
    for stage in stages:
        done = [report.done for report in reports if report.stage == stage]
        assert done == sorted(done)
        assert all(report.done <= report.total for report in reports)


def test_unknown_words_and_constant_volumes_are_refused(head):
    for words in ({"preset": "best"}, {"method": "elastic"}, {"initial": "centre"}):
        with pytest.raises(InputError, match="choose one of"):
            register(head.ct, head.moving, **words)
    with pytest.raises(InputError, match="constant"):
        register(head.ct, head.moving * 0)


def test_a_match_that_got_worse_is_a_failed_job():
    check_improved(Outcome(sitk.Transform(), 0.5, 0.6, 10))
    for after in (0.4, float("nan")):
        with pytest.raises(JobError, match="worse match"):
            check_improved(Outcome(sitk.Transform(), 0.5, after, 10))


def test_a_volume_of_noise_is_doubted(head):
    noise = sitk.GetImageFromArray(np.random.default_rng(0).random((44, 76, 64)).astype(np.float32))
    noise.CopyInformation(head.ct)
    try:
        found = register(head.ct, noise)
    except (InputError, JobError):
        return
    assert found.warnings
