"""The choice of a CT operator, its cache, and the adapters of other packages, against stand-ins with their API."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from ct_standins import Fault, astra, torch_radon_v1, torch_radon_v2
from torch import Tensor

from MSLFusionLib.errors import InputError
from MSLFusionLib.physics import backends, ct
from MSLFusionLib.physics.builtin import BuiltinOperator
from MSLFusionLib.physics.ct import CTOperator, ct_operator
from MSLFusionLib.physics.geometry import FanBeamGeometry
from MSLFusionLib.progress import Job

GEOMETRY = FanBeamGeometry.covering((32, 32), 1.7, 10)


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ct, "_cache", type(ct._cache)())
    # The stand-ins of torch-radon run on the processor.
    monkeypatch.setitem(backends._DEVICES, "torch-radon", ("cpu", "cuda"))


def ask(backend: str, geometry: FanBeamGeometry = GEOMETRY) -> tuple[CTOperator, list[str]]:
    warnings: list[str] = []
    return ct_operator(geometry, backend, job=Job(warn=warnings.append)), warnings


def assert_same_operator(operator: CTOperator) -> None:
    geometry = operator.geometry
    builtin = BuiltinOperator(geometry)
    generator = torch.Generator().manual_seed(2)
    image = torch.rand((3, 1, *geometry.image_shape), generator=generator)
    torch.testing.assert_close(operator.forward(image), builtin.forward(image), rtol=1e-3, atol=1e-3)
    sinogram = builtin.forward(image)
    torch.testing.assert_close(operator.adjoint(sinogram), builtin.adjoint(sinogram), rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(operator.fbp(sinogram), builtin.fbp(sinogram))


def assert_gradients(operator: CTOperator) -> None:
    image = torch.ones((1, 1, *operator.geometry.image_shape), requires_grad=True)
    sinogram = operator.forward(image)
    sinogram.backward(torch.ones_like(sinogram))
    ones = torch.ones_like(sinogram).requires_grad_()
    torch.testing.assert_close(image.grad, operator.adjoint(ones).detach())
    operator.adjoint(ones).sum().backward()
    torch.testing.assert_close(ones.grad, sinogram.detach())


@pytest.mark.parametrize("module", [torch_radon_v1(), torch_radon_v2()], ids=["v1", "v2"])
def test_torch_radon_is_used_in_its_own_units(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    monkeypatch.setitem(sys.modules, "torch_radon", module)
    operator, warnings = ask("torch-radon")
    assert operator.name == "torch-radon"
    assert warnings == []
    assert_same_operator(operator)
    assert_gradients(operator)


def test_torch_radon_v2_takes_a_rectangle_and_three_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_radon", torch_radon_v2())
    operator, _ = ask("torch-radon", FanBeamGeometry.covering((20, 30), 1.3, 3))
    assert operator.name == "torch-radon"
    assert_same_operator(operator)


def test_astra_is_used_and_its_memory_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    deleted: list[int] = []
    monkeypatch.setitem(sys.modules, "astra", astra(deleted))
    operator, warnings = ask("astra", FanBeamGeometry.covering((20, 30), 1.3, 9))
    assert operator.name == "astra"
    assert warnings == []
    assert_same_operator(operator)
    assert_gradients(operator)
    del operator
    ct._cache.clear()
    assert set(deleted) == {7, 11, 12}


@pytest.mark.parametrize(
    ("project_fault", "back_fault"),
    [
        (lambda y: y.flip(1), lambda x: x),
        (lambda y: y.flip(2), lambda x: x),
        (lambda y: 1.02 * y, lambda x: x),
        (lambda y: y * torch.nan, lambda x: x),
        (lambda y: y, lambda x: 2 * x),
        (lambda y: y, lambda x: x + 0.5 * x.mean()),
        (lambda y: y, lambda x: x.transpose(1, 2)),
        (lambda y: y, lambda x: x * torch.nan),
    ],
)
def test_a_backend_that_differs_is_refused(
    monkeypatch: pytest.MonkeyPatch, project_fault: Fault, back_fault: Fault
) -> None:
    monkeypatch.setitem(sys.modules, "torch_radon", torch_radon_v1(project_fault, back_fault))
    operator, warnings = ask("torch-radon")
    assert operator.name == "sparse"
    assert len(warnings) == 1
    assert "torch-radon" in warnings[0]
    assert "self-check" in warnings[0]


def test_a_backend_within_the_tolerance_is_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    module = torch_radon_v1(back_fault=lambda x: 1.006 * x)
    monkeypatch.setitem(sys.modules, "torch_radon", module)
    assert ask("torch-radon")[0].name == "torch-radon"


def test_a_backend_that_raises_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Tensor) -> Tensor:
        raise NameError("name 'RaysCfg' is not defined")

    monkeypatch.setitem(sys.modules, "torch_radon", torch_radon_v1(project_fault=fail))
    operator, warnings = ask("torch-radon")
    assert operator.name == "sparse"
    assert "RaysCfg" in warnings[0]


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        (FanBeamGeometry.covering((32, 48), 1.0, 4), "square"),
        (FanBeamGeometry.covering((24, 24), 1.0, 4), "multiple of 16"),
        (replace(GEOMETRY, offset_mm=1.0), "offset"),
        (FanBeamGeometry.covering((16, 16), 1.0, 4097), "4096"),
    ],
)
def test_scans_that_torch_radon_cannot_do(
    monkeypatch: pytest.MonkeyPatch, geometry: FanBeamGeometry, reason: str
) -> None:
    monkeypatch.setitem(sys.modules, "torch_radon", torch_radon_v1())
    operator, warnings = ask("torch-radon", geometry)
    assert operator.name == "sparse"
    assert reason in warnings[0]


def test_torch_radon_needs_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends._DEVICES, "torch-radon", ("cuda",))
    monkeypatch.setitem(sys.modules, "torch_radon", torch_radon_v1())
    operator, warnings = ask("torch-radon")
    assert operator.name == "sparse"
    assert "cpu" in warnings[0]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import turtle_that_is_not_there", "turtle_that_is_not_there"),
        ("raise OSError('libcudart.so.11.0: cannot open')", "libcudart"),
        ("", "version"),
    ],
)
def test_a_broken_installation_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path, source: str, reason: str) -> None:
    (tmp_path / "torch_radon.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch_radon", raising=False)
    operator, warnings = ask("torch-radon")
    sys.modules.pop("torch_radon", None)
    assert operator.name == "sparse"
    assert reason in warnings[0]


@pytest.mark.parametrize("backend", ["torch-radon", "astra"])
def test_a_missing_package_falls_back_with_a_message(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setitem(sys.modules, "torch_radon", None)
    monkeypatch.setitem(sys.modules, "astra", None)
    operator, warnings = ask(backend)
    assert operator.name == "sparse"
    assert warnings == [f"{backend} is not used: it is not installed. The built-in projector takes its place."]


def test_auto_is_the_built_in_projector_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_radon", torch_radon_v1())
    operator, warnings = ask("auto")
    assert operator.name == "sparse"
    assert warnings == []


def test_above_the_memory_cap_the_matrices_are_made_on_the_fly() -> None:
    large = FanBeamGeometry.covering((256, 256), 1.0, 200)
    assert ct_operator(large, memory_cap_mb=100).name == "onthefly"
    assert ct_operator(large, memory_cap_mb=4000).name == "sparse"
    assert ct_operator(large, "sparse", memory_cap_mb=100).name == "sparse"
    assert ct_operator(GEOMETRY, "onthefly").name == "onthefly"


def test_the_estimated_memory_is_close_to_the_real_one() -> None:
    geometry = FanBeamGeometry.paper(8)
    operator = BuiltinOperator(geometry)
    operator.adjoint(operator.forward(torch.ones(1, 1, 384, 384)))
    operator.fbp(torch.ones(1, 1, 8, 640))
    assert 0.7 < operator.stored_bytes / ct._needed(geometry) < 1.05


def test_an_operator_is_remembered_until_the_cap() -> None:
    first = ct_operator(GEOMETRY)
    assert ct_operator(replace(GEOMETRY)) is first
    others = [FanBeamGeometry.covering((64, 64), 1.0, views) for views in (150, 151, 152)]
    cap = ct._needed(others[2]) * 2 // 10**6 + 1
    for other in others:
        ct_operator(other, memory_cap_mb=cap)
    assert ct_operator(others[2], memory_cap_mb=cap) is not None
    assert [key[0].views for key in ct._cache] == [151, 152]


def test_unknown_backends_and_devices_are_refused() -> None:
    with pytest.raises(InputError, match="fastest"):
        ct_operator(GEOMETRY, "fastest")
    with pytest.raises(InputError, match="meta"):
        ct_operator(GEOMETRY, device="meta")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_absent_is_refused() -> None:
    with pytest.raises(InputError, match="CUDA"):
        ct_operator(GEOMETRY, device="cuda")


def test_the_real_astra_agrees() -> None:
    pytest.importorskip("astra")
    operator, warnings = ask("astra", FanBeamGeometry.paper(16, 96, 1.5))
    assert operator.name == "astra", warnings
    assert backends.self_check(operator) < backends.LARGEST_ERROR
