"""Attention between sets against its definition, and what else is promised."""

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
from tests.reference import set_attention as reference


def draw_arrays(
    seed: int,
    batch: int = 2,
    heads: int = 2,
    count: int = 9,
    keys: int = 70,
    dims: int = 6,
    value_dims: int = 5,
    spread: float = 1.5,
) -> list[torch.Tensor]:
    """q, k and v in float64."""
    random = torch.Generator().manual_seed(seed)
    shapes = [(count, dims, spread), (keys, dims, spread), (keys, value_dims, 1.0)]
    return [
        scale * torch.randn(batch, heads, n, d, generator=random, dtype=torch.float64)
        for n, d, scale in shapes
    ]


def leaves(arrays: list[torch.Tensor]) -> list[torch.Tensor]:
    return [array.clone().requires_grad_() for array in arrays]


def heads_inside(array: torch.Tensor) -> torch.Tensor:
    """The same values, in memory as [B, N, H, D]."""
    return array.transpose(1, 2).contiguous().transpose(1, 2)


@st.composite
def calls(draw: Any) -> tuple[list[torch.Tensor], float | None]:
    few, many = st.integers(1, 70), st.integers(71, 700)
    arrays = draw_arrays(
        draw(st.integers(0, 10**6)),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
        draw(st.one_of(few, few, many)),
        draw(st.one_of(few, few, many)),
        draw(st.integers(1, 40)),
        draw(st.integers(1, 40)),
        draw(st.sampled_from([0.1, 1.5, 30.0])),
    )
    arrays = [heads_inside(array) if draw(st.booleans()) else array for array in arrays]
    return arrays, draw(st.one_of(st.none(), st.floats(0.01, 3)))


def compare(arrays: list[torch.Tensor], scale: float | None, rtol: float, atol: float) -> None:
    """Result and gradients beside the reference in float64."""
    ours, theirs = leaves(arrays), leaves([array.double() for array in arrays])
    result = mk.attention.set_attention(*ours, scale=scale)
    assert result.dtype == arrays[0].dtype
    wanted = reference.set_attention(*theirs, scale=scale)
    torch.testing.assert_close(result.double(), wanted, rtol=rtol, atol=atol)
    upstream = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = torch.autograd.grad(result, ours, upstream.to(result.dtype))
    for a, b in zip(found, torch.autograd.grad(wanted, theirs, upstream), strict=True):
        size = float(b.abs().max())
        torch.testing.assert_close(a.double(), b, rtol=10 * rtol, atol=10 * atol * max(size, 1.0))


@given(call=calls())
def test_equals_definition(call: tuple[list[torch.Tensor], float | None]) -> None:
    compare(*call, rtol=1e-10, atol=1e-11)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 200), keys=st.integers(1, 200))
def test_float32(seed: int, count: int, keys: int) -> None:
    arrays = [a.float() for a in draw_arrays(seed, 1, 2, count, keys, 8, 8, 1.0)]
    compare(arrays, None, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 15, 17, 63, 64, 65, 130])
@pytest.mark.parametrize("keys", [1, 8, 63, 64, 65, 129])
def test_sizes_around_tiles(count: int, keys: int) -> None:
    for dims, value_dims in ((8, 8), (16, 32), (1, 17), (33, 1)):
        compare(draw_arrays(count, 1, 1, count, keys, dims, value_dims), None, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("count", "keys"), [(3, 20_000), (70, 9_000), (20_000, 3), (9_000, 70)])
@pytest.mark.parametrize("inside", [False, True])
def test_large_sets(count: int, keys: int, inside: bool) -> None:
    """Several parts of the keys, several runs, and sums of more than one piece."""
    arrays = draw_arrays(count, 1, 2, count, keys, 8, 8)
    if inside:
        arrays = [heads_inside(array) for array in arrays]
    ours, theirs = leaves(arrays), leaves(arrays)
    result = mk.attention.set_attention(*ours)
    wanted = torch.softmax(theirs[0] @ theirs[1].transpose(2, 3) / math.sqrt(8), -1) @ theirs[2]
    torch.testing.assert_close(result, wanted, rtol=1e-10, atol=1e-11)
    upstream = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad(result, ours, upstream),
        torch.autograd.grad(wanted, theirs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [1, 8192])  # keys in several parts, and in one
