"""`knn_memory` on GPUs: its kernels in the interpreter without one; on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from medkernels.kernels import attention_inputs  # noqa: E402
from medkernels.kernels import knn_memory as kernels  # noqa: E402

import medkernels as mk  # noqa: E402
from tests.attention.triton_path import (  # noqa: E402
    compare,
    heads_inside,
    interpreted,
    needs_gpu,
    triton_for_the_cpu,
    with_gradients,
)
from tests.reference import knn_memory as reference  # noqa: E402


def draw_arrays(
    seed: int, count: int, entries: int, dims: int, value_dims: int, whole: bool = False
) -> list[torch.Tensor]:
    """q, keys and values; products of whole numbers are exact, and many are equal."""
    random = torch.Generator().manual_seed(seed)
    shapes = [(count, dims), (entries, dims), (entries, value_dims)]
    arrays = [torch.randn(2, 2, *shape, generator=random, dtype=torch.float64) for shape in shapes]
    return [array.round() for array in arrays] if whole else arrays


def check(arrays: list[torch.Tensor], tolerance: float, **options: Any) -> None:
    wanted = with_gradients(lambda *a: reference.knn_memory(*a, **options), arrays, 1)
    with triton_for_the_cpu():
        found = with_gradients(lambda *a: mk.attention.knn_memory(*a, **options), arrays, 1)
    compare(found, wanted, tolerance)


@interpreted
@settings(max_examples=6)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 20),
    entries=st.integers(1, 90),
    dims=st.integers(1, 20),
    value_dims=st.integers(1, 20),
    whole=st.booleans(),
    k=st.integers(1, 20),
)
def test_interpreted(
    seed: int, count: int, entries: int, dims: int, value_dims: int, whole: bool, k: int
) -> None:
    check(draw_arrays(seed, count, entries, dims, value_dims, whole), 1e-11, k=k)


@interpreted
@pytest.mark.parametrize("k", [1, 33, 65, 149, 150, 500])
def test_interpreted_entries(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of the keys, several searches, whole memories; of equal products those of the lowest entries."""
    monkeypatch.setattr(kernels, "LEAST_RUN", 64)
    arrays = [array[:1, :1] for array in draw_arrays(k, 3, 150, 4, 3, whole=True)]
    q, keys, _ = arrays
    check(arrays, 1e-11, k=k)
    k = min(k, 150)
    found = kernels.nearest(q, keys, k)
    assert found.dtype == torch.int32
    assert torch.equal(found.long(), reference.nearest(q, keys, k))
    found = kernels.nearest(q.half(), keys.half(), k)
    assert torch.equal(found.long(), reference.nearest(q, keys, k))


@interpreted
@pytest.mark.parametrize("order", ["rising", "falling", "equal", "steps"])
def test_interpreted_orders(order: str) -> None:
    """Every entry better than all before, or none, or all the same."""
    places = torch.arange(200, dtype=torch.float64)
    scores = {
        "rising": places,
        "falling": -places,
        "equal": torch.ones(200, dtype=torch.float64),
        "steps": (places / 30).floor(),
    }[order]
    keys = scores[None, None, :, None]
    q = torch.tensor([1.0, -1.0], dtype=torch.float64)[None, None, :, None]
    for k in (1, 7, 70):
        assert torch.equal(kernels.nearest(q, keys, k).long(), reference.nearest(q, keys, k))


@interpreted
def test_interpreted_long_rows() -> None:
    """Rows that are taken in pieces, and results that are."""
    check(draw_arrays(1, 5, 40, 70, 37), 1e-11, k=6)
    check(draw_arrays(2, 5, 40, 37, 70), 1e-11, k=6)


@interpreted
def test_interpreted_large_scores_and_float32() -> None:
    check([30 * array for array in draw_arrays(3, 5, 60, 5, 4)], 1e-10, k=9, scale=1.0)
    check([array.float() for array in draw_arrays(12, 5, 60, 5, 4)], 1e-5, k=9)


@interpreted
def test_interpreted_layouts_half_and_gate() -> None:
    arrays = draw_arrays(4, 7, 30, 4, 3)
    gate = torch.tensor([0.4, -1.0], dtype=torch.float64)
    local = torch.ones(2, 2, 7, 3, dtype=torch.float64)
    plain = with_gradients(lambda *a: reference.knn_memory(*a, k=5, gate=gate, local=local), arrays, 1)
    inside = [heads_inside(array) for array in arrays]
    with triton_for_the_cpu():
        found = with_gradients(lambda *a: mk.attention.knn_memory(*a, k=5, gate=gate, local=local), inside, 1)
        inputs = [inside[0].requires_grad_(), *inside[1:]]
        torch.library.opcheck(torch.ops.medkernels.knn_memory.default, (*inputs, 5, 0.4))
    compare(found, plain, 1e-12)
    for dtype in (torch.float16, torch.bfloat16):
        halves = [array.round().to(dtype) for array in arrays]
        if dtype == torch.bfloat16:  # whose matrices the interpreter cannot multiply: without a search
            halves[1:] = [array[:, :, :5] for array in halves[1:]]
        outputs = kernels.forward(halves, (5, 0.5))
        grads = kernels.backward(torch.ones_like(outputs[0]), halves, outputs, (5, 0.5))
        assert [array.dtype for array in (*outputs, *grads)] == [dtype, torch.int32, torch.float32, dtype]
        exact = reference.knn_memory(*[array.double() for array in halves], k=5, scale=0.5)
        compare(outputs[:1], [exact], 2 * torch.finfo(dtype).eps)


