"""`prob_sparse` on GPUs: its kernels in the interpreter without one; on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import triton  # noqa: E402
import triton.language as tl  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from medkernels.kernels import prob_sparse as kernels  # noqa: E402

import medkernels as mk  # noqa: E402
from tests.attention.triton_path import (  # noqa: E402
    compare,
    heads_inside,
    interpreted,
    needs_gpu,
    triton_for_the_cpu,
    with_gradients,
)
from tests.reference import prob_sparse as reference  # noqa: E402

SEEDS = [0, 1, 5, 2**31 + 7, 2**63 - 1]


def draw_arrays(
    seed: int, length: int, dims: int, value_dims: int, whole: bool = False
) -> list[torch.Tensor]:
    """q, k and v; products of whole numbers are exact, and many are equal."""
    random = torch.Generator().manual_seed(seed)
    arrays = [
        torch.randn(2, 2, length, d, generator=random, dtype=torch.float64) for d in (dims, dims, value_dims)
    ]
    return [array.round() for array in arrays] if whole else arrays


@triton.jit
def write_keys(found, seed, length, QUERIES: tl.constexpr, COUNTERS: tl.constexpr):
    query = tl.arange(0, QUERIES)[:, None]
    counter = tl.arange(0, COUNTERS)[None, :]
    first, second, third, fourth = kernels.drawn_keys(seed, query, counter, length)
    at = found + (query * COUNTERS + counter) * 4
    tl.store(at, first.to(tl.int64))
    tl.store(at + 1, second.to(tl.int64))
    tl.store(at + 2, third.to(tl.int64))
    tl.store(at + 3, fourth.to(tl.int64))


def check_keys(device: str) -> None:
    """The same as those of the generator in plain integers, bit for bit."""
    for seed in SEEDS:
        for length in (2, 100, 70_000, 2**31 - 1):
            found = torch.zeros(16, 32, dtype=torch.int64, device=device)
            write_keys[(1,)](found, seed, length, QUERIES=16, COUNTERS=8)
            wanted = [
                [x * length >> 32 for counter in range(8) for x in reference.philox((i, counter, 0, 0), seed)]
                for i in range(16)
            ]
            assert found.tolist() == wanted


def check(arrays: list[torch.Tensor], tolerance: float, **options: Any) -> None:
    wanted = with_gradients(lambda *a: reference.prob_sparse(*a, **options), arrays, 3)
    with triton_for_the_cpu():
        found = with_gradients(lambda *a: mk.attention.prob_sparse(*a, **options), arrays, 3)
    compare(found, wanted, tolerance)


@interpreted
def test_interpreted_keys() -> None:
    check_keys("cpu")


@interpreted
@settings(max_examples=6)
@given(
    seed=st.integers(0, 10**6),
    length=st.integers(1, 24),
    dims=st.integers(1, 9),
    whole=st.booleans(),
    factor=st.integers(1, 8),
    mean=st.sampled_from(["reference", "sample"]),
)
def test_interpreted(seed: int, length: int, dims: int, whole: bool, factor: int, mean: str) -> None:
    """With whole numbers many ratings are equal, and the lowest indices are to be chosen."""
    check(draw_arrays(seed, length, dims, 3, whole), 1e-11, factor=factor, seed=seed, mean=mean)


@interpreted
@pytest.mark.parametrize("sample_mean", [False, True])
def test_interpreted_chooses_as_the_cpu(sample_mean: bool) -> None:
    """Products of whole numbers do not depend on how they are added up: the same queries, ties included."""
    q, k, v = (array.float() for array in draw_arrays(1, 60, 5, 2, whole=True))
    options = (18, 9, 2**40 + 3, 0.4, sample_mean)
    wanted = torch.ops.medkernels.prob_sparse(q, k, v, *options)
    found = kernels.forward([q, k, v], options)
    assert found[1].dtype == torch.int32
    assert torch.equal(found[1], wanted[1])
    compare(found, wanted, 1e-6)


@interpreted
def test_interpreted_ratings() -> None:
    """Rows in pieces, counters that are not all needed, a last block that is not full."""
    q, k, _ = draw_arrays(2, 19, 70, 1)
    keys = k[:, :, reference.sampled_keys(19, 21, 5)]
    products = (q[:, :, :, None] * keys).sum(-1)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
        found = kernels.rate_all(q.to(dtype), k.to(dtype), 21, 5, 7)
        assert found.dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)
        compare([found], [products.amax(-1) - products.sum(-1) / 7], tolerance)


@interpreted
def test_interpreted_layouts_and_half() -> None:
    arrays = draw_arrays(3, 30, 4, 3)
    plain = with_gradients(lambda *a: reference.prob_sparse(*a, factor=1, seed=4), arrays, 3)
    inside = [heads_inside(array) for array in arrays]
    with triton_for_the_cpu():
        found = with_gradients(lambda *a: mk.attention.prob_sparse(*a, factor=1, seed=4), inside, 3)
        inputs = [array.requires_grad_() for array in inside]
        torch.library.opcheck(torch.ops.medkernels.prob_sparse.default, (*inputs, 4, 4, 4, 0.4, False))
    compare(found, plain, 1e-12)
    halves = [array.half() for array in arrays]
    outputs = kernels.forward(halves, (4, 4, 4, 0.5, False))
    grads = kernels.backward(halves[2], halves, outputs, (4, 4, 4, 0.5, False))
    assert [array.dtype for array in (*outputs, *grads)] == [
        torch.float16, torch.int32, torch.float32, *[torch.float16] * 3,
    ]  # fmt: skip
    compare(outputs[:1], plain[:1], 5e-3)


@interpreted
def test_interpreted_empty_and_refused() -> None:
    with triton_for_the_cpu():
        for shape in [(0, 2, 5, 3), (2, 0, 5, 3), (2, 2, 0, 3), (2, 2, 1, 3)]:
            array = torch.ones(shape)
            found = with_gradients(lambda *a: mk.attention.prob_sparse(*a), [array, array, array], 3)
            assert all(other.shape == shape for other in found)
            assert torch.equal(found[0], array)
    for place, value in ((0, np.nan), (1, np.inf), (2, -np.inf), (0, 1e300), (2, 1e300)):
        arrays = draw_arrays(6, 9, 4, 3)
        arrays[1] *= 1e5
        arrays[place][1, 0, 3, 2] = value
        with pytest.raises(ValueError) as expected:  # noqa: PT011  (compared below)
            mk.attention.prob_sparse(*arrays)
        with triton_for_the_cpu(), pytest.raises(ValueError) as found_error:  # noqa: PT011
            mk.attention.prob_sparse(*arrays)
        assert str(found_error.value) == str(expected.value)


@pytest.mark.gpu
@needs_gpu
def test_device_keys() -> None:
    check_keys("cuda")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", [(4096, 32, 24), (3000, 100, 70), (130, 8, 8), (2, 1, 1)])
@pytest.mark.parametrize("mean", ["reference", "sample"])
def test_device_chooses_as_the_cpu(sizes: tuple[int, int, int], dtype: Any, mean: str) -> None:
    """Products of whole numbers are exact, in any order: the same queries, ties included."""
    arrays = draw_arrays(7, *sizes, whole=True)
    count = reference.counts(sizes[0], 5)
    options = (count, count, 2**40 + 3, 0.2, mean == "sample")
    wide = [array.float() for array in arrays]
    if dtype == torch.float64:
        wide = arrays
    wanted = torch.ops.medkernels.prob_sparse(*wide, *options)
    found = torch.ops.medkernels.prob_sparse(*(array.to("cuda", dtype) for array in arrays), *options)
    assert torch.equal(found[1].cpu(), wanted[1])
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-11}[dtype]
    compare([found[0], found[2]], [wanted[0], wanted[2]], tolerance)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("factor", [1, 5, 500])
def test_device(factor: int) -> None:
    """Values and gradients against the CPU, in float64, where ratings do not come near to each other."""
    arrays = draw_arrays(8, 1500, 16, 20)

    def attend(*inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = mk.attention.prob_sparse(*inputs, factor=factor, seed=3)
        return result

    wanted = with_gradients(attend, arrays, 3)
    for variant in (arrays, [heads_inside(array) for array in arrays]):
        compare(with_gradients(attend, [array.cuda() for array in variant], 3), wanted, 1e-11)


@pytest.mark.gpu
@needs_gpu
def test_device_reruns_are_bitwise_equal() -> None:
    arrays = [array.float().cuda() for array in draw_arrays(9, 20_000, 32, 32)]
    one, two = (with_gradients(mk.attention.prob_sparse, arrays, 3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.gpu
@needs_gpu
def test_device_arguments() -> None:
    q, k, v = (array.float() for array in draw_arrays(10, 70, 8, 6, whole=True))
    wanted = mk.attention.prob_sparse(q, k, v)
    with torch.cuda.stream(torch.cuda.Stream()):
        compare([mk.attention.prob_sparse(q.cuda(), k.cuda(), v.cuda())], [wanted], 1e-5)
    traced = torch.compile(mk.attention.prob_sparse, fullgraph=True, backend="aot_eager")
    compare([traced(q.cuda(), k.cuda(), v.cuda())], [wanted], 1e-5)
    cupy = pytest.importorskip("cupy")
    result = mk.attention.prob_sparse(*(cupy.asarray(array.numpy()) for array in (q, k, v)))
    assert isinstance(result, cupy.ndarray)
    compare([torch.from_numpy(cupy.asnumpy(result))], [wanted], 1e-5)
