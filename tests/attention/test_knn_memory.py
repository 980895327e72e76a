"""Attention to the nearest entries of a memory against its definition, and what else is promised."""

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
from tests.reference import knn_memory as reference


def draw_arrays(
    seed: int,
    batch: int = 2,
    heads: int = 2,
    count: int = 9,
    entries: int = 70,
    dims: int = 6,
    value_dims: int = 5,
) -> list[torch.Tensor]:
    """q, keys and values in float64."""
    random = torch.Generator().manual_seed(seed)
    shapes = [(count, dims), (entries, dims), (entries, value_dims)]
    return [torch.randn(batch, heads, *shape, generator=random, dtype=torch.float64) for shape in shapes]


@st.composite
def calls(draw: Any) -> tuple[list[torch.Tensor], dict[str, Any]]:
    arrays = draw_arrays(
        draw(st.integers(0, 10**6)),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 140)),
        draw(st.one_of(st.integers(1, 70), st.integers(71, 900))),
        draw(st.integers(1, 20)),
        draw(st.integers(1, 20)),
    )
    if draw(st.booleans()):  # small integers: products are exact, and many are equal
        arrays = [array.round() for array in arrays]
    k = draw(st.one_of(st.integers(1, 5), st.integers(6, 200)))
    return arrays, {"k": k, "scale": draw(st.one_of(st.none(), st.sampled_from([0.25, 1.0])))}


@given(call=calls())
def test_equals_definition(call: tuple[list[torch.Tensor], dict[str, Any]]) -> None:
    (q, keys, values), options = call
    ours, theirs = q.clone().requires_grad_(), q.clone().requires_grad_()
    result = mk.attention.knn_memory(ours, keys, values, **options)
    wanted = reference.knn_memory(theirs, keys, values, **options)
    torch.testing.assert_close(result, wanted, rtol=1e-11, atol=1e-12)
    upstream = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(
        *(torch.autograd.grad(*pair, upstream)[0] for pair in ((result, ours), (wanted, theirs))),
        rtol=1e-9,
        atol=1e-10,
    )


@settings(max_examples=15)
@given(call=calls())
def test_entries_and_float32(call: tuple[list[torch.Tensor], dict[str, Any]]) -> None:
    arrays, options = call
    k = min(options["k"], arrays[1].shape[2])
    exact = [array.round() for array in arrays]
    for dtype in (torch.float32, torch.float64):
        cast = [array.to(dtype) for array in exact]
        rows, entries, weights = torch.ops.medkernels.knn_memory(*cast, k, 0.5)
        assert rows.dtype == weights.dtype == dtype
        assert torch.equal(entries.long(), reference.nearest(exact[0], exact[1], k))
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        wanted = reference.knn_memory(*exact, k=k, scale=0.5)
        torch.testing.assert_close(rows.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ["rising", "falling", "equal", "steps", "one far away"])
