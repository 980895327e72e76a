"""Attention between channels against its definition, and what else is promised."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import medkernels as mk
from tests.reference import channel as reference


def draw_arrays(
    seed: int, batch: int = 2, heads: int = 2, length: int = 40, dims: int = 6
) -> list[torch.Tensor]:
    """q, k and v in float64."""
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, heads, length, dims, generator=random, dtype=torch.float64) for _ in range(3)]


def leaves(arrays: list[torch.Tensor]) -> list[torch.Tensor]:
    return [array.clone().requires_grad_() for array in arrays]


def heads_inside(array: torch.Tensor) -> torch.Tensor:
    """The same values, in memory as [B, L, H, D]."""
    return array.transpose(1, 2).contiguous().transpose(1, 2)


def compare(arrays: list[torch.Tensor], scale: float | None, tolerance: float) -> None:
    """Result and gradients beside the reference in float64."""
    ours, theirs = leaves(arrays), leaves([array.double() for array in arrays])
    result = mk.attention.channel(*ours, scale=scale)
    assert result.dtype == arrays[0].dtype
    wanted = reference.channel(*theirs, scale=scale)
    torch.testing.assert_close(result.double(), wanted, rtol=tolerance, atol=tolerance)
    upstream = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = torch.autograd.grad(result, ours, upstream.to(result.dtype))
    for a, b in zip(found, torch.autograd.grad(wanted, theirs, upstream), strict=True):
        size = max(float(b.abs().max()), 1.0)
        torch.testing.assert_close(a.double(), b, rtol=10 * tolerance, atol=10 * tolerance * size)


@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 2),
    heads=st.integers(1, 3),
    length=st.one_of(st.integers(1, 70), st.integers(71, 300)),
    dims=st.integers(1, 40),
    scale=st.one_of(st.none(), st.floats(0.01, 3)),
    inside=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_equals_definition(
    seed: int, batch: int, heads: int, length: int, dims: int, scale: float | None, inside: list[bool]
) -> None:
    arrays = draw_arrays(seed, batch, heads, length, dims)
    arrays = [heads_inside(a) if moved else a for a, moved in zip(arrays, inside, strict=True)]
    compare(arrays, scale, 1e-10)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), length=st.integers(1, 200), dims=st.integers(1, 20))
def test_float32(seed: int, length: int, dims: int) -> None:
    compare([array.float() for array in draw_arrays(seed, 1, 2, length, dims)], 0.1, 2e-5)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 1023, 1025, 3000])
@pytest.mark.parametrize("dims", [1, 8, 16, 17])
def test_sizes_around_tiles_and_runs(length: int, dims: int) -> None:
    compare(draw_arrays(length, 1, 2, length, dims), 1 / length, 1e-10)


def test_more_channels_than_rows() -> None:
    compare(draw_arrays(3, 1, 1, 20, 130), None, 1e-10)


def test_sums_over_long_sequences_stay_exact() -> None:
    """The only scores that differ do so by what 300,000 products add up to, in float32."""
    length = 300_000
    q = torch.full((1, 1, length, 2), 0.1)
    k, v = q.clone(), torch.arange(2, dtype=torch.float32).expand(1, 1, length, 2)
    k[..., 1] = 0.1 + 1e-4
    result = mk.attention.channel(q, k, v, scale=0.1)
    scores = 0.1 * q[0, 0].double().T @ k[0, 0].double()
    wanted = torch.softmax(scores, dim=1)[:, 1]
    torch.testing.assert_close(result[0, 0, 0].double(), wanted, rtol=5e-4, atol=0)


def test_large_scores() -> None:
    compare([30 * array for array in draw_arrays(5)], None, 1e-9)


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(mk.attention.channel, leaves(draw_arrays(7, 1, 2, 5, 3)))


def test_result_and_gradients_lie_in_memory_as_their_arrays() -> None:
    arrays = [heads_inside(array).requires_grad_() for array in draw_arrays(9)]
    result = mk.attention.channel(*arrays)
    assert result.transpose(1, 2).is_contiguous()
    for gradient in torch.autograd.grad(result.sum(), arrays):
        assert gradient.transpose(1, 2).is_contiguous()
    plain = mk.attention.channel(*[array.detach().contiguous() for array in arrays])
    assert plain.is_contiguous()
    assert torch.equal(plain, result)


def test_does_not_depend_on_threads() -> None:
    before, results = mk.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            arrays = leaves([array.float() for array in draw_arrays(11, 1, 3, 5000, 24)])
            result = mk.attention.channel(*arrays, scale=0.01)
            results.append([result, *torch.autograd.grad(result.square().sum(), arrays)])
    finally:
        mk.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_instruction_sets_agree(tmp_path: Any) -> None:
    code = """
