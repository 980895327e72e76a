"""`channel` on GPUs: its kernels in the interpreter without one; on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from medkernels.kernels import channel as kernels  # noqa: E402

import medkernels as mk  # noqa: E402
from tests.attention.triton_path import (  # noqa: E402
    compare,
    heads_inside,
    interpreted,
    needs_gpu,
    triton_for_the_cpu,
    with_gradients,
)
from tests.reference import channel as reference  # noqa: E402


def draw_arrays(seed: int, length: int, dims: int, spread: float = 1.0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [spread * torch.randn(2, 2, length, dims, generator=random, dtype=torch.float64) for _ in range(3)]


def check(arrays: list[torch.Tensor], tolerance: float, scale: float | None = None) -> None:
    wanted = with_gradients(lambda *a: reference.channel(*a, scale=scale), arrays, 3)
    with triton_for_the_cpu():
        found = with_gradients(lambda *a: mk.attention.channel(*a, scale=scale), arrays, 3)
    compare(found, wanted, tolerance)


@interpreted
@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**6),
    length=st.integers(1, 70),
    dims=st.integers(1, 20),
    spread=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_interpreted(seed: int, length: int, dims: int, spread: float) -> None:
    check(draw_arrays(seed, length, dims, spread), 1e-10)


@interpreted
def test_interpreted_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of the sequence are added up, also where there are programs enough without them."""
    monkeypatch.setattr(kernels, "LEAST_RUN", 32)
    check(draw_arrays(0, 100, 5), 1e-12)
    check([array.float() for array in draw_arrays(1, 100, 5)], 1e-5)
    monkeypatch.setattr(kernels, "LEAST_RUN", 1000)
    monkeypatch.setattr(kernels, "MOST_RUN", 64)
    check(draw_arrays(2, 100, 5), 1e-12)


@interpreted
def test_interpreted_many_channels() -> None:
    """More than a tile holds, and more than there are rows."""
    check(draw_arrays(3, 20, 70), 1e-11, scale=0.3)


@interpreted
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_interpreted_half(name: str) -> None:
    """Close to what the definition gives for the rounded arrays; sums may be larger than float16 holds."""
    dtype = getattr(torch, name)
    arrays = [array.to(dtype) for array in draw_arrays(4, 60, 9)]
    exact = [array.double() for array in arrays]
    grad = torch.randn(2, 2, 60, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    large = 8000 * grad.to(dtype)
    outputs = kernels.forward(arrays, (1e-4,))
    assert outputs[1].dtype == torch.float32
    found = [outputs[0], *kernels.backward(large, arrays, outputs, (1e-4,))]
    assert all(array.dtype == dtype for array in found)
    leaves = [array.requires_grad_() for array in exact]
    result = reference.channel(*leaves, scale=1e-4)
    assert (large.double().mT @ exact[2]).abs().max() > torch.finfo(torch.float16).max
    compare(
        found,
        [result.detach(), *torch.autograd.grad(result, leaves, large.double())],
        2 * torch.finfo(dtype).eps,
    )


@interpreted
def test_interpreted_long_sequence_stays_exact() -> None:
    """What tells two channels apart is small beside what thousands of products add up to, in float32."""
    length = 20_000
    q = torch.full((1, 1, length, 2), 0.1)
    k, v = q.clone(), torch.arange(2, dtype=torch.float32).expand(1, 1, length, 2)
    k[..., 1] = 0.1 + 1e-4
    scores = q[0, 0].double().T @ k[0, 0].double()
    with triton_for_the_cpu():
        result = mk.attention.channel(q, k, v, scale=1.0)
    wanted = torch.softmax(scores, dim=1)[:, 1]
    torch.testing.assert_close(result[0, 0, 0].double(), wanted, rtol=2e-4, atol=0)


@interpreted
def test_interpreted_layouts() -> None:
    arrays = draw_arrays(5, 20, 4)
    plain = with_gradients(reference.channel, arrays, 3)
    inside = [heads_inside(array) for array in arrays]
    turned = [array.transpose(2, 3).contiguous().transpose(2, 3) for array in arrays]
    with triton_for_the_cpu():
        for variant in (inside, turned):
            compare(with_gradients(mk.attention.channel, variant, 3), plain, 1e-12)
        found = with_gradients(mk.attention.channel, inside, 3)
        inputs = [array.requires_grad_() for array in inside]
        torch.library.opcheck(torch.ops.medkernels.channel.default, (*inputs, 0.4))
    assert all(array.transpose(1, 2).is_contiguous() for array in found)


@interpreted
def test_interpreted_empty_and_refused() -> None:
    q, k, v = draw_arrays(6, 5, 4)
    with triton_for_the_cpu():
        for part in ((slice(0, 0),), (slice(None), slice(None), slice(0, 0))):
            nothing = with_gradients(mk.attention.channel, [q[part], k[part], v[part]], 3)
            assert all(array.shape == q[part].shape for array in nothing)
    for place, value in ((0, np.nan), (1, np.inf), (2, -np.inf), (0, 1e300), (2, 1e300)):
        arrays = [array.clone() for array in (q, 1e5 * k, v)]
        arrays[place][1, 0, 3, 2] = value
        with pytest.raises(ValueError) as expected:  # noqa: PT011  (compared below)
            mk.attention.channel(*arrays)
        with triton_for_the_cpu(), pytest.raises(ValueError) as found:  # noqa: PT011
            mk.attention.channel(*arrays)
        assert str(found.value) == str(expected.value)


TOLERANCES: dict[Any, float] = {
    torch.float64: 1e-10,
    torch.float32: 2e-5,
    torch.float16: 4e-3,
    torch.bfloat16: 3e-2,
}


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sizes", [(20000, 32), (700, 100), (1, 1)])
def test_device(sizes: tuple[int, int], dtype: Any) -> None:
    """Against the CPU in float64."""
    arrays = [array.to(dtype) for array in draw_arrays(7, *sizes)]

    def attend(*inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = mk.attention.channel(*inputs, scale=1 / sizes[0])
        return result

    wanted = with_gradients(attend, [array.double() for array in arrays], 3)
    for variant in (arrays, [heads_inside(array) for array in arrays]):
        found = with_gradients(attend, [array.cuda() for array in variant], 3)
        assert all(array.is_cuda and array.dtype == dtype for array in found)
        compare(found, wanted, TOLERANCES[dtype])


@pytest.mark.gpu
@needs_gpu
def test_device_reruns_are_bitwise_equal() -> None:
    arrays = [array.float().cuda() for array in draw_arrays(8, 30_000, 24)]
    one, two = (with_gradients(mk.attention.channel, arrays, 3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.gpu
@needs_gpu
def test_device_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    arrays = [array.float() for array in draw_arrays(9, 50, 8)]
    result = mk.attention.channel(*(cupy.asarray(array.numpy()) for array in arrays))
    assert isinstance(result, cupy.ndarray)
    compare([torch.from_numpy(cupy.asnumpy(result))], [mk.attention.channel(*arrays)], 1e-5)