def test_sums_over_many_keys_stay_exact(count: int) -> None:
    """A hundred thousand equal weights in float32: as exact as those of a few."""
    keys = 2**17
    values = torch.rand(1, 1, keys, 8, generator=torch.Generator().manual_seed(0)) + 1
    result = mk.attention.set_attention(torch.zeros(1, 1, count, 8), torch.zeros(1, 1, keys, 8), values)
    wanted = values.double().mean(2, keepdim=True).expand(1, 1, count, 8)
    torch.testing.assert_close(result.double(), wanted, rtol=1e-6, atol=0)


def test_one_key_gives_its_value() -> None:
    q, k, v = draw_arrays(3, keys=1)
    torch.testing.assert_close(mk.attention.set_attention(q, k, v), v.expand(2, 2, 9, 5), rtol=0, atol=1e-15)


def test_large_scores() -> None:
    """Scores in the thousands, rising and falling along the keys: no overflow."""
    q, k, v = draw_arrays(5, count=20, keys=300)
    for order in (slice(None), torch.arange(299, -1, -1)):
        rising = k.sort(dim=2).values[:, :, order]
        compare([60 * q, 60 * rising, v], None, rtol=1e-9, atol=1e-9)


def test_gradcheck() -> None:
    for count, keys in ((3, 7), (7, 3)):
        arrays = leaves(draw_arrays(7, 1, 2, count, keys, 3, 4))
        assert torch.autograd.gradcheck(mk.attention.set_attention, arrays)


def test_result_and_gradients_lie_in_memory_as_their_arrays() -> None:
    arrays = [heads_inside(array).requires_grad_() for array in draw_arrays(9, value_dims=6)]
    result = mk.attention.set_attention(*arrays)
    assert result.transpose(1, 2).is_contiguous()
    for gradient in torch.autograd.grad(result.sum(), arrays):
        assert gradient.transpose(1, 2).is_contiguous()
    plain = mk.attention.set_attention(*[array.detach().contiguous() for array in arrays])
    assert plain.is_contiguous()
    assert torch.equal(plain, result)


@pytest.mark.parametrize(("count", "keys"), [(30, 9000), (9000, 30), (700, 900)])
def test_does_not_depend_on_threads(count: int, keys: int) -> None:
    before, results = mk.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            arrays = leaves([array.float() for array in draw_arrays(11, 1, 3, count, keys, 8, 12)])
            result = mk.attention.set_attention(*arrays)
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
    for count, keys in ((70, 500), (500, 70)):
        shapes = [(count, 20), (keys, 20), (keys, 9), (count, 9)]
        q, k, v, grad = (random.normal(size=(1, 2, *s)).astype(dtype) for s in shapes)
        outputs = _core.attention.set_attention(q, k, v, 0.3)
        found += [*outputs, *_core.attention.set_attention_backward(grad, q, k, v, *outputs, 0.3)]
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
    q, k, v = draw_arrays(13)
    with pytest.raises(ValueError, match=r"k must hold at least one key, but has shape \[2, 2, 0, 6\]"):
        mk.attention.set_attention(q, k[:, :, :0], v[:, :, :0])
    for part, count in ((slice(None), 0), (slice(0, 0), 9)):
        arrays = leaves([q[part, :, :count], k[part], v[part]])
        result = mk.attention.set_attention(*arrays)
        assert result.shape == (len(q[part]), 2, count, 5)
        result.sum().backward()
        assert all(a.grad is not None and not a.grad.any() and a.grad.shape == a.shape for a in arrays)


