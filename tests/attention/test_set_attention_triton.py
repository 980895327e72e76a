"""`set_attention` on GPUs: in the interpreter without one, on the device; kernels of all ops are compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from medkernels.kernels import set_attention as kernels  # noqa: E402

import medkernels as mk  # noqa: E402
from tests.attention.triton_path import (  # noqa: E402
    compare,
    heads_inside,
    interpreted,
    needs_gpu,
    triton_for_the_cpu,
    with_gradients,
)
from tests.reference import set_attention as reference  # noqa: E402

SHARED_MEMORY = 99 * 1024  # that a block can have on every GPU of compute capability 8.0 or newer
FEW_BYTES = 16  # of the stack: a pair of registers set aside so that more warps fit, which is no spill


def draw_arrays(
    seed: int, count: int, keys: int, dims: int, value_dims: int, spread: float = 1.0
) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = [(count, dims, spread), (keys, dims, spread), (keys, value_dims, 1.0)]
    return [scale * torch.randn(2, 2, n, d, generator=random, dtype=torch.float64) for n, d, scale in shapes]


def check(arrays: list[torch.Tensor], tolerance: float, scale: float | None = None) -> None:
    wanted = with_gradients(lambda *a: reference.set_attention(*a, scale=scale), arrays, 3)
    with triton_for_the_cpu():
        found = with_gradients(lambda *a: mk.attention.set_attention(*a, scale=scale), arrays, 3)
    compare(found, wanted, tolerance)


@interpreted
@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 40),
    keys=st.integers(1, 70),
    dims=st.integers(1, 20),
    value_dims=st.integers(1, 20),
    spread=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_interpreted(seed: int, count: int, keys: int, dims: int, value_dims: int, spread: float) -> None:
    check(draw_arrays(seed, count, keys, dims, value_dims, spread), 1e-10)


@interpreted
@pytest.mark.parametrize(("count", "keys"), [(3, 100), (100, 3), (40, 70)])
def test_interpreted_shares(count: int, keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long loops are shared out, and what the shares give is joined."""
    monkeypatch.setattr(kernels, "LEAST_RUN", 32)
    check(draw_arrays(0, count, keys, 5, 4, 3.0), 1e-12)
    check([array.float() for array in draw_arrays(1, count, keys, 5, 4)], 1e-5)


@interpreted
def test_interpreted_long_rows() -> None:
    """Rows that are taken in pieces, the last of which is not full."""
    check(draw_arrays(2, 17, 20, 34, 50), 1e-12, scale=0.3)
    check(draw_arrays(3, 17, 20, 50, 7), 1e-12)


@interpreted
def test_interpreted_half() -> None:
    """Close to what the definition gives for the rounded arrays. The interpreter has no bfloat16."""
    arrays = [array.half() for array in draw_arrays(4, 30, 50, 12, 9)]
    wanted = with_gradients(
        lambda *a: reference.set_attention(*a, scale=0.3), [a.double() for a in arrays], 3
    )
    outputs = kernels.forward(arrays, (0.3,))
    grad = torch.randn(2, 2, 30, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64).half()
    found = [outputs[0], *kernels.backward(grad, arrays, outputs, (0.3,))]
    assert outputs[1].dtype == torch.float32
    assert all(array.dtype == torch.float16 for array in found)
    compare(found, wanted, 3e-3)


@interpreted
def test_interpreted_layouts() -> None:
    """Heads inside are read and written as they are; so are rows with gaps between them."""
    arrays = draw_arrays(5, 20, 30, 4, 3)
    plain = with_gradients(lambda *a: reference.set_attention(*a), arrays, 3)
    inside = [heads_inside(array) for array in arrays]
    wide = [torch.nn.functional.pad(array, (0, 2))[..., :-2] for array in arrays]
    turned = [array.transpose(2, 3).contiguous().transpose(2, 3) for array in arrays]
    with triton_for_the_cpu():
        for variant in (inside, wide, turned):
            compare(with_gradients(mk.attention.set_attention, variant, 3), plain, 1e-12)
        found = with_gradients(mk.attention.set_attention, inside, 3)
        torch.library.opcheck(
            torch.ops.medkernels.set_attention.default,
            (*[array.requires_grad_() for array in inside], 0.4),
        )
    assert all(array.transpose(1, 2).is_contiguous() for array in found)


