"""Dice and cross-entropy of upsampled logits against their definition, and what else is promised."""

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
from hypothesis import strategies as st

import medkernels as mk
from tests.reference import upsample_dice_ce as reference
from tests.segmentation.cases import Case, cases, scene


def both(
    logits: torch.Tensor, labels: torch.Tensor, **options: Any
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Loss and gradient, ours and by the definition."""
    results = []
    for function in (mk.segmentation.upsample_dice_ce, reference.upsample_dice_ce):
        leaf = logits.clone().requires_grad_()
        loss = function(leaf, labels, **options)
        results.append((loss.detach(), torch.autograd.grad(loss, leaf)[0]))
    return results[0], results[1]


@st.composite
def options(draw: Any) -> dict[str, Any]:
    return {
        "dice_weight": draw(st.sampled_from([0.0, 1.0, 0.3])),
        "ce_weight": draw(st.sampled_from([0.0, 1.0, 2.5])),
        "include_background": draw(st.booleans()),
        "ignore_index": draw(st.sampled_from([None, None, 0, 1, -100])),
    }


@given(case=cases(), chosen=options(), seed=st.integers(0, 10**6))
def test_equals_definition(case: Case, chosen: dict[str, Any], seed: int) -> None:
    labels = torch.from_numpy(case.labels(seed))
    if chosen["ignore_index"] == -100:
        labels[torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed)) < 0.3] = -100
    if case.logits.shape[1] == 1:
        chosen["include_background"] = True
    (loss, grad), (wanted, wanted_grad) = both(torch.from_numpy(case.logits), labels, **chosen)
    torch.testing.assert_close(loss, wanted, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(grad, wanted_grad, rtol=1e-9, atol=1e-13)


@given(case=cases(), seed=st.integers(0, 10**6))
def test_float32(case: Case, seed: int) -> None:
    labels = torch.from_numpy(case.labels(seed))
    (loss, grad), (wanted, wanted_grad) = both(torch.from_numpy(case.logits).float(), labels)
    assert loss.dtype == grad.dtype == torch.float32
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=1e-5)
    # Slopes of all places add up to about 1, whose roundings may be all that is left.
    rounding = 1e-5 * float(wanted_grad.abs().max()) + 1e-6 / grad[0, 0].numel()
    torch.testing.assert_close(grad, wanted_grad, rtol=1e-3, atol=rounding)


@pytest.mark.parametrize("inputs", [1, 2, 7, 8, 15, 16, 17, 32, 33])
@pytest.mark.parametrize("factor", [0.3, 1, 1.5, 2, 3, 4, 6, 11])
def test_rows_around_registers(inputs: int, factor: float) -> None:
    case = scene(1, 5, (2, inputs), (3, max(1, round(inputs * factor))), inputs)
    labels = torch.from_numpy(case.labels(inputs))
    (loss, grad), (wanted, wanted_grad) = both(torch.from_numpy(case.logits), labels)
    torch.testing.assert_close(loss, wanted, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(grad, wanted_grad, rtol=1e-9, atol=1e-14)


def test_equals_torch() -> None:
    """Cross-entropy with places that do not count, as PyTorch has it for the whole batch."""
    case = scene(3, 6, (3, 4, 5), (7, 8, 11), 1)
    logits, labels = torch.from_numpy(case.logits), torch.from_numpy(case.labels(2))
    labels[0, :6] = 255
    dense = torch.nn.functional.interpolate(logits, size=case.size, mode="trilinear", align_corners=False)
    wanted = torch.nn.functional.cross_entropy(dense, labels, ignore_index=255)
    loss = mk.segmentation.upsample_dice_ce(logits, labels, dice_weight=0, ignore_index=255)
    torch.testing.assert_close(loss, wanted)


@pytest.mark.parametrize("options", [{}, {"include_background": False}, {"ignore_index": 2}])
@pytest.mark.parametrize(("from_size", "size"), [((3, 4), (5, 9)), ((2, 3, 3), (4, 5, 7)), ((4, 5), (2, 3))])
def test_gradcheck(from_size: tuple[int, ...], size: tuple[int, ...], options: dict[str, Any]) -> None:
    case = scene(2, 4, from_size, size, 3)
    labels = torch.from_numpy(case.labels(4))
    leaf = torch.from_numpy(case.logits).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: mk.segmentation.upsample_dice_ce(x, labels, dice_weight=0.7, **options), [leaf]
    )


def test_logits_far_apart() -> None:
    """Where the label's probability is nothing in float32 the loss is still the distance of the logits."""
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 1] = 1e4
    labels = torch.full((1, 5, 5), 2)
    (loss, grad), (wanted, wanted_grad) = both(logits, labels, dice_weight=0)
    torch.testing.assert_close(loss.double(), wanted)
    torch.testing.assert_close(grad, wanted_grad)
    assert float(loss) == 1e4


def test_perfect_and_no_labels() -> None:
    logits = torch.full((1, 3, 2, 2), -50.0, dtype=torch.float64)
    logits[:, 1] = 50
    labels = torch.ones(1, 6, 6, dtype=torch.int64)
    assert float(mk.segmentation.upsample_dice_ce(logits, labels)) < 1e-15
    leaf = logits.clone().requires_grad_()
    loss = mk.segmentation.upsample_dice_ce(leaf, labels, ignore_index=1)
    assert float(loss.detach()) == 0
    assert not torch.autograd.grad(loss, leaf)[0].any()


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64, np.uint64, ">i4"]
)
def test_dtypes_of_labels(dtype: Any) -> None:
    case = scene(2, 5, (3, 4), (6, 7), 5)
    labels = case.labels(6)
    wanted = mk.segmentation.upsample_dice_ce(case.logits, labels)
    assert mk.segmentation.upsample_dice_ce(case.logits, labels.astype(dtype)) == wanted
    strided = np.repeat(labels.astype(dtype), 2, axis=2)[:, :, ::2]
    assert mk.segmentation.upsample_dice_ce(case.logits, strided) == wanted