def test_any_layout_is_read_and_nothing_is_modified() -> None:
    arrays = [array.numpy() for array in draw_arrays(15)]
    copies = [array.copy() for array in arrays]
    wanted = mk.attention.set_attention(*arrays)
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
        np.testing.assert_array_equal(mk.attention.set_attention(*variant), wanted)
    assert all(np.array_equal(a, b) for a, b in zip(copies, arrays, strict=True))
    lists = mk.attention.set_attention(arrays[0], arrays[1].tolist(), arrays[2])
    np.testing.assert_array_equal(lists, wanted)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("count", "keys"), [(9, 70), (300, 20), (9, 9000)])
def test_values_that_are_not_finite(count: int, keys: int, value: float, name: str, inside: bool) -> None:
    arrays = dict(zip("qkv", draw_arrays(17, count=count, keys=keys), strict=True))
    arrays[name][1, 0, -2, 3] = value
    place = np.ravel_multi_index((1, 0, arrays[name].shape[2] - 2, 3), tuple(arrays[name].shape))
    tensors = [heads_inside(array) if inside else array for array in arrays.values()]
    for call in (tensors, [tensor.numpy() for tensor in tensors]):
        with pytest.raises(ValueError, match=f"{name} must be finite, but element {place} "):
            mk.attention.set_attention(*call)


@pytest.mark.parametrize(("count", "keys"), [(9, 70), (300, 20), (9, 9000)])
def test_scores_that_overflow(count: int, keys: int) -> None:
    q, k, v = (array.float() for array in draw_arrays(19, count=count, keys=keys))
    with pytest.raises(ValueError, match="q and k must be small enough for scores of at most"):
        mk.attention.set_attention(q * 1e18, k * 1e18, v)
    assert torch.isfinite(mk.attention.set_attention(q * 1e10, k * 1e10, v)).all()
    with pytest.raises(ValueError, match=r"v must be small enough for values of at most 2\^88"):
        mk.attention.set_attention(q, k, v * 1e37)


def test_bad_shapes_and_dtypes() -> None:
    q, k, v = draw_arrays(21)
    cases = [
        ((q[0], k, v), r"q must have shape \[B, H, N, D\], but has 3 dimensions"),
        ((q, k[:1], v), r"k must have shape \[B, H, M, D\] with B = 2"),
        ((q, k[:, :1], v), r"k must have shape \[B, H, M, D\] with H = 2"),
        ((q, k[..., :5], v), r"k must have shape \[B, H, M, D\] with D = 6"),
        ((q, k, v[:, :, 1:]), r"v must have shape \[B, H, M, E\] with M = 70"),
        ((q[..., :0], k[..., :0], v), "q must have rows of at least one element"),
        ((q, k, v[..., :0]), "v must have rows of at least one element"),
    ]
    for arrays, message in cases:
        for call in (arrays, [array.numpy() for array in arrays]):
            with pytest.raises(ValueError, match=message):
                mk.attention.set_attention(*call)
    with pytest.raises(TypeError, match="q must be float32 or float64, not float16"):
        mk.attention.set_attention(*(a.numpy().astype(np.float16) for a in (q, k, v)))
    with pytest.raises(TypeError, match=r"v is torch\.float32, but q is torch\.float64"):
        mk.attention.set_attention(q, k, v.float())
    with pytest.raises(TypeError, match="k is a numpy array, but q is a torch array"):
        mk.attention.set_attention(q, k.numpy(), v)


@pytest.mark.parametrize(
    ("scale", "error", "message"),
    [
        (0.0, ValueError, "scale must be greater than 0"),
        (math.nan, ValueError, "scale must be greater than 0"),
        (math.inf, ValueError, "scale must be finite"),
        ("1", TypeError, "scale must be a number"),
    ],
)
def test_bad_scale(scale: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.attention.set_attention(*draw_arrays(23), scale=scale)