import sys, numpy as np
from medkernels import _core
random = np.random.default_rng(0)
found = []
for dtype in ("float32", "float64"):
    q, k, v, grad = (random.normal(size=(1, 2, 500, 20)).astype(dtype) for _ in range(4))
    rows, weights = _core.attention.channel(q, k, v, 0.05)
    found += [rows, weights, *_core.attention.channel_backward(grad, q, k, v, weights, 0.05)]
np.savez(sys.argv[1], *found)
"""
    results = []
    for level in ("baseline", "avx2", "avx512"):
        file = tmp_path / f"{level}.npz"
        subprocess.run(
            [sys.executable, "-c", code, file], check=True, env={**os.environ, "MEDKERNELS_SIMD": level}
        )
        with np.load(file) as arrays:
            results.append(list(arrays.values()))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 if a.dtype == np.float64 else 5e-5)


def test_empty() -> None:
    for shape in [(0, 2, 5, 3), (2, 0, 5, 3), (2, 2, 0, 3)]:
        empty = [torch.zeros(shape, requires_grad=True) for _ in range(3)]
        result = mk.attention.channel(*empty)
        assert result.shape == shape
        result.sum().backward()
        assert all(array.grad is not None and array.grad.shape == shape for array in empty)


def test_any_layout_is_read_and_nothing_is_modified() -> None:
    arrays = [array.numpy() for array in draw_arrays(15)]
    copies = [array.copy() for array in arrays]
    wanted = mk.attention.channel(*arrays)
    assert isinstance(wanted, np.ndarray)
    for variant in (
        [np.asfortranarray(a) for a in arrays],
        [a[::-1][::-1] for a in arrays],
        [a.astype(a.dtype.newbyteorder()) for a in arrays],
        [np.ascontiguousarray(a.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3) for a in arrays],
        [np.repeat(a, 2, axis=3)[..., ::2] for a in arrays],
    ):
        for array in variant:
            array.flags.writeable = False
        np.testing.assert_array_equal(mk.attention.channel(*variant), wanted)
    assert all(np.array_equal(a, b) for a, b in zip(copies, arrays, strict=True))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite(value: float, name: str, inside: bool) -> None:
    arrays = dict(zip("qkv", draw_arrays(17), strict=True))
    arrays[name][1, 0, -2, 3] = value
    place = np.ravel_multi_index((1, 0, 38, 3), (2, 2, 40, 6))
    tensors = [heads_inside(array) if inside else array for array in arrays.values()]
    for call in (tensors, [tensor.numpy() for tensor in tensors]):
        with pytest.raises(ValueError, match=f"{name} must be finite, but element {place} "):
            mk.attention.channel(*call)


def test_scores_that_overflow() -> None:
    q, k, v = (array.float() for array in draw_arrays(19))
    with pytest.raises(ValueError, match="q and k must be small enough for scores of at most"):
        mk.attention.channel(q * 1e18, k * 1e18, v)
    assert torch.isfinite(mk.attention.channel(q * 1e10, k * 1e10, v)).all()
    with pytest.raises(ValueError, match=r"v must be small enough for values of at most 2\^88"):
        mk.attention.channel(q, k, v * 1e37)


def test_bad_arguments() -> None:
    q, k, v = draw_arrays(21)
    cases = [
        ((q[0], k, v), r"q must have shape \[B, H, L, D\], but has 3 dimensions"),
        ((q, k[:, :1], v), r"k must have shape \[B, H, L, D\] with H = 2"),
        ((q, k[:, :, :9], v), r"k must have shape \[B, H, L, D\] with L = 40"),
        ((q, k, v[..., :5]), r"v must have shape \[B, H, L, D\] with D = 6"),
        ((q[..., :0], k[..., :0], v[..., :0]), "q must have rows of at least one element"),
    ]
    for arrays, message in cases:
        with pytest.raises(ValueError, match=message):
            mk.attention.channel(*arrays)
    with pytest.raises(TypeError, match="q must be float32 or float64, not float16"):
        mk.attention.channel(*(a.numpy().astype(np.float16) for a in (q, k, v)))
    with pytest.raises(TypeError, match=r"v is torch\.float32, but q is torch\.float64"):
        mk.attention.channel(q, k, v.float())
    with pytest.raises(ValueError, match="scale must be greater than 0"):
        mk.attention.channel(q, k, v, scale=-1.0)
    with pytest.raises(ValueError, match="scale must be finite"):
        mk.attention.channel(q, k, v, scale=math.inf)
    with pytest.raises(TypeError, match="scale must be a number"):
        mk.attention.channel(q, k, v, scale="1")