@interpreted
def test_interpreted_empty_and_refused() -> None:
    q, k, v = draw_arrays(6, 5, 7, 4, 3)
    with triton_for_the_cpu():
        nothing = with_gradients(mk.attention.set_attention, [q[:, :, :0], k, v], 3)
        assert [tuple(array.shape) for array in nothing] == [
            (2, 2, 0, 3),
            (2, 2, 0, 4),
            *(a.shape for a in (k, v)),
        ]
        assert not any(array.any() for array in nothing)
    for place, value in ((0, np.nan), (1, np.inf), (2, -np.inf), (0, 1e300), (2, 1e300)):
        arrays = [array.clone() for array in (q, 1e5 * k, v)]
        arrays[place][1, 0, 3, 2] = value
        with pytest.raises(ValueError) as expected:  # noqa: PT011  (compared below)
            mk.attention.set_attention(*arrays)
        with triton_for_the_cpu(), pytest.raises(ValueError) as found:  # noqa: PT011
            mk.attention.set_attention(*arrays)
        assert str(found.value) == str(expected.value)


CASES = {
    80: ["float32,32,24", "float32,64,64", "float64,100,70", "float16,32,24"],
    90: ["float32,32,24", "float32,100,70", "float64,32,32", "float16,64,64", "bfloat16,100,70"],
}


@pytest.mark.parametrize("capability", sorted(CASES))
def test_kernels_of_all_ops_compile_without_a_gpu(capability: int) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.attention.compile_triton_kernels", str(capability), *CASES[capability]],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {used["kernel"] for used in found} == {
        "attend", "merge", "slopes", "differentiate_queries", "differentiate_entries",
        "rate", "search", "join", "differentiate", "channel_products", "times_matrix",
    }  # fmt: skip
    for used in found:
        assert used["bytes"] > 0
        assert used.get("stack", 0) <= FEW_BYTES, f"spills: {used}"
        assert used["dynamic_shared"] <= SHARED_MEMORY, used


TOLERANCES: dict[Any, float] = {
    torch.float64: 1e-11,
    torch.float32: 1e-5,
    torch.float16: 4e-3,
    torch.bfloat16: 3e-2,
}


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sizes", [(25, 20000, 16, 32), (20000, 25, 8, 8), (700, 900, 100, 70), (1, 1, 1, 1)])
def test_device(sizes: tuple[int, int, int, int], dtype: Any) -> None:
    """Against the CPU in float64."""
    arrays = [array.to(dtype) for array in draw_arrays(7, *sizes)]
    wanted = with_gradients(mk.attention.set_attention, [array.double() for array in arrays], 3)
    for variant in (arrays, [heads_inside(array) for array in arrays]):
        found = with_gradients(mk.attention.set_attention, [array.cuda() for array in variant], 3)
        assert all(array.is_cuda and array.dtype == dtype for array in found)
        compare(found, wanted, TOLERANCES[dtype])


@pytest.mark.gpu
@needs_gpu
def test_device_reruns_are_bitwise_equal() -> None:
    arrays = [array.float().cuda() for array in draw_arrays(8, 40, 100_000, 16, 16)]
    for variant in (arrays, [arrays[1], arrays[0], arrays[0]]):
        one, two = (with_gradients(mk.attention.set_attention, variant, 3) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.gpu
@needs_gpu
def test_device_arguments() -> None:
    q, k, v = (array.float() for array in draw_arrays(9, 30, 50, 8, 6))
    wanted = mk.attention.set_attention(q, k, v)
    with torch.cuda.stream(torch.cuda.Stream()):
        compare([mk.attention.set_attention(q.cuda(), k.cuda(), v.cuda())], [wanted], 1e-5)
    with pytest.raises(ValueError, match="k is on cpu, but q is on cuda:0"):
        mk.attention.set_attention(q.cuda(), k, v)
    with pytest.raises(TypeError, match="q must be float16, bfloat16, float32 or float64, not int64"):
        mk.attention.set_attention(*(array.long().cuda() for array in (q, k, v)))
    cupy = pytest.importorskip("cupy")
    result = mk.attention.set_attention(*(cupy.asarray(array.numpy()) for array in (q, k, v)))
    assert isinstance(result, cupy.ndarray)
    compare([torch.from_numpy(cupy.asnumpy(result))], [wanted], 1e-5)
