"""`match` against its definition, OpenCV and FAISS; ties, near-ties, lengths, frameworks, refusals."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import medkernels as mk
from medkernels import _backends, _items
from tests.reference.match import match as reference

DTYPES = (np.float32, np.float64, np.uint8)
EMPTY = np.empty((0, 4), np.float32)


@st.composite
def descriptor_sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two sets [K, D]: whole numbers with many ties, or numbers so close that float32 scores cannot tell."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(DTYPES))
    length = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 15, 16, 33, 64]))
    shapes = [(draw(st.integers(0, 70)), length) for _ in range(2)]
    kind = draw(st.sampled_from(["few values", "bytes", "near"]))
    if kind == "near" and dtype != np.uint8:
        base = rng.integers(100, 200, length)
        return tuple((base + rng.integers(0, 3, shape) / 1024).astype(dtype) for shape in shapes)
    top = 3 if kind == "few values" else 256
    sets = [rng.integers(0, top, shape) for shape in shapes]
    sign = 1 if dtype == np.uint8 else rng.choice([-1, 1])
    return tuple((sign * values).astype(dtype) for values in sets)


@given(descriptor_sets(), st.sampled_from([0.3, 0.8, 0.91, 1.0]), st.booleans())
def test_equals_definition(sets: tuple[np.ndarray, np.ndarray], ratio: float, mutual: bool) -> None:
    matches, distances = mk.features.match(*sets, ratio=ratio, mutual=mutual)
    expected, lengths = reference(*sets, ratio, mutual)
    assert matches.dtype == np.int64
    assert matches.shape == (len(expected), 2)
    assert matches.tolist() == expected
    assert distances.dtype == (np.float64 if sets[0].dtype == np.float64 else np.float32)
    assert np.allclose(distances, lengths, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("k1", "k2"), [(3, 20_000), (400, 300)])
def test_many_rows(dtype: Any, k1: int, k2: int) -> None:
    """More targets than one task takes, more queries than a block."""
    rng = np.random.default_rng(5)
    d1, d2 = (rng.integers(0, 4, (count, 6)).astype(dtype) for count in (k1, k2))
    matches, distances = mk.features.match(d1, d2, ratio=1)
    squared = ((d1[:, None].astype(np.int64) - d2) ** 2).sum(axis=2)
    assert matches[:, 0].tolist() == list(range(k1))
    assert np.array_equal(matches[:, 1], squared.argmin(axis=1))
    assert np.array_equal(distances, np.sqrt(squared.min(axis=1)).astype(distances.dtype))


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1.0, 1e18, 1e37])
def test_scale(scale: float) -> None:
    """Squares of float32 numbers may be too large or too small for float32."""
    rng = np.random.default_rng(2)
    d1, d2 = (rng.normal(size=(40, 9)).astype(np.float32) for _ in range(2))
    power = np.float32(2.0) ** np.round(np.log2(scale)).astype(np.float32)
    plain, scaled = mk.features.match(d1, d2), mk.features.match(d1 * power, d2 * power)
    assert np.array_equal(plain[0], scaled[0])
    assert len(plain[0]) > 5
    assert np.allclose(plain[1] * power, scaled[1], rtol=1e-6)


@pytest.mark.parametrize("power", [-1074, -1040, -1000])
def test_smallest_doubles(power: int) -> None:
    """The power of two that would bring these near 1 is infinite; their squares are 0."""
    d1, d2 = np.random.default_rng(10).integers(-9, 9, (2, 12, 5)) * 2.0**power
    matches, distances = mk.features.match(d1, d2, ratio=1)
    assert matches[:, 0].tolist() == list(range(12))
    assert not distances.any()


def test_large_and_small_rows_together() -> None:
    d1 = np.array([[1e-20, 0.0], [1.0, 0.0], [1e150, 0.0]])
    d2 = np.array([[0.0, 1e-22], [1e-20, 1e-20], [1.0, 1e-12], [1.0, 1e-3], [-1e150, 0.0], [1e150, 1e140]])
    matches, distances = mk.features.match(d1, d2, ratio=1)
    assert matches.tolist() == [[0, 1], [1, 2], [2, 5]]
    assert np.allclose(distances, [1e-20, 1e-12, 1e140], rtol=1e-12)


def test_long_bytes() -> None:
    """Past the length at which whole numbers of 32 bits hold every score."""
    rng = np.random.default_rng(3)
    for length in (16_384, 16_385):
        d1, d2 = (rng.choice(np.array([0, 255], np.uint8), (5, length)) for _ in range(2))
        d2[2] = 255 - d1[1]
        d2[3] = d1[4]
        matches, distances = mk.features.match(d1, d2, ratio=1)
        expected, lengths = reference(d1, d2, 1)
        assert matches.tolist() == expected
        assert np.allclose(distances, lengths, rtol=1e-6)


def test_all_rows_equal() -> None:
    ones = np.ones((300, 128), np.float32)
    assert mk.features.match(ones, ones)[0].shape == (0, 2)
    matches, distances = mk.features.match(ones, ones, ratio=1)
    assert matches.tolist() == [[i, 0] for i in range(300)]
    assert not distances.any()
    assert mk.features.match(ones, ones, ratio=1, mutual=True)[0].tolist() == [[0, 0]]


def test_few_rows() -> None:
    row = np.ones((1, 4), np.float32)
    for d1, d2 in ((EMPTY, EMPTY), (row, EMPTY), (EMPTY, row)):
        matches, distances = mk.features.match(d1, d2, mutual=True)
        assert matches.shape == (0, 2)
        assert distances.shape == (0,)
    matches, distances = mk.features.match(row, 3 * row)
    assert matches.tolist() == [[0, 0]]
    assert distances.tolist() == [4.0]


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_opencv(dtype: Any) -> None:
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    d1, d2 = (rng.integers(0, 256, (500, 128)).astype(dtype) for _ in range(2))
    d2[:200] = np.clip(d1[100:300] + rng.integers(-9, 10, (200, 128)), 0, 255).astype(dtype)
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(d1, d2, k=2)
    kept = [(m.queryIdx, m.trainIdx, m.distance) for m, n in pairs if m.distance <= 0.91 * n.distance]
    matches, distances = mk.features.match(d1, d2)
    assert matches.tolist() == [[q, t] for q, t, _ in kept]
    assert np.allclose(distances, [d for _, _, d in kept], rtol=1e-5)


def test_faiss() -> None:
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(1)
    d1, d2 = (rng.normal(size=(400, 64)).astype(np.float32) for _ in range(2))
    index = faiss.IndexFlatL2(64)
    index.add(d2)
    squared, nearest = index.search(d1, 1)
    matches, distances = mk.features.match(d1, d2, ratio=1)
    assert np.array_equal(matches[:, 1], nearest[:, 0])
    assert np.allclose(distances**2, squared[:, 0], rtol=1e-4)


def test_one_thread_or_more() -> None:
    rng = np.random.default_rng(4)
    d1, d2 = (rng.normal(size=(700, 31)).astype(np.float32) for _ in range(2))
    before, found = mk.get_num_threads(), []
    for count in (1, 3):
        mk.set_num_threads(count)
        found.append(mk.features.match(d1, d2, mutual=True))
    mk.set_num_threads(before)
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_batches(dtype: Any, mutual: bool) -> None:
    """Each item of a batch or list gets what it gets alone, whatever the number of threads."""
    rng = np.random.default_rng(9)
    sizes = [(30, 41, 5), (0, 9, 5), (7, 0, 3), (1, 1, 8), (200, 150, 16)]
    ragged = [[rng.integers(0, 9, (k[i], k[2])).astype(dtype) for k in sizes] for i in range(2)]
    even = [rng.integers(0, 9, (4, count, 6)).astype(dtype) for count in (50, 60)]
    before = mk.get_num_threads()
    for first, second in (ragged, even, (list(even[0]), even[1])):
        expected = [mk.features.match(a, b, mutual=mutual) for a, b in zip(first, second, strict=True)]
        for count in (1, 3):
            mk.set_num_threads(count)
            found = mk.features.match(first, second, mutual=mutual)
            assert len(found) == len(expected)
            for ours, theirs in zip(found, expected, strict=True):
                assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
                assert all(a.dtype == b.dtype for a, b in zip(ours, theirs, strict=True))
    mk.set_num_threads(before)
    assert mk.features.match([], []) == []


CODE = """
import hashlib, numpy as np, medkernels as mk
rng = np.random.default_rng(8)
digest = hashlib.sha256()
for dtype in ("float32", "float64", "uint8"):
    a, b = ((128 + 40 * rng.normal(size=(n, 50))).clip(0, 255).astype(dtype) for n in (90, 150))
    for part in mk.features.match(a, np.concatenate([b, b[::-1], a[:40]]), ratio=1, mutual=True):
        digest.update(part.tobytes())
