"""Labels of upsampled logits against their definition, and what else is promised."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given

import medkernels as mk
from tests.reference import upsample_argmax as reference
from tests.segmentation.cases import Case, cases, scene


@given(case=cases())
def test_equals_definition(case: Case) -> None:
    """To the last bit, in both dtypes, with ties."""
    for dtype in (np.float32, np.float64):
        logits = case.logits.astype(dtype)
        labels = mk.segmentation.upsample_argmax(logits, size=case.size)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, reference.upsample_argmax(logits, size=case.size))


@given(case=cases(most_classes=12))
def test_equals_torch_where_it_is_clear(case: Case) -> None:
    logits = torch.from_numpy(case.logits)
    mode = "trilinear" if logits.ndim == 5 else "bilinear"
    dense = torch.nn.functional.interpolate(logits, size=case.size, mode=mode, align_corners=False)
    labels = mk.segmentation.upsample_argmax(logits, size=case.size)
    chosen = dense.gather(1, labels.long()[:, None])
    torch.testing.assert_close(chosen, dense.max(1, keepdim=True).values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("inputs", [1, 2, 7, 8, 15, 16, 17, 32, 33, 64])
@pytest.mark.parametrize("factor", [0.3, 0.5, 1, 1.5, 2, 3, 4, 5, 8, 11])
def test_rows_around_registers(inputs: int, factor: float) -> None:
    """Every length of a row beside that of a register, and every number of outputs between two inputs."""
    case = scene(1, 6, (2, inputs), (3, max(1, round(inputs * factor))), inputs)
    for dtype in (np.float32, np.float64):
        logits = case.logits.astype(dtype)
        np.testing.assert_array_equal(
            mk.segmentation.upsample_argmax(logits, size=case.size),
            reference.upsample_argmax(logits, size=case.size),
        )


@pytest.mark.parametrize("classes", [1, 255, 256, 257, 400])
def test_dtype_of_labels(classes: int) -> None:
    case = scene(1, classes, (3, 4), (9, 9), classes)
    for logits in (case.logits, case.logits.astype(np.float32)):
        labels = mk.segmentation.upsample_argmax(logits, size=case.size)
        assert labels.dtype == (np.uint8 if classes <= 256 else np.int32)
        np.testing.assert_array_equal(labels, reference.upsample_argmax(logits, size=case.size))
    last = np.zeros_like(case.logits)
    last[:, -1] = 1
    assert (mk.segmentation.upsample_argmax(last, size=case.size) == classes - 1).all()


def test_same_size_is_plain_argmax() -> None:
    logits = scene(2, 9, (4, 5, 17), (1, 1, 1), 3, "ties").logits
    np.testing.assert_array_equal(
        mk.segmentation.upsample_argmax(logits, size=(4, 5, 17)), logits.argmax(axis=1)
    )


def test_values_far_apart() -> None:
    """Logits of one class that dwarf the others leave no class out that may win elsewhere."""
    for scale in (1e4, 1e30):
        case = scene(1, 20, (4, 4, 20), (9, 9, 61), 5)
        logits = case.logits.astype(np.float32)
        logits[0, 3, 0, 0, 0] = scale
        logits[0, 4, 3, 3, 19] = -scale
        np.testing.assert_array_equal(
            mk.segmentation.upsample_argmax(logits, size=case.size),
            reference.upsample_argmax(logits, size=case.size),
        )


def test_nearly_equal_classes() -> None:
    """Classes that differ by roundings only: which one wins is decided by the arithmetic that is promised."""
    random = np.random.default_rng(7)
    base = random.normal(size=(1, 1, 5, 6, 33)).astype(np.float32)
    logits = base * (1 + random.integers(-2, 3, (1, 30, 5, 6, 33)) * np.finfo(np.float32).eps).astype(
        np.float32
    )
    np.testing.assert_array_equal(
        mk.segmentation.upsample_argmax(logits, size=(17, 13, 100)),
        reference.upsample_argmax(logits, size=(17, 13, 100)),
    )


def test_classes_that_rounding_makes_equal() -> None:
    """One class is below the other at every input, but not at every output: the lowest class counts there."""
    for dtype in (np.float32, np.float64):
        above = np.random.default_rng(8).normal(size=(50, 1, 1, 1, 1)).astype(dtype)
        pair = np.concatenate([np.nextafter(above, dtype(-np.inf)), above], axis=1)
        logits = np.tile(pair, (1, 1, 2, 2, 2))
        wanted = reference.upsample_argmax(logits, size=(5, 6, 7))
        assert 0 < (wanted == 0).mean() < 1
        np.testing.assert_array_equal(mk.segmentation.upsample_argmax(logits, size=(5, 6, 7)), wanted)


def test_does_not_depend_on_threads() -> None:
    case = scene(2, 30, (6, 7, 20), (20, 21, 61), 9)
    before, results = mk.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            results.append(mk.segmentation.upsample_argmax(case.logits, size=case.size))
    finally:
        mk.set_num_threads(before)
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_instruction_sets_agree(tmp_path: Any) -> None:
    code = """
