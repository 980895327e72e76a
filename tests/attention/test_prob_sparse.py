"""ProbSparse attention against its definition, and everything the public function promises."""

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
import medkernels.attention._torch  # registers the operators
from tests.reference import prob_sparse as reference

#: Of the Random123 library: counter, key, numbers.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ((2**32 - 1,) * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        0x299F31D0_A4093822,
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def draw_arrays(
    seed: int, batch: int = 2, heads: int = 2, length: int = 50, dims: int = 6, value_dims: int = 5
) -> list[torch.Tensor]:
    """q, k and v in float64."""
    random = torch.Generator().manual_seed(seed)
    shapes = [(dims, 1.5), (dims, 1.5), (value_dims, 1.0)]
    return [
        scale * torch.randn(batch, heads, length, d, generator=random, dtype=torch.float64)
        for d, scale in shapes
    ]


def leaves(arrays: list[torch.Tensor]) -> list[torch.Tensor]:
    return [array.clone().requires_grad_() for array in arrays]


@st.composite
def calls(draw: Any) -> tuple[list[torch.Tensor], dict[str, Any]]:
    arrays = draw_arrays(
        draw(st.integers(0, 10**6)),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 2)),
        draw(st.one_of(st.integers(1, 40), st.integers(41, 300))),
        draw(st.integers(1, 40)),
        draw(st.integers(1, 40)),
    )
    if draw(st.booleans()):  # small integers: products are exact, and many ratings are equal
        arrays = [array.round() for array in arrays]
    options = {
        "factor": draw(st.integers(1, 6)),
        "seed": draw(st.one_of(st.integers(0, 9), st.integers(0, 2**63 - 1))),
        "mean": draw(st.sampled_from(["reference", "sample"])),
        "scale": draw(st.one_of(st.none(), st.floats(0.01, 3))),
    }
    return arrays, options


