"""`match` on GPUs: its Triton kernels in the interpreter without one, compiled in any case; on the device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import medkernels as mk  # noqa: E402
from medkernels.features._match_gpu import match_tensors  # noqa: E402

interpreted = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="runs where Triton interprets its kernels"
)


def gpu(test: Any) -> Any:
    return pytest.mark.gpu(
        pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU")(test)
    )


Sets = list[np.ndarray]


def whole(rng: np.random.Generator, shapes: list[tuple[int, int]], top: int, dtype: Any) -> Sets:
    return [rng.integers(0, top, shape).astype(dtype) for shape in shapes]


def check(first: Sets, second: Sets, device: str, ratio: float = 1.0, mutual: bool = False) -> None:
    """The same pairs as on the CPU, and the same distances."""
    wanted = mk.features.match(first, second, ratio=ratio, mutual=mutual)
    sets = [[torch.from_numpy(a).to(device) for a in arrays] for arrays in (first, second)]
    if device == "cuda":
        found = mk.features.match(*sets, ratio=ratio, mutual=mutual)
    else:
        names = [[f"{name}[{i}]" for i in range(len(first))] for name in ("d1", "d2")]
        found = match_tensors(*sets, names, ratio, mutual)
    for (pairs, distances), (expected, lengths) in zip(found, wanted, strict=True):
        assert pairs.device.type == distances.device.type == device
        assert pairs.dtype == torch.int64
        assert np.array_equal(pairs.cpu(), expected)
        assert distances.cpu().numpy().dtype == lengths.dtype
        # PyTorch's roots of float64 on the CPU may be off in the last digit.
        assert np.allclose(distances.cpu(), lengths, rtol=1e-15 if lengths.dtype == np.float64 else 0, atol=0)


CASES = {
    "ties": (np.float32, 4, 5),
    "bytes with ties": (np.uint8, 3, 4),
    "bytes": (np.uint8, 256, 70),
    "float64": (np.float64, 256, 19),
}


@interpreted
@pytest.mark.parametrize("name", sorted(CASES))
def test_interpreted(name: str) -> None:
    """Blocks that are not full, sets without rows, several sets at a time."""
    dtype, top, length = CASES[name]
    rng = np.random.default_rng(0)
    first = whole(rng, [(70, length), (0, length), (3, length), (2, length)], top, dtype)
    second = whole(rng, [(90, length), (4, length), (1, length), (0, length)], top, dtype)
    check(first, second, "cpu")
    check(first, second, "cpu", ratio=0.9, mutual=True)


@interpreted
def test_interpreted_near_ties() -> None:
    """Numbers so close that float32 scores cannot tell: distances in float64 decide, among all if need be."""
    rng = np.random.default_rng(1)
    base = 100 + rng.integers(0, 100, 24)
    first, second = ([base + rng.integers(0, 3, (n, 24)) / 1024] for n in (9, 70))
    check(first, second, "cpu", mutual=True)


@interpreted
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_interpreted_shares_of_targets(dtype: Any) -> None:
    from medkernels.kernels import match

    rng = np.random.default_rng(2)
    first, second = (torch.from_numpy(rng.integers(0, 3, (n, 6)).astype(dtype)) for n in (20, 200))
    queries, targets = match.Sets(first, [0, 20]), match.Sets(second, [0, 150, 200])
    one, three = (
        match.two_nearest(match.Sets(queries.values, [0, 9, 20]), targets, parts=parts) for parts in (1, 3)
    )
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))
    gaps = (first[:9, None].double() - second[None, :150].double()).square().sum(2)
    assert torch.equal(one.squared[:9], gaps.amin(1))
    assert torch.equal(one.rows[:9], (gaps == gaps.amin(1, keepdim=True)).int().argmax(1))
    assert torch.equal(one.second_squared[:9], gaps.sort(1).values[:, 1])


@interpreted
@pytest.mark.parametrize("scale", [1e-308, 1e-30, 1e37, 1e149])
def test_interpreted_scale(scale: float) -> None:
    """Squares of numbers may be too large or too small for float32, and for float64."""
    rng = np.random.default_rng(3)
    power = 2.0 ** np.round(np.log2(scale))
    first, second = (rng.integers(-9, 9, (12, 5)) * power for _ in range(2))
    check([first], [second], "cpu")


def test_values_are_refused() -> None:
    good, names = torch.ones(3, 2), [["d1[0]", "d1[1]"], ["d2[0]", "d2[1]"]]
    bad = torch.tensor([[1.0, 2.0], [float("nan"), float("inf")]])
    with pytest.raises(
        ValueError, match=r"d2\[1\] must be finite, but element 2 \(in row-major order\) is nan"
    ):
        match_tensors([good, good], [good, bad], names, 1.0, False)
    huge = torch.full((1, 2), -1e200, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"d1\[0\] must be finite and at most 1e150 in size, but element 0"):
        match_tensors([huge, huge], [huge, huge], names, 1.0, False)


@pytest.mark.parametrize(
    ("capability", "names", "count"),
    [(80, ["best_scores"], 2), (90, ["best_scores", "decide", "compare_all"], 6)],
)
def test_kernels_compile_without_a_gpu(capability: int, names: list[str], count: int) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.features.compile_triton_kernels", str(capability), *names],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kernels = json.loads(done.stdout)
    assert len(kernels) == count
    for used in kernels:
        assert used["bytes"] > 0
        # The others run once a row, or for few rows.
        assert used["kernel"] != "best_scores" or used.get("stack", 0) == 0, f"spills: {used}"
        assert used["fused"] == 0, f"distances would be rounded otherwise than on the CPU: {used}"


@gpu
@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("name", sorted(CASES))
def test_device(name: str, mutual: bool) -> None:
    dtype, top, length = CASES[name]
    rng = np.random.default_rng(4)
    shapes = [(1000, length), (0, length), (3, length), (2, length), (130, 128), (5, 128)]
    others = [(900, length), (4, length), (1, length), (0, length), (5000, 128), (7000, 128)]
    check(whole(rng, shapes, top, dtype), whole(rng, others, top, dtype), "cuda", mutual=mutual)
    check(whole(rng, shapes, top, dtype), whole(rng, others, top, dtype), "cuda", ratio=0.9, mutual=mutual)


@gpu
def test_device_near_ties() -> None:
    rng = np.random.default_rng(5)
    base = 100 + rng.integers(0, 100, 64)
    check(*([base + rng.integers(0, 3, (n, 64)) / 1024] for n in (500, 700)), "cuda", mutual=True)
    ones = np.ones((300, 128), np.float32)
    check([ones], [ones], "cuda")


@gpu
def test_device_descriptors() -> None:
    """Many rows, as they come from images: numbers of length 1."""
    rng = np.random.default_rng(6)
    first = rng.exponential(size=(5000, 128))
    second = np.concatenate(
        [first[:2000] + 0.3 * rng.normal(size=(2000, 128)), rng.exponential(size=(3100, 128))]
    )
    sets = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (first, second)]
    for ratio in (0.8, 1.0):
        check(sets[:1], sets[1:], "cuda", ratio=ratio, mutual=True)


@gpu
def test_device_arguments() -> None:
    first = np.random.default_rng(7).normal(size=(40, 8)).astype(np.float32)
    wanted = mk.features.match(first, first[::-1].copy())
    tensor = torch.from_numpy(first).cuda()
    pairs, distances = mk.features.match(tensor.T.contiguous().T, tensor.flip(0))
    assert np.array_equal(pairs.cpu(), wanted[0])
    with torch.cuda.stream(torch.cuda.Stream()):
        pairs, _ = mk.features.match(torch.from_numpy(first).cuda(), tensor.flip(0))
        assert np.array_equal(pairs.cpu(), wanted[0])
    assert mk.features.match(tensor[None], tensor[None])[0][0].is_cuda
    with pytest.raises(ValueError, match=r"d2 is on cpu, but others are on cuda:0"):
        mk.features.match(tensor, tensor.cpu())
    with pytest.raises(ValueError, match="d2 must be finite, but element 3"):
        mk.features.match(tensor, torch.where(torch.arange(8, device="cuda") == 3, torch.inf, tensor))
    cupy = pytest.importorskip("cupy")
    pairs, distances = mk.features.match(cupy.asarray(first), cupy.asarray(first[::-1].copy()))
    assert isinstance(pairs, cupy.ndarray)
    assert np.array_equal(cupy.asnumpy(pairs), wanted[0])
    assert np.array_equal(cupy.asnumpy(distances), wanted[1])