@interpreted
def test_interpreted_bank_is_not_copied() -> None:
    """A bank that is not full is read where it lies."""
    bank = mk.attention.MemoryBank(50)
    q, keys, values = draw_arrays(5, 7, 30, 4, 3)
    bank.append(keys, values)
    assert not bank.keys.is_contiguous()
    assert attention_inputs.rows(bank.keys).data_ptr() == bank.keys.data_ptr()
    with triton_for_the_cpu():
        found = bank.attend(q, k=6)
    compare([found], [reference.knn_memory(q, keys, values, k=6)], 1e-12)


@interpreted
def test_interpreted_empty_and_refused() -> None:
    q, keys, values = draw_arrays(6, 5, 7, 4, 3)
    with triton_for_the_cpu():
        for part in (slice(0, 0), slice(None)):
            arrays = [q[part, :, :0], keys[part], values[part]]
            nothing = with_gradients(lambda *a: mk.attention.knn_memory(*a, k=3), arrays, 1)
            assert nothing[0].shape == (*arrays[0].shape[:3], 3)
            assert nothing[1].shape == arrays[0].shape
    for place, value in ((0, np.nan), (1, np.inf), (2, -np.inf), (0, 1e300), (2, 1e300)):
        arrays = [array.clone() for array in (q, 1e5 * keys, values)]
        arrays[place][1, 0, 3, 2] = value
        with pytest.raises(ValueError) as expected:  # noqa: PT011  (compared below)
            mk.attention.knn_memory(*arrays, k=3)
        with triton_for_the_cpu(), pytest.raises(ValueError) as found:  # noqa: PT011
            mk.attention.knn_memory(*arrays, k=3)
        assert str(found.value) == str(expected.value)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 10, 32, 64, 100, 700])
@pytest.mark.parametrize("sizes", [(617, 16384, 24, 24), (3, 5000, 100, 70), (1, 700, 1, 1)])
def test_device_entries(sizes: tuple[int, int, int, int], k: int, dtype: Any) -> None:
    """Products of whole numbers are exact: the entries of the CPU, ties included."""
    arrays = draw_arrays(7, *sizes, whole=True)
    wide = arrays if dtype == torch.float64 else [array.float() for array in arrays]
    wanted = torch.ops.medkernels.knn_memory(*wide, k, 0.3)
    found = torch.ops.medkernels.knn_memory(*(array.to("cuda", dtype) for array in arrays), k, 0.3)
    assert torch.equal(found[1].cpu(), wanted[1])
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-11}[dtype]
    compare([found[0], found[2]], [wanted[0], wanted[2]], tolerance)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("k", [1, 32, 100, 3000])
def test_device(k: int) -> None:
    """Values and gradients against the CPU in float64, where products do not come near to each other."""
    arrays = draw_arrays(8, 150, 3000, 24, 20)

    def attend(*inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = mk.attention.knn_memory(*inputs, k=k)
        return result

    wanted = with_gradients(attend, arrays, 1)
    for variant in (arrays, [heads_inside(array) for array in arrays]):
        compare(with_gradients(attend, [array.cuda() for array in variant], 1), wanted, 1e-11)


@pytest.mark.gpu
@needs_gpu
def test_device_reruns_are_bitwise_equal() -> None:
    arrays = [array.float().cuda() for array in draw_arrays(9, 300, 40_000, 24, 24)]
    one, two = (with_gradients(mk.attention.knn_memory, arrays, 1) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.gpu
@needs_gpu
def test_device_bank() -> None:
    """The ring stays on the device; entries and results are those of the CPU."""
    banks = [mk.attention.MemoryBank(100) for _ in range(2)]
    q = draw_arrays(10, 9, 1, 6, 5)[0].float()
    for step in range(4):
        _, keys, values = (array.float() for array in draw_arrays(step, 1, 40, 6, 5))
        banks[0].append(keys, values)
        banks[1].append(keys.cuda(), values.cuda())
        assert banks[1].keys.is_cuda
        assert torch.equal(banks[1].keys.cpu(), banks[0].keys)
        compare([banks[1].attend(q.cuda(), k=7)], [banks[0].attend(q, k=7)], 1e-5)


@pytest.mark.gpu
@needs_gpu
def test_device_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    arrays = [array.float() for array in draw_arrays(11, 9, 70, 6, 5)]
    gate, local = torch.tensor([0.5, -2.0]), torch.ones(2, 2, 9, 5)
    wanted = mk.attention.knn_memory(*arrays, k=7, gate=gate, local=local)
    there = [cupy.asarray(array.numpy()) for array in (*arrays, gate, local)]
    result = mk.attention.knn_memory(*there[:3], k=7, gate=there[3], local=there[4])
    assert isinstance(result, cupy.ndarray)
    compare([torch.from_numpy(cupy.asnumpy(result))], [wanted], 1e-5)