def test_does_not_depend_on_threads() -> None:
    case = scene(2, 30, (6, 7, 20), (20, 21, 61), 7)
    logits, labels = torch.from_numpy(case.logits).float(), torch.from_numpy(case.labels(8))
    before, results = mk.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            mk.set_num_threads(threads)
            leaf = logits.clone().requires_grad_()
            loss = mk.segmentation.upsample_dice_ce(leaf, labels)
            results.append((loss, torch.autograd.grad(loss, leaf)[0]))
    finally:
        mk.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_items_do_not_depend_on_each_other() -> None:
    case = scene(3, 7, (4, 5, 9), (9, 9, 20), 9)
    logits, labels = torch.from_numpy(case.logits).float(), torch.from_numpy(case.labels(10))
    losses, counts, sums = torch.ops.medkernels.upsample_dice_ce(logits, labels, True, 3)
    for i in range(3):
        single = torch.ops.medkernels.upsample_dice_ce(logits[i : i + 1], labels[i : i + 1], True, 3)
        for ours, theirs in zip((losses, counts, sums), single, strict=True):
            assert torch.equal(ours[i], theirs[0])


def test_instruction_sets_agree(tmp_path: Any) -> None:
    code = """
import sys, numpy as np
from medkernels import _core
found = []
random = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    logits = random.normal(size=(2, 20, 3, 4, 21)).astype(dtype)
    labels = random.integers(0, 20, (2, 10, 13, 70))
    outputs = _core.segmentation.upsample_dice_ce(logits, labels, True, None)
    grad = np.array([[1e-4, 1], [2e-4, 0.5]], dtype)
    found += [*outputs]
    found += [_core.segmentation.upsample_dice_ce_backward(grad, logits, labels, outputs[2], True, None)]
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
        for i, (a, b) in enumerate(zip(results[0], other, strict=True)):
            np.testing.assert_allclose(a, b, rtol=1e-12 if i >= 4 else 1e-5, atol=1e-15 if i >= 4 else 1e-9)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite(value: float) -> None:
    case = scene(2, 3, (4, 5), (8, 8), 11)
    case.logits[1, 2, 3, 4] = value
    for logits, labels in (
        (case.logits, case.labels(12)),
        (torch.from_numpy(case.logits), torch.from_numpy(case.labels(12))),
    ):
        with pytest.raises(ValueError, match="logits must be finite, but element 119"):
            mk.segmentation.upsample_dice_ce(logits, labels)


@pytest.mark.parametrize("bad", [-1, 3, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels_that_are_no_class(bad: int, dtype: Any) -> None:
    if bad < 0 and dtype == np.uint8:
        bad = 200
    case = scene(2, 3, (4, 5), (8, 8), 13)
    labels = case.labels(14).astype(dtype)
    labels[1, 2, 3] = bad
    with pytest.raises(ValueError, match=f"labels must be from 0 to 2, but element 83 .* is {bad}"):
        mk.segmentation.upsample_dice_ce(case.logits, labels)
    with pytest.raises(ValueError, match=f"labels must be from 0 to 2 or 77, but element 83 .* is {bad}"):
        mk.segmentation.upsample_dice_ce(case.logits, labels, ignore_index=77)
    mk.segmentation.upsample_dice_ce(case.logits, labels, ignore_index=bad)


LOGITS, LABELS = np.zeros((2, 3, 4, 4)), np.zeros((2, 8, 8), int)


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ((LOGITS[0], LABELS), {}, ValueError, r"logits must have shape \[B, C, H, W\] or"),
        ((LOGITS, LABELS[0]), {}, ValueError, r"labels must have shape \[B, H, W\], but has 2 dimensions"),
        ((LOGITS, LABELS[:1]), {}, ValueError, r"labels must have shape \[B, H, W\] with B = 2"),
        ((LOGITS, LABELS[:, :0]), {}, ValueError, "labels must not be empty, but has shape"),
        ((LOGITS[:0], LABELS[:0]), {}, ValueError, "labels must not be empty, but has shape"),
        ((LOGITS, LABELS.astype(float)), {}, TypeError, "labels must be integers, not float64"),
        ((LOGITS.astype(np.float16), LABELS), {}, TypeError, "on the CPU logits must be float32 or float64"),
        ((LOGITS, torch.from_numpy(LABELS)), {}, TypeError, "labels is a torch array, but logits is a numpy"),
        ((LOGITS, LABELS), {"dice_weight": -1}, ValueError, "dice_weight must be at least 0, not -1"),
        ((LOGITS, LABELS), {"ce_weight": math.inf}, ValueError, "ce_weight must be finite, not inf"),
        ((LOGITS, LABELS), {"ce_weight": math.nan}, ValueError, "ce_weight must be at least 0, not nan"),
        ((LOGITS, LABELS), {"ce_weight": "1"}, TypeError, "ce_weight must be a number"),
        ((LOGITS, LABELS), {"include_background": 1}, TypeError, "include_background must be True or False"),
        ((LOGITS, LABELS), {"ignore_index": 1.5}, TypeError, "ignore_index must be an integer or None"),
        ((LOGITS[:, :1], LABELS), {"include_background": False}, ValueError, "one class only, but is False"),
    ],
)
def test_bad_input(arrays: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mk.segmentation.upsample_dice_ce(*arrays, **options)