print(digest.hexdigest())
"""


def test_every_instruction_set_gives_the_same() -> None:
    def run(level: str) -> str:
        env = {"MEDKERNELS_SIMD": level}
        return subprocess.run(
            [sys.executable, "-c", CODE], env=env, check=True, capture_output=True, text=True
        ).stdout

    assert run("baseline") == run("avx2") == run("avx512")


def test_arrays_as_they_come() -> None:
    """Strides, byte order, read-only memory and lists change nothing, and nothing is written to."""
    rng = np.random.default_rng(6)
    d1, d2 = rng.normal(size=(30, 8)), rng.normal(size=(40, 8))
    expected = mk.features.match(d1, d2)
    frozen = d1.copy()
    frozen.flags.writeable = False
    variants = [
        np.asfortranarray(d1),
        np.repeat(d1, 2, axis=1)[:, ::2],
        d1.astype(">f8"),
        frozen,
        d1.tolist(),
    ]
    for variant in variants:
        found = mk.features.match(variant, d2)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    for dtype in DTYPES:
        d1, d2 = (rng.integers(0, 99, (20, 5)).astype(dtype) for _ in range(2))
        expected = mk.features.match(d1, d2)
        found = mk.features.match(torch.from_numpy(d1), torch.from_numpy(d2))
        for a, b in zip(found, expected, strict=True):
            assert isinstance(a, torch.Tensor)
            assert np.array_equal(a.numpy(), b)
    batch = mk.features.match(torch.from_numpy(np.stack([d1, d1])), [torch.from_numpy(d2)] * 2)
    assert len(batch) == 2
    assert np.array_equal(batch[1][0].numpy(), expected[0])
    leaf = torch.randn(4, 3, requires_grad=True)
    assert not mk.features.match(leaf, leaf)[1].requires_grad


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    d1 = jax.numpy.arange(12.0).reshape(4, 3)
    matches, distances = mk.features.match(d1, d1[::-1])
    assert isinstance(matches, jax.Array)
    assert matches.tolist() == [[0, 3], [1, 2], [2, 1], [3, 0]]
    assert not distances.any()
    with pytest.raises(TypeError, match=r"d1 is traced: match runs outside jax\.jit"):
        jax.jit(mk.features.match)(d1, d1)


GOOD = np.ones((3, 4))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((GOOD[0], GOOD), {}, ValueError, r"d1 must have shape \[K1, D\], but has 1 dimensions"),
        ((GOOD, GOOD[None]), {}, ValueError, "d1 is one set of descriptors, but d2 is a batch or list"),
        (([GOOD], GOOD), {}, ValueError, "d2 is one set of descriptors, but d1 is a batch or list"),
        (([GOOD], [GOOD, GOOD]), {}, ValueError, "d2 holds 2 sets of descriptors, but d1 holds 1"),
        (
            ([GOOD, GOOD[0]], [GOOD, GOOD]),
            {},
            ValueError,
            r"d1\[1\] must have shape \[K1, D\], but has 1 dim",
        ),
        (([GOOD, GOOD], [GOOD, GOOD * np.inf]), {}, ValueError, r"d2\[1\] must be finite and at most 1e150"),
        (
            ([GOOD, GOOD.astype(np.float32)], [GOOD, GOOD]),
            {},
            TypeError,
            r"d1\[1\] is float32, but d1\[0\] is float64: use one dtype",
        ),
        (
            (GOOD, GOOD[:, 1:]),
            {},
            ValueError,
            r"d2 must have shape \[K2, D\] with D = 4, but has shape \[3, 3\]",
        ),
        ((GOOD[:, :0], GOOD[:, :0]), {}, ValueError, "at least one number, but D is 0"),
        ((GOOD, GOOD.astype(np.float32)), {}, TypeError, "d2 is float32, but d1 is float64: use one dtype"),
        ((GOOD.astype(np.int64), GOOD), {}, TypeError, "d1 must be float32, float64 or uint8, not int64"),
        ((GOOD.astype(np.float16), GOOD), {}, TypeError, "d1 must be float32, float64 or uint8, not float16"),
        ((GOOD.astype(bool), GOOD), {}, TypeError, "d1 must be an array of numbers, not of dtype bool"),
        (("here", GOOD), {}, TypeError, "d1 must be an array of numbers"),
        (([[1.0], [2.0, 3.0]], GOOD), {}, TypeError, "d1 must be an array of numbers"),
        ((GOOD * np.nan, GOOD), {}, ValueError, "d1 must be finite and at most 1e150 in size, but element 0"),
        ((GOOD, GOOD * 1e200), {}, ValueError, "d2 must be finite and at most 1e150 in size, but element 0"),
        (
            (GOOD.astype(np.float32), np.full((1, 4), np.inf, np.float32)),
            {},
            ValueError,
            "d2 must be finite, but element 0 .* is inf",
        ),
        ((GOOD, GOOD), {"ratio": 0.0}, ValueError, "ratio must be greater than 0, not 0"),
        ((GOOD, GOOD), {"ratio": 1.5}, ValueError, "ratio must be at most 1, not 1.5"),
        ((GOOD, GOOD), {"ratio": float("nan")}, ValueError, "ratio must be greater than 0, not nan"),
        ((GOOD, GOOD), {"ratio": "0.9"}, TypeError, "ratio must be a number, not '0.9'"),
        ((GOOD, GOOD), {"mutual": 1}, TypeError, "mutual must be True or False, not 1"),
    ],
)
def test_refusals(arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.features.match(*arguments, **options)


def test_refusals_of_tensors() -> None:
    torch = pytest.importorskip("torch")
    good = torch.ones(3, 4)
    with pytest.raises(TypeError, match="d2 is a torch array, but d1 is a numpy array: use one kind"):
        mk.features.match(GOOD, good)
    with pytest.raises(TypeError, match="d2 is on the meta device"):
        mk.features.match(good, good.to("meta"))
    with pytest.raises(TypeError, match="d1 must be a dense tensor"):
        mk.features.match(good.to_sparse(), good)
    with pytest.raises(TypeError, match=r"d1 must be of a real dtype that NumPy has, not torch\.bfloat16"):
        mk.features.match(good.bfloat16(), good.bfloat16())


def test_on_a_gpu_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    d1 = torch.arange(12.0).reshape(4, 3)
    wanted = mk.features.match(d1, d1)

    def missing(name: str) -> Any:
        raise mk.BackendError(f"{name} on a GPU needs triton")

    monkeypatch.setattr(_items.Kind, "on_gpu", True)  # as far as anybody can tell here
    monkeypatch.setattr(_backends, "triton_kernels", missing)
    monkeypatch.delenv("MEDKERNELS_CPU_FALLBACK", raising=False)
    with pytest.raises(mk.BackendError, match="match: match on a GPU needs triton; set MEDKERNELS_CPU"):
        mk.features.match(d1, d1)
    monkeypatch.setenv("MEDKERNELS_CPU_FALLBACK", "1")
    with pytest.warns(mk.MedkernelsWarning, match="needs triton; computing on the CPU"):
        found = mk.features.match(d1, d1)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