import sys, numpy as np, medkernels as mk
found = []
random = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    logits = (random.normal(size=(2, 40, 5, 6, 37)) * 4).round(1).astype(dtype)
    found.append(mk.segmentation.upsample_argmax(logits, size=(17, 25, 150)))
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
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_any_layout_is_read_and_nothing_is_modified() -> None:
    case = scene(2, 4, (3, 4, 5), (6, 7, 8), 11)
    copy = case.logits.copy()
    wanted = mk.segmentation.upsample_argmax(case.logits, size=case.size)
    for variant in (
        np.asfortranarray(case.logits),
        case.logits.astype(case.logits.dtype.newbyteorder()),
        np.ascontiguousarray(case.logits.swapaxes(1, 4)).swapaxes(1, 4),
    ):
        variant.flags.writeable = False
        np.testing.assert_array_equal(mk.segmentation.upsample_argmax(variant, size=case.size), wanted)
    np.testing.assert_array_equal(case.logits, copy)


def test_no_items() -> None:
    assert mk.segmentation.upsample_argmax(np.zeros((0, 3, 2, 2)), size=(4, 5)).shape == (0, 4, 5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite(value: float) -> None:
    logits = np.zeros((2, 3, 4, 5), np.float32)
    logits[1, 2, 3, 4] = value
    for array in (logits, torch.from_numpy(logits)):
        with pytest.raises(
            ValueError, match=r"logits must be finite, but element 119 \(in row-major order\) is"
        ):
            mk.segmentation.upsample_argmax(array, size=(8, 8))


@pytest.mark.parametrize(
    ("logits", "size", "error", "message"),
    [
        (
            np.zeros((2, 3, 4)),
            (4,),
            ValueError,
            r"logits must have shape \[B, C, H, W\] or \[B, C, D, H, W\]",
        ),
        (np.zeros((2, 0, 4, 4)), (4, 4), ValueError, "at least one class and one place, but has shape"),
        (np.zeros((2, 3, 4, 0)), (4, 4), ValueError, "at least one class and one place, but has shape"),
        (np.zeros((2, 3, 4, 4)), (4, 4, 4), ValueError, r"size must be 2 integers \(H, W\)"),
        (np.zeros((2, 3, 4, 4, 4)), (4, 0, 4), ValueError, "size must be positive, but H is 0"),
        (np.zeros((2, 3, 4, 4)), (4, 4.0), TypeError, r"size must hold integers \(H, W\), but W is 4.0"),
        (np.zeros((2, 3, 4, 4), int), (4, 4), TypeError, "logits must be floating-point, not int64"),
        (
            np.zeros((2, 3, 4, 4), np.float16),
            (4, 4),
            TypeError,
            "on the CPU logits must be float32 or float64",
        ),
        (np.zeros((2, 3, 4, 4)), (2**31, 2**31), ValueError, "is too large: it needs about .* GiB of memory"),
    ],
)
def test_bad_input(logits: np.ndarray, size: Any, error: type[Exception], message: str) -> None:
    for array in (logits, torch.from_numpy(logits)):
        with pytest.raises(error, match=message):
            mk.segmentation.upsample_argmax(array, size=size)