@given(call=calls())
def test_equals_definition(call: tuple[list[torch.Tensor], dict[str, Any]]) -> None:
    arrays, options = call
    ours, theirs = leaves(arrays), leaves(arrays)
    result, wanted = (
        mk.attention.prob_sparse(*ours, **options),
        reference.prob_sparse(*theirs, **options),
    )
    torch.testing.assert_close(result, wanted, rtol=1e-11, atol=1e-12)
    upstream = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = torch.autograd.grad(result, ours, upstream)
    for ours_g, wanted_g in zip(
        gradients,
        torch.autograd.grad(wanted, theirs, upstream, allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(ours_g, wanted_g, rtol=1e-9, atol=1e-10)


@settings(max_examples=15)
@given(call=calls())
def test_float32(call: tuple[list[torch.Tensor], dict[str, Any]]) -> None:
    arrays, options = call
    single = [array.float() for array in arrays]
    result = mk.attention.prob_sparse(*single, **options)
    assert result.dtype == torch.float32
    found = torch.ops.medkernels.prob_sparse(*single, *operator_options(single, options))[1]
    rows = reference.chosen(
        single[0].double(), single[1].double(), options["factor"], options["seed"], options["mean"]
    )
    if not torch.equal(found.long(), rows):  # two ratings within rounding of each other
        return
    wanted = reference.prob_sparse(*[array.double() for array in single], **options)
    torch.testing.assert_close(result.double(), wanted, rtol=2e-5, atol=2e-5)


def operator_options(arrays: list[torch.Tensor], options: dict[str, Any]) -> tuple[Any, ...]:
    length, dims = arrays[0].shape[2:]
    count = reference.counts(length, options["factor"])
    scale = options.get("scale") or 1 / math.sqrt(dims)
    return count, count, options["seed"], scale, options.get("mean") == "sample"


@pytest.mark.parametrize(("counter", "key", "numbers"), KNOWN_ANSWERS)
def test_reference_generator(counter: tuple[int, int, int, int], key: int, numbers: list[int]) -> None:
    assert reference.philox(counter, key) == numbers


@pytest.mark.parametrize("samples", [1, 3, 4, 5, 63, 64, 65, 130, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dims", [3, 30, 60])
def test_draws_the_keys_of_the_definition(samples: int, dtype: torch.dtype, dims: int) -> None:
    """With one key that gives a product, the queries that drew it are those that are chosen."""
    length, seed = 701, 2**40 + 5
    drawn = reference.sampled_keys(length, samples, seed)
    marked = int(drawn[11, -1])
    q, k = torch.ones(1, 1, length, dims, dtype=dtype), torch.zeros(1, 1, length, dims, dtype=dtype)
    k[0, 0, marked] = 1
    hits = (drawn == marked).any(1)
    found = torch.ops.medkernels.prob_sparse(q, k, k, samples, int(hits.sum()), seed, 1.0, False)[1]
    assert found.flatten().tolist() == hits.nonzero().flatten().tolist()


def test_no_samples() -> None:
    """All ratings are equal then."""
    found = torch.ops.medkernels.prob_sparse(*draw_arrays(1), 0, 7, 0, 1.0, False)[1]
    assert (found == torch.arange(7)).all()


def test_full_attention_where_all_queries_are_chosen() -> None:
    arrays = draw_arrays(3, length=90, dims=8, value_dims=8)
    wanted = torch.nn.functional.scaled_dot_product_attention(*arrays)
    torch.testing.assert_close(mk.attention.prob_sparse(*arrays, factor=90), wanted)


def test_ties_go_to_the_lowest_index() -> None:
    length = 100
    q, k = torch.ones(1, 1, length, 4), torch.ones(1, 1, length, 4)
    v = torch.arange(length, dtype=torch.float32).reshape(1, 1, length, 1)
    found = torch.ops.medkernels.prob_sparse(q, k, v, 5, 7, 0, 1.0, False)[1]
    assert found.flatten().tolist() == list(range(7))


@pytest.mark.parametrize("length", [1, 2, 3, 64, 65, 1024, 1025, 2500])
def test_gradients_at_the_edges_of_tiles(length: int) -> None:
    arrays = draw_arrays(length, 1, 1, length, 16, 3)
    ours, theirs = leaves(arrays), leaves(arrays)
    result = mk.attention.prob_sparse(*ours, factor=2)
    wanted = reference.prob_sparse(*theirs, factor=2)
    torch.testing.assert_close(result, wanted)
    for a, b in zip(
        torch.autograd.grad(result.square().sum(), ours),
        torch.autograd.grad(wanted.square().sum(), theirs, allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_most_queries_chosen() -> None:
    """More of them than there are keys in the shortest run."""
    length, active = 1500, 1200
    ours, theirs = leaves(draw_arrays(23, 1, 1, length, 6, 5)), leaves(draw_arrays(23, 1, 1, length, 6, 5))
    result, chosen, _ = torch.ops.medkernels.prob_sparse(*ours, 3, active, 0, 6**-0.5, False)
    is_chosen = torch.zeros(1, 1, length, 1, dtype=torch.bool)
    is_chosen[0, 0, chosen.flatten().long()] = True
    exact = torch.nn.functional.scaled_dot_product_attention(*theirs)
    wanted = torch.where(is_chosen, exact, theirs[2].mean(2, keepdim=True))
    torch.testing.assert_close(result, wanted)
    for a, b in zip(
        torch.autograd.grad(result.square().sum(), ours),
        torch.autograd.grad(wanted.square().sum(), theirs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_gradcheck() -> None:
    arrays = leaves(draw_arrays(5, 1, 2, 12, 3, 4))
    assert torch.autograd.gradcheck(lambda *a: mk.attention.prob_sparse(*a, factor=1, seed=2), arrays)


def test_does_not_depend_on_threads() -> None:
    before, results = mk.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            arrays = leaves([array.float() for array in draw_arrays(7, 1, 3, 3000, 24, 20)])
            result = mk.attention.prob_sparse(*arrays)
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
    for dims in (20, 40, 60):
        q, k, v, grad = (random.normal(size=(1, 2, 501, d)).astype(dtype) for d in (dims, dims, 9, 9))
        outputs = _core.attention.prob_sparse(q, k, v, 35, 35, 0, 0.3, False)
        found += [*outputs, *_core.attention.prob_sparse_backward(grad, q, k, v, *outputs, 0.3)]
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


def test_large_scores_and_shifts() -> None:
    """Softmax of scores in the thousands: no overflow, and the same as the definition."""
    q, k, v = draw_arrays(9, 1, 1, 200, 6, 4)
    wanted = reference.prob_sparse(60 * q, 60 * k, v, factor=2)
    torch.testing.assert_close(mk.attention.prob_sparse(60 * q, 60 * k, v, factor=2), wanted)


def test_empty() -> None:
    for shape in [(0, 2, 5, 3), (2, 0, 5, 3), (2, 2, 0, 3)]:
        empty = [torch.zeros(shape, requires_grad=True) for _ in range(3)]
        result = mk.attention.prob_sparse(*empty)
        assert result.shape == shape
        result.sum().backward()
        assert all(array.grad is not None and array.grad.shape == shape for array in empty)


def test_inputs_are_not_modified_and_any_layout_is_read() -> None:
    arrays = [array.numpy() for array in draw_arrays(11)]
    copies = [array.copy() for array in arrays]
    wanted = mk.attention.prob_sparse(*arrays)
    assert isinstance(wanted, np.ndarray)
    for variant in (
        [np.asfortranarray(a) for a in arrays],
        [a[::-1][::-1] for a in arrays],
        [a.astype(a.dtype.newbyteorder()) for a in arrays],
        [np.ascontiguousarray(a.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3) for a in arrays],
    ):
        for array in variant:
            array.flags.writeable = False
        np.testing.assert_array_equal(mk.attention.prob_sparse(*variant), wanted)
    assert all(np.array_equal(a, b) for a, b in zip(copies, arrays, strict=True))
    lists = mk.attention.prob_sparse(arrays[0], arrays[1].tolist(), arrays[2])
    np.testing.assert_array_equal(lists, wanted)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite(kind: str, name: str, value: float) -> None:
    arrays = dict(zip("qkv", draw_arrays(13), strict=True))
    arrays[name][1, 1, -1, -1] = value
    with pytest.raises(ValueError, match=f"{name} must be finite, but element"):
        mk.attention.prob_sparse(*[a.numpy() if kind == "numpy" else a for a in arrays.values()])


def test_scores_that_overflow() -> None:
    q, k, v = (array.float() for array in draw_arrays(15))
    with pytest.raises(ValueError, match="q and k must be small enough for scores of at most"):
        mk.attention.prob_sparse(q * 1e18, k * 1e18, v)
    assert torch.isfinite(mk.attention.prob_sparse(q * 1e10, k * 1e10, v)).all()
    with pytest.raises(
        ValueError, match=r"v must be small enough for values of at most 2\^88, but some can reach"
    ):
        mk.attention.prob_sparse(q, k, torch.full_like(v, 3e38))
    assert torch.isfinite(mk.attention.prob_sparse(q, k, torch.full_like(v, 3e26))).all()


def test_bad_shapes() -> None:
    q, k, v = draw_arrays(17, 2, 2, 9, 6, 5)
    cases = [
        ((q[0], k, v), r"q must have shape \[B, H, L, D\], but has 3 dimensions"),
        ((q, k[:1], v), r"k must have shape \[B, H, L, D\] with B = 2"),
        ((q, k[:, :, :8], v), r"k must have shape \[B, H, L, D\] with L = 9"),
        ((q, k[..., :5], v), r"k must have shape \[B, H, L, D\] with D = 6"),
        ((q, k, v[:, :1]), r"v must have shape \[B, H, L, E\] with H = 2"),
        ((q[..., :0], k[..., :0], v), "q must have rows of at least one element"),
        ((q, k, v[..., :0]), "v must have rows of at least one element"),
    ]
    for arrays, message in cases:
        for call in (arrays, [array.numpy() for array in arrays]):
            with pytest.raises(ValueError, match=message):
                mk.attention.prob_sparse(*call)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"factor": 0}, ValueError, "factor must be at least 1, not 0"),
        ({"factor": 2.0}, TypeError, "factor must be an integer"),
        ({"factor": True}, TypeError, "factor must be an integer"),
        ({"seed": -1}, ValueError, "seed must be from 0 to 9223372036854775807, not -1"),
        ({"seed": 2**63}, ValueError, "seed must be from 0"),
        ({"seed": None}, TypeError, "seed must be an integer"),
        ({"scale": 0.0}, ValueError, "scale must be greater than 0"),
        ({"scale": math.nan}, ValueError, "scale must be greater than 0"),
        ({"scale": math.inf}, ValueError, "scale must be finite"),
        ({"scale": "1"}, TypeError, "scale must be a number"),
        ({"mean": "median"}, ValueError, "mean must be one of 'reference', 'sample', not 'median'"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.attention.prob_sparse(*draw_arrays(19), **options)


def test_bad_dtypes_and_mixtures() -> None:
    q, k, v = (array.numpy() for array in draw_arrays(21))
    with pytest.raises(TypeError, match="q must be float32 or float64, not float16"):
        mk.attention.prob_sparse(*(a.astype(np.float16) for a in (q, k, v)))
    with pytest.raises(TypeError, match="q must be float32 or float64, not bfloat16"):
        mk.attention.prob_sparse(*(torch.from_numpy(a).bfloat16() for a in (q, k, v)))
    with pytest.raises(TypeError, match="k is float32, but q is float64: use one dtype"):
        mk.attention.prob_sparse(q, k.astype(np.float32), v)
    with pytest.raises(TypeError, match="v is a torch array, but q is a numpy array"):
        mk.attention.prob_sparse(q, k, torch.from_numpy(v))
    with pytest.raises(TypeError, match="q must be an array of numbers"):
        mk.attention.prob_sparse("here", k, v)
