"""The way to the Triton kernels, as far as it can be seen without a GPU."""

from __future__ import annotations

import warnings
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

import medkernels as mk  # noqa: E402
from medkernels import _backends, _interop  # noqa: E402
from medkernels.attention import _torch  # noqa: E402
from tests.attention import test_frameworks  # noqa: E402
from tests.attention.triton_path import interpreted, triton_for_the_cpu  # noqa: E402

ON_GPU = SimpleNamespace(device=SimpleNamespace(type="cuda"))


def described(name: str) -> Any:
    return getattr(__import__(f"medkernels.attention.{name}", fromlist=["x"]), name.upper())


@pytest.mark.parametrize("name", sorted(test_frameworks.CALLS))
def test_every_op_has_kernels(name: str) -> None:
    kernels = _torch._triton_kernels(described(name), ON_GPU)
    assert kernels.__name__ == f"medkernels.kernels.{name}"
    assert callable(kernels.forward)
    assert callable(kernels.backward)
    assert _torch._triton_kernels(described(name), torch.zeros(1)) is None


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise mk.BackendError(f"{name} on a GPU needs triton")

    monkeypatch.setattr(_backends, "triton_kernels", missing)
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    with pytest.raises(mk.BackendError, match="channel on a GPU needs triton"):
        _torch._triton_kernels(described("channel"), ON_GPU)
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    with pytest.warns(mk.MedkernelsWarning, match="computing on the CPU"):
        assert _torch._triton_kernels(described("channel"), ON_GPU) is None
    with pytest.raises(TypeError, match="on the CPU arrays must be float32 or float64, not float16"):
        _torch._on_host(described("channel"), [torch.zeros(1, 1, 1, 1, dtype=torch.float16)])


@pytest.mark.parametrize("name", sorted(test_frameworks.CALLS))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_on_a_gpu(name: str, dtype: Any) -> None:
    """What shapes and dtypes tell, for tensors that are on a GPU in name only."""
    call = test_frameworks.CALLS[name]
    with FakeTensorMode():
        arrays = [torch.empty(a.shape, dtype=dtype, device="cuda") for a in call.arrays]
        result = call.function(*arrays)
        assert (result.dtype, result.device.type) == (dtype, "cuda")
        outputs = getattr(torch.ops.medkernels, name)(*arrays, *call.options)
        assert outputs[-1].dtype == (dtype if dtype == torch.float64 else torch.float32)
        backward = getattr(torch.ops.medkernels, f"{name}_backward")
        grads = backward(result, *arrays, *outputs, *call.options)
        for grad in grads if call.differentiable > 1 else [grads]:
            assert (grad.dtype, grad.device.type) == (dtype, "cuda")
        whole = [torch.empty(a.shape, dtype=torch.int32, device="cuda") for a in call.arrays]
        with pytest.raises(TypeError, match="must be float16, bfloat16, float32 or float64, not int32"):
            call.function(*whole)


@interpreted
@pytest.mark.parametrize("name", sorted(test_frameworks.CALLS))
def test_under_the_tests_of_the_cpu(name: str) -> None:
    """Operator checks, compilation and vmap, with the Triton kernels in the place of those of the CPU."""
    with triton_for_the_cpu():
        test_frameworks.test_opcheck(name)
        test_frameworks.test_compile_without_graph_break(name)
        test_frameworks.test_vmap(name)


class Cupy(ModuleType):
    """As much of CuPy as the way to the kernels needs; its arrays are NumPy's."""

    asnumpy = staticmethod(np.asarray)
    asarray = staticmethod(np.asarray)
    tanh = staticmethod(np.tanh)
    from_dlpack = staticmethod(np.from_dlpack)


@interpreted
@pytest.mark.parametrize("name", sorted(test_frameworks.CALLS))
def test_cupy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy arrays go through torch and come back; without Triton only if a copy is asked for."""
    call = test_frameworks.CALLS[name]
    arrays = [array.numpy() for array in call.arrays]
    wanted = call.function(*arrays)
    known = _interop.framework_of
    monkeypatch.setitem(__import__("sys").modules, "cupy", Cupy("cupy"))
    monkeypatch.setattr(_interop, "framework_of", lambda a: "cupy" if isinstance(a, np.ndarray) else known(a))
    with triton_for_the_cpu():
        result = call.function(*arrays)
    assert isinstance(result, np.ndarray)
    np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-12)
    if name == "knn_memory":
        gate, local = np.array([0.5, -2.0, 1.0]), np.ones((2, 3, 7, 4))
        share = 1 / (1 + np.exp(-gate))[:, None, None]
        with triton_for_the_cpu():
            mixed = mk.attention.knn_memory(*arrays, k=4, gate=gate, local=local)
        np.testing.assert_allclose(mixed, share * wanted + (1 - share) * local, rtol=1e-12)

    def missing(name: str) -> ModuleType:
        raise mk.BackendError(f"{name} on a GPU needs triton")

    monkeypatch.setattr(_backends, "triton_kernels", missing)
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    with pytest.raises(mk.BackendError, match="on a GPU needs triton"):
        call.function(*arrays)
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    monkeypatch.setattr(_interop, "framework_of", known)  # the copies are arrays of NumPy
    frameworks = iter(["cupy", "numpy"])
    monkeypatch.setattr(_interop, "common_framework", lambda named: next(frameworks))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mk.MedkernelsWarning)  # that it computes on the CPU, once a process
        np.testing.assert_array_equal(call.function(*arrays), wanted)