def test_scores_in_order(order: str) -> None:
    """Every entry better than all before, or none, or all the same: the search thins out at each turn."""
    places = torch.arange(3000, dtype=torch.float64)
    scores = {
        "rising": places,
        "falling": -places,
        "equal": torch.ones(3000, dtype=torch.float64),
        "steps": (places / 100).floor(),
        "one far away": torch.where(places == 40, 1e9, 1e-9 * places),
    }[order]
    keys = scores[None, None, :, None]
    values = torch.randn(1, 1, 3000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = torch.tensor([1e-3, 1.0, -1.0], dtype=torch.float64)[None, None, :, None]
    for k in (1, 7, 32, 100):
        entries = torch.ops.medkernels.knn_memory(q, keys, values, k, 1.0)[1]
        assert torch.equal(entries.long(), reference.nearest(q, keys, k))


@pytest.mark.parametrize("entries", [1, 63, 64, 65, 96, 97, 200])
@pytest.mark.parametrize("k", [1, 31, 32, 64, 65, 500])
def test_sizes_around_tiles_and_k(entries: int, k: int) -> None:
    q, keys, values = draw_arrays(entries, 1, 2, 65, entries, 17, 3)
    torch.testing.assert_close(
        mk.attention.knn_memory(q, keys, values, k=k), reference.knn_memory(q, keys, values, k=k)
    )


def test_whole_memory_is_full_attention() -> None:
    q, keys, values = draw_arrays(3, value_dims=6)
    wanted = torch.nn.functional.scaled_dot_product_attention(q, keys, values)
    torch.testing.assert_close(mk.attention.knn_memory(q, keys, values, k=1000), wanted)


def test_gradcheck() -> None:
    q, keys, values = draw_arrays(5, 1, 2, 3, 20, 4, 5)
    gate = torch.tensor([0.3, -1.0], dtype=torch.float64)
    local = torch.randn(1, 2, 3, 5, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    leaves = [array.clone().requires_grad_() for array in (q, gate, local)]
    assert torch.autograd.gradcheck(
        lambda q, gate, local: mk.attention.knn_memory(q, keys, values, k=4, gate=gate, local=local), leaves
    )


def test_the_memory_has_no_gradient() -> None:
    q, keys, values = (array.requires_grad_() for array in draw_arrays(7))
    mk.attention.knn_memory(q, keys, values, k=3).sum().backward()
    assert q.grad is not None
    assert keys.grad is None
    assert values.grad is None


@pytest.mark.parametrize("kind", ["numpy", "torch", "jax"])
def test_gate(kind: str) -> None:
    arrays = draw_arrays(9)
    gate = torch.tensor([800.0, -0.4], dtype=torch.float64)
    local = torch.randn(2, 2, 9, 5, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    wanted = reference.knn_memory(*arrays, k=4, gate=gate, local=local)
    if kind == "torch":
        result = mk.attention.knn_memory(*arrays, k=4, gate=gate, local=local)
    elif kind == "numpy":
        result = mk.attention.knn_memory(
            *(a.numpy() for a in arrays), k=4, gate=gate.tolist(), local=local.numpy()
        )
        assert isinstance(result, np.ndarray)
    else:
        jax = pytest.importorskip("jax")
        with jax.enable_x64(True):
            asarray = jax.numpy.asarray
            result = mk.attention.knn_memory(
                *(asarray(a.numpy()) for a in arrays),
                k=4,
                gate=asarray(gate.numpy()),
                local=asarray(local.numpy()),
            )
    torch.testing.assert_close(torch.from_numpy(np.array(result)), wanted)


def test_empty() -> None:
    q, keys, values = draw_arrays(11)
    local = torch.ones(2, 2, 9, 5, dtype=torch.float64)
    gate = torch.zeros(2, dtype=torch.float64)
    with pytest.raises(
        ValueError, match="keys must hold at least one entry where there is no local attention"
    ):
        mk.attention.knn_memory(q, keys[:, :, :0], values[:, :, :0])
    nothing = mk.attention.knn_memory(q, keys[:, :, :0], values[:, :, :0], gate=gate, local=local)
    assert torch.equal(nothing, local)
    for part in (slice(0, 0), slice(None)):
        result = mk.attention.knn_memory(q[part, :, :0], keys[part], values[part])
        assert result.shape == (2 if part.stop is None else 0, 2, 0, 5)


def test_does_not_depend_on_threads() -> None:
    before, results = mk.get_num_threads(), []
    q, keys, values = (array.float() for array in draw_arrays(13, 1, 3, 150, 2000, 24, 20))
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            leaf = q.clone().requires_grad_()
            result = mk.attention.knn_memory(leaf, keys, values)
            results.append([result, *torch.autograd.grad(result.square().sum(), leaf)])
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
    shapes = [(70, 20), (500, 20), (500, 9), (70, 9)]
    q, keys, values, grad = (random.normal(size=(1, 2, *s)).round().astype(dtype) for s in shapes)
    outputs = _core.attention.knn_memory(q, keys, values, 12, 0.5)
    found += [*outputs, _core.attention.knn_memory_backward(grad, q, keys, values, *outputs[1:], 0.5)]
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
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 if a.dtype == np.float64 else 2e-5)


def test_any_layout_is_read_and_nothing_is_modified() -> None:
    arrays = [array.numpy() for array in draw_arrays(15)]
    copies = [array.copy() for array in arrays]
    wanted = mk.attention.knn_memory(*arrays, k=5)
    for variant in (
        [np.asfortranarray(a) for a in arrays],
        [a.astype(a.dtype.newbyteorder()) for a in arrays],
        [np.ascontiguousarray(a.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3) for a in arrays],
    ):
        for array in variant:
            array.flags.writeable = False
        np.testing.assert_array_equal(mk.attention.knn_memory(*variant, k=5), wanted)
    assert all(np.array_equal(a, b) for a, b in zip(copies, arrays, strict=True))


@pytest.mark.parametrize("name", ["q", "keys", "values"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite(name: str, value: float) -> None:
    arrays = dict(zip(("q", "keys", "values"), draw_arrays(17), strict=True))
    arrays[name][1, 1, -1, -1] = value
    for call in (arrays.values(), [array.numpy() for array in arrays.values()]):
        with pytest.raises(ValueError, match=f"{name} must be finite, but element"):
            mk.attention.knn_memory(*call)


def test_scores_that_overflow() -> None:
    q, keys, values = (array.float() for array in draw_arrays(19))
    with pytest.raises(ValueError, match="q and keys must be small enough for scores of at most"):
        mk.attention.knn_memory(q * 1e18, keys * 1e18, values)
    with pytest.raises(ValueError, match="values must be small enough for values of at most"):
        mk.attention.knn_memory(q, keys, values * 1e37)


def test_bad_shapes_and_dtypes() -> None:
    q, keys, values = draw_arrays(21)
    cases = [
        ((q[0], keys, values), r"q must have shape \[B, H, N, D\], but has 3 dimensions"),
        ((q, keys[:, :1], values), r"keys must have shape \[B, H, M, D\] with H = 2"),
        ((q, keys[..., :5], values), r"keys must have shape \[B, H, M, D\] with D = 6"),
        ((q, keys, values[:, :, 1:]), r"values must have shape \[B, H, M, E\] with M = 70"),
        ((q, keys, values[..., :0]), "values must have rows of at least one element"),
    ]
    for arrays, message in cases:
        with pytest.raises(ValueError, match=message):
            mk.attention.knn_memory(*arrays)
    with pytest.raises(TypeError, match="q must be float32 or float64, not float16"):
        mk.attention.knn_memory(q.half(), keys.half(), values.half())
    with pytest.raises(TypeError, match=r"values is torch\.float32, but q is torch\.float64"):
        mk.attention.knn_memory(q, keys, values.float())
    with pytest.raises(TypeError, match="keys is a numpy array, but q is a torch array"):
        mk.attention.knn_memory(q, keys.numpy(), values)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, ValueError, "k must be at least 1, not 0"),
        ({"k": 2.5}, TypeError, "k must be an integer"),
        ({"scale": -1}, ValueError, "scale must be greater than 0"),
        ({"gate": torch.zeros(2)}, ValueError, "local must be given where gate is"),
        ({"local": torch.zeros(2, 2, 9, 5)}, ValueError, "gate must be given where local is"),
        (
            {"gate": torch.zeros(3), "local": torch.zeros(2, 2, 9, 5)},
            ValueError,
            r"gate must have shape \[H\] with H = 2",
        ),
        (
            {"gate": torch.zeros(2), "local": torch.zeros(2, 2, 9, 1)},
            ValueError,
            r"local must have shape \[2, 2, 9, 5\]",
        ),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.attention.knn_memory(*draw_arrays(23), **options)
